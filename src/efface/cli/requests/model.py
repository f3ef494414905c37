"""`efface requests model`: the models that learnt from image sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

import efface.cli.options as o
from efface.cli.requests.options import By, LedgerFolder, actor, open_ledger

if TYPE_CHECKING:
    from pydantic import JsonValue

    from efface.ledger.models import ModelFacts


def add(
    path: Annotated[
        Path, typer.Argument(help="The model: a folder, a file, or what a run made (RUN/model).")
    ],
    trained_on: Annotated[
        list[str] | None, typer.Option(help="A set that it learnt from itself. May be repeated.")
    ] = None,
    parent: Annotated[
        str | None,
        typer.Option(help="The registered model that it was made from; else known by the record of its run."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What it is called in letters; else its folder's name.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A setting with which it opens, as model.network=package.module:build. May be repeated.",
        ),
    ] = None,
    ledger: LedgerFolder = None,
    by: By = None,
    json_: o.Json = False,
) -> None:
    """Register a model version that is in service.

    Its weights are read for their digest; the same weights are the same version. It is affected by requests for images of
    the sets that it learnt from, itself or through its parent.

    Example: efface requests model add runs/portraits/model --trained-on portraits"""
    from efface.requests.models import register
    from efface.settings import with_overrides

    section = cast("dict[str, JsonValue]", with_overrides({"model": {}}, set_ or ())["model"])
    facts, is_new = register(
        open_ledger(ledger),
        path,
        actor(by),
        section=section,
        name=name,
        trained_on=trained_on or (),
        parent=parent,
    )
    if json_:
        o.show({**facts.as_dict(), "known": not is_new})
        return
    _tell(facts)
    if not is_new:
        o.say("it was registered before; nothing was changed")


def status(
    model: Annotated[
        str | None, typer.Argument(help="Its name, number or place; without one all are listed.")
    ] = None,
    becomes: Annotated[
        str | None, typer.Option(help="Its new status: in-service, superseded, withdrawn or not-ours.")
    ] = None,
    ledger: LedgerFolder = None,
    by: By = None,
    json_: o.Json = False,
) -> None:
    """Show models and what they learnt from, or give one another status.

    Example: efface requests model status portraits --becomes withdrawn"""
    from efface.errors import InputError
    from efface.ledger.models import STATUSES, all_models, facts_of, model_named, set_status
    from efface.settings import unknown_name

    if becomes and becomes not in STATUSES:
        raise InputError(unknown_name("status", becomes, STATUSES))
    if becomes and model is None:
        raise InputError("name the model that is to become this")
    opened = open_ledger(ledger)
    if becomes and model:
        with opened.session() as session:
            set_status(session, model_named(session, model), becomes, actor(by))
    with opened.reading() as session:
        models = [model_named(session, model)] if model else all_models(session)
        facts = [facts_of(session, one) for one in models]
    if json_:
        o.show([one.as_dict() for one in facts])
        return
    for one in facts:
        _tell(one)
    if not facts:
        o.say("no models")


def _tell(facts: ModelFacts) -> None:
    learnt = ", ".join(facts.learnt_from) or "nothing known"
    made = f", made from {facts.parent}" if facts.parent else ""
    o.say(
        f"{facts.number:>3}  {facts.name}: {facts.status} since {facts.since[:10]}, learnt from {learnt}{made}"
    )
    o.say(f"     {facts.path}, weights {facts.weights[:12]}…")
