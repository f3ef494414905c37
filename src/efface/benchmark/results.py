"""What a benchmark leaves behind: `results.json`, of classifiers and of generators alike.

`write_bench_results` is the only place that writes one and `read_bench_results` the only one that reads it. Whatever a
page shows stands here first; pages get these objects.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, JsonValue, Strict

from efface.documents import Described, read_object
from efface.evaluation.verdict import Verdict
from efface.files import write_json
from efface.forgetting.comparison import Mode, ScoreRange
from efface.metrics.catalogue import HOLE_ERROR, MEAN_ERROR
from efface.runs.record import Environment
from efface.settings import validated

SCHEMA: Final = "efface-bench/3"
FILE = "results.json"

KindName = Literal["classifiers", "generators"]
RowKind = Literal["original", "retrained", "method"]
RowSettings = Literal["reference", "default", "tuned", "default = tuned"]


class Measure(Described):
    """What one figure of a row is, and where it stands on the page."""

    name: str = Field(description="its name in rows")
    heading: str = Field(description="what a column is called")
    about: str = Field(description="what it is, in a sentence")
    goal: str = Field(description="where it should go: `up`, `down`, `as retrained` and so on")
    table: str | None = Field(
        None, description="the table in which it is a column; null: with each row alone"
    )
    of_set: str = Field("", description="the set of images that it is of, if it is of one")
    percent: bool = Field(False, description="whether it is told as a percentage")
    brief: str = Field(
        "", description="its heading in the short table on the terminal; empty: it is not there"
    )
    least: float | None = Field(None, description="below which no value can be: intervals end there")
    of_methods: bool = Field(False, description="whether only methods have it, not the reference rows")
    decides: float | None = Field(
        None,
        description="of a p value: at or below it the answer is yes; of several experiments it is Bonferroni's",
    )


class Estimate(Described):
    """A mean, its interval, and what it is the mean of."""

    value: float = Field(description="the mean")
    low: float | None = Field(description="lower end of the interval; null where there is none")
    high: float | None = Field(description="upper end of the interval; null where there is none")
    each: list[float] = Field(
        description="the value of each experiment of classifiers, of each seed of generators"
    )


class ScoreLevels(Described):
    """What a forgetting score is read between, at one number of models."""

    models: int = Field(description="models a side")
    ceiling: ScoreRange = Field(description="retrained models against other retrained ones")
    floor: ScoreRange = Field(description="models that are told apart on every image")
    doing_nothing: ScoreRange | None = Field(description="originals against retrained models")
    power: float = Field(description="share of total separation's distance that chance leaves free")
    measurable: bool = Field(description="whether floor and ceiling do not overlap")


class RelearningCurve(Described):
    """The forget error along a fine-tuning, of every seed."""

    after: Literal["retain", "few"] = Field(
        description="what was trained on: retain images, or a few forget images"
    )
    steps: list[int] = Field(description="steps of training, from 0 on")
    mean: list[float] = Field(description="mean log error of the measured forget images, mean over seeds")
    each: list[list[float]] = Field(description="the same of each seed")


class BenchRow(Described):
    """A line of a table: what doing nothing, retraining, or a method gives."""

    label: str = Field(description="what it is called")
    kind: RowKind = Field(description="`original` (doing nothing), `retrained`, or `method`")
    settings: RowSettings = Field(
        description="whose settings the method has; `reference` of the first two rows"
    )
    place: int | None = Field(None, description="its place in the order of methods; null where it has none")
    section: dict[str, JsonValue] = Field({}, description="the method with all settings")
    measures: dict[str, Estimate] = Field({}, description="figures by name; empty where runs are missing")
    verdict: Verdict | None = Field(
        None,
        description="whether it is gone, from the means over runs of each image; null where runs are missing",
    )
    share_of_ceiling: dict[Mode, float] = Field(
        {}, description="(F - floor) / (ceiling - floor) by score, where those do not overlap"
    )
    curves: list[RelearningCurve] = Field(
        [], description="how the forget error falls when it is trained again"
    )
    experiments: int = Field(0, description="experiments behind the figures")
    runs: int = Field(0, description="unlearned models")
    cut: int = Field(0, description="runs that the limit of time stopped")
    failed: int = Field(0, description="runs that cannot be had")
    reason: str | None = Field(None, description="why runs cannot be had")
    failure_file: str | None = Field(None, description="where that is kept, from the folder of the benchmark")
    needs: list[str] = Field([], description="what the method reads")
    deterministic: bool = Field(False, description="whether it does not depend on its seed, by what it is")
    alike: bool = Field(False, description="whether its runs from one original were measured to be alike")
    like_for_like: bool = Field(True, description="whether its models are of the retrained models' kind")

    @property
    def forget_gap(self) -> Estimate | None:
        """Of generators, the log of its forget error over the retrained models'; None where it has none."""
        return self.measures.get("forget_gap")

    @property
    def unseen_error(self) -> Estimate | None:
        """Of generators, the hole error on neutral images: of the mean answer, where several were drawn."""
        names = (f"{metric}_neutral" for metric in (MEAN_ERROR, HOLE_ERROR))
        return next((self.measures[name] for name in names if name in self.measures), None)


