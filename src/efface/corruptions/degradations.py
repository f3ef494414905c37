"""Corruptions that hide nothing: the model sees another picture, and all of the image is to be restored.

Degraded pictures are made of the image alone; a paired one is a file of its own.
"""

from __future__ import annotations

import io
import math
import os
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from PIL import Image

from efface.corruptions.base import Corrupted, Corruption, fraction, number, rounded_up
from efface.errors import InputError
from efface.randomness import Draws

if TYPE_CHECKING:
    from torch import Tensor

LUMA = {
    "rec601": (0.299, 0.587, 0.114),
    "rec709": (0.2126, 0.7152, 0.0722),
}
"""Weights of R'G'B' values by ITU-R BT.601 (as JPEG has it) and BT.709."""
LEAST_PIXELS = 0.3
"""Of a Gaussian's deviation: a narrower one leaves the neighbouring pixels less than half a percent."""
WIDER = 1.6
"""The ratio of widths at which a difference of Gaussians is nearest to a Laplacian (Marr and Hildreth 1980)."""
SHARPNESS = 0.98
"""Below 1, so that even faint grain on a bright ground stays white in a sketch."""
DARKNESS = 40.0
MOST_NOISE = 255


class Degradation(Corruption):
    """Shows a degraded picture in place of the image. What is lost depends on that image alone."""

    hides: ClassVar[bool] = False

    @abstractmethod
    def degraded(self, images: Tensor) -> Tensor:
        """What is seen instead of `images`, both float `[B, 3, H, W]` in [0, 1]."""

    def apply(self, images: Tensor, grid: int, draws: Draws, condition: Tensor | None = None) -> Corrupted:
        return shown_instead(self.degraded(images), grid)


@dataclass(frozen=True)
class Blur(Degradation):
    """Gaussian blur with a standard deviation of `width` times the side."""

    width: float = fraction("the standard deviation", 0.02)

    name: ClassVar[str] = "blur"
    usage: ClassVar[str] = "blur:0.02"
    summary: ClassVar[str] = "Gaussian blur, its standard deviation as fraction of the side (condition)"

    def degraded(self, images: Tensor) -> Tensor:
        return gaussian(images, self.width * images.shape[-1]).clamp(0, 1)

    def check(self, size: int, grid: int) -> None:
        if not LEAST_PIXELS <= self.width * size <= size / 4:
            raise InputError(
                f"corruption '{self}': valid on this model ({size} px): blur:F with F from "
                f"{rounded_up(LEAST_PIXELS / size)} to 0.25"
            )


@dataclass(frozen=True)
class Colour(Degradation):
    """Colour taken away: the luma picture plus `kept` of what distinguishes the image from it: `Y + kept (image - Y)`."""

    kept: float = fraction("the share of colour that is kept", 0.0)
    luma: str = "rec601"

    name: ClassVar[str] = "colour"
    usage: ClassVar[str] = "colour or colour:0.2 or colour:0,rec709"
    summary: ClassVar[str] = "the colour taken away, all of it or but for a share (condition)"
    of: ClassVar[str] = "colour"

    @classmethod
    def parse(cls, arguments: str) -> Self:
        share, _, luma = (part.strip() for part in arguments.partition(","))
        if luma and luma not in LUMA:
            raise InputError(f"corruption 'colour:{arguments}': the luma is {' or '.join(LUMA)}")
        return replace(super().parse(share), luma=luma or "rec601")

    def __str__(self) -> str:
        luma = "" if self.luma == "rec601" else f",{self.luma}"
        return f"colour:{number(self.kept)}{luma}" if self.kept or luma else "colour"

    def degraded(self, images: Tensor) -> Tensor:
        grey = luma(images, self.luma)
        return (grey + self.kept * (images - grey)).clamp(0, 1)

    def check(self, size: int, grid: int) -> None:
        if self.kept >= 1:
            raise InputError(f"corruption '{self}' takes no colour away; valid: colour:F with F below 1")


