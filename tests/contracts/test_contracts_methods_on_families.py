"""Every method on a model of every family: what it trains, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from efface.corruptions import parse_corruption
from efface.generators.base import Generator, PixelMoments, View
from efface.methods import GENERATOR_METHODS, read_method
from efface.testing.generator_methods import steps_train_what_is_declared
from efface.training.phases import Training
from support.families import MODELS
from support.tiny_models import draws, pictures

MOMENTS = PixelMoments(torch.tensor([0.2, 0.5, 0.8]), torch.tensor([0.3, 0.1, 0.02]))
METHODS = GENERATOR_METHODS.built_in


def taught() -> list[str]:
    """A method for each part of a model that any method trains beside a teacher."""
    parts: dict[str, str] = {}
    for name in METHODS:
        for phase in read_method({"name": name}).phases():
            if isinstance(phase, Training) and phase.needs_teacher:
                parts.setdefault(phase.trained, name)
    return list(parts.values())


def pairs() -> Iterator[tuple[str, str]]:
    """Every family with every method, and its special models with a method for each part that is trained.

    What is special about a masked autoencoder lies behind `prediction_loss`, where no method sees it.
    """
    for model in MODELS:
        family, _, special = model.partition(", ")
        if not (special and family == "mae"):
            yield from ((model, name) for name in (taught() if special else METHODS))


def view(generator: Generator, count: int, seed: int) -> View:
    corruption = parse_corruption("centre:0.5" if generator.takes_holes else "colour")
    images = pictures(count, seed, size=generator.image_size)
    return generator.view(images, corruption, draws(count, first=100 * seed))


def phases_of(name: str, generator: Generator) -> list[Training]:
    phases = read_method({"name": name}).phases()
    return [p for p in phases if isinstance(p, Training) and generator.trained_parameters(p.trained)]


@pytest.mark.parametrize(("family", "name"), [*pairs()])
def test_a_step_trains_the_declared_weights_and_nothing_else(family: str, name: str) -> None:
    steps_train_what_is_declared(METHODS[name](), MODELS[family])


@pytest.mark.parametrize("name", taught())
@pytest.mark.parametrize("family", MODELS)
def test_the_teacher_stays_the_original(family: str, name: str) -> None:
    for phase in phases_of(name, MODELS[family]()):
        if not phase.needs_teacher:
            continue
        generator = MODELS[family]()
        seen = view(generator, 2, 1)
        with torch.no_grad():
            original = generator.encode(seen)
        generator.set_trained(phase.trained)
        generator.keep_teacher(phase.trained)
        with torch.no_grad():
            for parameter in generator.trained_parameters(phase.trained).values():
                parameter.add_(0.1)
        generator.train()
        with generator.teacher():
            taught = generator.encode(seen)
        assert all(torch.equal(one, other) for one, other in zip(taught, original, strict=True))
