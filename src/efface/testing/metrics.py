"""What every metric keeps to, of generators and of classifiers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import isfinite
from typing import get_args

import numpy as np
import torch
from torch import Tensor

import efface.testing.models as tiny
from efface.metrics.base import (
    SETS,
    AttackMetric,
    Better,
    Classified,
    ClassifierMetric,
    Floats,
    ImageMetric,
    Metric,
    Need,
    Restored,
    RestoredSet,
    SetMetric,
)
from efface.metrics.extractors import load_extractor
from efface.metrics.intervals import Resampling
from efface.testing.checking import random_states_kept, require, run_checks, texts_are_given

COUNT, SET, CLASSES = 6, 160, 10
TEXTS = ("name", "short", "title", "label", "phrase", "summary", "unit")
RESAMPLING: Resampling = {"confidence": 0.95, "resamples": 200, "seed": 0}
ROUNDING = 1e-5


def check_metric(metric: type[Metric]) -> None:
    """Check a metric of generators or of classifiers, on made pictures and made logits. Raises `AssertionError`."""
    require(isinstance(metric, type) and issubclass(metric, Metric), f"{metric!r} derives not from Metric")
    checks: list[Callable[[], None]] = [partial(texts_are_given, metric, TEXTS), partial(traits_fit, metric)]
    if issubclass(metric, ImageMetric):
        checks += [partial(values_of_pictures, metric), partial(a_copy_is_best, metric)]
    elif issubclass(metric, SetMetric):
        checks += [partial(figure_of_a_set, metric)]
    elif issubclass(metric, ClassifierMetric):
        checks += [partial(values_of_answers, metric)]
    elif issubclass(metric, AttackMetric):
        checks += [partial(share_of_an_attack, metric)]
    else:
        checks += [partial(it_can_be_computed, metric)]
    run_checks(f"metric {getattr(metric, 'name', metric.__name__)}", checks)


def traits_fit(metric: type[Metric]) -> None:
    """Its traits fit together."""
    require(
        metric.better in (*get_args(Better), None),
        f"better is {metric.better!r}: up, down, or None for neither",
    )
    unknown = set(metric.requires) - set(get_args(Need))
    require(not unknown, f"it requires {sorted(unknown)}; there are {', '.join(get_args(Need))}")
    require(metric.least < metric.most, f"no range from {metric.least} to {metric.most}")
    require(
        metric.short == metric.short.lower() and " " not in metric.short,
        f"short is {metric.short!r}: small letters",
    )
    single = issubclass(metric, ImageMetric | ClassifierMetric)
    require(single or not metric.ratio, "only of values of single images a ratio of means can be judged")
    if metric.ratio:
        require("retrained" not in metric.requires, "it is a distance to the retrained model already")
    for name in SETS:
        metric.direction(name)


def it_can_be_computed(metric: type[Metric]) -> None:
    """It derives from one of the four bases that compute."""
    bases = "ImageMetric, SetMetric, ClassifierMetric or AttackMetric"
    raise AssertionError(f"{metric.__name__} must derive from {bases}")


def values_of_pictures(metric: type[ImageMetric]) -> None:
    """One finite value in its range for each picture, whatever else is in the batch; nothing given is changed."""
    restored = _restored(0.2)
    given = [value.clone() for value in vars(restored).values() if isinstance(value, Tensor)]
    with random_states_kept():
        values = metric().compute(restored)
    same = [torch.equal(one, other) for one, other in zip(given, vars(restored).values(), strict=False)]
    require(all(same), "it changes what it is given")
    require(values.shape == (COUNT,), f"it gives {list(values.shape)} values for {COUNT} pictures")
    require(values.isfinite().all(), f"it gives {values}")
    require(not values.requires_grad, "its values carry gradients")
    _in_range(metric, values.double().numpy())
    alone = metric().compute(_restored(0.2, first=2, count=1))
    require(
        torch.allclose(alone, values[2:3], rtol=1e-4, atol=ROUNDING),
        f"alone a picture has {alone}, among others {values[2]}",
    )


def a_copy_is_best(metric: type[ImageMetric]) -> None:
    """Where it reads the true pictures, an exact copy of them is no worse than anything else."""
    if "truth" not in metric.requires:
        return
    copy, near, far = (metric().compute(_restored(noise)) for noise in (0.0, 0.05, 0.4))
    sign = 1 if metric.better == "up" else -1
    for name, other in (("a near picture", near), ("a far one", far)):
        require((sign * (copy - other) >= -ROUNDING).all(), f"{name} has {other}, and an exact copy {copy}")


def figure_of_a_set(metric: type[SetMetric]) -> None:
    """One figure in its range, with an interval around it where it says so; the same again for the same set."""
    for images in (2, SET):
        given = _set(images)
        first, again = metric().distance(given), metric().distance(given)
        require(first == again, f"the same set has {first}, and then {again}")
        require(
            first.value is not None or first.note,
            f"of {images} images there is no figure, and no note says why",
        )
        if first.value is None:
            continue
        _in_range(metric, np.array([first.value]))
        if first.interval:
            low, high = first.interval.low, first.interval.high
            require(
                low <= first.value <= high, f"{first.value} does not lie in its interval, {low} to {high}"
            )
        require(metric.has_interval or not first.interval, "it has an interval, and has_interval is False")
        plain = metric().distance(_set(images, None))
        require(plain.interval is None, "it makes an interval where none is asked for")
        require(
            plain.value == first.value, f"without an interval it is {plain.value}, with one {first.value}"
        )
    require(metric().distance(_set(SET)).value is not None, f"of {SET} images there is no figure")


def values_of_answers(metric: type[ClassifierMetric]) -> None:
    """One finite value in its range for each image; nothing given is changed."""
    answers = _answers()
    given = answers.logits.copy()
    with random_states_kept():
        values = metric().compute(answers)
    require(np.array_equal(answers.logits, given), "it changes what it is given")
    require(values.shape == (SET,), f"it gives {list(values.shape)} values for {SET} images")
    require(np.isfinite(values).all(), "a value is not finite")
    _in_range(metric, values)
    if metric.requires == ("labels",):
        sign = 1 if metric.better == "up" else -1
        right = np.eye(CLASSES)[answers.labels] * 8.0
        best, worst = (metric().compute(Classified(sure, answers.labels)).mean() for sure in (right, -right))
        require(
            sign * (best - worst) > 0,
            f"right answers have {best:g}, wrong ones {worst:g}, and better is {metric.better}",
        )


def share_of_an_attack(metric: type[AttackMetric]) -> None:
    """A share in its range, the same again with the same seed."""
    answers = {name: (_answers(seed).logits, _answers(seed).labels) for seed, name in enumerate(SETS)}
    first, again = metric().attack(answers, 1), metric().attack(answers, 1)
    require(first == again, f"the same seed gives {first}, and then {again}")
    require(isfinite(first), f"it gives {first}")
    _in_range(metric, np.array([first]))


def _in_range(metric: type[Metric], values: Floats) -> None:
    low, high = float(values.min()), float(values.max())
    inside = metric.least - ROUNDING <= low and high <= metric.most + ROUNDING
    require(
        inside,
        f"values from {low:g} to {high:g} lie outside of its range, {metric.least:g} to {metric.most:g}",
    )


def _restored(noise: float, first: int = 0, count: int = COUNT) -> Restored:
    truth = tiny.pictures(COUNT)
    off = torch.randn(truth.shape, generator=torch.Generator().manual_seed(1)) * noise
    region = torch.zeros(COUNT, 1, tiny.SIZE, tiny.SIZE, dtype=torch.bool)
    region[:, :, 8:24, 8:24] = True
    made = torch.where(region, (truth + off).clamp(0, 1), truth)
    samples = torch.stack([made, torch.where(region, (truth + off / 2).clamp(0, 1), truth)])
    some = slice(first, first + count)
    made, truth, region, samples = made[some], truth[some], region[some], samples[:, some]
    extractor = load_extractor("built-in")
    features, true_features = extractor.features(made), extractor.features(truth)
    return Restored(made, truth, region, features, true_features, features, true_features, samples)


def _set(images: int, resampling: Resampling | None = RESAMPLING) -> RestoredSet:
    random = np.random.default_rng(0)
    truth = random.normal(size=(images, 8))
    logits = random.normal(size=(images, CLASSES)) * 3
    shares = np.exp(logits)
    probabilities = (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)
    features = truth + 0.3 * random.normal(size=truth.shape) + 0.2
    return RestoredSet(features, truth, np.arange(images), images, probabilities, 0, resampling)


def _answers(seed: int = 0) -> Classified:
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, SET)
    logits, others, unseen = (random.normal(size=(SET, CLASSES)) * 2 for _ in range(3))
    logits[np.arange(SET), labels] += 2
    return Classified(logits, labels, others, (unseen, random.integers(0, CLASSES, SET)))
