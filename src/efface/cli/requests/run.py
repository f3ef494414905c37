"""`efface requests run`"""

from __future__ import annotations

from typing import Annotated

import typer

import efface.cli.options as o
from efface.cli.requests.options import By, LedgerFolder, actor, open_ledger
from efface.wording import counted


def run(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    ledger: LedgerFolder = None,
    by: By = None,
    json_: o.Json = False,
) -> None:
    """Carry out approved requests: for every affected model in service one run over the images of all of them.

    Images that were erased before are kept out. The model that comes of it takes the place of the old one where the
    policy's requirements are met and it is not ruined; else its requests need input. Made for cron, Slurm and Kubernetes:
    a start goes on where one before was stopped, and a second one at the same time leaves at once.

    Exit codes: 0 nothing is left; 3 another process is at work; 4 stopped, start it anew; 6 requests wait for a person.

    Example: efface requests run --ledger /srv/ledger"""
    from efface.errors import RequirementsNotMet
    from efface.progress import Progress
    from efface.requests.work import run_requests

    result = run_requests(open_ledger(ledger), actor(by), Progress.on_terminal(), dry_run)
    if json_:
        o.show(result.as_dict())
    else:
        for one in result.work:
            what = f" -> {one.made}" if one.made else f": {one.reason}" if one.reason else ""
            o.say(
                f"{one.model}  {one.state}{what}  {counted(one.images, 'image')} of {', '.join(one.requests)}  {one.run}"
            )
        o.say(f"{counted(len(result.work), 'run')}, {counted(len(result.done), 'request')} done")
    if result.waiting:
        raise RequirementsNotMet(
            f"{counted(len(result.waiting), 'request waits', 'requests wait')} for a person: {', '.join(result.waiting)}"
        )
