"""What every job does first: open models and images, and find all faults before anything changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from efface.corruptions import Corruption, parse_corruption
from efface.corruptions.paired import Paired
from efface.errors import EffaceError, Faults, InputError
from efface.evaluation.results import SetName
from efface.evaluation.settings import EvaluationSettings
from efface.generators import ModelSettings, load_generator
from efface.generators.base import Generator
from efface.images.cache import PixelCache
from efface.images.items import ImageSet
from efface.images.pairs import open_pairs
from efface.images.selection import ImagesSettings, Split, split_images
from efface.images.sources import open_images
from efface.metrics.extractors import FeatureExtractor, load_extractor
from efface.progress import Progress
from efface.runs.config import FromScratchConfig, RunConfig
from efface.training.data import per_stream
from efface.training.phases import Training

Opened = TypeVar("Opened")

# a crop of a fifth of the area is then still made from as many pixels as the released recipes have
STORED_SIDE_RATIO = 256 / 224


@dataclass
class Prepared:
    """Everything a job works on. Who asked for it closes the cache.

    pairs: for a paired corruption, the id of each image's other picture; training_pairs: the same for that of
    training. similarity: the extractor of `feature_cosine`; None: `evaluate` opens what the settings name.
    """

    generator: Generator
    corruption: Corruption
    split: Split
    cache: PixelCache
    extractor: FeatureExtractor
    retrained: Generator | None
    pairs: Mapping[str, str] | None = None
    training_pairs: Mapping[str, str] | None = None
    similarity: FeatureExtractor | None = None

    @property
    def sets(self) -> Mapping[SetName, ImageSet]:
        split = self.split
        return {"forget": split.forget, "retain": split.retain, "neutral": split.neutral}


def prepare(
    config: RunConfig, cache_folder: Path, processes: int = 1, progress: Progress | None = None
) -> Prepared:
    """Open everything that `config` names; raises one `InputError` with all faults found.

    Models, corruption, batch and extractor are looked at first and together; images after them, because
    reading all of them takes longest.
    """
    progress = progress or Progress()
    with Faults("this run cannot start") as faults:
        generator, extractor, retrained = open_models(config, processes, faults)
        similarity = open_similarity(config.evaluation, extractor, faults)
    assert generator is not None
    assert extractor is not None
    cache, split = read_images(
        config.images,
        cache_folder,
        config.stored_side,
        generator.image_size,
        config.method.needs_retain,
        progress,
    )
    corruption = parse_corruption(config.corruption)
    pairs, training_pairs = read_all_pairs(config, split, cache)
    return Prepared(
        generator, corruption, split, cache, extractor, retrained, pairs, training_pairs, similarity
    )


def open_models(
    config: RunConfig, processes: int, faults: Faults
) -> tuple[Generator | None, FeatureExtractor | None, Generator | None]:
    """The model, the feature extractor and the reference; None for each that is absent or has a fault.

    Batch and corruptions are looked at too: all that can be found before any image is read.
    """
    generator = attempt(lambda: load_generator(config.model), faults)
    extractor = attempt(lambda: load_extractor(config.evaluation.extractor), faults)
    retrained = attempt(lambda: load_reference(config.retrained, generator), faults)
    faults.problems += batch_faults(config, processes)
    for text in dict.fromkeys((config.corruption, config.training.corruption or config.corruption)):
        asked = attempt(lambda text=text: parse_corruption(text), faults)  # type: ignore[misc]
        if asked and generator:
            attempt(lambda asked=asked: generator.check_corruption(asked), faults)  # type: ignore[misc]
    if generator:
        attempt(lambda: generator.sampler_name(config.evaluation.sampler), faults)
    return generator, extractor, retrained


def open_similarity(
    settings: EvaluationSettings, extractor: FeatureExtractor | None, faults: Faults
) -> FeatureExtractor | None:
    """The extractor of `feature_cosine`; None if it has a fault, or is that of all metrics and that one has a fault."""
    if settings.similarity in (None, settings.extractor):
        return extractor
    return attempt(lambda: load_extractor(str(settings.similarity)), faults)


def read_images(
    settings: ImagesSettings,
    cache_folder: Path,
    side: int | None,
    image_size: int,
    needs_retain: bool,
    progress: Progress,
) -> tuple[PixelCache, Split]:
    """Choose the sets and decode them into a cache; every note is told."""
    cache = PixelCache(cache_folder, side or stored_side(image_size))
    try:
        split = split_images(settings, needs_retain=needs_retain, cache=cache, progress=progress.count)
    finally:
        progress.finish_counting()
    for note in split.notes:
        progress.say(f"note: {note}")
    return cache, split


def split_from_scratch(config: FromScratchConfig, cache: PixelCache, progress: Progress) -> Split:
    """What is trained on (`retain`) and what is left out (`forget`, `neutral`), decoded; every note is told."""
    try:
        split = _split_from_scratch(config, cache, progress)
    finally:
        progress.finish_counting()
    for note in split.notes:
        progress.say(f"note: {note}")
    return split


def load_reference(settings: ModelSettings | None, generator: Generator | None) -> Generator | None:
    """The reference model; raises `InputError` if it does not take the same views as the original."""
    if settings is None:
        return None
    reference = load_generator(settings)
    if generator and _view_of(reference) != _view_of(generator):
        raise InputError(
            f"the reference model {settings.path} is of the family {reference.family} with {reference.image_size} px "
            f"and a grid of {reference.grid}, the model {generator.family} with {generator.image_size} px and "
            f"{generator.grid}: they cannot see the same views"
        )
    return reference


def _view_of(generator: Generator) -> tuple[str, int, int]:
    return generator.family, generator.image_size, generator.grid


def read_pairs(corruption: Corruption, split: Split, cache: PixelCache) -> dict[str, str] | None:
    """The other picture of each image, decoded into the cache; None unless the corruption is paired."""
    if not isinstance(corruption, Paired):
        return None
    images = split.forget.union(split.retain).union(split.neutral)
    return open_pairs(corruption.source, images, cache)


def read_all_pairs(
    config: RunConfig, split: Split, cache: PixelCache
) -> tuple[dict[str, str] | None, dict[str, str] | None]:
    """The pairs of the run's corruption and those of the one that it trains with."""
    asked = parse_corruption(config.corruption)
    trained = parse_corruption(config.training.corruption) if config.training.corruption else asked
    pairs = read_pairs(asked, split, cache)
    return pairs, pairs if trained == asked else read_pairs(trained, split, cache)


