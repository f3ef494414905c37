"""`efface score`"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import efface.cli.options as o
from efface.wording import counted, interval

if TYPE_CHECKING:
    from efface.forgetting.facts import ScoreFacts


class Mode(StrEnum):
    official = "official"
    robust = "robust"


ARRAY = "a .npy file [models, examples] of logit-scaled confidences on the forget examples"


def score(
    unlearned: Annotated[Path, typer.Option(help=f"Unlearned models: {ARRAY}.")],
    retrained: Annotated[
        Path,
        typer.Option(
            help="Retrained models, likewise. Twice as many as unlearned ones give the ceiling at full number."
        ),
    ],
    original: Annotated[
        Path | None, typer.Option(help="Original models, likewise (or one): the value of doing nothing.")
    ] = None,
    retain_accuracy: Annotated[
        tuple[float, float] | None,
        typer.Option(
            help="Mean accuracy on retain examples: unlearned, retrained.", metavar="UNLEARNED RETRAINED"
        ),
    ] = None,
    test_accuracy: Annotated[
        tuple[float, float] | None,
        typer.Option(
            help="Mean accuracy on test examples: unlearned, retrained.", metavar="UNLEARNED RETRAINED"
        ),
    ] = None,
    mode: Annotated[
        Mode, typer.Option(help="The competition's rule, or thresholds chosen on half of the models.")
    ] = Mode.official,
    ids: Annotated[
        Path | None, typer.Option(help="A text file with a name for each example, a line each, for the page.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A folder for score.html and score.json.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of every choice of models.")] = 0,
    json_: o.Json = False,
) -> None:
    """Score unlearned models against retrained ones.

    As the first NeurIPS unlearning competition did, beside the score's ceiling and floor. Works on arrays
    alone; needs no model and no image.
    """
    import numpy as np

    from efface.arrays import read_array
    from efface.errors import Faults, InputError
    from efface.forgetting.comparison import compare
    from efface.forgetting.facts import facts_of
    from efface.forgetting.sameness import same_arrays

    paths = {"--unlearned": unlearned, "--retrained": retrained} | (
        {"--original": original} if original else {}
    )
    with Faults("these files cannot be scored") as faults:
        read = {name: faults.tried(read_array, path, name) for name, path in paths.items()}
        arrays = {name: array for name, array in read.items() if array is not None}
        names = faults.tried(_names, ids) if ids else None
        first = arrays.get("--unlearned")
        if names is not None and first is not None and first.ndim == 2 and len(names) != first.shape[1]:
            faults.add(f"--ids {ids}: {counted(len(names), 'name')} for {first.shape[1]} examples")
    comparison = compare(
        *arrays.values(),
        retain_accuracy=retain_accuracy,
        test_accuracy=test_accuracy,
        mode=mode.value,
        seed=seed,
    )
    sides = {name.removeprefix("--"): np.asarray(array, np.float64) for name, array in arrays.items()}
    if same := same_arrays(sides):
        raise InputError(*same, what="these files cannot be scored" if len(same) > 1 else "")
    facts = facts_of(comparison, names)
    page = None
    if out:
        from efface.reports.score_page import write_score_page
        from efface.runs.score import write_score

        write_score(facts, out)
        page = write_score_page(facts, out)
    if json_:
        o.show(facts.as_dict())
        return
    _tell(facts)
    if page:
        o.say(page)


def _names(path: Path) -> list[str]:
    from efface.documents import read_text

    return read_text(path, "--ids").splitlines()


def _tell(facts: ScoreFacts) -> None:
    apart, tail, by_chance = facts.apart, facts.tail, facts.tail_by_chance
    rows = [
        (
            f"score ({facts.mode})",
            f"{facts.score:.4f}",
            f"{interval(*facts.interval, places=4)}, {facts.models} models a side",
        ),
        (
            "told apart",
            "yes" if apart.told_apart else "no",
            f"p = {apart.p:.2g}; {apart.deals} deals of the labels, so p is at least {apart.smallest_p:g}",
        ),
        (
            "equivalent shift",
            apart.shift_words,
            f"{f'{ends}, ' if (ends := apart.interval_words) else ''}in standard deviations, at any number of models; one "
            f"model is told by one example with AUC {apart.auc_words}",
        ),
    ]
    if tail and by_chance:
        rows += [
            (
                "epsilon, 90 % quantile",
                f"{tail.epsilon_90:.2f}",
                f"over examples; {by_chance.epsilon_90:.2f} with labels dealt anew",
            ),
            (
                "examples shown unlike",
                f"{tail.shown:.1%}",
                f"epsilon above 0 at 95 %, each by itself; {by_chance.shown:.1%} with labels dealt anew",
            ),
        ]
    levels = {
        "the same, fewer models": facts.score_at_equal_models if facts.equal_models != facts.models else None,
        "ceiling": facts.ceiling,
        "doing nothing": facts.do_nothing,
        "floor": facts.floor,
    }
    for name, level in levels.items():
        if level:
            rows.append(
                (
                    name,
                    f"{level.value:.4f}",
                    f"{interval(level.low, level.high, places=4)}, {facts.equal_models} models a side",
                )
            )
    final = facts.final
    ratios = [
        f"{name} ratio {ratio:.4f}"
        for name, ratio in (("retain", final.retain_ratio), ("test", final.test_ratio))
        if ratio
    ]
    if ratios:
        rows.append(
            (
                "final score",
                f"{final.value:.4f}",
                f"score x {' x '.join(ratios)}; {final.clipped:.4f} with ratios cut at 1",
            )
        )
    for name, value, rest in rows:
        o.say(f"{name:<22}  {value:>7}  {rest}")
    o.say(facts.verdict)
    for note in (*facts.notes, *facts.resolution):
        o.say(f"note: {note}")