class ParetoPoint(Described):
    """A row by two costs, less of each being better."""

    row: int = Field(description="which row of the table, from 0 on")
    x: float = Field(description="the first cost")
    x_low: float | None = Field(description="lower end of its interval")
    x_high: float | None = Field(description="upper end of its interval")
    y: float = Field(description="the second cost")
    y_low: float | None = Field(description="lower end of its interval")
    y_high: float | None = Field(description="upper end of its interval")
    on_front: bool = Field(description="whether it is a method that no other one beats on both")


class Pareto(Described):
    """Rows by two costs."""

    title: str = Field(description="what is set against what")
    x_name: str = Field(description="the first cost")
    y_name: str = Field(description="the second cost")
    points: list[ParetoPoint] = Field(description="the rows that have both")


class EmbeddedGroup(Described):
    """The points of one group in a map."""

    model: Literal["true", "original", "unlearned"] = Field(description="whose pictures")
    of_set: str = Field(description="of which set of images")
    points: list[Annotated[tuple[float, float], Strict(False)]] = Field(description="places in the map")


class EmbeddingMap(Described):
    """A t-SNE map of the features of true pictures and of what two models restore."""

    row: int = Field(description="which row of the table is the unlearned model, from 0 on")
    groups: list[EmbeddedGroup] = Field(description="the groups of points")


class PictureSheet(Described):
    """Restored pictures of one set in one file: a line for each image, a cell for each column."""

    of_set: str = Field(description="the set of images; those of the forget set were to be forgotten")
    file: str = Field(description="the picture, from the folder of the benchmark")
    columns: list[str] = Field(description="what stands in each column")
    images: int = Field(description="how many images")


class BenchTable(Described):
    """The rows of one task under one corruption; classifiers have one table a task."""

    corruption: str | None = Field(description="what was hidden in measuring; null of classifiers")
    rows: list[BenchRow] = Field(description="original, retrained, and the methods in their order")
    fills: dict[str, float] = Field({}, description="hole error of filling without a model, by kind of fill")
    memory: bool | None = Field(
        None,
        description="whether memory is shown: the interval of original against retrained excludes 0. Where it is not, the "
        "table tells nothing of forgetting; null where there is no interval",
    )
    stronger: bool | None = Field(
        None,
        description="whether the originals restore images that they never saw at least 20 % better than every fill: a "
        "label; null where that is not known",
    )
    pareto: Pareto | None = Field(None, description="methods by two costs")
    maps: list[EmbeddingMap] = Field([], description="maps of embeddings, where pictures were asked for")
    sheets: list[PictureSheet] = Field([], description="restored pictures, where they were asked for")


class SetupScores(Described):
    """The forgetting scores of all methods, with their default settings, in one setup."""

    experiments: int = Field(description="how many experiments it has")
    scores: dict[Mode, dict[str, list[float]]] = Field(
        description="by score and method, that of each experiment; empty where a run is missing"
    )


class Agreement(Described):
    """Kendall's tau-b of the orders that two ways of measuring give to the methods."""

    one: str = Field(description="the first way")
    other: str = Field(description="the second way")
    methods: int = Field(description="methods that have both")
    tau: float | None = Field(
        description="1: the same order; null with fewer than 3 methods, or without an order"
    )
    low: float | None = Field(description="lower end of its interval, over methods drawn with replacement")
    high: float | None = Field(description="upper end of its interval")


