"""Gradients taken one by one, phases that end early, and models kept on the way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from efface.generators.base import Generator
from efface.methods import read_method
from efface.methods.base import feature_distance
from efface.progress import Progress
from efface.training.checkpoint import load_checkpoint
from efface.training.data import Data
from efface.training.phases import Batch, EditPhase, Keep, Loss, Phase, Training
from efface.training.settings import Budget
from support.tiny_models import changed, settings, tiny, trainer, weights_of
from support.two_processes import SECTIONS

NO_GRADIENT = "k_proj.bias"
"""Attention does not depend on the bias of its keys: what Adam moves there is rounding error alone."""


class Killed(Exception):
    """As by a power cut: nothing more is saved."""


class Log(Progress):
    """All lines of the log; the run dies after `kill` steps, over all phases."""

    def __init__(self, kill: int = 0) -> None:
        super().__init__()
        self.kill, self.events = kill, list[tuple[str, dict[str, Any]]]()

    def log(self, event: str, **values: Any) -> None:
        self.events.append((event, values))
        if self.kill and len(self.steps()) == self.kill:
            raise Killed

    def steps(self) -> list[dict[str, Any]]:
        return [values for event, values in self.events if event == "step"]


# gradients of single objectives


class Recorded:
    """Descends the sum, times `factor`, and keeps what it was given and how often."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor, self.calls = factor, 0
        self.seen: list[tuple[dict[str, list[Tensor]], dict[str, float]]] = []

    def __call__(
        self, gradients: Mapping[str, list[Tensor]], values: Mapping[str, Tensor]
    ) -> tuple[list[Tensor], Mapping[str, Tensor]]:
        self.calls += 1
        self.seen.append((dict(gradients), {name: value.item() for name, value in values.items()}))
        summed = [
            self.factor * torch.stack(found).sum(dim=0) for found in zip(*gradients.values(), strict=True)
        ]
        return summed, {"calls": torch.tensor(float(self.calls))}

    def state(self) -> dict[str, float]:
        return {"calls": self.calls}

    def load_state(self, state: Mapping[str, float]) -> None:
        self.calls = int(state.get("calls", 0))


def of_weights(student: Generator, batch: Batch) -> Loss:
    """Two objectives whose gradients are known: w itself on all but the class token, 3 on the layer norm's scale."""
    weights = {n: p for n, p in student.encoder_parameters().items() if not n.endswith("cls_token")}
    squares = sum(((weight * weight).sum() / 2 for weight in weights.values()), torch.zeros(()))
    plain = 3 * weights["vit.layernorm.weight"].sum()
    parts = {"retain": squares.detach()}
    return Loss(squares + plain, parts, {"squares": squares, "plain": plain})


def test_each_objectives_gradient_is_its_own(data: Data) -> None:
    generator, combine, log = tiny(), Recorded(), Log()
    before = weights_of(generator)
    phase = Training("train", of_weights, ("retain",), "encoder", combine=combine)
    trainer(generator, [phase], data, asked=settings(steps=1, weight_decay=0.5), progress=log).run()
    ((gradients, values),) = combine.seen
    names = list(generator.encoder_parameters())
    for name, squares, plain in zip(names, gradients["squares"], gradients["plain"], strict=True):
        reached = not name.endswith("cls_token")
        assert torch.equal(squares, before[name] if reached else torch.zeros_like(before[name]))
        assert torch.equal(plain, torch.full_like(plain, 3.0 if name == "vit.layernorm.weight" else 0.0))
    assert values["plain"] == pytest.approx(3 * float(before["vit.layernorm.weight"].sum()))
    direction = sum(float((before[n] + 3 * (n == "vit.layernorm.weight")).square().sum()) for n in names)
    cls_token = float(before["vit.embeddings.cls_token"].square().sum())
    (step,) = log.steps()
    assert step["gradient_norm"] == pytest.approx((direction - cls_token) ** 0.5, rel=1e-5)
    assert step["calls"] == 1
    moved = changed(before, weights_of(generator))
    assert "vit.layernorm.weight" in moved
    assert "vit.embeddings.cls_token" not in moved, "no objective reaches it, nor does weight decay"


def noise_phase(combine: Any) -> list[Phase]:
    method = read_method({"name": "bargaining"})
    return [Training("unlearn", method.loss, ("retain", "forget"), "encoder", True, combine=combine)]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("precision", "rounding"), [("fp32", 1e-6), ("bf16", 4e-3)])
