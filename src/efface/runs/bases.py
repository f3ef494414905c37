"""The base from which a model was trained on: found behind it by records, and what these tell of the images that it saw."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from efface.errors import InputError
from efface.images.forgotten import Forgotten
from efface.images.items import ImageSet
from efface.runs.ancestry import Behind, behind, made_by, places_of, run_of
from efface.runs.earlier import listed
from efface.runs.folder import open_run
from efface.runs.people import KEYED
from efface.runs.record import Record, Saw, read_record


@dataclass(frozen=True)
class Seen:
    """What records tell of images and a model's training.

    trained_on, forgotten: how many of the images its training had, and how many of those that it had were forgotten later
    without training anew. whole: whether the records tell of all its training.
    """

    trained_on: int
    forgotten: int
    whole: bool

    @property
    def saw(self) -> Saw:
        """The same in a word; of a model that was trained on none of them."""
        return "forgotten" if self.forgotten else "no" if self.whole else "not known"


def seen_by(place: str, weights: str, images: ImageSet) -> Seen:
    """What the records behind the model at `place` tell of its training and `images`; raises nothing.

    weights: the digest of its weights.
    """
    trained_on, forgotten, whole = set[str](), set[str](), False
    for at in _trainings(made_by(Path(place), weights)):
        if at.run is None or at.record is None or at.breaks:
            return Seen(len(trained_on), len(forgotten), False)
        try:
            later = trained_on | forgotten
            if at.record.claim.level == "empirical" and at.record.kind == "unlearning":
                forgotten |= {*_among(at.run, at.record, "forget", images)} - later
                later |= forgotten
            trained_on |= {*_among(at.run, at.record, "retain", images)} - later
        except InputError:
            return Seen(len(trained_on), len(forgotten), False)
        whole = at.record.model.base is None and not _goes_on(at.record)
    return Seen(len(trained_on), len(forgotten), whole)


def base_behind(place: str) -> dict[str, JsonValue] | None:
    """The section of a config that names the base from which the model at `place` was trained, by the records behind it.

    None where they name none. Raises `InputError` where it is no longer where they say.
    """
    made = trained_by(place)
    return _named_in(*made, place) if made and made[1].model.base else None


def trained_by(place: str) -> tuple[Path, Record] | None:
    """The run that trained the model at `place` from fresh weights or from a base, by the records behind it."""
    run, part = run_of(Path(place))
    if run is None:
        return None
    last = None
    for at in _trainings(Behind(run=run, part=part, record=read_record(run))):
        last = (at.run, at.record) if at.run and at.record and not at.breaks else None
        if last is None or not _goes_on(last[1]):
            break
    return last if last else None


def _trainings(at: Behind) -> Iterator[Behind]:
    """Every run whose training went into the weights of a model, the latest first, and the place where that ends."""
    visited = set[Path]()
    while True:
        yield at
        if at.run is None or at.record is None or at.breaks:
            return
        visited.add(at.run.resolve())
        section = "model" if _goes_on(at.record) else "base" if at.record.model.base else None
        if section is None:
            return
        at = behind(at.run, at.record, visited, section)


def _goes_on(record: Record) -> bool:
    """Whether a run changed the weights with which it began, rather than beginning with others."""
    return record.kind == "unlearning" and record.claim.level == "empirical"


def _among(run: Path, record: Record, name: str, images: ImageSet) -> tuple[str, ...]:
    if not record.images.count(name):
        return ()
    return Forgotten("", *listed(run, record, name)).among(images).ids


def _named_in(run: Path, record: Record, place: str) -> dict[str, JsonValue]:
    """The section `base` in the config of a run, with the place where it lies now."""
    try:
        named = open_run(run).get("base")
    except InputError:
        named = None
    path = named.get("path") if isinstance(named, dict) else None
    if isinstance(named, dict) and isinstance(path, str) and not KEYED.fullmatch(path):
        if record.model.base and "hub" in record.model.base.description.origin:
            return named
        if there := next((at for at in places_of(run, Path(path)) if at.exists()), None):
            return {**named, "path": str(there)}
    raise InputError(
        f"{place} was trained on from a base, which is not where {run} says: give it with --from BASE, or --set base=null "
        "for fresh weights"
    )
