"""Writes the table of `probes/README.md` from the registry: `python docs/make_probes.py`."""

from __future__ import annotations

from pathlib import Path

from efface.probes.registry import probes

PAGE = Path(__file__).parent / "probes" / "README.md"
HEAD = """# Probes

Questions to an unlearned generator. Each gives figures for the original, the unlearned and the retrained model, and the
difference to the retrained one with its interval.

    efface evaluate RUN --probe NAME --out runs/asked
    efface list probes

`--probe cheap` asks all that train nothing, `--probe all` every one that needs no settings of its own. A figure can be
bounded before the run with [`--require`](../requirements.md). The table is made by `python docs/make_probes.py`.

| probe | question | costs | figures |
|---|---|---|---|
"""


def main() -> None:
    """Write the page."""
    lines = [
        f"| [`{name}`]({name}.md) | {probe.question} | {probe.cost} | {', '.join(f'`{one}`' for one in probe.figures)} |"
        for name, probe in probes().items()
    ]
    PAGE.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
