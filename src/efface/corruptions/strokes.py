"""Brush strokes over an image: a share of its pixels hidden by thick zigzag lines.

Free-form masks in the manner of Yu et al. 2019 ("Free-Form Image Inpainting with Gated Convolution",
section 3.2): each stroke starts anywhere, has `VERTICES` corners, turns to alternating sides by about 72
degrees, and its widths and lengths are those of the paper at 256 px, here as fractions of the side.

Deviations: strokes are added until a share that was drawn beforehand is hidden, and the last one is cut off
at exactly that count of pixels (the paper hides whatever a random number of strokes covers); one patch,
drawn anew for each image, stays free of strokes, so that a patch-wise model always sees something.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

from efface.corruptions.base import Mask, touched_patches

VERTICES = (4, 12)
WIDTHS = (12 / 256, 40 / 256)
MEAN_LENGTH = math.sqrt(2) / 8
TURNS = (4 * math.pi / 15, 8 * math.pi / 15)
MOST_SHARE = 0.9
MOST_STROKES = 2000

Point = tuple[float, float]


def brushed(
    size: int, grid: int, share: float, draws: np.random.Generator, under: Mask | None = None
) -> Mask:
    """Pixels under brush strokes, bool `[size, size]`: `share` of all, at least one and never all.

    `under` is hidden already: the free patch is one that it leaves whole, if there is any. `share` is
    reached exactly up to `MOST_SHARE` of what lies outside the free patch.
    """
    free = _free_patch(size, grid, draws, under)
    room = size * size - int(free.sum())
    wanted = min(max(1, round(share * size * size)), max(1, int(MOST_SHARE * room)))
    mask = np.zeros((size, size), dtype=bool)
    for _ in range(MOST_STROKES):
        if not (lacking := wanted - int(np.count_nonzero(mask))):
            break
        points, width = _stroke(size, draws)
        added = _drawn(points, width, size) & ~free & ~mask
        if np.count_nonzero(added) <= lacking:
            mask |= added
        else:
            _draw_until(mask, lacking, points, width, free)
    return mask


def _free_patch(size: int, grid: int, draws: np.random.Generator, under: Mask | None) -> Mask:
    """The pixels of one random patch; of none on a grid of one."""
    free = np.zeros((size, size), dtype=bool)
    if grid > 1:
        whole = np.arange(grid * grid)
        if under is not None and not (touched := touched_patches(under, grid)).all():
            whole = np.flatnonzero(~touched)
        row, column = divmod(int(draws.choice(whole)), grid)
        patch = size // grid
        free[row * patch : (row + 1) * patch, column * patch : (column + 1) * patch] = True
    return free


def _stroke(size: int, draws: np.random.Generator) -> tuple[list[Point], int]:
    """The corners of one stroke, and its width in pixels."""
    corners = int(draws.integers(VERTICES[0], VERTICES[1] + 1))
    width = max(1, round(float(draws.uniform(*WIDTHS)) * size))
    x, y = draws.uniform(0, size, 2).tolist()
    heading, side = float(draws.uniform(0, 2 * math.pi)), 1 if draws.random() < 0.5 else -1
    lengths = np.clip(draws.normal(MEAN_LENGTH, MEAN_LENGTH / 2, corners), 0, 2 * MEAN_LENGTH) * size
    points = [(x, y)]
    for length, turn in zip(lengths.tolist(), draws.uniform(*TURNS, corners).tolist(), strict=True):
        heading, side = heading + side * turn, -side
        x = min(max(x + length * math.cos(heading), 0), size - 1)
        y = min(max(y + length * math.sin(heading), 0), size - 1)
        points.append((x, y))
    return points, width


def _drawn(points: list[Point], width: int, size: int) -> Mask:
    """The pixels of a line through `points` with round corners and ends."""
    image = Image.new("L", (size, size))
    draw = ImageDraw.Draw(image)
    draw.line(points, fill=255, width=width)
    radius = (width - 1) / 2
    for x, y in points:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return np.asarray(image).astype(bool)


def _draw_until(mask: Mask, wanted: int, points: list[Point], width: int, free: Mask) -> None:
    """Draw into `mask` from the stroke's start on, until `wanted` more pixels are hidden."""
    size = len(mask)
    for start, end in pairwise(points):
        rows, columns = np.nonzero(_drawn([start, end], width, size) & ~free & ~mask)
        if len(rows) >= wanted:
            along = (columns - start[0]) * (end[0] - start[0]) + (rows - start[1]) * (end[1] - start[1])
            first = np.argsort(along, kind="stable")[:wanted]
            mask[rows[first], columns[first]] = True
            return
        mask[rows, columns] = True
        wanted -= len(rows)
