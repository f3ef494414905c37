"""The evaluation protocol: every model restores the same views of the same images.

Views are keyed by the evaluation seed, so all models see the same crops and masks. An image's value is the
mean over its crops; a set's value the mean over its images; intervals resample images, never crops.

Memory: beside what answers hold, the intervals take 2 bytes a resample and about 12 KiB of kernel values for each photo
of the set at hand (see `metrics.kernel`), 146 MiB in all for 10,000 images, 6,000 of them in the largest set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from efface.corruptions import Corruption
from efface.evaluation.answers import Answers, Truth, Wanted, answers_of, sample_count, similarity_of
from efface.evaluation.figures import Figures, Values, all_figures, reference_of
from efface.evaluation.results import SETS, ModelName, Row, SetName, Worst
from efface.evaluation.settings import EvaluationSettings
from efface.generators.base import Generator
from efface.images.cache import PixelSource
from efface.images.items import ImageSet
from efface.metrics.base import ImageMetric, Measured, Metric, RestoredSet, SetMetric
from efface.metrics.catalogue import HOLE_ERROR, image_metrics, metrics_of, set_metrics
from efface.metrics.extractors import FeatureExtractor
from efface.progress import Progress
from efface.wording import span


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
    similarity: FeatureExtractor | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure `models` on `sets`, whose pixels are in `cache`. Models are left in evaluation mode.

    pairs: for a paired corruption, the id of each image's other picture. similarity: the extractor of `feature_cosine`;
    None: the one that the settings name, which is loaded here, else `extractor`.
    """
    progress = progress or Progress()
    similarity = similarity or similarity_of(settings, extractor)
    found = Evaluation([], [], {})
    first = next(iter(models.values()))
    sampler, samples = first.sampler_name(settings.sampler), sample_count(first, settings)
    for name in SETS:
        images = sets.get(name, ImageSet())
        if not len(images):
            continue
        answers, truth = answers_of(
            models, images, cache, corruption, extractor, settings,
            pairs=pairs, wanted=wanted, similarity=similarity, progress=progress, name=f"measure {name}",
        )  # fmt: skip
        table = _SetFigures(
            name, answers, truth, images, corruption, extractor, similarity, settings, sampler, samples
        )
        found.rows.extend(table.rows())
        found.truth[name] = truth
        for model, given in answers.items():
            found.answers[model, name] = given
            found.per_image[model, name] = {metric: given.of_images(metric) for metric in given.values}
        if name != "forget":
            found.worst.extend(_worst_hit(name, images, found.per_image, settings.worst))
    return found


class _SetFigures:
    """The rows of one set."""

    def __init__(
        self,
        set_name: SetName,
        measured: Mapping[ModelName, Answers],
        truth: Truth,
        images: ImageSet,
        corruption: Corruption,
        extractor: FeatureExtractor,
        similarity: FeatureExtractor,
        settings: EvaluationSettings,
        sampler: str | None,
        samples: int,
    ) -> None:
        self.set_name, self.measured, self.settings = set_name, measured, settings
        self.images, self.corruption, self.sampler, self.samples = images, corruption, sampler, samples
        self.extractor, self.similarity = extractor, similarity
        # entries with the same bytes are one photo, and so are all crops of it
        photos = {id_: number for number, id_ in enumerate(dict.fromkeys(images.ids))}
        self.photos = np.array([photos[id_] for id_ in images.ids])
        self.truth = truth.features.astype(np.float64)

    def rows(self) -> list[Row]:
        # NumPy's threads wait by spinning: beside anything else that runs they cost more than they save
        with threadpool_limits(1, user_api="blas"):
            per_image = self._per_image()
            of_set = {metric.name: self._of_set(metric) for metric in set_metrics()}
        rows = []
        for metric in metrics_of("generator").values():
            for model in self.measured:
                if (figures := per_image.get((model, metric.name))) is not None:
                    rows.append(self._row(model, metric, figures, reference_of(model, self.measured)))
                elif model in of_set.get(metric.name, {}):
                    rows.append(self._set_row(model, metric, of_set[metric.name]))
        return rows

    def _per_image(self) -> dict[tuple[ModelName, str], Figures]:
        """The figures of all metrics that every image has a value of."""
        keys, columns = [], []
        for model, given in self.measured.items():
            reference = reference_of(model, self.measured)
            for metric in image_metrics():
                if metric.name in given.values:
                    beside = self.measured[reference] if reference else None
                    others = (
                        beside.of_images(metric.name) if beside and metric.name in beside.values else None
                    )
                    keys.append((model, metric.name))
                    columns.append((given.of_images(metric.name), others))
        return dict(zip(keys, all_figures(columns, self.photos, self.settings.resampling), strict=True))

    def _of_set(self, metric: type[SetMetric]) -> dict[ModelName, Measured]:
        """A metric of the whole set, of each model that has what it reads."""
        views = np.repeat(self.photos, self.settings.crops_per_image)
        return {
            model: metric().distance(
                RestoredSet(
                    given.features.astype(np.float64),
                    self.truth,
                    views,
                    len(self.images),
                    given.probabilities,
                    self.settings.seed,
                    self.settings.resampling,
                )
            )
            for model, given in self.measured.items()
            if given.probabilities is not None or "probabilities" not in metric.requires
        }

    def _set_row(self, model: ModelName, metric: type[Metric], measured: Mapping[ModelName, Measured]) -> Row:
        value, interval, note = measured[model]
        reference = reference_of(model, self.measured) if value is not None else None
        reference_value = measured[reference].value if reference else None
        distance = value - reference_value if value is not None and reference_value is not None else None
        figures = Figures(value, interval, reference_value, distance, None, note)
        return self._row(model, metric, figures, reference)

    def _row(
        self, model: ModelName, metric: type[Metric], found: Figures, reference: ModelName | None
    ) -> Row:
        by_similarity = issubclass(metric, ImageMetric) and metric.by_similarity
        seen_by = self.similarity if by_similarity else self.extractor
        return found.row(
            model,
            self.set_name,
            metric,
            reference,
            n=len(self.images),
            seed=self.settings.seed,
            crops=self.settings.crops_per_image,
            corruption=self.corruption.label,
            sampler=self.sampler,
            extractor=seen_by.name if "features" in metric.requires else None,
            crop_scale=span(*self.settings.scale),
            samples=self.samples if issubclass(metric, ImageMetric) else 1,
        )


def _worst_hit(
    set_name: SetName,
    images: ImageSet,
    per_image: Mapping[tuple[ModelName, SetName], Mapping[str, Values]],
    count: int,
) -> list[Worst]:
    original = per_image.get(("original", set_name), {}).get(HOLE_ERROR)
    unlearned = per_image.get(("unlearned", set_name), {}).get(HOLE_ERROR)
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
