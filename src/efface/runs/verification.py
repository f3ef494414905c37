"""Verification: the seal and the record of a run held against its files, and each against the other.

Every check ends in one of four ways. *matches*; *differs*; *not checked*, with the reason; *not bound*, with what it is:
nothing in the run says what such a file should hold. What cannot be checked is never said to differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from efface.classifiers import ClassifierSettings, load_classifier
from efface.documents import read_bytes
from efface.errors import EffaceError, InputError
from efface.files import refuse_absent, sha256_of_file
from efface.generators import load_generator, read_model
from efface.metrics.base import ModelKind
from efface.runs.config import deciding_digest
from efface.runs.contradictions import contradictions
from efface.runs.erasing import is_half_written, working_files
from efface.runs.folder import open_run
from efface.runs.record import DeliveredFacts, FurtherFacts, Record, digest_of, parse_record, raw_record
from efface.runs.seal import (
    KEY,
    LOCK,
    PENDING,
    WORK,
    Contents,
    Seal,
    comes_later,
    commitment,
    contents,
    leaves_the_run,
    parse_seal,
    raw_seal,
)
from efface.runs.seal import NAME as SEAL
from efface.runs.signature import SUFFIX, check_public_key, checked
from efface.runs.stated import Stated, Unanswered
from efface.runs.statement import NAME as STATEMENT
from efface.runs.statement import fault_of
from efface.weights import stored_digest
from efface.wording import counted, moment, several

CONFIG, RECORD, PICTURES = "config.yaml", "record.json", "pictures.html"
NAMES = {"model": "original"}
"""How a model is called whose config entry says something else."""

KEPT_APART = (CONFIG, PICTURES)
"""Files that an operator may keep elsewhere, because they name places or show images; `run.key` is one more."""

MOST_KEY = 1 << 10
STOPPED = "a command was stopped while it wrote files of this run: `efface purge` of the run clears that up"
NOT_LISTED = "it is not in the seal: it was laid here afterwards"
MEANING = (
    "What matches is as it was when the run was sealed. That does not show who sealed it, nor that the operator ran "
    "what the record says."
)
UNSIGNED = "No signature was checked."
SIGNED = "What the signature covers was signed with the key that was shown: {}."

Outcome = Literal["matches", "differs", "not checked", "not bound"]


@dataclass(frozen=True)
class Check:
    """One thing that was to be checked, how that ended, and why."""

    what: str
    outcome: Outcome
    detail: str = ""

    @property
    def passed(self) -> bool:
        return self.outcome != "differs"


def verify(
    run: Path, source_model: bool = True, key: Path | None = None, public_key: Path | None = None
) -> list[Check]:
    """Hold the seal and the record of a run against its files; raises `InputError` if there is no run that can be read.

    The original and the reference model are read again where the config says they lie, unless `source_model` is False.
    key: where `run.key` lies, if it was taken out of the run's folder. public_key: the signer's, by which signatures in
    the run are checked; there has to be one then. No link is followed.
    """
    verification = _Verification(Path(run), source_model, key, public_key)
    if public_key is not None:
        check_public_key(public_key)
        if not any(name.endswith(SUFFIX) and comes_later(name) for name in verification.there.files):
            raise InputError(
                f"no *{SUFFIX} lies in {run} or its model: there is nothing that a public key can check"
            )
    return list(verification.checks())


def summary(checks: list[Check], meaning: str = MEANING) -> str:
    """What the checks amount to, in a few sentences. meaning: what a match shows, and what it does not."""
    by_outcome = {
        outcome: [check.what for check in checks if check.outcome == outcome]
        for outcome in ("differs", "not checked", "not bound")
    }
    said = [
        f"{len(names)} of {counted(len(checks), 'check')} {words}: {several(names)}."
        for outcome, words in (
            ("differs", "differ" if len(by_outcome["differs"]) > 1 else "differs"),
            ("not checked", "could not be made"),
            ("not bound", "say nothing, for no digest names the file"),
        )
        if (names := by_outcome[outcome])
    ]
    signed = [check.what for check in checks if check.what.endswith(SUFFIX) and check.outcome == "matches"]
    of_signatures = SIGNED.format(several(signed)) if signed else UNSIGNED
    return " ".join([*(said or [f"All {len(checks)} checks match."]), meaning, of_signatures])


class _Verification:
    """One verification of one run."""

    def __init__(self, run: Path, source_model: bool, key: Path | None, public_key: Path | None) -> None:
        self.run, self.source_model, self.shown_key, self.public_key = run, source_model, key, public_key
        self.about: list[Check] = []
        self.known_key: bytes | None = None
        self._known: dict[str, list[Check]] = {}
        refuse_absent(run)
        if not any((run / name).is_file() for name in (RECORD, SEAL)):
            raise InputError(f"{run} is no finished run: it holds no {RECORD} and no {SEAL}")
        self.record, self.seal = self._record(), self._seal()
        if self.record is None and self.seal is None:
            raise InputError(*(f"{check.what}: {check.detail}" for check in self.about))

    def checks(self) -> Iterator[Check]:
        yield from self.about
        yield self._key()
        yield from self._files()
        if self.record is not None:
            yield self.of_config
            yield from self._models(self.record)
            yield self._working_files(self.record)
            yield from self._contradictions(self.record)

    @cached_property
    def there(self) -> Contents:
        return contents(self.run)

    @cached_property
    def listed(self) -> dict[str, set[str]]:
        """The digests that seal and record state of each file, by name."""
        found: dict[str, set[str]] = {}
        sealed = self.seal.files if self.seal else {}
        for lists in (sealed, self._recorded):
            for name, digest in lists.items():
                found.setdefault(name, set()).add(digest)
        return found

    @cached_property
    def _recorded(self) -> dict[str, str]:
        """The files of which the record states a digest."""
        record = self.record
        if record is None:
            return {}
        after = record.model.after
        return {
            **{f"model/{name}": digest for name, digest in (after.files if after else {}).items()},
            **{
                f"path/{model}/{name}": digest
                for model, facts in record.model.path.items()
                for name, digest in facts.files.items()
            },
            **{f"manifests/{name}.jsonl": facts.sha256 for name, facts in record.images.sets.items()},
            **(record.results.files if record.results else {}),
        }

    def _record(self) -> Record | None:
        try:
            values = raw_record(self.run)
            self.about.append(_compared(f"{RECORD} itself", values.get("digest"), digest_of(values)))
            return parse_record(self.run, values)
        except InputError as error:
            # of an edited record nothing can be relied on, not even that it has the parts that other checks read
            self.about.append(Check(f"what {RECORD} says", "differs", "; ".join(error.problems)))
            return None

    def _seal(self) -> Seal | None:
        try:
            values = raw_seal(self.run)
            self.about.append(_compared(f"{SEAL} itself", values.get("digest"), digest_of(values)))
            return parse_seal(self.run, values)
        except InputError as error:
            self.about.append(Check(f"what {SEAL} says", "differs", "; ".join(error.problems)))
            return None

    def _key(self) -> Check:
        path = self.shown_key or self.there.files.get(KEY)
        if self.seal is None:
            return Check(KEY, "not checked", f"no {SEAL} says which key it was")
        if path is None:
            outcome: Outcome = "differs" if KEY in self.there.odd else "not checked"
            why = self.there.odd.get(KEY, "it is not in this folder; show it with --key FILE")
            return Check(KEY, outcome, why)
        try:
            data = read_bytes(path, MOST_KEY, "the key")
        except InputError as error:
            if self.shown_key:
                raise
            return Check(KEY, "not checked", str(error))
        try:
            key = bytes.fromhex(data.decode("ascii").strip())
        except ValueError:
            return Check(KEY, "differs", "it holds no key")
        compared = _compared(KEY, self.seal.key, commitment(key))
        self.known_key = key if compared.outcome == "matches" else None
        return compared

    def _files(self) -> Iterator[Check]:
        if any(name.startswith(f"{PENDING}/") for name in self.there.files):
            yield Check(f"{PENDING}/", "differs", STOPPED)
        for name in sorted({*self.listed, *self.there.files, *self.there.odd}):
            spoken_of = (
                name == KEY
                or name.startswith((WORK, f"{PENDING}/"))
                or (name == SEAL and name not in self.there.odd)
            )
            if not spoken_of:
                yield from self._checked(name)

    def _checked(self, name: str) -> list[Check]:
        """What is to be said of a file; it is read once."""
        if name not in self._known:
            self._known[name] = list(self._file(name))
        return self._known[name]

    def _file(self, name: str) -> Iterator[Check]:
        digests, path = self.listed.get(name, set()), self.there.files.get(name)
        if name in self.there.odd:
            yield Check(name, "differs", self.there.odd[name])
        elif digests and leaves_the_run(name):
            yield Check(name, "differs", "a name that leaves the run's folder; nothing was read there")
        elif name == LOCK and not digests:
            if path and path.stat().st_size:
                yield Check(name, "differs", "the file of the lock is not empty")
        elif not digests:
            yield self._unlisted(name)
        elif path is None:
            yield self._absent(name)
        elif self.seal and name not in self.seal.files:
            yield Check(name, "differs", f"{RECORD} lists it and {SEAL} does not")
        else:
            yield self._by_digest(name, path, digests)

    def _unlisted(self, name: str) -> Check:
        if is_half_written(name):
            return Check(name, "differs", STOPPED)
        what = comes_later(name)
        if self.seal is None:
            what = f"no {SEAL} lists what belongs here"
        elif what and name.endswith(SUFFIX):
            return Check(name, *checked(self.run / name, self.run, self.public_key))
        elif name == STATEMENT:
            return self._statement()
        return Check(name, "not bound", what) if what else Check(name, "differs", NOT_LISTED)

    def _statement(self) -> Check:
        try:
            fault = fault_of(self.run)
        except InputError as error:
            return Check(STATEMENT, "not checked", str(error))
        return Check(STATEMENT, "differs", fault) if fault else Check(STATEMENT, "matches")

    def _absent(self, name: str) -> Check:
        if name in KEPT_APART:
            return Check(name, "not checked", "it is not in this folder")
        folder = next((place for place in self._folders_of_models if name.startswith(place)), None)
        if folder and not any(other.startswith(folder) for other in self.there.files):
            return Check(name, "not checked", f"{folder} is not in this folder")
        return Check(name, "differs", "the file is gone")

    @property
    def _folders_of_models(self) -> list[str]:
        """`model/`, and each folder of a further model."""
        return ["model/", *(f"path/{name}/" for name in (self.record.model.path if self.record else ()))]

    def _by_digest(self, name: str, path: Path, digests: set[str]) -> Check:
        if len(digests) > 1:
            return Check(name, "differs", f"{RECORD} and {SEAL} state different digests of it")
        try:
            check = _compared(name, min(digests), sha256_of_file(path))
        except OSError as error:
            return Check(name, "not checked", f"it cannot be read: {error.strerror}")
        renewals = [one for one in self.seal.renewals if name in one.files] if self.seal else []
        if renewals and check.outcome == "matches":
            last = renewals[-1]
            detail = f"written anew by `{last.by}` of version {last.version} on {moment(last.at)}"
            return Check(name, "matches", detail)
        return check

    @cached_property
    def of_config(self) -> Check:
        """Whether the settings that decide the result are those of the record."""
        assert self.record is not None
        what = f"settings in {CONFIG}"
        if self._config_purged:
            return Check(what, "not checked", "they were replaced by `efface purge --config`")
        if CONFIG not in self.there.files:
            return Check(what, "not checked", f"{CONFIG} is not in this folder")
        try:
            return _compared(what, self.record.config.sha256, deciding_digest(open_run(self.run)))
        except InputError as error:
            return Check(what, "differs", "; ".join(error.problems))

    @cached_property
    def config(self) -> dict[str, JsonValue] | None:
        """The settings of the run; None where they are not there, or others."""
        return open_run(self.run) if self.of_config.outcome == "matches" else None

    @property
    def _config_purged(self) -> bool:
        return any(CONFIG in one.files for one in (self.seal.renewals if self.seal else ()))

    def _models(self, record: Record) -> Iterator[Check]:
        after, kind = record.model.after, record.model_kind
        if after:
            yield self._delivered("model", after, kind)
        for name, facts in record.model.path.items():
            yield self._delivered(f"path/{name}", facts, kind)
        known = (record.model.before, record.model.base, after, record.retrained)
        tensors = {one.weights: one.tensors for one in known if one}
        if self.source_model:
            for name, weights in record.sources.items():
                what = f"weights of the {NAMES.get(name, name)} model"
                if self.config is None:
                    yield Check(what, "not checked", f"no {CONFIG} of this run says where it lies")
                elif not _lies_there(self.config.get(name)):
                    yield Check(what, "not checked", f"it is no longer where {CONFIG} says")
                else:
                    yield compare_weights(what, self.config.get(name), weights, tensors.get(weights), kind)

    def _delivered(self, folder: str, facts: DeliveredFacts | FurtherFacts, kind: ModelKind) -> Check:
        """The weights in a folder of the run, read as a model; only where all its files are those of the run."""
        what, inside = f"weights in {folder}/", f"{folder}/"
        names = {
            name
            for name in (*self.listed, *self.there.files, *self.there.odd)
            if name.startswith(inside) and not comes_later(name)
        }
        outcomes = {check.outcome for name in names for check in self._checked(name)}
        if folder in self.there.odd or "differs" in outcomes or not names:
            return Check(what, "not checked", "its files are not those of the run")
        if "not checked" in outcomes:
            return Check(what, "not checked", f"{inside} is not in this folder")
        return compare_weights(what, {"path": str(self.run / folder)}, facts.weights, facts.tensors, kind)

    def _working_files(self, record: Record) -> Check:
        what, left = "working files", working_files(self.run)
        if not left:
            return Check(what, "matches", "none are left")
        if set(left) <= set(record.working_files.kept):
            return Check(what, "not bound", f"{len(left)} kept on request, as recorded")
        return Check(
            what, "differs", f"{len(left)} are left that the record does not speak of: run `efface purge`"
        )

    def _contradictions(self, record: Record) -> Iterator[Check]:
        stated = Stated(self.run, record, self.seal, self.config, self._is_intact, self.known_key)
        for what, answer in contradictions(stated):
            if isinstance(answer, Unanswered):
                yield Check(what, "not checked", str(answer))
            else:
                yield Check(what, "differs" if answer else "matches", "; ".join(answer))

    def _is_intact(self, name: str) -> bool:
        return {check.outcome for check in self._checked(name)} == {"matches"}


def _compared(what: str, recorded: JsonValue, found: str) -> Check:
    if recorded == found:
        return Check(what, "matches")
    return Check(what, "differs", f"recorded {str(recorded)[:16]}..., found {found[:16]}...")


def _lies_there(model: JsonValue) -> bool:
    return isinstance(model, Mapping) and Path(str(model.get("path"))).exists()


def compare_weights(what: str, model: JsonValue, weights: str, tensors: str | None, kind: ModelKind) -> Check:
    """The digest of a model as its family opens it; where that cannot be, its tensors as they lie there, without names."""
    assert isinstance(model, Mapping)
    try:
        if model.get("network") is not None:
            raise InputError("its network is built by code, which verification does not run")
        if kind == "classifier":
            found = load_classifier(ClassifierSettings.read(model)).weights_digest()
        else:
            found = load_generator(read_model(model)).weights_digest()
    except (EffaceError, OSError, ImportError) as error:
        why = f"it cannot be opened here: {error}"
        if tensors and stored_digest(Path(str(model.get("path")))) == tensors:
            return Check(what, "matches", f"its tensors, without their names: {why}")
        return Check(what, "not checked", why)
    return _compared(what, weights, found)
