"""The verdict on an unlearned model: is it gone? One word by the first rule that holds, and all numbers that it rests on.

ruined: retain and neutral images are treated worse than a stated bound, whatever else holds. cannot be told: no reference,
no memory, or too few photos to see. yes: on forget images it lies within the margin of the retrained model, and nothing
that was asked contradicts. no: it does not differ from the original. partly, or beyond: the rest, by the side on which
it lies. `docs/verdict.md` says what each means, and how often each is said of models whose truth is known.

All differences are paired, over photos. A yes needs more than the figure: forget images have to have moved more than
retain and neutral ones, else a model that was made worse at everything would pass. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
from pydantic import Field

from efface.documents import Described
from efface.evaluation.results import ModelName, SetName
from efface.evaluation.settings import MeasuringSettings
from efface.metrics.base import Better, Metric, ModelKind
from efface.metrics.catalogue import metrics_of
from efface.metrics.intervals import (
    FEWEST_GROUPS,
    Interval,
    bootstrap_difference,
    bootstrap_ratio,
    paired_means,
    percentile_ends,
    photos_of,
)
from efface.wording import bound, figure, interval, sentence

Word = Literal["ruined", "cannot be told", "yes", "no", "partly", "beyond"]
WORDS: tuple[Word, ...] = get_args(Word)
Ground = Literal[
    "ruined",
    "no retrained model",
    "no original model",
    "few photos",
    "not finite",
    "no memory",
    "weak reference",
    "wide interval",
    "alike",
    "a probe",
    "kept moved as much",
    "as the original",
    "partly",
    "partly, unsure",
    "beyond",
    "beyond, unsure",
]
"""Which rule decided: finer than the word, and for texts in other languages."""
GROUNDS: tuple[Ground, ...] = get_args(Ground)
Specificity = Literal["yes", "no", "nothing to forget", "not measured"]
Values = npt.NDArray[np.float64]
BySet = Mapping[SetName, Mapping[ModelName, Values]]
KEPT: tuple[SetName, ...] = ("retain", "neutral")


class Estimate(Described):
    """A number with the ends of its interval over photos."""

    value: float = Field(description="the number")
    low: float = Field(description="lower end of its interval")
    high: float = Field(description="upper end of its interval")

    @classmethod
    def of(cls, found: Interval | None) -> Estimate | None:
        """The same as a part of a record; None where there is no interval."""
        return cls(**{name: float(end) for name, end in found._asdict().items()}) if found else None

    def __str__(self) -> str:
        return f"{figure(self.value, 3)} ({interval(self.low, self.high)})"


class Kept(Described):
    """How a set that is to be kept is treated."""

    metric: str = Field(
        description="by which ruin is judged: the verdict's figure, of classifiers `accuracy`"
    )
    ratio: Estimate | None = Field(
        description="the unlearned model's mean over the original's; null where the unlearned model's values are no "
        "finite numbers"
    )
    ruined: bool = Field(description="whether the better end of the interval is beyond `ruin`")


class Specific(Described):
    """Whether a model differs from the original more on forget images than on those that are to be kept."""

    word: Specificity = Field(
        description="`yes`: by all that is below; `nothing to forget`: no memory was shown"
    )
    more: dict[SetName, Estimate] = Field(
        description="by kept set: how much further the figure moved for the worse on forget images, from the original to "
        "the model, than on that set"
    )
    times: dict[SetName, Estimate] = Field(
        description="the same as a ratio: what the figure was multiplied by on forget images, over what it was on that "
        "set; empty for figures that have no ratios"
    )

    @property
    def said(self) -> str:
        """The same in a sentence."""
        return SPECIFIC[self.word]


class Numbers(Described):
    """What a verdict rests on. Differences are of the first model less the second, on forget images."""

    figure: str = Field(description="the metric, such as `hole_mse`, or `confidence` of classifiers")
    better: Better = Field(description="`down` or `up`: which way the figure is better")
    margin: float = Field(
        description="share of the gap within which two models count as alike, set before the run"
    )
    ruin: float = Field(
        description="ratio to the original's beyond which a kept set is ruined, set before the run"
    )
    photos: dict[SetName, int] = Field(description="photos by set")
    models: list[ModelName] = Field(description="the models that have values on forget images")
    gap: Estimate | None = Field(description="original less retrained")
    reference: Specific = Field(
        description="the same as `specific` of the retrained model: one that is as much worse on images that both were "
        "trained on shows no memory"
    )
    to_retrained: Estimate | None = Field(description="unlearned less retrained")
    to_original: Estimate | None = Field(description="unlearned less original")
    left: Estimate | None = Field(
        description="`to_retrained` over the gap: 1 where the original is, 0 where the retrained model is, below 0 beyond "
        "it; null where no memory was shown"
    )
    kept: dict[SetName, Kept] = Field(
        description="how the sets to be kept are treated; none without an interval"
    )
    specific: Specific = Field(
        description="of the unlearned model, without the retrained one; `nothing to forget`: the gap's interval includes 0"
    )
    probes: dict[str, bool] = Field(
        description="by figure of a probe: whether it contradicts, its whole interval on the side on which something is "
        "still remembered; without those that could not be compared with a retrained model"
    )


class Verdict(Numbers):
    """Is it gone? One word, the same everywhere."""

    word: Word = Field(description="by the first rule that holds ([verdict.md](verdict.md))")
    reason: str = Field(description="why, in a sentence")

    @property
    def title(self) -> str:
        """The word as it is said: a yes is never more than what was tested."""
        return "yes, as far as was tested" if self.word == "yes" else self.word

    @property
    def said(self) -> str:
        """Word, reason, and whether it was specific, in a few sentences."""
        return f"{sentence(self.title)} {self.reason} {self.specific.said}"

    @classmethod
    def on(cls, numbers: Numbers) -> Verdict:
        """The verdict that these numbers amount to."""
        given = {name: getattr(numbers, name) for name in Numbers.model_fields}
        found = decided(numbers)
        return cls(**given, word=found.word, reason=found.reason)

    def without_memory(self, why: str) -> Verdict:
        """The same where no memory was shown over several trainings, whatever their mean shows over photos.

        why: what was measured over trainings. A model that is ruined stays so.
        """
        if self.word == "ruined" or self.left is None:
            return self
        nothing = self.specific.model_copy(update={"word": "nothing to forget"})
        reason = f"{NO_MEMORY}{why}.{_harm(self)}"
        return self.model_copy(
            update={"word": "cannot be told", "reason": reason, "left": None, "specific": nothing}
        )


def verdict_on(
    per_image: Mapping[tuple[ModelName, SetName], Mapping[str, Values]],
    ids: Mapping[SetName, Sequence[str]],
    kind: ModelKind,
    settings: MeasuringSettings,
    probes: Mapping[str, bool],
) -> Verdict | None:
    """The verdict from what each image got, `[images]` by model, set and metric; None without an unlearned model.

    ids: of each set's images, in order; entries with one id are one photo. The figure is the first metric of the catalogue
    that verdicts are given by and that was measured on forget images; where answers are drawn, the error of their mean.
    Ruin is judged by the first that a page speaks by.
    """
    if ("unlearned", "forget") not in per_image:
        return None

    def measured(metric: type[Metric]) -> bool:
        columns = (given.get(metric.name) for (_, name), given in per_image.items() if name == "forget")
        return any(column is not None and bool(np.isfinite(column).any()) for column in columns)

    def by_set(metric: type[Metric]) -> dict[SetName, dict[ModelName, Values]]:
        """Of a model that answered with no finite numbers there is no column."""
        found: dict[SetName, dict[ModelName, Values]] = {}
        for (model, name), given in per_image.items():
            absent = np.full(len(ids[name]), np.nan)
            found.setdefault(name, {})[model] = given.get(metric.name, absent)
        return found

    metrics = list(metrics_of(kind).values())
    # one sample's error holds the spread of all: where several were drawn, the error of their mean decides
    deciding = sorted(
        (metric for metric in metrics if metric.decides), key=lambda metric: "samples" not in metric.requires
    )
    leading = [metric for metric in metrics if metric.yardstick]
    metric = next(filter(measured, deciding), deciding[0])
    kept_by = next(filter(measured, leading), leading[0])
    numbers = {
        name: {id_: place for place, id_ in enumerate(dict.fromkeys(given))} for name, given in ids.items()
    }
    photos = {name: [numbers[name][id_] for id_ in given] for name, given in ids.items()}
    return verdict_of(
        by_set(metric), metric, settings, kept=by_set(kept_by), kept_by=kept_by, photos=photos, probes=probes
    )


def verdict_of(
    values: BySet,
    metric: type[Metric],
    settings: MeasuringSettings,
    *,
    kept: BySet | None = None,
    kept_by: type[Metric] | None = None,
    photos: Mapping[SetName, npt.ArrayLike] | None = None,
    probes: Mapping[str, bool] | None = None,
) -> Verdict:
    """The verdict from one value an image of `metric`, `[images]` by set and model; the same images for each model.

    Raises `KeyError` without forget images. settings: margin, ruin, and how intervals are made. kept, kept_by: values of
    another metric by which ruin is judged, as accuracy beside confidence. photos: the source photo of each image of a set;
    without, every image is one of its own. probes: see `Numbers`.
    """
    kept_by = kept_by or metric
    assert metric.better is not None
    forget, groups = values["forget"], photos or {}
    measured = {name: given for name, given in values.items() if given}
    counts = {
        name: photos_of(next(iter(given.values())), groups.get(name)) for name, given in measured.items()
    }
    sign = -1 if metric.better == "down" else 1

    def difference(one: ModelName, other: ModelName) -> Estimate | None:
        if one not in forget or other not in forget or not _finite(forget[one], forget[other]):
            return None
        pair = forget[one], forget[other]
        return Estimate.of(bootstrap_difference(*pair, groups.get("forget"), **settings.resampling))

    gap = difference("original", "retrained")
    away = difference("unlearned", "retrained")
    reference = _specific(measured, metric, groups, settings, "retrained")
    apart = gap is not None and min(sign * gap.low, sign * gap.high) > 0
    specific = _specific(measured, metric, groups, settings, "unlearned")
    if gap is not None and not apart:
        specific = specific.model_copy(update={"word": "nothing to forget"})
    numbers = Numbers(
        figure=metric.name,
        better=metric.better or "down",
        margin=settings.margin,
        ruin=_bound(kept_by, settings.ruin),
        photos=counts,
        models=[name for name in ("original", "unlearned", "retrained") if name in forget],
        gap=gap,
        reference=reference,
        to_retrained=away,
        to_original=difference("unlearned", "original"),
        left=_over(away, gap.value) if apart and reference.word != "no" and gap and away else None,
        kept=_kept(kept or values, kept_by, groups, settings),
        specific=specific,
        probes=dict(probes or {}),
    )
    return Verdict.on(numbers)


class Decided(NamedTuple):
    """A verdict's word, the rule that decided, and why in a sentence."""

    word: Word
    ground: Ground
    reason: str


