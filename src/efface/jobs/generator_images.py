"""How generators are shown the images of a job: corruption, cached pixels, pairs, and whose features are compared."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from efface.corruptions import Corruption, parse_corruption
from efface.corruptions.degradations import Paired
from efface.errors import Faults
from efface.evaluation.answers import view_batches
from efface.evaluation.settings import EvaluationSettings
from efface.files import canonical_json
from efface.generators.base import Generator
from efface.images.cache import PixelCache
from efface.images.crops import central_window
from efface.images.pairs import open_pairs
from efface.images.selection import Split
from efface.jobs.operations import Prepared, attempt
from efface.metrics.extractors import FeatureExtractor, load_extractor
from efface.runs.evaluate_config import EvaluateConfig
from efface.runs.record import ViewFacts
from efface.runs.unlearn_config import RunConfig
from efface.training.settings import OWN_MASK
from efface.wording import span

# a crop of a fifth of the area is then still made from as many pixels as the released recipes have
STORED_SIDE_RATIO = 256 / 224
IMAGES_FOR_RISKS, FEWEST_FOR_RISKS, PIXELS_FOR_RISKS = 16, 4, 16 * 64 * 64
"""So many images, and of larger ones fewer, tell whether a model is shown what it learnt."""
MUCH_HIDDEN = 0.8
"""Share of an image's area of which views that show less, on average, are told of."""


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
    side = prepared.model.image_size
    count = max(FEWEST_FOR_RISKS, min(IMAGES_FOR_RISKS, PIXELS_FOR_RISKS // side**2))
    some = images.subset(range(min(len(images), count)))
    settings = settings.model_copy(update={"batch_size": IMAGES_FOR_RISKS, "crops_per_image": 1})
    return next(view_batches(some, prepared.pixels.cache, prepared.model.image_size, settings)).images


def measuring(config: RunConfig | EvaluateConfig, model: Generator) -> EvaluationSettings:
    """How models are measured: under the crops that the original learnt, unless the config names others."""
    return config.evaluation.under(model.learnt_crops.scale if model.learnt_crops else None)


def view_facts(config: RunConfig | EvaluateConfig, prepared: Prepared[Generator, Views]) -> ViewFacts:
    """What is to be said of the views of the images that are cached."""
    scale, cache = measuring(config, prepared.model).scale, prepared.pixels.cache
    shares = []
    for id_ in {id_ for images in prepared.sets.values() for id_ in images.ids}:
        height, width = cache.read(id_).shape[:2]
        rows, columns = central_window(height, width, scale)
        shares.append(rows * columns / (height * width))
    return ViewFacts(learnt=prepared.model.learnt_crops, area=round(float(np.mean(shares)), 4))


def crop_risks(config: RunConfig | EvaluateConfig, prepared: Prepared[Generator, Views]) -> list[str]:
    """What the views of the evaluation may not show of what the models learnt."""
    learnt, settings = prepared.model.learnt_crops, measuring(config, prepared.model)
    asked, risks = span(*settings.scale), []
    if learnt is None:
        risks.append(
            "the model does not say with which crops it was trained, so views cover "
            f"{asked} of an image's area: what it knows under other crops would not be seen. Name those of its training "
            "as evaluation.crop_scale"
        )
    elif settings.scale[0] < learnt.scale[0] or settings.scale[1] > learnt.scale[1]:
        risks.append(
            f"views cover {asked} of an image's area, and the model was trained on {span(*learnt.scale)}: under views "
            "that training never showed, memory is not seen. Leave evaluation.crop_scale out"
        )
    retrained = prepared.models.get("retrained")
    other = retrained.learnt_crops if retrained else None
    if learnt and other and other != learnt:
        risks.append(
            f"the retrained model was trained on {other.words}, the original on {learnt.words}: their gap is not that "
            "of the forget images alone"
        )
    if (area := view_facts(config, prepared).area) < MUCH_HIDDEN:
        risks.append(
            f"the central view shows {area:.0%} of an image's area on average: what lies at the long sides is not asked for"
        )
    return risks


def training_crops(config: RunConfig, model: Generator) -> str:
    """On which crops a run trains, and whether the model learnt them."""
    learnt, asked = model.learnt_crops, config.training.under(model.learnt_crops).crops
    trains = f"unlearning trains on {asked.words}"
    if learnt is None:
        advice = "" if config.training.crop_scale else ": name those as training.crop_scale"
        return f"{trains}; the model does not say which it learnt{advice}"
    if (asked.scale, asked.flip) == (learnt.scale, learnt.flip):
        return f"{trains}, which the model learnt"
    return f"{trains}; the model learnt {learnt.words}"


def other_training_crops(config: RunConfig | EvaluateConfig, model: Generator) -> list[str]:
    """The same where the model may never have been shown such crops."""
    if not isinstance(config, RunConfig):
        return []
    learnt, asked = model.learnt_crops, config.training.crop_scale
    unknown = learnt is None and asked is None
    outside = learnt and asked and not learnt.scale[0] <= asked[0] <= asked[1] <= learnt.scale[1]
    return [training_crops(config, model)] if unknown or outside else []


def open_similarity(
    settings: EvaluationSettings, extractor: FeatureExtractor | None, faults: Faults
) -> FeatureExtractor | None:
    """The extractor of `feature_cosine`; None if it has a fault, or is that of all metrics and that one has a fault."""
    if settings.similarity in (None, settings.extractor):
        return extractor
    return attempt(lambda: load_extractor(str(settings.similarity), settings.extractor_input), faults)
