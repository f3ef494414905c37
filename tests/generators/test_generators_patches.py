"""Patch statistics and position embeddings, worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from efface.generators.mae.patches import (
    denormalised,
    from_visible_neighbours,
    normalised,
    sine_cosine_positions,
    statistics,
)


def test_statistics_are_the_mean_and_the_unbiased_variance() -> None:
    mean, variance = statistics(torch.tensor([[[1.0, 2.0, 3.0, 6.0]]]))
    assert mean.tolist() == [[[3.0]]]
    assert variance.item() == pytest.approx((4 + 1 + 0 + 9) / 3)


def test_normalised_patches_by_hand_and_back() -> None:
    patches = torch.tensor([[[0.0, 0.0, 2.0, 2.0], [0.5, 0.5, 0.5, 0.5]]])
    result = normalised(patches)
    # mean 1, variance 4/3: (0 - 1) / sqrt(4/3) = -sqrt(3)/2; a flat patch stays at zero
    assert result[0, 0].tolist() == pytest.approx([-math.sqrt(0.75)] * 2 + [math.sqrt(0.75)] * 2, abs=1e-5)
    assert result[0, 1].tolist() == [0.0] * 4
    torch.testing.assert_close(denormalised(result, *statistics(patches)), patches)


def test_hidden_patches_take_the_weighted_mean_of_visible_ones() -> None:
    # a 2 x 2 raster, only the last patch hidden: neighbours at distance 1, 1 and sqrt(2)
    values = torch.tensor([[[4.0], [1.0], [2.0], [99.0]]])
    hidden = torch.tensor([[False, False, False, True]])
    result = from_visible_neighbours(values, hidden, 2)
    assert result[0, :3, 0].tolist() == [4.0, 1.0, 2.0]
    assert result[0, 3, 0].item() == pytest.approx((1 + 2 + 4 / 4) / (1 + 1 + 1 / 4))


def test_each_image_of_a_batch_has_its_own_neighbours() -> None:
    values = torch.arange(18.0).view(2, 9, 1)
    hidden = torch.ones(2, 9, dtype=torch.bool)
    hidden[0, 0] = hidden[1, 8] = False  # one visible patch each: it decides everything
    result = from_visible_neighbours(values, hidden, 3)
    assert torch.allclose(result[0], torch.tensor(0.0))
    assert torch.allclose(result[1], torch.tensor(17.0))


def test_what_hidden_patches_hold_does_not_matter() -> None:
    hidden = torch.rand(2, 16, generator=torch.Generator().manual_seed(0)) < 0.6
    one, other = torch.rand(2, 16, 1), torch.rand(2, 16, 1)
    other = torch.where(hidden.unsqueeze(-1), other, one)
    assert torch.equal(from_visible_neighbours(one, hidden, 4), from_visible_neighbours(other, hidden, 4))


def test_positions_by_hand() -> None:
    positions = sine_cosine_positions(2, 8)
    assert positions.shape == (1, 5, 8)
    assert positions[0, 0].tolist() == [0.0] * 8
    # patch 1 lies in row 0, column 1; width 8 has the frequencies 1 and 1/100
    column = [math.sin(1), math.sin(0.01), math.cos(1), math.cos(0.01)]
    assert positions[0, 2].tolist() == pytest.approx([*column, 0, 0, 1, 1], abs=1e-6)
    # patch 2 lies in row 1, column 0: the halves change places
    assert positions[0, 3].tolist() == pytest.approx([0, 0, 1, 1, *column], abs=1e-6)
