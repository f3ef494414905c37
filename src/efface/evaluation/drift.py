"""What deletion requests one after another do to a model, and when to retrain instead of unlearning once more.

Each request is known by what its own run measured. From that follow the cumulated cost on retain images, the trend on
forget images, and an advice. The cumulated cost is arithmetic; the limits and the look ahead are rules of thumb: no
theory says at which drift a model should be retrained, and point values are compared, without their intervals. Nothing
here imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from pydantic import Field, JsonValue

from efface.settings import Settings
from efface.wording import bound

When = Literal["now", "at the next request", "not yet", "not measurable"]
UNLIKE = 0.05
"""Relative difference from which the same model, measured by two runs, counts as measured on unlike images."""


class Limits(Settings):
    """Beyond what a sequence of requests has cost too much. All are heuristics, to be set before the first request."""

    retain: float = Field(
        1.05, gt=0, description="error on retain images over the first original's that is allowed"
    )
    forget: float = Field(
        0.9,
        gt=0,
        description="error on images forgotten earlier, over the retrained model's, below which they count as known "
        "again; without a retrained model over their error right after their own request",
    )
    window: int = Field(5, ge=1, description="latest requests from whose cost the next one's is foreseen")


@dataclass(frozen=True)
class Request:
    """One request, as its own run measured it.

    before, after: mean error on retain images, above 0, of the model that the run began with and of the one that it
    left, on the same images. forget, retrained: error on this request's forget images of the model that was left, and of a
    model retrained without them. fresh: the run trained fresh weights, so that drift begins anew behind it. unmet,
    unmeasured: requirements that were not met, and those that could not be judged.
    """

    name: str
    before: float | None = None
    after: float | None = None
    forget: float | None = None
    retrained: float | None = None
    fresh: bool = False
    unmet: tuple[str, ...] = ()
    unmeasured: tuple[str, ...] = ()

    @property
    def cost(self) -> float | None:
        """Error on retain images over that of the model before."""
        return _ratio(self.after, self.before)

    @property
    def gap(self) -> float | None:
        """log(error on forget images / the retrained model's): towards 0."""
        level = _ratio(self.forget, self.retrained)
        return math.log(level) if level else None


@dataclass(frozen=True)
class Remeasured:
    """Images forgotten earlier, measured on the latest model: errors `now`, right after their request, and retrained."""

    name: str
    now: float
    then: float | None = None
    retrained: float | None = None

    @property
    def level(self) -> float | None:
        """`now` over the retrained model's error, else over `then`."""
        return _ratio(self.now, self.retrained if self.retrained is not None else self.then)


@dataclass(frozen=True)
class History:
    """Requests, oldest first. direct: error of the latest model on retain images over the first original's, if measured.

    whole: whether nothing is missing before the first request.
    """

    requests: tuple[Request, ...]
    direct: float | None = None
    earlier: tuple[Remeasured, ...] = ()
    whole: bool = True


@dataclass(frozen=True)
class Advice:
    """When to retrain, why, and what to know beside it.

    cost, next_cost: error on retain images over the first original's, now and as foreseen behind one more request.
    trend: change of the forget gap a request. None where it cannot be had.
    """

    when: When
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    cost: float | None
    next_cost: float | None
    trend: float | None

    @property
    def words(self) -> str:
        """The advice as one sentence."""
        return {
            "now": "Retrain now.",
            "at the next request": "Retrain at the next request instead of unlearning once more.",
            "not yet": "Nothing speaks for retraining yet.",
            "not measurable": "Whether to retrain cannot be said: not everything was measured.",
        }[self.when]

    def as_dict(self) -> dict[str, JsonValue]:
        """Plain JSON-ready values."""
        return {**asdict(self), "words": self.words}


def since_fresh(requests: Sequence[Request]) -> tuple[Request, ...]:
    """The requests behind the last one that trained fresh weights; all where there is none."""
    fresh = [place for place, request in enumerate(requests) if request.fresh]
    return tuple(requests[fresh[-1] + 1 :] if fresh else requests)


def cumulated_cost(requests: Sequence[Request]) -> float | None:
    """Product of the requests' costs; None where one was not measured, 1 for none.

    It is the cost against the first original where each run measured the same images: what one run left is then what
    the next began with, and all between cancels.
    """
    costs = [request.cost for request in requests]
    known = [cost for cost in costs if cost is not None]
    return math.prod(known) if len(known) == len(costs) else None


def gap_trend(requests: Sequence[Request]) -> float | None:
    """Least-squares slope of the forget gap against the request's number; None below three requests that have one."""
    found = [(place, request.gap) for place, request in enumerate(requests)]
    known = [(place, gap) for place, gap in found if gap is not None]
    if len(known) < 3:
        return None
    places, gaps = np.array(known).T
    return float(np.polyfit(places, gaps, 1)[0])


def retrain_due(history: History, limits: Limits | None = None) -> Advice:
    """Whether to retrain: `now`, `at the next request`, `not yet`, or `not measurable`.

    Now: the cumulated cost on retain images is beyond its limit, images forgotten earlier are known again, or a request
    since the last retraining was not met. At the next request: one more at the mean cost of the latest would take the
    cumulated cost beyond its limit. What was not measured is no pass: without any reason and with a gap in the costs
    the answer is `not measurable`.
    """
    limits, requests = limits or Limits(), since_fresh(history.requests)
    product = cumulated_cost(requests)
    cost = history.direct if history.direct is not None else product
    following = _foreseen(requests, cost, limits.window)
    reasons = [*_too_dear(cost, len(requests), limits.retain), *_known_anew(history.earlier, limits.forget)]
    reasons += [f"{one.name}: {', '.join(one.unmet)} not met" for one in requests if one.unmet]
    when: When = "now" if reasons else "not measurable" if cost is None else "not yet"
    if when == "not yet" and following is not None and following > limits.retain:
        when = "at the next request"
        reasons = [
            f"one more request at the mean cost of the latest would take the error on retain images to {following:.3f}x "
            f"the first original's, beyond the limit of {limits.retain:g}x (foreseen, not measured)"
        ]
    notes = _notes(requests, history, product)
    return Advice(when, tuple(reasons), tuple(notes), cost, following, gap_trend(requests))


def _foreseen(requests: Sequence[Request], cost: float | None, window: int) -> float | None:
    """`cost` times the geometric mean of the latest known costs: that drift goes on as it went is the rule of thumb."""
    latest = [one.cost for one in requests[-window:] if one.cost is not None]
    if cost is None or not requests:
        return None
    if not latest:
        return float(cost * cost ** (1 / len(requests)))
    return float(cost * math.prod(latest) ** (1 / len(latest)))


def _too_dear(cost: float | None, count: int, limit: float) -> list[str]:
    if cost is None or cost <= limit:
        return []
    behind = "one request" if count == 1 else f"{count} requests"
    return [
        f"error on retain images is {bound(cost, 3, [limit])}x the first original's behind {behind}, beyond the limit of "
        f"{limit:g}x"
    ]


def _known_anew(earlier: Sequence[Remeasured], limit: float) -> list[str]:
    reasons = []
    for one in earlier:
        if one.level is None or one.level >= limit:
            continue
        beside = (
            "the retrained model's" if one.retrained is not None else "what it was behind their own request"
        )
        before = _ratio(one.then, one.retrained)
        how = (
            "they were not forgotten by their own request"
            if before is not None and before < limit
            else "they are known again"
        )
        reasons.append(
            f"{one.name}: error is {bound(one.level, 3, [limit])}x {beside}, below {limit:g}x: {how}"
        )
    return reasons


def _notes(requests: Sequence[Request], history: History, product: float | None) -> list[str]:
    notes = []
    if not history.whole and len(requests) == len(history.requests):
        notes.append("what was done to the first model of the chain is not known and not counted")
    for one in requests:
        if one.cost is None:
            notes.append(f"{one.name}: its cost on retain images was not measured")
        if one.unmeasured:
            notes.append(f"{one.name}: {', '.join(one.unmeasured)} not measurable, which is no pass")
    for one, later in pairwise(requests):
        same = _ratio(later.before, one.after)
        if same is not None and abs(same - 1) > UNLIKE:
            notes.append(
                f"{later.name} measured the model that {one.name} left at {same:.3f}x of what that one measured: on "
                "unlike images or with other settings, so the product of costs is rough"
            )
    if history.direct is not None and product is not None:
        notes.append(f"measured against the first original; the product of the costs is {product:.3f}x")
    elif history.direct is None and len(requests) > 1 and product is not None:
        notes.append("the cost is the product of what each run measured against its own original")
    if not any(one.level is not None for one in history.earlier) and len(requests) > 1:
        notes.append("whether images forgotten earlier are known again was not measured")
    return notes


def _ratio(value: float | None, other: float | None) -> float | None:
    return value / other if value is not None and other is not None and other > 0 else None
