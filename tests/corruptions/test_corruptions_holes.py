"""Which pixels each corruption hides, worked out by hand, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from efface.corruptions import CORRUPTIONS, Hole, parse_corruption
from efface.corruptions.base import touched_patches
from efface.errors import InputError

MODELS = [(16, 2), (24, 3), (32, 4), (64, 8), (98, 7), (224, 14), (224, 16), (384, 24)]
"""Side in pixels and patches per side."""

CENTRE = """
........
........
..####..
..####..
..####..
..####..
........
........
"""
DRAWN = {
    "centre:0.5": CENTRE,
    "centre:2x2b": CENTRE,
    "rectangle:0.25,0.25,0.5,0.5": CENTRE,
    # 0.375 of 8 are 3 pixels; the odd pixel of the margin lies at the bottom right
    "centre:0.375": """
........
........
..###...
..###...
..###...
........
........
........
""",
    # 1 block cannot lie in the middle of 4: half a patch towards the top left
    "centre:1x1b": """
........
........
..##....
..##....
........
........
........
........
""",
    "rectangle:0.125,0,0.25,0.75": """
........
######..
######..
........
........
........
........
........
""",
    "extend-up:0.25": """
########
########
........
........
........
........
........
........
""",
    "extend-left:0.125": """
#.......
#.......
#.......
#.......
#.......
#.......
#.......
#.......
""",
    "extend-down:0.375": """
........
........
........
........
........
########
########
########
""",
    "extend-right:0.25": """
