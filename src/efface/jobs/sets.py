"""The image sets of every job: what is trained on, what is left out, and what is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from efface.errors import InputError
from efface.evaluation.results import SetName
from efface.images.cache import PixelCache, estimate_bytes
from efface.images.forgotten import Earlier
from efface.images.items import ImageSet
from efface.images.scanning import scan
from efface.images.selection import ImagesSettings, Split, split_images
from efface.images.sources import open_images
from efface.progress import Progress
from efface.runs.config import FromScratchConfig
from efface.runs.earlier import EarlierRequests
from efface.runs.temporary import temporary_folder


def measured_sets(split: Split) -> dict[SetName, ImageSet]:
    """The sets of a split that are measured."""
    return {"forget": split.forget, "retain": split.retain, "neutral": split.neutral}


IN_MEMORY = 1 << 30
"""Bytes of pixels up to which a trial leaves nothing on disk."""


@contextmanager
def trial_cache(sets: Iterable[ImageSet], short_side: int) -> Iterator[PixelCache]:
    """Where the images of a trial are decoded: in memory, or in a temporary folder where they are too many."""
    images = ImageSet({item.id: item for images in sets for item in images}.values())
    with ExitStack() as stack:
        fits = estimate_bytes(images, short_side) <= IN_MEMORY
        folder = None if fits else stack.enter_context(temporary_folder())
        yield stack.enter_context(PixelCache(folder, short_side))


def told(choose: Callable[[], Split], progress: Progress) -> Split:
    """What `choose` gives; every note is told."""
    try:
        split = choose()
    finally:
        progress.finish_counting()
    for note in split.notes:
        progress.say(f"note: {note}")
    return split


def split_from_scratch(
    config: FromScratchConfig, earlier: EarlierRequests, cache: PixelCache | None, progress: Progress
) -> Split:
    """What is trained on (`retain`) and what is left out (`forget`, `neutral`), decoded, into `cache` if one is given."""
    left_out = config.without or config.neutral
    if left_out:
        settings = ImagesSettings(
            images=config.images,
            forget=config.without or config.neutral,
            neutral=config.neutral if config.without else (),
            duplicates=config.duplicates,
            copy_agreement=config.copy_agreement,
            skip_unreadable=config.skip_unreadable,
        )
        split = split_images(
            settings, needs_retain=True, earlier=earlier.forgotten, cache=cache, progress=progress.count
        )
        return split if config.without else replace(split, forget=ImageSet(), neutral=split.forget)
    images = open_images(config.images, skip_unreadable=config.skip_unreadable, progress=progress.count)
    before = Earlier(earlier.forgotten, images, ImageSet())
    images = before.without("retain", images)
    scanned = scan(images, cache, progress.count)
    if scanned.faults and not config.skip_unreadable:
        raise InputError(*map(str, scanned.faults), what="the images cannot be used")
    images = images.without({fault.id for fault in scanned.faults})
    if config.duplicates != "ignore":
        rest = before.without_copies({"retain": images}, scanned, config.copy_agreement)
        images = rest["retain"]
    if not len(images):
        forgotten = f", or {before.took('retain')} were forgotten earlier" if before.took("retain") else ""
        raise InputError(f"no image of {config.images} is left to train on: none can be read{forgotten}")
    skipped = (*images.skipped, *scanned.faults)
    return Split(
        ImageSet(), images, ImageSet(), skipped=skipped, notes=tuple(before.notes), earlier=before.taken
    )
