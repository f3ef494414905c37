"""Requirements: what has to hold, set before a run, such as `retain-error<=1.02x` or `verdict=yes`, and what became of it.

A requirement names a figure, a bound and a value. Figures of rows are `SET-FIGURE`, with the short name of a metric; with
an `x` behind the value they are ratios: of retain and neutral images to the original's, of forget images to the retrained
model's. Every figure of a probe can be named too; what is judged is its difference to the retrained model's, or its own
value where it compares with that model already. Which metrics and probes there are depends on the kind of the model. A
requirement is met only if the whole confidence interval keeps it, so few images never make a requirement easier. The
verdict can be required by its word, or by several of them: `verdict=yes|beyond`. Nothing here imports torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from pydantic import JsonValue

from efface.errors import InputError
from efface.evaluation.results import SETS, ModelName, SetName, find
from efface.evaluation.settings import MeasuringSettings
from efface.evaluation.verdict import Verdict, Word
from efface.metrics.base import Metric, ModelKind
from efface.metrics.catalogue import metrics_of
from efface.metrics.intervals import FEWEST_GROUPS, bootstrap_ratio
from efface.probes.findings import Findings, Goal
from efface.probes.registry import PROBES, probes_by_figure
from efface.settings import unknown_name
from efface.wording import bound, decimals, interval

if TYPE_CHECKING:
    from efface.evaluation.protocol import Evaluation

State = Literal["met", "not met", "not measurable"]

EXAMPLES: Mapping[ModelKind, str] = {
    "generator": "detectability<=0.05 or, as a ratio, retain-error<=1.02x",
    "classifier": "forget-membership<=0.55 or, as a ratio, retain-accuracy>=0.98x",
}
SIDES: Mapping[Goal, str] = {"low": "<=0.05", "above": ">=0"}
"""An example of a bound on a figure of a probe that is wanted on one side."""
VERDICT = "verdict"
REQUIRABLE_WORDS: tuple[Word, ...] = ("yes", "beyond", "partly", "no")
LEAST_P = 0.05
"""Of a test that holds a figure's requirement back (`Probe.held_back`)."""
NO_RETRAINED = "there is no retrained model to compare with"
RETRAIN = "retrain instead"
FORM = re.compile(r"\s*([a-z0-9][\w-]*)\s*(<=|>=)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*(x?)\s*", re.I)


