"""`paired:SOURCE` shows another picture, given as a file for each image: translation between pairs.

Which file belongs to which image is read by `images.pairs`; this class only takes the picture that it is
handed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from efface.corruptions.base import Corrupted, Corruption
from efface.corruptions.degradation import shown_instead
from efface.errors import InputError
from efface.randomness import Draws

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Paired(Corruption):
    """The condition is the image's partner in `source`, a folder or a manifest of pairs."""

    source: str

    name: ClassVar[str] = "paired"
    usage: ClassVar[str] = "paired:edges or paired:pairs.csv"
    summary: ClassVar[str] = "another picture for each image, from a folder or a manifest (condition)"
    hides: ClassVar[bool] = False
    paired: ClassVar[bool] = True

    @classmethod
    def parse(cls, arguments: str) -> Self:
        if not arguments:
            raise InputError(
                "corruption 'paired': say where the other pictures lie: a folder whose files are named as the "
                "images are, or a .csv or .jsonl with columns image, condition; for example paired:edges"
            )
        return cls(arguments)

    def __str__(self) -> str:
        return f"paired:{self.source}"

    @property
    def label(self) -> str:
        return f"paired:{os.path.basename(os.path.normpath(self.source))}"

    def apply(self, images: Tensor, grid: int, draws: Draws, condition: Tensor | None = None) -> Corrupted:
        if condition is None:
            raise ValueError(f"'{self}' needs the other pictures as `condition`")
        if condition.shape != images.shape:
            raise ValueError(
                f"'{self}': conditions {tuple(condition.shape)} do not fit images {tuple(images.shape)}"
            )
        return shown_instead(condition, grid)

    def check(self, size: int, grid: int) -> None:
        if not os.path.exists(self.source):
            raise InputError(f"corruption '{self}': there is no such folder or manifest")
