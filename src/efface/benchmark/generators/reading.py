"""What the runs of generators answer: figures by corruption and set, of each seed.

Every seed's unlearned model stands beside the original that it came from and the retrained model of the same seed.
Intervals are Student's over seeds: over new trainings, on these images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from efface.benchmark.config import BenchConfig
from efface.benchmark.generators.data import images_of
from efface.benchmark.generators.errors import errors_of, statistic_of
from efface.benchmark.generators.measures import measures_of
from efface.benchmark.generators.models import new_generator
from efface.benchmark.generators.runs import GeneratorOutputs
from efface.benchmark.generators.task import GeneratorBench, GeneratorTask
from efface.benchmark.pool import Pool
from efface.benchmark.reading import FigureValues, TaskReader, levels_of
from efface.benchmark.results import (
    Agreement,
    BenchRow,
    EmbeddingMap,
    Estimate,
    Pareto,
    ParetoPoint,
    PictureSheet,
    RelearningCurve,
    ScoreLevels,
)
from efface.benchmark.runs import PoolRun
from efface.benchmark.setups import Experiment
from efface.benchmark.stability import agreement
from efface.benchmark.tasks import without_folder
from efface.benchmark.told_apart import apart_estimates
from efface.corruptions import parse_corruption
from efface.evaluation.answers import Features, view_batches
from efface.evaluation.figures import pareto_front
from efface.evaluation.fills import CLEARLY, fill_errors
from efface.evaluation.results import ModelName, SetName
from efface.evaluation.verdict import Verdict, verdict_on
from efface.forgetting.arrays import Floats
from efface.forgetting.comparison import MODES, Comparison, Mode, compare
from efface.forgetting.robust import robust_score
from efface.images.items import ImageSet
from efface.memory import fitting
from efface.metrics.base import RestoredSet
from efface.metrics.catalogue import image_metrics, set_metrics
from efface.metrics.extractors import load_extractor
from efface.probes.two_sample import FORGET, OTHERS, area_within_folds, detect, matched
from efface.training.data import Crops
from efface.wording import counted

FEWEST_A_SIDE = 2
"""Images of the classes that both sets have, below which nothing can be told apart."""
REPEATS = 3
"""Repeated cross-validations behind an area."""
NO_GAP = 1e-3
"""Forget gaps below it are taken as none beside a cost."""
"""Metrics that each image has."""
TAU_NAMES = ("rank by robust F", "rank by |forget gap|")


class GeneratorReader(TaskReader[GeneratorOutputs]):
    """Reads the pool of a task of generators."""

    def __init__(self, config: BenchConfig, pool: Pool[GeneratorOutputs]) -> None:
        super().__init__(config, pool)
        self.task = cast("GeneratorTask", pool.task)
        self.statistic = cast("GeneratorBench", config).statistic
        self.data = images_of(self.task)
        measured = self.data.measured(self.task)
        self.corruptions = self.task.corruptions
        self.measures = measures_of(self.task, config.scored)
        self.images = {name: len(images) for name, images in measured.items()}
        self.ids = {name: images.ids for name, images in measured.items()}
        self.data_sha256, self.notes = self.data.sha256, self.data.notes
        self.truth = {name: self._true_features(images) for name, images in measured.items() if len(images)}
        self.match = matched(measured["forget"].labels, measured["neutral"].labels)
        self._areas: dict[tuple[PoolRun, str], float] = {}
        self._compared: dict[tuple[Mode, tuple[PoolRun, ...]], Comparison] = {}

    def facts(self) -> dict[str, str]:
        images, data = self.task.images, self.data.sets
        forget, steps = len(data["forget"]), self.task.unlearning.get("steps")
        return {
            "Images": f"{images.data}, {self.task.architecture.image_size} px; forgotten: {images.forget}",
            "Trained on": f"{forget + len(data['retain'])} images, {forget} of them to be forgotten",
            "Measured": ", ".join(f"{count} {name}" for name, count in self.images.items()) + " images",
            "Models": f"{self.task.generator}; {counted(self.task.training.steps, 'step')} of training"
            + (f", {steps} of unlearning" if steps else ""),
            "Features": without_folder(self.task.evaluation.extractor),
        }

    def values(self, run: PoolRun) -> Floats:
        answers = self.pool.outputs(run).answers[self.task.corruptions[0], "forget"]
        return statistic_of(answers, self.statistic)

    def figures(self, experiments: Sequence[Experiment], corruption: str | None) -> list[FigureValues]:
        each = [self._seeds(experiment.unlearned, str(corruption)) for experiment in experiments]
        # another seed of unlearning from the same original is no new training
        return [
            {name: float(np.mean([one[name] for one in seed])) for name in seed[0]}
            for seed in zip(*each, strict=True)
        ]

    def retraining(self, experiment: Experiment, corruption: str | None) -> list[FigureValues]:
        return self._seeds(experiment.other_retrained, str(corruption))

    def levels(self, experiment: Experiment) -> dict[Mode, ScoreLevels]:
        if not self.config.scored:
            return {}
        nothing = replace(experiment, unlearned=experiment.original)
        return {mode: levels_of(self._comparison(mode, nothing)) for mode in MODES}

    def scores(self, experiment: Experiment) -> dict[str, Estimate]:
        if not self.config.scored:
            return {}
        scores = apart_estimates(self._comparison("robust", experiment))
        for mode in MODES:
            compared = self._comparison(mode, experiment)
            low, high = compared.interval
            scores[mode] = Estimate(value=compared.score, low=low, high=high, each=[])
        return scores

    def scores_of_retraining(self, experiment: Experiment) -> dict[str, Estimate]:
        halves = experiment.retrained[: len(experiment.unlearned)], experiment.other_retrained
        if not self.config.scored or set(halves[0]) & set(halves[1]):
            return {}
        return apart_estimates(robust_score(*map(self.stacked, halves), seed=self.config.seed))

    def kept(self, runs: Sequence[PoolRun], references: Sequence[PoolRun]) -> dict[str, float]:
        """By hole error, on retain images beside the originals', on neutral ones beside the retrained models'."""
        corruption = self.task.corruptions[0]

        def error(models: Sequence[PoolRun], name: SetName) -> float:
            answers = (self.pool.outputs(run).answers[corruption, name] for run in models)
            return float(np.mean([errors_of(one).mean() for one in answers]))

        originals = [PoolRun("original", run.start) for run in runs]
        shares = {"retain_share": error(originals, "retain") / error(runs, "retain")}
        if "neutral" in self.truth:
            shares["neutral_share"] = error(references, "neutral") / error(runs, "neutral")
        return shares

    def order(self, row: BenchRow) -> float:
        if "robust" in row.measures:
            return -row.measures["robust"].value
        return abs(row.measures["forget_gap"].value)

    def curves(self, runs: Sequence[PoolRun]) -> list[RelearningCurve]:
        if self.task.relearning is None:
            return []
        outputs = [self.pool.outputs(run).relearning for run in runs]
        return [
            RelearningCurve(
                after=after,  # type: ignore[arg-type]
                steps=[0, *self.task.relearning.steps],
                mean=np.mean([one[after] for one in outputs], axis=0).tolist(),
                each=[one[after].tolist() for one in outputs],
            )
            for after in outputs[0]
        ]

    def fills(self, corruption: str | None) -> dict[str, float]:
        wanted, images = parse_corruption(str(corruption)), self.data.sets["neutral"]
        if not wanted.hides or not len(images):
            return {}
        return fill_errors(images, self.data.pictures, new_generator(self.task), wanted, self.task.evaluation)

    def verdict(self, experiments: Sequence[Experiment], corruption: str | None) -> Verdict | None:
        unlearned = [run for one in experiments for run in one.unlearned]
        runs: dict[ModelName, list[PoolRun]] = {
            "original": [
                run if run.kind == "original" else PoolRun("original", run.start) for run in unlearned
            ],
            "unlearned": unlearned,
            "retrained": [run for one in experiments for run in one.retrained],
        }
        wanted = [metric.name for metric in image_metrics() if metric.decides or metric.yardstick]
        per_image: dict[tuple[ModelName, SetName], dict[str, Floats]] = {}
        for model, several in runs.items():
            outputs = [self.pool.outputs(run) for run in dict.fromkeys(several)]
            for name in self.truth:
                answers = [one.answers[str(corruption), name] for one in outputs]
                per_image[model, name] = {
                    metric: np.mean([one.of_images(metric) for one in answers], axis=0)
                    for metric in wanted
                    if metric in answers[0].values
                }
        return verdict_on(per_image, self.ids, "generator", self.task.evaluation, {})

    def memory(self, original: BenchRow) -> bool | None:
        """Over seeds and over photos."""
        gap = original.forget_gap
        over_seeds = None if gap is None or gap.high is None else gap.high < 0
        known = [shown for shown in (over_seeds, super().memory(original)) if shown is not None]
        return all(known) if known else None

    def stronger(self, original: BenchRow, fills: dict[str, float]) -> bool | None:
        error = original.unseen_error
        if error is None or not fills:
            return None
        return error.value <= (1 - CLEARLY) * min(fills.values())

    def pareto(self, rows: Sequence[BenchRow]) -> Pareto | None:
        points = [
            _point(place, row.measures["retain_cost"], row.measures["forget_gap"])
            for place, row in enumerate(rows)
            if "retain_cost" in row.measures
        ]
        methods = [point for point in points if rows[point.row].kind == "method"]
        front = {methods[place].row for place in pareto_front([(point.x, point.y) for point in methods])}
        return Pareto(
            title="Cost on retain images, and distance from the retrained model",
            x_name="retain error / original's",
            y_name="|forget gap|, log",
            points=[point.model_copy(update={"on_front": point.row in front}) for point in points],
        )

    def maps(self, corruption: str | None, rows: Sequence[BenchRow]) -> list[EmbeddingMap]:
        from efface.benchmark.generators.pictures import maps_of

        return maps_of(self, str(corruption), rows)

    def sheets(self, corruption: str | None, rows: Sequence[BenchRow], out: Path) -> list[PictureSheet]:
        from efface.benchmark.generators.pictures import sheets_of

        return list(sheets_of(self, str(corruption), rows, out))

    def agreements(self, methods: Sequence[BenchRow]) -> list[Agreement]:
        """How far robust F and the distance of the simple gap from 0 order methods alike."""
        if not self.config.scored:
            return []
        scores = {row.label: row.measures["robust"].value for row in methods}
        gaps = {row.label: -abs(row.measures["forget_gap"].value) for row in methods}
        confidence, seed = self.config.confidence, self.config.seed
        return [agreement(TAU_NAMES, scores, gaps, confidence=confidence, seed=seed)]

    def _seeds(self, runs: Sequence[PoolRun], corruption: str) -> list[FigureValues]:
        """The figures of each seed; those that are no number for every one are left out."""
        each = [self._figures(run, seed, corruption) for seed, run in enumerate(runs)]
        names = [name for name in each[0] if all(math.isfinite(one[name]) for one in each)]
        return [{name: one[name] for name in names} for one in each]

    def _figures(self, run: PoolRun, seed: int, corruption: str) -> FigureValues:
        start = run.start if run.kind == "unlearned" else seed
        model, original, retrained = (
            self.pool.outputs(which)
            for which in (run, PoolRun("original", start), PoolRun("retrained", seed))
        )
        mine, before, others = (
            {name: errors_of(side.answers[corruption, name]) for name in self.truth}
            for side in (model, original, retrained)
        )
        apart = np.log(mine["forget"]) - np.log(others["forget"])
        figures: FigureValues = {
            "forget_ratio": float(mine["forget"].mean() / others["forget"].mean()),
            "forget_gap": float(apart.mean()),
        }
        for name in self.truth:
            figures |= {
                f"{measure}_{name}": value for measure, value in self._of_set(model, corruption, name).items()
            }
            if name != "forget":
                figures[f"{name}_cost"] = float(mine[name].mean() / before[name].mean())
        if "neutral" in self.truth:
            reference = PoolRun("retrained", seed)
            figures["detectability"] = self._area(run, corruption) - self._area(reference, corruption)
        for after, curve in model.relearning.items():
            # the greatest lead, not the mean one: noise starts far above and would hide a later return
            figures[f"relearning_{after}"] = float((retrained.relearning[after] - curve)[1:].max())
        is_unlearned = run.kind == "unlearned"
        figures["time_share"] = model.spent.seconds / retrained.spent.seconds if is_unlearned else 0.0
        return figures

    def _of_set(self, outputs: GeneratorOutputs, corruption: str, name: SetName) -> FigureValues:
        answers = outputs.answers[corruption, name]
        figures = {
            metric.name: float(answers.of_images(metric.name).mean())
            for metric in image_metrics()
            if metric.name in answers.values
        }
        mine, truth = answers.features.astype(np.float64), self.truth[name].astype(np.float64)
        images = len(mine) // answers.crops
        photos, seed = np.repeat(np.arange(images), answers.crops), self.task.evaluation.seed
        restored = RestoredSet(mine, truth, photos, images, answers.probabilities, seed, resampling=None)
        for metric in set_metrics():
            if answers.probabilities is not None or "probabilities" not in metric.requires:
                value = metric().distance(restored).value
                figures |= {metric.name: value} if value is not None else {}
        return figures

    def _area(self, run: PoolRun, corruption: str) -> float:
        if (run, corruption) not in self._areas:
            answers = self.pool.outputs(run).answers
            forget, neutral = (answers[corruption, name].seen for name in (FORGET, OTHERS))  # type: ignore[index]
            match = self.match
            if min(len(match.forget), len(match.neutral)) < FEWEST_A_SIDE:
                return math.nan
            scores = detect(
                forget[match.forget].astype(np.float64), neutral[match.neutral].astype(np.float64),
                weights=match.weights, strata=(match.forget_strata, match.neutral_strata),
                repeats=REPEATS, seed=self.config.seed,
            )  # fmt: skip
            self._areas[run, corruption] = area_within_folds(scores)
        return self._areas[run, corruption]

    def _comparison(self, mode: Mode, experiment: Experiment) -> Comparison:
        key = (mode, experiment.unlearned)
        if key not in self._compared:
            sides = (experiment.unlearned, experiment.retrained, experiment.original)
            unlearned, retrained, original = (self.stacked(side) for side in sides)
            self._compared[key] = compare(unlearned, retrained, original, mode=mode, seed=self.config.seed)
        return self._compared[key]

    def _true_features(self, images: ImageSet) -> Features:
        extractor = load_extractor(self.task.evaluation.extractor, self.task.evaluation.extractor_input)
        side, settings = self.task.architecture.image_size, self.task.evaluation

        def features(batch: Crops) -> Features:
            return extractor.features(batch.images.float() / 255).cpu().numpy()

        batches = view_batches(images, self.data.pictures, side, settings)
        together: Features = np.concatenate(list(fitting(batches, side, features)))
        return together


def _point(place: int, cost: Estimate, gap: Estimate) -> ParetoPoint:
    """A row by the cost of its retain images, and by how far its gap is from 0, with the ends of that."""
    far = abs(gap.value)
    near_end = far_end = None
    if gap.low is not None and gap.high is not None:
        ends = sorted((abs(gap.low), abs(gap.high)))
        near_end, far_end = (0.0 if gap.low <= 0 <= gap.high else ends[0]), ends[1]
    y, y_low, y_high = (
        None if one is None else 0.0 if one < NO_GAP else one for one in (far, near_end, far_end)
    )
    assert y is not None
    return ParetoPoint(
        row=place,
        x=cost.value,
        x_low=cost.low,
        x_high=cost.high,
        y=y,
        y_low=y_low,
        y_high=y_high,
        on_front=False,
    )
