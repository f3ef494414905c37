"""The running average of the weights, and phases with settings of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from efface.errors import Stopped
from efface.methods import read_method
from efface.methods.generator.retrain import from_scratch
from efface.training.data import Data
from efface.training.settings import Budget
from efface.training.step import Average
from support.stopping import StopAt
from support.tiny_models import settings, tiny, trainer, weights_of


def test_the_average_by_hand() -> None:
    weight = nn.Parameter(torch.tensor([0.0]))
    average = Average({"weight": weight}, decay=0.25)
    expected = 0.0
    for step, value in enumerate((1.0, 2.0, 4.0), start=1):
        weight.data.fill_(value)
        average.add()
        decay = min(0.25, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert average.weights["weight"].item() == pytest.approx(expected)
    assert weight.item() == 4.0
    average.settle()
    assert weight.item() == pytest.approx(expected)


def test_training_ends_with_the_average_of_its_steps(data: Data) -> None:
    plain, averaged = tiny(), tiny()
    phases = read_method({"name": "fine-tune"}).phases()
    trainer(plain, phases, data).run()
    trainer(averaged, phases, data, asked=settings(average=0.9)).run()
    start, last, mean = (weights_of(model) for model in (tiny(), plain, averaged))
    name = "vit.layernorm.weight"
    assert 0 < (mean[name] - last[name]).norm() < (start[name] - last[name]).norm()


def test_a_resumed_average_is_that_of_the_uninterrupted_run(data: Data, tmp_path: Path) -> None:
    asked = settings(average=0.9)
    whole, resumed = tiny(), tiny()
    phases = read_method({"name": "fine-tune"}).phases()
    trainer(whole, phases, data, asked=asked).run()
    with pytest.raises(Stopped):
        trainer(resumed, phases, data, asked=asked, folder=tmp_path, progress=StopAt(5)).run()
    again = tiny()
    trainer(again, phases, data, asked=asked, folder=tmp_path).run()
    assert again.weights_digest() == whole.weights_digest()


def test_a_phase_for_a_first_stage_is_passed_over_on_a_model_without(data: Data) -> None:
    phases = from_scratch(True)
    assert [phase.trained for phase in phases] == ["first-stage", "all"]
    both, alone = tiny(), tiny()
    assert trainer(both, list(phases), data).run().steps == settings().steps
    trainer(alone, list(from_scratch(False)), data).run()
    assert both.weights_digest() == alone.weights_digest()


def test_a_phase_may_have_settings_of_its_own(data: Data) -> None:
    (phase,) = from_scratch(False)
    own = type(phase)(phase.name, phase.loss, phase.streams, phase.trained, settings=settings(steps=3))
    assert trainer(tiny(), [own], data, asked=settings(steps=8)).run().steps == 3


def test_a_budget_of_steps_is_shared_by_the_phases(data: Data) -> None:
    (phase,) = from_scratch(False)
    twice = [phase, type(phase)("again", phase.loss, phase.streams, phase.trained)]
    assert trainer(tiny(), list(twice), data, budget=Budget(steps=6)).run().steps == 6
