"""Losses of classifiers on logits `[B, classes]`, each a mean over the batch. Imports no torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def cross_entropy(logits: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Cross-entropy with labels `[B]`; with weights `[classes]`, the weighted mean (as torch's)."""
    losses = -logits.log_softmax(1).gather(1, labels[:, None]).squeeze(1)
    if class_weights is None:
        return losses.mean()
    weights = class_weights[labels]
    return (losses * weights).sum() / weights.sum()


def soft_cross_entropy(logits: Tensor, target_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Cross-entropy with the target's softened probabilities; both divided by the temperature."""
    targets = (target_logits / temperature).softmax(1)
    return -(targets * (logits / temperature).log_softmax(1)).sum(1).mean()


def kl_divergence(logits: Tensor, target_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(target || model) of the softened probabilities, without a factor of temperature squared."""
    target = (target_logits / temperature).log_softmax(1)
    return (target.exp() * (target - (logits / temperature).log_softmax(1))).sum(1).mean()


def kl_to_uniform(logits: Tensor) -> Tensor:
    """KL(uniform || model): 0 where all classes are alike."""
    return -logits.log_softmax(1).mean() - math.log(logits.shape[1])


def entropy(logits: Tensor) -> Tensor:
    """Entropy of each prediction, `[B]`, in nats."""
    logs = logits.log_softmax(1)
    return -(logs.exp() * logs).sum(1)
