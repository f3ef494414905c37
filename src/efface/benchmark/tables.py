"""The tables of one task, from a pool that is full: rows and their order, scores by setup, and how stable orders are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from efface.benchmark.config import BenchConfig, MethodEntry
from efface.benchmark.reading import TaskReader, estimate
from efface.benchmark.results import (
    Agreement,
    BenchRow,
    BenchTable,
    Estimate,
    RowSettings,
    ScoreLevels,
    SetupScores,
    TaskResults,
    TrialOutcome,
    Tuning,
)
from efface.benchmark.runs import PoolRun, Section
from efface.benchmark.setups import OWN_ORIGINALS, Experiment
from efface.benchmark.stability import agreement, stability
from efface.benchmark.tuning import Trial, best
from efface.forgetting.comparison import MODES, Mode, ScoreRange
from efface.forgetting.official import official_score
from efface.forgetting.robust import robust_score
from efface.progress import Progress
from efface.wording import with_interval

NEEDS = ("forget", "retain", "validation", "labels", "original")
Outcomes = Mapping[str, Sequence[TrialOutcome]]
"""The trials of each method that was tuned."""


@dataclass(frozen=True)
class TaskTables:
    """A full pool with what was asked of it; `errors`: why runs are missing."""

    config: BenchConfig
    reader: TaskReader[Any]
    methods: Sequence[MethodEntry]
    outcomes: Outcomes
    errors: Mapping[PoolRun, str]

    def results(self, limit: float | None, progress: Progress, pictures: Path | None = None) -> TaskResults:
        """Everything that was measured. limit: the seconds that unlearning was given. pictures: where they are written."""
        reader, levels = self.reader, self.reader.levels(self._headline())
        tables: list[BenchTable] = []
        with progress.task("table", len(reader.corruptions)) as task:
            for corruption in reader.corruptions:
                table = self._table(corruption, levels if not tables else {}, tables)
                if pictures:
                    maps = reader.maps(corruption, table.rows)
                    sheets = reader.sheets(corruption, table.rows, pictures)
                    table = table.model_copy(update={"maps": maps, "sheets": sheets})
                tables.append(table)
                task.advance(1)
        original, _, *methods = tables[0].rows
        for mode, level in levels.items():
            if level.doing_nothing is None:
                nothing = _range(original.measures[mode])
                levels[mode] = level.model_copy(update={"doing_nothing": nothing})
        setups = self._setups()
        return TaskResults(
            facts=reader.facts(),
            images=reader.images,
            data_sha256=reader.data_sha256,
            notes=list(reader.notes),
            limit_seconds=limit,
            levels=levels,
            tables=tables,
            setups=setups,
            agreements=self._agreements(setups, methods),
            tuning={
                label: Tuning(chosen=won.number if (won := best(tried)) else None, trials=list(tried))
                for label, tried in self.outcomes.items()
            },
        )

    def _headline(self) -> Experiment:
        """The first experiment of the first method in the headline setup."""
        return self.config.experiments_of(self.config.headline, self.methods[0].section)[0]

    def _table(
        self, corruption: str | None, levels: Mapping[Mode, ScoreLevels], earlier: Sequence[BenchTable]
    ) -> BenchTable:
        """The rows under one corruption; their order is that of the first table."""
        nothing, retrained = self._doing_nothing(corruption), self._retraining(corruption, levels)
        rows = self._method_rows(corruption, is_first=not earlier)
        if earlier:
            order = [(row.label, row.settings) for row in earlier[0].rows]
            rows.sort(key=lambda row: order.index((row.label, row.settings)))
        else:
            rows.sort(key=lambda row: (not row.measures, self.reader.order(row) if row.measures else 0.0))
        rows = [_placed(row, levels) for row in _numbered([nothing, retrained, *rows])]
        fills, memory = self.reader.fills(corruption), self.reader.memory(rows[0])
        return BenchTable(
            corruption=corruption,
            rows=rows if memory else [untold(row, rows[0].forget_gap) for row in rows],
            fills=fills,
            memory=memory,
            stronger=self.reader.stronger(rows[0], fills),
            pareto=self.reader.pareto(rows),
        )

    def _doing_nothing(self, corruption: str | None) -> BenchRow:
        """The original of each experiment, as often as there are unlearned models."""
        experiments = [
            replace(one, unlearned=one.original * (len(one.unlearned) // len(one.original)))
            for one in self.config.experiments_of(self.config.headline, self.methods[0].section)
        ]
        row = BenchRow(label="original", kind="original", settings="reference", deterministic=True)
        return self._filled(row, experiments, corruption)

    def _retraining(self, corruption: str | None, levels: Mapping[Mode, ScoreLevels]) -> BenchRow:
        """Retrained models beside others of them. What they score is the ceiling of every other row."""
        experiment = self._headline()
        measures = self._estimates(self.reader.retraining(experiment, corruption))
        for mode in MODES:
            if mode not in measures and mode in levels:
                ceiling = levels[mode].ceiling
                ends = {"low": ceiling.low, "high": ceiling.high}
                measures[mode] = Estimate(value=ceiling.value, **ends, each=[])
        first = corruption == self.reader.corruptions[0]
        measures.update(self._relative(experiment.other_retrained) if first else {})
        measures.update(self.reader.scores_of_retraining(experiment) if first else {})
        curves = self.reader.curves(experiment.other_retrained) if first else []
        return BenchRow(
            label="retrained",
            kind="retrained",
            settings="reference",
            measures=measures,
            curves=curves,
            experiments=1,
        )

    def _method_rows(self, corruption: str | None, is_first: bool) -> list[BenchRow]:
        rows = []
        for method in self.methods:
            outcomes = self.outcomes.get(method.label, ())
            won = best(outcomes)
            is_same = won is not None and won.section == method.section
            default: RowSettings = "default = tuned" if is_same else "default"
            rows.append(self._method_row(method, default, method.section, corruption, is_first))
            if outcomes and not is_same:
                section = won.section if won else None
                rows.append(self._method_row(method, "tuned", section, corruption, is_first))
        return rows

    def _method_row(
        self,
        method: MethodEntry,
        settings: RowSettings,
        section: Section | None,
        corruption: str | None,
        is_first: bool,
    ) -> BenchRow:
        row = BenchRow(
            label=method.label,
            kind="method",
            settings=settings,
            section=dict(section or {}),
            needs=[name for name in NEEDS if getattr(method.method, f"needs_{name}", False)],
            deterministic=method.method.deterministic,
            like_for_like=is_like_for_like(method),
        )
        if section is None:
            tried = self.outcomes[method.label]
            first = Trial(0, tried[0].section).runs(self.config)
            return row.model_copy(
                update={
                    "reason": f"all {len(tried)} trials failed: {tried[0].error}",
                    "failure_file": self._failure_file(first),
                }
            )
        experiments = self.config.experiments_of(self.config.headline, section)
        runs = list(dict.fromkeys(run for one in experiments for run in one.unlearned))
        gone = [run for run in runs if not self.reader.pool.has(run)]
        whole = [one for one in experiments if not set(one.unlearned) & set(gone)]
        facts = {
            "runs": len(runs),
            "cut": sum(self.reader.pool.spent(run).cut for run in runs if run not in gone),
            "failed": len(gone),
            "reason": (self.errors.get(gone[0]) or "the run is not there") if gone else None,
            "failure_file": self._failure_file(gone[:1]),
            "alike": bool(whole) and all(self.reader.alike(one) for one in whole),
        }
        row = row.model_copy(update=facts)
        return self._filled(row, whole, corruption, is_first) if whole else row

    def _filled(
        self,
        row: BenchRow,
        experiments: Sequence[Experiment],
        corruption: str | None,
        is_first: bool | None = None,
    ) -> BenchRow:
        """`row` with the figures of its experiments; scores and curves stand in the first table."""
        first = corruption == self.reader.corruptions[0] if is_first is None else is_first
        measures = self._estimates(self.reader.figures(experiments, corruption))
        verdict = self.reader.verdict(experiments, corruption)
        update: dict[str, Any] = {
            "measures": measures,
            "experiments": len(experiments),
            "verdict": verdict,
        }
        if first:
            measures.update(self.reader.scores(experiments[0]))
            measures.update(self._relative(experiments[0].unlearned))
            update["curves"] = self.reader.curves(experiments[0].unlearned)
        return row.model_copy(update=update)

    def _relative(self, runs: Sequence[PoolRun]) -> dict[str, Estimate]:
        """What the relative tests say of a row, in the first setup whose models have an original each."""
        setup = next((one for one in self.config.all_setups if one in OWN_ORIGINALS), None)
        if setup is None:
            return {}
        section = runs[0].section if runs[0].kind == "unlearned" else self.methods[0].section
        experiment = self.config.experiments_of(setup, section)[0]
        if runs[0].kind == "original":
            experiment = replace(experiment, unlearned=experiment.original)
        elif runs[0].kind == "retrained":
            experiment = replace(experiment, unlearned=experiment.retrained[len(experiment.unlearned) :])
        there = all(self.reader.pool.has(run) for run in experiment.runs)
        return self.reader.relative(experiment) if there else {}

    def _estimates(self, each: Sequence[Mapping[str, float]]) -> dict[str, Estimate]:
        values = {
            measure: [one[measure.name] for one in each]
            for measure in self.reader.measures
            if all(measure.name in one for one in each)
        }
        return {
            measure.name: estimate(found, self.config.confidence, measure.least)
            if measure.decides is None
            else Estimate(value=min(1.0, len(found) * min(found)), low=None, high=None, each=found)
            for measure, found in values.items()
        }

    def _failure_file(self, runs: Sequence[PoolRun]) -> str | None:
        """Where the first lasting failure of these runs is kept, from the folder of the benchmark."""
        pool = self.reader.pool
        kept = [file for run in runs if (file := pool.failure_file(run))]
        return f"{pool.folder.parent.name}/{pool.folder.name}/{kept[0]}" if kept else None

    def _setups(self) -> dict[str, SetupScores]:
        """Both scores by setup, method with its default settings, and experiment."""
        config, scored = self.config, dict[str, SetupScores]()
        for setup in config.all_setups if config.scored else ():
            scores: dict[Mode, dict[str, list[float]]] = {mode: {} for mode in MODES}
            for method in self.methods:
                each = experiment_scores(
                    self.reader, config.experiments_of(setup, method.section), config.seed
                )
                for mode in MODES:
                    scores[mode][method.label] = each[mode]
            scored[setup] = SetupScores(experiments=config.experiments(setup), scores=scores)
        return scored

    def _agreements(self, setups: Mapping[str, SetupScores], rows: Sequence[BenchRow]) -> list[Agreement]:
        if not self.config.scored:
            return []
        how: dict[str, Any] = {"confidence": self.config.confidence, "seed": self.config.seed}
        # what is no comparison of like with like has no place in an order
        rows = [row for row in rows if row.settings != "tuned" and row.measures and row.like_for_like]
        alike = {method.label for method in self.methods if is_like_for_like(method)}
        official = {
            setup: {label: each for label, each in found.scores["official"].items() if label in alike}
            for setup, found in setups.items()
        }
        sides = [{row.label: row.measures[mode].value for row in rows} for mode in ("official", "robust")]
        names = (f"{self.config.headline}, official F", f"{self.config.headline}, robust F")
        of_modes = agreement(names, sides[0], sides[1], **how)
        return [*stability(official, **how), of_modes, *self.reader.agreements(rows)]


def experiment_scores(
    reader: TaskReader[Any], experiments: Sequence[Experiment], seed: int
) -> dict[Mode, list[float]]:
    """Both F of each experiment, all of whose runs are there; none of those with gaps."""
    scores: dict[Mode, list[float]] = {mode: [] for mode in MODES}
    for one in experiments:
        if all(reader.pool.has(run) for run in one.runs):
            u, r = (reader.stacked(side) for side in (one.unlearned, one.retrained))
            halves = r[: len(u)], r[len(u) : 2 * len(u)]
            each = {
                "official": [official_score(u, half, where_it_stops="define").score for half in halves],
                "robust": [robust_score(u, half, seed=seed, deals=0).score for half in halves],
            }
            for mode in MODES:
                scores[mode].append(float(np.mean(each[mode])))
    return scores


def is_like_for_like(method: MethodEntry) -> bool:
    """Whether the models of a method are of the retrained models' kind; a committee against single networks is not."""
    return bool(getattr(method.method, "like_for_like", True))


