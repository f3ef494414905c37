"""Probes and requirements as a part of `unlearn` and `evaluate`: asked after the evaluation, kept one by one, judged."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any, TypedDict

from efface.errors import InputError
from efface.evaluation.protocol import Evaluation
from efface.evaluation.requirements import Verdict, judge, summary
from efface.evaluation.results import ModelName
from efface.files import sha256_of_json, write_json
from efface.generators.base import Generator
from efface.jobs.account import keyed_by_id, without_places
from efface.jobs.preparation import Prepared
from efface.probes.base import Probe
from efface.probes.findings import Findings
from efface.probes.generator_subject import GeneratorSubject
from efface.probes.subject import AnySubject
from efface.progress import Progress
from efface.runs.config import JudgedConfig
from efface.runs.folder import RunFolder
from efface.runs.record import Judgement, ProbeFacts
from efface.runs.results import (
    findings_of,
    plain_findings,
    read_findings,
    read_requirements,
    write_findings,
    write_requirements,
)
from efface.training.settings import TrainingSettings

SET_BEFORE = "The thresholds are part of the config whose digest this record holds: they cannot be changed in this run."
ALONE = "it trains, and this run has several processes: ask it afterwards with efface evaluate, in one"


@dataclass(frozen=True)
class Asked:
    """What a job asks of its models once they are evaluated.

    training: how the unlearned model was trained. exact: whether it was retrained. processes: in which the job runs;
    probes that train need one alone, since only the first process evaluates.
    """

    config: JudgedConfig
    models: Mapping[ModelName, Generator]
    prepared: Prepared
    evaluation: Evaluation
    training: TrainingSettings
    exact: bool = False
    processes: int = 1


def probe_and_judge(asked: Asked, run: RunFolder, settings: Any, progress: Progress) -> float | None:
    """Run the probes and judge the requirements that the config asks for; write `probes.json`, `requirements.json`.

    settings: those of the evaluation. Each finished probe is kept in the run's working folder, so that a killed run
    does not ask again. Returns the seconds that it took; None where nothing was asked for.
    """
    config, prepared = asked.config, asked.prepared
    if not config.probes and not config.require:
        return None
    began = time.monotonic()
    subject = GeneratorSubject(
        models=asked.models,
        sets=prepared.sets,
        cache=prepared.cache,
        corruption=prepared.corruption,
        extractor=prepared.extractor,
        settings=settings,
        evaluation=asked.evaluation,
        training=asked.training,
        pairs=prepared.pairs,
        seed=settings.seed,
        progress=progress,
    )
    findings = _findings(asked, subject, run, progress)
    if config.probes:
        write_findings(run.path, _keyed(findings, keyed_by_id(prepared.sets, run.key)))
    if config.require:
        verdicts = judge(
            config.require,
            subject.kind,
            asked.evaluation,
            prepared.sets,
            findings,
            settings,
            advise=not asked.exact,
        )
        write_requirements(run.path, verdicts)
        progress.log("requirements", **{verdict.requirement: verdict.state for verdict in verdicts})
    return round(time.monotonic() - began, 3)


class Judged(TypedDict):
    """The fields of a record that tell of probes and requirements."""

    probes: list[ProbeFacts]
    requirements: Judgement | None
    substitute: str | None


def judged(config: JudgedConfig, run: Path) -> Judged:
    """What the record tells of probes and requirements."""
    verdicts = read_requirements(run)
    return Judged(
        probes=[
            ProbeFacts(
                name=probe.name,
                question=probe.question,
                source=probe.source,
                settings=without_places(probe.model_dump(mode="json")),
            )
            for probe in config.probes
        ],
        requirements=Judgement(words=SET_BEFORE, summary=summary(verdicts), verdicts=verdicts)
        if verdicts
        else None,
        substitute=config.substitute,
    )


def reference_notes(config: JudgedConfig, retrained: bool) -> list[str]:
    """What stands in the place of a missing retrained model, and what then stays unmeasurable."""
    if retrained or not (config.probes or config.require or config.substitute):
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


def found_in(run: Path) -> tuple[Findings | None, list[Verdict]]:
    """What the probes of a run found, images by keyed id (None where none was asked), and its verdicts."""
    asked = (run / "probes.json").exists()
    return read_findings(run) if asked else None, read_requirements(run)


def _findings(asked: Asked, subject: AnySubject, run: RunFolder, progress: Progress) -> Findings:
    probes, found = asked.config.probes, []
    about = subject.digest() if probes else ""
    for number, probe in enumerate(probes, 1):
        if probe.cost == "training" and asked.processes > 1:
            found.append(probe.unanswered(subject, ALONE))
            continue
        key = sha256_of_json([about, probe.name, probe.model_dump(mode="json")])
        place = run.work / "probes" / f"{probe.name}.json"
        kept = _kept(place, key)
        if kept is None:
            progress.say(f"probe {number} of {len(probes)}: {probe.name}")
            began = time.monotonic()
            kept = _asked(probe, subject)
            write_json(place, {"key": key, "findings": plain_findings(kept)})
            progress.log("probe", name=probe.name, seconds=round(time.monotonic() - began, 3))
        found.append(kept)
    return reduce(Findings.join, found, Findings())


def _asked(probe: Probe, subject: AnySubject) -> Findings:
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
    return [text for one in inner for text in _texts(one)]


def _kept(place: Path, key: str) -> Findings | None:
    try:
        values = json.loads(place.read_text(encoding="utf-8"))
        return findings_of(values["findings"]) if values["key"] == key else None
    except (AttributeError, OSError, ValueError, KeyError, TypeError):
        return None


def _keyed(findings: Findings, keyed: Mapping[str, str]) -> Findings:
    """The same with images by their keyed ids."""
    hits = (
        replace(hit, name=keyed.get(hit.name, "of no set")) if hit.kind == "image" else hit
        for hit in findings.hits
    )
    return replace(findings, hits=tuple(hits))
