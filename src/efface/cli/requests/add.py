"""`efface requests add`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import efface.cli.options as o
from efface.cli.requests.options import By, LedgerFolder, actor, day, open_ledger


def add(
    files: Annotated[
        list[str],
        typer.Argument(help="Photos, folders of photos, lists of hashes (CSV), JSON.", metavar="FILE..."),
    ],
    sender: Annotated[
        str | None,
        typer.Option(
            help="Who sent it, as far as that names no person; else what it came as: photos or csv."
        ),
    ] = None,
    id_: Annotated[str | None, typer.Option("--id", help="The sender's own id of it.")] = None,
    received: Annotated[
        str | None, typer.Option(help="When it came in, with its zone: 2026-11-30T23:30-05:00; else now.")
    ] = None,
    regime: Annotated[
        str | None, typer.Option(help="The law or policy under which it was made, such as GDPR.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Who asks.")] = None,
    contact: Annotated[str | None, typer.Option(help="Where the answer goes.")] = None,
    letter: Annotated[Path | None, typer.Option(help="A text file with the person's own words.")] = None,
    language: Annotated[
        str | None, typer.Option(help="Of the answer: en, de or fr; else the policy's.")
    ] = None,
    ledger: LedgerFolder = None,
    by: By = None,
    json_: o.Json = False,
) -> None:
    """Take requests in: a photo or a folder of one person's photos each, a list of hashes, JSON of OpenDSR, DRP or Fides.

    A request that is known by its sender and id, or without an id by its images, is the same request: nothing is changed.
    A list has a row for each image, with the column sha256, and where wanted sender, id, received, regime, name, contact,
    language. Photos are copied into the ledger, and erased as its policy says.

    Example: efface requests add inbox/jane --regime GDPR --name 'Jane Doe' --contact jane@example.org"""
    from efface.documents import read_text
    from efface.ledger.requests import NewRequest
    from efface.progress import Progress
    from efface.requests.formats.hashes import language_of, moment_of
    from efface.requests.intake import received_now, said, take_in

    stated = NewRequest(
        sender=sender or "",
        format="photos",
        received=moment_of(received, "--received") if received else received_now(),
        digests=(),
        sender_id=id_,
        regime=regime,
        language=language_of(language, "--language") if language else None,
        name=name,
        contact=contact,
        letter=read_text(letter) if letter else None,
    )
    opened, progress = open_ledger(ledger), Progress.on_terminal()
    try:
        added = take_in(opened, files, stated, actor(by), progress.count if len(files) > 1 else None)
    finally:
        progress.finish_counting()
    if json_:
        o.show([one.as_dict() for one in added])
        return
    for one in added:
        known = "known before" if one.known else "taken in"
        o.say(f"{one.id}  {known}, {one.state}, due {day(one.due)}  {one.images} supplied  {one.place}")
    o.say(said(added))
