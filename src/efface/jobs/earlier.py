"""What earlier requests forgot, looked up before a job trains or measures anything, and the reference held against it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from efface.errors import Faults, InputError
from efface.images.forgotten import Forgotten
from efface.images.items import ImageSet
from efface.images.selection import Split
from efface.jobs.operations import attempt
from efface.runs.ancestry import run_of, weights_after
from efface.runs.bases import seen_by, trained_by
from efface.runs.config import JobConfig, Verb
from efface.runs.earlier import EarlierRequests, earlier_requests, listed
from efface.runs.record import read_record
from efface.wording import counted

MADE_FROM: dict[Verb, tuple[tuple[str, str], ...]] = {
    "unlearn": (("model", "original"), ("base", "base")),
    "evaluate": (("unlearned", "unlearned"), ("original", "original")),
    "train": (("base", "base"), ("like", "like")),
}
"""Sections of a verb's config that name models with runs behind them, the longest chain first, and how jobs call these."""


class Weighed(Protocol):
    """A model, as far as its weights are to be known again."""

    def weights_digest(self) -> str: ...


def earlier_of(config: Any, models: Mapping[Any, Weighed], base: str | None = None) -> EarlierRequests:
    """What the runs behind a job's models forgot. base: digest of the base's weights, where an unlearning run has one.

    Raises `InputError` where that cannot be read to its beginning, unless the config says that it is unknown.
    """
    known = {
        section: models[name].weights_digest() for section, name in MADE_FROM[config.verb] if name in models
    } | ({"base": base} if base else {})
    return earlier_by_weights(config, known)


def earlier_by_weights(config: Any, weights: Mapping[str, str]) -> EarlierRequests:
    """The same from the digests of the models' weights, by the sections of the config that name them."""
    places = {
        getattr(config, section).path: weights[section]
        for section, _ in MADE_FROM[config.verb]
        if section in weights
    }
    earlier = earlier_requests(places)
    if earlier.unread and config.earlier == "follow":
        raise InputError(
            *earlier.unread,
            what="what earlier requests forgot cannot be read, and could be trained back in. Put back what is named here, "
            "or go on without it with --earlier unknown; record and page will say so",
        )
    return earlier


def earlier_notes(earlier: EarlierRequests) -> list[str]:
    """A sentence where it is unknown what was forgotten before."""
    if not earlier.unread:
        return []
    return [
        "What earlier requests forgot could not be read to its beginning, and the operator went on without: images that "
        "were forgotten before may be among those that are kept."
    ]


def same_run_beside(config: JobConfig, out: Path, forget: ImageSet) -> str | None:
    """A sentence where a finished run beside `out` did the very same: equal settings, the same images to be forgotten."""
    for run in sorted(path.parent for path in out.absolute().parent.glob("*/record.json")):
        try:
            record = read_record(run)
            if run == out.absolute() or record.config.sha256 != config.digest():
                continue
            key, keyed = listed(run, record, "forget")
        except InputError:
            continue
        if set(forget.keyed_ids(key)) == keyed:
            return (
                f"this is the same request as that of {run}, which is finished: settings and images are equal"
            )
    return None


def reference_seen(config: Any, split: Split) -> list[str]:
    """What the own records of the retrained model and of a second one tell against them, in sentences.

    Raises `InputError` where one lists images that are to be forgotten among those that its model was trained on.
    """
    with Faults("these are no models to compare with") as faults:
        found = [
            attempt(partial(_seen, config, settings.path, option, split), faults)
            for option in ("retrained", "yardstick")
            if (settings := getattr(config, option, None)) is not None
        ]
    return [note for notes in found for note in notes or ()]


def _seen(config: Any, path: str, option: str, split: Split) -> list[str]:
    """The same of one model; option: as which it was given."""
    run, part = run_of(Path(path))
    if run is None:
        return []
    try:
        record = read_record(run)
        trained_on = Forgotten("the reference", *listed(run, record, "retain"))
    except InputError as error:
        return [
            f"What the model given as {option} was trained on is not known: "
            f"{error.problems[0].replace(str(run), 'its run')}."
        ]
    given = len(set(split.forget.ids))
    if seen := len(set(trained_on.among(split.forget).ids)):
        its_own = f"its own record lists {seen} of these {given} among the images that it was trained on"
    elif seen := seen_by(path, weights_after(record, part) or "", split.forget).trained_on:
        its_own = f"by the records behind it, its base was trained on {seen} of these {given}"
    if seen:
        raise InputError(
            f"{path} is no model retrained without the images to be forgotten: {its_own}. Give one trained "
            f"without them (efface train --without), or leave --{option} out"
        )
    notes = [
        f"The model given as {option} was trained on {counted(count, 'image that was', 'images that were')} forgotten "
        f"earlier, by {taken.name}: on these it is no reference."
        for taken in split.earlier
        if (count := len(trained_on.among(taken.images)))
    ]
    if record.kind == "unlearning" and record.claim.level == "empirical" and record.method:
        notes.append(
            f"The model given as {option} is itself an unlearned one (by {record.method.name}), not one trained without "
            "the images."
        )
    return [*notes, *_other_bases(config, path, option)]


def _other_bases(config: Any, reference: str, option: str) -> list[str]:
    """A sentence where records tell that original and reference were not trained from the same weights."""
    original = config.original if config.verb == "evaluate" else config.model
    made = [trained_by(path) for path in (original.path, reference)]
    bases = [record.model.base for _, record in filter(None, made)]
    if len(bases) < len(made) or len({base.weights if base else None for base in bases}) == 1:
        return []
    its, reference_s = ("a base" if base else "fresh weights" for base in bases)
    of_reference = "another" if its == reference_s else reference_s
    return [
        f"The original was trained from {its}, and the model given as {option} from {of_reference}: they differ by more "
        "than the images to be forgotten."
    ]
