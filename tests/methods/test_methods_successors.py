"""Directions worked out by hand, what they lead to on quadratics, and the objectives and phases of the successors."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from efface.errors import InputError
from efface.methods import read_method
from efface.methods.generator.bargaining import Bargain, Bargaining, Projection
from efface.methods.generator.decouple import Decouple
from efface.methods.generator.epsilon_constrained import (
    Barrier,
    Boundaries,
    EpsilonConstrained,
    barrier_weight,
    control,
)
from efface.progress import Progress
from efface.training.data import Data
from efface.training.phases import Combiner, Keep, Training
from support.loss_cases import Case
from support.tiny_models import settings, tiny, trainer


def direction(combiner: Combiner, retain: list[float], forget: list[float], value: float = 0.0) -> Tensor:
    """Of two gradients, each spread over two tensors."""
    gradients = {
        "retain": [torch.tensor(retain[:1]), torch.tensor(retain[1:])],
        "forget": [torch.tensor(forget[:1]), torch.tensor(forget[1:])],
    }
    values = {"retain": torch.tensor(0.0), "forget": torch.tensor(value)}
    return torch.cat(combiner(gradients, values)[0])


def barrier(completeness: float, least: float = 8.0, complete: float = 0.0, rate: float = 1.0) -> Barrier:
    boundaries = Boundaries()
    boundaries.load_state({"least": least, "complete": complete, "steps": 5})
    return Barrier(boundaries, completeness, rate)


# directions by hand


def test_bargaining_by_hand() -> None:
    # norms 3 and 4: the unit gradients (1, 0) and (0, 1) times 2 * 3 * 4 / 7
    assert direction(Bargain(), [3, 0], [0, 4]).tolist() == pytest.approx([24 / 7, 24 / 7])
    # gradients of one norm are added
    assert direction(Bargain(), [3, 4], [0, 5]).tolist() == pytest.approx([3, 9])


def test_after_bargaining_both_gain_the_same_share_of_what_each_could() -> None:
    retain, forget = torch.tensor([3.0, 1.0, 0.5]), torch.tensor([-20.0, 40.0, 3.0])
    agreed = direction(Bargain(), retain.tolist(), forget.tolist())
    a, b = retain.norm(), forget.norm()
    assert float(agreed @ retain / a) == pytest.approx(float(agreed @ forget / b), rel=1e-5)
    units = retain / a + forget / b
    assert float(agreed.norm()) == pytest.approx(float(2 * a * b / (a + b) * units.norm()), rel=1e-5)


@pytest.mark.parametrize("combiner", [Bargain(), Projection(1.0)])
def test_a_gradient_that_is_only_rounding_leaves_the_word_to_the_other(combiner: Combiner) -> None:
    for rounding in (0.0, 1e-7):
        assert direction(combiner, [0, rounding], [0, -2.0]).tolist() == pytest.approx([0, -2], abs=1e-6)


def test_one_vanishing_objective_of_forgetting_leaves_retaining() -> None:
    assert direction(Bargain(), [0, 3], [0, 0]).tolist() == [0, 3]
    assert direction(Bargain(), [0, 0], [0, 0]).tolist() == [0, 0]


def test_a_conflicting_forget_gradient_is_projected_by_hand() -> None:
    # <g_r, g_f> = -8, |g_r|^2 = 4: g_f loses -2 g_r = (-4, 0), what is left is (0, 3)
    assert direction(Projection(1.0), [2, 0], [-4, 3]).tolist() == pytest.approx([2, 3])
    assert direction(Projection(0.5), [2, 0], [-4, 3]).tolist() == pytest.approx([2, 1.5])
    # without conflict nothing is taken
    assert direction(Projection(0.5), [2, 0], [4, 3]).tolist() == pytest.approx([4, 1.5])


def test_what_projection_leaves_is_orthogonal_to_retaining() -> None:
    retain, forget = torch.tensor([3.0, 1.0, 0.5]), torch.tensor([-20.0, 4.0, 3.0])
    left = direction(Projection(1.0), retain.tolist(), forget.tolist()) - retain
    assert float(left @ retain) == pytest.approx(0, abs=1e-4)
    assert float(left @ forget) > 0


@pytest.mark.parametrize(
    ("psi", "both", "square", "expected"),
    [(2.0, -4.0, 3.0, 2.0), (2.0, 1.0, 4.0, 0.25), (2.0, 5.0, 4.0, 0.0), (-6.0, -4.0, 3.0, 0.0)],
)
def test_lambda_by_hand(psi: float, both: float, square: float, expected: float) -> None:
    weight = barrier_weight(*(torch.tensor(value) for value in (psi, both, square)))
    assert weight.item() == pytest.approx(expected)


def test_the_control_function_by_hand() -> None:
    def psi(forget: float) -> float:
        return control(torch.tensor(forget), 3.0, 4.0, 2.0, torch.tensor(5.0)).item()

    assert psi(3.0) == 0
    assert psi(4.0) == pytest.approx(2 * 0.25 * 5)
    assert psi(100.0) == pytest.approx(2 * 5)
    assert psi(1.0) == pytest.approx(2 * -0.5 * 5)


def test_the_barriers_direction_lowers_the_forget_objective_at_least_at_the_asked_rate() -> None:
    # epsilon = 8 - 0.75 * 8 = 2, excess (4 - 2) / 8, |g_f| = 5 is the larger: psi = 0.25 * 25;
    # <g_r, g_f> = -5: lambda = 11.25 / 25
    found = direction(barrier(0.75), [1, -2], [3, 4], value=4.0)
    assert found.tolist() == pytest.approx([1 + 0.45 * 3, -2 + 0.45 * 4])
    assert float(found @ torch.tensor([3.0, 4.0])) == pytest.approx(0.25 * 25)
    # the larger one is that of retaining: psi = 0.25 * 5 * 10, <g_r, g_f> = 30: nothing is needed
    assert direction(barrier(0.75), [10, 0], [3, 4], value=4.0).tolist() == [10, 0]
    # psi = 0.25 * 5 * 10, <g_r, g_f> = -30: lambda = 42.5 / 25
    assert direction(barrier(0.75), [-10, 0], [3, 4], value=4.0).tolist() == pytest.approx([-4.9, 6.8])
    # well inside the bound retaining alone counts
    assert direction(barrier(0.25), [1, -2], [3, 4], value=0.1).tolist() == [1, -2]


# where they lead on quadratics: R = |x|^2 / 2, F = |x - q|^2 / 2 with q = (4, 0), so F = 8 where R = 0


def descend(combiner: Combiner, start: list[float], steps: int = 2000, rate: float = 0.01) -> Tensor:
    x, q = torch.tensor(start, dtype=torch.float64), torch.tensor([4.0, 0.0], dtype=torch.float64)
    for _ in range(steps):
        values = {"retain": (x @ x) / 2, "forget": ((x - q) @ (x - q)) / 2}
        (step,), _ = combiner({"retain": [x.clone()], "forget": [x - q]}, values)
        x = x - rate * step
    return x


@pytest.mark.parametrize("completeness", [0.25, 0.5, 0.9])
def test_the_constraint_is_met_where_retaining_is_best(completeness: float) -> None:
    epsilon = 8 * (1 - completeness)
    # the point of the segment between both minima at which F is epsilon
    expected = [4 - math.sqrt(2 * epsilon), 0.0]
    for start in ([4.0, 0.0], [6.0, -2.0]):
        assert descend(barrier(completeness), start).tolist() == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("combiner", [Bargain(), Projection(1.0)])
def test_bargaining_and_projection_end_where_none_can_gain_without_loss(combiner: Combiner) -> None:
    x, y = descend(combiner, [1.0, 3.0]).tolist()
    assert y == pytest.approx(0, abs=0.01)
    assert 0 <= x <= 4


def test_the_range_of_the_bound_is_the_first_value_and_the_running_mean() -> None:
    boundaries = Boundaries()
    values = [5.0, 3.0, 2.0, 1.5]
    mean = 5.0
    for step, value in enumerate(values):
        gradient = torch.tensor([value])
        (descended,), _ = boundaries({"forget": [gradient]}, {"forget": torch.tensor(value)})
        assert descended is gradient
        decay = min(0.9, (1 + step) / (10 + step))
        mean = decay * mean + (1 - decay) * value
    assert boundaries.state() == {"least": 5.0, "complete": pytest.approx(mean), "steps": 4}
    assert boundaries.epsilon(0) == 5
    assert boundaries.epsilon(1) == pytest.approx(mean)
    boundaries.load_state({})
    assert boundaries.state() == Boundaries().state()


# objectives


@pytest.mark.parametrize("norm", ["mse", "l2"])
@pytest.mark.parametrize("name", ["bargaining", "epsilon-constrained"])
def test_the_objectives_are_the_parts_of_encoder_noise(name: str, norm: str) -> None:
    case = Case()
    method = read_method({"name": name, "norm": norm, "noise": "uniform"})
    assert isinstance(method, Bargaining | EpsilonConstrained)
    loss = method.loss(case.generator, case.batch)
    expected = case.loss("encoder-noise", norm=norm, noise="uniform").parts
    for part in ("retain", "forget"):
        assert float(loss.objectives[part].detach()) == pytest.approx(float(expected[part]), rel=1e-5)
        assert loss.objectives[part].requires_grad
    if isinstance(method, EpsilonConstrained):
        alone = method.forget_alone(case.generator, case.batch)
        assert float(alone.total.detach()) == pytest.approx(float(expected["forget"]), rel=1e-5)


def test_ascent_as_an_objective_is_the_task_loss_turned_round() -> None:
    case = Case()
    method = read_method({"name": "bargaining", "objective": "ascent"})
    assert isinstance(method, Bargaining)
    found = method.loss(case.generator, case.batch).objectives["forget"]
    expected = case.generator.task_loss(case.batch.views["forget"]).mean()
    assert float(found.detach()) == pytest.approx(-float(expected.detach()))


def test_the_distance_of_decouple_is_measured_in_the_originals_loss() -> None:
    case = Case()
    method = read_method({"name": "decouple", "threshold": 0.5})
    assert isinstance(method, Decouple)
    loss = method.climb(case.generator, case.batch)
    seen = case.batch.views["forget"]
    with torch.no_grad():
        new = case.generator.predict(seen)
        with case.generator.teacher():
            old = case.generator.predict(seen)
    hidden = seen.hidden.bool()  # type: ignore[attr-defined]
    truth = case.generator.task_target(seen)
    squares = [((one - other) ** 2)[hidden].mean() for one, other in ((new, old), (old, truth), (new, truth))]
    assert float(loss.numbers["moved"]) == pytest.approx(float(squares[0] / squares[1]), rel=1e-5)
    assert float(loss.total.detach()) == pytest.approx(-float(squares[2]), rel=1e-5)
    assert not loss.numbers["moved"].requires_grad
    assert method.is_out({"moved": 0.5})
    assert not method.is_out({"moved": 0.49})


# phases and settings


def test_the_shares_of_the_phases_make_one_run() -> None:
    for section in (
        {"name": "epsilon-constrained", "path": 3},
        {"name": "epsilon-constrained"},
        {"name": "decouple", "ascent": 0.4},
        {"name": "bargaining", "rule": "projection"},
    ):
        phases = read_method(section).phases()
        assert sum(p.share for p in phases if isinstance(p, Training)) == pytest.approx(1)
        assert len({phase.name for phase in phases}) == len(phases)


def test_the_path_is_walked_from_the_complete_end_to_the_chosen_one() -> None:
    method = read_method({"name": "epsilon-constrained", "path": 2, "completeness": 0.4})
    phases = method.phases()
    assert [phase.name for phase in phases] == [
        "complete boundary", "point 1", "point-1-completeness-1.000", "point 2", "point-2-completeness-0.700",
        "chosen point",
    ]  # fmt: skip
    assert [isinstance(phase, Keep) for phase in phases] == [False, False, True, False, True, False]
    barriers = [p.combine for p in phases if isinstance(p, Training) and isinstance(p.combine, Barrier)]
    assert [one.completeness for one in barriers] == pytest.approx([1, 0.7, 0.4])
    assert {id(one.boundaries) for one in barriers} == {id(phases[0].combine)}  # type: ignore[union-attr]


def test_a_path_needs_an_end_to_walk_to() -> None:
    with pytest.raises(InputError, match="with completeness 1 there is none to walk"):
        read_method({"name": "epsilon-constrained", "completeness": 1, "path": 2})


# on a tiny model


class Steps(Progress):
    """All lines of the log."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, dict[str, Any]]] = []

    def log(self, event: str, **values: Any) -> None:
        self.events.append((event, values))

    def of(self, phase: str) -> list[dict[str, Any]]:
        return [values for event, values in self.events if event == "step" and values["phase"] == phase]


