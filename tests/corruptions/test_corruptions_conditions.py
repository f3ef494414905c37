"""Degraded pictures, worked out by hand where that can be done, and pairs."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from efface.corruptions import CORRUPTIONS, Degradation, parse_corruption
from efface.corruptions.degradations import gaussian
from efface.errors import InputError
from efface.randomness import Draws

IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
DRAWS = Draws(0, ("a", "b", "c"), (0, 0, 0))
DEGRADING = [
    example
    for kind in CORRUPTIONS.values()
    if issubclass(kind, Degradation)
    for example in kind.usage.split(" or ")
]
RED, GREEN, BLUE, GREY = (1, 0, 0), (0, 1, 0), (0, 0, 1), (0.4, 0.4, 0.4)


def plain(*colours: tuple[float, float, float], size: int = 8) -> torch.Tensor:
    """One picture of each colour."""
    return torch.tensor(colours)[:, :, None, None].expand(-1, -1, size, size).contiguous().float()


def seen(text: str, images: torch.Tensor) -> torch.Tensor:
    corruption = parse_corruption(text)
    draws = Draws(0, tuple(map(str, range(len(images)))), (0,) * len(images))
    return corruption.apply(images, 4, draws).condition


@pytest.mark.parametrize("text", DEGRADING)
def test_a_degraded_picture_is_shown_and_nothing_is_known(text: str) -> None:
    images = IMAGES.clone()
    result = parse_corruption(text).apply(images, 4, DRAWS)
    assert result.condition.shape == images.shape
    assert result.condition.dtype == images.dtype
    assert result.condition.min() >= 0
    assert result.condition.max() <= 1
    assert not torch.equal(result.condition, images)
    assert result.known.shape == result.region.shape == (3, 1, 32, 32)
    assert result.known.dtype == result.region.dtype == torch.bool
    assert not result.known.any()
    assert result.region.all()
    assert result.touched.shape == (3, 4, 4)
    assert result.touched.all()
    assert torch.equal(images, IMAGES), "the images themselves stay as they were"


@pytest.mark.parametrize("text", DEGRADING)
def test_what_is_shown_depends_on_that_image_alone_and_on_no_draw(text: str) -> None:
    together = seen(text, IMAGES)
    for index in range(3):
        assert torch.equal(seen(text, IMAGES[index : index + 1]), together[index : index + 1])
    other = parse_corruption(text).apply(IMAGES, 4, Draws(9, ("x", "y", "z"), (3, 4, 5)))
    assert torch.equal(other.condition, together)


def test_luma_of_the_primaries_is_that_of_the_standards() -> None:
    grey = seen("colour", plain(RED, GREEN, BLUE))
    assert torch.equal(grey[:, 0], grey[:, 2])
    assert grey[:, 0, 0, 0].tolist() == pytest.approx([0.299, 0.587, 0.114])
    assert seen("colour:0,rec709", plain(RED, GREEN, BLUE))[:, 0, 0, 0].tolist() == pytest.approx(
        [0.2126, 0.7152, 0.0722]
    )


def test_a_share_of_the_colour_can_stay() -> None:
    # luma of red is 0.299: 0.299 + 0.25 * (1 - 0.299) and 0.299 - 0.25 * 0.299
    assert seen("colour:0.25", plain(RED))[0, :, 0, 0].tolist() == pytest.approx([0.47425, 0.22425, 0.22425])
    assert torch.allclose(seen("colour:0.7", plain(GREY)), plain(GREY))


def test_a_jpeg_is_what_pillow_writes_at_that_quality() -> None:
    pixels = (IMAGES[0] * 255).round().byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=20)
    expected = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1).float() / 255
    assert torch.equal(seen("jpeg:20", IMAGES[:1])[0], expected)


def test_a_jpeg_of_lower_quality_is_further_from_the_image() -> None:
    errors = [(seen(f"jpeg:{quality}", IMAGES) - IMAGES).square().mean().item() for quality in (5, 30, 95)]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("text", ["downsample:4", "blur:0.02", "jpeg:50"])
def test_a_plain_picture_stays_as_it_is(text: str) -> None:
    assert torch.allclose(seen(text, plain(GREY, size=32)), plain(GREY, size=32), atol=1e-5)


def test_shrinking_averages_what_is_finer_than_the_new_pixels() -> None:
    board = torch.zeros(1, 3, 32, 32)
    board[..., ::2, ::2] = board[..., 1::2, 1::2] = 1
    shown = seen("downsample:4", board)[..., 8:24, 8:24]
    assert torch.allclose(shown, torch.full_like(shown, 0.5), atol=0.02)


def test_a_wave_longer_than_the_new_pixels_survives_and_a_shorter_one_does_not() -> None:
    place = torch.arange(64) / 64
    for waves, kept in ((2, 1.0), (24, 0.0)):
        wave = (0.5 + 0.4 * torch.sin(2 * math.pi * waves * place)).expand(1, 3, 64, 64)
        swing = seen("downsample:4", wave)[..., 16:48].std() / wave[..., 16:48].std()
        assert abs(swing.item() - kept) < 0.05


def test_a_gaussian_keeps_the_sum_of_a_point_and_has_its_width() -> None:
    point = torch.zeros(1, 1, 33, 33)
    point[..., 16, 16] = 1
    spread = gaussian(point, 2.0)[0, 0]
    assert spread.sum().item() == pytest.approx(1, abs=1e-5)
    place = torch.arange(33) - 16.0
    # cut off at three deviations, the variance of 4 shrinks by about 3 %
    assert (spread.sum(0) * place.square()).sum().item() == pytest.approx(4, rel=0.04)
    assert spread[16, 17].item() == pytest.approx(spread[17, 16].item())
    assert spread[16, 18].item() / spread[16, 16].item() == pytest.approx(math.exp(-0.5), rel=1e-5)


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_a_plain_picture_has_no_lines(level: float) -> None:
    assert torch.equal(seen("sketch:0.01", plain((level,) * 3, size=32)), torch.ones(1, 3, 32, 32))


def test_an_edge_is_one_dark_line_along_its_dark_side() -> None:
    step = torch.full((1, 3, 64, 64), 0.2)
    step[..., 32:] = 0.8
    shown = seen("sketch:0.015", step)
    assert torch.equal(shown[:, 0], shown[:, 2])
    row = shown[0, 0, 20]
    assert row[31] < 0.2
    assert row[32:].min() == 1
    assert row[:26].min() == 1
    assert torch.allclose(shown[0, 0], row.expand(64, 64), atol=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "colour",
        "colour:0.25",
        "colour:0.5,rec709",
        "jpeg:1",
        "downsample:7",
        "blur:0.1",
        "sketch",
        "paired:a/b:c",
    ],
)
def test_what_is_printed_reads_back(text: str) -> None:
    corruption = parse_corruption(text)
    assert parse_corruption(str(corruption)) == corruption


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("colour:2", "fractions of colour"),
        ("colour:0,rec2020", "rec601 or rec709"),
        ("jpeg:high", "a whole quality"),
        ("jpeg:10.5", "a whole quality"),
        ("downsample:x4", "a whole factor"),
        ("blur:-1", "the standard deviation"),
        ("sketch:0.1,0.2", "the width of a line"),
        ("paired", "columns image, condition"),
    ],
)
def test_wrong_arguments_are_refused(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        parse_corruption(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("colour:1", "takes no colour away"),
        ("jpeg:0", "from 1 to 95"),
        ("jpeg:100", "from 1 to 95"),
        ("downsample:1", "whole N from 2 to 16"),
        ("downsample:17", "whole N from 2 to 16"),
        ("blur:0.001", "F from 0.0094 to 0.25"),
        ("blur:0.3", "to 0.25"),
        ("sketch", "F from 0.0094 to 0.0625"),
        ("paired:nowhere", "no such folder or manifest"),
    ],
)
def test_what_a_model_of_32_pixels_cannot_use_is_refused(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        parse_corruption(text).check(32, 4)


@pytest.mark.parametrize(
    "text", ["downsample:2", "downsample:16", "blur:0.0094", "blur:0.25", "sketch:0.0094"]
)
def test_the_ends_of_the_valid_ranges_are_valid(text: str) -> None:
    parse_corruption(text).check(32, 4)


def test_a_pair_shows_the_picture_that_it_is_handed(tmp_path: Path) -> None:
    paired = parse_corruption(f"paired:{tmp_path}")
    paired.check(32, 4)
    result = paired.apply(IMAGES, 4, DRAWS, 1 - IMAGES)
    assert torch.equal(result.condition, 1 - IMAGES)
    assert not result.known.any()
    assert result.region.all()
    with pytest.raises(ValueError, match="needs the other pictures"):
        paired.apply(IMAGES, 4, DRAWS)
    with pytest.raises(ValueError, match="do not fit"):
        paired.apply(IMAGES, 4, DRAWS, IMAGES[:, :, :16])
