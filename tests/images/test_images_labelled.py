"""Labelled images: refused whole when they do not fit together, chosen and joined in order."""

import numpy as np
import pytest

from efface.errors import InputError
from efface.images.labelled import LabelledImages


def some(count: int, first: int = 0) -> LabelledImages:
    numbers = np.arange(first, first + count)
    pixels = np.zeros((count, 1, 2, 2), np.uint8) + numbers.astype(np.uint8)[:, None, None, None]
    return LabelledImages(pixels, numbers % 3, tuple(map(str, numbers)))


def test_choosing_and_joining_keep_pixels_labels_and_ids_together() -> None:
    both = some(4).subset([3, 1]).join(some(2, first=7))
    assert both.ids == ("3", "1", "7", "8")
    assert both.labels.tolist() == [0, 1, 1, 2]
    assert both.pixels[:, 0, 0, 0].tolist() == [3, 1, 7, 8]


def test_all_that_does_not_fit_is_named_at_once() -> None:
    with pytest.raises(InputError) as refusal:
        LabelledImages(np.zeros((2, 2, 2)), np.array([0, -1, 2]), ("a", "a", "b"))  # type: ignore[arg-type]
    text = str(refusal.value)
    assert "uint8 [images, channels, height, width] is needed, not float64 [2, 2, 2]" in text
    assert "images: 2, labels: 3, ids: 3" in text
    assert "ids: some stand there twice" in text
    assert "labels: below 0" in text
