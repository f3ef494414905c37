"""`efface requests token`: add, list, revoke."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated

import typer

import efface.cli.options as o
from efface.cli.ends import expected
from efface.cli.requests.options import By, LedgerFolder, actor, open_ledger


class RoleName(StrEnum):
    """The roles of `efface.server.tokens`, which is not imported before a verb runs; a test compares them."""

    intake = "intake"
    agent = "agent"
    reviewer = "reviewer"
    approver = "approver"
    auditor = "auditor"


Name = Annotated[
    str,
    typer.Argument(help="Who holds it, as events and approvals name that; an agent's id in its directory."),
]


def add(
    name: Name,
    role: Annotated[
        RoleName,
        typer.Option(
            help="What the holder may do: hand in (intake; agent: by the Data Rights Protocol), review, approve, audit."
        ),
    ],
    days: Annotated[int, typer.Option(help="Days until it expires.", min=1, max=3650)] = 90,
    verify_key: Annotated[
        str | None, typer.Option(help="An agent's Ed25519 key, 64 hexadecimal digits.")
    ] = None,
    by: By = None,
    ledger: LedgerFolder = None,
    json_: o.Json = False,
) -> None:
    """Make a token. It is printed once; the ledger keeps its sha256 alone.

    Example: efface requests token add webform --role intake"""
    from efface.server.tokens import Role, add_token

    with open_ledger(ledger).session() as session:
        token = add_token(session, name, Role(role), days, actor(by), verify_key)
    if json_:
        o.show({"name": name, "role": role, "token": token})
    elif token:
        o.say(token)
    else:
        o.say(f"{name} is registered, and fetches its token itself (POST /v1/agent/{name})")


def list_(ledger: LedgerFolder = None, json_: o.Json = False) -> None:
    """List who has a token, for what, until when.

    Example: efface requests token list"""
    from efface.server.tokens import list_tokens

    with open_ledger(ledger).reading() as session:
        tokens = list_tokens(session)
    if json_:
        o.show({"tokens": [one.as_dict() for one in tokens]})
        return
    for one in tokens:
        o.say(f"{one.name:<20}  {one.role:<9}  {one.state:<8}  until {one.expires[:10]}")


def revoke(name: Name, by: By = None, ledger: LedgerFolder = None, json_: o.Json = False) -> None:
    """Revoke a token. A running service refuses it within five seconds.

    Example: efface requests token revoke webform"""
    from efface.server.tokens import revoke_token

    with open_ledger(ledger).session() as session:
        revoke_token(session, name, actor(by))
    if json_:
        o.show({"name": name, "state": "revoked"})
    else:
        o.say(f"the token of {name} is revoked")


VERBS: Mapping[str, Callable[..., None]] = {"add": add, "list": list_, "revoke": revoke}
app = typer.Typer(help="Who may use the service: tokens.", no_args_is_help=True, rich_markup_mode=None)
for verb_name, verb in VERBS.items():
    app.command(verb_name)(expected(verb))