def test_less_completeness_keeps_more_and_forgets_less(data: Data) -> None:
    log = Steps()
    method = read_method({"name": "epsilon-constrained", "path": 1, "completeness": 0.2})
    asked = settings(steps=90, learning_rate=3e-3)
    trainer(tiny(), method.phases(), data, asked=asked, progress=log).run()
    complete, chosen = log.of("point 1"), log.of("chosen point")

    def mean(steps: list[dict[str, Any]], name: str) -> float:
        return sum(step[name] for step in steps[-5:]) / 5

    assert mean(chosen, "retain") < 0.6 * mean(complete, "retain")
    assert mean(chosen, "forget") > 1.2 * mean(complete, "forget")
    assert complete[0]["epsilon"] < chosen[0]["epsilon"] < log.of("complete boundary")[0]["forget"]


def test_ascent_ends_with_the_step_that_was_out_of_distribution(data: Data, tmp_path: Path) -> None:
    log = Steps()
    method = read_method({"name": "decouple", "threshold": 0.05, "ascent": 0.9})
    report = trainer(
        tiny(), method.phases(), data, asked=settings(steps=20, learning_rate=3e-3), progress=log
    ).run()
    moved = [step["moved"] for step in log.of("decouple")]
    assert 1 < len(moved) < 18
    assert all(value < 0.05 for value in moved[:-1])
    assert moved[-1] >= 0.05
    assert moved[0] == pytest.approx(0, abs=1e-9)
    assert report.steps == len(moved) + len(log.of("retain"))
    assert ("ended", {"phase": "decouple", "step": len(moved), "steps": 18}) in log.events


@pytest.mark.parametrize("section", [{"rule": "projection"}, {"rule": "bargaining"}])
def test_both_objectives_come_down_where_forgetting_alone_costs_retaining(
    section: dict[str, Any], data: Data
) -> None:
    log = Steps()
    method = read_method({"name": "bargaining", **section})
    trainer(tiny(), method.phases(), data, asked=settings(steps=40, learning_rate=3e-3), progress=log).run()
    steps = log.of("unlearn")
    assert steps[0]["retain"] == pytest.approx(0, abs=1e-9)
    assert steps[-1]["forget"] < 0.8 * steps[0]["forget"]
    assert steps[-1]["retain"] < 0.6 * max(step["retain"] for step in steps)
    assert -1 <= steps[-1]["cosine"] <= 1
