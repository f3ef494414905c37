"""Puts a plant to the product: the verdict, the probes, and what tells of copies and of equal weights.

Answers, verdict and probes are the product's own; rows of figures, which no verdict reads, are left out.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic

import numpy as np
from PIL import Image

from efface.benchmark.generators.data import PixelsInMemory
from efface.classifiers.classifier import Classifier, logits_of
from efface.corruptions import parse_corruption
from efface.errors import InputError
from efface.evaluation.answers import Answers, Truth, Wanted, answers_of
from efface.evaluation.classifiers import evaluate_classifiers
from efface.evaluation.protocol import Evaluation
from efface.evaluation.results import ModelName, SetName
from efface.evaluation.settings import (
    ClassifierEvaluationSettings,
    EvaluationSettings,
    MeasuringSettings,
)
from efface.evaluation.verdict import Verdict, verdict_on
from efface.forgetting.confidence import Confidence
from efface.forgetting.outputs import Accuracy
from efface.images.copies import near_copies
from efface.images.fingerprints import PrintRows, fingerprint, stacked
from efface.images.items import ImageSet
from efface.images.labelled import LabelledImages
from efface.metrics.base import Classified, ModelKind
from efface.metrics.catalogue import HOLE_ERROR
from efface.metrics.extractors import load_extractor
from efface.probes.base import Probe
from efface.probes.classifier_subject import ClassifierSubject
from efface.probes.findings import Findings
from efface.probes.generator_subject import GeneratorSubject
from efface.probes.registry import PROBES
from efface.probes.subject import AnySubject
from efface.runs.sameness import same_models
from planting.plant import Case
from planting.random_features import ASKED, RandomFeatures
from planting.worlds import LABELLED_TRIGGER, TRIGGER, ClassifierWorld, GeneratorWorld, ModelT, World

YARDSTICK = "third"
"""The model of a world that is a second retrained one."""
RESAMPLES = 1000
PROBING = 300
"""Resamples of the intervals of probes, of which there are many."""


class Asker(ABC, Generic[ModelT]):
    """Asks about the plants of one world; what a model answers is computed once."""

    kind: ModelKind
    settings: MeasuringSettings

    def __init__(self, world: World[ModelT], folder: Path) -> None:
        self.world, self.folder = world, folder
        self._kept: dict[tuple[int, int, str], tuple[ModelT, Any, Any]] = {}

    def verdict(self, case: Case) -> Verdict:
        """The product's, without probes."""
        ids = {of: images.ids for of, images in case.sets.items()}
        found = verdict_on(self.per_image(case), ids, self.kind, self.settings, {})
        assert found is not None
        return found

    @abstractmethod
    def per_image(self, case: Case) -> dict[tuple[ModelName, SetName], dict[str, Any]]:
        """What the verdict reads of each image, by model and set."""

    @abstractmethod
    def subject(self, case: Case) -> AnySubject:
        """With all that the evaluation measures."""

    def asked(self, case: Case, names: Collection[str]) -> Findings:
        """What these probes find; one that does not fit these models finds nothing."""
        if not names:
            return Findings()
        subject, found = self.subject(case), Findings()
        for name in names:
            try:
                found = found.join(self.probe(name).ask(subject))
            except InputError as error:
                print(f"{name}: {error}", flush=True)
        return found

    def probe(self, name: str) -> Probe:
        """A probe with its own settings, and the world's trigger."""
        if name != "poisoning":
            return PROBES[name](**self.world.quick.get(name, {}))
        trigger = TRIGGER if self.kind == "generator" else LABELLED_TRIGGER
        place = self.folder / f"{self.kind}s-trigger.json"
        place.write_text(json.dumps(trigger.as_dict()), encoding="utf-8")
        return PROBES[name](trigger=str(place))

    def values(self, case: Case, make: Callable[[ModelT, Any], Any]) -> dict[SetName, dict[ModelName, Any]]:
        """By set and model what `make` gives of them."""
        return {
            of: {name: self._once(model, images, make) for name, model in case.models.items()}
            for of, images in case.sets.items()
        }

    def _once(self, model: ModelT, images: Any, make: Callable[[ModelT, Any], Any]) -> Any:
        place = id(model), id(images), make.__name__
        if place not in self._kept:
            # model and images are kept, so that no others get their numbers
            self._kept[place] = model, images, make(model, images)
        return self._kept[place][2]


