"""The runs of a classification task: classifiers trained, retrained and unlearned, and their answers kept."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from efface.benchmark.runs import Job, Purpose, Run, Trade, spent_of, weights_at, write_weights
from efface.errors import EffaceError
from efface.files import replacing, write_json

if TYPE_CHECKING:
    from efface.benchmark.classifiers.task import ClassifierTask
    from efface.classifiers.classifier import Classifier
    from efface.images.datasets import Dataset
    from efface.images.labelled import LabelledImages
    from efface.training.classification import PassesReport

SETS = ("forget", "retain", "test")
WITH_LOGITS = ("forget", "test")
WARM_UP_STEPS = 3


@dataclass(frozen=True)
class Outputs:
    """What is kept of a run, for each of the sets forget, retain and test.

    confidence: logit-scaled confidences `[examples]`; correct: whether each was classified rightly `[examples]`;
    logits: `[examples, classes]`, of forget and test. seconds: of training or unlearning alone; cut: by the limit.
    """

    confidence: dict[str, npt.NDArray[np.float32]]
    correct: dict[str, npt.NDArray[np.bool_]]
    logits: dict[str, npt.NDArray[np.float32]]
    seconds: float
    steps: int
    cut: bool

    def accuracy(self, name: str) -> float:
        """Share of a set that is classified rightly."""
        return float(self.correct[name].mean())


def carry_out(job: Job) -> None:
    """Carry out a run and write its file, and its weights beside it; a failure that would happen again is kept too."""
    place = Path(job.folder) / job.run.name
    data = _data(job.task, job.run.purpose)
    warm_up(job.task)
    try:
        model, report = _model(job)
        arrays: dict[str, Any] = {"seconds": report.seconds, "steps": report.steps, "cut": report.cut}
        for name in SETS:
            arrays.update(_measured(model, getattr(data, name), name))
    except EffaceError as error:
        write_json(place.with_suffix(".failed.json"), {"error": str(error)})
        return
    if job.run.kind == "original" or job.keep_weights:
        write_weights(model.network, place.with_suffix(".safetensors"))
    place.parent.mkdir(parents=True, exist_ok=True)
    with replacing(place.with_suffix(".npz")) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def read_outputs(path: Path) -> Outputs:
    """What `carry_out` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        spent = spent_of(arrays)
        return Outputs(
            {name: arrays[f"confidence_{name}"] for name in SETS},
            {name: arrays[f"correct_{name}"] for name in SETS},
            {name: arrays[f"logits_{name}"] for name in WITH_LOGITS},
            spent.seconds,
            spent.steps,
            spent.cut,
        )


@cache
def warm_up(task: str) -> None:
    """Train a throw-away model of a task (as JSON) for a few steps, once in a process.

    torch sets up much of itself at its first forward and backward pass and its first optimizer: about a second, which
    would else be counted as the first run's. Nothing is kept, and no draw of a run depends on it.
    """
    from efface.benchmark.classifiers.task import new_classifier
    from efface.training.classification import run_passes
    from efface.training.passes import Facts, training_pass

    settings, data = _task(task), _data(task, "score")
    model = new_classifier(settings, data, 0)
    _to_own_device(model)
    sizes = {"retain": len(data.retain)}
    train = training_pass(settings.recipe, "retain")
    an_epoch = replace(train, epochs=1).steps(sizes)
    facts = Facts(sizes, len(data.classes), model.blocks, settings.recipe, 0)
    # what is wrong with the task will be said of the runs themselves
    with suppress(EffaceError):
        run_passes(model, [replace(train, epochs=WARM_UP_STEPS / an_epoch)], {"retain": data.retain}, facts)


def forget_images() -> None:
    """Drop what this process keeps of the images of tasks: files may have changed since."""
    _data.cache_clear()


def _model(job: Job) -> tuple[Classifier, PassesReport]:
    """The model of a run, ready, and what was done."""
    from efface.benchmark.classifiers.task import new_classifier
    from efface.methods.classifier.base import unlearn_classifier
    from efface.methods.classifier.retrain import RetrainClassifier
    from efface.methods.registry import read_classifier_method
    from efface.training.classification import run_passes
    from efface.training.passes import Facts, training_pass

    task, data, run = _task(job.task), _data(job.task, job.run.purpose), job.run
    model = new_classifier(task, data, run.key)
    _to_own_device(model)
    sets = {"forget": data.forget, "retain": data.retain, "validation": data.validation}
    facts = Facts(
        {name: len(images) for name, images in sets.items()},
        len(data.classes),
        model.blocks,
        task.recipe,
        run.key,
    )
    if run.kind == "original":
        everything = {**sets, "train": data.train}
        return model, run_passes(model, [training_pass(task.recipe, "train")], everything, facts)
    if run.kind == "retrained":
        return unlearn_classifier(model, RetrainClassifier(), sets, facts)
    # the forget set of tuning is another one, but the originals are the same: both trained on all images
    start = Path(job.folder) / Run("original", run.start).name
    model.network.load_state_dict(weights_at(start.with_suffix(".safetensors")))
    return unlearn_classifier(model, read_classifier_method(run.section), sets, facts, limit=job.limit)


def _measured(model: Classifier, images: LabelledImages, name: str) -> dict[str, Any]:
    from efface.classifiers.measuring import logits_of
    from efface.forgetting.confidence import logit_scaled_confidence

    logits = logits_of(model, images)
    found = {
        f"confidence_{name}": logit_scaled_confidence(logits, images.labels).astype(np.float32),
        f"correct_{name}": logits.argmax(1) == images.labels,
    }
    return found | ({f"logits_{name}": logits} if name in WITH_LOGITS else {})


def _to_own_device(model: Classifier) -> None:
    from efface.benchmark.engines import worker_device

    model.to(worker_device())


@lru_cache(maxsize=4)
def _task(text: str) -> ClassifierTask:
    from efface.benchmark.classifiers.task import ClassifierTask

    return ClassifierTask.read(json.loads(text), where="the task")


@lru_cache(maxsize=4)
def _data(text: str, purpose: Purpose) -> Dataset:
    from efface.images.datasets import open_dataset

    return open_dataset(_task(text), purpose)


def _contents(task: ClassifierTask) -> str:
    from efface.images.datasets import open_dataset

    return open_dataset(task).digest()


CLASSIFIERS = Trade(_contents, carry_out, read_outputs, forget_images)
