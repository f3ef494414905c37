"""Classifiers as a probe questions them: they give logits of labelled images. Imports torch.

An image's error is the odds against its class, (1 - p) / p, whose logarithm is minus the logit-scaled confidence.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from efface.classifiers.classifier import Classifier, logits_of, pictures_of
from efface.errors import InputError, Stopped
from efface.evaluation.results import ModelName, SetName
from efface.evaluation.settings import ClassifierEvaluationSettings
from efface.files import sha256_of_json
from efface.forgetting.confidence import Confidence, logit_scaled_confidence
from efface.forgetting.outputs import Accuracy
from efface.images.labelled import LabelledImages
from efface.images.labels import grey
from efface.memory import in_batches
from efface.metrics.base import ModelKind
from efface.probes.subject import LOG_ERROR, WRONG, Change, ErrorKind, Errors, Share, Subject, Values
from efface.probes.trigger import MAGENTA, Trigger
from efface.progress import Progress
from efface.randomness import Draws, key
from efface.sharing import in_shares
from efface.training.classification import Work, run_passes
from efface.training.passes import Facts, spans, training_pass
from efface.training.settings import Recipe

Part = TypeVar("Part")
STREAM = "train"
"""The name under which the recipe's training finds its images, whichever they are here."""


@dataclass(frozen=True, kw_only=True)
class ClassifierSubject(Subject[Classifier, LabelledImages]):
    """Classifiers, and images with labels, all in memory. recipe: how the original was trained, for probes that train."""

    kind: ClassVar[ModelKind] = "classifier"
    measures: ClassVar[tuple[ErrorKind, ...]] = (LOG_ERROR, WRONG)
    trigger_share: ClassVar[Share | None] = Share(-1)

    settings: ClassifierEvaluationSettings
    recipe: Recipe = field(default_factory=Recipe)

    def digest(self) -> str:
        return sha256_of_json(
            {
                "models": {name: model.weights_digest() for name, model in self.models.items()},
                "yardstick": self.yardstick.weights_digest() if self.yardstick else None,
                "sets": {name: [images.ids, images.labels.tolist()] for name, images in self.sets.items()},
                "settings": self.settings.as_dict(),
                "recipe": self.recipe.as_dict(),
                "seed": self.seed,
            }
        )

    def classes(self, images: LabelledImages) -> list[str | None]:
        return [self._names[label] for label in images.labels]

    def features(self, name: SetName) -> Values:
        """What the original's last layer is fed."""
        model, images = self.models["original"], self.sets[name]
        with torch.inference_mode():
            parts = self._in_batches(
                range(len(images)),
                lambda part: model.features_and_logits(pictures_of(images, part).to(model.device))[0].cpu(),
            )
            features: Values = torch.cat(list(parts)).double().numpy()
        return features

    def evaluated(self, model: ModelName, name: SetName) -> Errors:
        values = self.evaluation.per_image[model, name]
        if not values:
            raise InputError(f"the {model} model answers with infinite or undefined values")
        return {LOG_ERROR: -values[Confidence.name], WRONG: 1 - values[Accuracy.name]}

    def evaluated_views(self, model: ModelName, name: SetName) -> Errors:
        return {measure: values[:, None] for measure, values in self.evaluated(model, name).items()}

    def confidence(self, model: ModelName, name: SetName) -> Values:
        """The logit-scaled confidence, which orders images as minus the loss does."""
        return -self.evaluated(model, name)[LOG_ERROR]

    def errors(self, model: Classifier, images: LabelledImages, *, bf16: bool | None = None) -> Errors:
        with torch.autocast(model.device.type, torch.bfloat16, enabled=bool(bf16)):
            logits = logits_of(model, images, self.settings.batch_size)
        return _errors(logits, images.labels)

    def changed_errors(self, images: LabelledImages, change: Change, *, name: str) -> dict[ModelName, Errors]:
        def logits(part: range) -> dict[ModelName, npt.NDArray[np.float32]]:
            ids = images.ids[part.start : part.stop]
            pictures = pictures_of(images, part).float() / 255
            given = 255 * change(pictures, Draws(self.settings.seed, ids, (0,) * len(ids)))[0]
            return {
                model_name: model(given.to(model.device)).float().cpu().numpy()
                for model_name, model in self.models.items()
            }

        def share(mine: range) -> dict[ModelName, npt.NDArray[np.float32]]:
            parts = []
            with self.progress.task(name, len(mine)) as task, torch.inference_mode():
                for part in self._in_batches(mine, logits):
                    parts.append(part)
                    task.advance(len(next(iter(part.values()))))
            return _joined(parts)

        found = in_shares(len(images), share, _joined)
        return {model: _errors(values, images.labels) for model, values in found.items()}

    def trigger_refusal(self, trigger: Trigger) -> str | None:
        if trigger.target is None:
            return "this trigger is for a generator: plant one that stands for a class (target)"
        if trigger.target not in self._names:
            return f"this trigger stands for '{trigger.target}', which is no class of the models"
        return None

    def triggered(self, model: Classifier, images: LabelledImages, trigger: Trigger) -> Values:
        """Whether each image is taken for the trigger's class, 1 or 0."""
        colour = np.array(MAGENTA, dtype=np.uint8).reshape(1, 3, 1, 1)
        stamped = images.pixels.copy()
        corners = trigger.corners(model.image_size)
        stamped[:, :, corners] = (colour if model.channels == 3 else grey(colour))[:, :, 0]
        taken_for = (
            logits_of(model, given, self.settings.batch_size).argmax(axis=1)
            for given in (replace(images, pixels=stamped), images)
        )
        target = self._names.index(str(trigger.target))
        return np.stack([number == target for number in taken_for], axis=1).astype(np.float64)

    def copy_of(self, model: Classifier) -> Classifier:
        return model.copy().eval()

    def train(
        self,
        model: Classifier,
        images: LabelledImages,
        purpose: str,
        *,
        steps: int,
        learning_rate: float | None = None,
        after: Collection[int] = (),
        measure: Callable[[], None] = lambda: None,
    ) -> None:
        """As every subject, by the recipe. Raises `InputError` where a loss is infinite or undefined."""
        changes = {} if learning_rate is None else {"learning_rate": learning_rate}
        recipe = self.recipe.model_copy(update=changes)
        plan = training_pass(recipe, STREAM, purpose)
        epochs = steps / len(spans(len(images), recipe.batch_size))
        done = 0

        def watch(work: Work) -> None:
            nonlocal done
            done += 1
            task.advance()
            if done in after:
                work.settle()
                model.eval()
                measure()
                model.train()

        facts = Facts(
            {STREAM: len(images)},
            len(model.classes),
            model.blocks,
            recipe,
            key(self.seed, "probe training", purpose),
        )
        with self.progress.task(purpose, steps) as task:
            try:
                passes = [replace(plan, epochs=epochs, after_step=watch)]
                run_passes(model, passes, {STREAM: images}, facts, progress=Progress())
            except Stopped as stopped:
                raise InputError(str(stopped)) from None

    @property
    def _names(self) -> tuple[str, ...]:
        return next(iter(self.models.values())).classes

    def _in_batches(self, images: range, compute: Callable[[range], Part]) -> Iterator[Part]:
        side = next(iter(self.models.values())).image_size
        return in_batches(
            len(images),
            self.settings.batch_size,
            side,
            lambda part: compute(images[part.start : part.stop]),
        )


def _joined(
    parts: list[dict[ModelName, npt.NDArray[np.float32]]],
) -> dict[ModelName, npt.NDArray[np.float32]]:
    return {model: np.concatenate([part[model] for part in parts]) for model in parts[0]}


def _errors(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> Errors:
    """Raises `InputError` for logits that are infinite or undefined."""
    return {
        LOG_ERROR: -logit_scaled_confidence(logits, labels),
        WRONG: (logits.argmax(axis=1) != labels).astype(np.float64),
    }
