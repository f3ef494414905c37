"""Generators: image-to-image models behind one contract. `load_generator` opens any supported model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efface.generators.settings import ModelSettings, NoiseKind

if TYPE_CHECKING:
    from efface.generators.base import Generator


def load_generator(settings: ModelSettings | str) -> Generator:
    """Open a trained model; raises `InputError` with every fault found."""
    from efface.errors import InputError
    from efface.generators.registry import family_of, foreign_options

    settings = ModelSettings(path=settings) if isinstance(settings, str) else settings
    family = family_of(settings)
    if problems := foreign_options(settings, family):
        raise InputError(*problems)
    return family.load(settings)


__all__ = ["ModelSettings", "NoiseKind", "load_generator"]
