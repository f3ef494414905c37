"""The tables of `images.md`, from `benchmarks/results/duplicates.json`."""

from __future__ import annotations

import json
from pathlib import Path

from efface.wording import interval

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "duplicates.json"
NAMES = {
    "imagenet256": "ImageNet, 256 px (600)",
    "scenes128-train": "scenes, 128 px (1,200)",
    "faces-age64-test": "aligned faces, 64 px (1,995)",
    "imagenet64-val": "ImageNet, 64 px (3,000)",
    "digits": "scikit-learn's digits, 8 px (1,797)",
    "mnist-t10k": "MNIST, 28 px (10,000)",
    "orl28": "faces, 23 x 28 px, grey (400)",
    "fashion-mnist": "Fashion-MNIST, 28 px (20,000)",
}


def table(name: str) -> str:
    """Recall of edits, false pairs, or cost."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    return {"copies found": _recall, "copies wrongly found": _false, "copies cost": _cost}[name](results)


def _recall(results: dict) -> str:
    recall = results["recall"]
    lines = [
        "| edit | wanted | " + " | ".join(NAMES[name] for name in recall) + " |",
        "|---" * (2 + len(recall)) + "|",
    ]
    for edit, first in next(iter(recall.values())).items():
        wanted = f"{first['wanted']:.2f}" if first["wanted"] else "-"
        cells = [
            f"{row['recall']:.3f} ({interval(row['low'], row['high'], places=2)})"
            for row in (of[edit] for of in recall.values())
        ]
        lines.append(f"| {edit} | {wanted} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _false(results: dict) -> str:
    lines = ["| images | pairs | matched | in 100,000 (95 % interval) |", "|---|---|---|---|"]
    for name, row in results["false_pairs"].items():
        share = f"{row['per_100000']:.2f} ({interval(row['low'], row['high'], 2)})"
        lines.append(f"| {NAMES[name]} | {row['pairs']:,} | {row['false']} | {share} |")
    return "\n".join(lines) + "\n"


def _cost(results: dict) -> str:
    head = [
        "images indexed",
        "to build",
        "on disk",
        "a query alone",
        "a query among 100",
        "most memory of the process",
    ]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for size, row in results["seconds"].items():
        cells = (
            f"{int(size):,}",
            f"{row['seconds_to_build']:.1f} s",
            f"{row['mib_on_disk']:.0f} MiB",
            f"{row['ms_query_alone']:.0f} ms",
            f"{row['ms_query_of_many']:.0f} ms",
            f"{row['peak_mib']:.0f} MiB",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
