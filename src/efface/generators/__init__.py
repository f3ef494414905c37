"""Generators: image-to-image models behind one contract. `load_generator` opens any supported model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efface.generators.settings import ModelSettings, NoiseKind

if TYPE_CHECKING:
    from efface.generators.base import Generator

FAMILIES = {"mae": "masked autoencoder (transformers ViTMAEForPreTraining, or a released .pth checkpoint)"}


def load_generator(settings: ModelSettings | str) -> Generator:
    """Open a trained model; raises `InputError` with every fault found."""
    from efface.generators.mae.checkpoint import load

    return load(ModelSettings(path=settings) if isinstance(settings, str) else settings)


__all__ = ["FAMILIES", "ModelSettings", "NoiseKind", "load_generator"]
