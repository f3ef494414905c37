"""How much each weight matters for a set of images: means of squared or absolute gradients. No torch at import.

All of them run the network in evaluation mode, as edits do, and see the images in an order that follows from their ids
alone, so that they depend neither on the seed nor on the order of the set.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from efface.memory import images_at_once
from efface.randomness import key

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from efface.images.labelled import LabelledImages
    from efface.training.classification import Labelled, Work

Objective = Callable[["Tensor", "Tensor"], "Tensor"]
"""A scalar from logits `[B, classes]` and labels `[B]`, a mean over the batch."""
GRADIENT_NUMBERS = 2**26
"""Numbers that the gradients of a chunk of single images may hold: 256 MiB."""


def settled_order(images: LabelledImages) -> npt.NDArray[np.int64]:
    """Places of the images, `[images]`, in an order keyed by their ids."""
    return np.argsort([key("settled order", id_) for id_ in images.ids], kind="stable")


def gradient(work: Work, batch: Labelled, objective: Objective) -> dict[str, Tensor]:
    """Gradient of the objective on a batch, by name of the weight in the network; zero where it has no part."""
    import torch

    named = dict(work.model.network.named_parameters())
    with torch.enable_grad():
        value = objective(work.model(batch.images), batch.labels)
        found = torch.autograd.grad(value, list(named.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(named, found, strict=True))


def batch_importances(
    work: Work, stream: str, batch_size: int, objective: Objective, power: int
) -> dict[str, Tensor]:
    """Mean over batches of |gradient of the batch's mean|^power, by name of the weight.

    It depends on the batch size: the gradients of a batch's images cancel before they are squared.
    """
    order = settled_order(work.sets[stream])
    starts = range(0, len(order), batch_size)
    total: dict[str, Tensor] = {}
    for start in starts:
        for name, part in gradient(
            work, work.batch(stream, order[start : start + batch_size]), objective
        ).items():
            share = part.abs().pow(power) / len(starts)
            total[name] = total[name] + share if name in total else share
    return total


def expected_fisher(work: Work, stream: str, images: int | None = None) -> dict[str, Tensor]:
    """Diagonal of the Fisher information, by name of the weight; `images`: how many are used at most (None: all).

    Mean over the images x of sum_y p(y | x) (d log p(y | x) / d weight)^2: labels as the model expects them.
    """
    import torch
    from torch.func import functional_call, grad, vmap

    weights = {name: value.detach() for name, value in work.model.named_parameters()}

    def log_probability(weights: dict[str, Tensor], image: Tensor, label: int) -> Tensor:
        logits: Tensor = functional_call(work.model, weights, (image[None],))
        return logits.log_softmax(1)[0, label]

    gradients = vmap(grad(log_probability), in_dims=(None, 0, None))
    order = settled_order(work.sets[stream])[:images]
    most = min(256, GRADIENT_NUMBERS // sum(value.numel() for value in weights.values()))
    size = images_at_once(most, work.model.image_size)
    total = {name: torch.zeros_like(value) for name, value in weights.items()}
    for start in range(0, len(order), size):
        shown = work.batch(stream, order[start : start + size]).images
        probabilities = work.model(shown).softmax(1)
        for label in range(work.facts.classes):
            work.check_time()
            with warnings.catch_warnings():
                # attention has no rule for single images of a batch and is computed one by one, correctly
                warnings.filterwarnings("ignore", "There is a performance drop")
                found = gradients(weights, shown, label)
            for name, part in found.items():
                total[name] += torch.tensordot(probabilities[:, label], part.square(), 1) / len(order)
    return {name.removeprefix("network."): value for name, value in total.items()}
