"""`efface evaluate`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import JsonValue

import efface.cli.options as o


@o.configured(
    "evaluate",
    original="original",
    unlearned="unlearned",
    retrained="retrained",
    yardstick="yardstick",
    images="images.images",
    forget="images.forget",
    retain="images.retain",
    neutral="images.neutral",
    corruption="corruption",
    margin="evaluation.margin",
    ruin="evaluation.ruin",
    extractor="evaluation.extractor",
    probe="probes",
    require="require",
    substitute="substitute",
    duplicates="images.duplicates",
    skip_unreadable="images.skip_unreadable",
    earlier="earlier",
    seed="evaluation.seed",
    device="device",
    keep_working_files="keep_working_files",
    with_pictures="with_pictures",
)
def evaluate(
    values: dict[str, JsonValue],
    run: Annotated[
        Path | None, typer.Argument(help="A finished run, evaluated again with the options given here.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder of the evaluation.")] = None,
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
    config = read_config("evaluate", values if run is None else _of_run(run, values))
    from efface.jobs.run import carry_out

    result = carry_out(config, out, Progress.on_terminal())
    tell_run(result, json_)
    refuse_unmet(result)


def _of_run(run: Path, values: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """The settings of a finished unlearning run, with `values` in their place where given."""
    from efface.errors import InputError
    from efface.jobs.kinds import KINDS
    from efface.runs.config import NOT_DECIDING
    from efface.runs.folder import open_run
    from efface.runs.people import purged_places

    before = open_run(run)
    if "method" not in before or not (run / "model").is_dir():
        raise InputError(f"{run} is no finished unlearning run: give --original and --unlearned instead")
    fields = set[str]().union(*(kind.configs["evaluate"].model_fields for kind in KINDS.values()))
    kept = fields - {"original", "unlearned", "training", *NOT_DECIDING}
    taken: dict[str, JsonValue] = {
        "original": before["model"],
        "unlearned": {"path": str(run / "model")},
        **{name: value for name, value in before.items() if name in kept},
    }
    if values.get("retrained") and "substitute" not in values:
        # what was declared in the place of this model has served its turn
        taken.pop("substitute", None)
    if "training" in before and {"require", "probes"} & (set(taken) | set(values)):
        taken["training"] = before["training"]
    for name, value in values.items():
        section = taken.get(name)
        # another model brings its own settings; other sections keep what is not given anew
        if isinstance(section, dict) and isinstance(value, dict) and "path" not in value:
            taken[name] = {**section, **value}
        else:
            taken[name] = value
    if purged := list(dict.fromkeys(place.removesuffix(".path") for place in purged_places(taken))):
        raise InputError(
            f"{run}/config.yaml was purged of names and places (efface purge --config); give anew: "
            + ", ".join(f"--{place.rpartition('.')[2].replace('_', '-')}" for place in purged)
        )
    return taken
