"""Corruptions: holes and degradations. `parse_corruption("centre:0.5")` reads one."""

from __future__ import annotations

from efface.corruptions.base import Corrupted, Corruption, Hole, touched_patches
from efface.corruptions.degradations import Degradation
from efface.plugins import Registry

CORRUPTIONS: Registry[type[Corruption]] = Registry(
    "corruption",
    "efface.corruptions",
    Corruption,
    (
        "efface.corruptions.rectangles:Centre",
        "efface.corruptions.rectangles:Rectangle",
        "efface.corruptions.rectangles:ExtendUp",
        "efface.corruptions.rectangles:ExtendDown",
        "efface.corruptions.rectangles:ExtendLeft",
        "efface.corruptions.rectangles:ExtendRight",
        "efface.corruptions.rectangles:Outpainting",
        "efface.corruptions.patches:RandomPatches",
        "efface.corruptions.patches:MaskRates",
        "efface.corruptions.boxes:Box",
        "efface.corruptions.boxes:Brush",
        "efface.corruptions.boxes:BoxBrush",
        "efface.corruptions.degradations:Colour",
        "efface.corruptions.degradations:Jpeg",
        "efface.corruptions.degradations:Downsample",
        "efface.corruptions.degradations:Blur",
        "efface.corruptions.degradations:Noise",
        "efface.corruptions.degradations:Sketch",
        "efface.corruptions.degradations:Paired",
    ),
)


def parse_corruption(text: str) -> Corruption:
    """Read `name` or `name:arguments`; raises `InputError` for an unknown name or wrong arguments."""
    name, _, arguments = text.strip().partition(":")
    return CORRUPTIONS.named(name).parse(arguments)


__all__ = [
    "CORRUPTIONS",
    "Corrupted",
    "Corruption",
    "Degradation",
    "Hole",
    "parse_corruption",
    "touched_patches",
]
