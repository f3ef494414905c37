"""The metric by which a page speaks of a run: its words, and in which direction a change is for the worse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from efface.evaluation.results import Row


@dataclass(frozen=True)
class Yardstick:
    """The metric on which the verdict rests.

    worse: the sign of a change for the worse, called `decline`. does: what a model does with an image. caution: what
    is to be said of a verdict on this metric.
    """

    metric: str
    words: str
    worse: int
    is_ratio: bool
    decline: str = "A higher error"
    does: str = "restores"
    caution: str | None = None


YARDSTICKS = (
    Yardstick("hole_mse", "error in the hidden region", +1, True),
    Yardstick(
        "ssim",
        "structural similarity",
        -1,
        False,
        "A lower similarity",
        caution="No error in a hidden region was measured; the verdict rests on structural similarity.",
    ),
    Yardstick(
        "accuracy",
        "accuracy",
        -1,
        False,
        "A lower accuracy",
        "classifies",
        caution="Accuracy only counts which class comes first. How sure the models are, and whether an attack tells "
        "forgotten images from unseen ones, stands in the tables below.",
    ),
)


def yardstick_of(rows: Sequence[Row]) -> Yardstick | None:
    """The first yardstick that was measured on forget images; None where none was."""
    has = {row.metric for row in rows if row.set == "forget" and row.value is not None}
    return next((yardstick for yardstick in YARDSTICKS if yardstick.metric in has), None)
