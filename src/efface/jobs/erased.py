"""A ledger beside a job: what it says was erased is not trained on again, and the model that is made stands in it."""

from __future__ import annotations

import getpass
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from efface.errors import InputError
from efface.images.scanning import scan
from efface.wording import counted, printable

if TYPE_CHECKING:
    from efface.images.cache import PixelCache
    from efface.images.selection import Split
    from efface.ledger.opening import Ledger
    from efface.progress import Progress
    from efface.runs.config import JobConfig
    from efface.runs.record import Record

MOST_NAMED = 20
VARIABLE = "EFFACE_LEDGER"


def given_ledger(config: JobConfig) -> Ledger | None:
    """The ledger beside a job that trains: the one that its config names, else the environment."""
    if config.verb == "evaluate" or not (config.ledger or os.environ.get(VARIABLE)):
        return None
    from efface.ledger.opening import Ledger

    return Ledger.given(Path(config.ledger) if config.ledger else None)


def refuse_erased(config: JobConfig, split: Split, cache: PixelCache | None, progress: Progress) -> None:
    """Raise `InputError` where images that are trained on were erased, naming each by keyed id and place."""
    if (ledger := given_ledger(config)) is None:
        return
    from efface.ledger.erased import erased_among

    images = split.retain.union(split.validation)
    exact_only = config.erased == "exact"
    prints = None
    if not exact_only:
        prints = (
            cache.fingerprints(images.ids)
            if cache is not None
            else scan(images, None, progress.count).of(images)
        )
    again = erased_among(ledger, images, prints, progress.count)
    if again:
        more = [f"and {len(again) - MOST_NAMED} more"] if len(again) > MOST_NAMED else []
        way = "Leave them out (--without, or another list of images)"
        if all(image.how == "copy" for image in again):
            way += (
                ", or, if these are other pictures, add --erased exact: then only the same bytes stop a run"
            )
        raise InputError(
            *(printable(str(image)) for image in again[:MOST_NAMED]),
            *more,
            what=f"{counted(len(again), 'image')} to train on {'was' if len(again) == 1 else 'were'} erased on request, "
            f"and may not be learnt again. {way}",
        )


def register_made(config: JobConfig, model: Path, record: Record) -> str | None:
    """Register the model that a run made in the ledger beside it; a sentence on that, None without a ledger.

    It learnt from the set that lies where the job's images do, and from what its parent learnt.
    """
    ledger, made = given_ledger(config), record.model.after
    if ledger is None or made is None:
        return None
    from efface.ledger.models import add_model, version_of
    from efface.ledger.sets import sets_at

    with ledger.session() as session:
        before = record.model.before or record.model.base
        parent = version_of(session, before.weights) if before else None
        sets = sets_at(session, config.selectors) if config.verb == "train" else []
        if version_of(session, made.weights) is None and parent is None and not sets:
            return (
                f"{model} is not registered in {ledger.place}: neither the model that it was made from nor its images "
                "stand there. Say what it learnt: efface requests model add"
            )
        version, is_new = add_model(
            session,
            model,
            made.weights,
            made.description.kind,
            getpass.getuser(),
            family=made.description.family,
            trained_on=[one.name for one in sets],
            parent=parent.name if parent else None,
            section=json.loads(parent.section) if parent else None,
        )
        return f"{'registered' if is_new else 'known'} as {version.name} in {ledger.place}"
