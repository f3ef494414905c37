"""`efface requests answer` and `efface requests export`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import efface.cli.options as o
from efface.cli.requests.options import By, LedgerFolder, Request, actor, open_ledger


def answer(
    request: Request,
    language: Annotated[
        str | None, typer.Option(help="Language of the letter: en, de or fr; else the request's.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Write it anew although nothing changed since the last one.")
    ] = False,
    ledger: LedgerFolder = None,
    by: By = None,
    json_: o.Json = False,
) -> None:
    """Write the answer to a request: a letter as a page and as text, and its status in the sender's format.

    A request that is done, not found, refused or withdrawn is answered with it, and what the policy keeps until then is
    erased. One that needs something gets a letter that says what, and stays open.

    Example: efface requests answer R-00017"""
    from efface.errors import InputError
    from efface.ledger.sweeping import sweep
    from efface.requests.answer import answer as write
    from efface.requests.letters.sentences import LANGUAGES

    chosen = next((one for one in LANGUAGES if one == language), None)
    if language is not None and chosen is None:
        raise InputError(f"no letters in {language}: choose one of {', '.join(LANGUAGES)}")
    opened = open_ledger(ledger)
    made = write(opened, request, actor(by), chosen, again)
    swept = sweep(opened, actor(by))
    if json_:
        o.show({**made.as_dict(), "photos_erased": swept.photos})
        return
    was = "" if made.is_new else " (written before; nothing changed since)"
    o.say(f"{Path(made.folder) / 'letter.html'}{was}")
    o.say(f"{made.request} is {made.state}" + ("" if made.final else ", and stays open"))
    o.say(f"the letter names event {made.head_number} of the chain, {made.head_digest}")


def export(
    request: Request,
    out: Annotated[Path | None, typer.Option(help="The archive. REQUEST.zip without.")] = None,
    ledger: LedgerFolder = None,
    json_: o.Json = False,
) -> None:
    """Write the evidence of an answered request as one ZIP: letter, events, records, figures, statements, digests.

    It holds no image, and no name but in the letter. `efface requests verify FILE` checks it with nothing else at hand.

    Example: efface requests export R-00017 --out evidence.zip"""
    from efface.files import sha256_of_file
    from efface.requests.export import export as write

    path = write(open_ledger(ledger), request, out)
    digest = sha256_of_file(path)
    if json_:
        o.show({"path": str(path), "sha256": digest})
    else:
        o.say(f"{path}: sha256 {digest}")
