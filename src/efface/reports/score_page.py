"""The page of a forgetting score: `DIR/score.html`, one file that needs nothing beside it.

The score stands between its floor and its ceiling, never alone; then the epsilon of all examples, and the examples
on which unlearned and retrained models differ most, by the names that were given.
"""

from __future__ import annotations

from pathlib import Path

from efface.files import write_text
from efface.reports.canvas import LOOKS, Chart
from efface.reports.charts import Dot, bar_chart, dot_chart
from efface.reports.page import render
from efface.runs.score import ScoreFacts, ScoreRange
from efface.wording import figure, interval

THIS = "this unlearner"
WORDS = {
    "official": "the rule of the NeurIPS-2023 competition, thresholds chosen and scored on the same models",
    "robust": "thresholds chosen on one half of the models and scored on the other",
}


def write_score_page(facts: ScoreFacts, folder: Path) -> Path:
    """Write `folder/score.html`, atomically; returns its path."""
    path = Path(folder) / "score.html"
    text = render(
        "score.html",
        facts=facts,
        words=WORDS[facts.mode],
        levels=_levels(facts),
        charts=[chart for chart in (_scale_chart(facts), _epsilon_chart(facts)) if chart],
        figure=figure,
        interval=interval,
    )
    write_text(path, text)
    return path


def _levels(facts: ScoreFacts) -> list[tuple[str, str, ScoreRange]]:
    ceiling = "retrained models against other retrained ones: what perfect unlearning gets"
    levels = [
        ("ceiling", ceiling, facts.ceiling),
        (THIS, "the score again, at this number of models", facts.score_at_equal_models),
        ("doing nothing", "original models against retrained ones", facts.do_nothing),
        ("floor", "models that differ on every example without exception", facts.floor),
    ]
    return [(name, about, level) for name, about, level in levels if level is not None]


def _scale_chart(facts: ScoreFacts) -> Chart | None:
    dots = [
        Dot(name, level.value, level.low, level.high, LOOKS["unlearned" if name == THIS else "original"])
        for name, _, level in _levels(facts)
    ]
    return dot_chart(
        "score-scale", f"Between floor and ceiling ({facts.equal_models} models a side)", "score", dots
    )


def _epsilon_chart(facts: ScoreFacts) -> Chart:
    width = facts.bar_width
    bars = [(bar.left, float(bar.count)) for bar in facts.bars]
    bars += [((len(bars) + 1) * width, float(facts.capped))] if facts.capped else []
    alt = (
        f"Epsilon of {facts.examples} examples: {100 * facts.resolved_share:.0f} % below {width}, "
        f"{facts.capped} told apart entirely."
    )
    axis = "epsilon; last bar: the cap" if facts.capped else "epsilon"
    return bar_chart("score-epsilon", "Epsilon of each example", axis, "examples", bars, width, alt)
