"""The page of a forgetting score: `DIR/score.html`, one file that needs nothing beside it.

The score stands between its floor and its ceiling, never alone; then the epsilon of all examples, and the examples
on which unlearned and retrained models differ most, by the names that were given.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from efface.errors import InputError
from efface.files import write_text
from efface.forgetting.comparison import Comparison, Level
from efface.forgetting.official import BIN_WIDTH, CAP, points_of
from efface.reports.canvas import LOOKS, Chart
from efface.reports.charts import Dot, bar_chart, dot_chart
from efface.reports.page import render
from efface.wording import figure, interval

WORST = 20
THIS = "this unlearner"
WORDS = {
    "official": "the rule of the NeurIPS-2023 competition, thresholds chosen and scored on the same models",
    "robust": "thresholds chosen on one half of the models and scored on the other",
}


def write_score_page(found: Comparison, folder: Path, names: Sequence[str] | None = None) -> Path:
    """Write `folder/score.html`, atomically; returns its path.

    `names` `[examples]`: what the page calls each example; None numbers them from 0. Raises `InputError` where there
    are not as many names as examples.
    """
    path = Path(folder) / "score.html"
    write_text(path, render("score.html", **score_content(found, names)))
    return path


def score_content(found: Comparison, names: Sequence[str] | None = None) -> dict[str, Any]:
    """What the template shows, as plain values."""
    examples = len(found.epsilon)
    if names is not None and len(names) != examples:
        raise InputError(f"{len(names)} names for {examples} examples: needs one each")
    worst = np.argsort(-found.epsilon, kind="stable")[:WORST]
    return {
        "found": found,
        "words": WORDS[found.mode],
        "score": figure(found.score),
        "interval": interval(*found.interval),
        "bootstrap": interval(*found.bootstrap),
        "levels": [
            {
                "name": name,
                "about": about,
                "value": figure(level.value),
                "interval": interval(level.low, level.high),
            }
            for name, about, level in _levels(found)
        ],
        "share": None if found.share_of_ceiling is None else f"{100 * found.share_of_ceiling:.0f} %",
        "power": f"{100 * found.power:.0f} %",
        "final": None if found.final.retain_ratio is None and found.final.test_ratio is None else found.final,
        "figure": figure,
        "charts": [_scale_chart(found), _epsilon_chart(found)],
        "examples": examples,
        "median": figure(float(np.median(found.epsilon)), 3),
        "worst": [
            {
                "name": names[place] if names is not None else str(place),
                "epsilon": "cap (50)"
                if found.epsilon[place] >= CAP
                else figure(float(found.epsilon[place]), 3),
                "low": None if found.epsilon_low is None else figure(float(found.epsilon_low[place]), 3),
                "points": figure(float(found.points[place]), 3),
            }
            for place in worst
        ],
        "named": names is not None,
    }


def _levels(found: Comparison) -> list[tuple[str, str, Level]]:
    rows: list[tuple[str, str, Level | None]] = [
        (
            "ceiling",
            "retrained models against other retrained ones: what perfect unlearning gets",
            found.ceiling,
        ),
        (THIS, "the score again, at this number of models", found.score_at_equal_models),
        ("doing nothing", "original models against retrained ones", found.do_nothing),
        ("floor", "models that differ on every example without exception", found.floor),
    ]
    return [(name, about, level) for name, about, level in rows if level is not None]


def _scale_chart(found: Comparison) -> Chart | None:
    dots = [
        Dot(name, level.value, level.low, level.high, LOOKS["unlearned" if name == THIS else "original"])
        for name, _, level in _levels(found)
    ]
    title = f"Between floor and ceiling ({found.equal_models} models a side)"
    return dot_chart("score-scale", title, "score", dots)


def _epsilon_chart(found: Comparison) -> Chart:
    finite = found.epsilon[found.epsilon < CAP]
    bins = max(int(np.ceil((finite.max() if len(finite) else 1) / BIN_WIDTH)), 2) + 1
    counts = np.bincount((finite / BIN_WIDTH).astype(np.int64), minlength=bins)
    capped = len(found.epsilon) - len(finite)
    bars = [(place * BIN_WIDTH, float(count)) for place, count in enumerate(counts)]
    bars += [((len(counts) + 1) * BIN_WIDTH, float(capped))] if capped else []
    whole = float(np.mean(points_of(found.epsilon, found.models) == 1))
    alt = f"Epsilon of {len(found.epsilon)} examples: {100 * whole:.0f} % below {BIN_WIDTH}, {capped} told apart entirely."
    axis = "epsilon; last bar: the cap" if capped else "epsilon"
    return bar_chart("score-epsilon", "Epsilon of each example", axis, "examples", bars, BIN_WIDTH, alt)
