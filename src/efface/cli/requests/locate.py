"""`efface requests locate`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

import efface.cli.options as o
from efface.cli.requests.options import By, LedgerFolder, actor, open_ledger
from efface.wording import counted

if TYPE_CHECKING:
    from efface.requests.locate import Located


def locate(
    requests: Annotated[
        list[str] | None,
        typer.Argument(help="Requests: our ids or their senders'. Default: all that wait for it."),
    ] = None,
    ledger: LedgerFolder = None,
    by: By = None,
    json_: o.Json = False,
) -> None:
    """Look for the images that requests mean, in all sets: equal bytes, copies, look-alikes if the policy wants them.

    Nothing is carried out by it: a person confirms or rejects images, and approves. After a stop, give it again.

    Example: efface requests locate R-00017"""
    from efface.progress import Progress
    from efface.requests.locate import locate, waiting

    opened, progress = open_ledger(ledger), Progress.on_terminal()
    located = []
    try:
        for one in locate(opened, requests or waiting(opened), actor(by), progress.count):
            located.append(one)
            if not json_:
                _tell(one)
    finally:
        progress.finish_counting()
    if json_:
        o.show({"located": [one.as_dict() for one in located]})
    elif not located:
        o.say("no request waits for its images to be located")


def _tell(one: Located) -> None:
    located = ", ".join(
        f"{count} {name}"
        for count, name in (
            (one.exact, "by the same bytes"),
            (one.copies, "by copies"),
            (one.look_alikes, "by features alone"),
        )
        if count
    )
    total = one.exact + one.copies + one.look_alikes
    how = f" ({located}), {one.added} of them new" if total else ""
    o.say(f"{one.request}: {one.state}; {counted(total, 'image')} of the sets{how}")
    if one.erased_before:
        o.say(f"  {counted(one.erased_before, 'image')} of these were erased for an earlier request")
    if one.unreadable:
        o.say(f"  {counted(len(one.unreadable), 'photo')} cannot be read: none of their copies is found")
    if one.hashes_only:
        o.say(f"  {counted(one.hashes_only, 'image')} came as a hash: only the same bytes are found")
