"""One run of a pool: an original trained, a model retrained without the forget images, or one that unlearned them.

A run is a function of its task, its kind, its seed and its method alone; what is kept of it is one file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from efface.errors import EffaceError
from efface.files import canonical_json, replacing, sha256_of_json, write_json
from efface.randomness import key

if TYPE_CHECKING:
    from efface.classifiers.classifier import Classifier
    from efface.images.labelled import LabelledImages
    from efface.oracles.tasks import TaskData, TaskSettings
    from efface.training.classification import PassesReport

Kind = Literal["original", "retrained", "unlearned"]
Purpose = Literal["score", "tuning"]
SETS = ("forget", "retain", "test")
WITH_LOGITS = ("forget", "test")


@dataclass(frozen=True)
class Run:
    """Which run it is.

    method: of an unlearned model, the method's section (name and settings) as canonical JSON; start: the seed of the
    original that it started from. purpose: whether it forgets the scored forget set, or the one for tuning.
    """

    kind: Kind
    seed: int
    method: str = ""
    start: int = -1
    purpose: Purpose = "score"

    @classmethod
    def unlearned(cls, method: dict[str, Any], start: int, seed: int, purpose: Purpose = "score") -> Run:
        """The run of a method's section from the original of seed `start`."""
        return cls("unlearned", seed, canonical_json(method), start, purpose)

    @property
    def section(self) -> dict[str, Any]:
        """The method's section."""
        section: dict[str, Any] = json.loads(self.method)
        return section

    @property
    def name(self) -> str:
        """Where it lies in a pool, without an ending."""
        place = f"{self.purpose}/{self.kind}"
        if self.kind == "unlearned":
            section = self.section
            place += f"/{section['name']}-{sha256_of_json(section)[:10]}/from-{self.start}"
        return f"{place}/{self.seed}"

    @property
    def key(self) -> int:
        """The seed of every draw in the run."""
        return key("run", self.kind, self.method, self.start, self.purpose, self.seed)


@dataclass(frozen=True)
class Job:
    """A run to be carried out, with all that a worker on another machine must know.

    limit: seconds after which unlearning stops where it is. keep_weights: whether they are kept of runs that are not
    originals; those are always kept, for others start from them.
    """

    folder: str
    task: str
    run: Run
    limit: float | None = None
    keep_weights: bool = False


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
    try:
        model, report = _model(job)
        arrays: dict[str, Any] = {"seconds": report.seconds, "steps": report.steps, "cut": report.cut}
        for name in SETS:
            arrays.update(_measured(model, getattr(data, name), name))
    except EffaceError as error:
        write_json(place.with_suffix(".failed.json"), {"error": str(error)})
        return
    if job.run.kind == "original" or job.keep_weights:
        _write_weights(model, place.with_suffix(".safetensors"))
    place.parent.mkdir(parents=True, exist_ok=True)
    with replacing(place.with_suffix(".npz")) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def read_outputs(path: Path) -> Outputs:
    """What `carry_out` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        return Outputs(
            {name: arrays[f"confidence_{name}"] for name in SETS},
            {name: arrays[f"correct_{name}"] for name in SETS},
            {name: arrays[f"logits_{name}"] for name in WITH_LOGITS},
            float(arrays["seconds"]),
            int(arrays["steps"]),
            bool(arrays["cut"]),
        )


def _model(job: Job) -> tuple[Classifier, PassesReport]:
    """The model of a run, ready, and what was done."""
    from efface.methods.classifier.base import unlearn_classifier
    from efface.methods.classifier.retrain import RetrainClassifier
    from efface.methods.registry import read_classifier_method
    from efface.oracles.tasks import new_classifier
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
    model.network.load_state_dict(_read_weights(start.with_suffix(".safetensors")))
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
    from efface.oracles.engines.processes import worker_device

    model.to(worker_device())


@lru_cache(maxsize=4)
def _task(text: str) -> TaskSettings:
    from efface.oracles.tasks import TaskSettings

    return TaskSettings.read(json.loads(text), where="the task")


@lru_cache(maxsize=4)
def _data(text: str, purpose: Purpose) -> TaskData:
    from efface.oracles.tasks import open_task

    return open_task(_task(text), purpose)


def _write_weights(model: Classifier, path: Path) -> None:
    from safetensors.torch import save

    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.cpu().contiguous() for name, tensor in model.network.state_dict().items()}
    with replacing(path) as temporary:
        temporary.write_bytes(save(weights))


@lru_cache(maxsize=8)
def _read_weights(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(path)
