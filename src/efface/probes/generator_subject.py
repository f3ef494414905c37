"""Generators as a probe questions them: they restore views of images that are hidden or degraded. Imports torch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from efface.corruptions import Corruption
from efface.evaluation.answers import Answers, samples_of, similarity_of, view_batches
from efface.evaluation.results import ModelName, SetName
from efface.evaluation.settings import EvaluationSettings
from efface.files import sha256_of_json
from efface.generators.base import Generator, PixelMoments, Trained, View, pixels_in_unit_range
from efface.images.cache import PixelSource
from efface.images.items import ImageSet
from efface.memory import fitting
from efface.methods.generator.fine_tune import task_loss_on_retain
from efface.metrics.base import ModelKind
from efface.metrics.catalogue import HOLE_ERROR
from efface.metrics.extractors import FeatureExtractor
from efface.metrics.image_error import PSNR_CEILING, hole_mse
from efface.probes.base import logs
from efface.probes.subject import LOG_ERROR, Change, ErrorKind, Errors, Subject, Values, once
from efface.probes.trigger import Trigger
from efface.progress import Progress, Task
from efface.randomness import key
from efface.sharing import in_shares
from efface.training.data import Crops, Data
from efface.training.loop import Trainer
from efface.training.optimisation import accelerator
from efface.training.phases import Training
from efface.training.settings import TrainingSettings

Part = TypeVar("Part")
LEAST_ERROR = 10 ** (-PSNR_CEILING / 10)
"""Below which errors that are measured by a probe count as this, so that a logarithm of them is finite."""
STREAM = "retain"
"""The name under which the loss of `fine-tune` finds its images, whichever they are here."""
UNUSED = PixelMoments(torch.zeros(3), torch.ones(3))
"""Of noise, which no loss here makes."""


@dataclass(frozen=True)
class Restoration:
    """One batch and what one model made of it.

    truth: what it should have restored, `[B, 3, H, W]`; samples: its answers, of the same shape.
    """

    model: ModelName
    view: View
    truth: Tensor
    samples: list[Tensor]

    def errors(self) -> Values:
        """Mean squared error in the region of each view, `[B]`, the mean over its answers."""
        errors = sample_errors(self.samples, self.truth, self.view.corrupted.region)
        return np.asarray(errors.double().cpu().numpy(), dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class GeneratorSubject(Subject[Generator, ImageSet]):
    """Generators, and the views of images that they are given.

    training: how the run trained (batch, precision, crops), for probes that train. pairs: for a paired corruption, the id
    of each image's other picture.
    """

    kind: ClassVar[ModelKind] = "generator"
    measures: ClassVar[tuple[ErrorKind, ...]] = (LOG_ERROR,)

    settings: EvaluationSettings
    cache: PixelSource
    corruption: Corruption
    extractor: FeatureExtractor
    training: TrainingSettings = field(default_factory=TrainingSettings)
    pairs: Mapping[str, str] | None = None

    def digest(self) -> str:
        return sha256_of_json(
            {
                "models": {name: model.weights_digest() for name, model in self.models.items()},
                "yardstick": self.yardstick.weights_digest() if self.yardstick else None,
                "sets": {name: images.digest() for name, images in self.sets.items()},
                "pairs": dict(self.pairs) if self.pairs else None,
                "corruption": str(self.corruption),
                "extractor": self.extractor.digest,
                "similarity": similarity_of(self.settings, self.extractor).digest,
                "settings": self.settings.as_dict(),
                "training": self.training.as_dict(),
                "seed": self.seed,
            }
        )

    def classes(self, images: ImageSet) -> list[str | None]:
        return list(images.labels)

    def answers(self, model: ModelName, name: SetName) -> Answers:
        """What the evaluation kept of a model on a set."""
        return self.evaluation.answers[model, name]

    def features(self, name: SetName) -> Values:
        features = self.evaluation.truth[name].features.astype(np.float64)
        views = self.answers("original", name).crops
        means: Values = features.reshape(-1, views, features.shape[1]).mean(axis=1)
        return means[once(self.sets[name])]

    def evaluated_values(self, model: ModelName, name: SetName, metric: str = HOLE_ERROR) -> Values:
        """A metric of the evaluation on each photo of a set, `[photos]`."""
        values: Values = self.answers(model, name).of_images(metric)[once(self.sets[name])]
        return values

    def evaluated(self, model: ModelName, name: SetName) -> Errors:
        return {LOG_ERROR: logs(self.evaluated_values(model, name))}

    def evaluated_views(self, model: ModelName, name: SetName) -> Errors:
        answers = self.answers(model, name)
        return {LOG_ERROR: logs(answers.values[HOLE_ERROR].reshape(-1, answers.crops)[once(self.sets[name])])}

    def confidence(self, model: ModelName, name: SetName) -> Values:
        """Minus the model's own loss where the evaluation measured it, else minus its hole error."""
        measured = next(iter(self.evaluation.answers.values())).values
        return -self.evaluated_values(model, name, "task_loss" if "task_loss" in measured else HOLE_ERROR)

    def errors(self, model: Generator, images: ImageSet, *, bf16: bool | None = None) -> Errors:
        return {LOG_ERROR: self.log_errors(model, images, bf16=bf16)}

    @torch.no_grad()
    def log_errors(
        self, model: Generator, images: ImageSet, *, bf16: bool | None = None, whole_picture: bool = False
    ) -> Values:
        """Natural logarithm of each image's hole error, `[images]`, the mean over its views being taken before.

        The hole error is the mean square over the hidden pixels, or over all where the corruption hides none. bf16:
        whether forward passes are cast; by default as the evaluation has it. whole_picture: visible codes are those of
        the whole picture.
        """
        settings = self.settings
        if bf16 is not None:
            settings = settings.model_copy(update={"precision": "bf16" if bf16 else "fp32"})

        def errors(view: View) -> Tensor:
            seen = model.whole_picture_view(view) if whole_picture else view
            assert seen is not None
            region = view.corrupted.region
            region = region if bool(region.any()) else torch.ones_like(region)
            return sample_errors(samples_of(model, seen, settings), view.images, region).cpu()

        def share(mine: range) -> Values:
            return self.logarithms(torch.cat(list(self.over_views(model, images.subset(mine), errors))))

        return in_shares(len(images), share, np.concatenate)

    def codes_see_beyond(self) -> bool:
        """Whether visible codes of these models may depend on hidden pixels."""
        images = self.photos("forget").subset([0])

        def sees_beyond(model: Generator) -> bool:
            return any(
                self.over_views(model, images, lambda view: model.whole_picture_view(view) is not None)
            )

        return all(sees_beyond(model) for model in self.models.values())

    def logarithms(self, errors: Tensor) -> Values:
        """The logarithm of each image's mean over its views, `[images]`, from errors `[views]`."""
        by_image = errors.double().reshape(-1, self.settings.crops_per_image).mean(dim=1)
        result: Values = np.log(by_image.clamp(min=LEAST_ERROR).numpy())
        return result

    def changed_errors(self, images: ImageSet, change: Change, *, name: str) -> dict[ModelName, Errors]:
        errors = self.restored_errors(images, name=name, change=change)
        return {model: {LOG_ERROR: logs(values.mean(axis=1))} for model, values in errors.items()}

    def over_views(
        self, model: Generator, images: ImageSet, compute: Callable[[View], Part]
    ) -> Iterator[Part]:
        """What `compute` gives for the evaluation's views of `images`; those of one image follow each other.

        It must change nothing before its end: where memory ends, it is called again with fewer views.
        """

        def of_batch(batch: Crops) -> Part:
            return compute(model.view(batch.images, self.corruption, batch.draws, condition=batch.conditions))

        batches = view_batches(images, self.cache, model.image_size, self.settings, self.pairs)
        return fitting(batches, model.image_size, of_batch)

    def restorations(
        self,
        images: ImageSet,
        *,
        name: str,
        corruption: Corruption | None = None,
        settings: EvaluationSettings | None = None,
        change: Change | None = None,
    ) -> Iterator[Restoration]:
        """Batch by batch, and of each batch model by model. Views are the evaluation's but for what is given.

        name: what the progress calls it.
        """
        asked = settings or self.settings
        size = next(iter(self.models.values())).image_size

        def restored(batch: Crops) -> list[Restoration]:
            return [
                Restoration(
                    model_name, *_restored(model, batch, corruption or self.corruption, asked, change)
                )
                for model_name, model in self.models.items()
            ]

        with self.progress.task(name, len(images) * asked.crops_per_image) as task:
            batches = view_batches(images, self.cache, size, asked, self.pairs)
            for restorations in fitting(batches, size, restored):
                yield from restorations
                task.advance(len(restorations[0].truth))

    def restored_errors(
        self,
        images: ImageSet,
        *,
        name: str,
        corruption: Corruption | None = None,
        settings: EvaluationSettings | None = None,
        change: Change | None = None,
    ) -> dict[ModelName, Values]:
        """Each model's mean squared error in the region, `[images, views]`; arguments as of `restorations`."""
        views = (settings or self.settings).crops_per_image

        def share(mine: range) -> dict[ModelName, Values]:
            parts: dict[ModelName, list[Values]] = {model: [] for model in self.models}
            for restoration in self.restorations(
                images.subset(mine), name=name, corruption=corruption, settings=settings, change=change
            ):
                parts[restoration.model].append(restoration.errors())
            return {model: np.concatenate(values).reshape(-1, views) for model, values in parts.items()}

        return in_shares(
            len(images),
            share,
            lambda shares: {model: np.concatenate([one[model] for one in shares]) for model in self.models},
        )

    def trigger_refusal(self, trigger: Trigger) -> str | None:
        if trigger.target is not None:
            return f"this trigger is for a classifier: it stands for the class '{trigger.target}'"
        if not self.corruption.hides or self.corruption.paired:
            return f"'{self.corruption.label}' hides no pattern from the model"
        return None

    def triggered(self, model: Generator, images: ImageSet, trigger: Trigger) -> Values:
        from efface.probes.passes_trigger import pattern_correlations

        return pattern_correlations(model, images, trigger, self)

    def copy_of(self, model: Generator) -> Generator:
        """A copy with weights of its own, in evaluation mode, without a teacher."""
        copied = copy.deepcopy(model)
        copied.drop_teacher()
        return copied.eval()

    def train(
        self,
        model: Generator,
        images: ImageSet,
        purpose: str,
        *,
        steps: int,
        learning_rate: float | None = None,
        after: Collection[int] = (),
        measure: Callable[[], None] = lambda: None,
        trained: Trained = "all",
    ) -> None:
        """As every subject; trained: which weights. Raises `Stopped` as the trainer does, also for infinite losses."""
        rate = self.training.learning_rate if learning_rate is None else learning_rate
        changes = {
            "steps": steps, "epochs": None, "learning_rate": rate, "average": None, "compile": False, "log_every": 1,
        }  # fmt: skip
        settings = self.training.model_copy(update=changes)
        process = accelerator(settings)
        data = Data({STREAM: images}, self.cache, UNUSED, self.pairs)
        phase = Training(purpose, task_loss_on_retain, (STREAM,), trained)
        seed = key(self.seed, "probe training", purpose)
        with self.progress.task(purpose, steps) as task:
            watch = _Watch(model, task, frozenset(after), measure)
            Trainer(model, [phase], data, settings, seed, process, progress=watch).run()


