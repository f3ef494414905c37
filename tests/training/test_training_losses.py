"""Losses of classifiers against torch's own."""

import math

import pytest
import torch
from torch.nn import functional

from efface.training.losses import cross_entropy, entropy, kl_divergence, kl_to_uniform, soft_cross_entropy

DRAWS = torch.Generator().manual_seed(0)
LOGITS, TARGETS = torch.randn(6, 4, generator=DRAWS), torch.randn(6, 4, generator=DRAWS)
LABELS = torch.tensor([0, 1, 2, 3, 1, 1])


def test_cross_entropy_is_that_of_torch_with_and_without_class_weights() -> None:
    weights = torch.tensor([0.1, 2.0, 0.0, 1.0])
    torch.testing.assert_close(cross_entropy(LOGITS, LABELS), functional.cross_entropy(LOGITS, LABELS))
    torch.testing.assert_close(
        cross_entropy(LOGITS, LABELS, weights), functional.cross_entropy(LOGITS, LABELS, weights)
    )


@pytest.mark.parametrize("temperature", [1.0, 5.0])
def test_divergence_and_soft_cross_entropy_are_those_of_torch(temperature: float) -> None:
    model, target = LOGITS / temperature, TARGETS / temperature
    torch.testing.assert_close(
        kl_divergence(LOGITS, TARGETS, temperature),
        functional.kl_div(
            model.log_softmax(1), target.log_softmax(1), log_target=True, reduction="batchmean"
        ),
    )
    torch.testing.assert_close(
        soft_cross_entropy(LOGITS, TARGETS, temperature), functional.cross_entropy(model, target.softmax(1))
    )


def test_divergence_from_uniform_is_none_for_equal_logits_and_that_of_torch_else() -> None:
    assert kl_to_uniform(torch.full((3, 4), 7.0)).item() == pytest.approx(0, abs=1e-6)
    uniform = torch.full((6, 4), 0.25)
    torch.testing.assert_close(
        kl_to_uniform(LOGITS), functional.kl_div(LOGITS.log_softmax(1), uniform, reduction="batchmean")
    )


def test_entropy_is_the_logarithm_of_the_classes_at_most() -> None:
    assert entropy(torch.zeros(2, 4)).tolist() == pytest.approx([math.log(4)] * 2)
    found = torch.distributions.Categorical(logits=LOGITS).entropy()
    torch.testing.assert_close(entropy(LOGITS), found)
