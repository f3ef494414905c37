"""The table of a benchmark for machines and for a README: `results.csv` and `results.md`, both from `results.json`."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from efface.benchmark.table import MEASURES
from efface.files import write_text
from efface.wording import decimals, figure, printable

Results = Mapping[str, Any]
SHOWN: Mapping[str, str] = {
    "official": "F official",
    "robust": "F robust",
    "final": "final score",
    "ks": "KS",
    "klom_forget": "KLoM forget",
    "u_lira": "U-LiRA AUC",
    "retain_ratio": "retain ratio",
    "test_ratio": "test ratio",
    "time_share": "time",
}
"""Columns of the short tables; the CSV has all of `MEASURES`."""
MOST_DECIMALS = 6
BOOTSTRAP = (
    "Bootstrap draws models with replacement, and models that are drawn twice tie: the same law scores lower than without "
    "(official F, N = 32: about 0.15 in place of 0.19). Its scores are not to be read beside the ceiling, and its tau with "
    "reuse-n-n compares a pool with itself."
)


def write_csv(results: Results, path: Path) -> None:
    """Every row with every measure, its interval and all counts."""
    rest = (
        *("share_of_ceiling", "experiments", "runs", "cut", "failed"),
        *("deterministic", "alike", "like_for_like", "reason", "failure_file"),
    )
    columns = ["method", "settings"]
    columns += [f"{name}{end}" for name in MEASURES for end in ("", "_low", "_high")] + [*rest, "needs"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in results["rows"]:
        line = {"method": row["label"], "settings": row["settings"], "needs": " ".join(row["needs"])}
        for name, found in row["measures"].items():
            line |= {name: found["value"], f"{name}_low": found["low"], f"{name}_high": found["high"]}
        writer.writerow(line | {name: row[name] for name in rest})
    write_text(path, text.getvalue())


def write_markdown(results: Results, path: Path) -> None:
    """The table by official F, with what it must be read beside."""
    ceiling, ends = figures(results["levels"]["official"]["levels"]["ceiling"], 4)
    floor, _ = figures(results["levels"]["official"]["levels"]["floor"], 4)
    lines = [
        f"# Unlearning classifiers: {results['task']}",
        "",
        f"N = {results['models']} models a side, setup {results['headline']}, {results['images']['forget']} forget images. "
        f"Official F: ceiling {ceiling} ({ends}), floor {floor}.",
        "",
        f"| # | method | settings | {' | '.join(SHOWN.values())} | remarks |",
        "|---|---|---|" + "---:|" * len(SHOWN) + "---|",
    ]
    for place, row in placed(results["rows"]):
        cells = [shown(row, name) for name in SHOWN]
        label = printable(row["label"]).replace("|", "\\|")
        note = printable(remarks(row)).replace("|", "\\|")
        lines.append(f"| {place} | {label} | {row['settings']} | {' | '.join(cells)} | {note} |")
    setups = list(results["setups"])
    lines += ["", "F official / F robust in every setup, settings as published, means over experiments:", ""]
    lines += [f"| method | {' | '.join(setups)} |", "|---|" + "---:|" * len(setups)]
    for label, scores in in_every_setup(results):
        pairs = [" / ".join(scores[setup]) for setup in setups]
        lines.append(f"| {printable(label).replace('|', chr(92) + '|')} | {' | '.join(pairs)} |")
    if "bootstrap" in setups:
        lines += ["", BOOTSTRAP]
    lines += ["", "Order of methods under two ways of measuring, Kendall's tau-b:", ""]
    lines += ["| one | other | methods | tau | interval |", "|---|---|---:|---:|---|"]
    for one in results["stability"]:
        tau = "none" if one["tau"] is None else f"{one['tau']:.2f}"
        bounds = "" if one["low"] is None else f"{one['low']:.2f} to {one['high']:.2f}"
        lines.append(f"| {one['one']} | {one['other']} | {one['methods']} | {tau} | {bounds} |")
    notes = [f"- {printable(note)}" for note in results["notes"]]
    write_text(path, "\n".join([*lines, *(["", *notes] if notes else []), ""]))


def placed(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Rows with their place in the order; rows of reference and those without numbers have none."""
    found, place = [], 0
    for row in rows:
        is_ranked = row["settings"] != "reference" and bool(row["measures"])
        place += is_ranked
        found.append((str(place) if is_ranked else "", row))
    return found