def test_the_sum_of_the_gradients_trains_as_the_sum_of_the_losses(
    precision: str, rounding: float, data: Data
) -> None:
    results = []
    for phases in (noise_phase(Recorded()), noise_phase(None)):
        generator = tiny()
        trainer(generator, phases, data, asked=settings(steps=5, precision=precision)).run()
        results.append(weights_of(generator))
    assert {tensor.dtype for tensor in results[0].values()} == {torch.float32}
    assert largest_difference(*results) < rounding
    assert largest_difference(results[0], weights_of(tiny())) > 1e-3


def test_the_direction_and_not_the_total_is_descended(data: Data) -> None:
    results = []
    for factor in (1.0, -1.0):
        generator = tiny()
        trainer(
            generator, noise_phase(Recorded(factor)), data, asked=settings(steps=1, weight_decay=0.0)
        ).run()
        results.append(weights_of(generator))
    before, name = weights_of(tiny()), "vit.layernorm.weight"
    torch.testing.assert_close(results[0][name] - before[name], before[name] - results[1][name])


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one if not name.endswith(NO_GRADIENT))


def test_timing_steps_leaves_no_trace_in_what_a_combiner_carries(data: Data) -> None:
    combine = Recorded()
    job = trainer(tiny(), noise_phase(combine), data, budget=Budget(seconds=0.01))
    job.time_steps(1)
    assert combine.calls == 0
    report = job.run()
    assert combine.calls == report.steps
    job.run()
    assert combine.calls == report.steps, "every run begins as new"


# shares and early ends


def test_shares_divide_the_steps_and_a_budget(data: Data) -> None:
    def phases() -> list[Phase]:
        loss = read_method({"name": "fine-tune"}).phases()[0].loss  # type: ignore[union-attr]
        return [
            Training("first", loss, ("retain",), "all", share=0.25),
            Training("second", loss, ("retain",), "all", share=0.75),
        ]

    for budget in (None, Budget(steps=8)):
        log = Log()
        report = trainer(tiny(), phases(), data, asked=settings(steps=8), budget=budget, progress=log).run()
        assert [values["steps"] for event, values in log.events if event == "phase"] == [2, 6]
        assert report.steps == 8


def ending(at: int) -> list[Phase]:
    """Fine-tuning in two phases, of which the first ends when a number of the loss says so."""
    loss = read_method({"name": "fine-tune"}).phases()[0].loss  # type: ignore[union-attr]
    calls = Recorded()

    def counted(student: Generator, batch: Batch) -> Loss:
        found = loss(student, batch)
        return Loss(found.total, found.parts, {"retain": found.total}, {"half": found.total.detach() / 2})

    def until(numbers: Mapping[str, float]) -> bool:
        assert numbers["half"] == pytest.approx(numbers["retain"] / 2)
        return numbers["calls"] >= at

    return [
        Training("first", counted, ("retain",), "all", combine=calls, until=until),
        Training("second", loss, ("retain",), "all"),
    ]


def test_a_phase_ends_when_its_numbers_say_so(data: Data) -> None:
    log = Log()
    report = trainer(tiny(), ending(3), data, asked=settings(steps=8), progress=log).run()
    assert report.steps == 3 + 8
    assert [step["phase"] for step in log.steps()].count("first") == 3
    assert ("ended", {"phase": "first", "step": 3, "steps": 8}) in log.events
    whole = trainer(tiny(), ending(100), data, asked=settings(steps=8)).run()
    assert whole.steps == 16


# models kept on the way


def test_without_a_keeper_such_a_phase_changes_nothing(data: Data) -> None:
    (phase,) = read_method({"name": "fine-tune"}).phases()
    plain, with_keep = tiny(), tiny()
    log = Log()
    trainer(plain, [phase], data).run()
    report = trainer(with_keep, [Keep("start"), phase, Keep("end")], data, progress=log).run()
    assert with_keep.weights_digest() == plain.weights_digest()
    assert report.steps == 8
    assert ("keep", {"phase": "start", "kept": False}) in log.events


