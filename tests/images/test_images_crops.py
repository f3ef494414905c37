"""Crops: exact where they can be worked by hand, keyed so that order never matters."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from efface.images.cache import PixelCache
from efface.images.crops import batch, central_window, centre_crop, evaluation_crops, random_resized_crop
from efface.images.items import ImageSet
from efface.images.sources import open_images
from efface.randomness import numpy_draws


def ramp(height: int, width: int) -> np.ndarray:
    """Red is the row, green the column: a crop shows where it was cut."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, 0 * rows], axis=2).astype(np.uint8)


def test_the_centre_crop_of_a_wide_image_cuts_both_sides_alike() -> None:
    crop = centre_crop(ramp(4, 10), 4)
    assert crop.shape == (3, 4, 4)
    assert crop[1, 0].tolist() == [3, 4, 5, 6]
    assert crop[0, :, 0].tolist() == [0, 1, 2, 3]


def test_a_full_scale_square_crop_is_the_whole_image() -> None:
    pixels = ramp(16, 16)
    crop = random_resized_crop(pixels, 16, numpy_draws(0), scale=(1, 1), ratio=(1, 1), flip=False)
    assert (crop == pixels.transpose(2, 0, 1)).all()


def test_crops_are_flipped_half_of_the_time() -> None:
    pixels = ramp(16, 16)
    whole = partial(random_resized_crop, scale=(1, 1), ratio=(1, 1))
    flipped = sum(int(whole(pixels, 16, numpy_draws(i))[1, 0, 0] == 15) for i in range(1000))
    assert 440 < flipped < 560  # within 3.8 standard deviations


def test_crop_areas_and_aspects_stay_within_bounds() -> None:
    for index in range(200):
        crop = random_resized_crop(ramp(200, 200), 32, numpy_draws(index), flip=False).astype(int)
        height, width = (np.ptp(crop[0]) * 32 / 31, np.ptp(crop[1]) * 32 / 31)
        assert 0.18 < height * width / 200**2 <= 1.05
        assert 0.7 < width / height < 1.42


def test_an_image_too_narrow_for_any_draw_gives_its_central_window() -> None:
    crop = random_resized_crop(ramp(200, 2), 8, numpy_draws(0), scale=(1, 1), flip=False)
    assert abs(int(crop[0].mean()) - 99) <= 1


def test_a_single_pixel_becomes_a_flat_square() -> None:
    pixels = np.full((1, 1, 3), 7, np.uint8)
    assert (random_resized_crop(pixels, 4, numpy_draws(0)) == 7).all()
    assert (centre_crop(pixels, 4) == 7).all()
    assert (evaluation_crops(pixels, 4, 3, numpy_draws(0)) == 7).all()


def test_one_evaluation_crop_is_the_centre_crop_where_training_cuts_such_squares() -> None:
    pixels = ramp(40, 60)
    assert (evaluation_crops(pixels, 16, 1, numpy_draws(0))[0] == centre_crop(pixels, 16)).all()


@pytest.mark.parametrize(
    ("shape", "scale", "window"),
    [
        ((40, 60), (0.2, 1.0), (40, 40)),  # a square of two thirds of the area
        ((40, 60), (0.92, 1.0), (40, 53)),  # no square covers that much: as wide as 4 to 3 allows
        ((60, 40), (0.92, 1.0), (53, 40)),
        ((40, 50), (0.9, 1.0), (40, 50)),  # 5 to 4 is allowed: the whole image
        ((40, 40), (0.25, 0.25), (20, 20)),
        ((40, 40), (1.0, 1.0), (40, 40)),
        ((200, 2), (1.0, 1.0), (3, 2)),
    ],
)
def test_the_central_view_covers_what_crops_of_the_training_cover(
    shape: tuple[int, int], scale: tuple[float, float], window: tuple[int, int]
) -> None:
    assert central_window(*shape, scale) == window


def test_further_views_are_cut_as_training_cuts_and_the_first_of_them_are_the_same() -> None:
    pixels, scale = ramp(100, 125), (0.9, 1.0)
    crops = evaluation_crops(pixels, 16, 6, numpy_draws("photo"), scale)
    assert crops.shape == (6, 3, 16, 16)
    draws = numpy_draws("photo")
    others = [random_resized_crop(pixels, 16, draws, scale=scale, flip=False) for _ in range(5)]
    assert (crops[1:] == np.stack(others)).all()
    # near the whole photo every view begins near its left edge, and ends near its right one
    assert max(int(crop[1].min()) for crop in crops) < 20
    assert min(int(crop[1].max()) for crop in crops) > 100
    assert (evaluation_crops(pixels, 16, 3, numpy_draws("photo"), scale) == crops[:3]).all()


@pytest.fixture
def cached(animals: Path, tmp_path: Path) -> tuple[PixelCache, ImageSet]:
    images = open_images(animals)
    cache = PixelCache(tmp_path / "cache", 64)
    cache.add(images)
    return cache, images


def test_keyed_crops_do_not_depend_on_order_batch_or_threads(cached: tuple[PixelCache, ImageSet]) -> None:
    cache, images = cached
    whole = batch(cache, images.ids, 24, random_resized_crop, (0, 3), threads=1)
    assert whole.shape == (6, 3, 24, 24)
    order = [5, 2, 0, 4, 1, 3]
    shuffled = batch(cache, [images.ids[i] for i in order], 24, random_resized_crop, (0, 3), threads=4)
    assert (shuffled == whole[order]).all()
    single = batch(cache, images.ids[4:5], 24, random_resized_crop, (0, 3))
    assert (single[0] == whole[4]).all()


def test_another_epoch_or_seed_crops_differently(cached: tuple[PixelCache, ImageSet]) -> None:
    cache, images = cached
    crops = [batch(cache, images.ids, 24, random_resized_crop, keys) for keys in ((0, 0), (0, 1), (1, 0))]
    assert not (crops[0] == crops[1]).all()
    assert not (crops[0] == crops[2]).all()


def test_a_batch_without_a_crop_is_centred(cached: tuple[PixelCache, ImageSet]) -> None:
    cache, images = cached
    assert (batch(cache, images.ids, 24)[3] == centre_crop(cache.read(images.ids[3]), 24)).all()
    assert batch(cache, (), 24).shape == (0, 3, 24, 24)


def test_a_batch_with_an_unknown_image_is_an_error(cached: tuple[PixelCache, ImageSet]) -> None:
    with pytest.raises(KeyError):
        batch(cached[0], ["0" * 64, "1" * 64], 24, threads=2)
