"""The Inception score worked by hand, and the class probabilities of a TorchScript network."""

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from efface.errors import InputError
from efface.metrics.extractors.inception import TorchScriptInception
from efface.metrics.inception_score import inception_score, inception_score_refusal


def sure(classes: int, each: int) -> np.ndarray:
    """Every class in turn, with certainty."""
    return np.tile(np.eye(classes), (each, 1))


def test_pictures_of_every_class_with_certainty_score_the_number_of_classes() -> None:
    mean, std = inception_score(sure(5, 20), splits=1)
    assert mean == pytest.approx(5)
    assert std is None
    # In parts of ten images in this order every class stands twice.
    assert inception_score(sure(5, 20), splits=10, order_seed=None) == pytest.approx((5, 0))


def test_pictures_that_all_look_alike_to_the_classifier_score_one() -> None:
    alike = np.tile([0.7, 0.2, 0.1], (100, 1))
    assert inception_score(alike) == pytest.approx((1, 0))
    assert inception_score(np.full((100, 4), 0.25)) == pytest.approx((1, 0))


def test_score_of_two_unsure_classes_is_the_hand_worked_one() -> None:
    # p(y) = 1/2, so every row has KL = 0.9 log 1.8 + 0.1 log 0.2.
    rows = np.tile([[0.9, 0.1], [0.1, 0.9]], (50, 1))
    expected = math.exp(0.9 * math.log(1.8) + 0.1 * math.log(0.2))
    assert inception_score(rows, splits=1).mean == pytest.approx(expected, rel=1e-12)


def test_std_is_that_of_the_parts() -> None:
    # The first half knows two classes, the second only one: scores 2 and 1.
    rows = np.concatenate([sure(2, 10), np.tile([1.0, 0.0], (20, 1))])
    mean, std = inception_score(rows, splits=2, order_seed=None)
    assert (mean, std) == pytest.approx((1.5, math.sqrt(0.5)))


def test_images_sorted_by_class_are_dealt_into_mixed_parts() -> None:
    sorted_by_class = np.repeat(np.eye(4), 100, axis=0)
    assert inception_score(sorted_by_class, order_seed=None).mean < 1.5
    assert inception_score(sorted_by_class).mean > 3.5
    assert inception_score(sorted_by_class) == inception_score(sorted_by_class)
    assert inception_score(sorted_by_class, order_seed=1) != inception_score(sorted_by_class)


def test_too_few_images_are_refused_before_and_while_measuring() -> None:
    assert inception_score_refusal(100) is None
    with pytest.raises(InputError, match="over 10 splits needs at least 100 images, got 99"):
        inception_score(np.full((99, 2), 0.5))
    with pytest.raises(InputError, match="at least one split, got 0"):
        inception_score(np.full((99, 2), 0.5), splits=0)


def test_rows_that_are_no_probabilities_are_refused() -> None:
    rows = np.full((100, 4), 0.25)
    for bad in ([1.0, 2.0, 3.0, 4.0], [0.5, 0.7, -0.2, 0.0], [np.nan] * 4):
        spoilt = rows.copy()
        spoilt[7] = bad
        with pytest.raises(InputError, match=r"1 of 100 rows are no probabilities .* row 7: apply a softmax"):
            inception_score(spoilt)
    with pytest.raises(InputError, match="two classes or more"):
        inception_score(np.ones((100, 1)))


class Classifying(nn.Module):
    """Called as the published file is: features, or probabilities with or without the last layer's bias."""

    def forward(self, images: Tensor, return_features: bool = False, no_output_bias: bool = False) -> Tensor:
        colours = images.mean(dim=[2, 3]) / 255
        if return_features:
            return colours
        logits = 4 * colours
        if not no_output_bias:
            logits = logits + torch.tensor([9.0, 0.0, 0.0])
        return logits.softmax(dim=1)


class OnlyFeatures(nn.Module):
    def forward(self, images: Tensor, return_features: bool = False) -> Tensor:
        return images.mean(dim=[2, 3])


class Logits(nn.Module):
    def forward(self, images: Tensor, return_features: bool = False, no_output_bias: bool = False) -> Tensor:
        return images.mean(dim=[2, 3])


def extractor(module: nn.Module, folder: Path) -> TorchScriptInception:
    path = folder / "network.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(module).save(str(path))
    return TorchScriptInception(path)


def test_torchscript_network_gives_the_probabilities_of_its_head_without_bias(tmp_path: Path) -> None:
    images = torch.zeros(3, 3, 16, 16)
    for image in range(3):
        images[image, image] = 1.0
    found = extractor(Classifying(), tmp_path).probabilities(images)
    assert found.dtype == torch.float32
    own, other = math.exp(4) / (math.exp(4) + 2), 1 / (math.exp(4) + 2)
    torch.testing.assert_close(found, torch.full((3, 3), other) + (own - other) * torch.eye(3))


def test_a_network_without_a_class_head_is_refused_when_probabilities_are_asked_for(tmp_path: Path) -> None:
    images = torch.full((2, 3, 8, 8), 0.5)
    without_head = extractor(OnlyFeatures(), tmp_path)
    assert without_head.features(images).shape == (2, 3)
    with pytest.raises(InputError, match="gives no class probabilities, so there is no Inception score"):
        without_head.probabilities(images)
    with pytest.raises(InputError, match="whose rows sum to 1"):
        extractor(Logits(), tmp_path).probabilities(images)
