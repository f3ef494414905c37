"""Filling a hole without a model, and the mark that it sets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from efface.corruptions import parse_corruption
from efface.corruptions.base import mean_fill
from efface.evaluation.fills import fill_errors, nearest_fill
from efface.evaluation.settings import EvaluationSettings
from efface.images.items import ImageItem, ImageSet
from efface.images.listings import FileLocator
from support.known_models import SIZE, KnownModel, Pixels


def row(*values: float) -> Tensor:
    """One picture of a single row, the same in every channel."""
    return torch.tensor(values).expand(1, 3, 1, -1).clone()


def known(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.bool).view(1, 1, 1, -1)


def test_the_mean_is_that_of_known_pixels_alone() -> None:
    filled = mean_fill(row(0.0, 0.9, 0.9, 0.4), known(1, 0, 0, 1))
    assert filled[0, 0, 0].tolist() == pytest.approx([0.0, 0.2, 0.2, 0.4])


def test_each_channel_has_its_own_mean() -> None:
    picture = row(0.2, 0.0)
    picture[0, 1, 0, 0] = 0.6
    filled = mean_fill(picture, known(1, 0))
    assert filled[0, :, 0, 1].tolist() == pytest.approx([0.2, 0.6, 0.2])


def test_the_nearest_known_pixel_fills() -> None:
    filled = nearest_fill(row(0.1, 0.9, 0.9, 0.9, 0.5), known(1, 0, 0, 0, 1))
    assert filled[0, 2, 0].tolist()[:2] == pytest.approx([0.1, 0.1])
    assert filled[0, 2, 0].tolist()[3:] == pytest.approx([0.5, 0.5])


def test_no_fill_looks_at_what_is_hidden() -> None:
    pictures = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1)) < 0.5
    other = torch.where(mask, pictures, 1 - pictures)
    for fill in (mean_fill, nearest_fill):
        assert torch.equal(fill(pictures, mask), fill(other, mask))


def test_fill_errors_are_means_over_the_views_of_the_evaluation() -> None:
    pixels = np.zeros((SIZE, SIZE, 3), dtype=np.uint8)
    pixels[4:12, 4:12] = 255
    images = ImageSet([ImageItem("a" * 64, "a.png", None, FileLocator("a"))])
    errors = fill_errors(
        images,
        Pixels({"a" * 64: pixels}),  # type: ignore[arg-type]
        KnownModel(0.0),  # type: ignore[arg-type]
        parse_corruption("centre:0.5"),
        EvaluationSettings(),
    )
    assert errors == {"mean": pytest.approx(1.0), "nearest": pytest.approx(1.0)}
