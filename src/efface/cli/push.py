"""`efface push`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import efface.cli.options as o


def push(
    run: Annotated[Path, typer.Argument(help="A finished run that made a model.")],
    to: Annotated[str, typer.Argument(help="The repository on the hub: hub:owner/name.")],
    yes: Annotated[
        bool, typer.Option("--yes", help="Send it. Without, only what would be sent is said.")
    ] = False,
    public: Annotated[bool, typer.Option("--public", help="Let everyone read the repository.")] = False,
    with_record: Annotated[
        bool,
        typer.Option(
            "--with-record", help="Send record.json too. It states the request, by number and words."
        ),
    ] = False,
    json_: o.Json = False,
) -> None:
    """Send a run's model and its card to the Hugging Face hub; a dry run unless --yes is given.

    The repository is private unless --public is given. A run that is not finished, that `efface verify` finds changed, or
    whose model is ruined, is refused. The hub's own login is used: hf auth login.
    """
    from efface.jobs.pushing import parcel, send

    found = parcel(run, to, public, with_record)
    address = send(found) if yes else None
    if json_:
        o.show({"repository": found.repository, "public": public, "files": found.sizes, "sent": address})
        return
    width = max(map(len, found.sizes))
    if address:
        o.say(f"sent to {address}")
        return
    o.say(found.card)
    reader = "everyone may read" if public else "private"
    o.say(f"This would go to hub:{found.repository} ({reader}):")
    for name, size in found.sizes.items():
        o.say(f"  {name:<{width}}  {size:>14,} bytes")
    o.say(f"  {'in all':<{width}}  {sum(found.sizes.values()):>14,} bytes")
    for remark in found.remarks:
        o.say(f"note: {remark}")
    o.say("Nothing was sent. Say --yes to send it.")
