"""What is kept of an image so that its copies can be found: a small grey picture of it, and codes of its parts.

A fingerprint is 1 KiB, whatever the image's size: a grey thumbnail of 32 x 32, the boxes that hold the picture if bars or a
window lie around it, its mean colour, and whether it has little in it. Everything else is computed from that.

A code is 64 signs of the lowest frequencies (discrete cosine transform) of one part of the thumbnail. Turning or
mirroring a picture only swaps frequencies and flips signs, so all eight views of a part come from one transform.
Parts are the whole, the boxes, all but a fifth at top or bottom (where captions stand), and crops down to 60 %.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Prints = NDArray[Any]

SIDE = 32
FLAT = 3.0  # grey levels of standard deviation below which a thumbnail shows nothing
PLAIN_SIDE = 32  # grey pictures up to this short side have little in them: digits, garments, letters
PLAIN_SHARE, PLAIN_LEVELS = 0.25, 4  # and so have grey ones with so much of one level, give or take so many
BOX_SIDE = 64  # the box is looked for in a picture of this size
BOX_STEPS = 255  # and kept in steps of its side
BAR_LEVELS = 8  # grey levels around its median that count as one
BAR_SHARES = (0.95, 0.6)  # of a line that is no picture: one level in a bar, with words on it in a window
LEAST_BOX = 0.3  # of each side
FINGERPRINT = np.dtype(
    [
        ("grey", "u1", (SIDE, SIDE)),
        ("boxes", "u1", (len(BAR_SHARES), 4)),
        ("colour", "u1", 3),
        ("plain", "u1"),
    ]
)
HIGHEST = 10  # frequency along one axis, or along both together
BITS = 64
POSITIONS = {0.9: 3, 0.8: 5, 0.7: 7, 0.6: 9}  # of crops of this share of the side along each axis: every 0.05
STRIPS = {0.9: 2, 0.8: 3, 0.7: 4}  # of crops along one axis only
WITHOUT_CAPTION = 0.78
WHOLES = 1 + len(BAR_SHARES)  # the first parts, the whole and the boxes: what a copy may show all of
UNCAPTIONED = slice(WHOLES, WHOLES + 2)  # the next ones


def fingerprint(image: Image.Image) -> Prints:
    """The fingerprint of an RGB image: one record of `FINGERPRINT`."""
    record = np.zeros((), FINGERPRINT)
    grey = image.convert("L")
    record["grey"] = _resized(grey, SIDE)
    larger = _resized(grey, max(SIDE, min(BOX_SIDE, *image.size)))
    record["boxes"] = [_content_box(larger, share) for share in BAR_SHARES]
    record["colour"] = np.asarray(image.resize((1, 1), Image.Resampling.BOX))[0, 0]
    record["plain"] = _is_grey(image) and (min(image.size) <= PLAIN_SIDE or _is_plain(record["grey"]))
    return record


def stacked(each: Iterable[Prints]) -> Prints:
    """Fingerprints `[N]` from the results of `fingerprint`."""
    return np.array(list(each), FINGERPRINT)


@dataclass(frozen=True)
class PrintRows:
    """Some of many fingerprints, in an order; they may lie in a mapped file, and are read a few at a time."""

    prints: Prints
    rows: NDArray[np.int64]

    @classmethod
    def all_of(cls, prints: Prints) -> Self:
        return cls(prints, np.arange(len(prints)))

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, indices: NDArray[np.int64]) -> PrintRows:
        return PrintRows(self.prints, self.rows[indices])

    def read(self, start: int, stop: int) -> Prints:
        """The fingerprints from `start` to before `stop`."""
        return self.prints[self.rows[start:stop]]


def is_flat(prints: Prints) -> NDArray[np.bool_]:
    """Which fingerprints `[N]` are of pictures without any detail."""
    flat: NDArray[np.bool_] = prints["grey"].std(axis=(1, 2), dtype=np.float32) < FLAT
    return flat


def _is_plain(grey: NDArray[np.uint8]) -> bool:
    levels = np.bincount(grey.reshape(-1), minlength=256)
    most = np.convolve(levels, np.ones(2 * PLAIN_LEVELS + 1)).max()
    return bool(most >= PLAIN_SHARE * grey.size)


def _is_grey(image: Image.Image) -> bool:
    pixels = np.asarray(image)
    return bool((pixels == pixels[..., :1]).all())


def _resized(grey: Image.Image, side: int) -> NDArray[np.uint8]:
    shrinks = min(grey.size) >= side
    return np.asarray(
        grey.resize((side, side), Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC)
    )


def _content_box(grey: NDArray[np.uint8], share: float) -> tuple[int, int, int, int]:
    """Left, right, top and bottom of what is picture, in steps of the side; all of it where there are no bars."""
    ends: list[int] = []
    for lines in (grey.T, grey):
        middle = np.sort(lines, axis=1)[:, len(lines) // 2, None]
        near = np.abs(lines.astype(np.int16) - middle) <= BAR_LEVELS
        first, last = _longest_run(near.mean(axis=1) < share)
        if last - first < LEAST_BOX * len(lines):
            return 0, BOX_STEPS, 0, BOX_STEPS
        ends += [round(first / len(lines) * BOX_STEPS), round(last / len(lines) * BOX_STEPS)]
    return ends[0], ends[1], ends[2], ends[3]


def _longest_run(picture: NDArray[np.bool_]) -> tuple[int, int]:
    """First and behind the last of the longest run of lines that show something."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], picture, [False]]).astype(np.int8)))
    if not len(edges):
        return 0, 0
    starts, stops = edges[::2], edges[1::2]
    longest = int(np.argmax(stops - starts))
    return int(starts[longest]), int(stops[longest])


