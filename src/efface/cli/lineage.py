"""`efface lineage`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import efface.cli.options as o
from efface.wording import counted

if TYPE_CHECKING:
    from efface.evaluation.drift import Advice
    from efface.runs.lineage import Lineage


def lineage(
    run: Annotated[Path, typer.Argument(help="A finished unlearning run, or its model.")],
    limit: Annotated[
        str, typer.Option(help="Error on retain images over the first original's that is allowed.")
    ] = "1.05x",
    evaluation: Annotated[
        list[Path] | None,
        typer.Option(
            help="An `efface evaluate` run of the latest model: its error against the first original, and on images "
            "forgotten earlier. May be repeated."
        ),
    ] = None,
    json_: o.Json = False,
) -> None:
    """Show the requests behind a model, and when to retrain.

    Follows the records of unlearning runs back, one model to the one before it. The advice is a rule of thumb."""
    from efface.evaluation.drift import Limits, retrain_due
    from efface.runs.lineage import follow

    limits = Limits(retain=_ratio(limit))
    chain = follow(run)
    advice = retrain_due(chain.history(evaluation or ()), limits)
    if json_:
        o.show({**chain.as_dict(), "limits": limits.as_dict(), "advice": advice.as_dict()})
    else:
        _tell(chain, advice)


def _ratio(text: str) -> float:
    from efface.errors import InputError

    try:
        value = float(text.strip().removesuffix("x"))
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise InputError(f"--limit '{text}': write it as a ratio above 0, for example 1.05x")
    return value


def _tell(chain: Lineage, advice: Advice) -> None:
    o.say(f"begins with: {chain.begins}" + ("" if chain.whole else " (not followed further)"))
    for number, link in enumerate(chain.links, 1):
        cost = "not measured" if link.measured.cost is None else f"{link.measured.cost:.3f}x"
        request = f"request {link.request}, " if link.request else ""
        images = counted(link.forgotten, "image")
        left_out = f", {link.left_out} forgotten earlier left out" if link.left_out else ""
        o.say(f"{number:>3}  {link.run}: {request}{link.method}, {images}{left_out}, error on retain {cost}")
    if advice.cost is not None:
        o.say(f"error on retain images over the first original's: {advice.cost:.3f}x")
    for broken in chain.breaks:
        o.say(f"does not fit: {broken}")
    o.say(f"advice: {advice.words}")
    for text in (*advice.reasons, *advice.notes):
        o.say(f"  - {text}")