class WithIds(Protocol):
    """Images of which only the ids matter: one for each entry, alike for entries with the same bytes."""

    @property
    def ids(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class Requirement:
    """One bound on one figure of a kind of model, or words of the verdict. `text` is its plain form."""

    kind: ModelKind
    text: str
    name: str
    at_most: bool = False
    threshold: float | None = None
    ratio: bool = False
    words: tuple[Word, ...] = ()

    @classmethod
    def parse(cls, text: str, kind: ModelKind) -> Requirement:
        """Read `NAME<=VALUE`, `NAME>=VALUE`, `NAME<=VALUEx`, `verdict=WORD`, `verdict=WORD|WORD`; raises `InputError`.

        >>> Requirement.parse("retain-error <= 1.02x", "generator").text
        'retain-error<=1.02x'
        """
        if re.match(rf"\s*{VERDICT}\b", text, re.I):
            return cls(kind, f"{VERDICT}={'|'.join(words := _words(text))}", VERDICT, words=words)
        match = FORM.fullmatch(text)
        if not match:
            name = re.split(r"[^\w-]", text.strip().lower())[0]
            goal = _goal(name, kind)
            form = "NAME<=VALUE or NAME>=VALUE, for example " + EXAMPLES[kind]
            raise InputError(
                f"requirement '{text}': write it as {form if goal == 'zero' else name + SIDES[goal]}"
            )
        name, sign, number, times = match[1].lower(), match[2], match[3], match[4].lower()
        if name not in requirable(kind):
            raise InputError(f"requirement '{text}': {unknown_name('figure', name, requirable(kind))}")
        read = cls(kind, f"{name}{sign}{number}{times}", name, sign == "<=", float(number), bool(times))
        if fault := read._fault():
            raise InputError(f"requirement '{text}': {fault}")
        return read

    def _fault(self) -> str | None:
        """Why the figure cannot have this bound."""
        assert self.threshold is not None
        metric = self.row[1] if self.row else None
        if self.ratio and not (metric and metric.ratio):
            able = ", ".join(f"SET-{one.short}" for one in metrics_of(self.kind).values() if one.ratio)
            return f"{self.name} cannot be judged as a ratio (only {able} can); leave out the x"
        if self.ratio:
            return None if self.threshold > 0 else "a ratio is above 0"
        if metric is None:
            goal = _goal(self.name, self.kind)
            wrong = (goal == "low" and not self.at_most) or (goal == "above" and self.at_most)
            return f"a bound from the wrong side; write it as {self.name}{SIDES[goal]}" if wrong else None
        least, most = metric.least, metric.most
        empty = self.threshold >= most if self.at_most else self.threshold <= least
        if not empty and least <= self.threshold <= most:
            return None
        said = f"{self.name} lies {f'between {least:g} and {most:g}' if isfinite(most) else f'at {least:g} or above'}"
        hint = f"; a ratio has an x behind its value, for example {self.name}<=1.02x" * metric.ratio
        return f"{said}, so this bound {'says nothing' if empty else 'cannot be kept'}{hint}"

    @property
    def row(self) -> tuple[SetName, type[Metric]] | None:
        """The set and the metric of a figure of rows; None of a probe's figure."""
        return of_rows(self.kind).get(self.name)

    @property
    def reference(self) -> ModelName | None:
        """The model beside which it is judged at the least; None where the figure stands alone.

        Beside the original, a model that forgot nothing would keep every bound on what is left of forgotten images. So
        only probes that can do without these are judged beside it.
        """
        if self.words:
            return "retrained"
        if self.row is None:
            probe = PROBES[probes_by_figure(self.kind)[self.name]]
            return "retrained" if "forget" in probe.needs else "original"
        return None if not self.ratio else "retrained" if self.row[0] == "forget" else "original"

    def excludes(self, other: Requirement) -> bool:
        """Whether nothing keeps this lower bound and that upper one, or these words and others of the verdict."""
        if self.words or other.words:
            return self.words < other.words and not set(self.words) & set(other.words)
        assert self.threshold is not None
        assert other.threshold is not None
        return not self.at_most and other.at_most and self.threshold > other.threshold

    def kept_by(self, value: float) -> bool:
        """Whether this value alone keeps the bound."""
        assert self.threshold is not None
        return value <= self.threshold if self.at_most else value >= self.threshold


@dataclass(frozen=True)
class Outcome:
    """What became of a requirement. `value` with its interval is what was judged; words: one sentence for people.

    The verdict has neither a value nor a `threshold`.
    """

    requirement: str
    state: State
    value: float | None
    low: float | None
    high: float | None
    threshold: float | None
    words: str

    def as_dict(self) -> dict[str, JsonValue]:
        """Plain JSON-ready values, as `requirements.json` holds them."""
        return asdict(self)


@dataclass(frozen=True)
class _Measured:
    """What a requirement judges: the number, what it is in words, and why it or its interval is missing."""

    what: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    why_not: str | None = None


def of_rows(kind: ModelKind) -> dict[str, tuple[SetName, type[Metric]]]:
    """Set and metric by the name of a figure of rows: of metrics with intervals; an attack has one on forget images."""
    return {
        f"{name}-{metric.short}": (name, metric)
        for name in SETS
        for metric in metrics_of(kind).values()
        if metric.has_interval and (name == "forget" or "neutral" not in metric.requires)
    }


def _goal(name: str, kind: ModelKind) -> Goal:
    """The side on which a figure is wanted by its probe."""
    probe = probes_by_figure(kind).get(name)
    return PROBES[probe].goals.get(name, "zero") if probe else "zero"


def requirable(kind: ModelKind) -> list[str]:
    """Every name that a requirement can have."""
    rows = of_rows(kind)
    return [*rows, *(name for name in probes_by_figure(kind) if name not in rows), VERDICT]


def contradictions(requirements: Iterable[str], kind: ModelKind) -> list[str]:
    """Pairs of bounds on one figure that no value can keep, one sentence each."""
    read = [Requirement.parse(text, kind) for text in requirements]
    return [
        f"{low.text} and {high.text} cannot both hold"
        for low in read
        for high in read
        if (low.name, low.ratio) == (high.name, high.ratio) and low.excludes(high)
    ]


def probes_for(requirements: Iterable[str], kind: ModelKind) -> list[str]:
    """Names of the probes without which these requirements cannot be judged."""
    names = (Requirement.parse(text, kind).name for text in requirements)
    needed = (probes_by_figure(kind)[name] for name in names if name not in (*of_rows(kind), VERDICT))
    return list(dict.fromkeys(needed))


def judge(
    requirements: Sequence[str],
    kind: ModelKind,
    evaluation: Evaluation,
    sets: Mapping[SetName, WithIds],
    findings: Findings,
    settings: MeasuringSettings,
    *,
    verdict: Verdict | None = None,
    advise: bool = True,
) -> list[Outcome]:
    """An outcome for each requirement, in their order.

    The bound must hold at the end of the interval that is farther from it, and no test may hold it back
    (`Probe.held_back`). advise: whether words may end in the advice to retrain, which is out of place for a model that was
    retrained.
    """
    found = []
    for requirement in (Requirement.parse(text, kind) for text in requirements):
        if requirement.words:
            found.append(of_verdict_alone(requirement, verdict))
            continue
        if requirement.row is None:
            measured = _of_finding(requirement, findings)
        elif requirement.ratio:
            measured = _ratio(requirement, evaluation, sets, settings)
        else:
            measured = _absolute(requirement, evaluation)
        outcome = _outcome(requirement, measured, advise)
        why = held_back(requirement, findings) if outcome.state == "met" else None
        found.append(replace(outcome, state="not met", words=outcome.words + why) if why else outcome)
    return found


def held_back(requirement: Requirement, findings: Findings) -> str | None:
    """A sentence where the test beside the required figure speaks against it; None where it does not, or was not made."""
    probe = probes_by_figure(requirement.kind).get(requirement.name)
    test = PROBES[probe].held_back.get(requirement.name) if probe else None
    finding = findings.find(test) if test else None
    if finding is None or finding.value is None or finding.value >= LEAST_P:
        return None
    return (
        f" But {finding.figure} is {bound(finding.value, 3, [LEAST_P])}, below {LEAST_P}: it is farther from the retrained "
        "model than another retraining is."
    )


def of_verdict_alone(requirement: Requirement, verdict: Verdict | None) -> Outcome:
    """What became of a requirement on the verdict."""
    wanted = " or ".join(requirement.words)

    def outcome(state: State, words: str) -> Outcome:
        return Outcome(requirement.text, state, None, None, None, None, words)

    if verdict is None:
        return outcome("not measurable", "The verdict cannot be given: there is no unlearned model.")
    said = f"The verdict is *{verdict.title}*, and *{wanted}* was required."
    if verdict.word in requirement.words:
        return outcome("met", f"The verdict is *{verdict.title}*, as was required.")
    return outcome("not measurable" if verdict.word == "cannot be told" else "not met", said)


def _words(text: str) -> tuple[Word, ...]:
    """The words of `verdict=WORD|WORD`, in the order of the rule, each once; raises `InputError`."""
    _, sign, given = text.partition("=")
    named = [word.strip().lower() for word in given.split("|")]
    words = tuple(word for word in REQUIRABLE_WORDS if word in named)
    if not sign or text.partition("=")[0].strip().lower() != VERDICT or not set(named) <= set(words):
        raise InputError(
            f"requirement '{text}': write it as {VERDICT}=yes, or with several words that will do, as "
            f"{VERDICT}=yes|beyond; words are {', '.join(REQUIRABLE_WORDS)}"
        )
    return words


def summary(outcomes: Sequence[Outcome]) -> str:
    """All outcomes in a sentence or two, with the advice that they amount to."""
    count = {state: sum(one.state == state for one in outcomes) for state in ("not met", "not measurable")}
    total = len(outcomes)
    if not any(count.values()):
        return "The requirement is met." if total == 1 else f"All {total} requirements are met."
    parts = [
        f"{number} of {total} {'is' if number == 1 else 'are'} {state}"
        for state, number in count.items()
        if number
    ]
    text = f"Of the requirements set before the run, {' and '.join(parts)}."
    if any(one.words.endswith(f"; {RETRAIN}.") for one in outcomes):
        return f"{text} Advice: {RETRAIN}."
    if any(one.words.endswith(f", else {RETRAIN}.") for one in outcomes):
        return f"{text} Advice: measure more images, else {RETRAIN}."
    return text


def foreseen(
    requirements: Iterable[str], kind: ModelKind, counts: Mapping[SetName, int], *, retrained: bool
) -> list[str]:
    """Why requirements will not be measurable, as far as it is known before the run; counts: photos by set."""
    found = []
    for requirement in (Requirement.parse(text, kind) for text in requirements):
        row = requirement.row
        needs_retrained = requirement.reference == "retrained" or (row and "retrained" in row[1].requires)
        if needs_retrained and not retrained:
            why = f"{NO_RETRAINED} (--retrained)"
        elif row and counts.get(row[0], 0) < FEWEST_GROUPS:
            why = f"{row[0]} has {counts.get(row[0], 0)} images, and an interval needs {FEWEST_GROUPS}"
        else:
            continue
        found.append(f"requirement {requirement.text} will not be measurable: {why}")
    return found


def _ratio(
    requirement: Requirement,
    evaluation: Evaluation,
    sets: Mapping[SetName, WithIds],
    settings: MeasuringSettings,
) -> _Measured:
    assert requirement.row is not None
    (name, metric), reference = requirement.row, requirement.reference
    assert reference is not None
    what = f"{requirement.name} of the unlearned model over that of the {reference} model"
    missing = _missing(requirement, evaluation, reference)
    if missing:
        return _Measured(what, why_not=missing)
    values = evaluation.per_image["unlearned", name][metric.name]
    others = evaluation.per_image[reference, name][metric.name]
    ids = sets[name].ids
    numbers = {id_: number for number, id_ in enumerate(dict.fromkeys(ids))}
    photos = np.array([numbers[id_] for id_ in ids])
    interval = bootstrap_ratio(values, others, photos, **settings.resampling)
    if interval is None:
        few = len(numbers) < FEWEST_GROUPS
        why = (
            f"fewer than {FEWEST_GROUPS} photos"
            if few
            else f"the {reference} model's figure may be zero or less"
        )
        return _Measured(what, why_not=f"no interval: {why}")
    return _Measured(what, *interval, unit="x")


def _absolute(requirement: Requirement, evaluation: Evaluation) -> _Measured:
    assert requirement.row is not None
    name, metric = requirement.row
    what = f"{requirement.name} of the unlearned model"
    row = find(evaluation.rows, "unlearned", name, metric.name)
    if row is None or row.value is None:
        return _Measured(what, why_not=_missing(requirement, evaluation, None) or "there is no such figure")
    why_not = (row.note or "no interval") if row.low is None or row.high is None else None
    return _Measured(what, row.value, row.low, row.high, why_not=why_not)


def _missing(requirement: Requirement, evaluation: Evaluation, reference: ModelName | None) -> str | None:
    """Which of the models, images, regions or answers a figure of rows lacks."""
    assert requirement.row is not None
    name, metric = requirement.row
    models = {model for model, _ in evaluation.per_image}
    if "unlearned" not in models:
        return "there is no unlearned model"
    if reference and reference not in models:
        return NO_RETRAINED if reference == "retrained" else "there is no original model"
    sides: list[ModelName] = ["unlearned", *([reference] if reference else [])]
    measured = [evaluation.per_image.get((model, name)) for model in sides]
    if measured[0] is None:
        return f"there are no {name} images"
    for model, values in zip(sides, measured, strict=True):
        if values is None or metric.name not in values:
            row = find(evaluation.rows, model, name, metric.name)
            region = "the corruption leaves no region to measure" if "region" in metric.requires else None
            return (row.note if row else None) or region or f"the {model} model has no such figure"
    return None


def _of_finding(requirement: Requirement, findings: Findings) -> _Measured:
    found = findings.find(requirement.name)
    beside = (found.reference if found else None) or "retrained"
    what = f"{requirement.name} of the unlearned model less that of the {beside} model"
    if found is None:
        return _Measured(what, why_not="the probe gave no such figure of the unlearned model")
    if found.value is None:
        return _Measured(
            what, why_not=(found.note or "the probe gave no value").removeprefix("not measurable: ")
        )
    if found.goal == "above":
        what = f"{requirement.name} of the unlearned model"
        return _Measured(what, found.value, found.low, found.high)
    if found.difference is None or (beside == "original" and requirement.reference == "retrained"):
        why = NO_RETRAINED if beside == "original" else found.note
        return _Measured(what, why_not=why or "there is no figure to compare with")
    ends = found.difference_low, found.difference_high
    why_not = f"no interval{f' ({found.note})' * bool(found.note)}" if None in ends else None
    return _Measured(what, found.difference, *ends, why_not=why_not)


def _outcome(requirement: Requirement, measured: _Measured, advise: bool) -> Outcome:
    def outcome(state: State, words: str) -> Outcome:
        ends = measured.value, measured.low, measured.high
        return Outcome(requirement.text, state, *ends, requirement.threshold, words)

    assert requirement.threshold is not None
    value, low, high = measured.value, measured.low, measured.high
    if measured.why_not or value is None or low is None or high is None or np.isnan([value, low, high]).any():
        return outcome(
            "not measurable",
            f"{_capital(measured.what)} cannot be judged: {measured.why_not or 'no number'}.",
        )
    decides = [requirement.threshold]
    number = f"{bound(value, decimals(value, 4), decides)}{measured.unit}"
    number += f" (interval {interval(low, high, 4, decides=decides)})"
    allowed = f"{'at most' if requirement.at_most else 'at least'} {requirement.threshold:.4g}{measured.unit}"
    beginning = f"{_capital(measured.what)} is {number}"
    if requirement.kept_by(high if requirement.at_most else low):
        return outcome("met", f"{beginning}: all of the interval is {allowed}.")
    advises = advise and (requirement.name.startswith(("retain-", "forget-", "detectability")))
    if requirement.kept_by(value):
        return outcome(
            "not met",
            f"{beginning}: the value is {allowed}, but its interval reaches beyond; "
            f"more images may narrow it{f', else {RETRAIN}' * advises}.",
        )
    return outcome("not met", f"{beginning}: the value itself is not {allowed}{f'; {RETRAIN}' * advises}.")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
