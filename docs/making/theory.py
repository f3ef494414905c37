"""Tables and pictures of `theory.md`, from `benchmarks/results/theory.json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from efface.metrics.intervals import student_interval
from making.pictures import RESULTS, panels

PIXEL_NOISE, FEATURES = 1 / 32, 13 * 48
"""Of benchmarks/theory.py: what is added to outputs, and the numbers in the features of an image (tokens, width)."""
SETS = {
    "forget": ("forget", "#d55e00"),
    "neutral_forgotten": ("unseen, forgotten classes", "#e69f00"),
    "neutral_kept": ("unseen, kept classes", "#56b4e9"),
    "retain": ("retain", "#0072b2"),
}
NOISES = {"standard-normal": "N(0, I)", "moment-matched": "forget moments"}
COLUMNS = {
    "output_kl": ("output KL", "{:.1f}"),
    "output_entropy": ("output entropy", "{:.1f}"),
    "bound_same": ("bound, same", "{:.2f}"),
    "bound_linear": ("bound, linear", "{:.2f}"),
    "feature_distance_to_original": ("features moved", "{:.3f}"),
    "hole_error": ("hole error", "{:.4f}"),
}


def table(name: str) -> str:
    """`figures` or `readings`."""
    return {"figures": figures_table, "readings": readings}[name](_result())


def pictures() -> dict[str, Figure]:
    """The pictures of the page."""
    return {
        "theory_training.svg": along_training(_result()),
        "theory_distance.svg": against_distance(_result()),
    }


def figures_table(result: dict[str, Any]) -> str:
    """First and last stage of both noises, what noise itself gives, and the retrained model, set by set."""
    last = result["stages"][-1]
    models = {"standard-normal 0": "original"}
    for noise, shown in NOISES.items():
        models |= {f"{noise} {stage}": f"{shown}, {stage} steps" for stage in (10, 100, last)}
        models[f"{noise} itself"] = f"{shown}: the noise itself"
    models["retrained"] = "retrained"
    heads = ["set", "model", *(head for head, _ in COLUMNS.values())]
    lines = ["| " + " | ".join(heads) + " |", "|---|---|" + "---:|" * len(COLUMNS)]
    for name, (shown_set, _) in SETS.items():
        first = shown_set
        for model, shown in models.items():
            figures = result["figures"][model].get(name)
            if figures is None:
                continue
            cells = [written(figures[column], form) for column, (_, form) in COLUMNS.items()]
            lines.append("| " + " | ".join([first, shown, *cells]) + " |")
            first = ""
    return "\n".join(lines) + "\n"


def readings(result: dict[str, Any]) -> str:
    """What the text reads off: differences and ratios taken seed by seed, after the last stage."""
    last = result["stages"][-1]

    def values(model: str, name: str, column: str) -> npt.NDArray[np.float64]:
        return np.array(result["figures"][model][name][column]["values"])

    def best(model: str) -> npt.NDArray[np.float64]:
        return np.maximum(values(model, "forget", "bound_same"), values(model, "forget", "bound_linear"))

    def harm_allowed(model: str) -> npt.NDArray[np.float64]:
        moved = values(model, "retain", "feature_distance_to_original") * FEATURES
        return values(model, "retain", "stretch") ** 2 * moved / (2 * PIXEL_NOISE**2)

    rows: dict[str, list[str]] = {}
    for noise in NOISES:
        end, start = f"{noise} {last}", f"{noise} 0"
        for name, (shown, _) in SETS.items():
            for column, what in (("bound_same", "bound"), ("hole_error", "hole error")):
                ratio = values(end, name, column) / values(start, name, column)
                rows.setdefault(f"{what} over the original's, {shown}", []).append(over_seeds(ratio))
        lines = {
            "bound, linear minus same, forget, 10 steps": values(f"{noise} 10", "forget", "bound_linear")
            - values(f"{noise} 10", "forget", "bound_same"),
            f"the same, {last} steps": values(end, "forget", "bound_linear")
            - values(end, "forget", "bound_same"),
            "larger of both bounds minus the retrained model's, forget": best(end) - best("retrained"),
            "hole error over the retrained model's, forget": values(end, "forget", "hole_error")
            / values("retrained", "forget", "hole_error"),
            "output entropy minus the original's, forget": values(end, "forget", "output_entropy")
            - values(start, "forget", "output_entropy"),
            "the same of the answers to the noise itself": values(
                f"{noise} itself", "forget", "output_entropy"
            )
            - values(start, "forget", "output_entropy"),
            "distance of forget features to their targets": values(
                end, "forget", "feature_distance_to_target"
            ),
            "of it, the targets' own variance": values(end, "forget", "target_variance"),
            "divergence that section 5 allows on retain, nats, at least": harm_allowed(end),
        }
        for what, found in lines.items():
            rows.setdefault(what, []).append(over_seeds(found))
    head = ["| what | " + " | ".join(NOISES.values()) + " |", "|---|" + "---:|" * len(NOISES)]
    return (
        "\n".join([*head, *(f"| {what} | " + " | ".join(cells) + " |" for what, cells in rows.items())])
        + "\n"
    )


def over_seeds(values: npt.NDArray[np.float64]) -> str:
    """Mean and half of Student's 95 % interval."""
    interval = student_interval(values)
    assert interval is not None
    half = interval.high - interval.value
    digits = 0 if abs(values.mean()) >= 100 else 2
    return f"{values.mean():.{digits}f} ± {half:.{digits}f}"


