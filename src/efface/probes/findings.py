"""What probes find: figures beside the retrained model's, curves, and single images or classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from efface.evaluation.results import ModelName, SetName

Goal = Literal["zero", "low", "above"]


@dataclass(frozen=True)
class Finding:
    """One figure of one model.

    figure: its name, such as `detectability`; value with its interval `low` to `high` (None where there is none).
    reference: the model that `difference` (value minus the reference's value, with its paired interval) is taken to:
    the retrained one, else the original, else None. goal: which difference is wanted: `zero` (as the retrained model),
    or `low`: at most the reference's. `above` wants the value itself above 0, where it compares models already. n: images
    that it rests on. note: why a value is None, or what to be careful of.
    """

    probe: str
    figure: str
    model: ModelName
    value: float | None
    low: float | None = None
    high: float | None = None
    reference: ModelName | None = None
    reference_value: float | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    unit: str = "1"
    goal: Goal = "zero"
    n: int = 0
    note: str | None = None


@dataclass(frozen=True)
class Curve:
    """One model's `y` along `x`, for instance the forget error along steps of fine-tuning."""

    probe: str
    figure: str
    model: ModelName
    x_name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Hit:
    """An image, class or group for which a probe found much: `value` of the unlearned, `reference_value` of the reference.

    name: the image's id (records replace it by its keyed id), or the class.
    """

    probe: str
    figure: str
    set: SetName
    kind: str
    name: str
    value: float
    reference_value: float | None
    n: int = 1


@dataclass(frozen=True)
class Findings:
    """All that one or several probes found."""

    figures: tuple[Finding, ...] = ()
    curves: tuple[Curve, ...] = ()
    hits: tuple[Hit, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def join(self, other: Findings) -> Findings:
        """Both, one after the other."""
        return Findings(
            self.figures + other.figures,
            self.curves + other.curves,
            self.hits + other.hits,
            self.notes + other.notes,
        )

    def noted(self, note: Callable[[Finding], str | None], first: bool = False) -> Findings:
        """The same with a note of each figure behind what is noted of it already, or before it; none where it is None."""
        noted = []
        for finding in self.figures:
            parts = [note(finding), finding.note] if first else [finding.note, note(finding)]
            noted.append(replace(finding, note="; ".join(filter(None, parts)) or None))
        return replace(self, figures=tuple(noted))

    def find(self, figure: str, model: ModelName = "unlearned") -> Finding | None:
        """The figure of that name and model; None where it is absent."""
        return next((own for own in self.figures if (own.figure, own.model) == (figure, model)), None)
