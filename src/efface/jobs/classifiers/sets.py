"""Image sets for classifiers: chosen and checked as for generators, then labelled, cut to the model's size, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from efface.classifiers.classifier import Classifier
from efface.evaluation.results import SetName
from efface.images.cache import PixelCache
from efface.images.items import ImageSet
from efface.images.labelled import LabelledImages
from efface.images.labels import class_numbers, each_once, labelled_images
from efface.images.selection import ImagesSettings, Split, split_images
from efface.methods.classifier.base import ClassifierMethod, with_own_sets
from efface.progress import Progress
from efface.training.passes import Facts
from efface.training.recipe import Recipe


@dataclass(frozen=True)
class LabelledSplit:
    """The sets as images with keyed names, and the same with pixels and class numbers; every picture once.

    validation: images that a method may look at, in none of the other sets. labelled: by name, empty sets left out.
    """

    split: Split
    validation: ImageSet
    labelled: Mapping[str, LabelledImages]

    @property
    def sets(self) -> dict[SetName, ImageSet]:
        """The sets that are measured."""
        return {"forget": self.split.forget, "retain": self.split.retain, "neutral": self.split.neutral}

    @property
    def named(self) -> dict[str, ImageSet]:
        """All sets by name, validation only where there is one."""
        apart = {"validation": self.validation} if len(self.validation) else {}
        return {**{str(name): images for name, images in self.sets.items()}, **apart}

    @property
    def measured(self) -> dict[SetName, LabelledImages]:
        """The labelled images of the sets that are measured."""
        return {name: self.labelled[name] for name in self.sets if name in self.labelled}

    def for_method(self, method: ClassifierMethod) -> dict[str, LabelledImages]:
        """What the method is given. Copies of forget images that stay among the others have ids of their own."""
        names = ("forget", "retain", *(("validation",) if method.uses_validation else ()))
        given = {name: self.labelled[name] for name in names if name in self.labelled}
        taken = set(self.split.forget.ids)
        if "retain" in given and taken & set(given["retain"].ids):
            ids = tuple(f"{id_} (copy)" if id_ in taken else id_ for id_ in given["retain"].ids)
            given["retain"] = replace(given["retain"], ids=ids)
        return given


def choose_sets(
    settings: ImagesSettings,
    validation: tuple[str, ...],
    cache: PixelCache | None,
    progress: Progress,
    needs_retain: bool = True,
) -> tuple[Split, ImageSet]:
    """The split, every picture once, and the validation images; every note is told. Raises as splitting does."""
    try:
        split = split_images(
            settings,
            needs_retain=needs_retain,
            validation=validation,
            cache=cache,
            progress=progress.count,
        )
    finally:
        progress.finish_counting()
    split, apart = once_each(split, split.validation)
    for note in split.notes:
        progress.say(f"note: {note}")
    return split, apart


def once_each(split: Split, validation: ImageSet | None = None) -> tuple[Split, ImageSet]:
    """The split with every picture once in each set, and a note where some were there more often."""
    found: dict[str, ImageSet] = {}
    notes = list(split.notes)
    sets = {"forget": split.forget, "retain": split.retain, "neutral": split.neutral}
    for name, images in {**sets, "validation": validation or ImageSet()}.items():
        found[name], more = each_once(images, name)
        notes += more
    once = replace(
        split,
        forget=found["forget"],
        retain=found["retain"],
        neutral=found["neutral"],
        notes=tuple(notes),
    )
    return once, found["validation"]


def label_sets(
    split: Split, validation: ImageSet, cache: PixelCache, classifier: Classifier
) -> LabelledSplit:
    """Pixels and class numbers of all sets; raises one `InputError` for all labels that are no class of the model."""
    bare = LabelledSplit(split, validation, {})
    numbers = class_numbers(bare.named, classifier.classes)
    labelled = {
        name: labelled_images(images, numbers[name], cache, classifier.image_size, classifier.channels)
        for name, images in bare.named.items()
        if len(images)
    }
    return replace(bare, labelled=labelled)


def read_sets(
    settings: ImagesSettings,
    classifier: Classifier,
    cache_folder: Path,
    progress: Progress,
    validation: tuple[str, ...] = (),
    needs_retain: bool = True,
) -> LabelledSplit:
    """Choose, decode and label the sets of a run; the cache is closed again, the pixels are copied into memory."""
    with PixelCache(cache_folder, classifier.image_size) as cache:
        split, apart = choose_sets(settings, validation, cache, progress, needs_retain)
        return label_sets(split, apart, cache, classifier)


def validation_faults(method: ClassifierMethod, validation: Iterable[str]) -> list[str]:
    """What is wrong with giving, or not giving, validation images to the method."""
    given = bool(tuple(validation))
    if method.uses_validation and not given:
        return [
            f"{method.name} needs validation images, in neither the forget nor the retain set: give "
            "--set 'validation=[SELECTOR]', said as --neutral is"
        ]
    if given and not method.uses_validation:
        return [
            f"validation: {method.name} uses no validation images; leave them out, or give them as neutral"
        ]
    return []


def facts_for(
    classifier: Classifier,
    method: ClassifierMethod,
    given: Mapping[str, LabelledImages],
    recipe: Recipe,
    seed: int,
) -> tuple[Facts, dict[str, LabelledImages]]:
    """What the method knows when it lays down its passes, and all sets that these name, its own among them."""
    sizes = {name: len(images) for name, images in given.items()}
    facts = Facts(sizes, len(classifier.classes), classifier.blocks, recipe, seed)
    everything, facts = with_own_sets(method, given, facts)
    return facts, everything
