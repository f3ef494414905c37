"""The table of `reproducibility.md`: every result file, the command that gives it, and the changes since."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from efface.documents import read_object
from making.pictures import RESULTS

ROOT = RESULTS.parents[1]
COMMANDS = {
    "bench_digits/results": "efface bench classifiers digits --out runs/bench-digits",
    "bench_faces_age_small/results": "efface bench classifiers benchmarks/configs/faces-age-small.yaml --data DATA "
    "--out runs/bench-faces-age",
    "score_behaviour": "python benchmarks/score_behaviour.py",
    "sequence": "python benchmarks/sequence.py benchmarks/configs/sequence.yaml --out runs/sequence",
}
"""Of results that do not hold their command, or hold it with places of their own."""
CHANGES: Mapping[str, str] = {
    "seed": r"generators/(?!study|against).*|bench_.*",
    "runner": r"generators/(study|against).*",
    "network": r"generators/.*palette.*|palette_.*",
    "margins": r"bench_.*",
    "release": r"generators/(paper|confirm|score|tune).*|bench_.*",
    "view": r"generators/.*mage(-.*|$)|mage_step_cpu_base_.*",
    "samples": r"generators/(.*-)?(palette|mage)(-.*|$)",
}
"""Changes that `reproducibility.md` explains, and the results from before each."""


def table(name: str) -> str:
    """`results`: one line for each result file."""
    files = sorted(path for path in RESULTS.rglob("*.json") if path.name != "cost.json")
    lines = ["| result | command | measured | machine | from before |", "|---|---|---|---|---|"]
    for path in files:
        result = path.relative_to(RESULTS).with_suffix("").as_posix()
        changes = [change for change, results in CHANGES.items() if re.fullmatch(results, result)]
        link = f"[`{result}`](../benchmarks/results/{result}.json)"
        held = read_object(path)
        date = str(held.get("date") or held.get("finished") or "")[:10]
        cells = [link, f"`{command(result, held)}`", date, machine(held.get("machine"))]
        lines.append("| " + " | ".join([*cells, ", ".join(changes)]) + " |")
    return "\n".join(lines) + "\n"


def command(result: str, held: Mapping[str, object]) -> str:
    """What a person types to have the result again."""
    if result in COMMANDS:
        return COMMANDS[result]
    folder, _, name = result.rpartition("/")
    if folder != "generators":
        return str(held["command"])
    config = Path("benchmarks/configs/generators") / f"{name}.yaml"
    data = "--data DATA " if "DATA" in (ROOT / config).read_text(encoding="utf-8") else ""
    return f"efface bench generators {config} {data}--out runs/{name}"


def machine(held: object) -> str:
    """The processor and how many of its cores."""
    if not isinstance(held, Mapping):
        return ""
    name = re.sub(r"\(R\)| Processor", "", str(held["processor"]))
    return f"{name}, {held['cores']} cores"
