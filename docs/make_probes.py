"""Writes the table of `probes/README.md` from the registry: `python docs/make_probes.py`."""

from __future__ import annotations

from pathlib import Path

from efface.metrics.base import ModelKind
from efface.probes.base import Probe
from efface.probes.registry import PROBES

PAGE = Path(__file__).parent / "probes" / "README.md"
HEAD = """# Probes

Questions to an unlearned model. Each gives figures for the original, the unlearned and the retrained model, and the
difference to the retrained one with its interval.

    efface evaluate RUN --probe NAME --out runs/asked
    efface list probes

`--probe cheap` asks all that train nothing, `--probe all` every one that needs no settings of its own; both mean the
probes of the model's kind. A figure can be bounded before the run with [`--require`](../requirements.md).

What probes call an *error* is a number above 0, larger where a model answers an image worse. Of a generator it is the
mean squared error in the hole. Of a classifier it is the odds against the image's class, `(1 - p) / p` for a probability
`p` of that class, whose logarithm is minus the logit-scaled confidence. A sure classifier can become much less sure and
still name the same class, so figures with `-accuracy` count right answers beside it.

The table is made by `python docs/make_probes.py`.

| probe | question | costs | figures of generators | figures of classifiers |
|---|---|---|---|---|
"""


def main() -> None:
    """Write the page."""
    lines = [
        f"| [`{name}`]({name}.md) | {probe.question} | {probe.cost} | {figures(probe, 'generator')} "
        f"| {figures(probe, 'classifier')} |"
        for name, probe in PROBES.items()
    ]
    PAGE.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


def figures(probe: type[Probe], kind: ModelKind) -> str:
    """Those of one kind of models, as a cell of the table."""
    return ", ".join(f"`{figure}`" for figure in probe.figures.get(kind, ())) or "none"


if __name__ == "__main__":
    main()
