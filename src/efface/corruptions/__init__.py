"""Corruptions, each in its own file. `parse_corruption("centre:0.5")` reads one."""

from __future__ import annotations

from efface.corruptions.base import Corrupted, Corruption, Hole, touched_patches
from efface.corruptions.blur import Blur
from efface.corruptions.box import Box, BoxBrush
from efface.corruptions.brush import Brush
from efface.corruptions.centre import Centre
from efface.corruptions.colour import Colour
from efface.corruptions.degradation import Degradation
from efface.corruptions.downsample import Downsample
from efface.corruptions.extension import ExtendDown, ExtendLeft, ExtendRight, ExtendUp
from efface.corruptions.jpeg import Jpeg
from efface.corruptions.mask_rates import MaskRates
from efface.corruptions.outpainting import Outpainting
from efface.corruptions.paired import Paired
from efface.corruptions.random_patches import RandomPatches
from efface.corruptions.rectangle import Rectangle
from efface.corruptions.sketch import Sketch
from efface.errors import InputError
from efface.settings import unknown_name

HOLES = (
    *(Centre, Rectangle, ExtendUp, ExtendDown, ExtendLeft, ExtendRight, Outpainting),
    *(RandomPatches, MaskRates, Box, Brush, BoxBrush),
)
CONDITIONS = (Colour, Jpeg, Downsample, Blur, Sketch, Paired)
CORRUPTIONS: dict[str, type[Corruption]] = {kind.name: kind for kind in (*HOLES, *CONDITIONS)}


def parse_corruption(text: str) -> Corruption:
    """Read `name` or `name:arguments`; raises `InputError` for an unknown name or wrong arguments."""
    name, _, arguments = text.strip().partition(":")
    if name not in CORRUPTIONS:
        raise InputError(unknown_name("corruption", name, CORRUPTIONS))
    return CORRUPTIONS[name].parse(arguments)


__all__ = [
    "CORRUPTIONS",
    "Corrupted",
    "Corruption",
    "Degradation",
    "Hole",
    "parse_corruption",
    "touched_patches",
]
