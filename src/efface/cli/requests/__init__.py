"""`efface requests`, one file for each verb. Nothing of the ledger's database is imported before a verb runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import typer

from efface.cli.ends import expected
from efface.cli.requests import decisions, key, model, set
from efface.cli.requests.add import add
from efface.cli.requests.answer import answer, export
from efface.cli.requests.due import due
from efface.cli.requests.init import init
from efface.cli.requests.link import link
from efface.cli.requests.list import list_
from efface.cli.requests.locate import locate
from efface.cli.requests.notify import notify
from efface.cli.requests.run import run
from efface.cli.requests.serve import serve
from efface.cli.requests.show import show
from efface.cli.requests.sweep import sweep
from efface.cli.requests.token import app as token
from efface.cli.requests.verify import verify

HELP = "Deletion requests in a ledger: find images, carry out, answer, withdraw (docs/requests.md)."
VERBS: Mapping[str, Callable[..., None]] = {
    "init": init,
    "add": add,
    "locate": locate,
    "confirm": decisions.confirm,
    "reject": decisions.reject,
    "verify-identity": decisions.verify_identity,
    "approve": decisions.approve,
    "refuse": decisions.refuse,
    "withdraw": decisions.withdraw,
    "list": list_,
    "show": show,
    "due": due,
    "answer": answer,
    "export": export,
    "link": link,
    "notify": notify,
    "serve": serve,
    "run": run,
    "sweep": sweep,
    "verify": verify,
}
GROUPS: Mapping[str, tuple[str, Mapping[str, Callable[..., None]]]] = {
    "set": ("The image sets that models were trained on.", {"add": set.add, "check": set.check}),
    "model": ("The models that learnt from image sets.", {"add": model.add, "status": model.status}),
    "key": ("The key of keyed ids.", {"rotate": key.rotate}),
}


def _grouped(text: str, verbs: Mapping[str, Callable[..., None]]) -> typer.Typer:
    group = typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None)
    for name, verb in verbs.items():
        group.command(name)(expected(verb))
    return group


app = _grouped(HELP, VERBS)
for name, (text, verbs) in GROUPS.items():
    app.add_typer(_grouped(text, verbs), name=name)
app.add_typer(token, name="token")
