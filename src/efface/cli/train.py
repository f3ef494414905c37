"""`efface train`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import efface.cli.options as o


def train(
    context: typer.Context,
    out: Annotated[Path | None, typer.Option(help="The run folder. The same command continues it.")] = None,
    images: Annotated[str | None, typer.Option(help="The images to train on, as for unlearn.")] = None,
    without: Annotated[
        list[str] | None, typer.Option(help=f"What to leave out: {o.SELECTOR}. May be repeated.")
    ] = None,
    neutral: o.Neutral = None,
    generator: Annotated[
        str | None, typer.Option(help="The family: mae (default), ... See: efface list generators.")
    ] = None,
    classifier: Annotated[
        str | None,
        typer.Option(help="Instead of a generator: resnet18, small-conv or mlp. Its classes are the labels."),
    ] = None,
    size: Annotated[str | None, typer.Option(help="tiny (default), small, base or large.")] = None,
    like: Annotated[str | None, typer.Option(help="A model whose family and shape are taken over.")] = None,
    keep_first_stage: Annotated[
        bool,
        typer.Option(
            "--keep-first-stage", help="With --like: take over its tokenizer or VAE, trained as it is."
        ),
    ] = False,
    budget: o.Budget = None,
    seed: o.Seed = None,
    duplicates: o.Duplicates = None,
    skip_unreadable: o.SkipUnreadable = False,
    keep_working_files: o.KeepWorkingFiles = False,
    config: o.Config = None,
    set_: o.Set = None,
    json_: o.Json = False,
) -> None:
    """Train a model from scratch.

    For instance the reference: the same images --without those that are to be forgotten."""
    from efface.errors import InputError
    from efface.jobs.kinds import read_config
    from efface.progress import Progress

    if out is None:
        raise InputError("give the run folder with --out RUN")
    values = o.values_of(context, {"size": o.KEYS["size"]})
    read = read_config("train", values)
    from efface.jobs.run import carry_out

    result = carry_out(read, out, Progress.on_terminal())
    if json_:
        o.show({"run": str(result.run), "model": str(result.model), "record": result.record.as_dict()})
    else:
        typer.echo(result.model)
