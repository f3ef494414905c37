"""The tables of a benchmark of generators: what stands in each cell, `results.csv` and `results.md`."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from efface.benchmark.generators.table import BY_SET, MEASURES
from efface.benchmark.stability import Agreement, agreement
from efface.evaluation.results import SETS
from efface.files import write_text
from efface.reports.benchmark_tables import figures
from efface.wording import counted, name_of, printable

Results = Mapping[str, Any]
Row = Mapping[str, Any]
NAMES: Mapping[str, str] = {
    "robust": "F robust",
    "official": "F official (grid-dependent)",
    "forget_ratio": "forget error / retrained's",
    "forget_gap": "forget gap (log)",
    "retain_cost": "retain error / original's",
    "neutral_cost": "neutral error / original's",
    "detectability": "detectability, AUC − retrained's",
    "relearning_retain": "relearning from retain images",
    "relearning_few": "relearning from a few forget images",
    "seconds_share": "time / retraining",
    "hole_mse": "hole error",
    "ssim": "SSIM",
    "feature_cosine": "feature cosine",
    "frechet_distance": "Fréchet distance",
    "kernel_distance": "kernel distance",
}
FORGETTING = (
    "robust", "official", "forget_ratio", "forget_gap", "detectability", "relearning_retain", "relearning_few",
)  # fmt: skip
COSTS = ("retain_cost", "neutral_cost", "seconds_share")
ERRORS = ("hole_mse",)
LIKE_RETRAINED = "as retrained"
CLOSE_TO_ZERO = 1e-12
"""Means of differences that cancel leave rounding, which is no figure."""
NONE = "none"
TAU_NAMES = ("rank by robust F", "rank by |forget gap|")


@dataclass(frozen=True)
class Column:
    """A column: the measure, its heading, and the goal of its figures."""

    name: str
    heading: str
    goal: str


@dataclass(frozen=True)
class TableOf:
    """One table: its heading, its columns and its lines, each the number and label of a row, and cells (value, bounds)."""

    title: str
    columns: list[Column]
    lines: list[tuple[str, str, list[tuple[str, str | None]]]]


def write_csv(results: Results, path: Path) -> None:
    """A line for each figure: of which task, corruption, row and set, its mean, its interval and each seed's value."""
    seeds = [f"seed_{seed}" for seed in range(results["models"])]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["task", "corruption", "row", "measure", "set", "mean", "low", "high", *seeds])
    for task, found in results["tasks"].items():
        for corruption in found["corruptions"]:
            for row in found["rows"]:
                place = (task, corruption, row["label"])
                for name, one in row["measures"].get(corruption, {}).items():
                    measure, of_set = _with_set(name)
                    writer.writerow(
                        [*place, measure, of_set, one["value"], one["low"], one["high"], *one["each"]]
                    )
                if corruption == found["corruptions"][0]:
                    writer.writerows([*place, *line] for line in _score_lines(row, found))
                if row["failed"]:
                    writer.writerow([*place, "failed runs", "", row["failed"], "", ""])
    write_text(path, text.getvalue())


def write_markdown(results: Results, path: Path) -> None:
    """The tables for a document, with what they must be read beside."""
    lines = ["# Unlearning generators", "", reading(results)]
    for task, found in results["tasks"].items():
        for corruption in found["corruptions"]:
            lines += ["", f"## {_cell(task)}: {_cell(corruption)}", "", strength(found, corruption)]
            if levels := levels_of(found, corruption):
                lines += ["", *(f"- {one}" for one in levels)]
            if found_tau := gap_agreement(results, found, corruption):
                lines += ["", in_words(found_tau)]
            for table in tables_of(results, task, corruption):
                headings = [one.heading for one in table.columns]
                lines += ["", f"**{table.title}**", ""]
                lines += [
                    f"| # | row | {' | '.join(headings)} |",
                    "|---|---|" + "---:|" * len(headings),
                    f"| | *goal* | {' | '.join(one.goal for one in table.columns)} |",
                ]
                for place, label, cells in table.lines:
                    shown = " | ".join(value + (f" ({ends})" if ends else "") for value, ends in cells)
                    lines.append(f"| {place} | {_cell(label)} | {shown} |")
            lines += ["", *(f"- {printable(one)}" for one in remarks(found))] if remarks(found) else []
        lines += ["", *(f"- {printable(note)}" for note in found["notes"])] if found["notes"] else []
    write_text(path, "\n".join([*lines, ""]))


