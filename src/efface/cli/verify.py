"""`efface verify`"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from pydantic import JsonValue

import efface.cli.options as o


def verify(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    source_models: Annotated[
        bool, typer.Option(help="Read the models again that the run started from, where they still lie.")
    ] = True,
    key: Annotated[
        Path | None, typer.Option(help="The key of the run, if `run.key` is kept elsewhere.")
    ] = None,
    public_key: Annotated[
        Path | None, typer.Option(help="The signer's public key (PEM), to check signatures in the run.")
    ] = None,
    rerun: Annotated[
        bool, typer.Option("--rerun", help="Train the model again, and compare its weights.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="With --rerun: where the model lies with which the run began.")
    ] = None,
    images: Annotated[
        str | None, typer.Option(help="With --rerun: where the images lie of which the run chose.")
    ] = None,
    forget: Annotated[
        list[str] | None, typer.Option(help="With --rerun: the forget images, as in unlearn.")
    ] = None,
    retain: Annotated[
        list[str] | None, typer.Option(help="With --rerun: the retain images, as in unlearn.")
    ] = None,
    neutral: Annotated[
        list[str] | None, typer.Option(help="With --rerun: the neutral images, as in unlearn.")
    ] = None,
    json_: o.Json = False,
) -> None:
    """Check a run against its seal and its record.

    Computes every digest again. Each check matches, differs, could not be made (and why), or is of a file that nothing
    binds; exit code 5 if anything differs.

    --public-key checks every *.sig that lies in the run or its model, through the library model-signing.

    --rerun trains the model again in a temporary folder, with the threads, processes and precision of the run. Where all
    that decides the last bit is alike, its weights match or differ; else what is unlike is named."""
    from efface.errors import InputError, Mismatch
    from efface.reports.anew import check_texts
    from efface.runs.verification import summary
    from efface.runs.verification import verify as check
    from efface.wording import printable

    sets: dict[str, JsonValue] = {
        "images": images,
        "forget": list[JsonValue](forget or ()),
        "retain": list[JsonValue](retain or ()),
        "neutral": list[JsonValue](neutral or ()),
    }
    places = {name: value for name, value in sets.items() if value}
    if (places or model) and not rerun:
        raise InputError("places of models and images go with --rerun")
    checks = check(run, source_models, key, public_key)
    checks += check_texts(run, checks)
    if rerun:
        from efface.jobs.rerun import rerun as train_again
        from efface.progress import Progress

        checks.append(train_again(run, places, model, key, Progress.on_terminal()))
    differing = [found for found in checks if not found.passed]
    if json_:
        o.show(
            {
                "run": str(run),
                "checks": [asdict(found) for found in checks],
                "passed": not differing,
                "summary": summary(checks),
            }
        )
    else:
        width = max(len(printable(found.what)) for found in checks)
        for found in checks:
            line = f"{printable(found.what):<{width}}  {found.outcome:<11}  {printable(found.detail)}"
            o.say(line.rstrip())
        o.say(summary(checks))
    if differing:
        what = ", ".join(printable(found.what) for found in differing)
        raise Mismatch(f"{len(differing)} of {len(checks)} checks failed: {what}")
