"""`efface purge`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import efface.cli.options as o


def purge(
    run: Annotated[Path, typer.Argument(help="A finished or stopped run.")],
    config: Annotated[
        bool,
        typer.Option(
            "--config",
            help="Also put keyed words in the place of the labels, places and texts in config.yaml, of a finished run.",
        ),
    ] = False,
) -> None:
    """Remove the working files of a run.

    Caches and checkpoints hold forgotten images.

    A run that is not finished starts from its beginning afterwards.
    """
    from efface.jobs.concluding import purge_config, record_purge
    from efface.runs.folder import RunFolder, open_run

    with RunFolder(run, open_run(run)) as held:
        working = record_purge(held)
        if config:
            purge_config(held)
    o.say(f"{working.removed} working files removed from {run}")
    if working.living_on:
        o.say(f"{working.living_on} of them have another name elsewhere, where their content lives on")
    if working.kept:
        o.say(f"left, because they changed while they were removed: {', '.join(working.kept)}")
    if config:
        o.say(
            f"{run}/config.yaml holds keyed words in the place of labels, places and texts: the run can no longer be "
            "continued or rerun, and runs of one chain of requests must lie beside each other to be followed"
        )
