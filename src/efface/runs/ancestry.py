"""What lies behind a run: the run whose model it began with, found by place and held against the weights in its record.

Each run names the model that it began with, by place in its config and by its weights' digest in its record. The place is
looked up as it stands there, from every folder above the run, and beside the run if all were moved together; where
nothing lies there, runs beside it are known by the weights that they left. Model files are not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from efface.errors import InputError
from efface.runs.folder import is_run, open_run
from efface.runs.people import KEYED
from efface.runs.record import Record, read_record


@dataclass(frozen=True)
class Behind:
    """What lies behind a run or a model: an earlier run and which of its models, or why there is none, in words.

    whole: whether this is a beginning (a training, a model that no run made) rather than a place where the chain cannot be
    followed. breaks: what does not fit together.
    """

    words: str = ""
    whole: bool = False
    run: Path | None = None
    part: str | None = None
    record: Record | None = None
    breaks: tuple[str, ...] = ()


def run_of(path: Path) -> tuple[Path | None, str | None]:
    """The run that a path belongs to, and the name of the further model that it is, if it is one.

    path: a run, its `model`, a further model in its `path/NAME`, a file in either, or a link to one of these.
    """
    for given in dict.fromkeys((path, path.resolve())):
        place = given.parent if given.is_file() else given
        if (place / "record.json").is_file():
            return place, None
        absolute = place.absolute()
        if absolute.name == "model" and is_run(absolute.parent):
            return place.parent if place.name == "model" else absolute.parent, None
        if absolute.parent.name == "path" and is_run(absolute.parents[1]):
            return absolute.parents[1], absolute.name
    return None, None


def behind(run: Path, record: Record, visited: set[Path]) -> Behind:
    """The run whose model is the one that `run` began with. visited: runs that the chain has come through, resolved."""
    weights = record.model.before.weights if record.model.before else record.sources.get("like")
    if weights is None:
        return Behind(f"trained from fresh weights by {run}", True)
    try:
        config = open_run(run)
    except InputError:
        config = {}
    model = config.get("like" if record.kind == "training" else "model")
    place = model.get("path") if isinstance(model, dict) else model
    named = isinstance(place, str) and place
    places = _places(run, Path(str(place))) if named else ()
    at_places = [at for at in (model_at(place, run, weights, visited) for place in places) if at]
    by_weights = () if any(not at.breaks for at in at_places) else runs_beside(run, weights)
    at_places = [*(_of_run(*made) for made in by_weights if made[0].resolve() not in visited), *at_places]
    if at_places:
        return next((at for at in at_places if not at.breaks), at_places[0])
    if not named:
        return Behind(f"{run}: the config does not say which model the run began with")
    if "hub" in (record.model.before.description.origin if record.model.before else {}):
        return Behind(f"{place}, a model of the hub: what was done to it before is in no record", True)
    gone = f"{place}, with which {run} began, is no folder here: moved, or gone"
    if purged := KEYED.fullmatch(str(place)):
        gone = (
            f"{run}: where the model lay with which it began was purged from its config (efface purge --config). Put the "
            "run that made that model beside this one: it is known by its weights"
        )
    if purged or not any(Path(at).exists() for at in places):
        return Behind(gone)
    return Behind(f"{place}, a model that no run made: what was done to it before is in no record", True)


def model_at(place: Path, run: Path, weights: str, visited: set[Path]) -> Behind | None:
    """The run whose model lies at `place`, if its record names these weights; None where no run lies there."""
    earlier, part = run_of(place)
    if earlier is None:
        return None
    if earlier.resolve() in visited:
        return _broken(f"{run} began with the model of {earlier}, which itself comes from {run}")
    try:
        record = read_record(earlier)
    except InputError as error:
        return _broken(f"the record of {earlier} cannot be read: {error}")
    if weights_after(record, part) != weights:
        words = f"{place} is not the model that {run} began with: its record names other weights"
        return Behind(words, False, earlier, part, record, (words,))
    return _of_run(earlier, part, record)


def runs_beside(place: Path, weights: str) -> Iterator[tuple[Path, str | None, Record]]:
    """Runs in the same folder as `place` that left a model with these weights, and which of their models it is."""
    for run in sorted(path.parent for path in place.absolute().parent.glob("*/record.json")):
        try:
            record = read_record(run)
        except InputError:
            continue
        if record.model.before and record.model.before.weights == weights:
            continue  # it changed nothing: the model may as well be the one that it began with
        for part in (None, *record.model.path):
            if weights_after(record, part) == weights:
                yield run, part, record


def weights_after(record: Record, part: str | None) -> str | None:
    """Weights of the model that a run left, or of its further model `part`."""
    model = record.model.path.get(part) if part else record.model.after
    return model.weights if model else None


def _of_run(run: Path, part: str | None, record: Record) -> Behind:
    words = f"trained from fresh weights by {run}" if record.kind == "training" else ""
    return Behind(words, record.kind == "training", run, part, record)


def _broken(words: str) -> Behind:
    return Behind(words, breaks=(words,))


def _places(run: Path, given: Path) -> tuple[Path, ...]:
    """Where the model may lie that the config names: there, seen from the folders above the run, or beside the run."""
    above = () if given.is_absolute() else tuple(folder / given for folder in run.absolute().parents)
    parts = given.parts
    inside = 2 if given.name == "model" else 3 if len(parts) > 2 and parts[-2] == "path" else 0
    beside = (run.absolute().parent.joinpath(*parts[-inside:]),) if 0 < inside <= len(parts) else ()
    return tuple(dict.fromkeys((given, *above, *beside)))
