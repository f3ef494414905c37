"""The tables of `forgetting/statistics.md`.

One is the catalogue, one what retraining against itself gives at finite numbers of models, simulated; two show what the
relative tests do, from `benchmarks/results/relative_tests.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from efface.forgetting.declared import StatisticInfo, statistics
from efface.forgetting.distributions import energy_distance, klom, kolmogorov_smirnov
from efface.randomness import numpy_draws

BETTER = {"up": "up", "down": "down", "match_retrained": "as the retrained model"}
MODELS = (8, 16, 64, 512)
EXAMPLES = 100
MEASURED = Path(__file__).parents[2] / "benchmarks" / "results" / "relative_tests.json"
RELATIVE = {
    "relative-mmd": {
        "mmd": "of models", "mmd_published": "of models, as published", "mmd_photos": "of photos"
    },
    "relative-divergence": {
        "divergence_hockey-stick": "hockey-stick, of models", "divergence_chi-square": "chi-square, of models",
        "divergence_photos": "hockey-stick, of photos",
    },
}  # fmt: skip
"""The parts of the results that a table shows, and what its lines are called."""


def table(name: str) -> str:
    """`catalogue`, `retrained`, `relative-mmd` or `relative-divergence`."""
    if name.startswith("relative-"):
        return rejections(RELATIVE[name])
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


def rejections(parts: Mapping[str, str]) -> str:
    """How often a test rejects, by what is true and by the number of rows; where some have no p value, of the others."""
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    lines = ["| test | truth | the hypothesis | rejected |", "|---|---|---|---|"]
    for part, called in parts.items():
        for truth, found in measured[part].items():
            shares = [
                f"{rows} rows: {share['rejected']:.3f}"
                + (
                    f" ({100 * share['without_value']:.0f} % without a value)"
                    if share["without_value"] >= 0.005
                    else ""
                )
                for rows, share in found["by_rows"].items()
            ]
            holds = "holds" if found["hypothesis_holds"] else "does not hold"
            lines.append(f"| {called} | {truth} | {holds} | {'; '.join(shares)} |")
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
