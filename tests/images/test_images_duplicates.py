"""Near-duplicates: changed copies are found, look-alikes of another kind are not."""

from __future__ import annotations

import io
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from efface.images.duplicates import Fingerprints, find_duplicates, fingerprint, near_pairs
from efface.images.reading import decode_image
from efface.images.sources import open_images
from support.pictures import picture, save_picture

SCENES = Path(__file__).parents[2].parent / "shared" / "data" / "scenes128-val.npz"


def prints(*images: Image.Image) -> Fingerprints:
    return Fingerprints.stacked(fingerprint(image) for image in images)


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def test_the_hash_is_that_of_imagehash() -> None:
    plain, mirrored, thumbnail = fingerprint(picture(0))
    assert f"{plain:016x}" == str(imagehash.phash(picture(0)))
    assert abs(bin(mirrored ^ int(str(imagehash.phash(ImageOps.mirror(picture(0)))), 16)).count("1")) <= 2
    assert thumbnail.shape == (8, 8, 3)


def test_changed_copies_of_photographs_are_found_and_other_photographs_are_not() -> None:
    photos = [decode_image(item.read_bytes()) for item in open_images("bundled")]
    changed = [jpeg(photos[0], 50), ImageOps.mirror(photos[3]), photos[6].reduce(2)]
    changed += [ImageEnhance.Brightness(photos[4]).enhance(0.7)]
    pairs = near_pairs(prints(*changed), prints(*photos))
    assert [(pair.forget, pair.other) for pair in pairs] == [(0, 0), (1, 3), (3, 4), (2, 6)]
    assert [pair.mirrored for pair in pairs] == [False, True, False, False]


def test_flat_images_are_duplicates_only_in_the_same_colour() -> None:
    red, dark_red, grey = ((200, 0, 0), (202, 1, 1), (80, 80, 80))
    flat = [Image.new("RGB", (32, 32), colour) for colour in (red, dark_red, grey)]
    pairs = near_pairs(prints(flat[0]), prints(*flat))
    assert [pair.other for pair in pairs] == [0, 1]


def test_equal_layout_in_other_colours_is_no_duplicate() -> None:
    pixels = np.asarray(picture(0))
    turned = Image.fromarray(np.ascontiguousarray(pixels[:, :, ::-1]))
    assert near_pairs(prints(picture(0)), prints(turned), distance=64) == []


def test_each_image_is_paired_with_its_nearest_forget_image() -> None:
    near, same = jpeg(picture(5), 5), picture(5)
    (pair,) = near_pairs(prints(near, same, same), prints(picture(5)))
    assert (pair.forget, pair.distance) == (1, 0)


def test_chunks_do_not_change_what_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    forget = prints(*(picture(i) for i in range(7)))
    other = prints(*(jpeg(picture(i), 30) for i in range(4, 14)))
    whole = near_pairs(forget, other)
    assert [(pair.forget, pair.other) for pair in whole] == [(4, 0), (5, 1), (6, 2)]
    for name, size in (("FORGET_CHUNK", 2), ("OTHER_CHUNK", 3), ("CONFIRM_CHUNK", 1)):
        monkeypatch.setattr(f"efface.images.duplicates.{name}", size)
    assert near_pairs(forget, other) == whole


def test_many_identical_images_do_not_fill_the_memory() -> None:
    one = prints(Image.new("RGB", (8, 8), (9, 9, 9)))
    assert len(near_pairs(one.at([0] * 200), one.at([0] * 2000))) == 2000


def test_exact_copies_are_found_by_id_and_not_reported_twice(tmp_path: Path) -> None:
    save_picture(tmp_path / "a" / "x.png", 0)
    save_picture(tmp_path / "b" / "y.png", 0)
    a, b = open_images(tmp_path / "a"), open_images(tmp_path / "b")
    (pair,) = find_duplicates(a, b, prints(picture(0)), prints(picture(0)))
    assert (pair.kind, pair.distance) == ("exact", 0)
    assert find_duplicates(a, b) == [pair]


@pytest.mark.skipif(not SCENES.exists(), reason="the shared image data is not here")
def test_recall_and_false_positives_on_scenes() -> None:
    with np.load(SCENES, allow_pickle=False) as archive:
        data, offset = archive["bytes"], archive["offset"]
    images = [decode_image(data[offset[i] : offset[i + 1]].tobytes()) for i in range(300)]
    originals = prints(*images)
    changed = prints(*(jpeg(image, 50) for image in images[:100]))
    assert [pair.forget for pair in near_pairs(originals, changed)] == list(range(100))
    halves = originals.at(range(150)), originals.at(range(150, 300))
    # The one pair found is right: the same flag on the same building, photographed twice.
    assert [(pair.forget, pair.other + 150) for pair in near_pairs(*halves)] == [(19, 274)]
