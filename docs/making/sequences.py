"""Tables and picture of `sequences.md`, from `benchmarks/results/sequence.json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from efface.wording import with_interval
from making.pictures import RESULTS, panels

COLOURS = ("#d55e00", "#e69f00", "#0072b2", "#56b4e9", "#009e73")
SHOWN = (1, 2, 3, 5, 10, 20)
"""Requests that the table along the sequence shows."""
ALONG = {
    "retain_cost": "retain cost",
    "neutral_cost": "neutral cost",
    "latest_level": "latest request",
    "forgotten_level": "all forgotten so far",
    "first_level": "first five requests",
}
JOINT = {"joint": "one joint request, steps of one", "joint_same_steps": "one joint request, steps of all"}


def table(name: str) -> str:
    """`models`, `figures`, `joint` or `rule`."""
    tables = {"models": models, "figures": along, "joint": against_joint, "rule": rule}
    return "\n".join(tables[name](_result())) + "\n"


def pictures() -> dict[str, Figure]:
    """The picture of the page."""
    return {"sequences.svg": picture(_result())}


def models(result: dict[str, Any]) -> list[str]:
    """Errors of the two reference models."""
    lines = ["| model | forget | retain | neutral |", "|---|---:|---:|---:|"]
    for name in ("original", "retrained"):
        cells = [written(result[name][one], 4) for one in ("forget", "retain", "neutral")]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def along(result: dict[str, Any]) -> list[str]:
    """Figures behind some of the requests."""
    lines = [
        "| method | requests | " + " | ".join(ALONG.values()) + " |",
        "|---|---:|" + "---:|" * len(ALONG),
    ]
    for label, found in result["methods"].items():
        for number in SHOWN:
            figures = found["sequence"][number - 1]
            first = label if number == SHOWN[0] else ""
            cells = [ratio(figures[name]) for name in ALONG]
            lines.append(f"| {first} | {number} | " + " | ".join(cells) + " |")
    return lines


def against_joint(result: dict[str, Any]) -> list[str]:
    """The end of the sequence beside one request for all."""
    heads = ["retain cost", "neutral cost", "all forgotten", "seconds"]
    lines = ["| method | how | " + " | ".join(heads) + " |", "|---|---|" + "---:|" * len(heads)]
    for label, found in result["methods"].items():
        ways = {"sequence": (f"{len(found['sequence'])} requests in turn", found["sequence"][-1])}
        ways |= {name: (shown, found[name]) for name, shown in JOINT.items()}
        for name, (shown, figures) in ways.items():
            cells = [ratio(figures[one]) for one in ("retain_cost", "neutral_cost", "forgotten_level")]
            first = label if name == "sequence" else ""
            seconds = written(found["seconds"][name], 1)
            lines.append(f"| {first} | {shown} | " + " | ".join([*cells, seconds]) + " |")
    seconds = written(result["retrained"]["seconds"], 1)
    lines.append(f"| retrained | one training without all of them | | | 1 | {seconds} |")
    return lines


def rule(result: dict[str, Any]) -> list[str]:
    """The first request behind which the rule says to retrain, by seed."""
    head = "| method | judged by | *at the next request*, first | *now*, first | first five requests, now over then |"
    lines = [head, "|---|---|---|---|---:|"]
    shown = {
        "retain_alone": "retain cost alone",
        "all": "and the earlier forgotten, beside a retrained model",
    }
    for label, found in result["methods"].items():
        for name, words in shown.items():
            seeds = found["rule"][name]
            first = label if name == "retain_alone" else ""
            back = ratio(found["first_now_over_then"]) if first else ""
            cells = [
                ", ".join(first_of(said, when) for said in seeds) for when in ("at the next request", "now")
            ]
            lines.append(f"| {first} | {words} | " + " | ".join([*cells, back]) + " |")
    return lines


def first_of(said: Sequence[str], when: str) -> str:
    return str(said.index(when) + 1) if when in said else "never"


def ratio(figure: dict[str, Any]) -> str:
    return with_interval(figure["mean"], figure["low"], figure["high"], 2)


def written(figure: dict[str, Any], digits: int = 2) -> str:
    half = f" ± {figure['high'] - figure['mean']:.{digits}f}" if "high" in figure else ""
    return f"{figure['mean']:.{digits}f}{half}"


def picture(result: dict[str, Any]) -> Figure:
    """Costs and forgetting against the number of requests, thin by seed; marks behind the last: the joint requests."""
    parts = {
        "retain_cost": "retain error over the original's",
        "neutral_cost": "neutral error over the original's",
        "forgotten_level": "error on all forgotten so far\nover the retrained model's",
    }
    figure, axes = panels(3, 9, 3.5)
    for panel, (name, words) in zip(axes, parts.items(), strict=True):
        panel.axhline(1, color="#888888", linewidth=0.8)
        for colour, (label, found) in zip(COLOURS, result["methods"].items(), strict=False):
            curve = [one[name] for one in found["sequence"]]
            numbers = range(1, len(curve) + 1)
            panel.plot(numbers, [one["mean"] for one in curve], color=colour, label=label)
            for seed in zip(*(one["values"] for one in curve), strict=True):
                panel.plot(numbers, seed, color=colour, linewidth=0.6, alpha=0.6)
            for shift, (way, marker) in enumerate({"joint": "o", "joint_same_steps": "D"}.items(), 1):
                panel.plot(
                    len(curve) + 0.8 * shift, found[way][name]["mean"], marker, color=colour, markersize=5
                )
        panel.set_yscale("log")
        panel.set(xlabel="requests", ylabel=words, xticks=[1, 5, 10, 15, 20])
    for panel, ticks in zip(axes, ([0.7, 1, 2, 4, 8], [1, 1.5, 2, 2.5], [0.25, 0.5, 1, 2]), strict=True):
        panel.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        panel.minorticks_off()
    limit = result["config"]["limits"]["retain"]
    axes[0].axhline(limit, color="#888888", linewidth=0.8, linestyle=":")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def _result() -> dict[str, Any]:
    result: dict[str, Any] = json.loads((RESULTS / "sequence.json").read_text(encoding="utf-8"))
    return result
