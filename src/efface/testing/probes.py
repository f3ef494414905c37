"""What every probe keeps to, with the kinds of models that it can question."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import cache, partial
from math import isclose
from typing import get_args

import numpy as np
import torch

import efface.testing.models as tiny
from efface.classifiers.classifier import Classifier
from efface.corruptions import parse_corruption
from efface.evaluation.answers import Wanted
from efface.evaluation.classifiers import evaluate_classifiers
from efface.evaluation.protocol import evaluate
from efface.evaluation.results import ModelName, SetName
from efface.evaluation.settings import ClassifierEvaluationSettings, EvaluationSettings
from efface.generators.base import Generator
from efface.images.items import ImageSet
from efface.images.labelled import LabelledImages
from efface.metrics.base import ModelKind
from efface.metrics.extractors import load_extractor
from efface.probes.base import Probe
from efface.probes.classifier_subject import ClassifierSubject
from efface.probes.generator_subject import GeneratorSubject
from efface.probes.subject import AnySubject
from efface.testing.checking import (
    require,
    run_checks,
    settings_are_documented,
    texts_are_given,
    unknown_settings_are_refused,
)
from efface.training.settings import TrainingSettings

NAMES: tuple[ModelName, ...] = get_args(ModelName)


def check_probe(probe: type[Probe] | Probe, kinds: Collection[ModelKind] | None = None) -> None:
    """Check a probe on three small models of each kind that it can question: its class, or one with settings.

    kinds: of models, where it is tried with some alone. Raises `AssertionError`.
    """
    made = probe() if isinstance(probe, type) else probe
    kind = type(made)
    checks: list[Callable[[], None]] = [
        partial(texts_are_given, kind, ("name", "question", "summary", "source")),
        partial(settings_are_documented, kind),
        partial(unknown_settings_are_refused, kind),
        partial(it_says_what_it_gives, kind),
    ]
    for of in kinds or kind.figures:
        checks += [
            partial(check, made, of) for check in (models_stay_and_figures_are_given, what_is_missing_is_said)
        ]
    run_checks(f"probe {getattr(kind, 'name', kind.__name__)}", checks)


def it_says_what_it_gives(kind: type[Probe]) -> None:
    """It names its figures by the kinds of models that it can question."""
    require(kind.figures, "it questions no kind of models")
    for of, figures in kind.figures.items():
        require(of in get_args(ModelKind), f"'{of}' is no kind of models: {', '.join(get_args(ModelKind))}")
        require(figures, f"it gives no figure of {of}s")
    strange = set(kind.memory) - {figure for figures in kind.figures.values() for figure in figures}
    require(not strange, f"it says which side of {sorted(strange)} is memory, and gives no such figure")


def models_stay_and_figures_are_given(probe: Probe, of: ModelKind) -> None:
    """It leaves the models as they are and gives its figures, beside the retrained model's."""
    kind, subject = type(probe), subject_of(of)
    before = {name: model.weights_digest() for name, model in subject.models.items()}
    findings = probe.ask(subject)
    after = {name: model.weights_digest() for name, model in subject.models.items()}
    require(
        before == after,
        f"it changed the weights of {[name for name in before if before[name] != after[name]]}",
    )
    training = [name for name, model in subject.models.items() if model.training]
    require(not training, f"it left {training} in training mode")
    named = {finding.figure.partition(":")[0] for finding in findings.figures}
    require(named == set(kind.figures[of]), f"it gives {sorted(named)}, and says {sorted(kind.figures[of])}")
    for finding in findings.figures:
        what = f"{finding.figure} of the {finding.model} model"
        require(finding.probe == kind.name, f"{what} is said to be of the probe '{finding.probe}'")
        require(finding.value is not None or finding.note, f"{what} has no value, and no note says why")
        if finding.low is not None and finding.high is not None:
            require(finding.low <= finding.high, f"{what}: its interval is {finding.low} to {finding.high}")
        if finding.difference is not None:
            require(
                finding.reference == "retrained", f"{what} is compared with the {finding.reference} model"
            )
            apart = (finding.value or 0.0) - (finding.reference_value or 0.0)
            same = isclose(finding.difference, apart, rel_tol=1e-6, abs_tol=1e-9)
            require(same, f"{what}: its difference is {finding.difference}, and value less reference {apart}")


def what_is_missing_is_said(probe: Probe, of: ModelKind) -> None:
    """Without a set that it needs, each figure says what is missing."""
    kind = type(probe)
    for missing in kind.needs[:1]:
        findings = probe.ask(_without(subject_of(of), missing))
        names = {finding.figure for finding in findings.figures}
        require(names == set(kind.figures[of]), f"without {missing} images it gives {sorted(names)}")
        for finding in findings.figures:
            said = finding.value is None and missing in str(finding.note)
            require(
                said, f"without {missing} images {finding.figure} is {finding.value}, noted: {finding.note}"
            )


@cache
def subject_of(kind: ModelKind) -> AnySubject:
    """Three small models of a kind, original, unlearned and retrained, and the images that they are questioned about."""
    return _generators() if kind == "generator" else _classifiers()


def _generators() -> GeneratorSubject:
    made: dict[ModelName, Generator] = {name: tiny.tiny_generator(seed) for seed, name in enumerate(NAMES)}
    cache = tiny.MadePixels()
    sets: dict[SetName, ImageSet] = {
        "forget": cache.image_set(8, seed=1), "retain": cache.image_set(12, seed=2), "neutral": cache.image_set(10, seed=3)
    }  # fmt: skip
    settings, corruption = EvaluationSettings(resamples=200), parse_corruption("centre:0.5")
    extractor = load_extractor("built-in")
    evaluation = evaluate(made, sets, cache, corruption, extractor, settings, wanted=Wanted(task_loss=True))
    short = TrainingSettings(batch_size=4, steps=2, precision="fp32", crop_scale=(1.0, 1.0), threads=1)
    return GeneratorSubject(
        models=made, sets=sets, cache=cache, corruption=corruption, extractor=extractor, settings=settings,
        evaluation=evaluation, training=short,
    )  # fmt: skip


def _classifiers() -> ClassifierSubject:
    """Networks that differ a little from each other, as models do that were trained on nearly the same images."""
    made: dict[ModelName, Classifier] = {}
    for seed, name in enumerate(NAMES):
        model = tiny.tiny_classifier().eval()
        rng = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=rng), alpha=0.02)
        made[name] = model
    neutral, retain = tiny.DIGITS["validation"], tiny.DIGITS["retain"]
    sets: dict[SetName, LabelledImages] = {
        "forget": tiny.DIGITS["forget"], "retain": retain.subset(range(40)), "neutral": neutral
    }  # fmt: skip
    settings = ClassifierEvaluationSettings(resamples=200)
    evaluation = evaluate_classifiers(made, sets, settings)
    return ClassifierSubject(
        models=made, sets=sets, settings=settings, evaluation=evaluation, recipe=tiny.RECIPE
    )


def _without(subject: AnySubject, name: SetName) -> AnySubject:
    if isinstance(subject, GeneratorSubject):
        return replace(subject, sets={**subject.sets, name: ImageSet()})
    assert isinstance(subject, ClassifierSubject)
    return replace(subject, sets={**subject.sets, name: subject.sets[name].subset(np.arange(0))})
