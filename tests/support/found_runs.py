"""Run folders with probes, requirements and single images' figures, made up of formulas."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from efface.evaluation.results import Row
from efface.probes.findings import Curve, Finding, Findings, Hit
from efface.runs.requirements import Outcome, summary
from support.report_runs import a_record, described, images_facts, rows_of, write_sealed

COUNTS = {"forget": 40, "retain": 80, "neutral": 40}
ORIGINAL = {"forget": 0.040, "retain": 0.050, "neutral": 0.050}
RETRAINED = {"forget": 0.056, "retain": 0.0505, "neutral": 0.050}
STEPS = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)


def write_run(
    folder: Path,
    unlearned: Mapping[str, float],
    *,
    record: Mapping[str, Any] | None = None,
    findings: Findings | None = None,
    requirements: Sequence[Mapping[str, Any]] | None = None,
    retrained: bool = True,
    original: Mapping[str, float] = ORIGINAL,
) -> Path:
    """A finished run whose models have these mean errors; single images' errors scatter around them alike."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for name, count in COUNTS.items():
        found = rows_of(name, original[name], unlearned[name], RETRAINED[name] if retrained else None)
        rows += [replace(row, n=count) for row in found]
    (folder / "results.json").write_text(json.dumps([asdict(row) for row in rows]))
    reference = {"weights": "9" * 64, "description": described(), "stages": "all"} if retrained else None
    durations = {"training": 100.0}
    facts = a_record(images=images_facts(COUNTS), retrained=reference, durations=durations) | dict(
        record or {}
    )
    if requirements is not None and "requirements" not in facts:
        outcomes = [Outcome(**outcome) for outcome in requirements]
        judged = {
            "words": "Set before the run.",
            "summary": summary(outcomes),
            "outcomes": list(requirements),
        }
        facts["requirements"] = judged
    models = {"original": original, "unlearned": unlearned} | ({"retrained": RETRAINED} if retrained else {})
    write_images(folder, models)
    if findings is not None:
        (folder / "probes.json").write_text(json.dumps(asdict(findings)))
    if requirements is not None:
        (folder / "requirements.json").write_text(json.dumps(list(requirements)))
    write_sealed(folder, facts)
    return folder


def write_images(
    folder: Path, models: Mapping[str, Mapping[str, float]], counts: Mapping[str, int] = COUNTS
) -> None:
    """`per_image.csv`: every image's error is its model's mean times a factor of its own; factors have mean 1."""
    with open(folder / "per_image.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["model", "set", "image", "ssim", "hole_mse"])
        for model, means in models.items():
            for name, count in counts.items():
                draws = np.random.default_rng(list((name + model).encode()))
                hard, own = np.linspace(0.5, 1.5, count), 1 + 0.1 * draws.standard_normal(count)
                factors = hard * own / (hard * own).mean()
                for place, factor in enumerate(factors):
                    id_ = f"{place:04x}{name.encode().hex():0<60}"
                    table.writerow([model, name, id_, 0.8, means[name] * factor])


def judged_figure(
    probe: str, figure: str, values: Mapping[str, float], half: float, **others: Any
) -> list[Finding]:
    """Findings of each model, `half` to both sides, and differences to the retrained model (else the original)."""
    reference: Any = next(name for name in ("retrained", "original") if name in values)
    found = []
    for model, value in values.items():
        beside: dict[str, Any] = {}
        if model != reference:
            apart = value - values[reference]
            ends = {"difference_low": apart - half, "difference_high": apart + half}
            beside = {
                "reference": reference,
                "reference_value": values[reference],
                "difference": apart,
                **ends,
            }
        bounds = {"low": value - half, "high": value + half, "n": 80}
        found.append(Finding(probe, figure, model, value, **(bounds | beside | others)))  # type: ignore[arg-type]
    return found


def some_findings(detectability: float = 0.97, speed: float = 1.0) -> Findings:
    """Detectability, relearning with its curves, and hits of a collateral probe."""
    models: dict[Any, float] = {"original": 0.52, "unlearned": detectability, "retrained": 0.55}
    figures = [
        *judged_figure("detectability", "detectability", models, 0.03, goal="low"),
        *judged_figure(
            "relearning",
            "relearning-steps",
            {"unlearned": 10 / speed, "retrained": 12.0},
            4.0,
            unit="steps",
        ),
        Finding("extraction", "near-copies", "unlearned", None, note="not measurable: one sampler step only"),
    ]
    starts: dict[Any, float] = {"original": 0.04, "unlearned": 0.11, "retrained": 0.056}
    curves = [
        Curve(
            "relearning",
            "forget-error",
            model,
            "steps of fine-tuning",
            STEPS,
            tuple(0.04 + (start - 0.04) * float(np.exp(-step * speed / 8)) for step in STEPS),
        )
        for model, start in starts.items()
    ]
    hits = [
        Hit("collateral", "worst-image", "retain", "image", f"{place:02x}" * 32, 0.2 - place / 100, 0.05)
        for place in range(12)
    ]
    hits.append(Hit("collateral", "worst-class", "neutral", "class", "sea <b>& sky</b>", 0.06, 0.05, 7))
    return Findings(
        tuple(figures), tuple(curves), tuple(hits), ("Fine-tuned at the run's own learning rate",)
    )


def a_requirement(text: str, state: str, **others: Any) -> dict[str, Any]:
    values = {"value": None, "low": None, "high": None, "threshold": 0.05, "words": f"{text} is {state}"}
    return {"requirement": text, "state": state, **(values | others)}