def decided(numbers: Numbers) -> Decided:
    """By the first rule that holds: a function of the numbers alone, so that anyone can check it."""
    if numbers.kept and all(one.ruined for one in numbers.kept.values()):
        return Decided("ruined", "ruined", _ruined(numbers))
    word, ground, reason = _on_forget_images(numbers)
    return Decided(word, ground, reason + _harm(numbers))


def _harm(n: Numbers) -> str:
    """Which kept set is ruined, where it is not all of them."""
    harmed = [name for name, one in n.kept.items() if one.ruined]
    return f" On {' and '.join(harmed)} images the model is ruined." * bool(harmed)


def _on_forget_images(n: Numbers) -> Decided:
    """Of a model that is of some use."""
    margin = n.margin
    if why := _untold(n):
        return Decided("cannot be told", *why)
    left, original, gap = n.left, n.to_original, n.gap
    assert left is not None
    assert original is not None
    assert gap is not None
    lies = f"{_percent(left.value)} of the gap is left ({_ends(n, left.low, left.high)})"
    if -margin <= left.low and left.high <= margin:
        return _alike(n, f"{lies}, within {_percent(margin)} of the retrained model")
    as_original = original.low <= 0 <= original.high
    # a copy of the original is known for one however few the photos, since the two are compared in pairs
    surely = as_original and max(-original.low, original.high) <= margin * abs(gap.value)
    if left.high - left.low > 2 * margin and not surely:
        return Decided("cannot be told", "wide interval", _too_wide(n, left))
    if as_original:
        told = f"No difference from the original was found: {original}; {lies}."
        return Decided("no", "as the original", told)
    unsure = left.low <= 0 <= left.high
    if left.value > 0:
        told = (
            f"The unlearned model lies on the original's side of the retrained one: {lies}.{UNSURE * unsure}"
        )
        return Decided("partly", "partly, unsure" if unsure else "partly", told)
    by = f"{_percent(-left.value)} of the gap ({_ends(n, -left.high, -left.low)})"
    told = f"The unlearned model lies beyond the retrained one, by {by}.{UNSURE if unsure else BETRAYS}"
    return Decided("beyond", "beyond, unsure" if unsure else "beyond", told)


