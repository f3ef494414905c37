"""The table and pictures of `forgetting/score.md`, from `score_behaviour.json` and `forgetting_score.json`."""

from __future__ import annotations

import json
from typing import Any

from matplotlib.figure import Figure

from efface.wording import bound
from making.pictures import RESULTS, panels

OFFICIAL, ROBUST = "#d55e00", "#0072b2"


def table(name: str) -> str:
    """`sensitivity`: known changes; `effect`: the equivalent shift; `coverage`, `shifted`: how often answers are right."""
    measured = json.loads((RESULTS / "score_behaviour.json").read_text(encoding="utf-8"))
    if name == "sensitivity":
        sizes = [f"{one}_{models}" for one in ("official", "robust", "shift") for models in (32, 64, 512)]
        rows = {row["change"]: row for row in measured[name]}
        title, heads = "what is different", [one.replace("_", ", ") for one in sizes]
    else:
        rows = measured[name]["null" if name == "coverage" else "shift"]
        sizes = list(next(iter(rows.values())))
        title = "law" if name == "coverage" else "true shift, standard deviations"
        heads = [f"N = {models}" for models in sizes]
    lines = [f"| {title} | " + " | ".join(heads) + " |", "|---" * (1 + len(sizes)) + "|"]
    cell = _effect if name == "effect" else lambda value: bound(value, 3, ())
    lines += [
        f"| {label} | " + " | ".join(cell(row[one]) for one in sizes) + " |" for label, row in rows.items()
    ]
    return "\n".join(lines) + "\n"


def _effect(found: dict[str, float]) -> str:
    return f"{bound(found['mean'], 2, ())}; {found['told_apart']:.0%}; {found['held']:.0%}"


def pictures() -> dict[str, Figure]:
    """The pictures of the page."""
    measured = json.loads((RESULTS / "score_behaviour.json").read_text(encoding="utf-8"))
    seconds = json.loads((RESULTS / "forgetting_score.json").read_text(encoding="utf-8"))["seconds"]
    return {
        "ceiling.svg": ceilings(measured),
        "sensitivity.svg": sensitivity(measured),
        "cost.svg": cost(seconds),
    }


def ceilings(measured: dict[str, Any]) -> Figure:
    """What retraining gets against retraining, by number of models and by unit."""
    figure, (left, right) = panels(2, 8, 2.8)
    models = [row["models"] for row in measured["ceiling"]]
    left.plot(
        models, [row["official"] for row in measured["ceiling"]], "D-", color=OFFICIAL, label="official"
    )
    left.plot(models, [row["robust"] for row in measured["ceiling"]], "s-", color=ROBUST, label="robust")
    ends = [row["interval"] for row in measured["ceiling"]]
    left.fill_between(
        models, [low for low, _ in ends], [high for _, high in ends], color=ROBUST, alpha=0.2, linewidth=0
    )
    left.set(
        xscale="log",
        ylim=(0, 1.1),
        xlabel="models a side",
        ylabel="score",
        title="Retrained against retrained",
    )
    left.set_xticks(models, [str(n) for n in models])
    left.minorticks_off()
    left.legend(frameon=False, loc="center right")
    sigma = [row["sigma"] for row in measured["resolution"]]
    right.plot(sigma, [row["official"] for row in measured["resolution"]], "D-", color=OFFICIAL)
    right.plot(sigma, [row["robust"] for row in measured["resolution"]], "s-", color=ROBUST)
    right.set(
        xscale="log",
        ylim=(0, 1.1),
        xlabel="standard deviation of the confidences",
        title="... in other units",
    )
    return figure


def sensitivity(measured: dict[str, Any]) -> Figure:
    """How the score falls with a change of the confidences, as a share of its ceiling."""
    rows = [row for row in measured["sensitivity"] if row["change"] != "shift of 0.1 sd"][::-1]
    figure, (axes,) = panels(1, 8, 3.4)
    ceiling = {
        mode: next(row[f"{mode}_512"] for row in rows if row["change"] == "none")
        for mode in ("official", "robust")
    }
    for mode, colour, marker in (("official", OFFICIAL, "D"), ("robust", ROBUST, "s")):
        axes.plot(
            [row[f"{mode}_512"] / ceiling[mode] for row in rows],
            range(len(rows)),
            marker,
            color=colour,
            label=mode,
        )
    axes.set_yticks(range(len(rows)), [row["change"] for row in rows])
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set(xlim=(0, 1.1), xlabel="score as a share of its ceiling, 512 models a side")
    axes.legend(frameon=False, loc="center right")
    return figure


def cost(seconds: dict[str, dict[str, dict[str, float]]]) -> Figure:
    """Processor seconds against examples and against models, with a line of proportion beside them."""
    figure, axes = panels(2, 8, 2.8, sharey=True)
    for panel, by, label in zip(axes, ("by_examples", "by_models"), ("images", "models a side"), strict=True):
        for mode, colour, marker in (("official", OFFICIAL, "D-"), ("robust", ROBUST, "s-")):
            places = [int(count) for count in seconds[mode][by]]
            panel.plot(places, list(seconds[mode][by].values()), marker, color=colour, label=mode)
        most = seconds["official"][by][str(places[-1])]
        panel.plot(
            places,
            [most * count / places[-1] for count in places],
            ":",
            color="#888888",
            label="in proportion",
        )
        panel.set(xscale="log", yscale="log", xlabel=label)
        panel.set_xticks(places, [str(count) for count in places])
        panel.minorticks_off()
    axes[0].set(ylabel="processor seconds", title="128 models a side")
    axes[1].set(title="200 images")
    axes[0].legend(frameon=False)
    return figure
