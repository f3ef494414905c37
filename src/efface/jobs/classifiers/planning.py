"""`plan` for a classifier: all faults and risks, and what a run would cost beside retraining."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from efface.classifiers.classifier import Classifier
from efface.classifiers.measuring import logits_of
from efface.errors import Faults
from efface.evaluation.classifiers import FEWEST_ATTACKED
from efface.images.cache import PixelCache, estimate_bytes
from efface.images.items import ImageSet
from efface.images.labelled import LabelledImages
from efface.images.labels import class_numbers, labelled_images
from efface.images.selection import Split
from efface.jobs.classifiers.models import (
    device,
    open_models,
    rebuilding_faults,
    recipe_risks,
    risks_of,
    statistics_facts,
    statistics_risks,
)
from efface.jobs.classifiers.sets import LabelledSplit, choose_sets, facts_for, validation_faults
from efface.jobs.classifiers.timing import SAMPLE, retraining_seconds, times_of
from efface.jobs.preparation import attempt
from efface.methods.classifier.base import check_sets
from efface.progress import Progress
from efface.runs.classifier_config import ClassifierRunConfig, parse_time_limit
from efface.training.passes import Facts, Pass, cost_of, training_pass

CHECKPOINT_COPIES = 3
"""A checkpoint holds the weights and up to two moments of each."""


@dataclass(frozen=True)
class Looked:
    """What a plan for a classifier found; the fields of `jobs.planning.Plan`, with the numbers of its estimate."""

    faults: list[str]
    risks: list[str]
    notes: list[str]
    sets: dict[str, int]
    model: dict[str, Any]
    changes: dict[str, Any]
    estimate: dict[str, Any] | None


def look(config: ClassifierRunConfig, progress: Progress) -> Looked:
    """Look at the run that `config` describes without starting it; raises nothing for what it finds."""
    found = Looked([], [], [], {}, {}, {}, None)
    faults = Faults()
    models = open_models(config.model, {"retrained": config.retrained}, faults)
    faults.problems += validation_faults(config.method, config.validation)
    original = models.get("original")
    found.risks.extend(recipe_risks(config))
    if original:
        found.model.update(original.describe())
        faults.problems += rebuilding_faults(config.method, original)
    chosen = attempt(lambda: choose_sets(config.images, config.validation, None, progress), faults)
    estimate = None
    if chosen:
        split, apart = chosen
        named = LabelledSplit(split, apart, {}).named
        found.notes.extend(split.notes)
        found.sets.update({name: len(images) for name, images in named.items()})
        found.risks.extend(_risks_of_sets(config, split))
        if original:
            estimate = attempt(lambda: _measured(config, original, split, apart, found), faults)
    return Looked(
        list(dict.fromkeys(faults.problems)),
        found.risks, found.notes, found.sets, found.model, found.changes, estimate if not faults else None,
    )  # fmt: skip


def _risks_of_sets(config: ClassifierRunConfig, split: Split) -> list[str]:
    risks = []
    if not len(split.neutral):
        risks.append("no neutral set: neither the accuracy on unseen images nor any attack can be measured")
    elif len(split.neutral) < FEWEST_ATTACKED:
        risks.append(
            f"neutral has {len(split.neutral)} images: an attack is trained from {FEWEST_ATTACKED} on"
        )
    if config.retrained is None:
        risks.append(
            "no retrained model (--retrained): whether the result behaves like a model that never saw the forget "
            "images cannot be measured"
        )
    share = len(split.forget) / max(len(split.forget) + len(split.retain), 1)
    if share > 0.5:
        risks.append(f"{share:.0%} of the images are to be forgotten: training anew may serve better")
    return risks


def _measured(
    config: ClassifierRunConfig, original: Classifier, split: Split, apart: ImageSet, found: Looked
) -> dict[str, Any]:
    """What only labels, counts and a few real steps can tell; raises `InputError` for what does not fit."""
    whole = _without_pixels(original, split, apart)
    given = whole.for_method(config.method)
    check_sets(config.method, given, len(original.classes))
    facts, everything = facts_for(original, config.method, given, config.recipe, config.seed)
    found.changes.update(_changes(config, facts, everything))
    if not found.changes["steps"]:
        found.notes.append("the method edits the weights at once: its work is in the seconds, not in steps")
    statistics = statistics_facts(original, config.statistics, config.method.claim == "exact")
    found.risks.extend(statistics_risks(statistics))
    with tempfile.TemporaryDirectory(prefix="efface-plan-") as folder:
        sample = _sample(Path(folder), config, original, split, apart)
    found.risks.extend(risks_of(original, config.model, sample.labelled["retain"]))
    return _estimate(config, original, sample, whole, facts.sizes, found.changes)


def _changes(
    config: ClassifierRunConfig, facts: Facts, everything: Mapping[str, LabelledImages]
) -> dict[str, Any]:
    """The passes that are laid down, and their steps and images beside those of retraining."""
    passes, sizes = config.method.passes(facts), {name: len(images) for name, images in everything.items()}
    cost = cost_of(passes, sizes)
    retraining = cost_of([training_pass(config.recipe, "retain")], sizes)
    return {
        "passes": [one.name for one in passes],
        "training_passes": sum(isinstance(one, Pass) for one in passes),
        "steps": cost.steps,
        "images": cost.images,
        "retraining_steps": retraining.steps,
        "retraining_images": retraining.images,
        "share": round(cost.images / retraining.images, 4),
        "statistics": config.statistics,
        "precision": "fp32",
    }


def _estimate(
    config: ClassifierRunConfig,
    original: Classifier,
    sample: LabelledSplit,
    whole: LabelledSplit,
    sizes: Mapping[str, int],
    changes: dict[str, Any],
) -> dict[str, Any]:
    model = original.copy().to(device())
    given = sample.for_method(config.method)
    few, everything = facts_for(original, config.method, given, config.recipe, config.seed)
    times = times_of(model, config.method.passes(few), everything, few, sizes)
    per_retraining_step = retraining_seconds(model, given, few) / max(
        cost_of([training_pass(config.recipe, "retain")], few.sizes).steps, 1
    )
    changes["retraining_seconds"] = per_retraining_step * changes["retraining_steps"]
    limit = parse_time_limit(config.budget) if config.budget else None
    bound = None
    if limit:
        bound = limit.seconds if limit.seconds else (limit.share or 0.0) * changes["retraining_seconds"]
    training = times.step * changes["steps"] + times.edits
    began = time.monotonic()
    some = next(iter(given.values()))
    logits_of(model, some, config.evaluation.batch_size)
    per_image = (time.monotonic() - began) / len(some)
    measured = sum(len(images) for images in whole.measured.values())
    weights = sum(value.numel() * value.element_size() for value in original.network.state_dict().values())
    images = whole.split.forget.union(whole.split.retain).union(whole.split.neutral).union(whole.validation)
    return {
        "steps": changes["steps"],
        "seconds_per_step": times.step,
        "training_seconds": min(training, bound) if bound is not None else training,
        "evaluation_seconds": per_image * measured * (3 if config.retrained else 2),
        "disk_bytes": estimate_bytes(images, original.image_size) + (CHECKPOINT_COPIES + 2) * weights,
        "disk_kept_bytes": weights,
    }


def _without_pixels(original: Classifier, split: Split, apart: ImageSet) -> LabelledSplit:
    """The sets with their labels, and pixels that take no memory: enough to lay down passes."""
    bare = LabelledSplit(split, apart, {})
    numbers = class_numbers(bare.named, original.classes)
    shape = (original.channels, original.image_size, original.image_size)
    nothing = np.zeros(1, dtype=np.uint8)
    labelled = {
        name: LabelledImages(np.broadcast_to(nothing, (len(images), *shape)), numbers[name], images.ids)
        for name, images in bare.named.items()
        if len(images)
    }
    return LabelledSplit(split, apart, labelled)


def _sample(
    folder: Path, config: ClassifierRunConfig, original: Classifier, split: Split, apart: ImageSet
) -> LabelledSplit:
    """A part of each set with its pixels, spread over the set; they are decoded into `folder`."""
    bare = LabelledSplit(split, apart, {})
    some = {name: _spread(images) for name, images in bare.named.items() if len(images)}
    numbers = class_numbers(some, original.classes)
    with PixelCache(folder, original.image_size) as cache:
        for images in some.values():
            cache.add(images, skip_unreadable=config.images.skip_unreadable)
        labelled = {
            name: labelled_images(images, numbers[name], cache, original.image_size, original.channels)
            for name, images in some.items()
        }
    return LabelledSplit(split, apart, labelled)


def _spread(images: ImageSet) -> ImageSet:
    return images.subset(np.unique(np.linspace(0, len(images) - 1, min(len(images), SAMPLE)).astype(int)))