class GeneratorAsker(Asker[RandomFeatures]):
    kind = "generator"
    world: GeneratorWorld

    @cached_property
    def settings(self) -> EvaluationSettings:
        return EvaluationSettings(seed=self.world.seed, resamples=RESAMPLES, batch_size=256)

    def per_image(self, case: Case) -> dict[tuple[ModelName, SetName], dict[str, Any]]:
        subject = self._subject(case, Evaluation([], [], {}))

        def errors(model: RandomFeatures, images: ImageSet) -> dict[str, Any]:
            return {HOLE_ERROR: np.exp(subject.log_errors(model, images))}

        return by_place(self.values(case, errors))

    def subject(self, case: Case) -> GeneratorSubject:
        extractor, pictures = load_extractor("built-in"), self._pictures(case)

        def answered(model: RandomFeatures, images: ImageSet) -> tuple[Answers, Truth]:
            found, truth = answers_of(
                {"unlearned": model}, images, pictures, parse_corruption(ASKED), extractor, self.settings,
                wanted=Wanted(task_loss=True),
            )  # fmt: skip
            return found["unlearned"], truth

        found = self.values(case, answered)
        answers = {(name, of): one for of, models in found.items() for name, (one, _) in models.items()}
        truth = {of: next(iter(models.values()))[1] for of, models in found.items()}
        per_image = {place: {m: own.of_images(m) for m in own.values} for place, own in answers.items()}
        return self._subject(case, Evaluation([], [], per_image, answers, truth))

    def _subject(self, case: Case, evaluation: Evaluation) -> GeneratorSubject:
        return GeneratorSubject(
            models=case.models, sets=case.sets, cache=self._pictures(case), corruption=parse_corruption(ASKED),
            extractor=load_extractor("built-in"), evaluation=evaluation, training=self.world.training, seed=self.world.seed,
            yardstick=self.world.model(YARDSTICK),
            settings=self.settings.model_copy(update={"resamples": PROBING}),
        )  # fmt: skip

    def _pictures(self, case: Case) -> PixelsInMemory:
        return case.pictures or self.world.data.pictures


class ClassifierAsker(Asker[Classifier]):
    kind = "classifier"
    world: ClassifierWorld

    @cached_property
    def settings(self) -> ClassifierEvaluationSettings:
        return ClassifierEvaluationSettings(seed=self.world.seed, resamples=RESAMPLES, attacks=False)

    def per_image(self, case: Case) -> dict[tuple[ModelName, SetName], dict[str, Any]]:
        def answers(model: Classifier, images: LabelledImages) -> dict[str, Any]:
            answered = Classified(logits_of(model, images).astype(np.float64), images.labels)
            return {metric.name: metric().compute(answered) for metric in (Confidence, Accuracy)}

        return by_place(self.values(case, answers))

    def subject(self, case: Case) -> ClassifierSubject:
        return ClassifierSubject(
            models=case.models, sets=case.sets, recipe=self.world.recipe, seed=self.world.seed,
            yardstick=self.world.model(YARDSTICK),
            evaluation=evaluate_classifiers(case.models, case.sets, self.settings),
            settings=self.settings.model_copy(update={"resamples": PROBING}),
        )  # fmt: skip


def by_place(values: Mapping[SetName, Mapping[ModelName, Any]]) -> dict[tuple[ModelName, SetName], Any]:
    """The same by model and set."""
    return {(name, of): value for of, models in values.items() for name, value in models.items()}


def asker(world: GeneratorWorld | ClassifierWorld, folder: Path) -> GeneratorAsker | ClassifierAsker:
    """Who asks about the plants of this world."""
    if isinstance(world, GeneratorWorld):
        return GeneratorAsker(world, folder)
    return ClassifierAsker(world, folder)


@dataclass(frozen=True)
class Sameness:
    """What equal weights tell: nothing, a note, or a refusal."""

    refused: bool
    notes: int

    @classmethod
    def of(cls, case: Case) -> Sameness:
        try:
            return cls(
                False, len(same_models({n: model.weights_digest() for n, model in case.models.items()}))
            )
        except InputError:
            return cls(True, 0)


def copies_seen(world: GeneratorWorld) -> int:
    """How many of the near-copies the check of the image sets takes for copies of a forget image."""
    read = world.with_copies.pictures.read
    forget, kept = (
        PrintRows.all_of(stacked(fingerprint(Image.fromarray(read(id_))) for id_ in images.ids))
        for images in (world.data.sets["forget"], world.copies)
    )
    return len(near_copies(forget, kept))
