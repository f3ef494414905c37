"""The runs of a task of classifiers: trained, retrained and unlearned, and their answers kept."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from efface.arrays import read_arrays
from efface.benchmark.classifiers.task import ClassifierTask, base_of, new_classifier
from efface.benchmark.runs import RunJob, RunSpending, weights_at
from efface.errors import EffaceError
from efface.files import sha256_of_json
from efface.images.datasets import Dataset, Purpose, open_dataset

if TYPE_CHECKING:
    from efface.classifiers.classifier import Classifier
    from efface.images.labelled import LabelledImages
    from efface.training.classification import PassesReport
    from efface.training.passes import Facts

SETS = ("forget", "retain", "test")
WITH_LOGITS = ("forget", "test")
WARM_UP_STEPS = 3


@dataclass(frozen=True)
class ClassifierOutputs:
    """What is kept of a run, for each of the sets forget, retain and test.

    confidence: logit-scaled confidences `[examples]`; correct: whether each was classified rightly `[examples]`;
    logits: `[examples, classes]`, of forget and test.
    """

    confidence: dict[str, npt.NDArray[np.float32]]
    correct: dict[str, npt.NDArray[np.bool_]]
    logits: dict[str, npt.NDArray[np.float32]]
    spent: RunSpending

    def accuracy(self, name: str) -> float:
        """Share of a set that is classified rightly."""
        return float(self.correct[name].mean())


def carry_out(job: RunJob) -> None:
    """Carry out a run and write its files; a failure that would happen again is kept too."""
    data = images_of(job.task, job.run.purpose)
    warm_up(job.task)
    try:
        model, report = _model(job)
        arrays = RunSpending(report.seconds, report.steps, report.cut).arrays()
        for name in SETS:
            arrays |= _measured(model, getattr(data, name), name)
    except EffaceError as error:
        job.fail(error)
        return
    job.keep(arrays, model.network)


def read_outputs(path: Path) -> ClassifierOutputs:
    """What `carry_out` wrote."""
    arrays = read_arrays(path)
    return ClassifierOutputs(
        {name: arrays[f"confidence_{name}"] for name in SETS},
        {name: arrays[f"correct_{name}"] for name in SETS},
        {name: arrays[f"logits_{name}"] for name in WITH_LOGITS},
        RunSpending.of(arrays),
    )


@cache
def warm_up(task: str) -> None:
    """Train a throw-away model of a task (as JSON) for a few steps, once in a process.

    torch sets up much of itself at its first forward and backward pass and its first optimizer: about a second, which
    would else be counted as the first run's. Nothing is kept, and no draw of a run depends on it.
    """
    from efface.training.classification import run_passes
    from efface.training.passes import training_pass

    data = images_of(task, "score")
    model, facts = fresh(read_task(task), data, {"retain": data.retain}, 0)
    train = training_pass(facts.recipe, "retain")
    an_epoch = replace(train, epochs=1).steps(facts.sizes)
    # what is wrong with the task will be said of the runs themselves
    with suppress(EffaceError):
        run_passes(model, [replace(train, epochs=WARM_UP_STEPS / an_epoch)], {"retain": data.retain}, facts)


def fresh(
    task: ClassifierTask, data: Dataset, sets: dict[str, LabelledImages], seed: int
) -> tuple[Classifier, Facts]:
    """A classifier of a task before its training on the worker's device, and what its passes are laid down from."""
    from efface.devices import chosen_device
    from efface.training.passes import Facts

    model = new_classifier(task, data, seed).to(chosen_device())
    sizes = {name: len(images) for name, images in sets.items()}
    base = model.copy() if task.base else None
    return model, Facts(sizes, len(data.classes), model.blocks, task.recipe, seed, base)


def sets_of(data: Dataset) -> dict[str, LabelledImages]:
    """The sets that methods may use."""
    return {"forget": data.forget, "retain": data.retain, "validation": data.validation}


@lru_cache(maxsize=4)
def read_task(text: str) -> ClassifierTask:
    """The task that a job names, as JSON."""
    return ClassifierTask.from_values(json.loads(text))


@lru_cache(maxsize=4)
def images_of(text: str, purpose: Purpose) -> Dataset:
    """The images of the task that a job names; this process keeps them."""
    return open_dataset(read_task(text).images, purpose)


def digest_of(task: ClassifierTask) -> str:
    """A digest of the images of a task, and of the weights of its base, where it has one."""
    images = open_dataset(task.images).digest()
    if task.base is None:
        return images
    return sha256_of_json({"images": images, "base": base_of(task, task.base).weights_digest()})


def _model(job: RunJob) -> tuple[Classifier, PassesReport]:
    """The model of a run, ready, and what was done."""
    from efface.methods.classifier.base import unlearn_classifier
    from efface.methods.classifier.retrain import RetrainClassifier
    from efface.methods.registry import read_classifier_method
    from efface.training.classification import run_passes
    from efface.training.passes import training_pass

    task, data, run = read_task(job.task), images_of(job.task, job.run.purpose), job.run
    sets = sets_of(data)
    model, facts = fresh(task, data, sets, run.key)
    if run.kind == "original":
        everything = {**sets, "train": data.train}
        return model, run_passes(model, [training_pass(task.recipe, "train")], everything, facts)
    if run.kind == "retrained":
        return unlearn_classifier(model, RetrainClassifier(), sets, facts)
    # the forget set of tuning is another one, but the originals are the same: both trained on all images
    model.network.load_state_dict(weights_at(job.start.with_suffix(".safetensors")))
    return unlearn_classifier(model, read_classifier_method(run.section), sets, facts, limit=job.limit)


def _measured(model: Classifier, images: LabelledImages, name: str) -> dict[str, npt.ArrayLike]:
    from efface.classifiers.classifier import logits_of
    from efface.forgetting.confidence import logit_scaled_confidence

    logits = logits_of(model, images)
    arrays: dict[str, npt.ArrayLike] = {
        f"confidence_{name}": logit_scaled_confidence(logits, images.labels).astype(np.float32),
        f"correct_{name}": logits.argmax(1) == images.labels,
    }
    return arrays | ({f"logits_{name}": logits} if name in WITH_LOGITS else {})
