"""The image sets of every job: what is trained on, what is left out, and what is measured."""

from __future__ import annotations

from collections.abc import Callable

from efface.errors import InputError
from efface.evaluation.results import SetName
from efface.images.cache import PixelCache
from efface.images.items import ImageSet
from efface.images.selection import ImagesSettings, Split, split_images
from efface.images.sources import open_images
from efface.progress import Progress
from efface.runs.config import FromScratchConfig


def measured_sets(split: Split) -> dict[SetName, ImageSet]:
    """The sets of a split that are measured."""
    return {"forget": split.forget, "retain": split.retain, "neutral": split.neutral}


def told(choose: Callable[[], Split], progress: Progress) -> Split:
    """What `choose` gives; every note is told."""
    try:
        split = choose()
    finally:
        progress.finish_counting()
    for note in split.notes:
        progress.say(f"note: {note}")
    return split


def split_from_scratch(config: FromScratchConfig, cache: PixelCache, progress: Progress) -> Split:
    """What is trained on (`retain`) and what is left out (`forget`, `neutral`), decoded."""
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