def reading(results: Results) -> str:
    """What every figure is, in a sentence."""
    return (
        f"Every figure is a mean over {results['models']} seeds: an original, a model retrained without the forget images, "
        f"and for each method a model unlearned from that original; bounds are Student's "
        f"{100 * results['confidence']:g} % over seeds, on these images."
    )


def strength(found: Mapping[str, Any], corruption: str) -> str:
    """Whether the models restore well enough for a study of what they forget."""
    fills = found["fills"].get(corruption) or {}
    error = found["rows"][0]["measures"].get(corruption, {}).get("hole_mse_neutral")
    if not fills or error is None:
        return (
            "Whether these models restore anything is not known: there are no neutral images, or the corruption hides "
            "nothing that could be filled."
        )
    value, ends = figures(error)
    filled = ", ".join(
        f"with the {name} {figures({**error, 'value': one})[0]}" for name, one in fills.items()
    )
    said = (
        f"Hole error of the originals on neutral images {value} ({ends}); filled without a model, {filled}."
    )
    if found["void"][corruption]:
        return (
            f"This study is void. {said} A model that is not 20 % better than every fill has learnt nothing that could be "
            "forgotten, and the figures below are about noise."
        )
    return f"{said} They are at least 20 % better than every fill, as a study needs."


def tables_of(results: Results, task: str, corruption: str) -> list[TableOf]:
    """Of one task and corruption: forgetting, its price, and quality by set. What no row has a figure of has no column."""
    found = results["tasks"][task]
    settings = results["config"]["tasks"][task]["evaluation"]
    with_sets = {measure: [f"{measure}_{name}" for name in SETS] for measure in BY_SET}
    price = [*COSTS, *(name for measure in ERRORS for name in with_sets[measure])]
    quality = [name for measure in BY_SET if measure not in ERRORS for name in with_sets[measure]]
    made = []
    for title, names in (
        ("Forgetting", FORGETTING),
        ("What it cost", price),
        ("Quality of what is restored", quality),
    ):
        kept = [
            name
            for name in names
            if any(_estimate(row, name, found, corruption) for row in found["rows"] if row["measures"])
        ]
        if kept:
            columns = [Column(name, _heading(name, settings), _goal(name)) for name in kept]
            lines = [
                (place, row["label"], [cell(row, name, found, corruption) for name in kept])
                for place, row in numbered(found["rows"])
            ]
            made.append(TableOf(title, columns, lines))
    return made


def numbered(rows: Sequence[Row]) -> Iterator[tuple[str, Row]]:
    """Rows with their numbers, which charts show; references and rows without figures have none."""
    place = 0
    for row in rows:
        has_number = row["kind"] == "method" and bool(row["measures"])
        place += has_number
        yield str(place) if has_number else "", row


def cell(row: Row, name: str, found: Mapping[str, Any], corruption: str) -> tuple[str, str | None]:
    """A figure and its bounds, in few signs; `none` where there is no number."""
    estimate = _estimate(row, name, found, corruption)
    if estimate is None or (name == "seconds_share" and row["kind"] != "method"):
        return NONE, None
    value, ends = figures({end: _rounded(estimate[end]) for end in ("value", "low", "high")})
    if row["kind"] == "retrained" and name in ("robust", "official"):
        return value, f"ceiling, {ends}"
    return value, ends


def levels_of(found: Mapping[str, Any], corruption: str) -> list[str]:
    """What each F of a table is read between; empty where there is no score."""
    scores = _scores(found)
    if corruption != found["corruptions"][0]:
        return []
    said = []
    for mode in ("robust", "official"):
        if mode in scores:
            levels, score = scores[mode]["levels"], scores[mode]
            parts = [
                f"{name_of(name).replace('do ', 'doing ')} {value}"
                + (f" ({ends})" if name != "floor" else "")
                for name in ("ceiling", "floor", "do_nothing")
                if levels[name]
                for value, ends in [figures(levels[name])]
            ]
            label = " (depends on a grid of thresholds; for comparison alone)" if mode == "official" else ""
            warned = (
                ""
                if score["measurable"]
                else " Floor and ceiling overlap: not measurable with so few models."
            )
            said.append(f"F {mode}{label}: {', '.join(parts)}.{warned}")
    return said


