"""The evaluation protocol: every model restores the same views of the same images.

Views are keyed by the evaluation seed, so all models see the same crops and masks. An image's value is the
mean over its crops; a set's value the mean over its images; intervals resample images, never crops.

Memory: beside what answers hold, the intervals take 2 bytes a resample and about 12 KiB of kernel values for each photo
of the set at hand (see `metrics.kernel`), 146 MiB in all for 10,000 images, 6,000 of them in the largest set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from efface.corruptions import Corruption
from efface.evaluation.answers import Answers, Features, Truth, Wanted, answers_of, similarity_of
from efface.evaluation.figures import Figures, Values, all_figures, reference_of
from efface.evaluation.results import SETS, ModelName, Row, SetName, Worst
from efface.evaluation.settings import EvaluationSettings
from efface.generators.base import Generator
from efface.images.cache import PixelSource
from efface.images.items import ImageSet
from efface.metrics.catalogue import METRICS, PROBABILITY_METRICS, MetricInfo
from efface.metrics.extractors import FeatureExtractor
from efface.metrics.frechet import frechet_distance, frechet_refusal
from efface.metrics.inception_score import SPLITS, inception_score, inception_score_refusal
from efface.metrics.intervals import FEWEST_GROUPS, Interval
from efface.metrics.kernel import kernel_distance_interval
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
    sampler = next(iter(models.values())).sampler_name(settings.sampler)
    for name in SETS:
        images = sets.get(name, ImageSet())
        if not len(images):
            continue
        answers, truth = answers_of(
            models, images, cache, corruption, extractor, settings,
            pairs=pairs, wanted=wanted, similarity=similarity, progress=progress, name=f"measure {name}",
        )  # fmt: skip
        table = _Table(name, answers, truth, images, corruption, extractor, similarity, settings, sampler)
        found.rows.extend(table.rows())
        found.truth[name] = truth
        for model, given in answers.items():
            found.answers[model, name] = given
            found.per_image[model, name] = {metric: given.of_images(metric) for metric in given.values}
        if name != "forget":
            found.worst.extend(_worst_hit(name, images, found.per_image, settings.worst))
    return found


class _Distribution(NamedTuple):
    """A figure of a whole set, or why there is none."""

    value: float | None
    interval: Interval | None
    note: str | None


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
        similarity: FeatureExtractor,
        settings: EvaluationSettings,
        sampler: str | None,
    ) -> None:
        self.set_name, self.measured, self.settings = set_name, measured, settings
        self.images, self.corruption, self.sampler = images, corruption, sampler
        self.extractor, self.similarity = extractor, similarity
        # entries with the same bytes are one photo, and so are all crops of it
        photos = {id_: number for number, id_ in enumerate(dict.fromkeys(images.ids))}
        self.photos = np.array([photos[id_] for id_ in images.ids])
        self.truth = truth.features.astype(np.float64)

    def rows(self) -> list[Row]:
        # NumPy's threads wait by spinning: beside anything else that runs they cost more than they save
        with threadpool_limits(1, user_api="blas"):
            per_image, kernel_distances = self._per_image(), self._kernel_distances()
        distributions = kernel_distances | self._other_distributions()
        rows = []
        for info in (METRICS | PROBABILITY_METRICS).values():
            for model in self.measured:
                if (found := per_image.get((model, info.name))) is not None:
                    reference = reference_of(model, self.measured)
                    rows.append(self._row(model, info, found, reference))
                elif (model, info.name) in distributions:
                    rows.append(self._distribution_row(model, info, distributions))
        return rows

    def _per_image(self) -> dict[tuple[ModelName, str], Figures]:
        """The figures of all metrics that every image has a value of."""
        keys, columns = [], []
        for model, given in self.measured.items():
            reference = reference_of(model, self.measured)
            for metric in [name for name in METRICS if name in given.values]:
                others = self.measured[reference].of_images(metric) if reference else None
                keys.append((model, metric))
                columns.append((given.of_images(metric), others))
        return dict(zip(keys, all_figures(columns, self.photos, self.settings.resampling), strict=True))

    def _kernel_distances(self) -> dict[tuple[ModelName, str], _Distribution]:
        return {
            (model, "kernel_distance"): self._kernel_distance(given.features.astype(np.float64))
            for model, given in self.measured.items()
        }

    def _other_distributions(self) -> dict[tuple[ModelName, str], _Distribution]:
        found = {}
        for model, given in self.measured.items():
            found[model, "frechet_distance"] = self._frechet_distance(given.features.astype(np.float64))
            if given.probabilities is not None:
                found[model, "inception_score"] = self._inception_score(given.probabilities)
        return found

    def _distribution_row(
        self,
        model: ModelName,
        info: MetricInfo,
        distributions: Mapping[tuple[ModelName, str], _Distribution],
    ) -> Row:
        value, interval, note = distributions[model, info.name]
        reference = reference_of(model, self.measured) if value is not None else None
        reference_value = distributions[reference, info.name].value if reference else None
        distance = value - reference_value if value is not None and reference_value is not None else None
        figures = Figures(value, interval, reference_value, distance, None, note)
        return self._row(model, info, figures, reference)

    def _frechet_distance(self, features: npt.NDArray[np.float64]) -> _Distribution:
        refused = frechet_refusal(len(self.images), self.extractor.dimension)
        if refused:
            return _Distribution(None, None, refused)
        note = "a point value; the kernel distance carries the interval"
        return _Distribution(frechet_distance(features, self.truth), None, note)

    def _kernel_distance(self, features: npt.NDArray[np.float64]) -> _Distribution:
        if len(set(self.photos.tolist())) < FEWEST_GROUPS:
            return _Distribution(None, None, f"not available: fewer than {FEWEST_GROUPS} photos")
        views = np.repeat(self.photos, self.settings.crops_per_image)
        interval = kernel_distance_interval(features, self.truth, views, views, **self.settings.resampling)
        assert interval is not None
        return _Distribution(interval.value, interval, None)

    def _inception_score(self, probabilities: Features) -> _Distribution:
        # crops of one image are no further evidence
        refused = inception_score_refusal(len(self.images))
        if refused:
            return _Distribution(None, None, refused)
        score = inception_score(probabilities, order_seed=self.settings.seed)
        note = f"mean over {SPLITS} parts of the images, whose standard deviation is {score.std:.3g}; no interval"
        return _Distribution(score.mean, None, note)

    def _row(self, model: ModelName, info: MetricInfo, found: Figures, reference: ModelName | None) -> Row:
        interval, of_distance = found.interval, found.distance_interval
        seen_by = self.similarity if info.name == "feature_cosine" else self.extractor
        return Row(
            model=model,
            set=self.set_name,
            metric=info.name,
            value=found.value,
            low=interval.low if interval else None,
            high=interval.high if interval else None,
            direction=info.direction(self.set_name),
            reference=reference,
            reference_value=found.reference_value,
            distance=found.distance,
            distance_low=of_distance.low if of_distance else None,
            distance_high=of_distance.high if of_distance else None,
            unit=info.unit,
            n=len(self.images),
            crops=self.settings.crops_per_image,
            corruption=self.corruption.label,
            sampler=self.sampler,
            extractor=seen_by.name if "features" in info.requires else None,
            seed=self.settings.seed,
            note=found.note,
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
