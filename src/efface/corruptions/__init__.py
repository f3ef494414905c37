"""Corruptions, each in its own file. `parse_corruption("centre:0.5")` reads one."""

from __future__ import annotations

from efface.corruptions.base import Corrupted, Corruption, Hole, touched_patches
from efface.corruptions.degradation import Degradation
from efface.plugins import Registry

CORRUPTIONS: Registry[type[Corruption]] = Registry(
    "corruption",
    "efface.corruptions",
    Corruption,
    (
        "efface.corruptions.centre:Centre",
        "efface.corruptions.rectangle:Rectangle",
        "efface.corruptions.extension:ExtendUp",
        "efface.corruptions.extension:ExtendDown",
        "efface.corruptions.extension:ExtendLeft",
        "efface.corruptions.extension:ExtendRight",
        "efface.corruptions.outpainting:Outpainting",
        "efface.corruptions.random_patches:RandomPatches",
        "efface.corruptions.mask_rates:MaskRates",
        "efface.corruptions.box:Box",
        "efface.corruptions.brush:Brush",
        "efface.corruptions.box:BoxBrush",
        "efface.corruptions.colour:Colour",
        "efface.corruptions.jpeg:Jpeg",
        "efface.corruptions.downsample:Downsample",
        "efface.corruptions.blur:Blur",
        "efface.corruptions.sketch:Sketch",
        "efface.corruptions.paired:Paired",
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
