"""Tables and picture of `scale.md`, from `benchmarks/results/scale.json`."""

from __future__ import annotations

import json
from typing import Any

from matplotlib.figure import Figure

from making.pictures import RESULTS, panels

OF_IMAGES = {
    "index": "index",
    "cache": "decode into the cache",
    "resume": "take up again",
    "plan": "plan a run",
    "memory": "memory",
    "memory_of_plan": "memory of the plan",
}
OF_RUNS = {"fill": "fill", "open": "open again", "read": "read all outputs", "memory": "memory"}


def table(name: str) -> str:
    """`images` or `runs`."""
    heads = {"images": OF_IMAGES, "runs": OF_RUNS}[name]
    lines = [f"| {name} | {' | '.join(heads.values())} |", f"|---:{'|---:' * len(heads)}|"]
    for count, row in _result()[name].items():
        lines.append(f"| {int(count):,} | {' | '.join(_cell(row, key) for key in heads)} |")
    return "\n".join(lines) + "\n"


def pictures() -> dict[str, Figure]:
    """Seconds and memory against the number of images."""
    sizes = {int(count): row for count, row in _result()["images"].items()}
    figure, (seconds, memory) = panels(2, 8.0, 3.0)
    for key in ("index", "cache", "resume", "plan"):
        points = [(count, row[key]) for count, row in sizes.items() if key in row]
        seconds.plot(*zip(*points, strict=True), marker="o", label=OF_IMAGES[key])
    seconds.set(xscale="log", yscale="log", xlabel="images", ylabel="seconds")
    seconds.legend(frameon=False)
    for key in ("memory", "memory_of_plan"):
        points = [(count, row[key]) for count, row in sizes.items() if key in row]
        memory.plot(*zip(*points, strict=True), marker="o", label=OF_IMAGES[key])
    memory.set(xscale="log", xlabel="images", ylabel="MiB", ylim=(0, None))
    memory.legend(frameon=False)
    return {"scale.svg": figure}


def _cell(row: dict[str, float], key: str) -> str:
    if key not in row:
        return "-"
    return f"{row[key]:,.0f} MiB" if key.startswith("memory") else f"{row[key]:,.1f} s"


def _result() -> dict[str, Any]:
    return json.loads((RESULTS / "scale.json").read_text(encoding="utf-8"))
