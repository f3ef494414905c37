"""The section on probes, the verdict table of requirements, and the table of single images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from efface.evaluation.requirements import State, Verdict, summary
from efface.evaluation.results import MODELS, ModelName
from efface.probes.findings import Finding, Findings, Hit
from efface.probes.registry import PROBES
from efface.reports.canvas import Chart
from efface.reports.charts import line_chart
from efface.reports.run_charts import model_lines
from efface.reports.tables import LISTED, SHORT, Cell, Distance
from efface.reports.verdict import NO_DIFFERENCE
from efface.runs.results import ByImage
from efface.wording import counted, figure, interval, name_of, ratio, signed

SIGNS: dict[State, str] = {"met": "✓", "not met": "✗", "not measurable": "?"}
MOST_IMAGES = 500
BY_IMAGE: dict[str, tuple[str, bool]] = {
    "hole_mse": ("error in the hidden region", True),
    "ssim": ("structural similarity", False),
    "confidence": ("confidence (log-odds of the true class)", False),
}
"""What may stand in the table of single images, best first: in words, and whether values are compared as a ratio."""


@dataclass(frozen=True)
class FigureLine:
    """One figure of a probe: each model's value, and differences to the reference."""

    name: str
    about: str
    note: str | None
    cells: list[Cell]
    differences: list[Distance]


@dataclass(frozen=True)
class HitTable:
    """Images, classes or groups of which a probe found most, in the probe's order: worst first."""

    title: str
    kind: str
    entries: list[dict[str, str]]
    left_out: int


@dataclass(frozen=True)
class ProbeSection:
    """One probe: its question, a table, hits and curves. `reference` is None where nothing was compared."""

    name: str
    question: str
    models: list[ModelName]
    reference: ModelName | None
    lines: list[FigureLine]
    hits: list[HitTable]
    charts: list[Chart]


@dataclass(frozen=True)
class Requirements:
    """The table of requirements, the line over it, and what is advised where one is not met."""

    overall: str
    advice: str | None
    lines: list[dict[str, str | None]]


@dataclass(frozen=True)
class ImageTable:
    """Single forget images, those farthest from the reference first."""

    words: str
    models: list[ModelName]
    reference: ModelName | None
    entries: list[dict[str, str]]
    left_out: int


def requirement_table(verdicts: Sequence[Verdict]) -> Requirements | None:
    """The verdicts in the order in which they were set; None where none was."""
    if not verdicts:
        return None
    overall, _, advice = summary(verdicts).partition(" Advice: ")
    lines = [
        {
            "requirement": verdict.requirement,
            "sign": SIGNS[verdict.state],
            "state": verdict.state,
            "value": None if verdict.value is None else figure(verdict.value),
            # as many digits as the value: rounded bounds may seem to reach the threshold
            "interval": interval(verdict.low, verdict.high, 4),
            "words": verdict.words,
        }
        for verdict in verdicts
    ]
    return Requirements(overall, advice or None, lines)


def probe_sections(found: Findings, asked_as: Mapping[str, str]) -> list[ProbeSection]:
    """A section for each probe, in the order in which they were asked. asked_as: questions by probe, as recorded."""
    asked = dict.fromkeys(one.probe for kind in (found.figures, found.curves, found.hits) for one in kind)
    return [_section(name, place, found, asked_as.get(name)) for place, name in enumerate(asked)]


def image_table(by_image: ByImage) -> ImageTable | None:
    """Forget images one by one; None where no such figures are there."""
    models = [model for model in MODELS if by_image.of(model, "forget")]
    if by_image.metric not in BY_IMAGE or not models:
        return None
    words, is_ratio = BY_IMAGE[by_image.metric]
    values = {model: by_image.of(model, "forget") for model in models}
    reference: ModelName | None = next((name for name in ("retrained", "original") if name in values), None)
    reference = reference if "unlearned" in values else None
    names = list(values[models[0]])
    if reference:
        mine, others = values["unlearned"], values[reference]
        names.sort(key=lambda name: -_apart(mine.get(name), others.get(name), is_ratio))
    entries = []
    for name in names[:MOST_IMAGES]:
        entry = {"name": name[:SHORT] + ("…" if len(name) > SHORT else ""), "full": name}
        entry |= {
            model: figure(values[model][name], 3) if name in values[model] else "none" for model in models
        }
        if reference:
            entry["change"] = _change(values["unlearned"].get(name), values[reference].get(name), is_ratio)
        entries.append(entry)
    return ImageTable(words, models, reference, entries, len(names) - len(entries))


