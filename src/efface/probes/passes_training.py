"""What the probes that train or change weights share: copies, short trainings measured on the way, errors by image.

Everything happens on copies; the models of a subject keep their weights and stay in evaluation mode. All models of a
subject are trained on the same batches: their draws depend on the seed and the purpose alone. Imports torch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from efface.corruptions import Corruption
from efface.evaluation.answers import view_batches
from efface.generators.base import Generator, Moments, Trained, View
from efface.images.items import ImageSet
from efface.methods.generator.fine_tune import task_loss_on_retain
from efface.metrics.image_error import PSNR_CEILING, hole_mse
from efface.probes.base import Subject, Values
from efface.probes.showing import once
from efface.progress import Progress, Task
from efface.randomness import key, numpy_draws
from efface.training.data import Data
from efface.training.loop import Trainer
from efface.training.optimisation import accelerator
from efface.training.phases import Training

LEAST_ERROR = 10 ** (-PSNR_CEILING / 10)
"""Below which errors count as this, so that a logarithm of them is finite."""
STREAM = "retain"
"""The name under which the loss of `fine-tune` finds its images, whichever they are here."""
UNUSED = Moments(torch.zeros(3), torch.ones(3))
"""Of noise, which no loss here makes."""


def copy_of(model: Generator) -> Generator:
    """A copy with weights of its own, in evaluation mode, without a teacher."""
    copied = copy.deepcopy(model)
    copied.drop_teacher()
    return copied.eval()


def some_of(images: ImageSet, count: int, subject: Subject, purpose: str) -> ImageSet:
    """At most `count` of the photos, drawn by the subject's seed and `purpose`, in their order, each once."""
    images = images.subset(once(images))
    if len(images) <= count:
        return images
    places = numpy_draws(subject.seed, "probe images", purpose).permutation(len(images))[:count]
    return images.subset(sorted(places.tolist()))


def train(
    model: Generator,
    images: ImageSet,
    subject: Subject,
    purpose: str,
    *,
    steps: int,
    learning_rate: float | None = None,
    trained: Trained = "all",
    after: Collection[int] = (),
    measure: Callable[[], None] = lambda: None,
) -> None:
    """Go on with the model's own training on `images`, in place; hand it a copy.

    learning_rate: of the run by default, as all other settings. `measure` is called after each of the steps `after`,
    with the model in evaluation mode. Raises `Stopped` as the trainer does, also where the loss is no longer finite.
    """
    changes: dict[str, Any] = {"steps": steps, "average": None, "compile": False, "log_every": 1}
    if learning_rate is not None:
        changes["learning_rate"] = learning_rate
    settings = subject.training.model_copy(update=changes)
    process = accelerator(settings)
    data = Data({STREAM: images}, subject.cache, subject.corruption, UNUSED, subject.pairs)
    phase = Training(purpose, task_loss_on_retain, (STREAM,), trained, corruption="own")
    seed = key(subject.seed, "probe training", purpose)
    devices = [process.device] if process.device.type == "cuda" else []
    with subject.progress.task(purpose, steps) as task, torch.random.fork_rng(devices=devices):
        # dropout and the like draw from the global state
        torch.manual_seed(seed)
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


def views(
    model: Generator, images: ImageSet, subject: Subject, corruption: Corruption | None = None
) -> Iterator[View]:
    """The evaluation's views of `images`; those of one image follow each other."""
    batches = view_batches(images, subject.cache, model.image_size, subject.settings, subject.pairs)
    for batch in batches:
        yield model.view(
            batch.images, corruption or subject.corruption, batch.draws, condition=batch.conditions
        )


@torch.no_grad()
def log_errors(model: Generator, images: ImageSet, subject: Subject, *, bf16: bool | None = None) -> Values:
    """Natural logarithm of each image's hole error, `[images]`, the mean over its views being taken before.

    The hole error is the mean square over the hidden pixels, or over all where the corruption hides none. bf16:
    whether forward passes are cast; by default as the evaluation has it.
    """
    errors: list[Tensor] = []
    cast = subject.settings.precision == "bf16" if bf16 is None else bf16
    for view in views(model, images, subject):
        with torch.autocast(model.device.type, torch.bfloat16, enabled=cast):
            restored = model.restore(view, subject.settings.sampler).float()
        region = view.corrupted.region
        region = region if bool(region.any()) else torch.ones_like(region)
        errors.append(hole_mse(restored, view.images, region).cpu())
    return logarithms(torch.cat(errors), subject.settings.crops_per_image)


def logarithms(errors: Tensor, views_per_image: int) -> Values:
    """The logarithm of each image's mean over its views, `[images]`, from errors `[views]`."""
    by_image = errors.double().reshape(-1, views_per_image).mean(dim=1)
    result: Values = np.log(by_image.clamp(min=LEAST_ERROR).numpy())
    return result
