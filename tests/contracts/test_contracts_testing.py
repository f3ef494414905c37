"""`efface.testing` says of a class that breaks its contract which check failed, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from pydantic import Field
from torch import Tensor

from efface.classifiers.classifier import Classifier
from efface.corruptions.base import Mask
from efface.corruptions.rectangles import Centre
from efface.generators.mae.generator import MaeGenerator
from efface.methods.classifier.base import ClassifierMethod
from efface.methods.generator.encoder_noise import EncoderNoise
from efface.metrics.base import Restored
from efface.metrics.image_error import HoleMse
from efface.probes.detectability import Detectability
from efface.probes.findings import Findings
from efface.testing import (
    check_classifier,
    check_corruption,
    check_generator,
    check_method,
    check_metric,
    check_probe,
)
from efface.testing.models import SHAPE, other_classifier, tiny_generator
from efface.training.passes import Edit, Facts, Passes
from efface.training.phases import Batch, Loss


class Undescribed(EncoderNoise):
    strength: float = 1.0


class Boastful(EncoderNoise):
    """Says that it never sees forget images."""

    needs_forget: ClassVar[bool] = False


class Roaming(EncoderNoise):
    """Draws from the global random state."""

    def loss(self, student: Any, batch: Batch) -> Loss:
        found = super().loss(student, batch)
        return Loss(found.total * torch.rand(()), found.parts)


class Idle(ClassifierMethod):
    name: ClassVar[str] = "idle"
    summary: ClassVar[str] = "does nothing"
    source: ClassVar[str] = "nowhere"

    def passes(self, facts: Facts) -> Passes:
        return [Edit("nothing", lambda work: None)]


class Inverted(HoleMse):
    name: ClassVar[str] = "inverted"

    def compute(self, restored: Restored) -> Tensor:
        return 1 - super().compute(restored)


class Unbounded(HoleMse):
    name: ClassVar[str] = "unbounded"

    def compute(self, restored: Restored) -> Tensor:
        return 100 + super().compute(restored)


class Revealing(Centre):
    """Hides nothing at all."""

    def hidden(self, *given: Any) -> Mask:
        return super().hidden(*given) & False


class Silent(Detectability):
    name: ClassVar[str] = "silent"

    def run(self, subject: Any) -> Findings:
        return Findings()


class Meddling(Detectability):
    name: ClassVar[str] = "meddling"
    extra: float = Field(1.0, description="for a test")

    def run(self, subject: Any) -> Findings:
        model = subject.models["unlearned"]
        with torch.no_grad():
            next(model.parameters()).add_(1e-3)
        return super().run(subject)


class Peeking(MaeGenerator):
    """Restores with the true picture in sight."""

    def restore(self, view: Any, sampler: str | None = None) -> Tensor:
        pictures: Tensor = view.images.clone()
        return pictures


def sharing() -> Classifier:
    model = other_classifier()
    model.copy = lambda: model  # type: ignore[method-assign]
    return model


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (lambda: check_method(Undescribed), "method encoder-noise: Every setting has a description: .*'strength'"),
        (lambda: check_method(Boastful), "The traits agree with the phases: needs_forget is False, but its streams"),
        (lambda: check_method(Roaming), "A loss does not change its batch.*: the same batch gives .* and then"),
        (lambda: check_method(Idle), "method idle: It changes the model.*: the model is as it was"),
        (lambda: check_method(HoleMse), "derives neither from GeneratorMethod nor from ClassifierMethod"),  # type: ignore[arg-type]
        (lambda: check_metric(Inverted), "metric inverted: Where it reads the true pictures.*an exact copy"),
        (lambda: check_metric(Unbounded), r"metric unbounded: .*lie outside of its range, 0 to 1"),
        (lambda: check_metric(Centre), "derives not from Metric"),  # type: ignore[arg-type]
        (lambda: check_corruption(Revealing), "corruption centre: .*hides nothing of a picture"),
        (lambda: check_probe(Silent), "probe silent: .*: it gives .*, and says"),
        (lambda: check_probe(Meddling), "probe meddling: .*: it changed the weights of .'unlearned'"),
        (
            lambda: check_generator(lambda: Peeking.new(0, **SHAPE).eval()),
            "generator mae: Restoring .*: hidden pixels are those of the true picture",
        ),
        (lambda: check_classifier(sharing), "classifier Sequential: A copy has weights of its own: the copy shares"),
    ],
)  # fmt: skip
def test_what_breaks_its_contract_is_told(check: Callable[[], None], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check()


def test_a_generator_keeps_its_contract_in_one_call() -> None:
    check_generator(tiny_generator)
