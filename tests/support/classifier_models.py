"""Tiny classifiers with weights and statistics that all differ, and pictures to show them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from efface.classifiers.architecture import NetworkSettings
from efface.classifiers.classifier import Classifier, Normalisation
from efface.classifiers.networks import blocks_of, build

NORMALISATION = Normalisation(255.0, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
CLASSES = ("ant", "bee", "cat", "dog")


def pictures(count: int = 3, size: int = 16, channels: int = 3) -> Tensor:
    """uint8 pictures `[count, channels, size, size]`."""
    draws = torch.Generator().manual_seed(7)
    return torch.randint(0, 256, (count, channels, size, size), generator=draws, dtype=torch.uint8)


def stirred(network: nn.Module) -> nn.Module:
    """The same network as after some training: no statistic or scale is 0 or 1 any more."""
    draws = torch.Generator().manual_seed(3)
    for name, tensor in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            tensor.fill_(17)
        elif tensor.ndim == 1:
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=draws))
    return network


def small(seed: int = 0, **changes: Any) -> Classifier:
    """An untrained classifier of four classes with statistics of its own; settings as in `NetworkSettings`."""
    chosen = {"network": "small-conv", "classes": 4, "image_size": 16, "width": 4, **changes}
    settings = NetworkSettings.read(chosen)
    network = stirred(build(settings, seed))
    grey = settings.channels == 1
    return Classifier(
        network,
        classes=CLASSES,
        image_size=settings.image_size,
        channels=settings.channels,
        normalisation=Normalisation(1.0) if grey else NORMALISATION,
        blocks=blocks_of(network),
    ).eval()


def logits(classifier: Classifier) -> Tensor:
    with torch.no_grad():
        return classifier(pictures(size=classifier.image_size, channels=classifier.channels))
