"""Two pictures laid over each other: where the same part lies in both, and how well their detail agrees there.

Parts are left, right, top and bottom as shares of a picture's side, float `[N, 4]`; pictures are grey thumbnails
`[N, SIDE, SIDE]`. The registration is Gauss-Newton on shift and stretch along both axes (Baker and Matthews 2004,
inverse compositional), with brightness and contrast left free.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from efface.images.fingerprints import SIDE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

CELLS = 20  # the compared part is seen in so many cells along each axis
INSET = 0.04  # of each side of a part: bars and frames blur into the pixel beside them
ROUNDS, STEPS = 2, 2
LARGEST_STEP = 0.1
WINDOW = 5  # cells whose mean is taken out, so that detail is compared and not light and shade
FAINT = 25.0  # sum of squares: detail of 0.3 grey levels, which is rounding
LEAST_AREA, LEAST_LARGER_AREA = 0.2, 0.5  # shares of a picture that must be in both; of the larger one
_PLACES = ((np.arange(CELLS) + 0.5) / CELLS - 0.5).astype(np.float32)
_RIDGE = np.diag([1, 1, 1, 1, 0.01, 0.01]).astype(np.float32)


def agreement(ours: Floats, our_parts: Floats, theirs: Floats, their_parts: Floats) -> Floats:
    """How well the detail of two pictures agrees in a part: 1 for the same, about 0 for unlike ones, float `[N]`.

    The parts are where registration begins. -1 where it ends on too small a part.
    """
    ours, theirs = ours.astype(np.float32), theirs.astype(np.float32)
    mine, its = _register(ours, _inset(our_parts), theirs, _inset(their_parts))
    left, right = (_detail(_sampled(pictures, parts)) for pictures, parts in ((ours, mine), (theirs, its)))
    products = (left * right).sum((1, 2))
    correlation = products / np.maximum(np.sqrt((left**2).sum((1, 2)) * (right**2).sum((1, 2))), FAINT)
    areas = np.stack([(part[:, 1] - part[:, 0]) * (part[:, 3] - part[:, 2]) for part in (mine, its)])
    enough = (areas.min(axis=0) >= LEAST_AREA) & (areas.max(axis=0) >= LEAST_LARGER_AREA)
    return np.where(enough, correlation, np.float32(-1))


def _register(ours: Floats, mine: Floats, theirs: Floats, its: Floats) -> tuple[Floats, Floats]:
    """The parts, moved so that they show the same."""
    for _ in range(ROUNDS):
        mine, its = _within_both(mine, its)
        target = _normalised(_sampled(ours, mine))
        down, across = np.gradient(target, axis=(1, 2))
        down, across = down * CELLS, across * CELLS
        slopes = [across, across * _PLACES, down, down * _PLACES[:, None], np.ones_like(target), target]
        slope = np.stack(slopes, axis=1).reshape(len(target), 6, CELLS**2)
        inverse = np.linalg.inv(slope @ slope.transpose(0, 2, 1) + _RIDGE)
        for _ in range(STEPS):
            error = _normalised(_sampled(theirs, its)) - target
            step = (inverse @ (slope @ error.reshape(len(error), CELLS**2, 1)))[:, :4, 0]
            its = _moved(its, np.clip(step, -LARGEST_STEP, LARGEST_STEP))
    return _within_both(mine, its)


def _moved(parts: Floats, step: Floats) -> Floats:
    """Parts after a step of shift and stretch along x, then along y."""
    ends = []
    for axis in (0, 2):
        size = parts[:, axis + 1] - parts[:, axis]
        middle = parts[:, axis] + size / 2 - step[:, axis] * size
        half = size / (1 + step[:, axis + 1]) / 2
        ends += [middle - half, middle + half]
    return np.stack(ends, axis=1)


def _within_both(mine: Floats, its: Floats) -> tuple[Floats, Floats]:
    """Two parts that show the same, cut back alike until both lie within their pictures."""
    mine, its = mine.copy(), its.copy()
    for axis in (0, 2):
        starts = [part[:, axis].copy() for part in (mine, its)]
        sizes = [np.maximum(part[:, axis + 1] - part[:, axis], 1e-3) for part in (mine, its)]
        low = np.maximum(
            0, np.max([-start / size for start, size in zip(starts, sizes, strict=True)], axis=0)
        )
        high = np.minimum(
            1, np.min([(1 - start) / size for start, size in zip(starts, sizes, strict=True)], axis=0)
        )
        for part, start, size in zip((mine, its), starts, sizes, strict=True):
            part[:, axis], part[:, axis + 1] = start + low * size, start + high * size
    return mine, its


def _inset(parts: Floats) -> Floats:
    width, height = INSET * (parts[:, 1] - parts[:, 0]), INSET * (parts[:, 3] - parts[:, 2])
    return parts + np.stack([width, -width, height, -height], axis=1).astype(np.float32)


def _sampled(pictures: Floats, parts: Floats) -> Floats:
    """The mean of each of CELLS x CELLS cells of a part: `[N, CELLS, CELLS]`."""
    rows, columns = _weights(parts[:, 2:]), _weights(parts[:, :2])
    sampled: NDArray[Any] = rows @ pictures @ columns.transpose(0, 2, 1)
    return sampled


def _weights(interval: Floats) -> Floats:
    """How much each pixel counts in each cell of an interval: `[N, CELLS, SIDE]`, rows that add up to 1."""
    low, size = interval[:, :1], interval[:, 1:] - interval[:, :1]
    edges = np.clip(low + size * np.linspace(0, 1, CELLS + 1, dtype=np.float32), 0, 1) * SIDE
    covered = np.clip(edges[:, :, None] - np.arange(SIDE, dtype=np.float32), 0, 1)
    weights = np.diff(covered, axis=1)
    normalised: Floats = weights / np.maximum(weights.sum(axis=2, keepdims=True), 1e-4)
    return normalised


def _normalised(pictures: Floats) -> Floats:
    pictures = pictures - pictures.mean((1, 2), keepdims=True)
    deviation = np.sqrt((pictures**2).mean((1, 2), keepdims=True))
    normalised: Floats = pictures / np.maximum(deviation, 1e-3)
    return normalised


def _detail(pictures: Floats) -> Floats:
    """Pictures less the mean of the window around each cell; beyond the edges they go on as they slope."""
    half = WINDOW // 2
    wider = np.pad(pictures, ((0, 0), (half, half), (half, half)), mode="reflect", reflect_type="odd")
    sums = np.pad(wider, ((0, 0), (1, 0), (1, 0))).cumsum(axis=1, dtype=np.float64).cumsum(axis=2)
    windows = sums[:, WINDOW:] - sums[:, :-WINDOW]
    means = ((windows[:, :, WINDOW:] - windows[:, :, :-WINDOW]) / WINDOW**2).astype(np.float32)
    detail: Floats = pictures - means
    return detail
