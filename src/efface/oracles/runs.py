"""One run of a pool: an original trained, a model retrained without the forget images, or one that unlearned them.

A run is a function of its task, its kind, its seed and its method alone; what is kept of it is one file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from efface.errors import EffaceError
from efface.files import canonical_json, replacing, sha256_of_json, write_json
from efface.methods.registry import ENTRY_POINTS, classifier_methods
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
WARM_UP_STEPS = 3


@dataclass(frozen=True)
class Run:
    """Which run it is.

    method: of an unlearned model, the method's section (name and settings) as canonical JSON; start: the seed of the
    original that it started from. purpose: whether it forgets the scored forget set, or the one for tuning. version:
    the distribution that provides the method and its version, empty for methods of efface.
    """

    kind: Kind
    seed: int
    method: str = ""
    start: int = -1
    purpose: Purpose = "score"
    version: str = ""

    @classmethod
    def unlearned(cls, method: dict[str, Any], start: int, seed: int, purpose: Purpose = "score") -> Run:
        """The run of a method's section from the original of seed `start`."""
        return cls("unlearned", seed, canonical_json(method), start, purpose, provider(str(method["name"])))

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
            # another version of the package that provides a method is another method
            digest = sha256_of_json([section, self.version] if self.version else section)
            place += f"/{section['name']}-{digest[:10]}/from-{self.start}"
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
class Spent:
    """What a run took: seconds of training or unlearning alone; optimizer steps; cut: whether the limit stopped it."""

    seconds: float
    steps: int
    cut: bool


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
        _write_weights(model, place.with_suffix(".safetensors"))
    place.parent.mkdir(parents=True, exist_ok=True)
    with replacing(place.with_suffix(".npz")) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def read_outputs(path: Path) -> Outputs:
    """What `carry_out` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        spent = _spent(arrays)
        return Outputs(
            {name: arrays[f"confidence_{name}"] for name in SETS},
            {name: arrays[f"correct_{name}"] for name in SETS},
            {name: arrays[f"logits_{name}"] for name in WITH_LOGITS},
            spent.seconds,
            spent.steps,
            spent.cut,
        )


def read_spent(path: Path) -> Spent:
    """The same without its arrays."""
    with np.load(path, allow_pickle=False) as arrays:
        return _spent(arrays)


@cache
def warm_up(task: str) -> None:
    """Train a throw-away model of a task (as JSON) for a few steps, once in a process.

    torch sets up much of itself at its first forward and backward pass and its first optimizer: about a second, which
    would else be counted as the first run's. Nothing is kept, and no draw of a run depends on it.
    """
    from efface.oracles.tasks import new_classifier
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


def provider(name: str) -> str:
    """Distribution and version from which a method comes by entry point; empty for methods of efface and unknown ones."""
    method = classifier_methods().get(name)
    return "" if method is None else _provider_of(method)


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
    model.network.load_state_dict(_weights_at(start.with_suffix(".safetensors")))
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


@cache
def _provider_of(method: type) -> str:
    if method.__module__.partition(".")[0] == "efface":
        return ""
    for point in entry_points(group=ENTRY_POINTS):
        if point.dist is not None and point.load() is method:
            return f"{point.dist.name} {point.dist.version}"
    return ""


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


def _spent(arrays: Mapping[str, Any]) -> Spent:
    return Spent(float(arrays["seconds"]), int(arrays["steps"]), bool(arrays["cut"]))


def _weights_at(path: Path) -> dict[str, Any]:
    facts = path.stat()
    return _read_weights(path, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=8)
def _read_weights(path: Path, changed: int, size: int) -> dict[str, Any]:
    """The weights of a file as it was at a time and size: an original may be made again at the same place."""
    from safetensors.torch import load_file

    return load_file(path)
