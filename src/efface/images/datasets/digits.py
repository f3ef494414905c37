"""The digits that come with scikit-learn: a task that needs no files, for quick trials and tests."""

from __future__ import annotations

import numpy as np

from efface.images.datasets.source import Source, from_array

BRIGHTEST = 16


def read_digits(side: int, channels: int) -> Source:
    """1,797 digits, 8x8 px, whose values 0..16 become 0..255.

    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI repository (its test part).
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    images = np.round(found.images[:, None] * (255 / BRIGHTEST)).astype(np.uint8)
    return Source(
        ids=tuple(f"digits/{place:04d}" for place in range(len(images))),
        labels=found.target.astype(np.int64),
        classes=tuple(str(name) for name in found.target_names),
        pixels=from_array(images, side, channels),
        notes=("who wrote which digit is not known: one hand's digits are in several parts",),
    )
