"""`efface evaluate`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import efface.cli.options as o


def evaluate(
    context: typer.Context,
    run: Annotated[
        Path | None, typer.Argument(help="A finished run, evaluated again with the options given here.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder of the evaluation.")] = None,
    original: Annotated[str | None, typer.Option(help="The model before unlearning.")] = None,
    unlearned: Annotated[str | None, typer.Option(help="The model after unlearning.")] = None,
    retrained: o.Retrained = None,
    images: o.Images = None,
    forget: o.Forget = None,
    retain: o.Retain = None,
    neutral: o.Neutral = None,
    corruption: o.Corruption = None,
    extractor: o.Extractor = None,
    probe: o.Probe = None,
    require: o.Require = None,
    substitute: o.Substitute = None,
    duplicates: o.Duplicates = None,
    skip_unreadable: o.SkipUnreadable = False,
    seed: o.Seed = None,
    keep_working_files: o.KeepWorkingFiles = False,
    with_pictures: o.WithPictures = False,
    config: o.Config = None,
    set_: o.Set = None,
    json_: o.Json = False,
) -> None:
    """Compare models that are there already.

    Gives the same figures, record and page as unlearning does."""
    from efface.cli.outcome import refuse_unmet, tell_run
    from efface.errors import InputError
    from efface.jobs.kinds import read_config
    from efface.progress import Progress

    if out is None:
        raise InputError("give a folder for the evaluation with --out DIR")
    values = o.values_of(context, {**o.KEYS, "seed": "evaluation.seed"})
    if run is not None:
        values = _of_run(run, values)
    read = read_config("evaluate", values)
    from efface.jobs.run import carry_out

    result = carry_out(read, out, Progress.on_terminal())
    tell_run(result.run, result.rows, json_, result.requirements, result.probes)
    refuse_unmet(result.requirements)


def _of_run(run: Path, values: dict[str, object]) -> dict[str, object]:
    """The settings of a finished unlearning run, with `values` in their place where given."""
    from efface.errors import InputError
    from efface.runs.folder import open_run

    found = open_run(run)
    if "method" not in found or not (run / "model").is_dir():
        raise InputError(f"{run} is no finished unlearning run: give --original and --unlearned instead")
    taken: dict[str, object] = {
        "original": found["model"],
        "unlearned": {"path": str(run / "model")},
        **{
            name: found[name]
            for name in (
                "retrained",
                "retrained_stages",
                "images",
                "corruption",
                "evaluation",
                "stored_side",
                "request",
                "require",
                "probes",
                "substitute",
                "recipe",
            )
            if name in found
        },
    }
    if values.get("retrained") and "substitute" not in values:
        # what was declared in the place of this model has served its turn
        taken.pop("substitute", None)
    if "training" in found and {"require", "probes"} & (set(taken) | set(values)):
        taken["training"] = found["training"]
    for name, value in values.items():
        before = taken.get(name)
        # another model brings its own settings; other sections keep what is not given anew
        if isinstance(before, dict) and isinstance(value, dict) and "path" not in value:
            taken[name] = {**before, **value}
        else:
            taken[name] = value
    return taken
