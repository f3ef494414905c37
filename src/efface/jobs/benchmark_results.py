"""What `results.json` of a benchmark holds, from a pool that is full: rows, orders of methods, surroundings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from efface.benchmark.benchmark import HEADLINE, BenchConfig, Entry, tuning_starts
from efface.benchmark.classifiers.runs import Outputs
from efface.benchmark.pool import Pool
from efface.benchmark.runs import Run
from efface.benchmark.stability import agreement, stability
from efface.benchmark.table import Row, Sides, Table, by_score, levels, scores_of
from efface.benchmark.tuning import Tried, best
from efface.forgetting.comparison import MODES, Mode
from efface.runs.environment import environment

SCHEMA = 1
PUBLISHED = "published"
SAME = "published = tuned"
"""Settings of the one row of a method whose published settings were the best of all trials."""
Scores = dict[str, dict[str, list[float]]]


@dataclass(frozen=True)
class Measured:
    """A full pool with what was asked of it; `errors`: why runs are missing; `tuned`: the trials of each method."""

    config: BenchConfig
    chosen: Sequence[Entry]
    pool: Pool[Outputs]
    errors: Mapping[Run, str]
    tuned: Mapping[str, list[Tried]]

    def results(self, cost: dict[str, Any], limit: float | None) -> dict[str, Any]:
        """Plain JSON-ready values. limit: the seconds that unlearning was given."""
        from efface.images.datasets import open_dataset

        config = self.config
        data = open_dataset(config.task, "score")
        table = self._table()
        rows, scores = self._rows(table), self._scores()
        return {
            "schema": SCHEMA,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "task": config.task.data,
            "images": {name: len(getattr(data, name)) for name in ("forget", "retain", "validation", "test")},
            "data_sha256": data.digest(),
            "notes": list(data.notes),
            "models": config.models,
            "headline": HEADLINE,
            "limit_seconds": limit,
            "levels": {mode: _level(found.as_dict()) for mode, found in table.levels.items()},
            "rows": [row.as_dict() for row in rows],
            "setups": {
                setup: {
                    "experiments": config.experiments(setup),
                    **{mode: scores[mode][setup] for mode in MODES},
                }
                for setup in config.all_setups
            },
            "stability": self._stability(scores["official"], rows),
            "cost": cost,
            "machine": _machine(),
            "config": _without_paths(config),
        }

    def _table(self) -> Table:
        config = self.config
        experiment = config.experiments_of(HEADLINE, self.chosen[0].section)[0]
        retrained = Sides.read(self.pool, experiment.retrained)
        return Table(self.pool, retrained, levels(retrained, config.seed), config.confidence, config.seed)

    def _rows(self, table: Table) -> list[Row]:
        nothing = self.config.experiments_of(HEADLINE, self.chosen[0].section)
        rows = [table.retraining(), table.doing_nothing(nothing)]
        for one in self.chosen:
            winner = best(self.tuned.get(one.label, []))
            is_same = winner is not None and winner.trial.section == one.section
            rows.append(self._row(table, one, SAME if is_same else PUBLISHED, one.section))
            if one.label in self.tuned and not is_same:
                rows.append(self._row(table, one, "tuned", winner.trial.section if winner else None))
        return by_score(rows)

    def _row(self, table: Table, one: Entry, settings: str, section: dict[str, Any] | None) -> Row:
        names = ("forget", "retain", "validation", "labels", "original")
        needs = tuple(name for name in names if getattr(one.method, f"needs_{name}"))
        row = Row(
            one.label,
            settings,
            section or {},
            needs=needs,
            deterministic=one.method.deterministic,
            like_for_like=is_like_for_like(one),
        )
        if section is not None:
            return table.row(row, self.config.experiments_of(HEADLINE, section), self.errors)
        tried = self.tuned[one.label]
        reason = f"all {len(tried)} trials failed: {tried[0].error}"
        first = tried[0].trial.runs(tuning_starts(self.config))
        return replace(row, reason=reason, failure_file=table.failure_file(first))

    def _scores(self) -> dict[Mode, Scores]:
        """Both F by setup, method as published, and experiment."""
        config = self.config
        found: dict[Mode, Scores] = {mode: {setup: {} for setup in config.all_setups} for mode in MODES}
        for setup in config.all_setups:
            for one in self.chosen:
                scores = scores_of(self.pool, config.experiments_of(setup, one.section), config.seed)
                for mode in MODES:
                    found[mode][setup][one.label] = scores[mode]
        return found

    def _stability(self, scores: Scores, rows: Sequence[Row]) -> list[dict[str, Any]]:
        how: dict[str, Any] = {"confidence": self.config.confidence, "seed": self.config.seed}
        # what is no comparison of like with like has no place in an order
        alike = {one.label for one in self.chosen if is_like_for_like(one)}
        scores = {
            setup: {label: values for label, values in table.items() if label in alike}
            for setup, table in scores.items()
        }
        published = [
            row for row in rows if row.settings in (PUBLISHED, SAME) and row.measures and row.label in alike
        ]
        sides = [
            {row.label: row.measures[mode].value for row in published} for mode in ("official", "robust")
        ]
        names = (f"{HEADLINE}, official F", f"{HEADLINE}, robust F")
        found = [*stability(scores, **how), agreement(names, sides[0], sides[1], **how)]
        return [one.as_dict() for one in found]


def is_like_for_like(one: Entry) -> bool:
    """Whether the models of a method are of the retrained models' kind; a committee against single networks is not."""
    return bool(getattr(one.method, "like_for_like", True))


def _level(found: dict[str, Any]) -> dict[str, Any]:
    kept = ("equal_models", "ceiling", "floor", "power", "measurable")
    ends = {name: found["levels"][name] for name in ("ceiling", "floor")}
    return {**{name: found[name] for name in kept}, "levels": ends}


def _machine() -> dict[str, Any]:
    machine = environment().as_dict()
    source = machine.pop("source")
    return {**machine, "commit": source["commit"], "changed": source["changed"]}


def _without_paths(config: BenchConfig) -> dict[str, Any]:
    """The config as it may be published: of a folder only its name."""
    values = config.as_dict()
    path = values["task"].get("path")
    if path:
        values["task"]["path"] = Path(path).name
    return values
