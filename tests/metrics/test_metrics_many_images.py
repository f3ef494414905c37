"""The short ways that make figures of many images quick give what the long ways give."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchmetrics.functional.image import structural_similarity_index_measure

from efface.errors import InputError
from efface.metrics import kernel
from efface.metrics.extractors.inception import TorchScriptInception
from efface.metrics.image_error import ssim
from efface.metrics.intervals import bootstrap_difference, bootstrap_mean, bootstrap_means


@pytest.mark.parametrize("crops", [1, 3])
@pytest.mark.parametrize("block", [512, 7])
def test_sides_of_the_same_photos_give_what_three_sums_give(
    monkeypatch: pytest.MonkeyPatch, crops: int, block: int
) -> None:
    monkeypatch.setattr(kernel, "BLOCK", block)
    monkeypatch.setattr(kernel, "TILE", 4)
    random = np.random.default_rng(0)
    a = random.normal(size=(30, 5))
    b = a + 0.5 * random.normal(size=(30, 5))
    photos = random.permutation(np.arange(30) // crops)
    sides = kernel._Sides.of(a, b, photos, photos)
    assert sides.same_photos
    drawn = kernel._times_drawn(sides, 300, np.random.default_rng(1))
    value, draws = kernel._same_photos_means(sides, drawn)
    expected, expected_draws = kernel._means(sides, drawn)
    assert value == pytest.approx(expected, rel=1e-12)
    # the long way rounds sums that are far larger than their difference
    np.testing.assert_allclose(draws, expected_draws, atol=1e-5)
    assert kernel.kernel_distance(a, b, photos, photos) == value


def test_other_photos_or_counts_or_huge_photos_go_the_long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def same(photos_a: list[int], photos_b: list[int]) -> bool:
        a, b = np.zeros((len(photos_a), 2)), np.zeros((len(photos_b), 2))
        return kernel._Sides.of(a, b, photos_a, photos_b).same_photos

    assert same([0, 1, 1], [1, 0, 1])
    assert not same([0, 1, 1], [0, 0, 1])
    assert not same([0, 1, 1], [0, 1])
    assert not same([0, 1], [2, 3])
    monkeypatch.setattr(kernel, "BLOCK", 1)
    assert not same([0, 1, 1], [1, 0, 1])


def test_columns_together_get_the_intervals_that_they_get_alone() -> None:
    random = np.random.default_rng(0)
    groups = np.arange(40) // 2
    columns = [random.normal(size=40), random.exponential(size=40), (random.random(40) < 0.3).astype(float)]
    together = bootstrap_means([*columns, columns[0] - columns[1]], groups, resamples=300, seed=2)
    alone = [bootstrap_mean(values, groups, resamples=300, seed=2) for values in columns]
    alone.append(bootstrap_difference(columns[0], columns[1], groups, resamples=300, seed=2))
    assert together == alone
    assert bootstrap_means([]) == []
    assert bootstrap_means([np.arange(4.0)] * 2) == [None, None]
    with pytest.raises(InputError, match="columns must be of the same images"):
        bootstrap_means([np.arange(9.0), np.arange(8.0)])


def test_bootstrap_means_are_means_of_the_drawn_values() -> None:
    from efface.metrics import intervals
    from efface.randomness import numpy_draws

    values = np.random.default_rng(0).normal(size=11)
    (found,) = intervals._resampled_means([values], 50, 4)
    picks = numpy_draws(4, "bootstrap-mean").integers(0, 11, size=(50, 11))
    np.testing.assert_allclose(found, values[picks].mean(axis=1), rtol=1e-12)


@pytest.mark.parametrize(
    "hole", [(slice(20, 40), slice(16, 32)), (slice(0, 6), slice(58, 64)), (slice(9, 10),) * 2]
)
def test_ssim_of_a_hole_equals_torchmetrics_over_the_whole_picture(hole: tuple[slice, slice]) -> None:
    draws = torch.Generator().manual_seed(0)
    truth = torch.rand(3, 3, 64, 64, generator=draws)
    restored = truth.clone()
    for image in range(2):  # the third is perfect
        restored[image, :, hole[0], hole[1]] = torch.rand(
            restored[image, :, hole[0], hole[1]].shape, generator=draws
        )
    theirs = structural_similarity_index_measure(restored, truth, sigma=1.5, reduction="none", data_range=1.0)
    torch.testing.assert_close(ssim(restored, truth), theirs, rtol=1e-5, atol=1e-6)
    assert float(ssim(restored, truth)[2]) == 1.0


def test_ssim_of_pictures_that_are_not_square_equals_torchmetrics() -> None:
    draws = torch.Generator().manual_seed(0)
    truth, restored = torch.rand(2, 2, 3, 24, 50, generator=draws)
    theirs = structural_similarity_index_measure(restored, truth, sigma=1.5, reduction="none", data_range=1.0)
    torch.testing.assert_close(ssim(restored, truth), theirs, rtol=1e-5, atol=1e-6)


class WithLastLayer(nn.Module):
    """As the published file: pooled features, and a last layer whose bias can be left out."""

    def __init__(self) -> None:
        super().__init__()
        self.output = nn.Linear(3, 4)

    def forward(self, images: Tensor, return_features: bool = False, no_output_bias: bool = False) -> Tensor:
        features = images.mean(dim=[2, 3]) / 64
        if return_features:
            return features
        logits = features @ self.output.weight.t()
        if not no_output_bias:
            logits = logits + self.output.bias
        return logits.softmax(dim=1)


class WithoutWeights(WithLastLayer):
    """Its last layer stands nowhere in the file as the matrix that it is."""

    def __init__(self) -> None:
        super().__init__()
        self.output = nn.Linear(2, 2)

    def forward(self, images: Tensor, return_features: bool = False, no_output_bias: bool = False) -> Tensor:
        colours = images.mean(dim=[2, 3]) / 64
        return colours if return_features else (2 * colours).softmax(dim=1)


class OnlyFeatures(nn.Module):
    def forward(self, images: Tensor, return_features: bool = False) -> Tensor:
        return images.mean(dim=[2, 3])


def opened(module: nn.Module, folder: Path) -> TorchScriptInception:
    path = folder / "network.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(module).save(str(path))
    return TorchScriptInception(path)


@pytest.mark.parametrize(("module", "passes"), [(WithLastLayer, 1), (WithoutWeights, 2)])
def test_features_and_probabilities_come_from_one_pass_where_the_last_layer_is_found(
    module: type[nn.Module], passes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    extractor = opened(module(), tmp_path)
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    expected = extractor.features(images), extractor.probabilities(images)
    calls, answer = [], extractor._answer

    def counted(*args: Tensor, **asked: bool) -> Tensor:
        calls.append(asked)
        return answer(*args, **asked)

    monkeypatch.setattr(extractor, "_answer", counted)
    features, probabilities = extractor.features_and_probabilities(images)
    assert len(calls) == passes
    assert probabilities is not None
    torch.testing.assert_close(features, expected[0])
    torch.testing.assert_close(probabilities, expected[1], rtol=1e-4, atol=1e-6)


def test_a_file_without_a_class_head_gives_features_and_no_probabilities(tmp_path: Path) -> None:
    features, probabilities = opened(OnlyFeatures(), tmp_path).features_and_probabilities(
        torch.rand(2, 3, 8, 8)
    )
    assert features.shape == (2, 3)
    assert probabilities is None
