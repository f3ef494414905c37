"""The evaluation protocol: every model restores the same views of the same images.

Views are keyed by the evaluation seed, so all models see the same crops and masks. An image's value is the
mean over its crops; a set's value the mean over its images; intervals resample images, never crops.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from efface.corruptions import Corruption
from efface.evaluation.figures import Values, figures_of, reference_of
from efface.evaluation.results import SETS, ModelName, Row, SetName, Worst
from efface.evaluation.settings import EvaluationSettings
from efface.generators.base import Generator
from efface.images.cache import PixelCache
from efface.images.crops import evaluation_crops, fitted
from efface.images.items import ImageSet
from efface.metrics.catalogue import METRICS, MetricInfo
from efface.metrics.extractors import FeatureExtractor
from efface.metrics.frechet import frechet_distance, frechet_refusal
from efface.metrics.image_error import feature_cosine, hole_mse, hole_psnr, ssim
from efface.metrics.intervals import FEWEST_GROUPS, Interval
from efface.metrics.kernel import kernel_distance, kernel_distance_interval
from efface.progress import Progress
from efface.randomness import Draws, numpy_draws
from efface.training.data import Crops


@dataclass
class Measured:
    """What one model did on one set: values of each metric by view, and features of its pictures."""

    values: dict[str, list[Tensor]] = field(default_factory=dict)
    features: list[Tensor] = field(default_factory=list)

    def of_views(self, metric: str) -> Values:
        return torch.cat(self.values[metric]).double().numpy()

    def of_images(self, metric: str, crops: int) -> Values:
        """The mean over the crops of each image, `[images]`."""
        means: Values = self.of_views(metric).reshape(-1, crops).mean(axis=1)
        return means


@dataclass(frozen=True)
class Evaluation:
    """Rows of figures, the worst-hit images and classes, and every image's own values.

    per_image: for each (model, set) the values `[images]` by metric, in the order of `sets`.
    """

    rows: list[Row]
    worst: list[Worst]
    per_image: dict[tuple[ModelName, SetName], dict[str, Values]]


def evaluate(
    models: Mapping[ModelName, Generator],
    sets: Mapping[SetName, ImageSet],
    cache: PixelCache,
    corruption: Corruption,
    extractor: FeatureExtractor,
    settings: EvaluationSettings,
    *,
    pairs: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure `models` on `sets`, whose pixels are in `cache`. Models are left in evaluation mode.

    pairs: for a paired corruption, the id of each image's other picture.
    """
    progress = progress or Progress()
    rows: list[Row] = []
    worst: list[Worst] = []
    per_image: dict[tuple[ModelName, SetName], dict[str, Values]] = {}
    crops = settings.crops_per_image
    sampler = next(iter(models.values())).sampler_name(settings.sampler)
    for set_name in SETS:
        images = sets.get(set_name, ImageSet())
        if not len(images):
            continue
        measured, true_features = _measure(
            models, images, cache, corruption, extractor, settings, pairs, set_name, progress
        )
        table = _Table(set_name, measured, true_features, images, corruption, extractor, settings, sampler)
        rows += table.rows()
        for model, found in measured.items():
            per_image[model, set_name] = {name: found.of_images(name, crops) for name in found.values}
        if set_name != "forget":
            worst += _worst_hit(set_name, images, per_image, settings.worst)
    return Evaluation(rows, worst, per_image)