def meaning(found: Finding) -> str:
    """What a difference to the reference says."""
    if found.difference_low is None or found.difference_high is None:
        return "no interval: it may be chance"
    if found.goal == "low":
        if found.difference_low > 0:
            return f"more than the {found.reference} model's"
        if found.difference_high <= 0:
            return f"no more than the {found.reference} model's"
        return NO_DIFFERENCE
    if found.difference_low <= 0 <= found.difference_high:
        return NO_DIFFERENCE
    return f"differs from the {found.reference} model"


def _section(name: str, place: int, found: Findings, question: str | None) -> ProbeSection:
    figures = [one for one in found.figures if one.probe == name]
    known = PROBES.get(name)
    models = [model for model in MODELS if any(one.model == model for one in figures)]
    names = dict.fromkeys(one.figure for one in figures)
    lines = [_line([one for one in figures if one.figure == what], models) for what in names]
    charts = []
    curves = [curve for curve in found.curves if curve.probe == name]
    for number, (what, along) in enumerate(dict.fromkeys((curve.figure, curve.x_name) for curve in curves)):
        drawn = model_lines(curve for curve in curves if (curve.figure, curve.x_name) == (what, along))
        chart = line_chart(f"probe-{place}-{number}", what, name_of(along), name_of(what), drawn)
        charts += [chart] if chart else []
    return ProbeSection(
        name,
        question or (known.question if known else ""),
        models,
        next((one.reference for one in figures if one.reference), None),
        lines,
        _hit_tables([hit for hit in found.hits if hit.probe == name]),
        charts,
    )


def _line(found: Sequence[Finding], models: Sequence[ModelName]) -> FigureLine:
    first = found[0]
    notes = {one.note for one in found}
    shared = notes.pop() if len(notes) == 1 else None
    by_model = {one.model: one for one in found}
    measured = any(one.value is not None for one in found)
    about = [f"Unit: {first.unit}."] if first.unit not in ("", "1") else []
    about += [f"From {counted(first.n, 'image')}."] if first.n else []
    if measured:
        about.append(f"Wanted: {'no more than' if first.goal == 'low' else 'as'} the reference's.")
    return FigureLine(
        first.figure,
        " ".join(about),
        shared,
        [_cell(model, by_model.get(model), shared, measured) for model in models],
        [
            Distance(one.model, signed(one.difference), _ends(one), meaning(one))
            for model in models
            if (one := by_model.get(model)) and one.difference is not None
        ],
    )


def _cell(model: ModelName, found: Finding | None, shared: str | None, measured: bool) -> Cell:
    if found is None:
        return Cell(model, None, None, "not measured" if measured else None)
    value = None if found.value is None else figure(found.value)
    note = found.note if found.note != shared else None
    return Cell(model, value, interval(found.low, found.high), note)


def _ends(found: Finding) -> str | None:
    return interval(found.difference_low, found.difference_high, 2)


def _hit_tables(hits: Sequence[Hit]) -> list[HitTable]:
    tables = []
    for what, set_name, kind in dict.fromkeys((hit.figure, hit.set, hit.kind) for hit in hits):
        mine = [hit for hit in hits if (hit.figure, hit.set, hit.kind) == (what, set_name, kind)]
        title = f"{what}: {set_name} images" + ("" if kind == "image" else f" by {kind}")
        tables.append(HitTable(title, kind, [_hit(hit) for hit in mine[:LISTED]], max(0, len(mine) - LISTED)))
    return tables


def _hit(hit: Hit) -> dict[str, str]:
    shortened = hit.kind == "image" and len(hit.name) > SHORT
    return {
        "name": hit.name[:SHORT] + "…" if shortened else hit.name,
        "full": hit.name,
        "value": figure(hit.value, 3),
        "reference": "none" if hit.reference_value is None else figure(hit.reference_value, 3),
        "n": str(hit.n),
    }


def _apart(value: float | None, other: float | None, is_ratio: bool) -> float:
    if value is None or other is None:
        return -math.inf
    if not is_ratio or value == other:
        return abs(value - other)
    return abs(math.log(value / other)) if value > 0 and other > 0 else math.inf


def _change(value: float | None, other: float | None, is_ratio: bool) -> str:
    if value is None or other is None:
        return "none"
    return ratio(value, other) if is_ratio else signed(value - other)