class Keeper:
    """What was kept, in order, by the digest of its weights."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, str]] = []

    def __call__(self, name: str, generator: Generator) -> None:
        self.kept.append((name, generator.weights_digest()))


# resuming


def shadowed() -> list[Phase]:
    """Trains a shadow, goes back to the original, and is drawn to the shadow's features from there."""

    def keep(generator: Generator, seed: int) -> None:
        generator.keep_shadow()
        generator.return_to_teacher()

    def loss(student: Generator, batch: Batch) -> Loss:
        retain, forget = batch.views["retain"], batch.views["forget"]
        with student.teacher():
            kept = student.encode(retain)
        with student.shadow():
            shown = student.encode(forget)
        held = feature_distance(student.encode(retain), kept, "mse").mean()
        drawn = feature_distance(student.encode(forget), shown, "mse").mean()
        return Loss(held + drawn, {"retain": held.detach(), "forget": drawn.detach()})

    (shadow,) = read_method({"name": "fine-tune"}).phases()
    return [shadow, EditPhase("keep", keep), Training("unlearn", loss, ("retain", "forget"), "all", True)]


RUNS: dict[str, Any] = {
    "combined, with what is carried, and kept": lambda: read_method(SECTIONS["epsilon"]).phases(),
    "until": lambda: ending(5),
    "shadow": shadowed,
}


@pytest.mark.parametrize("what", RUNS)
def test_a_killed_run_goes_on_to_the_bit(what: str, data: Data, tmp_path: Path) -> None:
    asked = settings(steps=8, checkpoint_every=2)
    whole, keeper, log = tiny(), Keeper(), Log()
    expected = trainer(whole, RUNS[what](), data, asked=asked, keep=keeper, progress=log).run()
    steps = len(log.steps())
    assert expected.steps == steps
    for kills in ([1], [4, 2], [steps - 3], [steps]):
        folder, again, resumed = tmp_path / str(kills), Keeper(), tiny()
        for kill in kills:
            with pytest.raises(Killed):
                trainer(
                    tiny(), RUNS[what](), data, asked=asked, folder=folder, keep=again, progress=Log(kill)
                ).run()
        report = trainer(resumed, RUNS[what](), data, asked=asked, folder=folder, keep=again).run()
        assert report.steps == steps
        assert report.resumed_from is not None
        assert changed(weights_of(whole), weights_of(resumed)) == set()
        assert again.kept == keeper.kept, "the same models, each once"
    if "kept" in what:
        assert [name for name, _ in keeper.kept] == ["point-1-completeness-1.000"]


def test_a_run_killed_right_behind_a_kept_model_does_not_keep_it_again(data: Data, tmp_path: Path) -> None:
    class KilledBehind(Log):
        def log(self, event: str, **values: Any) -> None:
            super().log(event, **values)
            if event == "keep":
                raise Killed

    keeper = Keeper()
    for progress in (KilledBehind(), KilledBehind()):
        phases = read_method(SECTIONS["epsilon"]).phases()
        with pytest.raises(Killed):
            trainer(tiny(), phases, data, folder=tmp_path, keep=keeper, progress=progress).run()
    assert [step["phase"] for step in progress.steps()][-1] == "point 1", "it came by there again"
    assert len(keeper.kept) == 1


def test_the_range_of_the_bound_is_in_the_checkpoint(data: Data, tmp_path: Path) -> None:
    phases = read_method(SECTIONS["epsilon"]).phases()
    with pytest.raises(Killed):
        trainer(tiny(), phases, data, folder=tmp_path, progress=Log(6)).run()
    checkpoint = load_checkpoint(tmp_path, "")
    assert checkpoint is not None
    carried = checkpoint.combiners[0]
    assert carried["steps"] == 2
    assert carried["least"] > carried["complete"] > 0
    assert checkpoint.combiners.keys() == {0, 1, 3}


def test_a_run_leaves_neither_teacher_nor_shadow_and_can_be_timed(data: Data) -> None:
    generator = tiny()
    phases = shadowed()
    assert trainer(generator, phases[1:], data).time_steps(1) > 0
    assert generator.weights_digest() == tiny().weights_digest()
    trainer(generator, phases, data).run()
    for block in (generator.shadow, generator.teacher):
        with pytest.raises(RuntimeError, match="is kept"), block():
            pass


def test_a_loss_is_told_the_corruption_of_its_step(data: Data) -> None:
    seen: list[str] = []

    def loss(student: Generator, batch: Batch) -> Loss:
        retain = batch.views["retain"]
        again = student.view(1 - retain.images, batch.corruption, retain.draws)
        assert torch.equal(again.corrupted.known, retain.corrupted.known)
        seen.append(str(batch.corruption))
        total = student.task_loss(retain).mean()
        return Loss(total, {"retain": total.detach()})

    trainer(
        tiny(), [Training("train", loss, ("retain",), "all")], data, asked=settings(corruption="random:0.5")
    ).run()
    assert set(seen) == {"random:0.5"}
