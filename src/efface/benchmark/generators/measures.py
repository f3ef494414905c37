"""What the figures of a benchmark of generators are, and in which table each stands. Imports no torch."""

from __future__ import annotations

from efface.benchmark.generators.task import GeneratorTask
from efface.benchmark.reading import relative_measures
from efface.benchmark.results import Measure
from efface.benchmark.told_apart import apart_measures
from efface.evaluation.results import SETS
from efface.metrics.base import ImageMetric, Metric
from efface.metrics.catalogue import HOLE_ERROR, metrics_of

FORGETTING, COST, QUALITY = "Forgetting", "What it cost", "Quality of what is restored"
LIKE_RETRAINED = "as retrained"


def measures_of(task: GeneratorTask, scored: bool) -> list[Measure]:
    """All measures in the order of columns; what no row has a figure of has no column."""
    return [
        *(_scores() if scored else ()),
        *_forgetting(),
        *relative_measures(FORGETTING),
        *_costs(),
        *_by_set(task),
    ]


def _scores() -> list[Measure]:
    return [
        Measure(
            name="robust", heading="F robust", goal="up, to the ceiling", table=FORGETTING, of_set="forget",
            brief="F robust",
            about="the forgetting score with thresholds chosen on half of the models, 0 to 1",
        ),
        *apart_measures(FORGETTING),
        Measure(
            name="official", heading="F official (grid-dependent)", goal="up, to the ceiling", table=FORGETTING,
            of_set="forget",
            about="the rule of the NeurIPS-2023 competition, whose grid of thresholds was made for classifiers",
        ),
    ]  # fmt: skip


def _forgetting() -> list[Measure]:
    return [
        Measure(
            name="forget_ratio", heading="forget error / retrained's", goal="towards 1", table=FORGETTING, of_set="forget",
            about="error on forget images / the retrained model's",
        ),
        Measure(
            name="forget_gap", heading="forget gap (log)", goal="towards 0", table=FORGETTING, of_set="forget",
            brief="forget gap",
            about="mean over forget images of log (error / the retrained model's)",
        ),
        Measure(
            name="detectability", heading="detectability, AUC − retrained's", goal="at most 0", table=FORGETTING,
            of_set="forget", brief="detectable",
            about="AUC of telling forget from neutral outputs, minus the retrained model's",
        ),
        Measure(
            name="relearning_retain", heading="relearning from retain images", goal="at most 0", table=FORGETTING,
            of_set="forget",
            about="greatest lead in log error over the retrained model, fine-tuning on retain images",
        ),
        Measure(
            name="relearning_few", heading="relearning from a few forget images", goal="at most 0", table=FORGETTING,
            of_set="forget", brief="relearning",
            about="the same, fine-tuning on a few forget images; the others are measured",
        ),
    ]  # fmt: skip


def _costs() -> list[Measure]:
    return [
        Measure(
            name="retain_cost", heading="retain error / original's", goal="down", table=COST, of_set="retain",
            brief="retain",
            about="error on retain images / the original's",
        ),
        Measure(
            name="neutral_cost", heading="neutral error / original's", goal="down", table=COST, of_set="neutral",
            about="error on neutral images / the original's",
        ),
        Measure(
            name="time_share", heading="time / retraining", goal="down", table=COST, least=0.0,
            percent=True, of_methods=True, brief="time", about="seconds of unlearning / seconds of a retraining",
        ),
    ]  # fmt: skip


def _by_set(task: GeneratorTask) -> list[Measure]:
    """Those of each set; on forget images the goal is the retrained model's value."""
    return [
        Measure(
            name=f"{metric.name}_{of_set}", heading=f"{_heading(metric, task)}, {of_set}",
            about=metric.summary, table=COST if metric.name == HOLE_ERROR else QUALITY, of_set=of_set,
            goal=LIKE_RETRAINED if of_set == "forget" or not metric.better else metric.better,
        )
        for metric in metrics_of("generator").values()
        for of_set in SETS
    ]  # fmt: skip


def _heading(metric: type[Metric], task: GeneratorTask) -> str:
    extractor = task.evaluation.extractor
    similarity = task.evaluation.similarity or extractor
    if issubclass(metric, ImageMetric) and metric.by_similarity and similarity.partition(":")[0] == "clip":
        return metric.label.replace("feature", "CLIP")
    return metric.published or metric.label if extractor.partition(":")[0] == "inception" else metric.label
