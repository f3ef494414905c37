"""What probes and requirements left in a run folder, and single images' figures; each may be absent."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from efface.errors import InputError
from efface.evaluation.requirements import State, Verdict
from efface.probes.findings import Curve, Finding, Findings, Hit

NUMBERS = ("value", "low", "high", "reference_value", "difference", "difference_low", "difference_high")
BY_IMAGE: dict[str, tuple[str, bool]] = {
    "hole_mse": ("error in the hidden region", True),
    "ssim": ("structural similarity", False),
    "confidence": ("confidence (log-odds of the true class)", False),
}
"""What may stand in the table of single images, best first: in words, and whether values are compared as a ratio."""


@dataclass(frozen=True)
class ByImage:
    """One metric of single images: for each model and set, values by keyed id; empty where there is no such table."""

    metric: str = ""
    values: Mapping[tuple[str, str], Mapping[str, float]] = field(default_factory=dict)

    def of(self, model: str, set_name: str) -> Mapping[str, float]:
        """Values by keyed id; empty where they were not measured."""
        return self.values.get((model, set_name), {})


def read_findings(run: Path) -> Findings:
    """`probes.json`; empty where there is none. Raises `InputError` where it is damaged.

    Numbers that are not finite become None, with a note.
    """
    found = _json(run / "probes.json")
    try:
        return Findings() if found is None else findings_of(found)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{run / 'probes.json'} is damaged: {error}") from None


def findings_of(values: Mapping[str, Any]) -> Findings:
    """What `Findings.as_dict` wrote. Raises `KeyError`, `TypeError` and the like where it is something else."""
    return Findings(
        tuple(_finite(Finding(**entry)) for entry in values.get("figures", ())),
        tuple(
            Curve(**{**entry, "x": _numbers(entry["x"]), "y": _numbers(entry["y"])})
            for entry in values.get("curves", ())
        ),
        tuple(Hit(**entry) for entry in values.get("hits", ())),
        tuple(str(note) for note in values.get("notes", ())),
    )


def read_requirements(run: Path) -> list[Verdict]:
    """`requirements.json`, in its order; empty where there is none. Raises `InputError` where it is damaged."""
    path = run / "requirements.json"
    try:
        verdicts = [Verdict(**entry) for entry in _json(path) or ()]
    except TypeError as error:
        raise InputError(f"{path} is damaged: {error}") from None
    for verdict in verdicts:
        if verdict.state not in get_args(State):
            raise InputError(f"{path} is damaged: {verdict.state!r} is none of {', '.join(get_args(State))}")
    return verdicts


def read_by_image(run: Path, metrics: Iterable[str]) -> ByImage:
    """The first of `metrics` that `per_image.csv` has a value of; raises `InputError` where the file is damaged."""
    path = run / "per_image.csv"
    if not path.exists():
        return ByImage()
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        wanted = [name for name in metrics if name in (rows.fieldnames or ())]
        values: dict[str, dict[tuple[str, str], dict[str, float]]] = {name: {} for name in wanted}
        try:
            for row in rows:
                for name in wanted:
                    if row[name]:
                        values[name].setdefault((row["model"], row["set"]), {})[row["image"]] = float(
                            row[name]
                        )
        except (csv.Error, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is damaged: {error}") from None
    return next((ByImage(name, values[name]) for name in wanted if values[name]), ByImage())


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from None


def _numbers(values: Iterable[Any]) -> tuple[float, ...]:
    return tuple(math.nan if value is None else float(value) for value in values)


def _finite(found: Finding) -> Finding:
    odd = [
        name for name in NUMBERS if (number := getattr(found, name)) is not None and not math.isfinite(number)
    ]
    if not odd:
        return found
    absent: dict[str, Any] = dict.fromkeys(odd)
    return replace(found, **absent, note=found.note or "not a finite number")