def batch_faults(config: RunConfig, processes: int) -> list[str]:
    """Why the batch does not divide over streams and processes, phase by phase."""
    problems = []
    for phase in config.method.phases():
        if isinstance(phase, Training):
            try:
                per_stream(config.training.batch_size, len(phase.streams), processes)
            except ValueError as error:
                problems.append(f"training.batch_size: {error}")
    return list(dict.fromkeys(problems))


def stored_side(image_size: int) -> int:
    """Short side at which decoded images are kept for a model of this input size."""
    return round(image_size * STORED_SIDE_RATIO)


def attempt(action: Callable[[], Opened], faults: Faults) -> Opened | None:
    """The result of `action`, or None with its problems added to `faults`."""
    try:
        return action()
    except InputError as error:
        faults.problems += error.problems
    except EffaceError as error:
        faults.add(str(error))
    return None


def _split_from_scratch(config: FromScratchConfig, cache: PixelCache, progress: Progress) -> Split:
    left_out = config.without or config.neutral
    if left_out:
        settings = ImagesSettings(
            images=config.images,
            forget=config.without or config.neutral,
            neutral=config.neutral if config.without else (),
            duplicates=config.duplicates,
            near_duplicate_distance=config.near_duplicate_distance,
            skip_unreadable=config.skip_unreadable,
        )
        split = split_images(settings, needs_retain=True, cache=cache, progress=progress.count)
        if not config.without:
            return Split(
                ImageSet(), split.retain, split.forget, False, split.skipped, split.duplicates, split.notes
            )
        return split
    images = open_images(config.images, skip_unreadable=config.skip_unreadable, progress=progress.count)
    skipped = cache.add(images, progress.count, config.skip_unreadable)
    images = images.without({fault.id for fault in skipped})
    if not len(images):
        raise InputError(f"no image of {config.images} can be read")
    return Split(ImageSet(), images, ImageSet(), skipped=(*images.skipped, *skipped))
