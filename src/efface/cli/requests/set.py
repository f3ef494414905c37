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


def check(
    images: Annotated[
        str, typer.Argument(help="The new images: a folder, a list, parquet, tar, hub:owner/name, bundled.")
    ],
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out files that cannot be read.")
    ] = False,
    ledger: LedgerFolder = None,
    json_: o.Json = False,
) -> None:
    """Compare new images with the erased list, before anyone trains on them.

    Exit code 1 if an image, or a copy of it, was erased. `efface train`, `unlearn` and `plan` ask the same with --ledger.

    Example: efface requests set check /data/new-portraits"""
    from efface.images.scanning import scan
    from efface.images.sources import open_images
    from efface.ledger.erased import erased_among
    from efface.progress import Progress

    opened, progress = open_ledger(ledger), Progress.on_terminal()
    try:
        given = open_images(images, skip_unreadable=skip_unreadable, progress=progress.count)
        scanned = scan(given, progress=progress.count)
        readable = given.without({fault.id for fault in scanned.faults})
        erased = erased_among(opened, readable, scanned.of(readable), progress.count)
    finally:
        progress.finish_counting()
    if json_:
        o.show({"images": len(readable), "erased": [image.as_dict() for image in erased]})
    else:
        for image in erased:
            o.say(image)
        o.say(f"{len(erased)} of {counted(len(readable), 'image')} were erased on request")
        if scanned.faults:
            o.say(f"{counted(len(scanned.faults), 'image')} cannot be decoded and could not be compared")
    if erased:
        raise typer.Exit(1)