def in_every_setup(results: Results) -> list[tuple[str, dict[str, tuple[str, str]]]]:
    """Each method with its official and robust F in every setup, means over experiments; `none` where a run is missing."""
    setups = results["setups"]
    labels = list(dict.fromkeys(row["label"] for row in results["rows"] if row["settings"] != "reference"))

    def cell(setup: str, mode: str, label: str) -> str:
        values = setups[setup][mode].get(label)
        return figure(fmean(values), 3) if values else "none"

    return [
        (label, {setup: (cell(setup, "official", label), cell(setup, "robust", label)) for setup in setups})
        for label in labels
    ]


def shown(row: Mapping[str, Any], name: str) -> str:
    """A measure with its interval, in few signs; `none` where there is no number."""
    ends = ends_of(row, name)
    return value_of(row, name) + (f" ({ends})" if ends else "")


def value_of(row: Mapping[str, Any], name: str) -> str:
    """A measure without its interval."""
    found = row["measures"].get(name)
    if found is None or (name == "time_share" and row["settings"] == "reference"):
        return "none"
    return f"{100 * found['value']:.0f} %" if name == "time_share" else figures(found)[0]


def ends_of(row: Mapping[str, Any], name: str) -> str | None:
    """The interval of a measure; None where it has none."""
    found = row["measures"].get(name)
    return figures(found)[1] if found and name != "time_share" else None


def figures(found: Mapping[str, Any], digits: int = 3) -> tuple[str, str | None]:
    """A value and its bounds (None: it has none), all with as many decimals as show that they differ, at most 6.

    digits: significant ones of the value.

    >>> figures({"value": 0.997, "low": 0.9968, "high": 0.9972})
    ('0.9970', '0.9968 to 0.9972')
    """
    value, low, high = found["value"], found["low"], found["high"]
    if low is None or high is None:
        return figure(value, digits), None
    largest = max(abs(one) for one in (value, low, high))
    if largest and not 1e-6 <= largest < 1e7:
        return figure(value, digits), f"{figure(low, digits)} to {figure(high, digits)}"
    places = least = decimals(value if abs(value) >= 1e-6 else largest, digits)
    # all are rounded alike, so bounds never stand on the wrong side of their value
    while places < max(least, MOST_DECIMALS) and _hides_a_difference(value, low, high, places):
        places += 1
    texts = [f"{one:.{places}f}" if one else "0" for one in (value, low, high)]
    value_text, *ends = (text.replace("-", "−") for text in texts)
    return value_text, " to ".join(ends)


def _hides_a_difference(value: float, low: float, high: float, places: int) -> bool:
    return any(one != value and f"{one:.{places}f}" == f"{value:.{places}f}" for one in (low, high))


def remarks(row: Mapping[str, Any]) -> str:
    """What a reader must know of a row: cut runs, failures, what is odd about it."""
    parts = []
    if row["label"] == "original" and row["settings"] == "reference":
        parts.append("doing nothing")
    if row["label"] == "retrained" and row["settings"] == "reference":
        parts.append("retrained against other retrained models")
    if row["cut"]:
        parts.append(f"cut at the limit in {row['cut']} of {row['runs']} runs")
    if row["failed"]:
        parts.append(f"failed in {row['failed']} of {row['runs']} runs: {_first_line(row['reason'])}")
    elif row["reason"]:
        parts.append(_first_line(row["reason"]))
    if row["failure_file"]:
        parts.append(f"kept in {row['failure_file']}, tried again with --retry-failed")
    if row["settings"] == "published = tuned":
        parts.append("the published settings were the best of all trials")
    if not row["like_for_like"]:
        parts.append("its models are committees, the retrained ones single networks: no like for like")
    if row["settings"] != "reference" and (row["deterministic"] or row["alike"]):
        how = "deterministic" if row["deterministic"] else "measured"
        parts.append(f"{how}: its runs from one original are all alike")
    return "; ".join(parts)


def _first_line(reason: str | None) -> str:
    return " ".join((reason or "no reason is known").split())
