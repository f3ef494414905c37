"""The table of `verdict.md`: how often each word was said of models whose truth is known."""

from __future__ import annotations

from pathlib import Path

from efface.documents import read_object
from efface.evaluation.verdict import WORDS

RESULT = Path(__file__).parents[2] / "benchmarks" / "results" / "verdict_rates.json"


def table(_: str) -> str:
    """One part for each law: for each model, how many of the seeds gave each word."""
    result = read_object(RESULT)
    lines = []
    for law, cases in result["rates"].items():
        columns = (*WORDS, "specific")
        lines += [
            "",
            f"**{law}**",
            "",
            f"| model | {' | '.join(columns)} |",
            "|---" * (len(columns) + 1) + "|",
        ]
        for case, counts in cases.items():
            lines.append(f"| {case} | {' | '.join(str(counts[name] or '') for name in columns)} |")
    return "\n".join([*lines, ""]) + "\n"
