"""The tables of `docs/forgetting/statistics.md`, between their marker comments: `python docs/make_statistics.py`.

One table is the catalogue; the other is what retraining against itself gives at finite numbers of models, simulated.
"""

from __future__ import annotations

import re
from pathlib import Path

from efface.forgetting.declared import StatisticInfo, statistics
from efface.forgetting.distributions import energy_distance, klom, kolmogorov_smirnov
from efface.randomness import numpy_draws

PAGE = Path(__file__).parent / "forgetting" / "statistics.md"
BETTER = {"up": "up", "down": "down", "match_retrained": "as the retrained model"}
MODELS = (8, 16, 64, 512)
EXAMPLES = 100


def page(text: str) -> str:
    """`text` with all tables made anew; a marker that is missing is an error."""
    for name, made in (("catalogue", catalogue()), ("retrained", retrained())):
        parts = re.split(rf"(<!-- {name}: begin.*? -->\n|<!-- {name}: end -->\n)", text)
        if len(parts) != 5:
            raise SystemExit(f"{PAGE}: needs the two marker comments of the table '{name}' once, in order")
        text = "".join((parts[0], parts[1], made, parts[3], parts[4]))
    return text


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


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(PAGE)