def _alike(n: Numbers, lies: str) -> Decided:
    """On forget images as the retrained model: whether anything else speaks against a yes."""
    against = [name for name, contradicts in n.probes.items() if contradicts]
    doubts = [f"by {', '.join(against)} more is remembered"] * bool(against)
    doubts += ["images to be kept moved as much"] * (n.specific.word == "no")
    if doubts:
        ground: Ground = "a probe" if against else "kept moved as much"
        return Decided("partly", ground, f"{lies}, but {' and '.join(doubts)}.")
    parts = [f"none of {len(n.probes)} figures of probes contradicts" if n.probes else "no probe was asked"]
    parts += ["whether other images moved as much was not measured"] * (n.specific.word == "not measured")
    return Decided("yes", "alike", f"{lies}; {'; '.join(parts)}.")


def _untold(n: Numbers) -> tuple[Ground, str] | None:
    """Why it cannot be told; None where it can."""
    photos = n.photos.get("forget", 0)
    for model, ground in LACKING:
        if model not in n.models:
            return ground, f"No {model} model was measured beside the unlearned one."
    if photos < FEWEST_GROUPS:
        told = f"There are {photos} photos to be forgotten, and an interval takes {FEWEST_GROUPS}."
        return "few photos", told
    if n.gap is None or n.to_retrained is None or n.to_original is None:
        return "not finite", "A model answers with values that are no finite numbers."
    if n.left is None:
        weak = n.specific.word != "nothing to forget"
        shown = f"on the images to be forgotten the original's figure less the retrained model's is {n.gap}"
        doubt = f", but {WEAK_REFERENCE}" * weak
        return "weak reference" if weak else "no memory", f"{NO_MEMORY}{shown}{doubt}."
    return None


