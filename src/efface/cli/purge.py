"""`efface purge`"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

import efface.cli.options as o
from efface.wording import counted


def purge(
    run: Annotated[Path, typer.Argument(help="A finished or stopped run, or the folder of a benchmark.")],
    config: Annotated[
        bool,
        typer.Option(
            "--config",
            help="Also put keyed words in the place of the labels, places and texts in config.yaml, of a finished run.",
        ),
    ] = False,
) -> None:
    """Remove the working files of a run, or what a benchmark keeps of images that are to be forgotten.

    Caches and checkpoints hold forgotten images.

    A run that is not finished starts from its beginning afterwards. A benchmark loses weights and restored pictures, and
    keeps its figures.
    """
    from efface.benchmark.purging import is_benchmark, purge_benchmark
    from efface.errors import InputError
    from efface.jobs.concluding import purge_config, record_purge
    from efface.runs.erasing import working_files
    from efface.runs.folder import RunFolder, hold, is_run

    if is_benchmark(run) and not is_run(run):
        if config:
            raise InputError(f"--config is for runs, and {run} is the folder of a benchmark; leave it out")
        with ExitStack() as lock:
            hold(run, lock)
            purged = purge_benchmark(run)
        o.say(
            f"{counted(purged.removed, 'file')} removed from {run}, restored pictures taken out of "
            f"{purged.without_pictures}"
        )
        return
    with RunFolder(run) as held:
        there = bool(working_files(held.path))
        working = record_purge(held)
        if config:
            purge_config(held)
    if there:
        o.say(f"{counted(working.removed, 'working file')} removed from {run}")
    else:
        o.say(f"no working files are left in {run}; {counted(working.removed, 'was', 'were')} removed before")
    if working.living_on:
        o.say(f"{working.living_on} of them have another name elsewhere, where their content lives on")
    if working.kept:
        o.say(f"left, because they changed while they were removed: {', '.join(working.kept)}")
    if config:
        o.say(
            f"{run}/config.yaml holds keyed words in the place of labels, places and texts: the run can no longer be "
            "continued or rerun, and runs of one chain of requests must lie beside each other to be followed"
        )
