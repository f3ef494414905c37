"""`efface requests set`: the image sets that models were trained on."""

from __future__ import annotations

from typing import Annotated

import typer

import efface.cli.options as o
from efface.cli.requests.options import By, LedgerFolder, actor, open_ledger
from efface.wording import counted


def add(
    name: Annotated[str, typer.Argument(help="What the set is called.")],
    images: Annotated[
        str, typer.Argument(help="Where it lies: a folder, a list, parquet, tar, hub:owner/name, bundled.")
    ],
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out files that cannot be read, and say how many.")
    ] = False,
    ledger: LedgerFolder = None,
    by: By = None,
    json_: o.Json = False,
) -> None:
    """Index an image set: digests, and fingerprints by which copies are found.

    The same command goes on where it stopped, and takes up images that were added to the place since.

    Example: efface requests set add portraits /data/portraits"""
    from efface.ledger.sets import add_set
    from efface.progress import Progress

    opened, progress = open_ledger(ledger), Progress.on_terminal()
    try:
        facts = add_set(opened, name, images, actor(by), progress.count, skip_unreadable)
    finally:
        progress.finish_counting()
    if json_:
        o.show(facts.as_dict())
        return
    o.say(f"{facts.name}: {counted(facts.images, 'image')}, {facts.added} of them added now")
    if facts.undecodable:
        o.say(
            f"{counted(facts.undecodable, 'image')} cannot be decoded: known by their bytes, but not by their copies"
        )
