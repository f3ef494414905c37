"""What models answer: one pass over fixed views of a set, from which every figure and probe is made.

Views are keyed by the evaluation seed, so all models see the same crops, masks and noise. The views of one image
follow each other. Each picture passes each extractor once: all metrics are made from what it gave.

Memory: beside a few batches, what `Answers` and `Truth` hold. Of each view that is 4 bytes for each dimension of the
features, for every model and once for the truth, and for every model about 80 bytes of values and statistics, and 4
bytes for each class where the extractor classifies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from efface.corruptions import Corruption
from efface.evaluation.figures import Values
from efface.evaluation.results import ModelName
from efface.evaluation.settings import EvaluationSettings
from efface.generators.base import Generator, View
from efface.images.cache import PixelSource
from efface.images.crops import evaluation_crops, fitted
from efface.images.items import ImageSet
from efface.memory import fitting, images_at_once
from efface.metrics.base import Restored
from efface.metrics.catalogue import image_metrics
from efface.metrics.extractors import FeatureExtractor, load_extractor
from efface.metrics.hole_statistics import hole_statistics
from efface.progress import Progress
from efface.randomness import Draws, numpy_draws
from efface.sharing import in_shares
from efface.training.data import Crops

Features = npt.NDArray[np.float32]
READ_AHEAD = 2


@dataclass(frozen=True)
class Answers:
    """What one model made of one set.

    values: by metric `[views]`, means over the samples of each view, and `task_loss` if it was asked for. All else is of
    the first sample. features: of the restored pictures `[views, dimension]`; hole: plain statistics of what stands in the
    region `[views, HOLE_STATISTICS]`. pictures: restored pictures of the first images' first views, uint8
    `[kept, 3, side, side]`. probabilities: what the extractor takes the restored pictures for, `[views, classes]`; None
    of one that does not classify.
    """

    values: Mapping[str, Values]
    features: Features
    hole: Features
    crops: int
    pictures: npt.NDArray[np.uint8]
    probabilities: Features | None = None

    @classmethod
    def together(cls, parts: Sequence[Answers]) -> Answers:
        """Answers to one set whose images were shared out, in their order."""
        values = {name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values}
        features, hole, pictures = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("features", "hole", "pictures")
        )
        probabilities = [part.probabilities for part in parts if part.probabilities is not None]
        classified = np.concatenate(probabilities) if probabilities else None
        return cls(values, features, hole, parts[0].crops, pictures, classified)

    def of_images(self, name: str) -> Values:
        """The mean of a metric over the views of each image, `[images]`."""
        means: Values = self.values[name].reshape(-1, self.crops).mean(axis=1)
        return means

    @property
    def image_features(self) -> Features:
        """The mean features over the views of each image, `[images, dimension]`."""
        means: Features = self.features.reshape(-1, self.crops, self.features.shape[1]).mean(axis=1)
        return means

    @property
    def seen(self) -> Features:
        """What extractors see of each image's answers, no truth: features and hole statistics, `[images, ...]`."""
        hole = self.hole.reshape(-1, self.crops, self.hole.shape[1]).mean(axis=1)
        return np.concatenate([self.image_features, hole], axis=1)


@dataclass(frozen=True)
class Truth:
    """The true pictures of the same views: their features `[views, dimension]`, and pictures as of `Answers`."""

    features: Features
    pictures: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Wanted:
    """What a pass keeps beside the metrics: the model's own loss, and how many pictures."""

    task_loss: bool = False
    pictures: int = 0


TrueBatch = tuple[Tensor, Tensor, Tensor]
"""Of a batch of true pictures: features of both extractors `[B, dimension]`, and the pictures that are kept."""


@dataclass
class _Collected:
    values: dict[str, list[Tensor]] = field(default_factory=dict)
    features: list[Tensor] = field(default_factory=list)
    hole: list[Tensor] = field(default_factory=list)
    pictures: list[Tensor] = field(default_factory=list)
    probabilities: list[Tensor] = field(default_factory=list)

    def extend(self, later: _Collected) -> None:
        for metric, parts in later.values.items():
            self.values.setdefault(metric, []).extend(parts)
        self.features += later.features
        self.hole += later.hole
        self.pictures += later.pictures
        self.probabilities += later.probabilities

    def done(self, crops: int) -> Answers:
        return Answers(
            {name: torch.cat(parts).double().numpy() for name, parts in self.values.items()},
            torch.cat(self.features).numpy(),
            torch.cat(self.hole).numpy(),
            crops,
            _as_bytes(self.pictures),
            torch.cat(self.probabilities).numpy() if self.probabilities else None,
        )


