"""The tables of `forgetting/statistics.md`.

One table is the catalogue; the other is what retraining against itself gives at finite numbers of models, simulated.
"""

from __future__ import annotations

import re

from efface.forgetting.declared import StatisticInfo, statistics
from efface.forgetting.distributions import energy_distance, klom, kolmogorov_smirnov
from efface.randomness import numpy_draws

BETTER = {"up": "up", "down": "down", "match_retrained": "as the retrained model"}
MODELS = (8, 16, 64, 512)
EXAMPLES = 100


def table(name: str) -> str:
    """`catalogue` or `retrained`."""
    return {"catalogue": catalogue, "retrained": retrained}[name]()


def heading(info: StatisticInfo) -> str:
    """The title of a statistic's section."""
    return f"{info.title} (`{info.name}`)"


def anchor(title: str) -> str:
    """What a link to a heading is called, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def catalogue() -> str:
    """One line for each statistic."""
    lines = ["| statistic | what it says | range | better | reads | source |", "|---|---|---|---|---|---|"]
    for info in statistics().values():
        link = f"[{info.title}](#{anchor(heading(info))})"
        cells = [link, info.summary, info.range, BETTER[info.direction], info.reads, info.source]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def retrained() -> str:
    """Means over examples whose two sides have one normal law with standard deviation 1."""
    lines = [
        "| models a side | KS statistic | called different | KLoM | energy distance |",
        "|---|---|---|---|---|",
    ]
    for models in MODELS:
        draws = numpy_draws(0, "statistics-page", models)
        one, other = draws.normal(size=(2, models, EXAMPLES))
        test = kolmogorov_smirnov(one, other)
        means = (
            test.statistic.mean(), test.rejected, klom(one, other).mean(), energy_distance(one, other).mean()
        )  # fmt: skip
        lines.append(f"| {models} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
    return "\n".join(lines) + "\n"
