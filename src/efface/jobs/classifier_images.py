"""The images of a job on classifiers: every picture once, labelled, cut to the model's size, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from efface.classifiers.classifier import Classifier
from efface.evaluation.results import SETS, SetName
from efface.images.cache import PixelCache
from efface.images.items import ImageSet
from efface.images.labelled import LabelledImages
from efface.images.labels import class_numbers, each_once, labelled_images
from efface.images.selection import Split
from efface.jobs.operations import Prepared
from efface.methods.classifier.base import ClassifierMethod, with_own_sets
from efface.training.passes import Facts
from efface.training.settings import Recipe

Labelled = Mapping[str, LabelledImages]
"""Pixels and class numbers of all sets by name, every picture once; empty sets are left out."""


def once_each(split: Split) -> Split:
    """The split with every picture once in each set, and a note where some were there more often."""
    notes = list(split.notes)

    def once(images: ImageSet, name: str) -> ImageSet:
        kept, more = each_once(images, name)
        notes.extend(more)
        return kept

    forget, retain = once(split.forget, "forget"), once(split.retain, "retain")
    neutral, validation = once(split.neutral, "neutral"), once(split.validation, "validation")
    return replace(
        split, forget=forget, retain=retain, neutral=neutral, validation=validation, notes=tuple(notes)
    )


def labelled(sets: Mapping[str, ImageSet], cache: PixelCache, model: Classifier) -> Labelled:
    """Pixels and class numbers; raises one `InputError` for all labels that are no class of the model."""
    numbers = class_numbers(sets, model.classes)
    return {
        name: labelled_images(images, numbers[name], cache, model.image_size, model.channels)
        for name, images in sets.items()
        if len(images)
    }


def measured(pixels: Labelled) -> dict[SetName, LabelledImages]:
    return {name: pixels[name] for name in SETS if name in pixels}


def given_to(method: ClassifierMethod, prepared: Prepared[Classifier, Labelled]) -> dict[str, LabelledImages]:
    """What the method is given. Copies of forget images that stay among the others have ids of their own."""
    names = ("forget", "retain", *(("validation",) if method.uses_validation else ()))
    given = {name: prepared.pixels[name] for name in names if name in prepared.pixels}
    taken = set(prepared.split.forget.ids)
    if "retain" in given and taken & set(given["retain"].ids):
        ids = tuple(f"{id_} (copy)" if id_ in taken else id_ for id_ in given["retain"].ids)
        given["retain"] = replace(given["retain"], ids=ids)
    return given


def facts_for(
    prepared: Prepared[Classifier, Labelled],
    method: ClassifierMethod,
    given: Mapping[str, LabelledImages],
    recipe: Recipe,
    seed: int,
) -> tuple[Facts, dict[str, LabelledImages]]:
    """What the method knows when it lays down its passes, and all sets that these name, its own among them."""
    sizes = {name: len(images) for name, images in given.items()}
    classifier = prepared.model
    facts = Facts(sizes, len(classifier.classes), classifier.blocks, recipe, seed, prepared.base_model)
    everything, facts = with_own_sets(method, given, facts)
    return facts, everything
