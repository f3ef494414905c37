"""What a run's record states and what lies beside it, as far as that is the run's own: to be held against each other."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import JsonValue

from efface.documents import parse_json
from efface.errors import InputError
from efface.evaluation.results import Row, read_results
from efface.runs.by_image import PerImage, read_per_image
from efface.runs.folder import read_state
from efface.runs.record import Record
from efface.runs.seal import Seal
from efface.runs.state import (
    EvaluatedPart,
    FurtherPart,
    PartType,
    PreparedPart,
    RemovalPart,
    StartedPart,
    TrainedPart,
)
from efface.settings import validated

SETS = ("forget", "retain", "neutral", "validation")
KEYED_ID = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Parts:
    """What the parts of a finished run remembered; None those that it does not have."""

    started: StartedPart
    prepared: PreparedPart
    removal: RemovalPart
    trained: TrainedPart | None
    further: FurtherPart | None
    evaluated: EvaluatedPart | None

    @classmethod
    def read(cls, run: Path) -> Parts:
        """The entries of `state.json`; raises `InputError` where one is missing or damaged."""
        state = read_state(run)

        def part(kind: type[PartType]) -> PartType:
            facts = state.get(kind.part)
            if not isinstance(facts, dict):
                raise InputError(f"state.json says nothing of {kind.part}")
            return validated(kind, facts, f"{kind.part} in state.json is damaged")

        def optional(kind: type[PartType]) -> PartType | None:
            return part(kind) if kind.part in state else None

        return cls(
            part(StartedPart), part(PreparedPart), part(RemovalPart),
            optional(TrainedPart), optional(FurtherPart), optional(EvaluatedPart),
        )  # fmt: skip


class Unanswered(Exception):
    """A question cannot be answered here; the reason is its text."""


@dataclass(frozen=True)
class Stated:
    """A run's record and what lies beside it. intact: whether a file is the one that record and seal name.

    config: the settings in `config.yaml`, None where they are not those of the run. key: that of its keyed ids and words,
    None where it is not here.
    """

    run: Path
    record: Record
    seal: Seal | None
    config: Mapping[str, JsonValue] | None
    intact: Callable[[str], bool]
    key: bytes | None

    def need(self, *names: str) -> None:
        """Raise `Unanswered` unless all these files are those of the run."""
        for name in names:
            if not self.intact(name):
                raise Unanswered(f"{name} is not that of the run")

    @cached_property
    def rows(self) -> list[Row]:
        self.need("results.json")
        return read_results(self.run)

    @cached_property
    def per_image(self) -> PerImage:
        self.need("per_image.csv")
        return read_per_image(self.run)

    @cached_property
    def parts(self) -> Parts:
        self.need("state.json")
        return Parts.read(self.run)

    def ids(self, name: str) -> list[str]:
        """The keyed ids in the manifest of a set."""
        file = f"manifests/{name}.jsonl"
        self.need(file)
        lines = (self.run / file).read_text(encoding="utf-8").splitlines()
        return [_keyed_id(file, number, line) for number, line in enumerate(lines, 1)]


def _keyed_id(file: str, number: int, line: str) -> str:
    entry = parse_json(line, f"{file}: line {number}")
    id_ = entry.get("id") if isinstance(entry, dict) else None
    if not isinstance(id_, str) or not KEYED_ID.fullmatch(id_):
        raise InputError(f"{file}: line {number} holds no keyed id")
    return id_
