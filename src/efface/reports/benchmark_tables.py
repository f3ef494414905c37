"""The table of a benchmark for machines and for a README: `results.csv` and `results.md`, both from `results.json`."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from efface.files import write_text
from efface.images.items import printable
from efface.oracles.table import MEASURES
from efface.reports.wording import figure, interval

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


def write_csv(results: Results, path: Path) -> None:
    """Every row with every measure, its interval and all counts."""
    rest = ("share_of_ceiling", "experiments", "runs", "cut", "failed", "deterministic", "reason")
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
    level = results["levels"]["official"]
    ends = level["levels"]
    lines = [
        f"# Unlearning classifiers: {results['task']}",
        "",
        f"N = {results['models']} models a side, setup {results['headline']}, {results['images']['forget']} forget images. "
        f"Official F: ceiling {figure(ends['ceiling']['value'])} "
        f"({interval(ends['ceiling']['low'], ends['ceiling']['high'])}), floor {figure(ends['floor']['value'])}.",
        "",
        f"| # | method | settings | {' | '.join(SHOWN.values())} | remarks |",
        "|---|---|---|" + "---:|" * len(SHOWN) + "---|",
    ]
    for place, row in enumerate(results["rows"], 1):
        cells = [shown(row, name) for name in SHOWN]
        label = printable(row["label"]).replace("|", "\\|")
        note = printable(remarks(row)).replace("|", "\\|")
        lines.append(f"| {place} | {label} | {row['settings']} | {' | '.join(cells)} | {note} |")
    lines += ["", "Order of methods under two ways of measuring, Kendall's tau-b:", ""]
    lines += ["| one | other | methods | tau | interval |", "|---|---|---:|---:|---|"]
    for one in results["stability"]:
        tau = "none" if one["tau"] is None else f"{one['tau']:.2f}"
        bounds = "" if one["low"] is None else f"{one['low']:.2f} to {one['high']:.2f}"
        lines.append(f"| {one['one']} | {one['other']} | {one['methods']} | {tau} | {bounds} |")
    notes = [f"- {printable(note)}" for note in results["notes"]]
    write_text(path, "\n".join([*lines, *(["", *notes] if notes else []), ""]))


def shown(row: Mapping[str, Any], name: str) -> str:
    """A measure with its interval, in few signs; `none` where there is no number."""
    ends = ends_of(row, name)
    return value_of(row, name) + (f" ({ends})" if ends else "")


def value_of(row: Mapping[str, Any], name: str) -> str:
    """A measure without its interval."""
    found = row["measures"].get(name)
    if found is None or (name == "time_share" and row["settings"] == "reference"):
        return "none"
    return f"{100 * found['value']:.0f} %" if name == "time_share" else figure(found["value"], 3)


def ends_of(row: Mapping[str, Any], name: str) -> str | None:
    """The interval of a measure; None where it has none."""
    found = row["measures"].get(name)
    return interval(found["low"], found["high"], 2) if found and name != "time_share" else None


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
    if row["deterministic"] and row["settings"] != "reference":
        parts.append("deterministic: its runs from one original are all alike")
    return "; ".join(parts)


def _first_line(reason: str | None) -> str:
    return " ".join((reason or "no reason is known").split())