@dataclass(frozen=True)
class Downsample(Degradation):
    """Shrunk `factor` times with an antialiased bicubic filter, then enlarged by bicubic interpolation.

    The usual degradation of super-resolution: shrinking averages what it leaves out, so nothing aliases.
    """

    factor: int = 4

    name: ClassVar[str] = "downsample"
    usage: ClassVar[str] = "downsample:4"
    summary: ClassVar[str] = "the resolution divided by a whole number (condition)"

    @classmethod
    def parse(cls, arguments: str) -> Self:
        return cls(_whole(arguments or "4", "factor", cls))

    def __str__(self) -> str:
        return f"downsample:{self.factor}"

    def degraded(self, images: Tensor) -> Tensor:
        from torch.nn.functional import interpolate

        small = shrunk(images, self.factor)
        return interpolate(small, images.shape[-2:], mode="bicubic").clamp(0, 1)

    def check(self, size: int, grid: int) -> None:
        if not 2 <= self.factor <= size // 2:
            raise InputError(
                f"corruption '{self}': valid on this model ({size} px): downsample:N with whole N from 2 to "
                f"{size // 2}"
            )


@dataclass(frozen=True)
class Jpeg(Degradation):
    """Encoded and decoded by Pillow (libjpeg's quality scale, chroma halved in both directions).

    Pixels are rounded to 8 bits first, as a file has them. The same image gives the same picture with one
    version of libjpeg; another version may differ in the last bit.
    """

    quality: int = 10

    name: ClassVar[str] = "jpeg"
    usage: ClassVar[str] = "jpeg:10"
    summary: ClassVar[str] = "the image as a JPEG file of that quality, 1 to 95 (condition)"

    @classmethod
    def parse(cls, arguments: str) -> Self:
        return cls(_whole(arguments or "10", "quality", cls))

    def __str__(self) -> str:
        return f"jpeg:{self.quality}"

    def degraded(self, images: Tensor) -> Tensor:
        import torch

        pixels = images.detach().mul(255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
        decoded = np.stack([self._round_trip(picture) for picture in pixels.cpu().numpy()])
        restored = torch.from_numpy(decoded).to(images.device).permute(0, 3, 1, 2)
        return restored.to(images.dtype).div(255).contiguous()

    def check(self, size: int, grid: int) -> None:
        if not 1 <= self.quality <= 95:
            raise InputError(f"corruption '{self}': the quality is from 1 to 95, for example jpeg:10")

    def _round_trip(self, picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=self.quality, subsampling="4:2:0")
        return np.asarray(Image.open(file).convert("RGB"))


@dataclass(frozen=True)
class Noise(Corruption):
    """Gaussian noise added to every value, with a standard deviation of `sigma` in units of 0..255; not clamped.

    As denoisers are trained and measured (Zhang et al. 2018, "FFDNet"): clamped noise has another distribution. Noise of 0
    shows the picture itself, for autoencoders.
    """

    sigma: float = 25.0

    name: ClassVar[str] = "noise"
    usage: ClassVar[str] = "noise:25"
    summary: ClassVar[str] = (
        "Gaussian noise, its standard deviation of 255; 0 shows the picture itself (condition)"
    )
    hides: ClassVar[bool] = False
    is_random: ClassVar[bool] = True
    stays_in_range: ClassVar[bool] = False

    @classmethod
    def parse(cls, arguments: str) -> Self:
        try:
            sigma = float(arguments or "25")
        except ValueError:
            sigma = math.nan
        if not 0 <= sigma < math.inf:
            raise InputError(
                f"corruption 'noise:{arguments}': give the standard deviation in units of 0..255, for example {cls.usage}"
            )
        return cls(sigma)

    def __str__(self) -> str:
        return f"noise:{number(self.sigma)}"

    def apply(self, images: Tensor, grid: int, draws: Draws, condition: Tensor | None = None) -> Corrupted:
        noise = draws.normal("corruption", tuple(images.shape[1:]), images.device)
        return shown_instead(images + self.sigma / 255 * noise, grid)

    def check(self, size: int, grid: int) -> None:
        if not self.sigma <= MOST_NOISE:
            raise InputError(
                f"corruption '{self}': the standard deviation is from 0 to {MOST_NOISE}, for example noise:25"
            )


@dataclass(frozen=True)
class Sketch(Degradation):
    """A line drawing, black on white, its lines about `width` times the side wide: pairs of sketch and photo from any set.

    The lines are the dark sides of edges, found as a difference of two Gaussians and darkened by a soft
    threshold (Winnemöller, Kyprianidis and Olsen 2012, "XDoG", equations 1 to 5, without the flow field).
    """

    width: float = fraction("the width of a line", 0.004)

    name: ClassVar[str] = "sketch"
    usage: ClassVar[str] = "sketch:0.01"
    summary: ClassVar[str] = "a line drawing; the width of its Gaussian as fraction of the side (condition)"

    def degraded(self, images: Tensor) -> Tensor:
        grey, sigma = luma(images), self.width * images.shape[-1]
        difference = gaussian(grey, sigma) - SHARPNESS * gaussian(grey, WIDER * sigma)
        lines = 1 + (DARKNESS * difference.clamp(max=0)).tanh()
        return lines.repeat(1, 3, 1, 1)

    def check(self, size: int, grid: int) -> None:
        if not LEAST_PIXELS <= self.width * size <= size / 16:
            raise InputError(
                f"corruption '{self}': valid on this model ({size} px): sketch:F with F from "
                f"{rounded_up(LEAST_PIXELS / size)} to 0.0625"
            )


@dataclass(frozen=True)
class Paired(Corruption):
    """The condition is the image's partner in `source`, a folder or a manifest of pairs: translation between pairs.

    Which file belongs to which image is read by `images.pairs`; this class only takes the picture that it is handed.
    """

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


def shown_instead(picture: Tensor, grid: int) -> Corrupted:
    """`picture` `[B, 3, H, W]` as condition: no pixel is known, and metrics look at all of them."""
    import torch

    count, _, height, width = picture.shape
    nowhere = torch.zeros((count, 1, height, width), dtype=torch.bool, device=picture.device)
    return Corrupted(picture, nowhere, ~nowhere, np.ones((count, grid, grid), dtype=bool))


def shrunk(images: Tensor, factor: int) -> Tensor:
    """`images` `[B, C, H, W]` with sides divided by `factor`, by an antialiased bicubic filter; not clamped."""
    from torch.nn.functional import interpolate

    height, width = images.shape[-2:]
    small = (max(1, round(height / factor)), max(1, round(width / factor)))
    return interpolate(images, small, mode="bicubic", antialias=True)


def luma(images: Tensor, standard: str = "rec601") -> Tensor:
    """The grey picture `[B, 1, H, W]`, weighted as `standard` says."""
    red, green, blue = LUMA[standard]
    return red * images[:, 0:1] + green * images[:, 1:2] + blue * images[:, 2:3]


def gaussian(images: Tensor, sigma: float) -> Tensor:
    """`images` `[B, C, H, W]` blurred with a Gaussian of `sigma` pixels, cut off at three of them.

    The border is continued by its own pixels. Sums of shifted copies, so that no image's value depends on the
    others in its batch, not even in the last bit.
    """
    reach = max(1, math.ceil(3 * sigma))
    weights = [math.exp(-0.5 * (step / sigma) ** 2) for step in range(-reach, reach + 1)]
    total = sum(weights)
    for axis in (-2, -1):
        images = _along(images, [weight / total for weight in weights], axis)
    return images


def _along(images: Tensor, weights: list[float], axis: int) -> Tensor:
    import torch

    reach, length = len(weights) // 2, images.shape[axis]
    first, last = images.narrow(axis, 0, 1), images.narrow(axis, length - 1, 1)
    shape = [1] * images.dim()
    shape[axis] = reach
    padded = torch.cat((first.repeat(shape), images, last.repeat(shape)), dim=axis)
    out = torch.zeros_like(images)
    for start, weight in enumerate(weights):
        out += weight * padded.narrow(axis, start, length)
    return out


def _whole(arguments: str, what: str, kind: type[Corruption]) -> int:
    if not arguments.isascii() or not arguments.isdigit():
        raise InputError(
            f"corruption '{kind.name}:{arguments}': give a whole {what}, for example {kind.usage}"
        )
    return int(arguments)
