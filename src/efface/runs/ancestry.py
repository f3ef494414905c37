"""What lies behind a run: the runs whose models it began with, found by place and held against the weights in its record.

Each run names the model that it began with, and the base from which it trained on, by place in its config and by its
weights' digest in its record. The place is looked up as it stands there, from every folder above the run, and beside the
run if all were moved together; where nothing lies there, runs beside it are known by the weights that they left. Model
files are not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from efface.errors import InputError
from efface.model_files import made_by_forgetting
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


def models_behind(record: Record) -> dict[str, str]:
    """The weights of the models behind the one that a run made, by the section of its config that names each."""
    model, like = record.model, record.sources.get("like")
    return {
        **({"model": model.before.weights} if model.before else {}),
        **({"base": model.base.weights} if model.base else {}),
        **({"like": like} if like else {}),
    }


def behind(run: Path, record: Record, visited: set[Path], section: str | None = None) -> Behind:
    """The run whose model is the one that `run` began with. visited: runs that the chain has come through, resolved.

    section: the one of `models_behind` that is meant; default: the first that there is.
    """
    there = models_behind(record)
    section = section or next(iter(there), None)
    if section is None:
        return Behind(_began(run, record), True)
    weights = there[section]
    try:
        config = open_run(run)
    except InputError:
        config = {}
    model = config.get(section)
    place = model.get("path") if isinstance(model, dict) else model
    named = isinstance(place, str) and place
    places = places_of(run, Path(str(place))) if named else ()
    at_places = [at for at in (model_at(place, run, weights, visited) for place in places) if at]
    by_weights = () if any(not at.breaks for at in at_places) else runs_beside(run, weights)
    at_places = [*(_of_run(*made) for made in by_weights if made[0].resolve() not in visited), *at_places]
    if at_places:
        return next((at for at in at_places if not at.breaks), at_places[0])
    if not named:
        return Behind(f"{run}: the config does not say which model the run began with")
    known = {"model": record.model.before, "base": record.model.base}.get(section)
    if known and "hub" in known.description.origin:
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
    trained = record.kind == "training"
    return Behind(_began(run, record) if trained else "", trained, run, part, record)


def _began(run: Path, record: Record) -> str:
    return f"trained from {'a base model' if record.model.base else 'fresh weights'} by {run}"


def made_by(place: Path, weights: str) -> Behind:
    """The run that made the model at `place`, by its place, else by its weights among the runs beside it."""
    run, part = run_of(place)
    if run is not None:
        try:
            record = read_record(run)
        except InputError as error:
            return Behind(breaks=tuple(error.problems))
        other = f"{place} is not the model that {run} made: its record names other weights"
        return Behind("", True, run, part, record, () if weights_after(record, part) == weights else (other,))
    folder = place.parent if place.is_file() else place
    made = next(runs_beside(folder, weights), None)
    if made is not None:
        return Behind("", True, *made)
    if made_by_forgetting(place):
        return Behind(
            breaks=(
                f"{place} is a copy of a model that was made by forgetting images, and which ones stands in the folder of "
                "its run: name the model there, or put its run beside it",
            )
        )
    return Behind(f"{place}, a model that no run made", True)


def _broken(words: str) -> Behind:
    return Behind(words, breaks=(words,))


def places_of(run: Path, given: Path) -> tuple[Path, ...]:
    """Where the model may lie that the config names: there, seen from the folders above the run, or beside the run."""
    above = () if given.is_absolute() else tuple(folder / given for folder in run.absolute().parents)
    parts = given.parts
    inside = 2 if given.name == "model" else 3 if len(parts) > 2 and parts[-2] == "path" else 0
    beside = (run.absolute().parent.joinpath(*parts[-inside:]),) if 0 < inside <= len(parts) else ()
    return tuple(dict.fromkeys((given, *above, *beside)))
