"""A tiny untrained model of every family, and the corruptions that each of them takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tiny_models import tiny

from efface.corruptions import CORRUPTIONS, Corruption, parse_corruption
from efface.errors import InputError
from efface.generators.base import Generator

MODELS: dict[str, Callable[[], Generator]] = {
    "mae": tiny,
    "mae, normalised patches": lambda: tiny(norm_pix_loss=True),
    "mae, fine grid": lambda: tiny(patch_size=4),
}
"""Names are `family` or `family, what is special`."""

TEXTS = [
    *(
        example
        for kind in CORRUPTIONS.values()
        for example in kind.usage.replace("8x8b", "2x2b").split(" or ")
        if kind.name != "paired"
    ),
    "random:0.01",
    "rectangle:0,0.9,0.1,0.1",
]


@dataclass(frozen=True)
class Case:
    """One model with one corruption that it takes."""

    name: str
    corruption: Corruption

    @property
    def make(self) -> Callable[[], Generator]:
        return MODELS[self.name]

    def __str__(self) -> str:
        return f"{self.name}; {self.corruption}"


def takes(generator: Generator, corruption: Corruption) -> bool:
    try:
        generator.check_corruption(corruption)
    except InputError:
        return False
    return True


def cases() -> list[Case]:
    """Every model with every corruption that it takes."""
    found = []
    for name, make in MODELS.items():
        generator = make()
        found += [Case(name, c) for c in map(parse_corruption, TEXTS) if takes(generator, c)]
    return found
