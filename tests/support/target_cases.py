"""A student that has moved, its batch, and plain computations beside it: for tests of targets other than noise."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from efface.corruptions import parse_corruption
from efface.generators.base import Generator, PixelMoments
from efface.methods import read_method
from efface.training.phases import Batch
from support.families import MODELS
from support.tiny_models import draws, pictures

RETAIN, FORGET, SIZE = 3, 2, 32
MOMENTS = PixelMoments(torch.tensor([0.2, 0.5, 0.8]), torch.tensor([0.3, 0.1, 0.02]))
CENTRE = parse_corruption("centre:0.5")
HOLE = torch.zeros(SIZE, SIZE, dtype=torch.bool)
HOLE[8:24, 8:24] = True
HIDDEN_PATCHES = HOLE[::8, ::8].flatten()


def moved(generator: Generator, distance: float, seed: int = 3) -> None:
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in generator.trained_parameters("all").values():
            parameter.add_(torch.randn(parameter.shape, generator=rng), alpha=distance)


class Case:
    """A student that has moved away from its teacher, and one batch, of any family."""

    def __init__(self, family: str = "mae", distance: float = 0.05) -> None:
        self.generator: Any = MODELS[family]()
        if family == "mae":
            moved(self.generator, 0.2)  # fresh weights give nearly the same output to all images
        self.original = copy.deepcopy(self.generator.network)
        self.generator.keep_teacher("all")
        moved(self.generator, distance, seed=4)
        corruption = CENTRE if self.generator.takes_holes else parse_corruption("colour")
        self.retain, self.forget = pictures(RETAIN, seed=1), pictures(FORGET, seed=2)
        views = {
            "retain": self.generator.view(self.retain, corruption, draws(RETAIN)),
            "forget": self.generator.view(self.forget, corruption, draws(FORGET, first=100)),
        }
        self.batch = Batch(views, MOMENTS, corruption=corruption)

    def loss(self, name: str, **chosen: Any) -> Any:
        method: Any = read_method({"name": name, **chosen})
        return method.loss(self.generator, self.batch)

    def features(self, network: Any, images: Tensor) -> np.ndarray:
        return plain(network, (images - self.generator.mean) / self.generator.std)[0]

    def prediction(self, network: Any, images: Tensor) -> np.ndarray:
        return plain(network, (images - self.generator.mean) / self.generator.std)[1]


def plain(network: Any, inputs: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Features and prediction of the library's own masked autoencoder under the centre hole."""
    order = (HIDDEN_PATCHES.float() + torch.arange(16) / 100).expand(len(inputs), -1)
    network.config.mask_ratio = network.vit.config.mask_ratio = 0.25
    with torch.no_grad():
        out = network.vit(inputs, noise=order)
        logits = network.decoder(out.last_hidden_state, out.ids_restore).logits
    return out.last_hidden_state.double().numpy(), logits.double().numpy()


def mean_square(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return ((one - other) ** 2).reshape(len(one), -1).mean(axis=1)


def in_the_hole(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    hole = HIDDEN_PATCHES.numpy()
    return ((one - other)[:, hole] ** 2).mean(axis=(1, 2))


def check(loss: Any, retain: float, forget: float, alpha: float) -> None:
    assert float(loss.parts["retain"]) == pytest.approx(retain, rel=1e-4)
    assert float(loss.parts["forget"]) == pytest.approx(forget, rel=1e-4)
    assert float(loss.total.detach()) == pytest.approx(retain + alpha * forget, rel=1e-4)
    assert retain != pytest.approx(forget, rel=1e-2)


def held(case: Case) -> float:
    return float(
        mean_square(*(case.features(n, case.retain) for n in (case.generator.network, case.original))).mean()
    )
