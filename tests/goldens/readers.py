"""What a golden run left behind, as facts `{place: value}` that can be held against those of another tree.

A place names a file of the run and where in it: `results.json:unlearned,forget,hole_mse.value`. Rows of a list go by what
identifies them, not by their number, so that their order and what is wrapped around them may change.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

Value = str | int | float | bool | None
Facts = dict[str, Value]

IDENTITY = (
    *(
        "task",
        "probe",
        "figure",
        "requirement",
        "model",
        "method",
        "label",
        "settings",
        "row",
        "measure",
        "set",
    ),
    *("kind", "name", "metric", "corruption", "sampler", "image", "setup", "run", "id"),
)
"""Fields that say which row of a list one is, as far as a list has them."""

LEFT_OUT = {
    "times": r"seconds|hours|time_share|[:.](started|finished|durations|purged)\b",
    "what runs cost, in time": r"[:.]cost\.",
    "the machine": r"[:.](environment|machine|threads)\b|_bytes$",
    "digests over the run's random key or over times, and over files whose content is compared itself": (
        r"^record\.json:(digest|config\.sha256|results\.files|model\..*\bfiles|(images\.)?sets\.\w+\.sha256)"
    ),
}
"""Places of which no two runs have the same, by reason."""
LEFT_OUT_PATTERN = re.compile("|".join(f"(?:{pattern})" for pattern in LEFT_OUT.values()))
LEFT_OUT_FILES = ("state.json", "cost.json", "log.jsonl", "run.key")
LEFT_OUT_PLACES = ("pool", "timing-")
"""Of the machinery of going on; they say nothing of the result that the result files do not say."""


def facts_of(folder: Path, name: str) -> Facts:
    """The facts of one run: its exit code, what it printed as JSON, its models' weights and all its tables."""
    outputs, run = folder / "outputs", folder / "runs" / name
    found: Facts = {"exit code": int((outputs / f"{name}.code").read_text(encoding="ascii"))}
    names = keyed_names(folder, run)
    printed = (outputs / f"{name}.out").read_text(encoding="utf-8")
    if printed.startswith(("{", "[")):
        found |= of_values("printed", json.loads(readable(printed, names)))
    for file in sorted(run.rglob("*")):
        place = str(file.relative_to(run))
        if file.name in LEFT_OUT_FILES or place.startswith(LEFT_OUT_PLACES):
            continue
        if file.suffix == ".safetensors":
            found |= of_weights(place, file)
        elif file.suffix in READERS:
            text = readable(file.read_text(encoding="utf-8"), names)
            values = READERS[file.suffix](text)
            found |= of_values(place, values)
            if name.startswith("bench") and place == "results.json":
                found |= of_values("figures", list(benchmark_figures(values)))
    return {place: value for place, value in found.items() if not LEFT_OUT_PATTERN.search(place)}


def keyed_names(folder: Path, run: Path) -> dict[str, str]:
    """The inputs' names by the keyed id that this run gives them: HMAC-SHA256, under `run.key`, of a file's sha256."""
    if not (run / "run.key").is_file():
        return {}
    key = bytes.fromhex((run / "run.key").read_text(encoding="ascii").strip())
    return {
        hmac.digest(key, hashlib.sha256(file.read_bytes()).hexdigest().encode(), hashlib.sha256).hex(): file.name
        for file in sorted((folder / "inputs").rglob("*.png"))
    }  # fmt: skip


def readable(text: str, names: Mapping[str, str]) -> str:
    return re.sub(r"\b[0-9a-f]{64}\b", lambda match: names.get(match[0], match[0]), text)


def of_weights(place: str, file: Path) -> Facts:
    """A digest over all tensors in name order, and their summed magnitude, which says how far apart two are."""
    from safetensors.numpy import load_file

    digest, total = hashlib.sha256(), 0.0
    for name, tensor in sorted(load_file(file).items()):
        digest.update(f"{name}|{tensor.shape}|{tensor.dtype}|".encode() + tensor.tobytes())
        total += float(np.abs(tensor.astype(np.float64)).sum())
    return {f"{place}:weights": digest.hexdigest(), f"{place}:magnitude": total}


def of_values(place: str, values: object) -> Facts:
    return {f"{place}:{where}": value for where, value in leaves(values)}


def leaves(values: object, where: str = "") -> Iterator[tuple[str, Value]]:
    """All single values of nested ones, each with its place."""
    if isinstance(values, Mapping):
        for name, value in values.items():
            yield from leaves(value, f"{where}.{name}" if where else str(name))
    elif isinstance(values, list | tuple):
        for name, value in zip(names_of(values), values, strict=True):
            yield from leaves(value, f"{where}[{name}]")
    elif values is None or isinstance(values, str | int | float):
        yield where, values
    else:
        yield where, str(values)


def benchmark_figures(results: Any) -> Iterator[dict[str, Any]]:
    """The figures of a benchmark's tables, in the schema of either tree: one row for each model's measure."""
    for corruption, row, measures in benchmark_rows(results):
        reference = row["label"] in ("original", "retrained")
        settings = row.get("settings", "reference" if reference else "published")
        for measure, figure in measures.items():
            place = {
                "corruption": corruption,
                "label": row["label"],
                "settings": settings,
                "measure": measure,
            }
            yield {**place, **figure} if isinstance(figure, Mapping) else {**place, "value": figure}


def benchmark_rows(results: Any) -> Iterator[tuple[str, Any, Any]]:
    """Corruption, row and measures. Once a row of generators had its measures by corruption, and classifiers no task."""
    for task in results["tasks"].values() if "tasks" in results else [results]:
        for row in task.get("rows", ()):
            by_corruption = row["measures"] if "tasks" in results else {"": row["measures"]}
            for corruption, measures in by_corruption.items():
                yield corruption, row, measures
        for table in task.get("tables", ()):
            for row in table["rows"]:
                yield table["corruption"] or "", row, row["measures"]


def names_of(rows: list[object] | tuple[object, ...]) -> list[str]:
    """What tells the rows of a list apart: the fields of `IDENTITY` that all have, else their numbers."""
    if rows and all(isinstance(row, Mapping) for row in rows):
        fields = [field for field in IDENTITY if all(field in row and is_name(row[field]) for row in rows)]  # type: ignore[operator, index]
        names = [",".join(str(row[field]) for field in fields) for row in rows]  # type: ignore[index]
        if len(set(names)) == len(names):
            return names
    return [str(number) for number in range(len(rows))]


def is_name(value: object) -> bool:
    return value is None or isinstance(value, str | int)


def of_json(text: str) -> object:
    return json.loads(text)


def of_yaml(text: str) -> object:
    return yaml.safe_load(text)


def of_lines(text: str) -> object:
    return [json.loads(line) for line in text.splitlines()]


def of_csv(text: str) -> object:
    return [{name: number(cell) for name, cell in row.items()} for row in csv.DictReader(text.splitlines())]


def number(cell: str) -> Value:
    """A cell of a table: a number if it is one, None if it is empty."""
    try:
        return float(cell) if cell else None
    except ValueError:
        return cell


READERS = {".json": of_json, ".yaml": of_yaml, ".jsonl": of_lines, ".csv": of_csv}
