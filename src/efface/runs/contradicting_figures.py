"""What in the figures of a run contradicts the record, the images' own figures, or itself."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping

from efface.evaluation.results import Row, find, table_of
from efface.evaluation.verdict import verdict_on
from efface.probes.registry import PROBES, contradicting
from efface.runs.requirements import Outcome, Requirement, held_back, of_verdict_alone, summary
from efface.runs.results import read_findings, read_requirements, read_verdict, read_worst
from efface.runs.stated import SETS, Stated, Unanswered
from efface.wording import counted

CLOSE = 1e-9
"""Share by which a figure may differ from the mean of its images, for the order of sums."""


def of_figures(stated: Stated) -> Iterator[str]:
    record, rows = stated.record, stated.rows
    if record.results and len(rows) != record.results.rows:
        yield f"rows of results.json: {len(rows)}; by the record: {record.results.rows}"
    stated.need("results.csv")
    if (stated.run / "results.csv").read_bytes() != table_of(rows).encode("utf-8", "backslashreplace"):
        yield "results.json and results.csv do not hold the same figures"
    values: dict[tuple[str, str, str], float | None] = {
        (row.model, row.set, row.metric): row.value for row in rows
    }
    if len(values) != len(rows):
        yield "results.json has several rows of the same figure"
    for row in rows:
        yield from _figure(stated, row, values)


def _figure(stated: Stated, row: Row, values: Mapping[tuple[str, str, str], float | None]) -> Iterator[str]:
    """What contradicts in one row."""
    record, what = stated.record, f"{row.set} {row.metric} of the {row.model} model"
    measured = {"original"} | ({"retrained"} if record.retrained else set())
    if record.kind == "unlearning" or "unlearned" in record.sources:
        measured |= {"unlearned"}
    if row.model not in measured:
        yield f"{what}: there is no such model"
    if row.n != record.images.count(row.set):
        yield f"{what}: {counted(row.n, 'image')}, and the set has {record.images.count(row.set)}"
    if row.seed != record.seeds.evaluation:
        yield f"{what}: drawn with seed {row.seed}, and the record says {record.seeds.evaluation}"
    if row.reference_value is not None and row.reference is not None:
        beside = values.get((row.reference, row.set, row.metric))
        if beside is not None and not _close(beside, row.reference_value):
            yield f"{what}: the {row.reference} model's figure is {beside:.6g}, not {row.reference_value:.6g}"
    parts = row.value, row.reference_value, row.distance
    if all(part is not None and math.isfinite(part) for part in parts):
        value, other, distance = (part or 0.0 for part in parts)
        if not math.isclose(
            distance, value - other, rel_tol=1e-6, abs_tol=1e-6 * max(abs(value), abs(other))
        ):
            yield f"{what}: its distance is {distance:.6g}, and the figures differ by {value - other:.6g}"
    mean = stated.per_image.mean(row.model, row.set, row.metric)
    if mean is not None and (row.value is None or not _close(mean, row.value)):
        yield f"{what}: the images' mean is {mean:.6g}, the figure {row.value}"


def of_images(stated: Stated) -> Iterator[str]:
    ids = {name: Counter(stated.ids(name)) for name in stated.record.images.sets if name in SETS}
    for (model, name), images in stated.per_image.images.items():
        if Counter(images) != ids.get(name, Counter()):
            yield f"per_image.csv: the images of the {name} set, by the {model} model, are not those of its manifest"
    stated.need("worst.json")
    for worst in read_worst(stated.run):
        if worst.kind != "image":
            continue
        for model, value in (("original", worst.original), ("unlearned", worst.unlearned)):
            of_image = stated.per_image.column(model, worst.set, worst.metric).get(worst.name, [])
            if not any(_close(one, value) for one in of_image):
                yield f"worst.json: {worst.name[:16]}... of the {worst.set} set has no {worst.metric} of {value:.6g}"


def of_requirements(stated: Stated) -> Iterator[str]:
    record = stated.record
    outcomes = record.requirements.outcomes if record.requirements else []
    stated.need("requirements.json")
    if read_requirements(stated.run) != outcomes:
        yield "requirements.json does not hold the outcomes of the record"
    if record.requirements and record.requirements.summary != summary(outcomes):
        yield f"requirements: the outcomes amount to '{summary(outcomes)}', and the record says otherwise"
    for outcome in outcomes:
        yield from _outcome(stated, outcome)


def _outcome(stated: Stated, outcome: Outcome) -> Iterator[str]:
    requirement = Requirement.parse(outcome.requirement, stated.record.model_kind)
    if outcome.threshold != requirement.threshold:
        yield f"{outcome.requirement}: its bound is not {outcome.threshold:g}"
    if requirement.words:
        if outcome != of_verdict_alone(requirement, stated.record.verdict):
            yield f"{outcome.requirement}: it is said to be {outcome.state}, and the verdict says otherwise"
        return
    end = outcome.high if requirement.at_most else outcome.low
    against = requirement.row is None and held_back(requirement, read_findings(stated.run))
    if outcome.state != "not measurable" and (outcome.value is None or end is None):
        yield f"{outcome.requirement}: {outcome.state} without an interval"
    elif end is not None and (outcome.state == "met") != (requirement.kept_by(end) and not against):
        yield f"{outcome.requirement}: {outcome.state}, and its interval ends at {end:.4g}"
    if requirement.row is None:
        finding = read_findings(stated.run).find(requirement.name)
        figure = None if finding is None else finding.value if finding.goal == "above" else finding.difference
    elif requirement.ratio:
        return
    else:
        row = find(stated.rows, "unlearned", requirement.row[0], requirement.row[1].name)
        figure = row.value if row else None
    if outcome.value is not None and (figure is None or not _close(figure, outcome.value)):
        yield f"{outcome.requirement}: no such figure is {outcome.value:.6g}"


def of_verdict(stated: Stated) -> Iterator[str]:
    """The verdict is made anew from the images' own figures, the probes' and the settings."""
    record = stated.record
    stated.need("verdict.json", "per_image.csv", *(["probes.json"] if record.probes else []))
    if read_verdict(stated.run) != record.verdict:
        yield "verdict.json is not the verdict of the record"
    missing = [probe.name for probe in record.probes if probe.name not in PROBES]
    if missing:
        raise Unanswered(f"not installed here: {', '.join(missing)}")
    assert record.evaluation is not None
    table, kind, settings = stated.per_image, record.model_kind, record.evaluation.settings
    ids = {name: table.images[model, name] for model, name in table.arrays}
    probes = contradicting(read_findings(stated.run)) if record.probes else {}
    anew = verdict_on(table.arrays, ids, kind, settings, probes)
    if anew != record.verdict:
        said = [f"'{one.said}'" if one else "none" for one in (anew, record.verdict)]
        yield f"the figures amount to the verdict {said[0]}, and the record says {said[1]}"


def of_probes(stated: Stated) -> Iterator[str]:
    named = [probe.name for probe in stated.record.probes]
    stated.need("probes.json")
    findings = read_findings(stated.run)
    found = {
        *(one.probe for one in findings.figures),
        *(one.probe for one in findings.curves),
        *(one.probe for one in findings.hits),
    }
    if not found <= set(named):
        yield f"probes.json: the record names no probe {', '.join(sorted(found - set(named)))}"
    if not (found or findings.notes):
        yield "probes.json: nothing was found by any probe that the record names"


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=CLOSE, abs_tol=CLOSE)
