"""Probes, requirements and the verdict as a part of `unlearn` and `evaluate`, after the evaluation."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial, reduce
from pathlib import Path
from typing import Any

from efface.documents import read_object
from efface.errors import InputError
from efface.evaluation.results import SetName
from efface.evaluation.verdict import verdict_on
from efface.files import sha256_of_json, write_json
from efface.images.items import ImageSet
from efface.jobs.facts import keyed_by_id, without_places
from efface.jobs.operations import Start
from efface.probes.base import Probe
from efface.probes.findings import Findings
from efface.probes.registry import contradicting
from efface.probes.subject import AnySubject
from efface.runs.config import JobConfig, MeasuredConfig
from efface.runs.people import keyed_word
from efface.runs.record import SET_BEFORE, Judgement, ProbeFacts
from efface.runs.requirements import judge, summary
from efface.runs.results import (
    findings_of,
    plain_findings,
    read_requirements,
    write_findings,
    write_requirements,
    write_verdict,
)
from efface.sharing import of_the_first

ALONE = "it trains, and this run has several processes: ask it afterwards with efface evaluate, in one"


def judge_models(start: Start, subject: AnySubject, sets: Mapping[SetName, ImageSet]) -> float | None:
    """Run the probes and judge the requirements that the config asks for, and give the verdict; write `probes.json`,
    `requirements.json`, `verdict.json`.

    Each finished probe is kept in the run's working folder, so that a killed run does not ask it a second time. Returns
    the seconds that it took; None where nothing was asked for.
    """
    config, run = start.config, start.run
    began = time.monotonic()
    findings = _findings(start, subject)
    first = start.processes.first
    if config.probes and first:
        write_findings(run.path, _keyed(findings, keyed_by_id(sets, run.key), run.key))
    verdict = verdict_on(
        subject.evaluation.per_image,
        {name: images.ids for name, images in subject.sets.items()},
        subject.kind,
        subject.settings,
        contradicting(findings),
    )
    if verdict is not None:
        if first:
            write_verdict(run.path, verdict)
        start.progress.log("verdict", word=verdict.word, specific=verdict.specific.word)
    if config.require:
        # the advice to retrain is out of place for a model that was retrained
        exact = config.verb == "unlearn" and config.method.claim == "exact"
        outcomes = judge(
            config.require,
            subject.kind,
            subject.evaluation,
            subject.sets,
            findings,
            subject.settings,
            verdict=verdict,
            advise=not exact,
        )
        if first:
            write_requirements(run.path, outcomes)
        start.progress.log("requirements", **{outcome.requirement: outcome.state for outcome in outcomes})
    return round(time.monotonic() - began, 3) if config.probes or config.require else None


def probe_facts(probes: Iterable[Probe]) -> list[ProbeFacts]:
    """What the record tells of the probes that were asked."""
    return [
        ProbeFacts(
            name=probe.name,
            question=probe.question,
            source=probe.source,
            settings=without_places(probe.model_dump(mode="json")),
        )
        for probe in probes
    ]


def judgement(run: Path) -> Judgement | None:
    """What the record tells of the requirements; None where none was set."""
    outcomes = read_requirements(run)
    return Judgement(words=SET_BEFORE, summary=summary(outcomes), outcomes=outcomes) if outcomes else None


def reference_notes(config: JobConfig, retrained: bool) -> list[str]:
    """What stands in the place of a missing retrained model, and what then stays unmeasurable."""
    if retrained or not isinstance(config, MeasuredConfig):
        return []
    if not (config.probes or config.require or config.substitute):
        return []
    declared = (
        f"Declared in place of a retrained model: {config.substitute.strip().removesuffix('.')}."
        if config.substitute
        else "No retrained model and no substitute reference was given: probes compare with the original model."
    )
    return [
        f"{declared} Not measurable without a retrained model: whether forgotten images are treated as by a model that "
        "never saw them (forget figures as ratios, and the differences of probes)."
    ]


def _findings(start: Start, subject: AnySubject) -> Findings:
    probes, findings = start.config.probes, []
    about = subject.digest() if probes else ""
    for number, probe in enumerate(probes, 1):
        if probe.cost == "training" and start.processes.count > 1:
            findings.append(probe.unanswered(subject, ALONE))
            continue
        key = sha256_of_json([about, probe.name, probe.model_dump(mode="json")])
        place = start.run.work / "probes" / f"{probe.name}.json"
        answer = of_the_first(partial(_kept, place, key))
        if answer is None:
            start.progress.say(f"probe {number} of {len(probes)}: {probe.name}")
            began = time.monotonic()
            answer = _answer(probe, subject)
            plain = plain_findings(answer)
            if start.processes.first:
                write_json(place, {"key": key, "check": sha256_of_json(plain), "findings": plain})
            start.progress.log("probe", name=probe.name, seconds=round(time.monotonic() - began, 3))
        findings.append(answer)
    return reduce(Findings.join, findings, Findings())


def _answer(probe: Probe, subject: AnySubject) -> Findings:
    """The probe's findings. One that does not fit the model or its images costs its answer, not the run."""
    try:
        return probe.ask(subject)
    except InputError as error:
        why = "; ".join(error.problems)
        subject.progress.say(f"{probe.name}: no answer: {why}")
        # what is kept goes into files that are handed out: no place of this machine
        for place in filter(lambda one: "/" in one, _texts(probe.model_dump(mode="json"))):
            why = why.replace(place, "(a place)")
        return probe.unanswered(subject, why)
    finally:
        for model in subject.models.values():
            model.eval()


def _texts(value: Any) -> list[str]:
    """All texts in plain settings."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return [text for part in inner for text in _texts(part)]


def _kept(place: Path, key: str) -> Findings | None:
    try:
        values: Any = read_object(place)
        intact = values["key"] == key and values["check"] == sha256_of_json(values["findings"])
        return findings_of(values["findings"]) if intact else None
    except (AttributeError, InputError, ValueError, KeyError, TypeError):
        return None


def _keyed(findings: Findings, keyed: Mapping[str, str], key: bytes) -> Findings:
    """The same with images by their keyed ids, and classes by keyed words."""
    names = {
        "image": lambda name: keyed.get(name, "of no set"),
        "class": lambda name: keyed_word(key, name, "class"),
    }
    hits = (
        replace(hit, name=names[hit.kind](hit.name)) if hit.kind in names else hit for hit in findings.hits
    )
    return replace(findings, hits=tuple(hits))
