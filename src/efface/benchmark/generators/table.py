"""The rows of a benchmark of generators: figures by corruption and set, means over seeds with their intervals.

Every seed's unlearned model stands beside the original that it came from and the retrained model of the same seed.
Intervals are Student's over seeds: over new trainings, on these images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from efface.benchmark.generators.benchmark import Entry, Statistic
from efface.benchmark.generators.data import GeneratorData
from efface.benchmark.generators.runs import GeneratorOutputs
from efface.benchmark.generators.statistics import errors_of, statistic_of
from efface.benchmark.generators.task import GeneratorTask
from efface.benchmark.pool import Pool
from efface.benchmark.runs import Run
from efface.benchmark.table import Estimate
from efface.evaluation.answers import Features, view_batches
from efface.evaluation.results import SETS, SetName
from efface.forgetting.arrays import Floats
from efface.forgetting.comparison import MODES, Mode, compare
from efface.metrics.extractors import load_extractor
from efface.metrics.frechet import frechet_distance, frechet_refusal
from efface.metrics.inception_score import inception_score, inception_score_refusal
from efface.metrics.kernel import kernel_distance
from efface.probes.two_sample import FORGET, OTHERS, area_within_folds, detect, matched

MEASURES: Mapping[str, str] = {
    "forget_ratio": "hole error on forget images / the retrained model's: towards 1",
    "forget_gap": "mean over forget images of log (hole error / the retrained model's): towards 0",
    "retain_cost": "hole error on retain images / the original's: down",
    "neutral_cost": "hole error on neutral images / the original's: down",
    "detectability": "AUC of telling forget from neutral outputs, minus the retrained model's: at most 0",
    "relearning_retain": "greatest lead in log error over the retrained model, fine-tuning on retain images: at most 0",
    "relearning_few": "the same with a few forget images shown: at most 0",
    "seconds_share": "seconds of unlearning / seconds of a retraining",
}
NOT_NEGATIVE = ("seconds_share",)
BY_SET: Mapping[str, str] = {
    "hole_mse": "mean squared error in the hole: down",
    "ssim": "structural similarity: up",
    "feature_cosine": "cosine of the features of output and true picture: up",
    "frechet_distance": "Fréchet distance of outputs and true pictures: down",
    "kernel_distance": "kernel distance of outputs and true pictures: down",
    "inception_score": "Inception score of outputs, of an extractor that classifies: up",
}
"""Measures of each set, named `MEASURE_SET`; on forget images the goal is the retrained model's value."""
FEWEST_A_SIDE = 2
"""Images of the classes that both sets have, below which nothing can be told apart."""
REPEATS = 3
"""Repeated cross-validations behind an area."""


