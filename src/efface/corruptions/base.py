"""What is hidden from a model, or degraded, before it sees an image.

A corruption gives three things: the condition that the model sees, the mask of known pixels, and
the region that metrics look at. It is written as `name:arguments`, sizes as fractions of the side.
A `Hole` hides pixels and leaves the others; `Degradation` (`degradations`) shows another picture
in place of the whole image. Importing this module does not import torch.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from efface.errors import InputError
from efface.randomness import Draws

if TYPE_CHECKING:
    from torch import Tensor

HIDDEN_GREY = 0.5
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Corrupted:
    """One corrupted batch.

    condition: what may be seen, float `[B, 3, H, W]` in [0, 1] (but see `stays_in_range`); hidden pixels are mid-grey.
    known: True where the condition shows the original pixel, bool `[B, 1, H, W]`; nowhere for a corruption that
    hides nothing but shows another picture.
    region: True where metrics compare, bool `[B, 1, H, W]`.
    touched: patches with at least one hidden pixel, bool `[B, grid, grid]`. A NumPy array, so that counting
    them never waits for an accelerator.
    """

    condition: Tensor
    known: Tensor
    region: Tensor
    touched: Mask


def fraction(what: str, default: float | None = None) -> Any:
    """A field for a fraction of the side, or of whatever else `usage` says. what: it is, for messages."""
    return field(default=MISSING if default is None else default, metadata={"what": what})


class Corruption(ABC):
    """One kind of corruption with its arguments, written as `name:arguments`. `str(corruption)` reads back to an equal one.

    A dataclass: its fields made by `fraction` are what stands behind the colon, where it does not read that itself.

    hides: it hides pixels and leaves the others as they are; otherwise the condition is a degraded or other
    picture, and no pixel is known. paired: that picture is a file of its own, handed to `apply`.
    """

    name: ClassVar[str]
    usage: ClassVar[str]
    summary: ClassVar[str]
    of: ClassVar[str] = "the side"
    """What fractions are fractions of."""
    is_random: ClassVar[bool] = False
    stays_in_range: ClassVar[bool] = True
    """Whether conditions stay in [0, 1]; those with added noise leave it."""
    hides: ClassVar[bool]
    paired: ClassVar[bool] = False

    @classmethod
    def parse(cls, arguments: str) -> Self:
        """Read what stands behind `name:`, all fractions or, where each has a default, none; raises `InputError`."""
        wanted = _fractions(cls)
        if not arguments and all(one.default is not MISSING for one in wanted):
            return cls()
        try:
            numbers = [float(part) for part in arguments.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) != len(wanted) or not all(0 <= one <= 1 for one in numbers):
            raise InputError(
                f"corruption '{cls.name}:{arguments}': give {', '.join(one.metadata['what'] for one in wanted)} "
                f"as fractions of {cls.of} between 0 and 1, for example {cls.usage}"
            )
        return cls(*numbers)

    def __str__(self) -> str:
        return f"{self.name}:{','.join(number(getattr(self, one.name)) for one in _fractions(type(self)))}"

    @abstractmethod
    def apply(self, images: Tensor, grid: int, draws: Draws, condition: Tensor | None = None) -> Corrupted:
        """Corrupt `images` `[B, 3, H, W]` in [0, 1] for a model with `grid` x `grid` patches.

        `condition`, of the same shape and range, is read by paired corruptions only.
        """

    @abstractmethod
    def check(self, size: int, grid: int) -> None:
        """Raise `InputError` with the valid range if a model of `size` px and `grid` cannot use it."""

    @property
    def label(self) -> str:
        """How records and reports name it: as it is written, without any path."""
        return str(self)


class Hole(Corruption):
    """A corruption that hides pixels and leaves the others as they are."""

    hides: ClassVar[bool] = True

    @abstractmethod
    def hidden(self, size: int, grid: int, draws: np.random.Generator) -> Mask:
        """The hidden pixels of one image, bool `[size, size]`."""

    @abstractmethod
    def valid_range(self, size: int, grid: int) -> str:
        """Which arguments leave something to see and something to restore, in words."""

    def apply(self, images: Tensor, grid: int, draws: Draws, condition: Tensor | None = None) -> Corrupted:
        import torch

        size = images.shape[-1]
        if self.is_random:
            masks = np.stack([self.hidden(size, grid, rng) for rng in draws.each("corruption")])
        else:
            mask = self.hidden(size, grid, np.random.default_rng(0))
            masks = np.broadcast_to(mask, (len(images), size, size))
        hidden = torch.from_numpy(masks.copy()).unsqueeze(1).to(images.device)
        touched = touched_patches(masks, grid)
        return Corrupted(images.masked_fill(hidden, HIDDEN_GREY), ~hidden, hidden, touched)

    def check(self, size: int, grid: int) -> None:
        hidden = self.hidden(size, grid, np.random.default_rng(0))
        hint = f"valid on this model ({size} px, {grid} x {grid} patches): {self.valid_range(size, grid)}"
        if not hidden.any():
            raise InputError(f"corruption '{self}' hides no pixel; {hint}")
        if touched_patches(hidden, grid).all():
            raise InputError(f"corruption '{self}' leaves no visible patch; {hint}")


def touched_patches(hidden: Mask, grid: int) -> Mask:
    """Patches with at least one hidden pixel: bool `[..., grid, grid]` from `[..., H, W]`.

    A patch that is partly hidden cannot be shown to a patch-wise model without showing it hidden
    pixels, so it counts as hidden as a whole.
    """
    *batch, height, width = hidden.shape
    blocks = hidden.reshape(*batch, grid, height // grid, grid, width // grid)
    return np.asarray(blocks.any(axis=(-3, -1)))


def mean_fill(images: Tensor, known: Tensor) -> Tensor:
    """`images` `[B, 3, H, W]` with each channel's mean over the `known` pixels, bool `[B, 1, H, W]`, in all others."""
    seen = known.to(images.dtype)
    mean = (images * seen).sum(dim=(2, 3), keepdim=True) / seen.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    return images.where(known, mean)


def pixels(fraction: float, size: int) -> int:
    """A fraction of the side in whole pixels, rounded half up (so that 0.5 of 25 is 13)."""
    return int(np.floor(fraction * size + 0.5))


def number(value: float) -> str:
    """The shortest text that reads back to the same number.

    >>> number(0.5), number(1.0), number(1 / 3)
    ('0.5', '1', '0.3333333333333333')
    """
    return repr(float(value)).removesuffix(".0")


def rounded_up(value: float) -> str:
    """`value` in at most four decimals, never below it."""
    return number(math.ceil(round(value * 1e4, 6)) / 1e4)


def rounded_down(value: float) -> str:
    """`value` in at most four decimals, never above it."""
    return number(math.floor(round(value * 1e4, 6)) / 1e4)


def _fractions(kind: Any) -> list[Any]:
    return [one for one in fields(kind) if "what" in one.metadata]
