"""The evaluation protocol: every model restores the same views of the same images.

Views are keyed by the evaluation seed, so all models see the same crops and masks. An image's value is the
mean over its crops; a set's value the mean over its images; intervals resample images, never crops.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from efface.corruptions import Corruption
from efface.evaluation.answers import Answers, Truth, Wanted, answers_of
from efface.evaluation.figures import Values, figures_of, reference_of
from efface.evaluation.results import SETS, ModelName, Row, SetName, Worst
from efface.evaluation.settings import EvaluationSettings
from efface.generators.base import Generator
from efface.images.cache import PixelSource
from efface.images.items import ImageSet
from efface.metrics.catalogue import METRICS, MetricInfo
from efface.metrics.extractors import FeatureExtractor
from efface.metrics.frechet import frechet_distance, frechet_refusal
from efface.metrics.intervals import FEWEST_GROUPS, Interval
from efface.metrics.kernel import kernel_distance, kernel_distance_interval
from efface.progress import Progress


@dataclass(frozen=True)
class Evaluation:
    """Rows of figures, the worst-hit images and classes, every image's own values, and what they were made from.

    per_image: for each (model, set) the values `[images]` by metric, in the order of `sets`.
    """

    rows: list[Row]
    worst: list[Worst]
    per_image: dict[tuple[ModelName, SetName], dict[str, Values]]
    answers: dict[tuple[ModelName, SetName], Answers] = field(default_factory=dict)
    truth: dict[SetName, Truth] = field(default_factory=dict)


def evaluate(
    models: Mapping[ModelName, Generator],
    sets: Mapping[SetName, ImageSet],
    cache: PixelSource,
    corruption: Corruption,
    extractor: FeatureExtractor,
    settings: EvaluationSettings,
    *,
    pairs: Mapping[str, str] | None = None,
    wanted: Wanted | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure `models` on `sets`, whose pixels are in `cache`. Models are left in evaluation mode.

    pairs: for a paired corruption, the id of each image's other picture.
    """
    progress = progress or Progress()
    found = Evaluation([], [], {})
    sampler = next(iter(models.values())).sampler_name(settings.sampler)
    for name in SETS:
        images = sets.get(name, ImageSet())
        if not len(images):
            continue
        answers, truth = answers_of(
            models, images, cache, corruption, extractor, settings,
            pairs=pairs, wanted=wanted, progress=progress, name=f"measure {name}",
        )  # fmt: skip
        found.rows.extend(
            _Table(name, answers, truth, images, corruption, extractor, settings, sampler).rows()
        )
        found.truth[name] = truth
        for model, given in answers.items():
            found.answers[model, name] = given
            found.per_image[model, name] = {metric: given.of_images(metric) for metric in given.values}
        if name != "forget":
            found.worst.extend(_worst_hit(name, images, found.per_image, settings.worst))
    return found


class _Table:
    """The rows of one set."""

    def __init__(
        self,
        set_name: SetName,
        measured: Mapping[ModelName, Answers],
        truth: Truth,
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
        self.truth = truth.features.astype(np.float64)
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
        values = self.measured[model].of_images(info.name)
        reference = reference_of(model, self.measured)
        others = self.measured[reference].of_images(info.name) if reference else None
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
        features = self.measured[model].features.astype(np.float64)
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
