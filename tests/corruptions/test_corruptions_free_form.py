"""Brush strokes and random rectangles: their laws, and that something is always seen and something hidden."""

from __future__ import annotations

import numpy as np
import pytest

from efface.corruptions import Hole, parse_corruption, touched_patches
from efface.corruptions.boxes import LEAST, MARGIN, MOST
from efface.corruptions.strokes import WIDTHS, brushed
from efface.errors import InputError
from efface.randomness import numpy_draws

SIZE, GRID, COUNT = 64, 8, 300


def masks(text: str, count: int = COUNT, size: int = SIZE, grid: int = GRID) -> np.ndarray:
    corruption = parse_corruption(text)
    assert isinstance(corruption, Hole)
    corruption.check(size, grid)
    return np.stack([corruption.hidden(size, grid, numpy_draws("law", index)) for index in range(count)])


def runs(line: np.ndarray) -> list[tuple[int, int]]:
    """(first, length) of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], line.astype(int), [0]))))
    return [(int(start), int(stop - start)) for start, stop in edges.reshape(-1, 2)]


def test_the_hidden_share_of_strokes_is_uniform_in_what_was_asked_for() -> None:
    shares = masks("brush:0.2,0.4").mean(axis=(1, 2))
    half_a_pixel = 0.5 / SIZE**2
    assert shares.min() >= 0.2 - half_a_pixel
    assert shares.max() <= 0.4 + half_a_pixel
    # the law of U(0.2, 0.4): mean 0.3, deviation 0.0577; the standard error of the mean of 300 is 0.0033
    assert abs(shares.mean() - 0.3) < 0.012
    assert abs(shares.std() - 0.0577) < 0.006


@pytest.mark.parametrize("share", [0.05, 0.25, 0.8])
def test_strokes_stop_at_exactly_the_share(share: float) -> None:
    for seed in range(20):
        mask = brushed(SIZE, GRID, share, numpy_draws(seed))
        assert int(mask.sum()) == round(share * SIZE * SIZE)


def test_no_place_is_spared_by_the_strokes() -> None:
    share = masks("brush:0.2,0.4").reshape(COUNT, 8, 8, 8, 8).mean(axis=(0, 2, 4))
    assert share.min() > 0.15
    assert share.max() < 0.45
    # strokes that run into the border stay there, so only the inner part is even
    assert np.ptp(share[2:6, 2:6]) < 0.12


def test_strokes_are_thick_lines_and_no_dust() -> None:
    for mask in masks("brush:0.2,0.4", 20, size=256, grid=16):
        # every hidden pixel, but for a stroke's cut-off end, lies in a stroke of 12 to 40 pixels
        inner = mask[:-1, :-1] & mask[1:, :-1] & mask[:-1, 1:] & mask[1:, 1:]
        lengths = [length for row in mask for _, length in runs(row)]
        assert inner.sum() > 0.9 * mask.sum()
        assert np.median(lengths) >= WIDTHS[0] * 256


def test_the_sides_of_a_box_are_uniform_and_it_keeps_its_margin() -> None:
    heights, widths, places = [], [], []
    for mask in masks("box:0.25,0.5"):
        ((top, height),) = runs(mask.any(axis=1))
        ((left, width),) = runs(mask.any(axis=0))
        assert mask.sum() == height * width, "a box is whole"
        assert min(top, left) >= round(MARGIN * SIZE)
        assert max(top + height, left + width) <= SIZE - round(MARGIN * SIZE)
        heights.append(height)
        widths.append(width)
        places += [(top - 5) / (SIZE - 10 - height), (left - 5) / (SIZE - 10 - width)]
    for sides in (heights, widths):
        assert min(sides) >= 16
        assert max(sides) <= 32
        assert abs(np.mean(sides) - 24) < 1.1  # deviation 4.6, standard error 0.27
    assert abs(np.corrcoef(heights, widths)[0, 1]) < 0.2
    assert abs(np.mean(places) - 0.5) < 0.06


def test_a_box_without_arguments_is_that_of_the_paper() -> None:
    assert (LEAST * 256, MOST * 256, MARGIN * 256) == (88, 128, 20)
    sides = [runs(mask.any(axis=1))[0][1] for mask in masks("box", 100, size=256, grid=16)]
    assert min(sides) >= 88
    assert max(sides) <= 128


def test_box_and_brush_are_both_there() -> None:
    corruption = parse_corruption("box-brush")
    assert isinstance(corruption, Hole)
    for seed in range(30):
        mask = corruption.hidden(SIZE, GRID, numpy_draws(seed))
        box = corruption.box.hidden(SIZE, GRID, numpy_draws(seed))
        assert (mask | box == mask).all()
        assert mask.sum() > box.sum()
        assert (mask & ~box).mean() <= 0.25


@pytest.mark.parametrize("text", ["brush:0.2,0.4", "brush:0.5,0.6", "box", "box:0.1,0.3,0.35", "box-brush"])
@pytest.mark.parametrize(("size", "grid"), [(32, 4), (24, 3), (224, 14), (32, 32)])
def test_a_whole_patch_is_always_seen_and_a_pixel_hidden(text: str, size: int, grid: int) -> None:
    corruption = parse_corruption(text)
    assert isinstance(corruption, Hole)
    try:
        corruption.check(size, grid)
    except InputError:
        assert grid == 3, "only the coarsest grid is too coarse"
        return
    for seed in range(40):
        mask = corruption.hidden(size, grid, numpy_draws(seed))
        assert mask.any()
        assert not touched_patches(mask, grid).all()


def test_a_tiny_share_hides_one_pixel() -> None:
    assert brushed(16, 4, 0.0, numpy_draws(0)).sum() == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("brush:0.4,0.2", "the least share is above the most"),
        ("brush:0.2", "fractions of pixels"),
        ("box:0.5,0.25", "the least side is above the most"),
        ("box:0.5,0.9", "does not fit"),
        ("box:0.2,0.5,0.3", "does not fit"),
        ("box-brush:0.2,0.5", "least and most share of the strokes"),
        ("box-brush:0.2,0.5,0.4,0.3", "the least share is above the most"),
    ],
)
def test_wrong_arguments_are_refused(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        parse_corruption(text)


@pytest.mark.parametrize(("size", "grid"), [(16, 2), (24, 3), (32, 4), (224, 14)])
def test_what_a_refusal_offers_is_valid(size: int, grid: int) -> None:
    with pytest.raises(InputError, match="may leave no visible patch") as refusal:
        parse_corruption("brush:0.1,0.99").check(size, grid)
    most = str(refusal.value).rsplit(" ", 1)[1]
    parse_corruption(f"brush:0.1,{most}").check(size, grid)
    with pytest.raises(InputError, match="may leave no visible patch") as refusal:
        parse_corruption("box:0.1,0.999,0").check(size, grid)
    offers = str(refusal.value).partition("patches): ")[2].split(", or ")
    for offer in offers:
        shape, _, most = offer.rpartition(" ")
        margin = shape.split(",")[2].split(" ")[0] if shape.count(",") == 2 else str(MARGIN)
        parse_corruption(f"box:{1 / size},{most},{margin}").check(size, grid)


def test_the_largest_box_leaves_a_patch_and_a_larger_one_need_not() -> None:
    # 32 px, patches of 8: 17 px cannot reach the first and the last patch of a row, 18 can
    for text, all_touched in (("box:0.53125,0.53125,0", False), ("box:0.5625,0.5625,0", True)):
        box = parse_corruption(text)
        assert isinstance(box, Hole)
        draws = [numpy_draws(seed) for seed in range(400)]
        assert any(touched_patches(box.hidden(32, 4, rng), 4).all() for rng in draws) == all_touched
    parse_corruption("box:0.53125,0.53125,0").check(32, 4)
    with pytest.raises(InputError, match="may leave no visible patch"):
        parse_corruption("box:0.5625,0.5625,0").check(32, 4)


def test_too_little_to_hide_is_refused() -> None:
    with pytest.raises(InputError, match="may hide no pixel"):
        parse_corruption("brush:0,0.2").check(32, 4)
    with pytest.raises(InputError, match="may hide no pixel"):
        parse_corruption("box:0.001,0.2").check(32, 4)
