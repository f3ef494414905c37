"""`efface requests`, one file for each verb. Nothing of the ledger's database is imported before a verb runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import typer

from efface.cli.ends import expected
from efface.cli.requests.due import due
from efface.cli.requests.init import init
from efface.cli.requests.link import link
from efface.cli.requests.list import list_
from efface.cli.requests.notify import notify
from efface.cli.requests.serve import serve
from efface.cli.requests.show import show
from efface.cli.requests.token import app as token

HELP = "From a person's photo to a signed answer: requests, kept in a ledger (docs/requests.md)."
VERBS: Mapping[str, Callable[..., None]] = {
    "init": init,
    "list": list_,
    "show": show,
    "due": due,
    "link": link,
    "notify": notify,
    "serve": serve,
}

app = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode=None)
for name, verb in VERBS.items():
    app.command(name)(expected(verb))
app.add_typer(token, name="token")
