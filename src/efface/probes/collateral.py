"""Whom else did it hit? The worst-hit classes and images among those to be kept, and the forgotten ones' neighbours.

Damage is the ratio of a model's hole error to the original's on the same views, averaged as a logarithm over images.
Means over a set hide that one class paid for it (complaints on record: all other faces changed, GUIDE issue 2).

Looking for the worst finds something bad by chance alone. Against that, the worst is *cross-fitted*: the images of each
class (the views of each image) are halved at random, the worst is chosen on one half and its ratio read on the other,
both ways round and over several keyed halvings. What was only luck is gone on the second half; where nothing was hit
the figure is 1 on average however many classes there are. It is at most the true worst, since the choice may miss it.
Images with one view cannot be halved: `worst-retain-image` is then the plain largest ratio, to be read only beside the
retrained model's, which was looked for in the same way among as many images.

It cannot show damage to groups that no label names, nor damage that hole error does not see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from efface.evaluation.results import ModelName, SetName
from efface.probes.base import FEWEST_IMAGES, Cost, Criterion, Probe, Scores, Subject, Values, judged
from efface.probes.findings import Finding, Findings, Hit
from efface.probes.showing import logs, once, photos, unmeasured
from efface.randomness import numpy_draws

Integers = npt.NDArray[np.int64]
KEPT: tuple[SetName, ...] = ("retain", "neutral")


class Collateral(Probe):
    """Worst-hit classes and images, and the neighbours of the forgotten."""

    halvings: int = Field(
        20, ge=1, description="random halvings over which the cross-fitted worst is averaged"
    )
    fewest: int = Field(4, ge=2, description="photos of a class below which it is not looked at")
    neighbours: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="share of the kept images, nearest to a forgotten one, that are its neighbours",
    )

    name: ClassVar[str] = "collateral"
    question: ClassVar[str] = "Which of the images to be kept paid for the forgetting?"
    summary: ClassVar[str] = "worst-hit retain and neutral classes and images; neighbours of the forgotten"
    source: ClassVar[str] = "Cross-fitted selection as in sample splitting (Cox 1975, Biometrika 62)"
    needs: ClassVar[tuple[SetName, ...]] = ()
    cost: ClassVar[Cost] = "nothing"
    figures: ClassVar[tuple[str, ...]] = (
        *("worst-retain-class", "worst-neutral-class"),
        *("worst-retain-image", "neighbour-error"),
    )

    def ask(self, subject: Subject) -> Findings:
        if "original" not in subject.models:
            return self.unanswered(subject, "there is no original model to compare with")
        return super().ask(subject)

    def run(self, subject: Subject) -> Findings:
        found = self._images(subject)
        for name in KEPT:
            found = found.join(self._classes(subject, name))
        return found.join(self._neighbours(subject))

    def _classes(self, subject: Subject, name: SetName) -> Findings:
        figure = f"worst-{name}-class"
        if not subject.has(name):
            return unmeasured(self, subject, (figure,), f"there are no {name} images")
        labels = photos(subject, name).labels
        counts = {label: labels.count(label) for label in sorted(set(labels) - {None}, key=str)}
        classes = [label for label, count in counts.items() if label and count >= self.fewest]
        if not classes:
            return unmeasured(self, subject, (figure,), f"no class has {self.fewest} labelled photos")
        number = {label: place for place, label in enumerate(classes)}
        belongs = np.array([number.get(label or "", -1) for label in labels])
        inside = np.flatnonzero(belongs >= 0)
        halves = _halves(belongs[inside], self.halvings, subject.seed, figure)
        ratios = {model: values[inside] for model, values in _log_ratios(subject, name).items()}
        scores = {
            model: {"kept": np.column_stack([values, belongs[inside], halves])}
            for model, values in ratios.items()
        }
        note = f"cross-fitted worst of {len(classes)} classes"
        if len(classes) < len(counts):
            note += f"; {len(counts) - len(classes)} classes of fewer than {self.fewest} photos not looked at"
        figures = judged(self.name, figure, scores, worst_class, subject, goal="low", note=note)
        means = {model: _class_means(values, belongs[inside]) for model, values in ratios.items()}
        sizes = np.bincount(belongs[inside])
        return Findings(
            tuple(figures), hits=_hits(self, subject, figure, name, "class", classes, means, sizes)
        )

    def _images(self, subject: Subject) -> Findings:
        figure = "worst-retain-image"
        if not subject.has("retain"):
            return unmeasured(self, subject, (figure,), "there are no retain images")
        views, entries = subject.answers("original", "retain").crops, once(subject.sets["retain"])
        errors = {
            model: logs(subject.answers(model, "retain").values["hole_mse"].reshape(-1, views)[entries])
            for model in subject.models
        }
        ratios = {model: values - errors["original"] for model, values in errors.items()}
        names = [subject.sets["retain"].ids[place] for place in entries]
        means = {model: values.mean(axis=1) for model, values in ratios.items()}
        hits = _hits(self, subject, figure, "retain", "image", names, means, np.ones(len(names), np.int64))
        criterion: Criterion = largest
        note = f"the largest of {len(names)} images, in one view: luck is not taken off"
        if views > 1:
            halves = _halves(np.zeros(views, np.int64), self.halvings, subject.seed, figure)
            criterion, note = worst_image(halves), f"cross-fitted worst of {len(names)} images"
        scores: dict[ModelName, Scores] = {model: {"kept": values} for model, values in ratios.items()}
        figures = judged(self.name, figure, scores, criterion, subject, goal="low", note=note)
        if views == 1:
            figures = [_without_interval(finding) for finding in figures]
        return Findings(tuple(figures), hits=hits)

    def _neighbours(self, subject: Subject) -> Findings:
        figure = "neighbour-error"
        if not subject.has("forget"):
            return unmeasured(self, subject, (figure,), "there are no forget images")
        names = [name for name in KEPT if subject.has(name)]
        if not names:
            return unmeasured(self, subject, (figure,), "there are no images to be kept")
        forgotten = _true_features(subject, "forget")
        kept = np.concatenate([_true_features(subject, name) for name in names])
        spread = np.concatenate([kept, forgotten]).std(axis=0)
        apart = _nearest(kept, forgotten, np.where(spread > 0, spread, 1))
        count = max(FEWEST_IMAGES, round(self.neighbours * len(kept)))
        near = np.zeros(len(kept), dtype=bool)
        near[np.argsort(apart, kind="stable")[:count]] = True
        if near.all():
            return unmeasured(self, subject, (figure,), "all kept images are neighbours")
        ratios = [_log_ratios(subject, name) for name in names]
        together = {model: np.concatenate([one[model] for one in ratios]) for model in subject.models}
        scores: dict[ModelName, Scores] = {
            model: {"near": values[near], "far": values[~near]} for model, values in together.items()
        }
        note = f"the {count} of {len(kept)} kept images most like a forgotten one, against the others"
        return Findings(tuple(judged(self.name, figure, scores, near_by_far, subject, goal="low", note=note)))


def worst_class(scores: Scores) -> float:
    """Cross-fitted worst ratio of classes. scores: `kept` `[images, 2 + halvings]`, log ratio, class, halves (0 or 1).

    nan where no halving leaves a class with images on both sides.
    """
    table = scores["kept"]
    classes = table[:, 1].astype(np.int64)
    count = int(classes.max()) + 1
    found: list[float] = []
    for column in range(2, table.shape[1]):
        cells = 2 * classes + table[:, column].astype(np.int64)
        sizes = np.bincount(cells, minlength=2 * count)
        sums = np.bincount(cells, weights=table[:, 0], minlength=2 * count)
        means = (sums / np.maximum(sizes, 1)).reshape(count, 2)[(sizes.reshape(count, 2) > 0).all(axis=1)]
        if len(means):
            found += [means[means[:, 0].argmax(), 1], means[means[:, 1].argmax(), 0]]
    return float(np.exp(np.mean(found))) if found else float("nan")


def worst_image(halves: Integers) -> Criterion:
    """Cross-fitted worst ratio of images. halves `[views, halvings]`; scores: `kept` `[images, views]`, log ratios."""

    def criterion(scores: Scores) -> float:
        table, found = scores["kept"], []
        for half in halves.T:
            one, other = table[:, half == 0].mean(axis=1), table[:, half == 1].mean(axis=1)
            found += [other[one.argmax()], one[other.argmax()]]
        return float(np.exp(np.mean(found)))

    return criterion


def largest(scores: Scores) -> float:
    """The largest ratio. scores: `kept` `[images, 1]`, log ratios."""
    return float(np.exp(scores["kept"].max()))


def near_by_far(scores: Scores) -> float:
    """Geometric mean ratio of `near` over that of `far`, both log ratios `[images]`."""
    return float(np.exp(scores["near"].mean() - scores["far"].mean()))


def _log_ratios(subject: Subject, name: SetName) -> dict[ModelName, Values]:
    """Log of each model's hole error over the original's, `[photos]`, views averaged as logarithms."""
    entries = once(subject.sets[name])
    errors = {
        model: logs(answers.values["hole_mse"].reshape(-1, answers.crops)[entries]).mean(axis=1)
        for model in subject.models
        for answers in (subject.answers(model, name),)
    }
    return {model: values - errors["original"] for model, values in errors.items()}


def _true_features(subject: Subject, name: SetName) -> Values:
    features = subject.evaluation.truth[name].features.astype(np.float64)
    views = subject.answers("original", name).crops
    means: Values = features.reshape(-1, views, features.shape[1]).mean(axis=1)
    return means[once(subject.sets[name])]


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
    subject: Subject,
    figure: str,
    name: SetName,
    kind: str,
    names: list[str],
    means: Mapping[ModelName, Values],
    sizes: Integers,
) -> tuple[Hit, ...]:
    if "unlearned" not in means:
        return ()
    worst = np.argsort(-means["unlearned"], kind="stable")[: subject.settings.worst]
    beside = subject.reference
    return tuple(
        Hit(
            probe.name,
            figure,
            name,
            kind,
            names[place],
            float(np.exp(means["unlearned"][place])),
            float(np.exp(means[beside][place])) if beside else None,
            int(sizes[place]),
        )
        for place in worst
    )


def _without_interval(finding: Finding) -> Finding:
    return replace(finding, low=None, high=None, difference_low=None, difference_high=None)
