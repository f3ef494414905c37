"""Generators: image-to-image models behind one contract. `load_generator` opens any supported model."""

from efface.generators.families import ModelSettings, NoiseKind
from efface.generators.registry import load_generator, read_model

__all__ = ["ModelSettings", "NoiseKind", "load_generator", "read_model"]
