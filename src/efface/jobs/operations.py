"""What a kind of models does for a job: the contract between the skeleton and its two kinds.

`jobs.run`, `jobs.plan` and `jobs.judging` know nothing of generators and classifiers beyond this.
"""

from __future__ import annotations

import resource
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from efface.classifiers.classifier import Classifier
from efface.devices import chosen_device
from efface.errors import EffaceError, Faults, InputError
from efface.evaluation.protocol import Evaluation
from efface.evaluation.results import ModelName, SetName
from efface.generators.base import Generator
from efface.images.items import ImageSet
from efface.images.selection import Split
from efface.jobs.sets import measured_sets
from efface.probes.subject import AnySubject
from efface.progress import Progress
from efface.runs.config import of_section
from efface.runs.earlier import EarlierRequests
from efface.runs.folder import RunFolder
from efface.runs.record import EvaluationFacts, ModelFacts
from efface.runs.state import TrainedPart
from efface.sharing import Sharers

ModelT = TypeVar("ModelT", Generator, Classifier)
PixelsT = TypeVar("PixelsT")
Opened = TypeVar("Opened")


@dataclass(frozen=True)
class Processes:
    """The processes of a job: one, or those of an accelerator under torchrun, of which the first writes and speaks."""

    accelerator: Accelerator | None = None

    @property
    def count(self) -> int:
        return self.accelerator.num_processes if self.accelerator else 1

    @property
    def first(self) -> bool:
        return self.accelerator is None or self.accelerator.is_main_process

    @property
    def device(self) -> torch.device:
        return self.accelerator.device if self.accelerator else chosen_device()

    @property
    def sharing(self) -> Sharers | None:
        """These processes, as they share out work on images."""
        if self.accelerator is None:
            return None
        return Sharers(self.accelerator.process_index, self.count, lambda value: list(gather_object([value])))

    def wait(self) -> None:
        """Go on when all have come here."""
        if self.accelerator:
            self.accelerator.wait_for_everyone()

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        """Let the first process go through the block before all others."""
        if self.accelerator:
            with self.accelerator.main_process_first():
                yield
        else:
            yield


@dataclass(frozen=True)
class Start:
    """One start of a run: its config, of the class that its kind and verb have, and where it runs."""

    config: Any
    run: RunFolder
    progress: Progress
    processes: Processes = field(default_factory=Processes)


@dataclass(frozen=True)
class Base(Generic[ModelT]):
    """The model from which one is trained on.

    facts: what it is where it lies. model: its weights for the model in hand, with a head for that one's classes; what is
    trained may be this very object.
    """

    facts: ModelFacts
    model: ModelT


@dataclass
class Prepared(Generic[ModelT, PixelsT]):
    """Everything that a job works on. Who asked for it calls `close`.

    models: the original, or the new model of a training, and those beside which it is put. yardstick: a second retrained
    model, at which probes alone look. pixels: how the kind reads the images. earlier: what earlier requests forgot. pairs:
    of a paired corruption, a digest of which picture stands in for which image, that says nothing without the run's key.
    like: of a training, the digest of the model that the new one is made like. base: the model that one is trained on from.
    """

    models: dict[ModelName, ModelT]
    split: Split
    pixels: PixelsT
    earlier: EarlierRequests = field(default_factory=EarlierRequests)
    pairs: str | None = None
    like: str | None = None
    base: Base[ModelT] | None = None
    close: Callable[[], None] = lambda: None
    yardstick: ModelT | None = None

    @property
    def model(self) -> ModelT:
        """The model before unlearning, or the one that is to be trained."""
        return self.models["original"]

    @property
    def compared(self) -> dict[Any, ModelT]:
        """All models that were read, by name: `yardstick` too."""
        models: dict[Any, ModelT] = dict(self.models)
        return models | ({"yardstick": self.yardstick} if self.yardstick else {})

    @property
    def base_model(self) -> ModelT | None:
        """The base's weights, for the model in hand."""
        return self.base.model if self.base else None

    @property
    def forgets(self) -> bool:
        """Whether the model that is made was made by forgetting images or leaving them out, now or earlier."""
        return bool(len(self.split.forget) or self.earlier.forgotten)

    @property
    def sets(self) -> dict[SetName, ImageSet]:
        """The sets that are measured."""
        return measured_sets(self.split)


@dataclass(frozen=True)
class RunEstimate:
    """What a run would take, from a few timed steps of training and one batch of evaluation."""

    steps: int
    seconds_per_step: float
    training_seconds: float
    evaluation_seconds: float
    peak_memory_bytes: int
    disk_bytes: int
    disk_kept_bytes: int


class Changes(ABC):
    """What an unlearning run would do to the model."""

    precision: str

    @property
    @abstractmethod
    def words(self) -> str:
        """The same for people, in a line or two."""


@dataclass(frozen=True)
class Foreseen:
    """What running a little of it tells of an unlearning run, and what is odd."""

    changes: Changes
    estimate: RunEstimate
    risks: list[str]
    notes: list[str]