@torch.inference_mode()
def _measure(
    models: Mapping[ModelName, Generator],
    images: ImageSet,
    cache: PixelCache,
    corruption: Corruption,
    extractor: FeatureExtractor,
    settings: EvaluationSettings,
    pairs: Mapping[str, str] | None,
    set_name: SetName,
    progress: Progress,
) -> tuple[dict[ModelName, Measured], Tensor]:
    measured = {name: Measured() for name in models}
    true_features: list[Tensor] = []
    size = next(iter(models.values())).image_size
    for model in models.values():
        model.eval()
    with progress.task(f"measure {set_name}", len(images) * settings.crops_per_image) as task:
        for crops in view_batches(images, cache, size, settings, pairs):
            truth_features: Tensor | None = None
            for name, model in models.items():
                view = model.view(crops.images, corruption, crops.draws, condition=crops.conditions)
                with torch.autocast(model.device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
                    restored = model.restore(view, settings.sampler).float()
                if truth_features is None:
                    truth_features = extractor.features(view.images).float().cpu()
                    true_features.append(truth_features)
                found = extractor.features(restored).float().cpu()
                measured[name].features.append(found)
                values = {
                    "ssim": ssim(restored, view.images),
                    "feature_cosine": feature_cosine(found, truth_features),
                }
                if bool(view.corrupted.region.any()):
                    region = view.corrupted.region
                    values["hole_mse"] = hole_mse(restored, view.images, region)
                    values["hole_psnr"] = hole_psnr(restored, view.images, region)
                for metric, value in values.items():
                    measured[name].values.setdefault(metric, []).append(value.cpu())
            task.advance(len(crops.images))
    return measured, torch.cat(true_features)


def view_batches(
    images: ImageSet,
    cache: PixelCache,
    size: int,
    settings: EvaluationSettings,
    pairs: Mapping[str, str] | None = None,
) -> Iterator[Crops]:
    """Crops in batches: all of the first image, of the second, ...; with `pairs` the same ones of each pair."""
    count = settings.crops_per_image
    places = [(image.id, crop) for image in images for crop in range(count)]

    @lru_cache(maxsize=4)
    def crops(picture: str, id_: str) -> npt.NDArray[np.uint8]:
        draws = numpy_draws(settings.seed, "evaluation crops", id_)
        return evaluation_crops(fitted(cache.read(picture), cache.read(id_)), size, count, draws)

    def stacked(some: list[tuple[str, int]], pictures: Mapping[str, str]) -> Tensor:
        chosen = [crops(pictures.get(id_, id_), id_)[crop] for id_, crop in some]
        return torch.from_numpy(np.stack(chosen))

    for first in range(0, len(places), settings.batch_size):
        some = places[first : first + settings.batch_size]
        ids, visits = zip(*some, strict=True)
        conditions = None if pairs is None else stacked(some, pairs)
        yield Crops(stacked(some, {}), Draws(settings.seed, ids, visits), conditions)


class _Table:
    """The rows of one set."""

    def __init__(
        self,
        set_name: SetName,
        measured: Mapping[ModelName, Measured],
        true_features: Tensor,
        images: ImageSet,
        corruption: Corruption,
        extractor: FeatureExtractor,
        settings: EvaluationSettings,
        sampler: str | None,
    ) -> None:
        self.set_name, self.measured, self.settings = set_name, measured, settings
        self.images, self.corruption, self.extractor, self.sampler = images, corruption, extractor, sampler
        # entries with the same bytes are one photo, and so are all crops of it
        photos = {id_: number for number, id_ in enumerate(dict.fromkeys(images.ids))}
        self.photos = np.array([photos[id_] for id_ in images.ids])
        self.truth = true_features.double().numpy()
        self.bootstrap: dict[str, Any] = {
            "confidence": settings.confidence, "resamples": settings.resamples, "seed": settings.seed
        }  # fmt: skip

    def rows(self) -> list[Row]:
        return [
            self._per_image_row(model, info)
            if info.kind == "per-image"
            else self._distribution_row(model, info)
            for info in METRICS.values()
            for model in self.measured
            if info.kind == "distribution" or info.name in self.measured[model].values
        ]

    def _per_image_row(self, model: ModelName, info: MetricInfo) -> Row:
        crops = self.settings.crops_per_image
        values = self.measured[model].of_images(info.name, crops)
        reference = reference_of(model, self.measured)
        others = self.measured[reference].of_images(info.name, crops) if reference else None
        f = figures_of(values, others, self.photos, self.bootstrap)
        return self._row(
            model,
            info,
            f.value,
            f.interval,
            reference,
            f.reference_value,
            f.distance,
            f.distance_interval,
            f.note,
        )

    def _distribution_row(self, model: ModelName, info: MetricInfo) -> Row:
        value, interval, note = self._distribution(model, info.name)
        reference = reference_of(model, self.measured) if value is not None else None
        reference_value = self._distribution(reference, info.name, False)[0] if reference else None
        distance = value - reference_value if value is not None and reference_value is not None else None
        return self._row(model, info, value, interval, reference, reference_value, distance, None, note)

    def _distribution(
        self, model: ModelName, metric: str, with_interval: bool = True
    ) -> tuple[float | None, Interval | None, str | None]:
        features = torch.cat(self.measured[model].features).double().numpy()
        if metric == "frechet_distance":
            refused = frechet_refusal(len(self.images), self.extractor.dimension)
            if refused:
                return None, None, refused
            return (
                frechet_distance(features, self.truth),
                None,
                "a point value; the kernel distance carries the interval",
            )
        if len(set(self.photos.tolist())) < FEWEST_GROUPS:
            return None, None, f"not available: fewer than {FEWEST_GROUPS} photos"
        views = np.repeat(self.photos, self.settings.crops_per_image)
        interval = None
        if with_interval:
            interval = kernel_distance_interval(features, self.truth, views, views, **self.bootstrap)
        return kernel_distance(features, self.truth, views, views), interval, None

    def _row(
        self,
        model: ModelName,
        info: MetricInfo,
        value: float | None,
        interval: Interval | None,
        reference: ModelName | None,
        reference_value: float | None,
        distance: float | None,
        distance_interval: Interval | None,
        note: str | None,
    ) -> Row:
        return Row(
            model=model,
            set=self.set_name,
            metric=info.name,
            value=value,
            low=interval.low if interval else None,
            high=interval.high if interval else None,
            direction=info.direction(self.set_name),
            reference=reference,
            reference_value=reference_value,
            distance=distance,
            distance_low=distance_interval.low if distance_interval else None,
            distance_high=distance_interval.high if distance_interval else None,
            unit=info.unit,
            n=len(self.images),
            crops=self.settings.crops_per_image,
            corruption=self.corruption.label,
            sampler=self.sampler,
            extractor=self.extractor.name if "features" in info.requires else None,
            seed=self.settings.seed,
            note=note,
        )


def _worst_hit(
    set_name: SetName,
    images: ImageSet,
    per_image: Mapping[tuple[ModelName, SetName], Mapping[str, Values]],
    count: int,
) -> list[Worst]:
    original = per_image.get(("original", set_name), {}).get("hole_mse")
    unlearned = per_image.get(("unlearned", set_name), {}).get("hole_mse")
    if original is None or unlearned is None:
        return []
    floor = np.finfo(np.float64).tiny
    entries: list[Worst] = []
    ratios = unlearned / np.maximum(original, floor)
    for place in np.argsort(-ratios, kind="stable")[:count]:
        values = float(original[place]), float(unlearned[place]), float(ratios[place])
        entries.append(Worst(set_name, "image", images[int(place)].id, *values))
    labels = np.array([label or "" for label in images.labels])
    classes: list[Worst] = []
    for label in sorted(set(labels.tolist()) - {""}):
        chosen = labels == label
        before, after = float(original[chosen].mean()), float(unlearned[chosen].mean())
        classes.append(Worst(set_name, "class", label, before, after, after / max(before, floor)))
    return entries + sorted(classes, key=lambda entry: -(entry.ratio or 0.0))[:count]
