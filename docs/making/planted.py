"""The tables of `planted.md`, from `benchmarks/results/planted.json`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from making.pictures import RESULTS

WRONG = 0.05
"""Share of *yes* on planted failures that the verdict may have."""


WORSE = ("no", "partly", "beyond", "ruined")


def table(name: str) -> str:
    """`generators`, `classifiers`, `false`, `bound`; of models trained by steps the same behind `trained-`."""
    if name.startswith("trained-"):
        file = RESULTS / "planted_trained.json"
        if not file.exists():
            return "Not measured yet.\n"
        trained = json.loads(file.read_text(encoding="utf-8"))
        return "\n".join(_all_probes(trained[name])) + "\n"
    result = json.loads((RESULTS / "planted.json").read_text(encoding="utf-8"))
    makers = {"false": _false, "bound": _bound}
    return "\n".join(makers[name](result) if name in makers else _plants(result[name])) + "\n"


def missed(plant: Mapping[str, Any]) -> bool:
    """Whether a failure is called gone more often than may be, after the probes that are made for it if there are any."""
    words = plant["with_probes"] if plant["made_for_it"] else plant["alone"]
    return not plant["gone"] and share(words, "yes") > WRONG


def share(words: Mapping[str, int], word: str) -> float:
    """Of all verdicts, how many were this word."""
    return words.get(word, 0) / max(1, sum(words.values()))


def _plants(plants: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    seeds = max(plant["seeds"] for plant in plants.values())
    followed = max(plant["followed"] for plant in plants.values())
    yield f"| plant | what it is | verdict alone, {seeds} seeds | a *yes* followed by | then, {followed} seeds |"
    yield "|---|---|---|---|---|"
    for gone in (False, True):
        for name, plant in plants.items():
            if plant["gone"] == gone:
                asked = ", ".join(f"`{probe}`" for probe in plant["made_for_it"]) or "nothing"
                then = _said(plant["with_probes"]) + "; **not caught**" * missed(plant)
                words = f"*{plant['words']}*" if gone else plant["words"]
                yield f"| `{name}` | {words} | {_said(plant['alone'])} | {asked} | {then} |"


def _all_probes(plants: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    seeds = max(plant["seeds"] for plant in plants.values())
    yield (
        f"| plant | what it is | verdict alone, {seeds} seeds | with all probes | figures that say more is remembered | "
        "closer to | farther than another retraining |"
    )
    yield "|---|---|---|---|---|---|---:|"
    for gone in (False, True):
        for name, plant in plants.items():
            if plant["gone"] == gone:
                says = [f"`{one}` {more}" for one, (more, _) in plant["told"].items() if more]
                words = f"*{plant['words']}*" if gone else plant["words"]
                farther, had = plant["farther_than_another"]
                yield (
                    f"| `{name}` | {words} | {_said(plant['alone'])} | {_said(plant['with_probes'])} | "
                    f"{', '.join(says) or 'none'} | {_said(plant['nearer'])} | {farther} of {had} |"
                )


def _said(words: Mapping[str, int]) -> str:
    return ", ".join(f"{word} {count}" for word, count in words.items())


def _false(result: Mapping[str, Any]) -> Iterator[str]:
    heads = (
        "failures",
        "*yes*, verdict alone",
        "*yes*, followed by probes",
        "honest",
        "*no*, *partly*, *beyond* or *ruined*",
    )
    yield "| | " + " | ".join(heads) + " |"
    yield "|---|---:|---:|---:|---:|---:|"
    for kind in ("generators", "classifiers"):
        plants = result[kind].values()
        failures, honest = ([plant for plant in plants if plant["gone"] == gone] for gone in (False, True))
        alone, then, honestly = (
            _pooled(some, column)
            for some, column in ((failures, "alone"), (failures, "with_probes"), (honest, "alone"))
        )
        cells = (len(failures), _of(alone, "yes"), _of(then, "yes"), len(honest), _of(honestly, *WORSE))
        yield f"| {kind} | " + " | ".join(map(str, cells)) + " |"


def _of(words: Mapping[str, int], *some: str) -> str:
    """Of all verdicts, how many were these words."""
    count, total = sum(words.get(word, 0) for word in some), sum(words.values())
    return f"{count / max(1, total):.1%} ({count} of {total})"


def _pooled(plants: list[Mapping[str, Any]], column: str) -> dict[str, int]:
    words: dict[str, int] = {}
    for plant in plants:
        for word, count in plant[column].items():
            words[word] = words.get(word, 0) + count
    return words


def _bound(result: Mapping[str, Any]) -> Iterator[str]:
    rows = result["bound"]
    yield "| networks that forgot nothing | the bound | distance of weights, smallest to largest | certified | verdict |"
    yield "|---:|---:|---:|---:|---|"
    distances = [row["distance"] for row in rows]
    words: dict[str, int] = {}
    for row in rows:
        words[row["verdict"]] = words.get(row["verdict"], 0) + 1
    yield (
        f"| {len(rows)} | {rows[0]['bound']} | {min(distances)} to {max(distances)} | "
        f"{sum(row['certified'] for row in rows)} | {_said(words)} |"
    )