@dataclass(frozen=True)
class Row:
    """A line of the table of one task.

    kind: `original` (doing nothing), `retrained`, or `method`. measures: by corruption and name, those of `MEASURES` and
    `BY_SET`; scores: by mode, what `forgetting.comparison` gives, empty without a score. failed: runs that cannot be
    had, `reason` why.
    """

    label: str
    kind: str
    section: dict[str, Any] = field(default_factory=dict)
    measures: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)
    scores: Mapping[Mode, dict[str, Any]] = field(default_factory=dict)
    curves: Mapping[str, list[list[float]]] = field(default_factory=dict)
    models: int = 0
    failed: int = 0
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values."""
        plain = {one.name: getattr(self, one.name) for one in fields(self)}
        plain["measures"] = {
            corruption: {name: estimate.as_dict() for name, estimate in found.items()}
            for corruption, found in self.measures.items()
        }
        return plain


@dataclass(frozen=True)
class Trio:
    """One seed: the model that a row is about, the original that it came from, and the retrained model."""

    model: GeneratorOutputs
    original: GeneratorOutputs
    retrained: GeneratorOutputs


@dataclass
class Table:
    """Makes the rows of one task from a pool that is full."""

    task: GeneratorTask
    data: GeneratorData
    pool: Pool[GeneratorOutputs]
    models: int
    scored: bool
    statistic: Statistic
    confidence: float
    seed: int
    _areas: dict[tuple[Run, str], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        measured = self.data.measured(self.task)
        self.truth = {name: self._true_features(images) for name, images in measured.items() if len(images)}
        self.match = matched(measured["forget"].labels, measured["neutral"].labels)

    def row(self, entry: Entry, errors: Mapping[Run, str]) -> Row:
        """The row of a method."""
        runs = [Run.unlearned(entry.section, seed, 0) for seed in range(self.models)]
        gone = [run for run in runs if not self.pool.has(run)]
        if gone:
            reason = errors.get(gone[0]) or "the run is not there"
            return Row(entry.label, "method", entry.section, failed=len(gone), reason=reason)
        return self._made(entry.label, "method", runs, entry.section)

    def doing_nothing(self) -> Row:
        """The originals."""
        return self._made("original", "original", [Run("original", seed) for seed in range(self.models)])

    def retraining(self) -> Row:
        """Retrained models beside others of them: with a score the other half, else the next one in turn."""
        first = self.models if self.scored else 1
        count = 2 * self.models if self.scored else self.models
        runs = [Run("retrained", (seed + first) % count) for seed in range(self.models)]
        return self._made("retrained", "retrained", runs)

    def statistics(self, runs: Sequence[Run], corruption: str) -> Floats:
        """`[models, forget images]` of the statistic that the forgetting score reads."""
        answers = (self.pool.outputs(run).answers[corruption, "forget"] for run in runs)
        return np.stack([statistic_of(one, self.statistic) for one in answers])

    def _made(self, label: str, kind: str, runs: Sequence[Run], section: dict[str, Any] | None = None) -> Row:
        found: dict[str, dict[str, Estimate]] = {}
        for corruption in self.task.corruptions:
            each = [self._measures(run, seed, corruption) for seed, run in enumerate(runs)]
            names = [name for name in each[0] if all(math.isfinite(one[name]) for one in each)]
            found[corruption] = {
                name: Estimate.of(
                    [one[name] for one in each], self.confidence, 0.0 if name in NOT_NEGATIVE else None
                )
                for name in names
            }
        outputs = [self.pool.outputs(run) for run in runs]
        curves = {name: [one.relearning[name].tolist() for one in outputs] for name in outputs[0].relearning}
        # retrained models cannot stand on both sides: what they score is the ceiling of every other row
        scores = self._scores(runs) if self.scored and kind != "retrained" else {}
        return Row(label, kind, section or {}, found, scores, curves, len(runs))

    def _measures(self, run: Run, seed: int, corruption: str) -> dict[str, float]:
        one = Trio(
            *(self.pool.outputs(which) for which in (run, Run("original", seed), Run("retrained", seed)))
        )
        mine, others, before = (
            {name: errors_of(side.answers[corruption, name]) for name in self.truth}
            for side in (one.model, one.retrained, one.original)
        )
        apart = np.log(mine["forget"]) - np.log(others["forget"])
        found: dict[str, float] = {
            "forget_ratio": float(mine["forget"].mean() / others["forget"].mean()),
            "forget_gap": float(apart.mean()),
        }
        for name in self.truth:
            found |= {
                f"{measure}_{name}": value
                for measure, value in self._of_set(one.model, corruption, name).items()
            }
            if name != "forget":
                found[f"{name}_cost"] = float(mine[name].mean() / before[name].mean())
        if "neutral" in self.truth:
            found["detectability"] = self._area(run, corruption) - self._area(
                Run("retrained", seed), corruption
            )
        for shown, curve in one.model.relearning.items():
            # the greatest lead, not the mean one: noise starts far above and would hide a later return
            found[f"relearning_{shown}"] = float((one.retrained.relearning[shown] - curve)[1:].max())
        found["seconds_share"] = one.model.seconds / one.retrained.seconds if run.kind == "unlearned" else 0.0
        return found

    def _of_set(self, outputs: GeneratorOutputs, corruption: str, name: SetName) -> dict[str, float]:
        answers = outputs.answers[corruption, name]
        found = {
            measure: float(answers.of_images(measure).mean())
            for measure in ("hole_mse", "ssim", "feature_cosine")
            if measure in answers.values
        }
        mine, truth = answers.features.astype(np.float64), self.truth[name].astype(np.float64)
        if frechet_refusal(len(mine) // answers.crops, mine.shape[1]) is None:
            found["frechet_distance"] = frechet_distance(mine, truth)
        photos = np.repeat(np.arange(len(mine) // answers.crops), answers.crops)
        found["kernel_distance"] = kernel_distance(mine, truth, photos, photos)
        if answers.probabilities is not None and inception_score_refusal(len(mine) // answers.crops) is None:
            found["inception_score"] = inception_score(
                answers.probabilities, order_seed=self.task.evaluation.seed
            ).mean
        return found

    def _area(self, run: Run, corruption: str) -> float:
        if (run, corruption) not in self._areas:
            answers = self.pool.outputs(run).answers
            forget, neutral = (answers[corruption, name].seen for name in (FORGET, OTHERS))  # type: ignore[index]
            match = self.match
            if min(len(match.forget), len(match.neutral)) < FEWEST_A_SIDE:
                return math.nan
            scores = detect(
                forget[match.forget].astype(np.float64), neutral[match.neutral].astype(np.float64),
                weights=match.weights, strata=(match.forget_strata, match.neutral_strata),
                repeats=REPEATS, seed=self.seed,
            )  # fmt: skip
            self._areas[run, corruption] = area_within_folds(scores)
        return self._areas[run, corruption]

    def _scores(self, runs: Sequence[Run]) -> dict[Mode, dict[str, Any]]:
        corruption = self.task.corruptions[0]
        mine = self.statistics(runs, corruption)
        retrained = self.statistics([Run("retrained", seed) for seed in range(2 * self.models)], corruption)
        before = self.statistics([Run("original", seed) for seed in range(self.models)], corruption)
        return {mode: compare(mine, retrained, before, mode=mode, seed=self.seed).as_dict() for mode in MODES}

    def _true_features(self, images: Any) -> Features:
        extractor = load_extractor(self.task.evaluation.extractor)
        side, settings = self.task.architecture.image_size, self.task.evaluation
        found = [
            extractor.features(batch.images.float() / 255).cpu().numpy()
            for batch in view_batches(images, self.data.pictures, side, settings)
        ]
        together: Features = np.concatenate(found)
        return together


def by_distance(rows: Sequence[Row], corruption: str) -> list[Row]:
    """The highest robust score first, else the smallest distance of the forget error to the retrained model's."""

    def order(row: Row) -> tuple[int, float]:
        if not row.measures:
            return 2, 0.0
        if row.scores:
            return 0, -float(row.scores["robust"]["score"])
        return 1, abs(row.measures[corruption]["forget_gap"].value)

    return sorted(rows, key=order)


def sets_measured(task: GeneratorTask, data: GeneratorData) -> list[SetName]:
    """The sets that hold images."""
    measured = data.measured(task)
    return [name for name in SETS if len(measured[name])]
