"""How generators are shown the images of a job: corruption, cached pixels, pairs, and whose features are compared."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from efface.corruptions import Corruption, parse_corruption
from efface.corruptions.degradations import Paired
from efface.errors import Faults
from efface.evaluation.answers import view_batches
from efface.evaluation.settings import EvaluationSettings
from efface.files import canonical_json
from efface.generators.base import Generator
from efface.images.cache import PixelCache
from efface.images.pairs import open_pairs
from efface.images.selection import Split
from efface.jobs.operations import Prepared, attempt
from efface.metrics.extractors import FeatureExtractor, load_extractor
from efface.runs.evaluate_config import EvaluateConfig
from efface.runs.unlearn_config import RunConfig
from efface.training.settings import OWN_MASK

# a crop of a fifth of the area is then still made from as many pixels as the released recipes have
STORED_SIDE_RATIO = 256 / 224
IMAGES_FOR_RISKS = 16


@dataclass
class Views:
    """How generators are shown the images.

    pairs: for a paired corruption, the id of each image's other picture; training_pairs: the same for that of
    training. extractor, similarity: of features, and that of `feature_cosine` alone; a training has none.
    """

    corruption: Corruption
    extractor: FeatureExtractor | None = None
    similarity: FeatureExtractor | None = None
    pairs: Mapping[str, str] | None = None
    training_pairs: Mapping[str, str] | None = None
    opened: PixelCache | None = None

    @property
    def cache(self) -> PixelCache:
        assert self.opened is not None, "no image was read yet"
        return self.opened

    @property
    def features(self) -> FeatureExtractor:
        assert self.extractor is not None, "a training measures nothing"
        return self.extractor

    def digest(self, key: bytes) -> str | None:
        """Which picture is shown in each image's place, in a way that says nothing without the key; None for no pairs."""
        pairs = [self.pairs, self.training_pairs]
        if pairs == [None, None]:
            return None
        return hmac.new(key, canonical_json(pairs).encode(), "sha256").hexdigest()


def stored_side(image_size: int) -> int:
    """Short side at which decoded images are kept for a model of this input size."""
    return round(image_size * STORED_SIDE_RATIO)


def read_pairs(corruption: Corruption, split: Split, cache: PixelCache) -> dict[str, str] | None:
    """The other picture of each image, decoded into the cache; None unless the corruption is paired."""
    if not isinstance(corruption, Paired):
        return None
    return open_pairs(corruption.source, split.everything, cache)


def read_all_pairs(config: RunConfig | EvaluateConfig, split: Split, views: Views) -> None:
    """The pairs of the corruption and, where the run trains with another one, those of that."""
    views.pairs = read_pairs(views.corruption, split, views.cache)
    if isinstance(config, RunConfig):
        text = config.training.corruption
        trained = parse_corruption(text) if text != OWN_MASK else None
        if trained == views.corruption:
            views.training_pairs = views.pairs
        elif trained is not None:
            views.training_pairs = read_pairs(trained, split, views.cache)


def some_images(prepared: Prepared[Generator, Views], settings: EvaluationSettings) -> Tensor:
    """A few centre crops of retain (else forget) images, uint8 `[B, 3, size, size]`."""
    images = prepared.split.retain if len(prepared.split.retain) else prepared.split.forget
    some = images.subset(range(min(len(images), IMAGES_FOR_RISKS)))
    settings = settings.model_copy(update={"batch_size": IMAGES_FOR_RISKS, "crops_per_image": 1})
    return next(view_batches(some, prepared.pixels.cache, prepared.model.image_size, settings)).images


def open_similarity(
    settings: EvaluationSettings, extractor: FeatureExtractor | None, faults: Faults
) -> FeatureExtractor | None:
    """The extractor of `feature_cosine`; None if it has a fault, or is that of all metrics and that one has a fault."""
    if settings.similarity in (None, settings.extractor):
        return extractor
    return attempt(lambda: load_extractor(str(settings.similarity)), faults)
