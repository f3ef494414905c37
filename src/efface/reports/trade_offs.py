"""Planes of two costs in which runs are weighed: what retain images lost, against how the forgetting can be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from efface.evaluation.pareto import pareto_front
from efface.evaluation.results import ModelName
from efface.probes.findings import Finding
from efface.reports.canvas import Chart
from efface.reports.charts import Point, plane_chart
from efface.runs.comparing import Change, ComparedRun, change, gap
from efface.runs.yardsticks import Yardstick

DETECTABILITY = "detectability"


@dataclass(frozen=True)
class Plane:
    """Runs as points, by their numbers, with the names of both axes, and the reference models that all runs share."""

    name: str
    title: str
    x_name: str
    y_name: str
    points: Mapping[int, Point]
    references: Mapping[ModelName, Point] = field(default_factory=dict)

    @property
    def front(self) -> list[int]:
        """Numbers of the runs that no other one beats."""
        places = list(self.points)
        return [
            places[place] for place in pareto_front([(point.x, point.y) for point in self.points.values()])
        ]

    def chart(self) -> Chart | None:
        """The plot; None where no point can be drawn."""
        front = self.front
        points = [replace(point, on_front=place in front) for place, point in self.points.items()]
        references = list(self.references.values())
        return plane_chart(self.name, self.title, self.x_name, self.y_name, points, references)


def trade_offs(runs: Sequence[ComparedRun]) -> list[Plane]:
    """Cost on retain images against distance from the retrained model, and against detectability where it was probed.

    A plane with fewer than two runs is left out.
    """
    yardstick = runs[0].measure
    near: dict[int, Point] = {}
    hidden: dict[int, Point] = {}
    apart = "difference"
    # differences to unlike references have no common axis
    known = {found.reference for run in runs if (found := run.finding(DETECTABILITY))}
    beside = "retrained" if "retrained" in known else "original"
    for run in runs:
        cost = _cost(run, "unlearned", yardstick)
        forget = change(run, "forget", "unlearned", "retrained")
        if cost and forget:
            near[run.place] = _point(run, cost, gap(forget, yardstick.is_ratio))
        found = run.finding(DETECTABILITY)
        if cost and found and found.difference is not None and found.reference == beside:
            hidden[run.place] = _point(run, cost, _excess(found))
            apart = apart if found.goal == "low" else "|difference|"
    across = "retain images: " + ("ratio to original" if yardstick.is_ratio else "lost to original")
    planes = []
    if near:
        title = f"Cost on retain images, and distance from the retrained model, by {yardstick.words}"
        up = f"forget images: {'|ln ratio|' if yardstick.is_ratio else '|difference|'} to retrained"
        planes.append(Plane("pareto-forget", title, across, up, near, _reference_points(runs, yardstick)))
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


def _reference_points(runs: Sequence[ComparedRun], yardstick: Yardstick) -> dict[ModelName, Point]:
    points: dict[ModelName, Point] = {}
    for model in shared_references(runs):
        cost, forget = _cost(runs[0], model, yardstick), change(runs[0], "forget", model, "retrained")
        if cost and forget:
            points[model] = Point(model, cost.value, gap(forget, yardstick.is_ratio).value)
    return points


def _cost(run: ComparedRun, model: str, yardstick: Yardstick) -> Change | None:
    """What the model does worse on retain images than the original: a ratio of errors, or what was lost."""
    found = change(run, "retain", model, "original")
    if found is None or yardstick.worse > 0:
        return found
    return Change(*(None if one is None else -one for one in (found.value, found.high, found.low)))  # type: ignore[arg-type]


def _excess(found: Finding) -> Change:
    """A difference to the reference as a cost: where the goal is `low`, being below the reference costs nothing."""
    assert found.difference is not None
    difference = Change(found.difference, found.difference_low, found.difference_high)
    if found.goal != "low":
        return gap(difference, is_ratio=False)
    return Change(*(None if one is None else max(one, 0.0) for one in difference))  # type: ignore[arg-type]


def _point(run: ComparedRun, cost: Change, other: Change) -> Point:
    return Point(
        run.name, cost.value, other.value, cost.low, cost.high, other.low, other.high, key=str(run.place)
    )
