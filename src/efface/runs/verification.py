"""Verification: every digest of a record computed again from the files beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import JsonValue

from efface.classifiers import ClassifierSettings, load_classifier
from efface.errors import EffaceError, InputError
from efface.files import sha256_of_file
from efface.generators import load_generator, read_model
from efface.metrics.base import ModelKind
from efface.runs.config import deciding_digest
from efface.runs.digests import unlisted_results
from efface.runs.folder import open_run, working_files
from efface.runs.record import Record, digest_of, parse_record, raw_record

NAMES = {"model": "original"}
"""How a model is called whose config entry says something else."""

NOT_LISTED = "the file is not in the record"

Outcome = Literal["matches", "differs", "missing", "not checked"]


@dataclass(frozen=True)
class Check:
    """One digest of the record and what was found of it."""

    what: str
    outcome: Outcome
    detail: str = ""

    @property
    def passed(self) -> bool:
        return self.outcome in ("matches", "not checked")


def verify(run: Path, source_model: bool = True) -> list[Check]:
    """Compute every digest of the run's record again; raises `InputError` if there is no record.

    Model files, manifests, results, config and the record itself are checked from the run's folder. The
    original and the reference model are read again where the config says they lie, unless `source_model`
    is False; where they no longer lie there, the check is named `not checked`.
    """
    run = Path(run)
    values = raw_record(run)
    itself = _compared("record.json itself", str(values.get("digest")), digest_of(values))
    try:
        record = parse_record(run, values)
    except InputError as error:
        # of an edited record nothing can be relied on, not even that it has the parts that the other checks read
        return [itself, Check("what the record lists", "differs", "; ".join(error.problems))]
    return [itself, *_checks(run, record, source_model)]


def _checks(run: Path, record: Record, source_model: bool) -> list[Check]:
    config, unreadable = _config(run)
    checks = [unreadable or _compared("config.yaml", record.config.sha256, deciding_digest(config))]
    delivered = record.model.after
    if delivered:
        checks += [
            _file(f"model/{name}", run / "model" / name, digest) for name, digest in delivered.files.items()
        ]
        checks += _unlisted(run / "model", delivered.files)
        checks.append(
            _weights("weights in model/", {"path": str(run / "model")}, delivered.weights, record.model_kind)
        )
    for name, facts in record.images.sets.items():
        checks.append(_file(f"manifests/{name}.jsonl", run / "manifests" / f"{name}.jsonl", facts.sha256))
    for name, digest in record.results.files.items() if record.results else ():
        checks.append(_file(name, run / name, digest))
    checks += [Check(name, "differs", NOT_LISTED) for name in unlisted_results(run, record)]
    if source_model:
        checks += [
            _weights(
                f"weights of the {NAMES.get(name, name)} model", config.get(name), weights, record.model_kind
            )
            for name, weights in record.sources.items()
        ]
    checks.append(_purged(run, record))
    return checks


def _config(run: Path) -> tuple[dict[str, JsonValue], Check | None]:
    try:
        return open_run(run), None
    except InputError as error:
        return {}, Check("config.yaml", "differs", str(error))


def _compared(what: str, recorded: str, found: str) -> Check:
    if recorded == found:
        return Check(what, "matches")
    return Check(what, "differs", f"recorded {recorded[:16]}..., found {found[:16]}...")


def _file(what: str, path: Path, recorded: str) -> Check:
    if not path.is_file():
        return Check(what, "missing", "the file is gone")
    return _compared(what, recorded, sha256_of_file(path))


def _unlisted(folder: Path, listed: Mapping[str, str]) -> Iterator[Check]:
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        name = str(path.relative_to(folder))
        if path.is_file() and name not in listed:
            yield Check(f"model/{name}", "differs", NOT_LISTED)


def _weights(what: str, model: Any, recorded: str, kind: ModelKind) -> Check:
    try:
        if isinstance(model, Mapping) and not Path(str(model.get("path"))).exists():
            return Check(what, "not checked", "the model is no longer where the config says")
        if kind == "classifier":
            found = load_classifier(ClassifierSettings.read(model)).weights_digest()
        else:
            found = load_generator(read_model(model)).weights_digest()
    except EffaceError as error:
        return Check(what, "differs", f"it cannot be read: {error}")
    return _compared(what, recorded, found)


def _purged(run: Path, record: Record) -> Check:
    left = working_files(run)
    if not left:
        return Check("working files", "matches", "none are left")
    if record.working_files.kept:
        return Check("working files", "matches", f"{len(left)} kept on request, as recorded")
    return Check(
        "working files", "differs", f"{len(left)} are left though the record says purged: run `efface purge`"
    )
