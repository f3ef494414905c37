"""Registering a model: its weights are read for their digest, and its run's record for its parent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue
from sqlalchemy import select
from sqlalchemy.orm import Session

from efface.errors import InputError
from efface.files import no_such
from efface.jobs.kinds import kind_of
from efface.ledger.models import ModelFacts, add_model, facts_of
from efface.ledger.opening import Ledger
from efface.ledger.policy import Status
from efface.ledger.tables import ModelVersion
from efface.runs.ancestry import made_by, models_behind
from efface.runs.record import Description
from efface.wording import printable


def register(
    ledger: Ledger,
    path: Path,
    actor: str,
    *,
    section: Mapping[str, JsonValue] | None = None,
    name: str | None = None,
    trained_on: Sequence[str] = (),
    parent: str | None = None,
    status: Status = "in-service",
) -> tuple[ModelFacts, bool]:
    """Register the model at `path`; returns its facts, and whether it is new. As `ledger.models.add_model`.

    section: further settings with which it opens, as in the section `model` of a config. parent: default the registered
    version with the weights that its run began with.
    """
    if not path.exists():
        raise InputError(f"{printable(str(path))}: {no_such(path)}")
    settings: dict[str, JsonValue] = {**(section or {}), "path": str(path.absolute())}
    weights, description = opened(settings)
    with ledger.session() as session:
        model, is_new = add_model(
            session,
            path,
            weights,
            description.kind,
            actor,
            family=description.family,
            name=name,
            trained_on=trained_on,
            parent=parent or _parent(session, path, weights),
            status=status,
            section=settings,
        )
        return facts_of(session, model), is_new


def opened(section: Mapping[str, JsonValue]) -> tuple[str, Description]:
    """The digest of a model's weights, and what it is; raises `InputError` where it cannot be opened."""
    from efface.jobs.facts import description_of

    kind = kind_of({"model": section})
    model = kind.operations.load(kind.read_model(section))
    return model.weights_digest(), description_of(model)


def _parent(session: Session, path: Path, weights: str) -> str | None:
    """The registered version that the run of a model began with."""
    record = made_by(path, weights).record
    if record is None:
        return None
    behind = models_behind(record).values()
    known = session.scalars(select(ModelVersion).where(ModelVersion.weights.in_([*behind])).limit(1)).first()
    return known.name if known is not None and known.weights != weights else None
