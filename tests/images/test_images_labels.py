"""Labels become class numbers, pictures the squares of a model; what does not fit is named together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from efface.errors import InputError
from efface.images.cache import PixelCache
from efface.images.items import ImageItem, ImageSet
from efface.images.labels import class_names, class_numbers, each_once, grey, labelled_images
from efface.images.sources import open_images


@dataclass(frozen=True)
class Nowhere:
    where: str

    def read_bytes(self) -> bytes:
        raise OSError


def images(*labels: str | None, ids: str = "") -> ImageSet:
    """Images with these labels; `ids`: a letter for each, equal letters are equal bytes."""
    return ImageSet(
        ImageItem(ids[n] if ids else f"{label}-{n}", f"{n}.png", label, Nowhere(str(n)))
        for n, label in enumerate(labels)
    )


def test_class_names_are_in_the_order_of_numbers_or_of_the_alphabet() -> None:
    assert class_names([images("10", "9", "9"), images("2")]) == ("2", "9", "10")
    assert class_names([images("dog", "cat", None)]) == ("cat", "dog")
    with pytest.raises(InputError, match="two classes or more, and these have 1"):
        class_names([images("dog", "dog")])


@pytest.mark.parametrize(
    ("classes", "labels", "numbers"),
    [
        (("cat", "dog"), ("dog", "cat", "dog"), [1, 0, 1]),
        (("7", "9"), ("9", "7"), [1, 0]),
        (("LABEL_0", "LABEL_1", "LABEL_2"), ("2", "LABEL_1"), [2, 1]),
    ],
)
def test_labels_are_class_names_or_numbers_of_nameless_classes(
    classes: tuple[str, ...], labels: tuple[str, ...], numbers: list[int]
) -> None:
    assert class_numbers({"retain": images(*labels)}, classes)["retain"].tolist() == numbers


def test_a_number_is_no_label_where_classes_have_names() -> None:
    with pytest.raises(InputError, match="label '1'"):
        class_numbers({"retain": images("1")}, ("cat", "dog"))


def test_all_labels_that_do_not_fit_are_named_with_their_counts() -> None:
    with pytest.raises(InputError) as refused:
        class_numbers(
            {"forget": images("dgo", "dgo", "cat"), "retain": images(None, "zebra")}, ("cat", "dog")
        )
    assert list(refused.value.problems) == [
        "forget: 2 images have the label 'dgo', no class of the model; did you mean 'dog'?",
        "retain: 1 image has no label: put images into one folder for each class, or give a manifest with a column "
        "label",
        "retain: 1 image has the label 'zebra', no class of the model; its classes are cat, dog",
    ]


def test_names_are_offered_for_classes_that_have_none() -> None:
    with pytest.raises(InputError, match=r"Sorted, .*: --set 'model\.classes=\[ant, bee\]'$"):
        class_numbers({"forget": images("bee"), "retain": images("ant", "bee")}, ("0", "1"))


def test_a_picture_that_is_there_twice_is_taken_once_and_noted() -> None:
    once, notes = each_once(images("a", "b", "c", "a", ids="xyxz"), "retain")
    assert once.ids == ("x", "y", "z")
    assert once.labels == ("a", "b", "a")
    assert notes == [
        "retain: 1 more file with the bytes of another one was left out; each picture counts once",
        "retain: 1 of these had another label than the first one, whose label was taken",
    ]
    same = images("a", "b")
    assert each_once(same, "retain") == (same, [])


def test_grey_is_pillows_and_keeps_grey_pictures() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 3), dtype=np.uint8)
    expected = np.stack([np.asarray(Image.fromarray(picture).convert("L")) for picture in colours])
    assert np.array_equal(grey(colours.transpose(0, 3, 1, 2))[:, 0], expected)
    levels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16).repeat(3, axis=1)
    assert np.array_equal(grey(levels), levels[:, :1])


def test_pictures_become_the_centre_square_in_the_models_size(tmp_path: Path) -> None:
    """A white square in the middle of a wide black picture fills the whole of a small one, but for the filter's ripple."""
    wide = np.zeros((32, 96), dtype=np.uint8)
    wide[:, 32:64] = 255
    for label in ("a", "b"):
        (tmp_path / "in" / label).mkdir(parents=True)
        Image.fromarray(wide + np.uint8(label == "b")).save(tmp_path / "in" / label / "wide.png")
    found = open_images(str(tmp_path / "in"))
    with PixelCache(tmp_path / "cache", 8) as cache:
        cache.add(found)
        grey_ones = labelled_images(found, np.array([0, 1]), cache, 8, 1)
        assert grey_ones.pixels.shape == (2, 1, 8, 8)
        assert grey_ones.ids == found.ids
        assert grey_ones.pixels[0, 0, :, 1:-1].min() >= 250
        assert labelled_images(found, np.array([0, 1]), cache, 8, 3).pixels.shape == (2, 3, 8, 8)
        with pytest.raises(InputError, match="pictures of 4 channels"):
            labelled_images(found, np.array([0, 1]), cache, 8, 4)
