"""What was forgotten before: the runs behind the models of a job, with the images that each of them forgot.

A run's forget set stands in its manifest as keyed ids, made with its `run.key`. A training from scratch counts too, with
what was left out of it, and behind it the model that it was made like, or trained on from. Whatever cannot be read is
named: a later request could train it back in.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from efface.errors import InputError
from efface.files import sha256_of_bytes
from efface.images.forgotten import Forgotten, TakenOut
from efface.runs.ancestry import behind, made_by, models_behind, weights_after
from efface.runs.folder import read_key
from efface.runs.record import EarlierFacts, EarlierRequest, Record, is_intact
from efface.runs.seal import commitment, read_seal


@dataclass(frozen=True)
class Ancestor:
    """A run behind a model."""

    run: Path
    part: str | None
    record: Record


@dataclass(frozen=True)
class EarlierRequests:
    """What the runs behind the models of a job forgot, the oldest first, and what of it could not be read."""

    ancestors: tuple[Ancestor, ...] = ()
    forgotten: tuple[Forgotten, ...] = ()
    unread: tuple[str, ...] = ()

    def facts(self, taken: Iterable[TakenOut]) -> EarlierFacts:
        """What the record tells of them."""
        by_name = {entry.name: entry for entry in taken}
        named = zip(self.ancestors, _names(self.ancestors), strict=True)
        requests = [
            EarlierRequest(
                name=name,
                weights=weights_after(ancestor.record, ancestor.part) or "",
                forgotten=ancestor.record.images.count("forget"),
                taken_out=by_name[name].exact if name in by_name else {},
                copies=by_name[name].copies if name in by_name else {},
                again=by_name[name].again if name in by_name else 0,
            )
            for ancestor, name in named
            if ancestor.record.images.count("forget")
        ]
        return EarlierFacts(followed=not self.unread, requests=requests)


def earlier_requests(models: Mapping[str, str]) -> EarlierRequests:
    """The runs behind models. models: the digest of each one's weights by its place, the one with the longest chain first.

    Raises nothing: what cannot be read is named in the result.
    """
    ancestors, unread = dict[Path, Ancestor](), list[str]()
    for place, weights in models.items():
        chain, problems = _chain(place, weights)
        unread += problems
        for ancestor in chain:
            ancestors.setdefault(ancestor.run.resolve(), ancestor)
    ordered = tuple(reversed(ancestors.values()))
    forgotten = []
    for ancestor, name in zip(ordered, _names(ordered), strict=True):
        try:
            if ancestor.record.images.count("forget"):
                forgotten.append(Forgotten(name, *listed(ancestor.run, ancestor.record, "forget")))
        except InputError as error:
            unread += error.problems
    return EarlierRequests(ordered, tuple(forgotten), tuple(dict.fromkeys(unread)))


def listed(run: Path, record: Record, name: str) -> tuple[bytes, frozenset[str]]:
    """The key of a finished run, and the keyed ids in the manifest of its set `name`; raises `InputError` where they are
    not those of which its record speaks.
    """
    key, seal = read_key(run), read_seal(run)
    if commitment(key) != seal.key:
        raise InputError(f"{run}/run.key is not the key with which this run was made")
    path = run / "manifests" / f"{name}.jsonl"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if sha256_of_bytes(content) != record.images.sets[name].sha256:
        raise InputError(f"{path} was changed after it was written: its digest is not the one in the record")
    return key, frozenset(json.loads(line)["id"] for line in content.splitlines())


def _chain(place: str, weights: str) -> tuple[list[Ancestor], list[str]]:
    """The runs behind the model at `place`, the latest first, and why the chain cannot be followed to its beginning."""
    chain, problems = dict[Path, Ancestor](), list[str]()
    ahead = [(made_by(Path(place), weights), frozenset[Path]())]
    while ahead:
        at, visited = ahead.pop(0)
        problems += at.breaks or ((at.words,) if at.run is None and not at.whole else ())
        if at.run is None or at.record is None or at.run.resolve() in chain:
            continue
        chain[at.run.resolve()] = Ancestor(at.run, at.part, at.record)
        if not is_intact(at.run):
            problems.append(f"{at.run}/record.json was changed after it was written")
        told = at.record.images.earlier
        if told.followed and not told.requests:
            continue
        visited |= {at.run.resolve()}
        ahead += [(behind(at.run, at.record, {*visited}, name), visited) for name in models_behind(at.record)]
    return list(chain.values()), problems


def _names(ancestors: Iterable[Ancestor]) -> list[str]:
    """How each is called, in records too: without its place."""
    names, numbers = [], Counter[str]()
    for record in (ancestor.record for ancestor in ancestors):
        what = "training" if record.kind == "training" else "request"
        numbers[what] += 1
        id_ = f" ({record.request.id})" if record.request and record.request.id else ""
        names.append(f"{what} {numbers[what]}{id_} of {record.finished.partition('T')[0]}")
    return names
