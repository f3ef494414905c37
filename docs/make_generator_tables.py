"""Writes the tables of `search.md` and `generator-benchmark.md` from the results of the benchmarks behind them.

    python docs/make_generator_tables.py

A table stands between `<!-- NAME -->` and `<!-- end -->`, where NAME is a file in `benchmarks/results/generators/`, a
corruption after a space where it is not the first, and perhaps `paper` for the columns of the paper's tables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scipy import stats

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "benchmarks" / "results" / "generators"
PAGES = ("search.md", "generator-benchmark.md")
COLUMNS = {
    "forget_gap": "forget gap",
    "retain_cost": "retain cost",
    "neutral_cost": "neutral cost",
    "detectability": "detectability",
    "relearning_retain": "relearning, retain",
    "relearning_few": "relearning, few",
}
PAPER = ("hole_mse", "frechet_distance", "kernel_distance", "feature_cosine")


def main() -> None:
    for name in PAGES:
        page = DOCS / name
        text = re.sub(
            r"(<!-- (?!end)([^>]+?) -->\n).*?(<!-- end -->)",
            lambda found: found[1] + table(found[2]) + found[3],
            page.read_text(encoding="utf-8"),
            flags=re.S,
        )
        page.write_text(text, encoding="utf-8")


def table(asked: str) -> str:
    """The table that a comment asks for."""
    name, *options = asked.split(" ")
    results = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    parts = []
    for task, found in results["tasks"].items():
        corruption = next((one for one in options if one in found["corruptions"]), found["corruptions"][0])
        title = f"*{task}*\n\n" if len(results["tasks"]) > 1 else ""
        make = paper_table if "paper" in options else plain_table
        parts.append(
            title + "\n".join(make(found["rows"], corruption)) + "\n" + levels(found["rows"], corruption)
        )
    return "\n".join(parts)


def plain_table(rows: list[dict[str, Any]], corruption: str) -> Iterable[str]:
    """What the criteria of the search ask for, a line a method."""
    measured = [row for row in rows if row["measures"]]
    columns = {
        name: title
        for name, title in COLUMNS.items()
        if any(name in row["measures"][corruption] for row in measured)
    }
    scored = any(row["scores"] for row in measured)
    titles = ["method", *(["robust F"] if scored else []), *columns.values(), "time"]
    yield "| " + " | ".join(titles) + " |"
    yield "|---" * len(titles) + "|"
    for row in measured:
        measures = row["measures"][corruption]
        score = [_score(row)] if scored else []
        cells = [_estimate(measures.get(name)) for name in columns]
        time = "" if row["kind"] != "method" else f"{measures['seconds_share']['value']:.0%}"
        yield "| " + " | ".join([_label(row), *score, *cells, time]) + " |"


def levels(rows: list[dict[str, Any]], corruption: str) -> str:
    """A sentence with what the scores of a table are to be read beside."""
    scored = [row for row in rows if row["scores"] and row["kind"] == "method"]
    if not scored:
        return ""
    robust, official = (scored[0]["scores"][mode] for mode in ("robust", "official"))
    scores = [row["scores"]["robust"]["score"] for row in scored]
    gaps = [-abs(row["measures"][corruption]["forget_gap"]["value"]) for row in scored]
    tau = stats.kendalltau(scores, gaps).statistic
    best = max(scored, key=lambda row: row["scores"]["official"]["score"])
    return (
        f"\nRobust F: ceiling {robust['ceiling']:.2f}, floor {robust['floor']:.2f}, doing nothing "
        f"{robust['do_nothing']:.2f}. "
        f"Official F, which depends on a grid of thresholds made for classifiers: ceiling {official['ceiling']:.3f}, floor "
        f"{official['floor']:.3f}, highest {best['scores']['official']['score']:.3f} ({_label(best)}). "
        "Kendall's tau between the "
        f"order by robust F and the order by the distance of the forget gap from 0: {tau:.2f}.\n"
    )


def paper_table(rows: list[dict[str, Any]], corruption: str) -> Iterable[str]:
    """The columns of the paper's tables, forget / retain / neutral in each."""
    measured = [row for row in rows if row["measures"]]
    columns = [
        name for name in PAPER if any(f"{name}_forget" in row["measures"][corruption] for row in measured)
    ]
    yield "| method | " + " | ".join(name.replace("_", " ") for name in columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for row in measured:
        cells = []
        for name in columns:
            each = [
                row["measures"][corruption].get(f"{name}_{one}") for one in ("forget", "retain", "neutral")
            ]
            cells.append("; ".join(_estimate(value) for value in each))
        yield "| " + " | ".join([_label(row), *cells]) + " |"


def _label(row: dict[str, Any]) -> str:
    # a section within the settings is told apart by its name alone
    label = re.sub(r"=\{.*?\}", "", str(row["label"]))
    return "original (doing nothing)" if row["kind"] == "original" else label


def _score(row: dict[str, Any]) -> str:
    robust = row["scores"].get("robust")
    return (
        f"{robust['score']:.2f} ({robust['interval'][0]:.2f} to {robust['interval'][1]:.2f})"
        if robust
        else ""
    )


def _estimate(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    value, low, high = (found[name] for name in ("value", "low", "high"))
    digits = 4 if abs(value) < 0.05 and (high is None or abs(high) < 0.1) else 2
    if low is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


if __name__ == "__main__":
    main()