class Operations(ABC, Generic[ModelT, PixelsT]):
    """What is done with models of one kind. Every method raises `InputError` with all faults that it finds."""

    @abstractmethod
    def processes(self, config: Any) -> Processes:
        """The processes in which a job runs."""

    @abstractmethod
    def load(self, settings: Any) -> ModelT:
        """The model that a section of a config, or a place, names."""

    @abstractmethod
    def comparable(self, settings: Any, original: ModelT | None) -> ModelT:
        """The model that a section names, to stand beside the original; raises `InputError` if it cannot."""

    def models(self, config: Any, faults: Faults) -> dict[ModelName, ModelT]:
        """The original and the models beside it, as far as they are named and can be opened."""
        models: dict[ModelName, ModelT] = {}
        compares = config.verb == "evaluate"
        named = config.original if compares else config.model
        original = attempt(lambda: self.load(named), faults, "original" if compares else "model")
        if original is not None:
            models["original"] = original
        unlearned = config.unlearned if compares else None
        others: dict[ModelName, Any] = {"unlearned": unlearned, "retrained": config.retrained}
        for name, settings in others.items():
            if settings is not None:
                opening = partial(self.comparable, self.beside(settings, named), original)
                model = attempt(opening, faults, name)
                if model is not None:
                    models[name] = model
        return models

    def yardstick(self, config: Any, models: Mapping[ModelName, ModelT], faults: Faults) -> ModelT | None:
        """The second retrained model, where one is named and can be opened."""
        if config.yardstick is None:
            return None
        section = self.beside(
            config.yardstick, config.original if config.verb == "evaluate" else config.model
        )
        return attempt(partial(self.comparable, section, models.get("original")), faults, "yardstick")

    def beside(self, settings: Any, named: Any) -> Any:
        """The section, or the place, of a model that stands beside the one that `named` names.

        Code that the user named for that one may be run for this one too.
        """
        return settings

    @abstractmethod
    def base(self, config: Any, original: ModelT | None, faults: Faults) -> Base[ModelT] | None:
        """The base that an unlearning run names, if it fits the original; what is wrong with it goes to `faults`."""

    @abstractmethod
    def prepare(self, start: Start) -> Prepared[ModelT, PixelsT]:
        """Everything that the config names, opened; models are looked at before images, whose reading takes longest."""

    @abstractmethod
    def risks(self, config: Any, prepared: Prepared[ModelT, PixelsT]) -> list[str]:
        """Sentences on what looks wrong with the original when it is shown real images, or may outlive a method."""

    def limit(self, start: Start, prepared: Prepared[ModelT, PixelsT]) -> float | None:
        """The bound on training in seconds, where it has to be the same for every start of a run."""
        return None

    @abstractmethod
    def train(self, start: Start, prepared: Prepared[ModelT, PixelsT]) -> TrainedPart | None:
        """Unlearn, or train from scratch, and write `RUN/model`. All processes come here; only the first one answers."""

    @abstractmethod
    def evaluate(
        self, start: Start, prepared: Prepared[ModelT, PixelsT], models: Mapping[ModelName, ModelT]
    ) -> Evaluation:
        """Measure the models on the sets."""

    @abstractmethod
    def evaluation_facts(self, config: Any, prepared: Prepared[ModelT, PixelsT]) -> EvaluationFacts:
        """What the record tells of how models are measured."""

    @abstractmethod
    def subject(
        self,
        start: Start,
        prepared: Prepared[ModelT, PixelsT],
        models: Mapping[ModelName, ModelT],
        evaluation: Evaluation,
    ) -> AnySubject:
        """What probes question."""

    def corruption(self, config: Any) -> str | None:
        """The corruption, as records name it."""
        return None

    # for plans

    @abstractmethod
    def open(
        self, config: Any, faults: Faults, processes: int = 1
    ) -> tuple[dict[ModelName, ModelT], PixelsT | None]:
        """The models of a run, and how images will be read; what cannot be opened, or does not fit, goes to `faults`."""

    @abstractmethod
    def choose(self, config: Any, earlier: EarlierRequests, progress: Progress) -> Split:
        """The image sets of a job, looked at and not kept; without what earlier requests forgot."""

    def check_sets(self, config: Any, models: Mapping[ModelName, ModelT], split: Split) -> None:
        """Raise one `InputError` for all that is wrong with these sets for these models."""

    @abstractmethod
    def risks_of_sets(self, config: Any, split: Split, pixels: PixelsT | None) -> list[str]:
        """Sentences on what these sets will not tell."""

    @abstractmethod
    def foresee(self, config: Any, prepared: Prepared[ModelT, PixelsT]) -> Foreseen:
        """Run a little of it, and leave nothing behind."""


AnyOperations = Operations[Any, Any]


def attempt(action: Callable[[], Opened], faults: Faults, section: str = "model") -> Opened | None:
    """The result of `action`, or None with its problems added to `faults`. section: what names the model that it opens."""
    try:
        return action()
    except InputError as error:
        faults.problems += (of_section(problem, section) for problem in error.problems)
    except EffaceError as error:
        faults.add(str(error))
    return None


def peak_memory() -> int:
    """Bytes at the peak of this process so far, on the device of the job."""
    if chosen_device().type == "cuda":
        return int(torch.cuda.max_memory_allocated(chosen_device()))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