def _too_wide(n: Numbers, left: Estimate) -> str:
    outside = left.low > n.margin or left.high < -n.margin
    return (
        f"The interval is too wide: the share of the gap that is left is {_ends(n, left.low, left.high)}, and the margin "
        f"is {_percent(n.margin)} either way; the gap, original less retrained, is {n.gap}. {OUTSIDE * outside}More photos "
        "narrow it."
    )


def _ruined(n: Numbers) -> str:
    worse = "below" if n.ruin < 1 else "above"
    said = [
        f"{name} images: "
        + (
            f"{figure(one.ratio.value, 3)} ({interval(one.ratio.low, one.ratio.high, decides=[n.ruin])}) times the original"
            if one.ratio
            else "no finite numbers"
        )
        for name, one in n.kept.items()
    ]
    metric = next(iter(n.kept.values())).metric
    lie = "Both intervals lie" if len(said) > 1 else "The whole interval lies"
    return f"The {metric} on {'; on '.join(said)}. {lie} {worse} {n.ruin:.3g}."


def _kept(
    values: BySet, metric: type[Metric], groups: Mapping[SetName, npt.ArrayLike], settings: MeasuringSettings
) -> dict[SetName, Kept]:
    found = {}
    for name in KEPT:
        given = values.get(name, {})
        if "original" not in given or not _finite(given["original"]):
            continue
        if "unlearned" not in given or not _finite(given["unlearned"]):
            found[name] = Kept(metric=metric.name, ratio=None, ruined=True)
            continue
        ratio = Estimate.of(
            bootstrap_ratio(given["unlearned"], given["original"], groups.get(name), **settings.resampling)
        )
        if ratio is not None:
            bound = _bound(metric, settings.ruin)
            ruined = ratio.low > bound if bound > 1 else ratio.high < bound
            found[name] = Kept(metric=metric.name, ratio=ratio, ruined=ruined)
    return found


