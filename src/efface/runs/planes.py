"""Planes of two costs in which runs are weighed: what retain images lost, against how the forgetting can be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from efface.evaluation.figures import pareto_front
from efface.evaluation.results import ModelName
from efface.probes.findings import Finding
from efface.runs.compared import Change, ComparedRun, change, gap
from efface.runs.words import LeadMetric

DETECTABILITY = "detectability"


@dataclass(frozen=True)
class Costs:
    """What a run or model costs on both axes of a plane, less of each being better."""

    label: str
    across: Change
    up: Change


@dataclass(frozen=True)
class Plane:
    """The costs of runs by their numbers, with the names of both axes, and the reference models that all runs share."""

    name: str
    title: str
    x_name: str
    y_name: str
    points: Mapping[int, Costs]
    references: Mapping[ModelName, Costs] = field(default_factory=dict)

    @property
    def front(self) -> list[int]:
        """Numbers of the runs that no other one beats."""
        places = list(self.points)
        costs = [(point.across.value, point.up.value) for point in self.points.values()]
        return [places[place] for place in pareto_front(costs)]


def planes_of(runs: Sequence[ComparedRun]) -> list[Plane]:
    """Cost on retain images against distance from the retrained model, and against detectability where it was probed.

    A plane with fewer than two runs is left out.
    """
    measure = runs[0].measure
    near: dict[int, Costs] = {}
    hidden: dict[int, Costs] = {}
    apart = "difference"
    # differences to unlike references have no common axis
    known = {finding.reference for run in runs if (finding := run.finding(DETECTABILITY))}
    beside = "retrained" if "retrained" in known else "original"
    for run in runs:
        cost = _cost(run, "unlearned", measure)
        forget = change(run, "forget", "unlearned", "retrained")
        if cost and forget:
            near[run.place] = Costs(run.name, cost, gap(forget, measure.is_ratio))
        finding = run.finding(DETECTABILITY)
        if cost and finding and finding.difference is not None and finding.reference == beside:
            hidden[run.place] = Costs(run.name, cost, _excess(finding))
            apart = apart if finding.goal == "low" else "|difference|"
    across = "retain images: " + ("ratio to original" if measure.is_ratio else "lost to original")
    planes = []
    if near:
        title = f"Cost on retain images, and distance from the retrained model, by {measure.words}"
        up = f"forget images: {'|ln ratio|' if measure.is_ratio else '|difference|'} to retrained"
        planes.append(Plane("pareto-forget", title, across, up, near, _reference_points(runs, measure)))
    if hidden:
        title = "Cost on retain images, and how well it can be told that an image was forgotten"
        planes.append(
            Plane("pareto-detectability", title, across, f"detectability: {apart} to {beside}", hidden)
        )
    return [plane for plane in planes if len(plane.points) > 1]


def shared_references(runs: Sequence[ComparedRun]) -> list[ModelName]:
    """Reference models that are the same in all runs."""
    names: tuple[ModelName, ...] = ("original", "retrained")
    return [name for name in names if len({run.weights(name) for run in runs}) == 1 and runs[0].weights(name)]


def _reference_points(runs: Sequence[ComparedRun], measure: LeadMetric) -> dict[ModelName, Costs]:
    points: dict[ModelName, Costs] = {}
    for model in shared_references(runs):
        cost, forget = _cost(runs[0], model, measure), change(runs[0], "forget", model, "retrained")
        if cost and forget:
            points[model] = Costs(model, Change(cost.value), Change(gap(forget, measure.is_ratio).value))
    return points


def _cost(run: ComparedRun, model: ModelName, measure: LeadMetric) -> Change | None:
    """What the model does worse on retain images than the original: a ratio of errors, or what was lost."""
    cost = change(run, "retain", model, "original")
    if cost is None or measure.worse > 0:
        return cost
    low, high = (None if end is None else -end for end in (cost.high, cost.low))
    return Change(-cost.value, low, high)


def _excess(finding: Finding) -> Change:
    """A difference to the reference as a cost: where the goal is `low`, being below the reference costs nothing."""
    assert finding.difference is not None
    difference = Change(finding.difference, finding.difference_low, finding.difference_high)
    if finding.goal != "low":
        return gap(difference, is_ratio=False)
    low, high = (None if end is None else max(end, 0.0) for end in difference[1:])
    return Change(max(difference.value, 0.0), low, high)
