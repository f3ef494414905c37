"""`efface demo`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import efface.cli.options as o


def demo(
    out: Annotated[Path, typer.Option(help="Where the demo's three runs go.")] = Path("runs/demo"),
    generator: Annotated[str, typer.Option(help="The family to show: mae, mage or palette.")] = "mae",
    method: o.Method = None,
    seed: o.Seed = None,
    short: Annotated[
        bool,
        typer.Option(
            "--short", help="A few steps only, to see that everything runs; the figures mean nothing."
        ),
    ] = False,
    json_: o.Json = False,
) -> None:
    """Train a model on bundled photos and make it forget two.

    Shows the whole job with nothing to download: about three minutes on two cores with mae,
    more with the others. The runs are
    OUT/original, OUT/retrained and OUT/unlearned; the page is OUT/unlearned/report.html."""
    from efface.cli.outcome import refuse_unmet, tell_run
    from efface.jobs.demo import demo as run
    from efface.methods import GENERATOR_METHODS
    from efface.progress import Progress

    name = GENERATOR_METHODS.named(method).name if method else None
    result = run(out, name, seed or 0, generator=generator, short=short, progress=Progress.on_terminal())
    tell_run(result, json_)
    refuse_unmet(result)
