"""Kernel distance (KID) between two sets of feature vectors, on all images.

    MMD^2 = mean_{i != j} k(a_i, a_j) + mean_{i != j} k(b_i, b_j) - 2 mean_{i, j} k(a_i, b_j),
    k(x, y) = (x . y / D + 1)^3

Gretton et al. (2012), "A kernel two-sample test", JMLR 13, equation 3; as a distance between sets of
images Binkowski et al. (2018), "Demystifying MMD GANs", arXiv:1801.01401, section 4. Published
values average over random subsets; here every image is used, which has the same mean and less noise.

Memory: no N x N matrix is ever held. Kernel values are made for `BLOCK` rows against all columns, summed
by photo, and reduced at once for all resamples. Where both sides hold as many images of each photo, as true
images and restorations of them do, the three sums weigh a pair of photos alike: they are made as one, of
k(a, a) + k(b, b) - k(a, b) - k(b, a), and as that is symmetric, of half of the pairs. At 10,000 images of 10,000
photos and 2,000 resamples a block takes 40 MiB, the draws as 16-bit counts 40 MiB, all of it below 400 MiB; see
`benchmarks/results/evaluation.json` for the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from efface.metrics.base import Better, Measured, Need, RestoredSet, SetMetric
from efface.metrics.inputs import Features, MetricInputError, feature_pair
from efface.metrics.intervals import FEWEST_GROUPS, Interval, check_levels, percentile_ends
from efface.randomness import numpy_draws

BLOCK = 512
TILE = 256
RESAMPLES_AT_ONCE = 256
Counts = NDArray[np.uint16]
Integers = NDArray[np.int64]


class KernelDistance(SetMetric):
    """Kernel distance of the restored pictures from the true ones."""

    name: ClassVar[str] = "kernel_distance"
    short: ClassVar[str] = "kernel"
    title: ClassVar[str] = "Kernel distance"
    label: ClassVar[str] = "kernel distance"
    phrase: ClassVar[str] = "kernel distance"
    summary: ClassVar[str] = "Unbiased distance between two sets of images; usable from few images on."
    unit: ClassVar[str] = "squared kernel units"
    better: ClassVar[Better] = "down"
    requires: ClassVar[tuple[Need, ...]] = ("truth", "features")
    published: ClassVar[str | None] = "KID"

    def distance(self, restored: RestoredSet) -> Measured:
        sides, photos = (restored.features, restored.truth), restored.photos
        if restored.resampling is None:
            return Measured(kernel_distance(*sides, photos, photos))
        if len(np.unique(photos)) < FEWEST_GROUPS:
            return Measured(None, None, f"not available: fewer than {FEWEST_GROUPS} photos")
        interval = kernel_distance_interval(*sides, photos, photos, **restored.resampling)
        assert interval is not None
        return Measured(interval.value, interval)


def kernel_distance(
    a: ArrayLike, b: ArrayLike, groups_a: ArrayLike | None = None, groups_b: ArrayLike | None = None
) -> float:
    """Unbiased MMD^2 of `a` [N, D] and `b` [M, D] with the cubic kernel.

    In squared units of the kernel's feature space; near 0 for sets of one kind, where it may be negative.
    `groups_a` [N] and `groups_b` [M] name the source photo of each image; a name that occurs on both sides
    is one photo (real images against restorations of the same photos). Images of one photo are never
    compared with each other, else crops of a photo, or an image and its own restoration, would pass for
    likeness of the sets. None: every image is a photo of its own, which gives the KID of the paper.

    Raises `MetricInputError` with fewer than two photos on a side, or arrays that do not fit or are not
    finite.
    """
    sides = _Sides.of(a, b, groups_a, groups_b)
    return _same_photos_mean(sides) if sides.same_photos else _value(sides)


def kernel_distance_interval(
    a: ArrayLike,
    b: ArrayLike,
    groups_a: ArrayLike | None = None,
    groups_b: ArrayLike | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval | None:
    """`kernel_distance` with its bootstrap interval, or None if a side has fewer than five photos.

    All images of a photo are drawn together, on both sides if it has images on both. A photo that is drawn
    twice is not compared with its copy: pairs of two photos count as often as the product of their draws.
    The ends are percentiles at expanded levels (see `intervals`).

    Share of nominal 95 % intervals that held the truth, 400 simulated sets of 30 to 150 images each (shifted
    Gaussians, D = 8): 0.94 to 0.98 for independent images, 0.96 to 0.97 for three crops of each photo, 0.93
    to 0.96 for restorations of the same photos. Where both sets follow the same law the statistic is
    degenerate and the interval is about 1.8 times too wide: it held 0 every time.
    """
    check_levels(confidence, resamples)
    sides = _Sides.of(a, b, groups_a, groups_b)
    if sides.fewest_photos < FEWEST_GROUPS:
        return None
    drawn = _times_drawn(sides, resamples, numpy_draws(seed, "bootstrap-kernel"))
    value, draws = _same_photos_means(sides, drawn) if sides.same_photos else _means(sides, drawn)
    return Interval(value, *percentile_ends(draws, confidence, units=sides.fewest_photos))


@dataclass(frozen=True)
class _Side:
    """One feature set [N, D] sorted by photo, with the number of the photo of each image."""

    features: Features
    photo: Integers

    @classmethod
    def of(cls, features: Features, photo: Integers) -> _Side:
        order = np.argsort(photo, kind="stable")
        return cls(features[order], photo[order])


@dataclass(frozen=True)
class _Sides:
    """Both feature sets with photos numbered alike: one name, one number."""

    a: _Side
    b: _Side

    @classmethod
    def of(cls, a: ArrayLike, b: ArrayLike, groups_a: ArrayLike | None, groups_b: ArrayLike | None) -> _Sides:
        a, b = feature_pair(a, b)
        if (groups_a is None) != (groups_b is None):
            raise MetricInputError("name the photos of both feature sets or of neither")
        names_a = np.arange(len(a)) if groups_a is None else np.asarray(groups_a)
        names_b = np.arange(len(b)) + len(a) if groups_b is None else np.asarray(groups_b)
        for side, names, count in (("a", names_a, len(a)), ("b", names_b, len(b))):
            if names.shape != (count,):
                raise MetricInputError(
                    f"groups_{side} must name the photo of each of {count} images, got {names.shape}"
                )
        _, photo = np.unique(np.concatenate([names_a, names_b]), return_inverse=True)
        sides = cls(_Side.of(a, photo[: len(a)]), _Side.of(b, photo[len(a) :]))
        if sides.fewest_photos < 2:
            raise MetricInputError(
                "the kernel distance needs images of at least two photos on each side, "
                f"got {len(np.unique(sides.a.photo))} and {len(np.unique(sides.b.photo))}"
            )
        return sides

    @property
    def fewest_photos(self) -> int:
        return min(len(np.unique(self.a.photo)), len(np.unique(self.b.photo)))

    @property
    def same_photos(self) -> bool:
        """Whether both sides hold as many images of each photo, and no photo fills more than a block."""
        if not np.array_equal(self.a.photo, self.b.photo):
            return False
        return int(np.unique(self.a.photo, return_counts=True)[1].max()) <= BLOCK


def _value(sides: _Sides) -> float:
    return _mean(sides.a, sides.a) + _mean(sides.b, sides.b) - 2 * _mean(sides.a, sides.b)


def _means(sides: _Sides, drawn: Counts) -> tuple[float, Features]:
    """The distance, and that of every resample; `drawn` [photos, resamples] counts the draws."""
    # A constant added to the kernel cancels; without its bulk, 32-bit products are exact enough.
    offset = float(_kernel(sides.a.features[:BLOCK], sides.b.features[:BLOCK]).mean())
    draws = (
        _resampled_mean(sides.a, sides.a, drawn, offset)
        + _resampled_mean(sides.b, sides.b, drawn, offset)
        - 2 * _resampled_mean(sides.a, sides.b, drawn, offset)
    )
    return _value(sides), draws


def _same_photos_mean(sides: _Sides) -> float:
    """As `_value`, for sides that hold the same photos."""
    return _same_photos_means(sides, np.zeros((len(np.unique(sides.a.photo)), 0), dtype=np.uint16))[0]


def _same_photos_means(sides: _Sides, drawn: Counts) -> tuple[float, Features]:
    """As `_means`, for sides that hold the same photos."""
    resamples, sizes = drawn.shape[1], np.bincount(sides.a.photo).astype(np.float64)
    chunks = [slice(first, first + RESAMPLES_AT_ONCE) for first in range(0, resamples, RESAMPLES_AT_ONCE)]
    whole, total, pairs = 0.0, np.zeros(resamples), np.zeros(resamples)
    for rows, sums in _differences(sides):
        count, own = len(sums), np.diagonal(sums).astype(np.float32)
        # what stands right of the block's own square has a mirror image below it
        whole += float(sums[:, :count].sum() - np.trace(sums) + 2 * sums[:, count:].sum())
        halves = sums.astype(np.float32)
        halves[:, :count] /= 2
        for chunk in chunks:
            times = drawn[rows.start :, chunk].astype(np.float32)
            mine = times[:count]
            total[chunk] += 2 * (mine * (halves @ times)).sum(axis=0, dtype=np.float64) - own @ mine**2
    for chunk in chunks:
        times = drawn[:, chunk].astype(np.float64)
        pairs[chunk] = (sizes @ times) ** 2 - sizes**2 @ times**2
    # A resample of one photo alone holds no pair: it says nothing and is left out.
    draws = np.divide(total, pairs, out=np.full_like(total, np.nan), where=pairs > 0)
    return whole / float(sizes.sum() ** 2 - (sizes**2).sum()), draws


def _differences(sides: _Sides) -> Iterator[tuple[slice, Features]]:
    """Blocks of photos, and k(a, a) + k(b, b) - k(a, b) - k(b, a) summed over images, for them and all behind them.

    A block holds whole photos, with `BLOCK` images at most.
    """
    a, b = sides.a.features, sides.b.features
    starts = np.append(np.unique(sides.a.photo, return_index=True)[1], len(a))
    first = 0
    while first < len(starts) - 1:
        last = int(np.searchsorted(starts, starts[first] + BLOCK, side="right")) - 1
        rows = slice(starts[first], starts[last])
        values = np.empty((rows.stop - rows.start, len(a) - rows.start))
        # in tiles that stay in the processor's cache
        for column in range(rows.start, len(a), TILE):
            columns = slice(column, column + TILE)
            tile = _kernel(a[rows], a[columns])
            tile += _kernel(b[rows], b[columns])
            tile -= _kernel(a[rows], b[columns])
            tile -= _kernel(b[rows], a[columns])
            values[:, column - rows.start : columns.stop - rows.start] = tile
        begins = starts[first:-1] - starts[first]
        sums = _summed(_summed(values, begins, 1), begins[: last - first], 0)
        yield slice(first, last), sums
        first = last


def _mean(x: _Side, y: _Side) -> float:
    """Mean kernel value over the pairs of images of different photos."""
    total, pairs = 0.0, 0
    for block in _sums_over_photos(x, y, offset=0.0):
        shared, partner = block.shared
        total += float(block.sums.sum() - block.sums[shared, partner].sum())
        pairs += int(block.sizes_x.sum() * block.sizes_y.sum())
        pairs -= int((block.sizes_x[shared] * block.sizes_y[partner]).sum())
    return total / pairs


def _resampled_mean(x: _Side, y: _Side, drawn: Counts, offset: float) -> Features:
    """As `_mean`, less `offset`, for each resample; `drawn` [photos, resamples] counts the draws."""
    total, pairs = np.zeros(drawn.shape[1]), np.zeros(drawn.shape[1])
    for block in _sums_over_photos(x, y, offset):
        sums = block.sums.astype(np.float32)
        shared, partner = block.shared
        for first in range(0, drawn.shape[1], RESAMPLES_AT_ONCE):
            chunk = slice(first, first + RESAMPLES_AT_ONCE)
            times_x = drawn[block.photos_x, chunk].astype(np.float32)
            times_y = drawn[block.photos_y, chunk].astype(np.float32)
            total[chunk] += (times_x * (sums @ times_y)).sum(axis=0, dtype=np.float64)
            pairs[chunk] += (block.sizes_x @ times_x) * (block.sizes_y @ times_y)
            same_photo = times_x[shared] ** 2
            total[chunk] -= sums[shared, partner] @ same_photo
            pairs[chunk] -= (block.sizes_x[shared] * block.sizes_y[partner]) @ same_photo
    # A resample of one photo alone holds no pair: it says nothing and is left out.
    return np.divide(total, pairs, out=np.full_like(total, np.nan), where=pairs > 0)


@dataclass(frozen=True)
class _Block:
    """Kernel values summed over the images of pairs of photos: `sums` [g, h] for photos [g] and [h].

    `sizes_x` and `sizes_y` count the images of each photo that took part.
    """

    photos_x: Integers
    photos_y: Integers
    sizes_x: Integers
    sizes_y: Integers
    sums: Features

    @property
    def shared(self) -> tuple[Integers, Integers]:
        """Where in `sums` a photo meets itself."""
        _, rows, columns = np.intersect1d(self.photos_x, self.photos_y, return_indices=True)
        return rows, columns


def _sums_over_photos(x: _Side, y: _Side, offset: float) -> Iterator[_Block]:
    """Blocks of `BLOCK` images of `x` against all of `y`, kernel values less `offset`.

    All that is done with a block is linear in its rows, so a photo may be split between two.
    """
    photos_y, starts_y, sizes_y = np.unique(y.photo, return_index=True, return_counts=True)
    for first in range(0, len(x.features), BLOCK):
        rows = slice(first, first + BLOCK)
        values = _kernel(x.features[rows], y.features) - offset
        photos, starts, sizes = np.unique(x.photo[rows], return_index=True, return_counts=True)
        yield _Block(photos, photos_y, sizes, sizes_y, _summed(_summed(values, starts_y, 1), starts, 0))


def _summed(values: Features, starts: Integers, axis: int) -> Features:
    """Sums of the runs that begin at `starts`; free where every run is one long."""
    if len(starts) == values.shape[axis]:
        return values
    sums: Features = np.add.reduceat(values, starts, axis=axis)
    return sums


def _times_drawn(sides: _Sides, resamples: int, random: np.random.Generator) -> Counts:
    """How often each photo was drawn [photos, resamples].

    Photos of only one side and photos of both are drawn among themselves, so that every resample
    has as many photos of each kind as there are.
    """
    in_a, in_b = np.unique(sides.a.photo), np.unique(sides.b.photo)
    drawn: Counts = np.zeros((max(in_a[-1], in_b[-1]) + 1, resamples), dtype=np.uint16)
    for kind in (np.intersect1d(in_a, in_b), np.setdiff1d(in_a, in_b), np.setdiff1d(in_b, in_a)):
        for column in range(resamples if len(kind) else 0):
            picks = random.integers(0, len(kind), size=len(kind))
            drawn[kind, column] = np.bincount(picks, minlength=len(kind))
    return drawn


def _kernel(x: Features, y: Features) -> Features:
    values = (x / x.shape[1]) @ y.T
    values += 1
    # Two products: NumPy's power is ten times slower.
    result: Features = values * values
    result *= values
    return result
