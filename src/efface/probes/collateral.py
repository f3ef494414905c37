"""Whom else did it hit? The worst-hit classes and images among those to be kept, and the forgotten ones' neighbours.

Damage is the ratio of a model's error to the original's on the same views, averaged as a logarithm over images: of the
hole error of a generator, of a classifier's odds against an image's class. Sure classifiers may be much less sure and
name the same classes, so `-accuracy` gives the share of images beside it that are no longer answered rightly.
Means over a set hide that one class paid for it (complaints on record: all other faces changed, GUIDE issue 2).

Looking for the worst finds something bad by chance alone. Against that, the worst is *cross-fitted*: the images of each
class (the views of each image) are halved at random, the worst is chosen on one half and its ratio read on the other,
both ways round and over several keyed halvings. What was only luck is gone on the second half; where nothing was hit
the figure is 1 on average however many classes there are. It is at most the true worst, since the choice may miss it.
Images with one view cannot be halved: `worst-retain-image` is then the plain largest ratio, to be read only beside the
retrained model's, which was sought in the same way among as many images.

It cannot show damage to groups that no label names, nor damage that the error does not see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from efface.evaluation.results import ModelName, SetName
from efface.metrics.intervals import FEWEST_GROUPS
from efface.probes.base import Cost, Criterion, FiguresByKind, Probe, Scores, judged
from efface.probes.findings import Finding, Findings, Goal, Hit
from efface.probes.subject import LOG_ERROR, WRONG, AnySubject, ErrorKind, Images, Values
from efface.randomness import numpy_draws

Integers = npt.NDArray[np.int64]
KEPT: tuple[SetName, ...] = ("retain", "neutral")
CLASSES = {name: f"worst-{name}-class" for name in KEPT}
IMAGE, NEIGHBOURS = "worst-retain-image", "neighbour-error"


class Collateral(Probe):
    """Worst-hit classes and images, and the neighbours of the forgotten."""

    halvings: int = Field(
        20, ge=1, description="random halvings over which the cross-fitted worst is averaged"
    )
    fewest: int = Field(4, ge=2, description="photos of a class below which it is left out")
    neighbours: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="share of the kept images, nearest to a forgotten one, that are its neighbours",
    )
    photos: int = Field(
        5000, ge=10, description="photos of a set that are taken into account; of more, so many are drawn"
    )

    name: ClassVar[str] = "collateral"
    question: ClassVar[str] = "Which of the images to be kept paid for the forgetting?"
    summary: ClassVar[str] = "worst-hit retain and neutral classes and images; neighbours of the forgotten"
    source: ClassVar[str] = "Cross-fitted selection as in sample splitting (Cox 1975, Biometrika 62)"
    needs: ClassVar[tuple[SetName, ...]] = ()
    cost: ClassVar[Cost] = "nothing"
    figures: ClassVar[FiguresByKind] = {
        "generator": (*CLASSES.values(), IMAGE, NEIGHBOURS),
        "classifier": (
            *(measure.named(figure) for figure in CLASSES.values() for measure in (LOG_ERROR, WRONG)),
            *(IMAGE, NEIGHBOURS, WRONG.named(NEIGHBOURS)),
        ),
    }
    goals: ClassVar[Mapping[str, Goal]] = dict.fromkeys(
        (*figures["generator"], *figures["classifier"]), "low"
    )

    def ask(self, subject: AnySubject) -> Findings:
        if "original" not in subject.models:
            return self.unanswered(subject, "there is no original model to compare with")
        return super().ask(subject)

    def run(self, subject: AnySubject) -> Findings:
        findings = self._images(subject)
        for name in KEPT:
            findings = findings.join(self._classes(subject, name))
        return findings.join(self._neighbours(subject))

    def _classes(self, subject: AnySubject, name: SetName) -> Findings:
        figure = CLASSES[name]
        if not subject.has(name):
            return self.unmeasured_by_all(subject, figure, f"there are no {name} images")
        labels = subject.classes(self._photos(subject, name))
        counts = {label: labels.count(label) for label in sorted(set(labels) - {None}, key=str)}
        classes = [label for label, count in counts.items() if label and count >= self.fewest]
        if not classes:
            return self.unmeasured_by_all(subject, figure, f"no class has {self.fewest} labelled photos")
        number = {label: place for place, label in enumerate(classes)}
        belongs = np.array([number.get(label or "", -1) for label in labels])
        inside = np.flatnonzero(belongs >= 0)
        belongs, halves = belongs[inside], _halves(belongs[inside], self.halvings, subject.seed, figure)
        sizes = np.bincount(belongs)
        note = f"cross-fitted worst of {len(classes)} classes"
        if len(classes) < len(counts):
            note += f"; {len(counts) - len(classes)} classes of fewer than {self.fewest} photos left out"
        findings = Findings()
        for measure in subject.measures:
            rises = {model: values[inside] for model, values in self._rises(subject, name, measure).items()}
            scores = {
                model: {"kept": np.column_stack([values, belongs, halves])} for model, values in rises.items()
            }
            means = {model: _class_means(values, belongs) for model, values in rises.items()}
            hits = _hits(self, subject, measure, figure, name, "class", classes, means, sizes)
            findings = findings.join(Findings(hits=hits)).join(judged(
                self.name, measure.named(figure), scores, worst_class(measure), subject,
                unit=_unit(measure), goal=self.goals[figure], note=note, share=measure.share(int(sizes.min()), "original"),
            ))  # fmt: skip
        return findings

    def _images(self, subject: AnySubject) -> Findings:
        figure, name = IMAGE, KEPT[0]
        if not subject.has(name):
            return self.unmeasured(subject, (figure,), "there are no retain images")
        rises = _above_original(self._errors(subject, name, LOG_ERROR))
        views, ids = rises["original"].shape[1], list(self._photos(subject, name).ids)
        means = {model: values.mean(axis=1) for model, values in rises.items()}
        sizes = np.ones(len(ids), np.int64)
        hits = _hits(self, subject, LOG_ERROR, figure, name, "image", ids, means, sizes)
        criterion: Criterion = largest
        note = f"the largest of {len(ids)} images, in one view: luck is not taken off"
        if views > 1:
            halves = _halves(np.zeros(views, np.int64), self.halvings, subject.seed, figure)
            criterion, note = worst_image(halves), f"cross-fitted worst of {len(ids)} images"
        scores: dict[ModelName, Scores] = {model: {"kept": values} for model, values in rises.items()}
        findings = judged(self.name, figure, scores, criterion, subject, goal=self.goals[figure], note=note)
        if views == 1:
            findings = Findings(tuple(_without_interval(finding) for finding in findings.figures))
        return findings.join(Findings(hits=hits))

    def _neighbours(self, subject: AnySubject) -> Findings:
        if not subject.has("forget"):
            return self.unmeasured_by_all(subject, NEIGHBOURS, "there are no forget images")
        names = [name for name in KEPT if subject.has(name)]
        if not names:
            return self.unmeasured_by_all(subject, NEIGHBOURS, "there are no images to be kept")
        forgotten = self._features(subject, "forget")
        kept = np.concatenate([self._features(subject, name) for name in names])
        spread = np.concatenate([kept, forgotten]).std(axis=0)
        apart = _nearest(kept, forgotten, np.where(spread > 0, spread, 1))
        count = max(FEWEST_GROUPS, round(self.neighbours * len(kept)))
        near = np.zeros(len(kept), dtype=bool)
        near[np.argsort(apart, kind="stable")[:count]] = True
        if near.all():
            return self.unmeasured_by_all(subject, NEIGHBOURS, "all kept images are neighbours")
        note = f"the {count} of {len(kept)} kept images most like a forgotten one, against the others"
        findings = Findings()
        for measure in subject.measures:
            rises = [self._rises(subject, name, measure) for name in names]
            together = {
                model: np.concatenate([of_set[model] for of_set in rises]) for model in subject.models
            }
            scores: dict[ModelName, Scores] = {
                model: {"near": values[near], "far": values[~near]} for model, values in together.items()
            }
            findings = findings.join(judged(
                self.name, measure.named(NEIGHBOURS), scores, near_by_far(measure), subject,
                unit=_unit(measure), goal=self.goals[NEIGHBOURS], note=note, share=measure.share(known="original"),
            ))  # fmt: skip
        return findings

    def _places(self, subject: AnySubject, name: SetName) -> Integers:
        """Of the photos that are taken into account, among all of a set."""
        count = len(subject.photos(name))
        if count <= self.photos:
            return np.arange(count)
        drawn = numpy_draws(subject.seed, "collateral photos", name).permutation(count)[: self.photos]
        return np.sort(drawn)

    def _photos(self, subject: AnySubject, name: SetName) -> Images:
        photos: Images = subject.photos(name).subset(self._places(subject, name))
        return photos

    def _features(self, subject: AnySubject, name: SetName) -> Values:
        return subject.features(name)[self._places(subject, name)]

    def _errors(self, subject: AnySubject, name: SetName, measure: ErrorKind) -> dict[ModelName, Values]:
        """How badly each model answers, `[photos, views]`."""
        places = self._places(subject, name)
        return {model: subject.evaluated_views(model, name)[measure][places] for model in subject.models}

    def _rises(self, subject: AnySubject, name: SetName, measure: ErrorKind) -> dict[ModelName, Values]:
        """How much worse than the original each model is, `[photos]`; logarithms are averaged over views."""
        errors = self._errors(subject, name, measure)
        return _above_original({model: values.mean(axis=1) for model, values in errors.items()})


def worst_class(measure: ErrorKind) -> Criterion:
    """Cross-fitted worst rise of classes. scores: `kept` `[images, 2 + halvings]`, rise, class, halves (0 or 1).

    nan where no halving leaves a class with images on both sides.
    """

    def criterion(scores: Scores) -> float:
        table = scores["kept"]
        classes = table[:, 1].astype(np.int64)
        count = int(classes.max()) + 1
        read: list[float] = []
        for column in range(2, table.shape[1]):
            cells = 2 * classes + table[:, column].astype(np.int64)
            sizes = np.bincount(cells, minlength=2 * count)
            sums = np.bincount(cells, weights=table[:, 0], minlength=2 * count)
            means = (sums / np.maximum(sizes, 1)).reshape(count, 2)[(sizes.reshape(count, 2) > 0).all(axis=1)]
            if len(means):
                read += [means[means[:, 0].argmax(), 1], means[means[:, 1].argmax(), 0]]
        return measure.of_difference(float(np.mean(read))) if read else float("nan")

    return criterion


def worst_image(halves: Integers) -> Criterion:
    """Cross-fitted worst ratio of images. halves `[views, halvings]`; scores: `kept` `[images, views]`, log ratios."""

    def criterion(scores: Scores) -> float:
        table, read = scores["kept"], []
        for half in halves.T:
            first, second = table[:, half == 0].mean(axis=1), table[:, half == 1].mean(axis=1)
            read += [second[first.argmax()], first[second.argmax()]]
        return float(np.exp(np.mean(read)))

    return criterion


def largest(scores: Scores) -> float:
    """The largest ratio. scores: `kept` `[images, 1]`, log ratios."""
    return float(np.exp(scores["kept"].max()))


def near_by_far(measure: ErrorKind) -> Criterion:
    """Mean rise of `near` against that of `far`, both `[images]`: of logarithms the ratio, else the difference."""

    def criterion(scores: Scores) -> float:
        return measure.of_difference(float(scores["near"].mean() - scores["far"].mean()))

    return criterion


def _above_original(errors: Mapping[ModelName, Values]) -> dict[ModelName, Values]:
    return {model: values - errors["original"] for model, values in errors.items()}


def _unit(measure: ErrorKind) -> str:
    return "1" if measure.is_log else measure.unit


def _nearest(kept: Values, forgotten: Values, scale: Values) -> Values:
    from scipy.spatial import cKDTree

    distances: Values = cKDTree(forgotten / scale).query(kept / scale)[0]
    return distances


def _halves(groups: Integers, halvings: int, seed: int, figure: str) -> Integers:
    """0 or 1 `[members, halvings]`: each group in halves at random; an odd group's last goes to either."""
    draws = numpy_draws(seed, "collateral halves", figure)
    halves = np.empty((len(groups), halvings), np.int64)
    for column in range(halvings):
        for group in np.unique(groups):
            places = draws.permutation(np.flatnonzero(groups == group))
            halves[places, column] = (np.arange(len(places)) + draws.integers(2)) % 2
    return halves


def _class_means(values: Values, belongs: Integers) -> Values:
    means: Values = np.bincount(belongs, weights=values) / np.bincount(belongs)
    return means


def _hits(
    probe: Probe,
    subject: AnySubject,
    measure: ErrorKind,
    figure: str,
    name: SetName,
    kind: str,
    names: list[str],
    means: Mapping[ModelName, Values],
    sizes: Integers,
) -> tuple[Hit, ...]:
    """The worst classes or images by their mean rises `[classes or images]`."""
    if "unlearned" not in means:
        return ()
    worst = np.argsort(-means["unlearned"], kind="stable")[: subject.settings.worst]
    beside = subject.reference
    return tuple(
        Hit(
            probe.name,
            measure.named(figure),
            name,
            kind,
            names[place],
            measure.of_difference(means["unlearned"][place]),
            measure.of_difference(means[beside][place]) if beside else None,
            int(sizes[place]),
        )
        for place in worst
    )


def _without_interval(finding: Finding) -> Finding:
    return replace(finding, low=None, high=None, difference_low=None, difference_high=None)
