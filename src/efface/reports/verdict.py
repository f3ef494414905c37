"""The head of the report: the verdict in the words that stand in `verdict.json`, and what each set's figures did."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from efface.runs.results import SETS, Row, SetName, Verdict, find
from efface.runs.words import LeadMetric, lead_metric, metric_named
from efface.wording import compared, counted, figure, ratio, sentence, signed

NAMES: dict[SetName, str] = {
    "forget": "forgotten images",
    "retain": "retain images",
    "neutral": "neutral images",
}
KEPT: tuple[SetName, ...] = ("retain", "neutral")
NO_DIFFERENCE = "no difference found at this sample size"
NO_UNLEARNED = "No unlearned model is among those measured, so there is no verdict on one."


@dataclass(frozen=True)
class Tile:
    """One set in the fewest signs: the change from original to unlearned, and that of the retrained model."""

    title: str
    change: str
    beside: str


@dataclass(frozen=True)
class Headline:
    """label: the word. reason, specific: the verdict's sentences. basis: the numbers that it rests on.

    finding, tiles, costs: what the figures of each set did, by `yardstick`.
    """

    label: str
    reason: str
    specific: str = ""
    basis: str = ""
    finding: str = ""
    cautions: list[str] = field(default_factory=list)
    costs: list[str] = field(default_factory=list)
    tiles: list[Tile] = field(default_factory=list)
    yardstick: str = ""


def headline_of(
    verdict: Verdict | None, rows: Iterable[Row], claim: str = "empirical", reference_stages: str = "all"
) -> Headline:
    """The head of a page. claim: the level of the record's. reference_stages: of the retrained model, those retrained."""
    rows = [row for row in rows if row.value is not None]
    measure = lead_metric(rows)
    label, reason = (
        (sentence(verdict.title)[:-1], verdict.reason) if verdict else ("No verdict", NO_UNLEARNED)
    )
    if measure is None:
        return Headline(label, reason)
    cautions = [measure.yardstick.caution] if measure.yardstick.caution else []
    if claim != "empirical":
        cautions.append("The delivered model is itself one that was trained without these images.")
    if reference_stages != "all":
        cautions.append(f"The reference was not retrained in every stage, only: {reference_stages}.")
    figures = _Figures(rows, measure)
    return Headline(
        label,
        reason,
        verdict.specific.said if verdict else "",
        _basis(verdict) if verdict else "",
        f"On the {figures.count('forget')} {figures.standing('forget')}.",
        cautions,
        [figures.cost(name) for name in KEPT],
        [tile for name in SETS if (tile := figures.tile(name))],
        measure.words,
    )


def _basis(verdict: Verdict) -> str:
    """The differences on forget images that the word follows from."""
    metric = metric_named(verdict.figure)
    differences = {
        "original less retrained (the gap)": verdict.gap,
        "unlearned less retrained": verdict.to_retrained,
        "unlearned less original": verdict.to_original,
    }
    known = [f"{name} {estimate}" for name, estimate in differences.items() if estimate]
    if not known:
        return ""
    return f"By {metric.phrase if metric else verdict.figure}, on the forgotten images: {'; '.join(known)}."


@dataclass(frozen=True)
class _Figures:
    """What the figures of each set did, by the metric that the page speaks by."""

    rows: list[Row]
    by: LeadMetric

    def cost(self, name: SetName) -> str:
        unlearned = find(self.rows, "unlearned", name, self.by.name)
        if unlearned is None:
            if find(self.rows, "original", name, self.by.name):
                return f"On the {self.count(name)} {self.standing(name)}."
            unknown = (
                "what it cost them" if name == "retain" else "how images are treated that no model ever saw"
            )
            return f"No {NAMES[name]} were measured: {unknown} is not known."
        said = f"On the {self.count(name)} {self.standing(name)}"
        if includes_zero(unlearned):
            whose = "the retrained model" if unlearned.reference == "retrained" else "the original"
            said += f" ({NO_DIFFERENCE} from {whose})"
        return said + "."

    def standing(self, name: SetName) -> str:
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

    def tile(self, name: SetName) -> Tile | None:
        original, unlearned, retrained = self._values(name)
        if original is None or unlearned is None:
            return None
        change = ratio if self.by.is_ratio else lambda value, reference: signed(value - reference)
        beside = "no retrained model" if retrained is None else f"retrained: {change(retrained, original)}"
        return Tile(NAMES[name].capitalize(), change(unlearned, original), beside)

    def count(self, name: SetName) -> str:
        n = next(row.n for row in self.rows if row.set == name and row.metric == self.by.name)
        return counted(n, NAMES[name].removesuffix("s"))

    def _values(self, name: SetName) -> list[float | None]:
        rows = (
            find(self.rows, model, name, self.by.name) for model in ("original", "unlearned", "retrained")
        )
        return [row.value if row else None for row in rows]


def includes_zero(row: Row) -> bool:
    """Whether the interval of the row's distance to its reference includes zero; False where there is none."""
    low, high = row.distance_low, row.distance_high
    return low is not None and high is not None and low <= 0 <= high