def _crops(positions: dict[float, int], size: float) -> list[tuple[float, float]]:
    return [(float(start), float(start) + size) for start in np.linspace(0, 1 - size, positions[size])]


def _groups() -> list[tuple[list[tuple[float, float]], list[tuple[float, float]]]]:
    """Intervals along x and along y; the parts of a group are all their pairs."""
    whole = (0.0, 1.0)
    groups = [([whole], [whole, (0.0, WITHOUT_CAPTION), (1 - WITHOUT_CAPTION, 1.0)])]
    groups += [(_crops(POSITIONS, size), _crops(POSITIONS, size)) for size in POSITIONS]
    strips = [strip for size in STRIPS for strip in _crops(STRIPS, size)]
    return [*groups, (strips, [whole]), ([whole], strips)]


def _waves(low: Floats, high: Floats) -> Floats:
    """Cosines of frequency 0 to HIGHEST over [low, high], averaged over each pixel: float `[N, HIGHEST + 1, SIDE]`."""
    edges = np.clip(np.linspace(0, 1, SIDE + 1, dtype=np.float32), low[:, None], high[:, None])[:, None]
    size, start = (high - low)[:, None, None], low[:, None, None]
    k = np.arange(1, HIGHEST + 1, dtype=np.float32)[:, None]
    sines = np.sin(np.pi * k * (edges - start) / size) / (np.pi * k)
    constant = (edges - start) / size / np.float32(np.sqrt(2))
    waves: Floats = np.diff(np.concatenate([constant, sines], axis=1), axis=2)
    return waves


GROUPS = [tuple(np.array(axis, np.float32) for axis in group) for group in _groups()]
GROUP_WAVES = [tuple(_waves(axis[:, 0], axis[:, 1]) for axis in group) for group in GROUPS]
FIXED = np.concatenate([[(*x, *y) for y in ys for x in xs] for xs, ys in GROUPS]).astype(np.float32)
PARTS = len(FIXED) + len(BAR_SHARES)

# 64 frequencies, the lowest first, dealt out to four bands of 16 so that each band has low and high ones.
_PAIRS = sorted(
    (
        (y, x)
        for y in range(HIGHEST + 1)
        for x in range(HIGHEST + 1)
        if 1 <= x + y <= HIGHEST and (y, x) != (5, 5)
    ),
    key=lambda pair: (pair[0] ** 2 + pair[1] ** 2, pair),
)
_DEALT = np.array([_PAIRS[index] for band in range(4) for index in range(band, BITS, 4)])
Y, X = _DEALT[:, 0], _DEALT[:, 1]
# view = 4 * transposed + 2 * upside down + mirrored, in this order of doing
VIEWS = 8
_SIGNS = np.array([(-1.0) ** (Y * (view >> 1 & 1) + X * (view & 1)) for view in range(VIEWS)], np.float32)
_SWAPPED = np.array([_DEALT.tolist().index([x, y]) for y, x in _DEALT])
UNDONE_BY = (0, 1, 2, 3, 4, 6, 5, 7)
"""The view that undoes a view."""


