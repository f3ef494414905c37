"""What the page says differently of generators and of classifiers: by which metric it speaks, and in which words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from efface.evaluation.results import Row
from efface.metrics.base import ModelKind
from efface.metrics.catalogue import metrics_of


@dataclass(frozen=True)
class Words:
    """The words for one kind of model.

    metric: that of the charts, under `heading`, with `axis` as its label. worse_side: where on the axis what lies that is
    no better forgetting. well: what a model does well or badly.
    """

    metric: str
    heading: str
    axis: str
    worse_side: str
    unmeasured: str
    shown: str
    well: str
    kept: str
    hit: str


WORDS: dict[ModelKind, Words] = {
    "generator": Words(
        metric="hole_mse",
        heading="Error in the hidden region",
        axis="squared error (intensity 0 to 1)",
        worse_side="Further right is worse restoration, not better forgetting",
        unmeasured="No error in a hidden region was measured.",
        shown="Every model restored the same views of the same images.",
        well="restores",
        kept="Images that the model should go on restoring as before.",
        hit="whose error in the hidden region rose most",
    ),
    "classifier": Words(
        metric="accuracy",
        heading="Accuracy",
        axis="accuracy (share of images)",
        worse_side="Further left is worse classification, not better forgetting",
        unmeasured="No accuracy was measured.",
        shown="Every model was asked for the class of the same images.",
        well="classifies",
        kept="Images that the model should go on classifying as before.",
        hit="that lost most: images whose confidence (log-odds of the true class) fell most, classes whose share of errors "
        "rose most,",
    ),
}


def kind_of(rows: Iterable[Row]) -> ModelKind:
    """The kind of the models that were measured."""
    of_classifiers = metrics_of("classifier")
    return "classifier" if any(row.metric in of_classifiers for row in rows) else "generator"
