"""A classifier's head for other classes: what fine-tuning a public model begins with."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from efface.classifiers.classifier import Classifier
from efface.classifiers.committee import Committee
from efface.errors import InputError
from efface.randomness import key

SHOWN = 3


def for_classes(base: Classifier, classes: Iterable[str], seed: int) -> Classifier:
    """A copy of `base` for these classes: with its own head where it has them all, else with a fresh one drawn by `seed`.

    The global random state stays as it was. Raises `InputError` where the head is none that can be made anew.
    """
    model, wanted = base.copy(), tuple(classes)
    if set(wanted) <= set(base.classes):
        return model
    if base.origin.kind in ("factory", "memory"):
        raise InputError(
            f"the base has other classes than the images, and its network is built by code of yours: a head for "
            f"{len(wanted)} classes has to come from there. Give weights of a network with that head"
        )
    path, head = base.blocks[-1], base.head
    if isinstance(base.network, Committee) or not isinstance(head, nn.Linear | nn.Conv2d):
        what = "committee" if isinstance(base.network, Committee) else type(head).__name__
        raise InputError(
            f"the base has other classes than the images, and its head, a {what}, cannot be made anew: name a base with "
            f"the classes {', '.join(wanted[:SHOWN])}{', ...' * (len(wanted) > SHOWN)}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(key(seed, "initialise"))
        fresh = _like(head, len(wanted)).to(head.weight.device)
    parent, _, name = path.rpartition(".")
    setattr(model.network.get_submodule(parent), name, fresh)
    model.classes = wanted
    return model


def differences(model: Classifier, base: Classifier) -> list[str]:
    """Why `model` cannot have been trained on from `base`, one sentence each."""
    mine, its = (
        {name: tuple(tensor.shape) for name, tensor in one.network.state_dict().items()}
        for one in (model, base)
    )
    unequal = sorted(name for name in mine.keys() | its.keys() if mine.get(name) != its.get(name))
    if not unequal:
        return []
    named = ", ".join(unequal[:SHOWN]) + ", ..." * (len(unequal) > SHOWN)
    return [f"{len(unequal)} weights are missing or of another shape: {named}"]


def _like(head: nn.Linear | nn.Conv2d, outputs: int) -> nn.Linear | nn.Conv2d:
    bias = head.bias is not None
    if isinstance(head, nn.Linear):
        return nn.Linear(head.in_features, outputs, bias=bias)
    return nn.Conv2d(head.in_channels, outputs, kernel_size=1, bias=bias)
