"""The sentences at the head of the report: what unlearning did, against the right yardstick.

The goal is the behaviour of the model that was retrained without the forgotten images. Doing worse than it
is overshoot, doing better is undershoot, and an interval that includes zero is no proof of equality.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from efface.runs.results import Row, SetName, find
from efface.runs.words import LeadMetric, lead_metric
from efface.wording import compared, counted, figure, interval, ratio, signed

NAMES: dict[str, str] = {"forget": "forgotten images", "retain": "retain images", "neutral": "neutral images"}
NO_DIFFERENCE = "no difference found at this sample size"


@dataclass(frozen=True)
class Tile:
    """One set in the fewest signs: the change from original to unlearned, and that of the retrained model."""

    title: str
    change: str
    beside: str


@dataclass(frozen=True)
class Headline:
    """label: one or two words. finding: the numbers in a sentence. meaning: what follows, and what does not."""

    label: str
    finding: str
    meaning: str
    cautions: list[str] = field(default_factory=list)
    costs: list[str] = field(default_factory=list)
    tiles: list[Tile] = field(default_factory=list)
    yardstick: str = ""


def verdict_of(rows: Iterable[Row], claim: str = "empirical", reference_stages: str = "all") -> Headline:
    """The verdict on `rows`. reference_stages: which stages of the retrained model were retrained."""
    rows = [row for row in rows if row.value is not None]
    measure = lead_metric(rows)
    if measure is None:
        return Headline(
            "Not measured",
            "No error, similarity or accuracy on the forgotten images was measured.",
            "Whether anything was forgotten cannot be said.",
        )
    return _Judge(rows, measure, claim, reference_stages).verdict()


class _Judge:
    def __init__(self, rows: list[Row], measure: LeadMetric, claim: str, stages: str) -> None:
        self.rows, self.by, self.claim, self.stages = rows, measure, claim, stages
        self.original, self.unlearned, self.retrained = (
            find(rows, model, "forget", measure.name) for model in ("original", "unlearned", "retrained")
        )

    def verdict(self) -> Headline:
        label, meaning = self._judged()
        sets: tuple[SetName, ...] = ("retain", "neutral")
        return Headline(
            label,
            f"On the {self._count('forget')} {self._standing('forget')}.",
            meaning,
            self._cautions(),
            [self._cost(name) for name in sets],
            [tile for name in ("forget", *sets) if (tile := self._tile(name))],
            self.by.words,
        )

    def _judged(self) -> tuple[str, str]:
        unlearned, n = self.unlearned, self._count("forget")
        if unlearned is None:
            return (
                "No unlearned model",
                "No unlearned model is among those measured, so there is no verdict on one.",
            )
        if self.retrained is None:
            return self._without_retrained(unlearned)
        gap = (unlearned.value or 0.0) - (self.retrained.value or 0.0)
        bounds = interval(unlearned.distance_low, unlearned.distance_high, 2)
        if bounds is None or unlearned.reference != "retrained":
            side = "Overshoot" if gap * self.by.worse > 0 else "Undershoot"
            return (
                f"{side}, on too few images to be certain",
                f"The difference from the retrained model is {signed(gap)}. {self._direction(gap)} Without an interval, "
                "which takes at least five images, it cannot be said that this is more than chance.",
            )
        if includes_zero(unlearned):
            return (
                "No difference found",
                f"No difference from the retrained model was found at this sample size ({n}): the interval of the "
                f"difference, {bounds}, includes zero. That does not prove that the two behave alike.",
            )
        if gap * self.by.worse > 0:
            return (
                "Overshoot",
                "The unlearned model does worse on these images than a model that never saw them. That is not "
                "stronger forgetting: the goal is the retrained model's behaviour, and the excess can itself betray "
                "which images were forgotten.",
            )
        return (
            "Undershoot",
            f"The unlearned model still {self.by.does} these images better than a model that never saw them. Part of what "
            "it had learnt from them is still at work.",
        )

    def _direction(self, gap: float) -> str:
        if gap * self.by.worse > 0:
            return (
                "This is an overshoot: the model does worse on these images than one that never saw them, which can "
                "itself betray that they were forgotten."
            )
        return "This is an undershoot: part of what the model had learnt from these images is still at work."

    def _without_retrained(self, unlearned: Row) -> tuple[str, str]:
        if self.claim == "exact":
            return (
                "Retrained",
                "The delivered model is itself one that was trained without these images. No second one was measured "
                "beside it, so the figures have no yardstick but the original.",
            )
        meaning = (
            "It cannot be judged whether the unlearned model behaves like a retrained model, because no model that was "
            f"retrained without these images was measured. {self.by.yardstick.decline} is not by itself a success."
        )
        if includes_zero(unlearned):
            meaning += f" Against the original there is {NO_DIFFERENCE}, so nothing here shows that anything was forgotten."
        return "Cannot be judged", meaning

    def _cautions(self) -> list[str]:
        cautions = []
        if self.by.yardstick.caution:
            cautions.append(self.by.yardstick.caution)
        if self.retrained is not None and self.stages != "all":
            cautions.append(f"The reference was not retrained in every stage, only: {self.stages}.")
        original = self.original
        if original is not None and original.reference == "retrained" and includes_zero(original):
            cautions.append(
                f"Between the original and the retrained model, too, there is {NO_DIFFERENCE}. This test could hardly "
                "have shown forgetting, whatever was done."
            )
        return cautions

    def _cost(self, name: SetName) -> str:
        unlearned = find(self.rows, "unlearned", name, self.by.name)
        if unlearned is None:
            if find(self.rows, "original", name, self.by.name):
                return f"On the {self._count(name)} {self._standing(name)}."
            unknown = (
                "what it cost them" if name == "retain" else "how images are treated that no model ever saw"
            )
            return f"No {NAMES[name]} were measured: {unknown} is not known."
        sentence = f"On the {self._count(name)} {self._standing(name)}"
        if includes_zero(unlearned):
            whose = "the retrained model" if unlearned.reference == "retrained" else "the original"
            sentence += f" ({NO_DIFFERENCE} from {whose})"
        return sentence + "."

    def _standing(self, name: SetName) -> str:
        original, unlearned, retrained = self._values(name)
        words = self.by.words
        if unlearned is None or original is None:
            known = {"original": original, "unlearned": unlearned, "retrained": retrained}
            values = [
                f"{figure(value)} for the {model} model"
                for model, value in known.items()
                if value is not None
            ]
            return f"the {words} is {' and '.join(values)}"
        if not self.by.is_ratio:
            beside = f"; the retrained model's is {figure(retrained)}" if retrained is not None else ""
            return f"the unlearned model's {words} is {figure(unlearned)} against the original's {figure(original)}{beside}"
        beside = (
            f"; the retrained model's is {compared(retrained, original)} the original's"
            if retrained is not None
            else ""
        )
        return f"the unlearned model's {words} is {compared(unlearned, original)} the original's{beside}"

    def _tile(self, name: SetName) -> Tile | None:
        original, unlearned, retrained = self._values(name)
        if original is None or unlearned is None:
            return None
        change = ratio if self.by.is_ratio else lambda value, reference: signed(value - reference)
        beside = "no retrained model" if retrained is None else f"retrained: {change(retrained, original)}"
        return Tile(NAMES[name].capitalize(), change(unlearned, original), beside)

    def _values(self, name: SetName) -> list[float | None]:
        found = (
            find(self.rows, model, name, self.by.name) for model in ("original", "unlearned", "retrained")
        )
        return [row.value if row else None for row in found]

    def _count(self, name: SetName) -> str:
        n = next(row.n for row in self.rows if row.set == name and row.metric == self.by.name)
        return counted(n, NAMES[name].removesuffix("s"))


def includes_zero(row: Row) -> bool:
    """Whether the interval of the row's distance to its reference includes zero; False where there is none."""
    low, high = row.distance_low, row.distance_high
    return low is not None and high is not None and low <= 0 <= high
