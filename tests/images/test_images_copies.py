"""Copies: a changed picture is found again, look-alikes are not, and an index that was saved answers the same."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from sklearn.datasets import load_digits

from efface.errors import InputError
from efface.images import copy_index
from efface.images.copies import find_copies, near_copies
from efface.images.copy_index import CopyIndex
from efface.images.fingerprints import FINGERPRINT, PrintRows, fingerprint, stacked
from efface.images.reading import decode_image
from efface.images.sources import open_images
from support.pictures import picture, save_picture

Photos = list[Image.Image]


@pytest.fixture(scope="module")
def photos() -> Photos:
    """The bundled photographs but for textures and stars, which have no composition."""
    textures = {"brick", "grass", "gravel", "hubble_deep_field"}
    return [decode_image(item.read_bytes()) for item in open_images("bundled") if item.label not in textures]


@pytest.fixture(scope="module")
def index(photos: Photos) -> CopyIndex:
    index = CopyIndex()
    index.add(stacked(map(fingerprint, photos)))
    return index


def prints(*images: Image.Image) -> PrintRows:
    return PrintRows.all_of(stacked(map(fingerprint, images)))


def pairs_of(*ours: Image.Image, others: list[Image.Image]) -> list[tuple[int, int]]:
    return [(pair.ours, pair.other) for pair in near_copies(prints(*ours), prints(*others))]


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def resized(image: Image.Image, share: float) -> Image.Image:
    return image.resize((round(image.width * share), round(image.height * share)))


def cropped(image: Image.Image, share: float, x: float, y: float) -> Image.Image:
    """`share` of either side, from x = 0 (left) to 1 and y = 0 (top) to 1."""
    width, height = share * image.width, share * image.height
    left, top = x * (image.width - width), y * (image.height - height)
    return image.crop((round(left), round(top), round(left + width), round(top + height)))


def captioned(image: Image.Image, share: float, colour: str) -> Image.Image:
    image = image.copy()
    top = round(image.height * (1 - share))
    ImageDraw.Draw(image).rectangle((0, top, image.width, image.height), fill=colour)
    ImageDraw.Draw(image).text((5, top + 3), "ONE DOES NOT SIMPLY", fill="grey")
    return image


def watermarked(image: Image.Image) -> Image.Image:
    marked = image.copy()
    for row in range(3):
        place = (image.width * (0.05 + 0.1 * row), image.height * (0.1 + 0.3 * row))
        ImageDraw.Draw(marked).text(place, "SAMPLE", fill="white", font_size=image.height // 8)
    return Image.blend(image, marked, 0.25)


def windowed(image: Image.Image) -> Image.Image:
    """A screenshot: a title above, words below, a margin all around."""
    screen = Image.new("RGB", (round(image.width * 1.2), round(image.height * 1.4)), "whitesmoke")
    ImageDraw.Draw(screen).rectangle((0, 0, screen.width, image.height // 8), fill="midnightblue")
    ImageDraw.Draw(screen).text((5, 2), "Gallery", fill="white", font_size=image.height // 14)
    screen.paste(image, (image.width // 10, round(image.height * 0.17)))
    ImageDraw.Draw(screen).text(
        (9, image.height * 1.2), "seen by 12", fill="black", font_size=image.height // 14
    )
    return screen


EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "encoded again": lambda image: jpeg(image, 30),
    "quarter size": lambda image: resized(image, 0.25),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "mirrored": ImageOps.mirror,
    "turned left": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "turned right and mirrored": lambda image: ImageOps.mirror(image.transpose(Image.Transpose.ROTATE_270)),
    "upside down": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "black and white": lambda image: image.convert("L").convert("RGB"),
    "letterboxed": lambda image: ImageOps.expand(image, (0, image.height // 5), "black"),
    "pillarboxed": lambda image: ImageOps.expand(image, (image.width // 4, 0), "white"),
    "captioned": lambda image: captioned(image, 0.2, "white"),
    "captioned above": lambda image: ImageOps.flip(captioned(ImageOps.flip(image), 0.15, "black")),
    "watermarked": watermarked,
    "centre": lambda image: cropped(image, 0.8, 0.5, 0.5),
    "corner": lambda image: cropped(image, 0.8, 1, 0),
    "off the grid": lambda image: cropped(image, 0.87, 0.37, 0.81),
    "small part": lambda image: cropped(image, 0.6, 0.5, 0.5),
    "corner, mirrored and encoded": lambda image: jpeg(ImageOps.mirror(cropped(image, 0.8, 0, 1)), 50),
    "screenshot": windowed,
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_changed_photograph_is_found_again_and_no_other(
    photos: Photos, index: CopyIndex, edit: str
) -> None:
    matches = index.query(stacked(fingerprint(EDITS[edit](photo)) for photo in photos))
    assert (matches.query == matches.entry).all()
    assert len(matches.query) >= 0.8 * len(photos)


def test_a_picture_matches_itself_wholly_and_unturned(photos: Photos, index: CopyIndex) -> None:
    matches = index.query(stacked(map(fingerprint, photos)))
    assert matches.query.tolist() == matches.entry.tolist() == list(range(len(photos)))
    assert matches.agreement.min() > 0.999
    assert not matches.turned.any()
    assert index.query(stacked([fingerprint(ImageOps.mirror(photos[0]))])).turned.all()


def test_a_part_is_asked_for_as_well_as_the_whole(photos: Photos) -> None:
    """The one that is known may itself be the crop."""
    parts = [cropped(photo, 0.7, 0.2, 0.6) for photo in photos]
    assert pairs_of(*parts, others=photos) == [(place, place) for place in range(len(photos))]


def test_flat_images_are_copies_only_in_the_same_colour() -> None:
    colours = ((200, 0, 0), (202, 1, 1), (80, 80, 80))
    flat = [Image.new("RGB", (32, 32), colour) for colour in colours]
    assert pairs_of(flat[0], others=flat) == [(0, 0), (0, 1)]


def test_slopes_of_light_are_no_detail_that_agrees() -> None:
    ramp = np.add.outer(np.arange(64), np.arange(64) * 2)
    slopes = [Image.fromarray((ramp * share).astype(np.uint8)).convert("RGB") for share in (0.5, 1.0, 1.3)]
    assert pairs_of(slopes[0], others=slopes[1:]) == []


@pytest.mark.parametrize("side", [8, 28, 64])
def test_written_digits_are_not_taken_for_one_another(side: int) -> None:
    """Small or large: what has so little in it is judged more strictly, and still found when it is the same."""
    digits = [
        Image.fromarray(np.round(digit * 255 / 16).astype(np.uint8)).resize((side, side)).convert("RGB")
        for digit in load_digits().images[:300]
    ]
    assert pairs_of(*digits[:150], others=digits[150:]) == []
    again = [ImageOps.mirror(digit.transpose(Image.Transpose.ROTATE_90)) for digit in digits[:9]]
    assert pairs_of(*digits[:150], others=again) == [(place, place) for place in range(9)]


def test_each_image_is_paired_with_the_one_that_it_agrees_with_best() -> None:
    near, same = jpeg(picture(5), 5), picture(5)
    (pair,) = near_copies(prints(near, same, same), prints(picture(5)))
    assert (pair.ours, pair.kind, pair.turned) == (1, "near", False)
    assert pair.agreement == pytest.approx(1, abs=1e-4)


def test_segments_and_chunks_do_not_change_what_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = prints(*(picture(i) for i in range(7)))
    others = prints(*(jpeg(picture(i), 30) for i in range(4, 14)))
    whole = near_copies(ours, others)
    assert [(pair.ours, pair.other) for pair in whole] == [(4, 0), (5, 1), (6, 2)]
    monkeypatch.setattr(copy_index, "LOOKED_UP", 50)
    monkeypatch.setattr(copy_index, "QUERIES", 3)
    monkeypatch.setattr(copy_index, "SEGMENT", 3)
    monkeypatch.setattr("efface.images.copies.SEGMENT", 2)
    monkeypatch.setattr("efface.images.copies.READ", 4)
    parts = near_copies(ours, others)
    assert [(pair.ours, pair.other) for pair in parts] == [(4, 0), (5, 1), (6, 2)]
    assert [pair.agreement for pair in parts] == pytest.approx([pair.agreement for pair in whole], abs=1e-5)


def test_an_index_grows_and_is_saved_and_answers_the_same(
    photos: Photos, index: CopyIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy_index, "SEGMENT", 4)
    grown = CopyIndex()
    for photo in photos:
        grown.add(stacked([fingerprint(photo)]))
    grown.save(tmp_path / "index")
    assert (tmp_path / "index" / "00000-prints.npy").stat().st_mode & 0o077 == 0
    opened = CopyIndex.open(tmp_path / "index")
    asked = stacked(fingerprint(ImageOps.mirror(photo)) for photo in photos)
    assert len(opened) == len(grown) == len(photos)
    for other in (grown, opened):
        assert other.query(asked).entry.tolist() == index.query(asked).entry.tolist()
    with pytest.raises(InputError, match="no such folder"):
        CopyIndex.open(tmp_path / "elsewhere")
    (tmp_path / "index" / "00000-whole.npy").write_bytes(b"x")
    with pytest.raises(InputError, match="damaged"):
        CopyIndex.open(tmp_path / "index")


def test_an_empty_index_and_an_empty_question_match_nothing(index: CopyIndex) -> None:
    nothing = np.zeros(0, FINGERPRINT)
    assert len(index.query(nothing).query) == 0
    assert len(CopyIndex().query(stacked([fingerprint(picture(0))])).query) == 0


def test_many_identical_images_are_all_found() -> None:
    same = stacked([fingerprint(picture(0))])
    many = PrintRows(same, np.zeros(500, np.int64))
    assert len(near_copies(PrintRows(same, np.zeros(60, np.int64)), many)) == 500


def test_exact_copies_are_found_by_id_and_not_reported_twice(tmp_path: Path) -> None:
    save_picture(tmp_path / "a" / "x.png", 0)
    save_picture(tmp_path / "b" / "y.png", 0)
    a, b = open_images(tmp_path / "a"), open_images(tmp_path / "b")
    (pair,) = find_copies(a, b, prints(picture(0)), prints(picture(0)))
    assert (pair.kind, pair.agreement) == ("exact", 1)
    assert find_copies(a, b) == [pair]
