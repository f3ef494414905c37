"""Probes and requirements as a part of `unlearn` and `evaluate`: asked after the evaluation, kept one by one, judged."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from efface.errors import InputError
from efface.evaluation.answers import similarity_of
from efface.evaluation.protocol import Evaluation
from efface.evaluation.requirements import Verdict, judge, summary
from efface.evaluation.results import ModelName
from efface.files import sha256_of_file, sha256_of_json, write_json
from efface.generators.base import Generator
from efface.jobs.account import keyed_by_id
from efface.jobs.preparation import Prepared
from efface.probes.base import Probe, Subject
from efface.probes.findings import Curve, Finding, Findings, Hit
from efface.progress import Progress
from efface.runs.config import JudgedConfig
from efface.runs.folder import RunFolder
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
    subject = Subject(
        asked.models,
        prepared.sets,
        prepared.cache,
        prepared.corruption,
        prepared.extractor,
        settings,
        asked.evaluation,
        asked.training,
        prepared.pairs,
        settings.seed,
        progress,
    )
    findings = _findings(asked, subject, run, progress)
    if config.probes:
        keyed = _keyed(findings, keyed_by_id(prepared.sets, run.key))
        write_json(run.path / "probes.json", _writable(keyed.as_dict()))
    if config.require:
        verdicts = judge(
            config.require, asked.evaluation, prepared.sets, findings, settings, advise=not asked.exact
        )
        write_json(run.path / "requirements.json", [verdict.as_dict() for verdict in verdicts])
        progress.log("requirements", **{verdict.requirement: verdict.state for verdict in verdicts})
    return round(time.monotonic() - began, 3)


def judgement_facts(config: JudgedConfig, run: Path) -> dict[str, Any]:
    """What the record tells of probes and requirements; null for what was not asked for."""
    verdicts = read_verdicts(run)
    return {
        "probes": [
            {
                "name": probe.name,
                "question": probe.question,
                "source": probe.source,
                "settings": _without_places(probe.model_dump(mode="json")),
            }
            for probe in config.probes
        ]
        or None,
        "requirements": {
            "words": SET_BEFORE,
            "summary": summary(verdicts),
            "verdicts": [verdict.as_dict() for verdict in verdicts],
        }
        if verdicts
        else None,
        "substitute": config.substitute,
    }


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


def read_verdicts(run: Path) -> list[Verdict]:
    """The verdicts of a run, from `requirements.json`; none where no requirement was set."""
    values = _read(run / "requirements.json")
    return [Verdict(**value) for value in values or []]


def read_findings(run: Path) -> Findings | None:
    """What the probes of a run found, images by keyed id; None where none was asked."""
    values = _read(run / "probes.json")
    return None if values is None else _as_findings(values)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from None


def _findings(asked: Asked, subject: Subject, run: RunFolder, progress: Progress) -> Findings:
    probes, found = asked.config.probes, []
    about = _about(subject) if probes else ""
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
            write_json(place, {"key": key, "findings": _writable(kept.as_dict())})
            progress.log("probe", name=probe.name, seconds=round(time.monotonic() - began, 3))
        found.append(kept)
    return reduce(Findings.join, found, Findings())


def _asked(probe: Probe, subject: Subject) -> Findings:
    """The probe's findings. One that does not fit the model or its images costs its answer, not the run."""
    try:
        return probe.ask(subject)
    except InputError as error:
        return probe.unanswered(subject, "; ".join(error.problems))
    finally:
        for model in subject.models.values():
            model.eval()


def _about(subject: Subject) -> str:
    """A digest of all that a probe's answer follows from, beside its own settings."""
    return sha256_of_json(
        {
            "models": {name: model.weights_digest() for name, model in subject.models.items()},
            "sets": {name: images.digest() for name, images in subject.sets.items()},
            "pairs": dict(subject.pairs) if subject.pairs else None,
            "corruption": str(subject.corruption),
            "extractor": subject.extractor.digest,
            "similarity": similarity_of(subject.settings, subject.extractor).digest,
            "settings": subject.settings.as_dict(),
            "training": subject.training.as_dict(),
            "seed": subject.seed,
        }
    )


def _kept(place: Path, key: str) -> Findings | None:
    try:
        values = json.loads(place.read_text(encoding="utf-8"))
        return _as_findings(values["findings"]) if values["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keyed(findings: Findings, keyed: Mapping[str, str]) -> Findings:
    """The same with images by their keyed ids."""
    hits = (
        replace(hit, name=keyed.get(hit.name, "of no set")) if hit.kind == "image" else hit
        for hit in findings.hits
    )
    return replace(findings, hits=tuple(hits))


def _as_findings(values: Mapping[str, Any]) -> Findings:
    curves = (Curve(**{**one, "x": tuple(one["x"]), "y": tuple(one["y"])}) for one in values["curves"])
    return Findings(
        tuple(Finding(**one) for one in values["figures"]),
        tuple(curves),
        tuple(Hit(**one) for one in values["hits"]),
        tuple(values["notes"]),
    )


def _without_places(value: Any) -> Any:
    """Settings as a record may show them: a file by its digest, another place not at all."""
    if isinstance(value, Mapping):
        return {name: _without_places(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_places(one) for one in value]
    if isinstance(value, str) and Path(value).is_file():
        return f"sha256:{sha256_of_file(Path(value))}"
    return "(a place)" if isinstance(value, str) and "/" in value else value


def _writable(value: Any) -> Any:
    """The same in plain Python, with null for what JSON has no number for."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {name: _writable(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_writable(one) for one in value]
    return None if isinstance(value, float) and not isfinite(value) else value