class _Watch(Progress):
    """Hears of every step of a trainer, to measure between two of them."""

    def __init__(
        self, model: Generator, task: Task, after: frozenset[int], measure: Callable[[], None]
    ) -> None:
        super().__init__()
        self._model, self._outer, self._after, self._measure = model, task, after, measure

    def log(self, event: str, **values: Any) -> None:
        if event != "step":
            return
        self._outer.advance(1, loss=float(values["loss"]))
        if values["step"] in self._after:
            training = self._model.training
            self._model.eval()
            self._measure()
            self._model.train(training)


def sample_errors(samples: Iterable[Tensor], truth: Tensor, region: Tensor) -> Tensor:
    """The mean over the answers of the squared error in the region, `[B]`."""
    return torch.stack([hole_mse(restored, truth, region) for restored in samples]).mean(dim=0)


def _restored(
    model: Generator,
    batch: Crops,
    corruption: Corruption,
    settings: EvaluationSettings,
    change: Change | None,
) -> tuple[View, Tensor, list[Tensor]]:
    with torch.inference_mode():
        pictures = truth = pixels_in_unit_range(batch.images, model.device)
        condition = batch.conditions
        if change:
            pictures, truth = change(pictures, batch.draws)
            if condition is not None:
                condition = change(pixels_in_unit_range(condition, model.device), batch.draws)[0]
        view = model.view(pictures, corruption, batch.draws, condition=condition)
        samples = list(samples_of(model, view, settings))
    return view, truth, samples