def parts_of(prints: Prints) -> Floats:
    """Left, right, top, bottom of every part as shares of the side: float `[N, PARTS, 4]`."""
    parts = np.empty((len(prints), PARTS, 4), np.float32)
    parts[:, 0], parts[:, WHOLES:] = FIXED[0], FIXED[1:]
    parts[:, 1:WHOLES] = _boxes(prints)
    return parts


def spectra(prints: Prints) -> Floats:
    """The 64 lowest frequencies of every part: float `[N, PARTS, BITS]`."""
    grey = prints["grey"].astype(np.float32)
    boxes = _boxes(prints).transpose(1, 2, 0)
    groups = [_spectra(grey, x, y) for x, y in GROUP_WAVES]
    boxed = [
        _waves(top, bottom) @ grey @ _waves(left, right).transpose(0, 2, 1)
        for left, right, top, bottom in boxes
    ]
    fixed = np.concatenate(groups, axis=1)
    return np.concatenate([fixed[:, :1], *(each[:, None, Y, X] for each in boxed), fixed[:, 1:]], axis=1)


def distinct_wholes(prints: Prints) -> NDArray[np.bool_]:
    """Which of the whole and the boxes are no repetition of one before: `[N, WHOLES]`."""
    wholes = parts_of(prints)[:, :WHOLES]
    same = (wholes[:, :, None] == wholes[:, None]).all(axis=3)
    repeated: NDArray[np.bool_] = np.tril(same, -1).any(axis=2)
    return ~repeated


def _boxes(prints: Prints) -> Floats:
    """Left, right, top, bottom of either box: `[N, 2, 4]`."""
    boxes: Floats = prints["boxes"].astype(np.float32) / np.float32(BOX_STEPS)
    return boxes


def _spectra(grey: Floats, x: Floats, y: Floats) -> Floats:
    """Of all pairs of intervals, whose waves are `[intervals, HIGHEST + 1, SIDE]`."""
    products = y.reshape(-1, SIDE) @ grey @ x.reshape(-1, SIDE).T
    pairs = products.reshape(len(grey), len(y), HIGHEST + 1, len(x), HIGHEST + 1)
    spectrum: Floats = (
        pairs.astype(np.float32, copy=False)[:, :, Y, :, X].transpose(1, 2, 3, 0).reshape(len(grey), -1, BITS)
    )
    return spectrum


def viewed(spectrum: Floats, view: int) -> Floats:
    """The spectrum `[..., BITS]` of the same part of the turned or mirrored picture."""
    chosen = spectrum[..., _SWAPPED] if view >> 2 else spectrum
    turned: Floats = chosen * _SIGNS[view]
    return turned


def codes(spectrum: Floats) -> NDArray[np.uint64]:
    """The signs of spectra `[..., BITS]` as one number each."""
    packed = np.packbits(spectrum > 0, axis=-1, bitorder="little")
    numbers: NDArray[np.uint64] = np.ascontiguousarray(packed).view(np.uint64)[..., 0]
    return numbers


def viewed_grey(grey: NDArray[Any], view: int) -> NDArray[Any]:
    """Pictures `[..., SIDE, SIDE]` in a view."""
    turned = np.swapaxes(grey, -1, -2) if view >> 2 else grey
    turned = turned[..., ::-1, :] if view >> 1 & 1 else turned
    return turned[..., ::-1] if view & 1 else turned


def viewed_parts(parts: Floats, view: NDArray[np.int64]) -> Floats:
    """Where parts `[N, 4]` of a picture lie in its views `[N]`."""
    left, right, top, bottom = parts.T
    swapped, down, mirrored = (view >> 2 & 1) > 0, (view >> 1 & 1) > 0, (view & 1) > 0
    left, right, top, bottom = (
        np.where(swapped, ours, others)
        for ours, others in ((top, left), (bottom, right), (left, top), (right, bottom))
    )
    left, right = np.where(mirrored, 1 - right, left), np.where(mirrored, 1 - left, right)
    top, bottom = np.where(down, 1 - bottom, top), np.where(down, 1 - top, bottom)
    return np.stack([left, right, top, bottom], axis=1)
