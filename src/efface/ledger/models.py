"""Model versions: registered with the digest of their weights, the sets that they learnt from, and their parent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from pydantic import Field, JsonValue
from sqlalchemy import select
from sqlalchemy.orm import Session

from efface.documents import Described
from efface.errors import InputError
from efface.files import canonical_json
from efface.ledger import events
from efface.ledger.policy import Status
from efface.ledger.sets import set_named
from efface.ledger.tables import ModelVersion
from efface.wording import printable, shortened

STATUSES: tuple[Status, ...] = get_args(Status)


class ModelFacts(Described):
    """What is told of a model version."""

    number: int = Field(description="its number in this ledger")
    name: str = Field(description="its name")
    path: str = Field(description="where it lies")
    weights: str = Field(description="digest of its weights")
    kind: str = Field(description="generator or classifier")
    family: str | None = Field(description="the family of a generator")
    status: Status = Field(description="in-service, superseded, withdrawn or not-ours")
    since: str = Field(description="since when, in UTC")
    parent: str | None = Field(description="the version that it was made from")
    trained_on: list[str] = Field(description="sets that it learnt from itself")
    learnt_from: list[str] = Field(description="sets that it learnt from, itself or through a parent")


def add_model(
    session: Session,
    path: Path,
    weights: str,
    kind: str,
    actor: str,
    *,
    family: str | None = None,
    name: str | None = None,
    trained_on: Sequence[str] = (),
    parent: str | None = None,
    status: Status = "in-service",
    section: Mapping[str, JsonValue] | None = None,
) -> tuple[ModelVersion, bool]:
    """Register a model version; one with the same weights is the same version. Returns it, and whether it is new.

    name: default the folder's, with a number where that is taken. section: further settings with which it opens, as in the
    section `model` of a config. Raises `InputError` for unknown sets or parents, a name
    that is taken, and a known version of which something else is said.
    """
    sets = [set_named(session, one) for one in dict.fromkeys(trained_on)]
    before = model_named(session, parent) if parent else None
    if (known := version_of(session, weights)) is not None:
        if (sets and set(sets) != set(known.sets)) or (before and before.id != known.parent_id):
            raise InputError(
                f"a model with these weights is registered as {known.name}, with other sets or another parent"
            )
        return known, False
    if not sets and before is None and status != "not-ours":
        raise InputError(
            f"{printable(str(path))}: say what it learnt from: --trained-on SET, or --parent MODEL"
        )
    now = datetime.now(UTC)
    model = ModelVersion(
        name=_free_name(session, path, name),
        path=str(path.absolute()),
        section=canonical_json({**(section or {}), "path": str(path.absolute())}),
        weights=weights,
        kind=kind,
        family=family,
        parent_id=before and before.id,
        status=status,
        added=now,
        changed=now,
        sets=sets,
    )
    session.add(model)
    session.flush()
    events.append(
        session,
        "model-added",
        actor,
        model=model.id,
        weights=weights,
        parent=model.parent_id,
        sets=[one.id for one in sets],
        status=status,
    )
    return model, True


def set_status(session: Session, model: ModelVersion, status: Status, actor: str) -> None:
    """Give a model version another status, with its event; nothing where it has that already."""
    if model.status == status:
        return
    before, model.status, model.changed = model.status, status, datetime.now(UTC)
    events.append(session, "model-status", actor, model=model.id, before=before, after=status)


def model_named(session: Session, name: str) -> ModelVersion:
    """The version with that name, number, place, or beginning of its weights' digest; raises `InputError`."""
    places = {name, str(Path(name).absolute())}
    query = select(ModelVersion).where(
        (ModelVersion.name == name)
        | ModelVersion.path.in_(places)
        | ModelVersion.weights.startswith(name, autoescape=True)
    )
    found = list(session.scalars(query.order_by(ModelVersion.id)))
    if name.isdecimal() and (numbered := session.get(ModelVersion, int(name[:9]))) is not None:
        found = [numbered]
    exact = [one for one in found if one.name == name]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if found:
        raise InputError(
            f"{shortened(name)} means several models: {', '.join(one.name for one in found)}; name one of them"
        )
    there = session.scalars(select(ModelVersion.name).order_by(ModelVersion.id)).all()
    raise InputError(
        f"no model {shortened(name)} in this ledger. There are: {', '.join(there[:20]) or 'none'}"
    )


def version_of(session: Session, weights: str) -> ModelVersion | None:
    """The version with these weights, if one is registered."""
    return session.scalars(select(ModelVersion).where(ModelVersion.weights == weights)).one_or_none()


def ancestry(session: Session, model: ModelVersion) -> list[ModelVersion]:
    """The version, its parent, and so on."""
    chain = [model]
    while (parent := chain[-1].parent_id) is not None:
        chain.append(session.get_one(ModelVersion, parent))
    return chain


def facts_of(session: Session, model: ModelVersion) -> ModelFacts:
    """A model version as it is printed."""
    chain = ancestry(session, model)
    return ModelFacts(
        number=model.id,
        name=model.name,
        path=model.path,
        weights=model.weights,
        kind=model.kind,
        family=model.family,
        status=model.status,
        since=model.changed.isoformat(timespec="seconds"),
        parent=chain[1].name if len(chain) > 1 else None,
        trained_on=[one.name for one in model.sets],
        learnt_from=list(dict.fromkeys(one.name for version in chain for one in version.sets)),
    )


def all_models(session: Session, statuses: Iterable[Status] = ()) -> Sequence[ModelVersion]:
    """Model versions of some statuses (default: all), in the order of their adding."""
    query = select(ModelVersion).order_by(ModelVersion.id)
    wanted = list(statuses)
    return session.scalars(query.where(ModelVersion.status.in_(wanted)) if wanted else query).all()


def _free_name(session: Session, path: Path, name: str | None) -> str:
    taken = set(session.scalars(select(ModelVersion.name)))
    if name is not None:
        if name in taken:
            raise InputError(f"the name {shortened(name)} is taken by another model version")
        return name
    place = path.absolute()
    stem = printable(
        place.parent.name if place.name == "model" else place.stem if place.is_file() else place.name
    )
    return next(
        one
        for one in (stem, *(f"{stem}-{number}" for number in range(2, len(taken) + 3)))
        if one not in taken
    )
