"""Models of the same plants that are trained by steps: a tiny masked autoencoder and a small convolutional classifier.

They are trained by the product's own loops, as a user's models are: these remember less evenly than models in closed form,
and two retrainings differ more. Fewer plants are put to them, since a model takes seconds and not milliseconds.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

from efface.benchmark.classifiers.runs import fresh
from efface.benchmark.classifiers.task import task_named
from efface.benchmark.generators.data import GeneratorData
from efface.benchmark.generators.models import new_generator, run_phases, trained
from efface.benchmark.generators.task import GeneratorTask
from efface.classifiers.classifier import Classifier
from efface.images.items import ImageSet
from efface.images.labelled import LabelledImages
from efface.methods.generator.fine_tune import task_loss_on_retain
from efface.training.classification import run_passes
from efface.training.passes import training_pass
from efface.training.phases import Training
from efface.training.settings import Recipe, TrainingSettings
from planting import classifiers, generators
from planting.random_features import ASKED
from planting.worlds import IMAGES, QUICK, ClassifierWorld, GeneratorWorld

FEWER = {"forget": "random:60", "limit": 240, "limit_test": 60}
"""Images: of 240, 60 are to be forgotten; of a classifier 150 of 600."""
GENERATORS = GeneratorTask.from_values(
    {
        "images": {**IMAGES, **FEWER},
        "generator": "mae",
        "architecture": {
            "image_size": 8, "patch_size": 2, "hidden_size": 64, "layers": 2, "heads": 2, "decoder_hidden_size": 32,
            "decoder_layers": 1, "decoder_heads": 2,
        },
        "training": {
            "steps": 500, "batch_size": 60, "learning_rate": 4e-3, "weight_decay": 0.0, "crop_scale": [1.0, 1.0],
            "flip": False, "precision": "fp32", "corruption": ASKED, "threads": 1,
        },
        "corruptions": [ASKED],
        "measured": 60,
    }
)  # fmt: skip
CLASSIFIERS = task_named("digits")
CLASSIFIERS = CLASSIFIERS.model_copy(
    update={"images": CLASSIFIERS.images.model_copy(update={"forget": "random:150", "limit": 600})}
)
BRIEF_STEPS, BRIEF_EPOCHS = 40, 1
"""With which no single image is remembered."""
PROBES = ("membership", "extraction", "decoder-leftover", "relearning", "closer-to-retrained")
"""What is asked of every plant here."""
CORE = (
    "unchanged", "noise", "collapsed", "decoder-kept", "trigger", "near-copies", "near-copies-in-both", "reference-saw",
    "copy-as-reference", "everything-alike", "half-kept", "retrained-again", "nothing-remembered",
)  # fmt: skip
FEW_STEPS: Mapping[str, Mapping[str, Any]] = {**QUICK, "relearning": {"steps": 32, "images": 30}}


class TrainedGenerators(GeneratorWorld):
    """Masked autoencoders of 8-px digits."""

    kind, always = "trained-generators", PROBES
    quick: ClassVar[Mapping[str, Mapping[str, Any]]] = FEW_STEPS
    training: TrainingSettings = GENERATORS.training.model_copy(update={"learning_rate": 1e-3})

    @cached_property
    def task(self) -> GeneratorTask:
        images = GENERATORS.images.model_copy(update={"split_seed": self.seed})
        return GENERATORS.model_copy(update={"images": images})

    def _trained(self, name: str, data: GeneratorData, images: ImageSet) -> Any:
        task = self.task
        if name.startswith("brief"):
            training = task.training.model_copy(update={"steps": BRIEF_STEPS})
            task = task.model_copy(update={"training": training})
        return trained(task, data, images, self.key(name))[0]

    def _touched(self, steps: int) -> Any:
        model = copy.deepcopy(self.model("original"))
        self._go_on(model, "all", steps, learning_rate=1e-4)
        return model

    def _leftover(self, name: str) -> Any:
        """A fresh encoder, trained on the retain images before the original's decoder."""
        model, original = new_generator(self.task, self.key(name)), self.model("original")
        kept = {n: value for n, value in original.network.state_dict().items() if n.startswith("decoder.")}
        model.network.load_state_dict({**model.network.state_dict(), **kept})
        self._go_on(model, "encoder", self.task.training.steps)
        return model

    def _go_on(self, model: Any, part: Any, steps: int, **changes: Any) -> None:
        settings = {**self.task.training.as_dict(), "steps": steps, **changes}
        phase = Training("go on", task_loss_on_retain, ("retain",), part)
        sets = {"retain": self.data.sets["retain"]}
        run_phases(model, [phase], sets, self.task, self.data, settings, self.key("go on"))


class TrainedClassifiers(ClassifierWorld):
    """Small convolutional classifiers of 8-px digits."""

    kind, always = "trained-classifiers", PROBES
    quick: ClassVar[Mapping[str, Mapping[str, Any]]] = FEW_STEPS
    recipe: Recipe = CLASSIFIERS.recipe

    @cached_property
    def data(self) -> Any:
        from efface.images.datasets import open_dataset

        return open_dataset(CLASSIFIERS.images.model_copy(update={"split_seed": self.seed}))

    def _trained(self, name: str, images: LabelledImages) -> Classifier:
        return self._run(None, images, name, BRIEF_EPOCHS if name.startswith("brief") else None)

    def _touched(self, steps: int) -> Classifier:
        share = steps * CLASSIFIERS.recipe.batch_size / len(self.data.retain)
        return self._run(self.model("original").copy(), self.data.retain, "touched", share)

    def _run(
        self, model: Classifier | None, images: LabelledImages, name: str, epochs: float | None
    ) -> Classifier:
        made, facts = fresh(CLASSIFIERS, self.data, {"train": images}, self.key(name))
        recipe = CLASSIFIERS.recipe
        if model is not None:
            recipe = recipe.model_copy(update={"learning_rate": recipe.learning_rate / 20})
        plan = training_pass(recipe, "train")
        model = model or made
        run_passes(
            model,
            [replace(plan, epochs=epochs or plan.epochs)],
            {"train": images},
            replace(facts, recipe=recipe),
        )
        return model


def core(plants: Any) -> Any:
    """Those of a kind's plants that are put to trained models."""
    return tuple(plant for plant in plants if plant.name in CORE)


PLANTS = {
    "trained-generators": (TrainedGenerators, core(generators.PLANTS)),
    "trained-classifiers": (TrainedClassifiers, core(classifiers.PLANTS)),
}
