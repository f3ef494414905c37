"""More passes for probes: every model restores the same views of a set, as in the evaluation or changed.

A set may hold one photo several times (files with the same bytes). Its entries are shown the same views and give the
same numbers, so probes take each photo once (`once`). Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from efface.evaluation.results import ModelName, SetName
from efface.evaluation.settings import EvaluationSettings
from efface.probes.base import Probe, Subject, Values
from efface.probes.findings import Finding, Findings

if TYPE_CHECKING:
    from torch import Tensor

    from efface.corruptions import Corruption
    from efface.generators.base import Generator, View
    from efface.images.items import ImageSet
    from efface.randomness import Draws
    from efface.training.data import Crops

Change = Callable[["Tensor", "Draws"], tuple["Tensor", "Tensor"]]
"""Of true pictures `[B, 3, H, W]` in [0, 1]: what the model is shown in their place, and what it should restore."""

FLOOR = 1e-12
"""Below any error of 8-bit pictures: an error of 0 has no logarithm."""


@dataclass(frozen=True)
class Shown:
    """One batch and what one model made of it; truth: what it should have restored, `[B, 3, H, W]`."""

    model: ModelName
    view: View
    truth: Tensor
    restored: Tensor

    def errors(self) -> Values:
        """Mean squared error in the region of each view, `[B]`."""
        from efface.metrics.image_error import hole_mse

        errors = hole_mse(self.restored, self.truth, self.view.corrupted.region)
        return np.asarray(errors.double().cpu().numpy(), dtype=np.float64)


def once(images: ImageSet) -> list[int]:
    """The place of the first entry of each photo."""
    first = {id_: place for place, id_ in reversed(list(enumerate(images.ids)))}
    return sorted(first.values())


def photos(subject: Subject, name: SetName) -> ImageSet:
    """The images of a set, each photo once."""
    images = subject.sets[name]
    return images.subset(once(images))


def kept_values(subject: Subject, model: ModelName, name: SetName, metric: str = "hole_mse") -> Values:
    """What the evaluation found of a model on each photo of a set, `[photos]`."""
    values: Values = subject.answers(model, name).of_images(metric)[once(subject.sets[name])]
    return values


def showings(
    subject: Subject,
    images: ImageSet,
    *,
    name: str,
    corruption: Corruption | None = None,
    settings: EvaluationSettings | None = None,
    change: Change | None = None,
) -> Iterator[Shown]:
    """Batch by batch, and for each batch model by model. The views are those of the evaluation but for what is given.

    name: what the progress calls it.
    """
    from efface.evaluation.answers import view_batches

    settings = settings or subject.settings
    size = next(iter(subject.models.values())).image_size
    with subject.progress.task(name, len(images) * settings.crops_per_image) as task:
        for batch in view_batches(images, subject.cache, size, settings, subject.pairs):
            for model_name, model in subject.models.items():
                view, truth, restored = _restored(
                    model, batch, corruption or subject.corruption, settings, change
                )
                yield Shown(model_name, view, truth, restored)
            task.advance(len(batch.images))


def shown_errors(
    subject: Subject,
    images: ImageSet,
    *,
    name: str,
    corruption: Corruption | None = None,
    settings: EvaluationSettings | None = None,
    change: Change | None = None,
) -> dict[ModelName, Values]:
    """Each model's mean squared error in the region, `[images, views]`; arguments as of `showings`."""
    found: dict[ModelName, list[Values]] = {model: [] for model in subject.models}
    for shown in showings(
        subject, images, name=name, corruption=corruption, settings=settings, change=change
    ):
        found[shown.model].append(shown.errors())
    views = (settings or subject.settings).crops_per_image
    return {model: np.concatenate(parts).reshape(-1, views) for model, parts in found.items()}


def logs(errors: Values) -> Values:
    """Logarithms of errors."""
    values: Values = np.log(np.maximum(errors, FLOOR))
    return values


def unmeasured(probe: Probe, subject: Subject, figures: tuple[str, ...], why: str) -> Findings:
    """Findings without a value, one for each of `figures`, so that a requirement on one of them finds the reason."""
    model: ModelName = "unlearned" if "unlearned" in subject.models else "original"
    note = f"not measurable: {why}"
    return Findings(tuple(Finding(probe.name, figure, model, None, note=note) for figure in figures))


def _restored(
    model: Generator,
    batch: Crops,
    corruption: Corruption,
    settings: EvaluationSettings,
    change: Change | None,
) -> tuple[View, Tensor, Tensor]:
    import torch

    from efface.generators.base import pixels_in_unit_range

    with torch.inference_mode():
        pictures = truth = pixels_in_unit_range(batch.images, model.device)
        condition = batch.conditions
        if change:
            pictures, truth = change(pictures, batch.draws)
            if condition is not None:
                condition = change(pixels_in_unit_range(condition, model.device), batch.draws)[0]
        view = model.view(pictures, corruption, batch.draws, condition=condition)
        with torch.autocast(model.device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            restored = model.restore(view, settings.sampler).float()
    return view, truth, restored
