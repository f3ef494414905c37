"""`efface unlearn`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import efface.cli.options as o


def unlearn(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Argument(help="The trained model: a folder, a hub id, or a released .pth file.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder. The same command continues it.")] = None,
    forget: o.Forget = None,
    images: o.Images = None,
    retain: o.Retain = None,
    proxy_retain: o.ProxyRetain = None,
    neutral: o.Neutral = None,
    retrained: o.Retrained = None,
    method: o.Method = None,
    corruption: o.Corruption = None,
    budget: o.Budget = None,
    seed: o.Seed = None,
    duplicates: o.Duplicates = None,
    skip_unreadable: o.SkipUnreadable = False,
    extractor: o.Extractor = None,
    probe: o.Probe = None,
    require: o.Require = None,
    substitute: o.Substitute = None,
    keep_working_files: o.KeepWorkingFiles = False,
    with_pictures: o.WithPictures = False,
    config: o.Config = None,
    set_: o.Set = None,
    json_: o.Json = False,
) -> None:
    """Make a model forget chosen images.

    Leaves RUN/model, results.json, record.json, report.html and log.jsonl; probes.json and requirements.json
    if asked for.

    Two ways to say which images: --forget and --retain as folders of their own, or --images with all
    that the model was trained on and --forget choosing within it. Of a classifier, folders or a manifest
    also name the class of each image.
    """
    from efface.cli.outcome import refuse_unmet, tell_run
    from efface.errors import InputError
    from efface.jobs.kinds import read_config
    from efface.progress import Progress

    if out is None:
        raise InputError("give the run folder with --out RUN")
    values = o.values_of(context)
    read = read_config("unlearn", values)
    from efface.jobs.run import carry_out

    result = carry_out(read, out, Progress.on_terminal())
    tell_run(result.run, result.rows, json_, result.requirements, result.probes)
    refuse_unmet(result.requirements)