def written(figure: dict[str, Any], form: str) -> str:
    mean = form.format(figure["mean"])
    return f"{mean} ± {form.format(figure['high'] - figure['mean'])}" if "high" in figure else mean


def along_training(result: dict[str, Any]) -> Figure:
    """Divergence, bound and error against steps, with the retrained model's value at the right end."""
    parts = {
        "output_kl": "output KL to the original, nats",
        "bound_same": "InfoNCE bound, nats",
        "hole_error": "error in the hole",
    }
    figure, axes = panels(3, 9, 3.4)
    stages = result["stages"]
    places = range(len(stages))
    for panel, (column, label) in zip(axes, parts.items(), strict=True):
        for name, (shown, colour) in SETS.items():
            curve(panel, places, points(result, name, column), colour, "-", shown)
            if column == "bound_same":
                curve(panel, places, points(result, name, "bound_linear"), colour, ":", None)
            retrained = result["figures"]["retrained"][name][column]["mean"]
            panel.plot([len(stages) - 0.4], [retrained], "<", color=colour, clip_on=False)
        panel.set(ylabel=label, xlabel="steps of encoder-noise, N(0, I)", xlim=(-0.2, len(stages) - 0.3))
        panel.set_xticks(list(places), [str(stage) for stage in stages])
    axes[0].set_yscale("symlog", linthresh=1)
    axes[0].set_ylim(0, None)
    axes[1].axhline(result["cap_of_the_bound"], color="#888888", linewidth=0.8)
    axes[1].text(len(stages) - 1.6, result["cap_of_the_bound"], "cap", color="#888888", va="bottom")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def points(result: dict[str, Any], name: str, column: str) -> list[dict[str, Any]]:
    return [result["figures"][f"standard-normal {stage}"][name][column] for stage in result["stages"]]


def curve(
    panel: plt.Axes,
    places: Sequence[int],
    figures: list[dict[str, Any]],
    colour: str,
    line: str,
    label: str | None,
) -> None:
    panel.plot(places, [figure["mean"] for figure in figures], line, color=colour, label=label)
    if label:
        low, high = ([figure.get(end, figure["mean"]) for figure in figures] for end in ("low", "high"))
        panel.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)


def against_distance(result: dict[str, Any]) -> Figure:
    """Every seed, set and stage: the bound and the divergence against how far the features moved."""
    figure, axes = panels(2, 8, 3.2)
    for panel, (column, label) in zip(
        axes,
        {"bound_same": "InfoNCE bound, nats", "output_kl": "output KL to the original, nats"}.items(),
        strict=True,
    ):
        for name, (shown, colour) in SETS.items():
            for noise, marker in (("standard-normal", "o"), ("moment-matched", "x")):
                models = [result["figures"][f"{noise} {stage}"][name] for stage in result["stages"][1:]]
                x = [v for model in models for v in model["feature_distance_to_original"]["values"]]
                y = [v for model in models for v in model[column]["values"]]
                shown_as = shown if marker == "o" else None
                panel.plot(x, y, marker, color=colour, markersize=3, linestyle="none", label=shown_as)
        panel.set(xscale="log", xlabel="mean squared distance of features to the original's", ylabel=label)
        panel.set_xticks([0.02, 0.05, 0.1, 0.2, 0.5], ["0.02", "0.05", "0.1", "0.2", "0.5"])
        panel.minorticks_off()
    axes[1].set_yscale("log")
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=4,
        frameon=False,
        markerscale=1.5,
    )
    return figure


def _result() -> dict[str, Any]:
    result: dict[str, Any] = json.loads((RESULTS / "theory.json").read_text(encoding="utf-8"))
    return result
