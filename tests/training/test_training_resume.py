"""Stopped, killed or not: the same weights, bit for bit on one thread."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from efface.errors import InputError, Stopped
from efface.generators.mae.generator import MaeGenerator
from efface.methods import read_method
from efface.training import loop
from efface.training.checkpoint import FILE_NAME, load_checkpoint
from efface.training.data import Data
from efface.training.loop import Trainer
from efface.training.settings import Budget
from support.forked import Forked
from support.stopping import StopAt
from support.tiny_models import changed, settings, tiny, trainer, weights_of
from support.training_process import run as run_process

STEPS = 8


def dropping() -> MaeGenerator:
    """A model with dropout, so that the global random state matters too."""
    return tiny(hidden_dropout_prob=0.1)


def job(
    generator: MaeGenerator, data: Data, method: str = "encoder-noise", steps: int = STEPS, **options: Any
) -> Trainer:
    options.setdefault("config_digest", "config")
    return trainer(
        generator, read_method({"name": method}).phases(), data, asked=settings(steps=steps), **options
    )


def uninterrupted(data: Data, method: str = "encoder-noise") -> dict[str, Tensor]:
    generator = dropping()
    job(generator, data, method).run()
    return weights_of(generator)


def test_dropout_hangs_on_the_seed_alone(data: Data) -> None:
    found = []
    for state, seed in ((1, 0), (2, 0), (2, 5)):
        generator = dropping()
        torch.manual_seed(state)
        before = torch.get_rng_state()
        job(generator, data, seed=seed).run()
        assert torch.equal(torch.get_rng_state(), before)
        found.append(weights_of(generator))
    assert changed(found[0], found[1]) == set()
    assert changed(found[0], found[2])


@pytest.mark.parametrize("method", ["encoder-noise", "max-loss", "retrain"])
def test_resumed_run_equals_uninterrupted_run(method: str, data: Data, tmp_path: Path) -> None:
    expected = uninterrupted(data, method)
    for stops in ([1], [3], [2, 5], [1, 2, 6, 7]):
        folder = tmp_path / str(stops)
        for stop in stops:
            with pytest.raises(
                Stopped, match=f"stopped by SIGTERM after step {stop} of {STEPS}; the checkpoint"
            ):
                job(dropping(), data, method, folder=folder, progress=StopAt(stop)).run()
            torch.manual_seed(99)  # another process has another random state
        generator = dropping()
        report = job(generator, data, method, folder=folder).run()
        assert changed(expected, weights_of(generator)) == set()
        assert report.resumed_from == stops[-1]
        assert report.steps == STEPS


def test_what_was_not_stopped_before_differs_at_that_step(data: Data, tmp_path: Path) -> None:
    """The comparison above can fail: weights after 7 steps are not those after 8."""
    expected = uninterrupted(data)
    generator = dropping()
    with pytest.raises(Stopped):
        job(generator, data, progress=StopAt(7)).run()
    assert changed(expected, weights_of(generator)) == set(generator.encoder_parameters())


def test_a_stop_at_the_last_step_is_the_end(data: Data, tmp_path: Path) -> None:
    report = job(tiny(), data, folder=tmp_path, progress=StopAt(STEPS)).run()
    assert report.steps == STEPS


def test_control_c_stops_with_a_checkpoint_and_the_second_one_at_once(data: Data, tmp_path: Path) -> None:
    with pytest.raises(Stopped, match="stopped by SIGINT after step 2"):
        job(tiny(), data, folder=tmp_path, progress=StopAt(2, signal.SIGINT)).run()
    checkpoint = load_checkpoint(tmp_path, "config")
    assert checkpoint is not None
    assert checkpoint.step == 2

    class Twice(StopAt):
        def log(self, event: str, **values: Any) -> None:
            super().log(event, **values)
            super().log(event, **values)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        job(tiny(), data, folder=tmp_path / "other", progress=Twice(2, signal.SIGINT)).run()
    assert signal.getsignal(signal.SIGINT) is before, "the handler of before is in its place again"


def test_a_checkpoint_of_another_config_is_not_continued(data: Data, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        job(tiny(), data, folder=tmp_path, progress=StopAt(2)).run()
    with pytest.raises(InputError, match="belongs to another config"):
        job(tiny(), data, folder=tmp_path, config_digest="other").run()


def test_checkpoints_of_an_encoder_method_hold_the_encoder_only(data: Data, tmp_path: Path) -> None:
    for method in ("encoder-noise", "max-loss", "retrain"):
        generator = tiny()
        with pytest.raises(Stopped):
            job(generator, data, method, folder=tmp_path / method, progress=StopAt(2)).run()
        checkpoint = load_checkpoint(tmp_path / method, "config")
        assert checkpoint is not None
        expected = {
            "encoder-noise": set(generator.encoder_parameters()),
            "max-loss": set(generator.trained_parameters("all")),
            "retrain": set(generator.network.state_dict()),
        }
        assert set(checkpoint.weights) == expected[method]


def test_checkpoints_come_as_often_as_asked(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    monkeypatch.setattr(loop, "save_checkpoint", lambda folder, checkpoint: saved.append(checkpoint.step))
    job(tiny(), data, folder=tmp_path).run()
    assert saved == [0, 3, 6]


def test_a_killed_process_continues_from_its_last_checkpoint(tmp_path: Path) -> None:
    killed = Forked(tmp_path, run_process, tmp_path / "killed", "kill", 5)
    _, errors = killed.communicate()
    assert killed.returncode == -signal.SIGKILL, errors
    checkpoint = load_checkpoint(tmp_path / "killed" / "work", "config")
    assert checkpoint is not None
    assert checkpoint.step == 3
    assert run_process(tmp_path / "killed", "whole") == 0
    assert run_process(tmp_path / "whole", "whole") == 0
    weights, expected = (torch.load(tmp_path / name / "weights.pt") for name in ("killed", "whole"))
    assert changed(expected, weights) == set()
    assert changed(expected, weights_of(tiny())), "training did something"


def test_sigterm_stops_a_process_at_its_next_step_with_exit_code_4(tmp_path: Path) -> None:
    process = Forked(tmp_path, run_process, tmp_path, "wait", 2)
    until = time.monotonic() + 60
    while "step 2\n" not in process.printed():
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate()
    assert process.returncode == 4
    last = int(out.split()[-1])
    assert last <= 4, "it stopped at the next step"
    assert f"stopped by SIGTERM after step {last} of 200" in errors
    assert "The same command continues" in errors
    checkpoint = load_checkpoint(tmp_path / "work", "config")
    assert checkpoint is not None
    assert checkpoint.step == last


# a budget in seconds


def test_a_budget_in_seconds_becomes_steps_that_a_resumed_run_keeps(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "_timed", lambda *_: 0.125)
    with pytest.raises(Stopped, match="after step 4 of 10"):
        job(tiny(), data, folder=tmp_path, budget=Budget(seconds=1.3), progress=StopAt(4)).run()

    def again(*_: Any) -> float:
        raise AssertionError("a resumed run does not time its steps again")

    monkeypatch.setattr(Trainer, "_timed", again)
    report = job(tiny(), data, folder=tmp_path, budget=Budget(seconds=1.3)).run()
    assert (report.steps, report.resumed_from) == (10, 4)


def test_the_step_count_is_on_disk_before_the_first_step(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "_timed", lambda *_: 0.125)
    monkeypatch.setattr(Trainer, "_run_steps", lambda *_: None)
    job(tiny(), data, folder=tmp_path, budget=Budget(seconds=1.3)).run()
    checkpoint = load_checkpoint(tmp_path, "config")
    assert checkpoint is not None
    assert (checkpoint.step, checkpoint.steps) == (0, 10)


def test_timing_the_steps_changes_nothing_of_the_result(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = uninterrupted(data)
    monkeypatch.setattr(loop.statistics, "median", lambda times: 0.125 if min(times) > 0 else 0.0)
    generator = dropping()
    report = job(generator, data, budget=Budget(seconds=1.0)).run()
    assert report.steps == STEPS
    assert changed(expected, weights_of(generator)) == set()


def test_a_budget_of_steps_counts_instead_of_the_setting(data: Data) -> None:
    assert job(tiny(), data, budget=Budget(steps=3)).run().steps == 3


@pytest.mark.parametrize("mode", [True, False])
def test_time_steps_leaves_weights_random_states_and_modes_untouched(mode: bool, data: Data) -> None:
    generator = dropping().train(mode)
    before, digest = weights_of(generator), generator.weights_digest()
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    gradients = {name: weight.requires_grad for name, weight in generator.network.named_parameters()}
    seconds = job(generator, data).time_steps(3)
    assert 0 < seconds < 5
    assert changed(before, weights_of(generator)) == set()
    assert generator.weights_digest() == digest
    assert states[0] == random.getstate()
    assert states[1] == np.random.get_state()[1].tolist()
    assert torch.equal(states[2], torch.get_rng_state())
    assert generator.training is generator.network.training is mode
    assert {n: w.requires_grad for n, w in generator.network.named_parameters()} == gradients
    assert all(weight.grad is None for weight in generator.network.parameters())


def test_timing_forgets_the_optimizers_moments(data: Data) -> None:
    own = job(dropping(), data)
    own.generator.keep_teacher("encoder")
    step = own._step(own.phases[0])
    own._timed(step, 2)
    assert not step.optimizer.state
    assert all(parameter.grad is None for parameter in step.parameters)


# the folder


def test_without_a_folder_nothing_is_written(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Stopped) as stop:
        job(tiny(), data, progress=StopAt(4)).run()
    assert "the checkpoint is in" not in str(stop.value)
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_has_one_name(data: Data, tmp_path: Path) -> None:
    job(tiny(), data, folder=tmp_path).run()
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