@dataclass(frozen=True)
class _Extractors:
    """The two extractors, which may be one."""

    extractor: FeatureExtractor
    similarity: FeatureExtractor

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Of both extractors, `[B, dimension]` each."""
        return self._with_likeness(self.extractor.features(images), images)

    def read(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Features of both extractors, and the first one's class probabilities if it has any."""
        both = getattr(self.extractor, "features_and_probabilities", None)
        alone = getattr(self.extractor, "probabilities", None)
        if both is not None:
            features, probabilities = both(images)
        else:
            features, probabilities = self.extractor.features(images), alone(images) if alone else None
        known = probabilities.float().cpu() if probabilities is not None else None
        return *self._with_likeness(features, images), known

    def _with_likeness(self, features: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        features = features.float().cpu()
        if self.similarity is self.extractor:
            return features, features
        return features, self.similarity.features(images).float().cpu()


def similarity_of(settings: EvaluationSettings, extractor: FeatureExtractor) -> FeatureExtractor:
    """What `feature_cosine` is taken with: `extractor` unless the settings name another, which is loaded then.

    Raises `InputError` if it cannot be.
    """
    if settings.similarity in (None, settings.extractor):
        return extractor
    return load_extractor(str(settings.similarity), settings.extractor_input)


def answers_of(
    models: Mapping[ModelName, Generator],
    images: ImageSet,
    cache: PixelSource,
    corruption: Corruption,
    extractor: FeatureExtractor,
    settings: EvaluationSettings,
    *,
    pairs: Mapping[str, str] | None = None,
    wanted: Wanted | None = None,
    similarity: FeatureExtractor | None = None,
    progress: Progress | None = None,
    name: str = "measure",
) -> tuple[dict[ModelName, Answers], Truth]:
    """Let `models` restore every view of `images`. They are left in evaluation mode.

    pairs: for a paired corruption, the id of each image's other picture. similarity: what `feature_cosine` is taken
    with; None: what the settings say, see `similarity_of`.
    """
    wanted, progress = wanted or Wanted(), progress or Progress()
    extractors = _Extractors(extractor, similarity or similarity_of(settings, extractor))

    def share(mine: range) -> tuple[dict[ModelName, Answers], Truth]:
        pictures = max(0, min(wanted.pictures - mine.start, len(mine)))
        return _answers_of(
            models, images.subset(mine), cache, corruption, extractors, settings, pairs,
            replace(wanted, pictures=pictures), progress, name,
        )  # fmt: skip

    return in_shares(len(images), share, _together)


def _together(
    shares: list[tuple[dict[ModelName, Answers], Truth]],
) -> tuple[dict[ModelName, Answers], Truth]:
    """What processes found of parts of a set, as if one had found it."""
    answers = {model: Answers.together([given[model] for given, _ in shares]) for model in shares[0][0]}
    truths = [truth for _, truth in shares]
    return answers, Truth(
        np.concatenate([truth.features for truth in truths]),
        np.concatenate([truth.pictures for truth in truths]),
    )


def _answers_of(
    models: Mapping[ModelName, Generator],
    images: ImageSet,
    cache: PixelSource,
    corruption: Corruption,
    extractors: _Extractors,
    settings: EvaluationSettings,
    pairs: Mapping[str, str] | None,
    wanted: Wanted,
    progress: Progress,
    name: str,
) -> tuple[dict[ModelName, Answers], Truth]:
    found = {model: _Collected() for model in models}
    truth: tuple[list[Tensor], list[Tensor]] = [], []
    crops, size = settings.crops_per_image, next(iter(models.values())).image_size
    for model in models.values():
        model.eval()
    place = 0

    def answered(batch: Crops) -> tuple[TrueBatch, dict[ModelName, _Collected]]:
        # first views of the first images
        kept = [
            n for n in range(len(batch)) if not (place + n) % crops and (place + n) // crops < wanted.pictures
        ]
        true: TrueBatch | None = None
        collected: dict[ModelName, _Collected] = {}
        for model_name, model in models.items():
            view = model.view(batch.images, corruption, batch.draws, condition=batch.conditions)
            samples = list(samples_of(model, view, settings))
            with autocast(model, settings):
                loss = model.task_loss(view).float() if wanted.task_loss else None
            if true is None:
                true = (*extractors.features(view.images), view.images[kept].cpu())
            collected[model_name] = _collect(view, samples, true[:2], extractors, loss, kept)
        assert true is not None
        return true, collected

    with torch.inference_mode(), progress.task(name, len(images) * crops) as task:
        batches = _read_ahead(view_batches(images, cache, size, settings, pairs))
        for (features, _, pictures), collected in fitting(batches, size, answered):
            truth[0].append(features)
            truth[1].append(pictures)
            for model_name, one in collected.items():
                found[model_name].extend(one)
            place += len(features)
            task.advance(len(features))
    answers = {model: collected.done(crops) for model, collected in found.items()}
    return answers, Truth(torch.cat(truth[0]).numpy(), _as_bytes(truth[1]))


def sample_count(model: Generator, settings: EvaluationSettings) -> int:
    """How many answers a model gives to each view: one, unless it draws them."""
    return settings.samples if model.is_stochastic(settings.sampler) else 1


def samples_of(model: Generator, view: View, settings: EvaluationSettings) -> Iterator[Tensor]:
    """The answers of `model` to a view, `[B, 3, H, W]` each, float32. All models draw their n-th with the same draws."""
    for number in range(sample_count(model, settings)):
        shown = model.redrawn(view, number) if number else view
        with autocast(model, settings):
            restored = model.restore(shown, settings.sampler).float()
        yield restored


def autocast(model: Generator, settings: EvaluationSettings) -> torch.autocast:
    """The precision in which the settings have models run."""
    return torch.autocast(model.device.type, torch.bfloat16, enabled=settings.precision == "bf16")


def view_batches(
    images: ImageSet,
    cache: PixelSource,
    size: int,
    settings: EvaluationSettings,
    pairs: Mapping[str, str] | None = None,
) -> Iterator[Crops]:
    """Crops in batches: all of the first image, of the second, ...; with `pairs` the same ones of each pair.

    A batch has `settings.batch_size` views, or fewer where pictures are large (`efface.memory`).
    """
    count = settings.crops_per_image
    places = [(image.id, crop) for image in images for crop in range(count)]

    @lru_cache(maxsize=4)
    def crops(picture: str, id_: str) -> npt.NDArray[np.uint8]:
        draws = numpy_draws(settings.seed, "evaluation crops", id_)
        return evaluation_crops(
            fitted(cache.read(picture), cache.read(id_)), size, count, draws, settings.scale
        )

    def stacked(some: list[tuple[str, int]], pictures: Mapping[str, str]) -> Tensor:
        chosen = [crops(pictures.get(id_, id_), id_)[crop] for id_, crop in some]
        return torch.from_numpy(np.stack(chosen))

    first = 0
    while first < len(places):
        some = places[first : first + images_at_once(settings.batch_size, size)]
        first += len(some)
        ids, visits = zip(*some, strict=True)
        conditions = None if pairs is None else stacked(some, pairs)
        yield Crops(stacked(some, {}), Draws(settings.seed, ids, visits), conditions)


def _read_ahead(batches: Iterator[Crops]) -> Iterator[Crops]:
    """The same, the next ones read and cropped in a thread meanwhile."""
    # the thread has to know the bound on pixels
    here = copy_context()

    def following() -> Crops | None:
        return here.run(lambda: next(batches, None))

    with ThreadPoolExecutor(1, "efface-views") as reader:
        waiting = [reader.submit(following) for _ in range(READ_AHEAD)]
        while (batch := waiting.pop(0).result()) is not None:
            waiting.append(reader.submit(following))
            yield batch


def _collect(
    view: View,
    samples: list[Tensor],
    true_features: tuple[Tensor, Tensor],
    extractors: _Extractors,
    loss: Tensor | None,
    kept: list[int],
) -> _Collected:
    """What is kept of a model's answers to a batch. kept: places of the pictures."""
    region = view.corrupted.region
    read = [extractors.read(restored) for restored in samples]
    together = torch.stack(samples) if len(samples) > 1 else None
    batches = [
        Restored(
            restored, view.images, region, features, true_features[0], similar, true_features[1], together
        )
        for restored, (features, similar, _) in zip(samples, read, strict=True)
    ]
    hides = bool(region.any())
    absent = {name for name, there in (("region", hides), ("samples", together is not None)) if not there}
    values = {
        metric.name: batches[0].of(metric)
        if "samples" in metric.requires
        else torch.stack([batch.of(metric) for batch in batches]).mean(dim=0)
        for metric in image_metrics()
        if absent.isdisjoint(metric.requires)
    }
    features, _, probabilities = read[0]
    if loss is not None:
        values["task_loss"] = loss
    # of a corruption that hides nothing the whole picture is the model's
    hole = hole_statistics(samples[0], region if hides else torch.ones_like(region)).cpu()
    return _Collected(
        {metric: [value.cpu()] for metric, value in values.items()},
        [features],
        [hole],
        [samples[0][kept].cpu()],
        [] if probabilities is None else [probabilities],
    )


def _as_bytes(pictures: list[Tensor]) -> npt.NDArray[np.uint8]:
    together = torch.cat(pictures)
    return together.mul(255).round().clamp(0, 255).to(torch.uint8).numpy()