def gap_agreement(results: Results, found: Mapping[str, Any], corruption: str) -> Agreement | None:
    """How far robust F and the distance of the simple gap from 0 order methods alike; None without a score."""
    rows = [row for row in found["rows"] if row["kind"] == "method" and row["measures"] and row["scores"]]
    if not rows or corruption != found["corruptions"][0]:
        return None
    scores = {row["label"]: float(row["scores"]["robust"]["score"]) for row in rows}
    gaps = {row["label"]: -abs(row["measures"][corruption]["forget_gap"]["value"]) for row in rows}
    return agreement(
        TAU_NAMES, scores, gaps, confidence=results["confidence"], seed=int(results["config"]["seed"])
    )


def in_words(found: Agreement) -> str:
    """The agreement with the simple gap as a sentence."""
    if found.tau is None or found.low is None or found.high is None:
        return f"Agreement with the simple gap: not measurable, {found.methods} methods have both an F and a gap."
    tau, low, high = (f"{one:.2f}".replace("-", "−") for one in (found.tau, found.low, found.high))
    return (
        f"Agreement with the simple gap: Kendall's tau-b between the order by robust F and the order by |forget gap| is "
        f"{tau} ({low} to {high} over {found.methods} methods); 1 is the same order, 0 no agreement, −1 the reverse."
    )


def remarks(found: Mapping[str, Any]) -> list[str]:
    """What a reader must know of rows that cannot be had."""
    return [
        f"{row['label']}: {counted(row['failed'], 'run')} cannot be had: {' '.join(str(row['reason']).split())}. "
        "--retry-failed tries again."
        for row in found["rows"]
        if row["failed"]
    ]


def _estimate(row: Row, name: str, found: Mapping[str, Any], corruption: str) -> dict[str, Any] | None:
    if name not in ("robust", "official"):
        estimate: dict[str, Any] | None = row["measures"].get(corruption, {}).get(name)
        return estimate
    # retrained models have no score of their own: what they get against each other is the ceiling of every row
    own = row["kind"] != "retrained"
    score = row["scores"].get(name) if own else _scores(found).get(name)
    if score is None or corruption != found["corruptions"][0]:
        return None
    if not own:
        return dict(score["levels"]["ceiling"])
    return {"value": score["score"], "low": score["interval"][0], "high": score["interval"][1]}


def _scores(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """The scores of the first row that has any: ceiling, floor and doing nothing are the same in all."""
    return next((row["scores"] for row in found["rows"] if row["scores"]), {})


def _score_lines(row: Row, found: Mapping[str, Any]) -> Iterator[list[Any]]:
    own = row["kind"] != "retrained"
    for mode, score in (row["scores"] if own else _scores(found)).items():
        if own:
            yield [f"F {mode}", "forget", score["score"], *score["interval"]]
        else:
            for name in ("ceiling", "floor", "do_nothing"):
                level = score["levels"][name]
                if level:
                    ends = (level["low"], level["high"])
                    yield [f"F {mode}, {name_of(name)}", "forget", level["value"], *ends]


def _with_set(name: str) -> tuple[str, str]:
    """The measure, and the set that it is of."""
    for of_set in SETS:
        if name.endswith(f"_{of_set}") and name not in MEASURES:
            return name.removesuffix(f"_{of_set}"), of_set
        if name.startswith(f"{of_set}_"):
            return name, of_set
    return name, "" if name == "seconds_share" else "forget"


def _heading(name: str, settings: Mapping[str, Any]) -> str:
    extractor = str(settings["extractor"])
    similarity = str(settings.get("similarity") or extractor)
    measure, of_set = _with_set(name)
    if measure in MEASURES or measure in ("robust", "official"):
        return NAMES.get(measure, name_of(measure))
    heading = NAMES.get(measure, name_of(measure))
    if measure == "feature_cosine" and similarity.partition(":")[0] == "clip":
        heading = "CLIP cosine"
    if measure == "frechet_distance" and extractor.partition(":")[0] == "inception":
        heading = "FID"
    return f"{heading}, {of_set}"


def _goal(name: str) -> str:
    measure, of_set = _with_set(name)
    if name in ("robust", "official"):
        return "up, to the ceiling"
    if name in MEASURES:
        about = MEASURES[name]
        return about.rpartition(": ")[2] if ": " in about else "down"
    return LIKE_RETRAINED if of_set == "forget" else BY_SET[measure].rpartition(": ")[2]


def _rounded(value: float | None) -> float | None:
    return 0.0 if value is not None and math.isfinite(value) and abs(value) < CLOSE_TO_ZERO else value


def _cell(text: str) -> str:
    return printable(text).replace("|", "\\|")