def _specific(
    values: BySet,
    metric: type[Metric],
    groups: Mapping[SetName, npt.ArrayLike],
    settings: MeasuringSettings,
    model: ModelName,
) -> Specific:
    worse = 1 if metric.better == "down" else -1
    drawn = {
        name: paired_means(
            [given[model], given["original"]], groups.get(name),
            resamples=settings.resamples, seed=settings.seed, purpose=f"moved {name}",
        )
        for name, given in values.items()
        if "original" in given and model in given and _finite(given["original"], given[model])
        if photos_of(given["original"], groups.get(name)) >= FEWEST_GROUPS
    }  # fmt: skip
    more: dict[SetName, Estimate] = {}
    times: dict[SetName, Estimate] = {}
    for name in KEPT if "forget" in drawn else ():
        if name not in drawn:
            continue
        units = min(photos_of(values[one]["original"], groups.get(one)) for one in ("forget", name))
        sides = [
            np.concatenate([means[:, None], draws], axis=1) for means, draws in (drawn["forget"], drawn[name])
        ]
        forget, other = (worse * (after - before) for after, before in sides)
        more[name] = _estimate(forget - other, settings.confidence, units)
        if metric.ratio and all((side > 0).all() for side in sides):
            forget, other = (side[0] / side[1] for side in sides)
            times[name] = _estimate(forget / other, settings.confidence, units)
    if not more:
        word: Specificity = "not measured"
    else:
        apart = all(one.low > 0 for one in more.values())
        apart &= all(one.low > 1 if worse > 0 else one.high < 1 for one in times.values())
        word = "yes" if apart else "no"
    return Specific(word=word, more=more, times=times)


def _estimate(values: Values, confidence: float, units: int) -> Estimate:
    """From a statistic, and what it is under each resample behind it."""
    low, high = percentile_ends(values[1:], confidence, units=units)
    return Estimate(value=float(values[0]), low=low, high=high)


def _over(one: Estimate, gap: float) -> Estimate:
    low, high = sorted((one.low / gap, one.high / gap))
    return Estimate(value=one.value / gap, low=low, high=high)


def _bound(metric: type[Metric], ruin: float) -> float:
    """`ruin` as a ratio to the original's: above 1 for errors, below 1 for what is better high."""
    return max(ruin, 1 / ruin) if metric.better == "down" else min(ruin, 1 / ruin)


def _finite(*values: Sequence[float] | Values) -> bool:
    return all(bool(np.isfinite(one).all()) for one in values)


NO_MEMORY = "No memory was shown: "
LACKING: tuple[tuple[ModelName, Ground], ...] = (
    ("retrained", "no retrained model"),
    ("original", "no original model"),
)
WEAK_REFERENCE = (
    "the retrained model differs as much on images that both models saw or neither did: it may have seen the images, or be "
    "worse altogether"
)
UNSURE = (
    " The interval holds the retrained model itself, so the side is not certain; it reaches beyond the margin, so it is no "
    "yes. More photos narrow it."
)
BETRAYS = " Images to be forgotten are treated worse than by a model that never saw them, which can itself betray them."
OUTSIDE = "All of it lies outside the margin, so a yes is ruled out. "
SPECIFIC: Mapping[Specificity, str] = {
    "yes": "It was specific: images to be forgotten moved more than retain and neutral ones.",
    "no": "It was not shown to be specific: retain and neutral images may have moved as much.",
    "nothing to forget": "There was nothing particular to forget.",
    "not measured": "Whether it was specific was not measured: it takes five photos to be forgotten, and five others.",
}


def _percent(share: float) -> str:
    return f"{bound(100 * share, 0, ())} %"


def _ends(n: Numbers, low: float, high: float) -> str:
    return f"{' to '.join(share_ends(n, low, high))} %"


def share_ends(n: Numbers, low: float, high: float) -> tuple[str, str]:
    """The ends of a share of the gap, in percent; none lies on the wrong side of the margin or the retrained model."""
    decides = [-100 * n.margin, 0, 100 * n.margin]
    return bound(100 * low, 0, decides), bound(100 * high, 0, decides)
