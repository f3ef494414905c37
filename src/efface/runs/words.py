"""What the names in result files mean, for pages and comparisons: from the declarations of metrics, corruptions and
families, and from the few sentences that differ by kind of model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from efface.corruptions import CORRUPTIONS
from efface.evaluation.results import Row
from efface.evaluation.settings import EvaluationSettings
from efface.forgetting.outputs import Accuracy
from efface.generators.registry import FAMILIES
from efface.metrics.base import ImageMetric, Metric, ModelKind, Yardstick
from efface.metrics.catalogue import HOLE_ERROR, METRICS, distance_title, yardsticks
from efface.runs.record import EvaluationFacts
from efface.wording import counted, span

__all__ = [
    "WORDS", "KindWords", "LeadMetric", "ModelKind", "corruption_words", "family_words", "lead_metric", "metric_named",
    "metric_order", "metric_title", "metrics_by_image", "view_words",
]  # fmt: skip


@dataclass(frozen=True)
class KindWords:
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


WORDS: dict[ModelKind, KindWords] = {
    "generator": KindWords(
        metric=HOLE_ERROR,
        heading="Error of the restored pixels",
        axis="squared error (intensity 0 to 1)",
        worse_side="Further right is worse restoration, not better forgetting",
        unmeasured="No error of restored pixels was measured.",
        shown="Every model restored the same views of the same images.",
        well="restores",
        kept="Images that the model should go on restoring as before.",
        hit="whose error rose most",
    ),
    "classifier": KindWords(
        metric=Accuracy.name,
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


@dataclass(frozen=True)
class LeadMetric:
    """The metric by which a page speaks of a run, and how it speaks by it."""

    metric: type[Metric]
    yardstick: Yardstick

    @property
    def name(self) -> str:
        """As in results."""
        return self.metric.name

    @property
    def words(self) -> str:
        """How it is called within a sentence."""
        return self.metric.phrase

    @property
    def is_ratio(self) -> bool:
        """Whether two models stand to each other as a ratio, else as a difference."""
        return self.yardstick.as_ratio

    @property
    def worse(self) -> int:
        """The sign of a change for the worse."""
        return 1 if self.metric.better == "down" else -1

    @property
    def does(self) -> str:
        """What a model does with an image."""
        return WORDS[self.metric.of].well


def lead_metric(rows: Iterable[Row]) -> LeadMetric | None:
    """The first metric that a page can speak by and that was measured on forget images; None where none was."""
    measured = {row.metric for row in rows if row.set == "forget" and row.value is not None}
    return next((LeadMetric(*one) for one in yardsticks() if one[0].name in measured), None)


def metric_named(name: str) -> type[Metric] | None:
    """The declaration of a metric; None for one that is not installed here."""
    return METRICS.get(name)


def metric_order(name: str) -> int:
    """Where a metric stands in a table: in the order of the catalogue, unknown ones last."""
    return next((place for place, known in enumerate(METRICS) if known == name), len(METRICS))


def metric_title(name: str, extractor: str, digest: str) -> str:
    """The heading of a metric's line, with its extractor where that decides what it means."""
    metric = METRICS.get(name)
    if metric is None or not extractor:
        return metric.title if metric else name
    if issubclass(metric, ImageMetric):
        return f"{metric.title} ({extractor})"
    return distance_title(name, extractor, digest)


def metrics_by_image() -> dict[str, type[Metric]]:
    """The metrics by which single images are compared, best first."""
    return {name: metric for name, metric in METRICS.items() if metric.by_image}


def corruption_words(label: str) -> str:
    """A corruption with what it hides or shows."""
    known = CORRUPTIONS.get(label.partition(":")[0])
    return f"{label} ({known.summary})" if known else label


def view_words(evaluation: EvaluationFacts) -> list[str]:
    """Under which views generators were asked, and whether those are the ones that the original learnt."""
    settings, views = evaluation.settings, evaluation.views
    if views is None or not isinstance(settings, EvaluationSettings):
        return []
    more = settings.crops_per_image - 1
    return [
        f"the central view, {views.area:.0%} of an image's area on average"
        + (f", and {counted(more, 'random crop')} of {span(*settings.scale)} of it" if more else ""),
        "none mirrored",
        f"the original was trained on {views.learnt.words}"
        if views.learnt
        else "with which crops the original was trained it does not say: under others it may remember more",
    ]


def family_words(name: str) -> str:
    """A family of generators with what it is."""
    family = FAMILIES.get(name)
    return f"{family.name}: {family.summary.partition(' (')[0]}" if family else name