def _numbered(rows: Sequence[BenchRow]) -> list[BenchRow]:
    """Methods with figures by their place; references and rows without figures have none."""
    places = iter(range(1, len(rows) + 1))
    return [
        row.model_copy(update={"place": next(places)}) if row.kind == "method" and row.measures else row
        for row in rows
    ]


def _placed(row: BenchRow, levels: Mapping[Mode, ScoreLevels]) -> BenchRow:
    """`row` with its place between floor and ceiling, where those do not overlap."""
    shares = {
        mode: (row.measures[mode].value - level.floor.value) / (level.ceiling.value - level.floor.value)
        for mode, level in levels.items()
        if level.measurable and mode in row.measures
    }
    return row.model_copy(update={"share_of_ceiling": shares})


def untold(row: BenchRow, gap: Estimate | None) -> BenchRow:
    """`row` in a table whose originals were not shown to remember; gap: theirs over seeds, where it decides that."""
    if row.verdict is None or gap is None or gap.low is None:
        return row
    why = f"over seeds, the forget gap of the originals is {with_interval(gap.value, gap.low, gap.high, 3)}"
    return row.model_copy(update={"verdict": row.verdict.without_memory(why)})


def _range(found: Estimate) -> ScoreRange:
    low, high = (found.value if end is None else end for end in (found.low, found.high))
    return ScoreRange(value=found.value, low=low, high=high)