class TrialOutcome(Described):
    """What became of settings that were tried."""

    number: int = Field(description="0: the default settings")
    section: dict[str, JsonValue] = Field(description="the method with all settings")
    objective: float | None = Field(description="the number that decides; null where a run failed")
    forgetting: float | None = Field(None, description="1 - mean energy coefficient of the forget images")
    ratios: dict[str, float] = Field(
        {}, description="what is kept, by name, above 1 taken as 1 in the objective"
    )
    error: str | None = Field(None, description="why there is no number")


class Tuning(Described):
    """All trials of a method."""

    chosen: int | None = Field(description="the trial that won; null where all failed")
    trials: list[TrialOutcome] = Field(description="all of them")


class TaskResults(Described):
    """What was measured on one task."""

    facts: dict[str, str] = Field(description="images, model and training, in words")
    images: dict[str, int] = Field(description="images measured, by set")
    data_sha256: str | None = Field(
        description="digest over all images, labels and sets; null in results from before it was kept"
    )
    notes: list[str] = Field(description="what a reader must know of the data")
    limit_seconds: float | None = Field(None, description="seconds that unlearning was given")
    levels: dict[Mode, ScoreLevels] = Field({}, description="by score; empty with too few models")
    tables: list[BenchTable] = Field(description="a table for each corruption; scores are in the first")
    setups: dict[str, SetupScores] = Field({}, description="scores by setup")
    agreements: list[Agreement] = Field([], description="how alike two ways of measuring order the methods")
    tuning: dict[str, Tuning] = Field({}, description="by method")


class RunCount(Described):
    """Models trained, retrained and unlearned, and what they take one worker."""

    originals: int = Field(description="originals")
    retrained: int = Field(description="retrained models")
    unlearned: int = Field(description="unlearned models")
    seconds: float = Field(description="seconds of one worker")


class CostBefore(Described):
    """What was expected before the first run, from timed steps."""

    parts: dict[str, RunCount] = Field(
        description="`default`, `tuning` and `tuned_at_most`; runs that parts share count in the first"
    )
    total: RunCount = Field(description="all parts together")
    setups_alone: dict[str, RunCount] = Field(description="what each setup would cost by itself")
    workers: int = Field(description="runs at a time")
    uncounted: dict[str, str] = Field(description="methods whose steps could not be counted, and why")


class CostAfter(Described):
    """What was done, in runs and their measured seconds: of training and unlearning alone."""

    parts: dict[str, RunCount] = Field(description="`default`, `tuning` and `tuned`")
    total: RunCount = Field(description="all parts together")


class BenchCost(Described):
    """What a benchmark cost; also `cost.json`, while it runs."""

    before: CostBefore = Field(description="expected before the first run")
    after: CostAfter | None = Field(None, description="measured; null until it is finished")
    wall_seconds: float = Field(description="seconds of all starts together")


class BenchResults(Described):
    """Everything that a benchmark found."""

    schema_: Literal["efface-bench/3"] = Field(
        SCHEMA, alias="schema", description="the version of this layout"
    )
    kind: KindName = Field(description="what is made to forget")
    finished: str = Field(description="when, ISO 8601")
    models: int = Field(description="N: unlearned models of an experiment")
    headline: str = Field(description="the setup of the tables")
    confidence: float = Field(description="confidence of intervals")
    scored: bool = Field(description="whether there are enough models for a forgetting score")
    statistic: str | None = Field(None, description="of generators, what the forgetting score reads")
    time_limit: float | None = Field(None, description="share of a retraining that unlearning was given")
    tuned: str | None = Field(
        None, description="the budget of tuning, in words; null where nothing was tuned"
    )
    measures: list[Measure] = Field(description="what the figures of rows are, in the order of columns")
    tasks: dict[str, TaskResults] = Field(description="by name of task")
    cost: BenchCost = Field(description="what it cost")
    machine: Environment = Field(description="where it was carried out")
    config: dict[str, JsonValue] = Field(description="the config; of paths only their last part")


def write_bench_results(results: BenchResults, folder: Path) -> Path:
    """Write `folder/results.json`, at once; returns its path."""
    path = Path(folder) / FILE
    write_json(path, results.as_dict())
    return path


def read_bench_results(path: Path) -> BenchResults:
    """Read a `results.json`, or the one in a folder; raises one `InputError` with all that is wrong with it."""
    path = Path(path) / FILE if Path(path).is_dir() else Path(path)
    what = f"{path} holds no results of a benchmark in the layout {SCHEMA}"
    return validated(BenchResults, read_object(path), what)