......##
......##
......##
......##
......##
......##
......##
......##
""",
    "outpaint:0.5": CENTRE.replace("#", "x").replace(".", "#").replace("x", "."),
}


def hidden(text: str, size: int, grid: int, seed: int = 0) -> np.ndarray:
    corruption = parse_corruption(text)
    assert isinstance(corruption, Hole)
    return corruption.hidden(size, grid, np.random.default_rng(seed))


def pixels_of(drawing: str) -> np.ndarray:
    return np.array([[mark == "#" for mark in row] for row in drawing.split()])


@pytest.mark.parametrize("text", DRAWN)
def test_exactly_these_pixels_are_hidden(text: str) -> None:
    assert hidden(text, 8, 4).tolist() == pixels_of(DRAWN[text]).tolist()


def test_half_a_pixel_is_rounded_up() -> None:
    assert np.argwhere(hidden("centre:0.5", 5, 5)).tolist() == [[r, c] for r in (1, 2, 3) for c in (1, 2, 3)]


def test_fraction_and_blocks_of_the_paper_are_the_same_hole() -> None:
    assert (hidden("centre:0.25", 256, 16) == hidden("centre:4x4b", 256, 16)).all()
    assert (hidden("centre:0.5", 256, 16) == hidden("centre:8x8b", 256, 16)).all()


def test_blocks_follow_the_grid_and_fractions_do_not() -> None:
    assert hidden("centre:2x2b", 32, 4).sum() == 16**2
    assert hidden("centre:2x2b", 32, 8).sum() == 8**2
    assert hidden("centre:0.5", 32, 4).sum() == hidden("centre:0.5", 32, 8).sum() == 16**2


@pytest.mark.parametrize(
    ("ratio", "grid", "visible"), [(0.75, 14, 49), (0.75, 4, 4), (0.9, 10, 10), (0.5, 3, 4), (0.6, 5, 10)]
)
def test_random_patches_leave_the_count_of_he_et_al(ratio: float, grid: int, visible: int) -> None:
    mask = hidden(f"random:{ratio}", 8 * grid, grid)
    whole = mask.reshape(grid, 8, grid, 8).mean(axis=(1, 3))
    assert set(np.unique(whole)) == {0.0, 1.0}, "patches are hidden whole"
    assert (whole == 0).sum() == visible


def test_random_patches_hide_every_patch_alike() -> None:
    share = np.mean([hidden("random:0.75", 16, 4, seed) for seed in range(400)], axis=0)
    # 400 draws: the standard error of a share of 0.75 is 0.022
    assert abs(share - 0.75).max() < 0.1


def test_a_patch_that_is_touched_at_all_counts_as_hidden() -> None:
    mask = np.zeros((8, 8), dtype=bool)
    mask[1, 1] = mask[3, 4] = True
    assert touched_patches(mask, 4).tolist() == [
        [True, False, False, False],
        [False, False, True, False],
        [False, False, False, False],
        [False, False, False, False],
    ]
    # 3 of 8 pixels from pixel 2 on: patches 1 and 2 of 4, although the second is only half hidden
    widened = touched_patches(hidden("centre:0.375", 8, 4), 4)
    assert np.argwhere(widened).tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]


def test_patches_of_a_batch_are_widened_one_by_one() -> None:
    masks = np.stack([hidden("extend-up:0.25", 8, 4), hidden("extend-left:0.125", 8, 4)])
    widened = touched_patches(masks[:, None], 4)
    assert widened.shape == (2, 1, 4, 4)
    assert np.argwhere(widened[0, 0])[:, 0].tolist() == [0] * 4
    assert np.argwhere(widened[1, 0])[:, 1].tolist() == [0] * 4


@pytest.mark.parametrize(
    "text",
    [
        *DRAWN,
        "centre",
        "centre:",
        "centre:0.3333333333333333",
        "centre:10x10b",
        "rectangle:0.1,0.2,0.30000000000000004,0.7",
        "extend-down",
        "outpaint",
        "outpaint:0.123456789",
        "random",
        "random:0.9999999",
        "random:1e-05",
    ],
)
def test_what_is_printed_reads_back_to_the_same_corruption(text: str) -> None:
    corruption = parse_corruption(text)
    assert parse_corruption(str(corruption)) == corruption
    assert str(parse_corruption(str(corruption))) == str(corruption)


def test_printed_names() -> None:
    texts = ["centre", "centre:0.50", "centre:08x08b", "extend-up", "outpaint: 0.25", "rectangle:0,0,1,.5"]
    assert [str(parse_corruption(text)) for text in texts] == [
        "centre:0.5",
        "centre:0.5",
        "centre:8x8b",
        "extend-up:0.25",
        "outpaint:0.25",
        "rectangle:0,0,1,0.5",
    ]


def test_sides_are_not_confused() -> None:
    sides = [parse_corruption(f"extend-{side}:0.25") for side in ("up", "left", "down", "right")]
    assert len(set(sides)) == 4


@pytest.mark.parametrize(
    "text",
    [
        "centre:0", "centre:1", "centre:0x0b", "centre:99x99b", "outpaint:0", "outpaint:1",
        "extend-up:0", "extend-up:1", "extend-left:0", "extend-down:1", "extend-right:0",
        "random:0", "random:1",
    ],
)  # fmt: skip
def test_the_valid_range_in_a_refusal_is_valid(text: str) -> None:
    for size, grid in MODELS:
        the_valid_range_is_valid(text, size, grid)


def the_valid_range_is_valid(text: str, size: int, grid: int) -> None:
    with pytest.raises(InputError) as refusal:
        parse_corruption(text).check(size, grid)
    message = str(refusal.value)
    assert f"'{parse_corruption(text)}'" in message
    assert f"{size} px, {grid} x {grid} patches" in message
    ranges = re.findall(r"([a-z-]+):(\S+) with [FKR] from (\S+) to ([\d.]*\d)", message)
    assert ranges
    for name, shape, lowest, highest in ranges:
        assert float(lowest) <= float(highest)
        for end in (lowest, highest):
            valid = f"{name}:{re.sub('[FKR]', end, shape)}"
            parse_corruption(valid).check(size, grid)


@pytest.mark.parametrize(("size", "grid"), MODELS)
def test_the_valid_rectangle_in_a_refusal_is_valid(size: int, grid: int) -> None:
    with pytest.raises(InputError, match="hides no pixel") as refusal:
        parse_corruption("rectangle:0.5,0.5,0,0.5").check(size, grid)
    smallest = re.search(r"at least (\S+) that", str(refusal.value))
    assert smallest
    parse_corruption(f"rectangle:0.5,0.5,{smallest[1]},{smallest[1]}").check(size, grid)
    parse_corruption(f"rectangle:0,0,1,{1 - 1 / grid}").check(size, grid)
    with pytest.raises(InputError, match=f"leaves no visible patch.*1/{grid} of the side"):
        parse_corruption(f"rectangle:0,0,1,{1 - 0.5 / grid}").check(size, grid)


def test_a_hole_that_touches_every_patch_is_refused_though_pixels_remain() -> None:
    corruption = parse_corruption("outpaint:0.2")
    assert isinstance(corruption, Hole)
    assert not corruption.hidden(32, 4, np.random.default_rng(0)).all()
    with pytest.raises(InputError, match="leaves no visible patch"):
        corruption.check(32, 4)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("center:0.5", "did you mean 'centre'"),
        ("outpainting:0.5", "did you mean 'outpaint'"),
        ("fog", "Valid: blur"),
        ("centre:1.5", "between 0 and 1, for example centre:0.5"),
        ("centre:-0.1", "between 0 and 1"),
        ("centre:half", "the side of the hole"),
        ("centre:nan", "between 0 and 1"),
        ("random:inf", "the share of hidden patches"),
        ("centre:0.5,0.5", "the side of the hole"),
        ("centre:8x4b", "the hole is square"),
        ("rectangle", "top, left, height, width"),
        ("rectangle:0,0,1", "top, left, height, width"),
        ("rectangle:0.6,0,0.6,0.5", "reaches outside the image"),
        ("rectangle:0,0.6,0.5,0.6", "left \\+ width may be at most 1"),
    ],
)
def test_wrong_arguments_are_refused_with_the_way_to_write_them(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        parse_corruption(text)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_example_in_the_help_works_on_a_common_model(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("edges").mkdir()
    Path("pairs.csv").touch()
    kind = CORRUPTIONS[name]
    for example in kind.usage.split(" or "):
        corruption = parse_corruption(example)
        assert type(corruption) is kind
        corruption.check(224, 14)
        assert parse_corruption(str(corruption)) == corruption
    assert kind.summary
