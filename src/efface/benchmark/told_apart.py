"""Columns that say whether models are told apart from retrained ones, how far, and what the worst images show."""

from __future__ import annotations

from efface.benchmark.results import Estimate, Measure
from efface.forgetting.apart import DEALS, LEVEL
from efface.forgetting.comparison import Comparison
from efface.forgetting.robust import RobustScore


def apart_measures(table: str) -> tuple[Measure, ...]:
    """What they are, as columns of a table of forget images."""
    return (
        Measure(
            name="p", heading="told apart from retraining", goal="no", table=table, of_set="forget",
            brief="told apart", decides=LEVEL,
            about=f"test of unlearned against retrained models, {DEALS} deals of the labels (p is at least "
            f"{1 / (DEALS + 1):g}); of several experiments the smallest p times their number",
        ),
        Measure(
            name="shift", heading="equivalent shift, sd", goal="towards 0", table=table, of_set="forget",
            brief="shift, sd",
            about="how many standard deviations apart normal laws as different are, at any number of models; below 0 by "
            "noise only; 4 stands for all that is larger",
        ),
        Measure(
            name="epsilon_90", heading="epsilon, 90 % quantile", goal="as retrained", table=table, of_set="forget",
            about="quantile over images of the epsilon behind robust F",
        ),
        Measure(
            name="shown", heading="images shown unlike", goal="as retrained", table=table, of_set="forget", percent=True,
            about="share of images whose epsilon is above 0 at its lower bound, 95 % each, not corrected for their number",
        ),
    )  # fmt: skip


def apart_estimates(robust: RobustScore | Comparison) -> dict[str, Estimate]:
    """Their figures, of one experiment."""
    apart, tail = robust.apart, robust.tail
    assert apart is not None
    assert tail is not None
    return {
        "p": _single(apart.p),
        "shift": Estimate(value=apart.shift, low=apart.low, high=apart.high, each=[apart.shift]),
        "epsilon_90": _single(tail.epsilon_90),
        "shown": _single(tail.shown),
    }


def _single(value: float) -> Estimate:
    return Estimate(value=value, low=None, high=None, each=[value])
