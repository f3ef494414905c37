"""The table of `probes/README.md`, from the registry."""

from __future__ import annotations

from efface.metrics.base import ModelKind
from efface.probes.base import Probe
from efface.probes.registry import PROBES


def table(_: str) -> str:
    """All probes, and their figures by kind of model."""
    lines = [
        "| probe | question | costs | figures of generators | figures of classifiers |",
        "|---|---|---|---|---|",
    ]
    for name, probe in PROBES.items():
        cells = [
            f"[`{name}`]({name}.md)",
            probe.question,
            probe.cost,
            figures(probe, "generator"),
            figures(probe, "classifier"),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def figures(probe: type[Probe], kind: ModelKind) -> str:
    """Those of one kind of models, as a cell of the table."""
    return ", ".join(f"`{figure}`" for figure in probe.figures.get(kind, ())) or "none"
