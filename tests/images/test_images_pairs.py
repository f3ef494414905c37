"""Which file belongs to which image, and that everything wrong with pairs is said at once."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from efface.errors import InputError
from efface.images.cache import PixelCache
from efface.images.crops import fitted, random_resized_crop
from efface.images.items import ImageSet
from efface.images.pairs import open_pairs
from efface.images.reading import decode
from efface.images.sources import open_images
from efface.randomness import numpy_draws
from support.pictures import picture, save_picture


@pytest.fixture
def cache(tmp_path: Path) -> PixelCache:
    return PixelCache(tmp_path / "cache", 40)


@pytest.fixture
def photos(animals: Path, cache: PixelCache) -> ImageSet:
    images = open_images(animals)
    cache.add(images)
    return images


def sketches(folder: Path, images: ImageSet, root: Path, suffix: str = ".png") -> Path:
    """A file for each image, named as the image is below `root`."""
    for index, item in enumerate(images):
        name = Path(item.path).relative_to(root).with_suffix(suffix)
        save_picture(folder / name, 100 + index)
    return folder


def pixels_of(path: Path) -> np.ndarray:
    return decode(path.read_bytes())


def test_a_folder_of_the_same_names_gives_each_image_its_own(
    photos: ImageSet, animals: Path, cache: PixelCache, tmp_path: Path
) -> None:
    edges = sketches(tmp_path / "edges", photos, animals)
    pairs = open_pairs(edges, photos, cache)
    assert list(pairs) == list(photos.ids)
    for item in photos:
        expected = pixels_of(edges / Path(item.path).relative_to(animals))
        assert (cache.read(pairs[item.id]) == expected).all()


def test_another_suffix_is_the_same_name(
    photos: ImageSet, animals: Path, cache: PixelCache, tmp_path: Path
) -> None:
    pairs = open_pairs(sketches(tmp_path / "edges", photos, animals, ".jpg"), photos, cache)
    assert len(set(pairs.values())) == 6


def test_a_flat_folder_will_do_where_names_are_unlike(
    animals: Path, cache: PixelCache, tmp_path: Path
) -> None:
    cats = open_images(animals / "cats")
    pairs = open_pairs(sketches(tmp_path / "edges", cats, animals / "cats"), cats, cache)
    assert len(pairs) == 3


def test_names_that_fit_several_images_or_none_are_all_told(
    photos: ImageSet, animals: Path, cache: PixelCache, tmp_path: Path
) -> None:
    edges = sketches(tmp_path / "edges", photos, animals)
    (edges / "cats" / "0.png").unlink()
    shutil.copy(edges / "cats" / "1.png", edges / "cats" / "1.jpg")
    shutil.move(edges / "dogs" / "2.png", edges / "2.png")
    (edges / "cats" / "2.png").unlink()
    (edges / "dogs" / "0.png").write_bytes(b"no picture")
    save_picture(edges / "dogs" / "1.png", 7, width=40, height=48)
    with pytest.raises(InputError) as refusal:
        open_pairs(edges, photos, cache)
    text = str(refusal.value)
    assert f"pairs in {edges} cannot be used" in text
    assert "images have no file of their name (1): " in text
    assert "cats/0.png" in text
    assert "images have several files of their name (1): " in text
    assert "1.jpg and 1.png" in text
    assert "images share their file with another image (1): " in text
    assert "other pictures cannot be read (1): " in text
    assert "not an image" in text
    assert "pairs are of unlike proportions (1): " in text
    assert "48 x 40, the other picture 40 x 48" in text


def test_many_faults_of_a_kind_are_counted_and_the_first_named(
    photos: ImageSet, cache: PixelCache, tmp_path: Path
) -> None:
    (tmp_path / "edges").mkdir()
    with pytest.raises(
        InputError, match=r"images have no file of their name \(6\): .*cats/0.png.* and 1 more"
    ) as told:
        open_pairs(tmp_path / "edges", photos, cache)
    assert "dogs/2.png" not in str(told.value)


def test_a_picture_of_another_size_but_the_same_proportions_fits(
    photos: ImageSet, animals: Path, cache: PixelCache, tmp_path: Path
) -> None:
    for index, item in enumerate(photos):
        # 96 x 81 at a height of 40 is 47.4 wide: within a pixel of 48
        save_picture(tmp_path / "edges" / Path(item.path).relative_to(animals), 50 + index, 96, 81)
    pairs = open_pairs(tmp_path / "edges", photos, cache)
    image, other = cache.read(photos[0].id), cache.read(pairs[photos[0].id])
    assert image.shape == (40, 48, 3)
    assert other.shape == (40, 47, 3)
    assert fitted(other, image).shape == image.shape


def test_two_pixels_too_narrow_is_another_picture(animals: Path, cache: PixelCache, tmp_path: Path) -> None:
    cats = open_images(animals / "cats")
    for index in range(3):
        save_picture(tmp_path / "edges" / f"{index}.png", 50 + index, 46 + index, 40)
    with pytest.raises(
        InputError, match=r"pairs are of unlike proportions \(1\): .*cats/0.png \(48 x 40, .* 46 x 40\)"
    ):
        open_pairs(tmp_path / "edges", cats, cache)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_manifest_names_the_pairs(photos: ImageSet, animals: Path, cache: PixelCache, form: str) -> None:
    rows = []
    for index, item in enumerate(photos):
        save_picture(animals / "drawn" / f"{index}.png", 60 + index)
        name = item.id if index == 4 else str(Path(item.path).relative_to(animals))
        rows.append({"image": name, "condition": f"drawn/{index}.png"})
    rows.append({"image": "drawn/0.png", "condition": "drawn/1.png"})
    manifest = animals / f"pairs.{form}"
    write(manifest, rows)
    pairs = open_pairs(manifest, photos, cache)
    assert len(pairs) == 6
    for index, item in enumerate(photos):
        assert (cache.read(pairs[item.id]) == pixels_of(animals / "drawn" / f"{index}.png")).all()


def test_a_copy_of_the_image_elsewhere_names_it_too(
    photos: ImageSet, animals: Path, cache: PixelCache, tmp_path: Path
) -> None:
    shutil.copytree(animals, tmp_path / "copies")
    rows = [
        {"image": str(Path(item.path).relative_to(animals)), "condition": "cats/0.png"} for item in photos
    ]
    write(tmp_path / "copies" / "pairs.csv", rows)
    pairs = open_pairs(tmp_path / "copies" / "pairs.csv", photos, cache)
    assert set(pairs.values()) == {photos[0].id}, "in a manifest many images may share one picture"


def test_every_faulty_row_of_a_manifest_is_told(photos: ImageSet, animals: Path, cache: PixelCache) -> None:
    save_picture(animals / "drawn" / "0.png", 60)
    save_picture(animals / "drawn" / "1.png", 61)
    write(
        animals / "pairs.csv",
        [
            {"image": "cats/0.png", "condition": "drawn/0.png"},
            {"image": "cats/1.png", "condition": ""},
            {"image": "cats/9.png", "condition": "drawn/0.png"},
            {"image": "cats/2.png", "condition": "../secret.png"},
            {"image": "cats/0.png", "condition": "drawn/1.png"},
        ],
    )
    with pytest.raises(InputError) as refusal:
        open_pairs(animals / "pairs.csv", photos, cache)
    text = str(refusal.value)
    assert "row 2: needs both an 'image' and a 'condition'" in text
    assert "row 3 (cats/9.png): no such file" in text
    assert "row 4 (../secret.png): leads outside" in text
    assert "images have several rows with unlike conditions (1): cats/0.png" in text
    assert "images have no row (5)" in text


def test_a_manifest_of_other_columns_is_refused(photos: ImageSet, animals: Path, cache: PixelCache) -> None:
    (animals / "pairs.csv").write_text("photo,drawing\n1,2\n")
    with pytest.raises(InputError, match="needs a column 'image' or 'condition', has photo, drawing"):
        open_pairs(animals / "pairs.csv", photos, cache)
    (animals / "pairs.txt").touch()
    with pytest.raises(InputError, match="a folder, or as CSV or JSON"):
        open_pairs(animals / "pairs.txt", photos, cache)
    with pytest.raises(InputError, match="did you mean 'dogs'"):
        open_pairs(animals / "dog", photos, cache)


def test_a_window_cut_with_the_same_draws_shows_the_same_place() -> None:
    """Two pictures that differ by one pixel in width: fitted, their crops agree for every draw."""
    image = np.asarray(picture(3, 48, 40))
    other = np.asarray(picture(3, 47, 40))
    worst = 0.0
    for seed in range(60):
        one = random_resized_crop(image, 16, numpy_draws(seed), scale=(0.6, 1.0))
        two = random_resized_crop(fitted(other, image), 16, numpy_draws(seed), scale=(0.6, 1.0))
        worst = max(worst, float(np.abs(one.astype(int) - two).mean()))
    assert worst < 4, "in grey levels; another window is 20 and more away"
    assert fitted(image, image) is image


def write(path: Path, rows: list[dict[str, str]]) -> None:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, ["image", "condition"])
        writer.writeheader()
        writer.writerows(rows)
