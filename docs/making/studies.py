"""The table of `studies.md`, from the results of the studies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from efface.benchmark.results import BenchTable, read_bench_results
from efface.wording import with_interval
from making.pictures import RESULTS

STUDIES = (
    "mae-imagenet64",
    "palette-imagenet64",
    "mage-imagenet64",
    "mae-scenes128",
    "palette-scenes128",
    "mage-scenes128",
)
CONFIGS = "../benchmarks/configs/generators"


def table(name: str) -> str:
    """`memory` or `change`."""
    rows = {study: _table_of(study) for study in STUDIES}
    if name == "memory":
        lines = [
            "| study | unseen images: error (best fill) | forget error, original / retrained | memory shown |",
            "|---|---|---|---|",
        ]
        for study, found in rows.items():
            original = found.rows[0].measures
            unseen = f"{original['hole_mse_neutral'].value:.4f} ({min(found.fills.values()):.4f})"
            cells = [unseen, *_told(_errors(found, 0, "forget") / _errors(found, 1, "forget"))]
            lines.append(f"| [`{study}`]({CONFIGS}/study-{study}.yaml) | " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"
    lines = [
        "| study | forget | retain | neutral | forget minus retain | forget, unlearned / retrained |",
        "|---|---|---|---|---|---|",
    ]
    for study, found in rows.items():
        forget, retain, neutral = (
            _errors(found, 2, one) / _errors(found, 0, one) for one in ("forget", "retain", "neutral")
        )
        retrained = _errors(found, 2, "forget") / _errors(found, 1, "forget")
        columns = (forget, retain, neutral, forget - retain, retrained)
        lines.append(f"| `{study}` | " + " | ".join(_interval(one) for one in columns) + " |")
    return "\n".join(lines) + "\n"


def _table_of(study: str) -> BenchTable:
    (task,) = read_bench_results(RESULTS / "generators" / f"study-{study}.json").tasks.values()
    return task.tables[0]


def _errors(found: BenchTable, row: int, of_set: str) -> np.ndarray:
    return np.array(found.rows[row].measures[f"hole_mse_{of_set}"].each)


def _bounds(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and Student's 95 % interval over seeds."""
    mean, half = np.mean(values), stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return float(mean), float(mean - half), float(mean + half)


def _interval(values: Sequence[float]) -> str:
    return with_interval(*_bounds(values), 3)


def _told(values: Sequence[float]) -> tuple[str, str]:
    mean, low, high = _bounds(values)
    return with_interval(mean, low, high, 2), "yes" if high < 1 else "no"
