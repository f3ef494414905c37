"""The section on probes, the table of requirements, and the table of single images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from efface.reports.canvas import Chart
from efface.reports.charts import line_chart
from efface.reports.run_charts import model_lines
from efface.reports.tables import LISTED, SHORT, Cell, Distance
from efface.reports.verdict import NO_DIFFERENCE
from efface.runs.record import Judgement
from efface.runs.results import MODELS, ByImage, Finding, Findings, Hit, ModelName, State
from efface.runs.words import metrics_by_image
from efface.wording import counted, figure, interval, name_of, ratio, signed

SIGNS: dict[State, str] = {"met": "✓", "not met": "✗", "not measurable": "?"}
MOST_IMAGES = 500
WANTED = {"zero": "as the reference's", "low": "no more than the reference's", "above": "above 0"}


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


def requirement_table(judgement: Judgement | None) -> Requirements | None:
    """The outcomes in the order in which they were set; None where none was."""
    if judgement is None:
        return None
    overall, _, advice = judgement.summary.partition(" Advice: ")
    lines = [
        {
            "requirement": outcome.requirement,
            "sign": SIGNS[outcome.state],
            "state": outcome.state,
            "value": None if outcome.value is None else figure(outcome.value),
            "interval": interval(
                outcome.low, outcome.high, 4, decides=[] if outcome.threshold is None else [outcome.threshold]
            ),
            "words": outcome.words,
        }
        for outcome in judgement.outcomes
    ]
    return Requirements(overall, advice or None, lines)


def probe_sections(findings: Findings, questions: Mapping[str, str]) -> list[ProbeSection]:
    """A section for each probe, in the order in which they were asked. questions: by probe, as recorded."""
    parts = (findings.figures, findings.curves, findings.hits)
    names = dict.fromkeys(finding.probe for part in parts for finding in part)
    return [_section(name, place, findings, questions.get(name, "")) for place, name in enumerate(names)]


def image_table(by_image: ByImage) -> ImageTable | None:
    """Forget images one by one; None where no such figures are there."""
    models = [model for model in MODELS if by_image.of(model, "forget")]
    metric = metrics_by_image().get(by_image.metric)
    if metric is None or not models:
        return None
    is_ratio = bool(metric.yardstick and metric.yardstick.as_ratio)
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
    return ImageTable(metric.phrase, models, reference, entries, len(names) - len(entries))


def meaning(finding: Finding) -> str:
    """What a difference to the reference says."""
    if finding.difference_low is None or finding.difference_high is None:
        return "no interval: it may be chance"
    if finding.goal == "low":
        if finding.difference_low > 0:
            return f"more than the {finding.reference} model's"
        if finding.difference_high <= 0:
            return f"no more than the {finding.reference} model's"
        return NO_DIFFERENCE
    if finding.difference_low <= 0 <= finding.difference_high:
        return NO_DIFFERENCE
    return f"differs from the {finding.reference} model"


def _section(name: str, place: int, findings: Findings, question: str) -> ProbeSection:
    figures = [figure for figure in findings.figures if figure.probe == name]
    curves = [curve for curve in findings.curves if curve.probe == name]
    models = [model for model in MODELS if any(finding.model == model for finding in figures)]
    charts = []
    for number, (what, along) in enumerate(dict.fromkeys((curve.figure, curve.x_name) for curve in curves)):
        lines = model_lines(curve for curve in curves if (curve.figure, curve.x_name) == (what, along))
        chart = line_chart(f"probe-{place}-{number}", what, name_of(along), name_of(what), lines)
        charts += [chart] if chart else []
    return ProbeSection(
        name,
        question,
        models,
        next((finding.reference for finding in figures if finding.reference), None),
        [
            _line([finding for finding in figures if finding.figure == what], models)
            for what in dict.fromkeys(finding.figure for finding in figures)
        ],
        _hit_tables([hit for hit in findings.hits if hit.probe == name]),
        charts,
    )


def _line(findings: Sequence[Finding], models: Sequence[ModelName]) -> FigureLine:
    """findings: one figure, of each model."""
    first = findings[0]
    notes = {finding.note for finding in findings}
    shared = notes.pop() if len(notes) == 1 else None
    by_model = {finding.model: finding for finding in findings}
    measured = any(finding.value is not None for finding in findings)
    about = [f"Unit: {first.unit}."] if first.unit not in ("", "1") else []
    about += [f"From {counted(first.n, 'image')}."] if first.n else []
    if measured:
        about.append(f"Wanted: {WANTED[first.goal]}.")
    differences = [
        Distance(model, signed(finding.difference), _ends(finding), meaning(finding))
        for model in models
        if (finding := by_model.get(model)) and finding.difference is not None
    ]
    cells = [_cell(model, by_model.get(model), shared, measured) for model in models]
    return FigureLine(first.figure, " ".join(about), shared, cells, differences)


def _cell(model: ModelName, finding: Finding | None, shared: str | None, measured: bool) -> Cell:
    if finding is None:
        return Cell(model, None, None, "not measured" if measured else None)
    value = None if finding.value is None else figure(finding.value)
    note = finding.note if finding.note != shared else None
    return Cell(model, value, interval(finding.low, finding.high), note)


def _ends(finding: Finding) -> str | None:
    return interval(finding.difference_low, finding.difference_high, 2)


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
