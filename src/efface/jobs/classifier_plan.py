"""What trying a little of an unlearning run tells of a classifier's: what it does, takes, and will not tell."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from efface.classifiers.classifier import Classifier, logits_of
from efface.devices import chosen_device
from efface.evaluation.classifiers import FEWEST_ATTACKED
from efface.images.cache import estimate_bytes
from efface.images.items import ImageSet
from efface.images.labelled import LabelledImages
from efface.images.labels import class_numbers
from efface.images.selection import Split
from efface.jobs.classifier_images import Labelled, facts_for, given_to, labelled, measured
from efface.jobs.classifier_models import recipe_risks, risks_of, statistics_ahead, statistics_risks
from efface.jobs.operations import Changes, Foreseen, Prepared, RunEstimate, peak_memory
from efface.jobs.sets import trial_cache
from efface.jobs.timing import SAMPLE, retraining_seconds, times_of
from efface.methods.classifier.base import check_sets
from efface.runs.unlearn_config import ClassifierRunConfig, parse_time_limit
from efface.training.passes import Facts, Pass, cost_of, training_pass
from efface.wording import counted

CHECKPOINT_COPIES = 3
"""A checkpoint holds the weights and up to two moments of each."""
SHOWN_PASSES = 6


@dataclass(frozen=True)
class PlannedPasses(Changes):
    """The passes that are laid down, and their steps and images beside those of retraining."""

    passes: list[str]
    training_passes: int
    steps: int
    images: int
    retraining_steps: int
    retraining_images: int
    share: float
    statistics: str
    trains_statistics: bool
    precision: str = "fp32"
    retraining_seconds: float = 0.0

    @property
    def words(self) -> str:
        more = ", ..." * (len(self.passes) > SHOWN_PASSES)
        return (
            f"passes: {', '.join(self.passes[:SHOWN_PASSES])}{more}\n"
            f"cost: {counted(self.steps, 'step')}, {counted(self.images, 'image')} forward and backward; retraining: "
            f"{counted(self.retraining_steps, 'step')}, {counted(self.retraining_images, 'image')}, about "
            f"{self.retraining_seconds:.0f} s: {self.share:.1%} of it"
        )


def risks_of_sets(config: ClassifierRunConfig, split: Split) -> list[str]:
    """Sentences on what these sets will not tell."""
    risks = recipe_risks(config)
    if not len(split.neutral):
        risks.append("no neutral set: neither the accuracy on unseen images nor any attack can be measured")
    elif len(split.neutral) < FEWEST_ATTACKED:
        risks.append(
            f"neutral has {counted(len(split.neutral), 'image')}: an attack is trained from {FEWEST_ATTACKED} on"
        )
    return risks


def foresee(config: ClassifierRunConfig, prepared: Prepared[Classifier, Labelled]) -> Foreseen:
    original, method = prepared.model, config.method
    whole = replace(prepared, pixels=_without_pixels(prepared))
    given = given_to(method, whole)
    check_sets(method, given, len(original.classes))
    facts, everything = facts_for(whole, method, given, config.recipe, config.seed)
    changes = _planned(config, facts, everything)
    notes = (
        []
        if changes.steps
        else ["the method edits the weights at once: its work is in the seconds, not in steps"]
    )
    some = {name: _spread(images) for name, images in prepared.split.sets.items()}
    with trial_cache(some.values(), original.image_size) as cache:
        for images in some.values():
            cache.add(images, skip_unreadable=config.images.skip_unreadable)
        sample = replace(prepared, pixels=labelled(some, cache, original))
    statistics, replaced = statistics_ahead(
        original, config.statistics, changes.trains_statistics, method.claim == "exact"
    )
    risks = [
        *replaced,
        *statistics_risks(statistics),
        *risks_of(original, config.model, sample.pixels["retain"]),
    ]
    return _foreseen(config, sample, whole, facts.sizes, changes, risks, notes)


def _planned(config: ClassifierRunConfig, facts: Facts, everything: Labelled) -> PlannedPasses:
    passes, sizes = config.method.passes(facts), {name: len(images) for name, images in everything.items()}
    cost = cost_of(passes, sizes)
    retraining = cost_of([training_pass(config.recipe, "retain")], sizes)
    return PlannedPasses(
        passes=[step.name for step in passes],
        training_passes=sum(isinstance(step, Pass) for step in passes),
        steps=cost.steps,
        images=cost.images,
        retraining_steps=retraining.steps,
        retraining_images=retraining.images,
        share=round(cost.images / retraining.images, 4),
        statistics=config.statistics,
        trains_statistics=any(isinstance(step, Pass) and step.mode == "train" for step in passes),
    )


def _foreseen(
    config: ClassifierRunConfig,
    sample: Prepared[Classifier, Labelled],
    whole: Prepared[Classifier, Labelled],
    sizes: Mapping[str, int],
    changes: PlannedPasses,
    risks: list[str],
    notes: list[str],
) -> Foreseen:
    """What steps, edits and answers take on the sample, counted for all images."""
    original = sample.model
    model, given = original.copy().to(chosen_device()), given_to(config.method, sample)
    few, everything = facts_for(sample, config.method, given, config.recipe, config.seed)
    times = times_of(model, config.method.passes(few), everything, few, sizes, config.training)
    steps = max(cost_of([training_pass(config.recipe, "retain")], few.sizes).steps, 1)
    retraining = retraining_seconds(model, given, few, config.training) / steps * changes.retraining_steps
    limit = parse_time_limit(config.budget) if config.budget else None
    bound = None
    if limit:
        bound = limit.seconds if limit.seconds else (limit.share or 0.0) * retraining
    training = times.step * changes.steps + times.edits
    began = time.monotonic()
    some = next(iter(given.values()))
    logits_of(model, some, config.evaluation.batch_size)
    per_image = (time.monotonic() - began) / len(some)
    count = sum(len(images) for images in measured(whole.pixels).values())
    weights = sum(value.numel() * value.element_size() for value in original.network.state_dict().values())
    images = whole.split.everything
    estimate = RunEstimate(
        steps=changes.steps,
        seconds_per_step=times.step,
        training_seconds=min(training, bound) if bound is not None else training,
        evaluation_seconds=per_image * count * (3 if config.retrained else 2),
        peak_memory_bytes=peak_memory(),
        disk_bytes=estimate_bytes(images, original.image_size) + (CHECKPOINT_COPIES + 2) * weights,
        disk_kept_bytes=weights,
    )
    return Foreseen(replace(changes, retraining_seconds=retraining), estimate, risks, notes)


def _without_pixels(prepared: Prepared[Classifier, Labelled]) -> Labelled:
    """The sets with their labels, and pixels that take no memory: enough to lay down passes."""
    original = prepared.model
    numbers = class_numbers(prepared.split.sets, original.classes)
    shape = (original.channels, original.image_size, original.image_size)
    nothing = np.zeros(1, dtype=np.uint8)
    return {
        name: LabelledImages(np.broadcast_to(nothing, (len(images), *shape)), numbers[name], images.ids)
        for name, images in prepared.split.sets.items()
        if len(images)
    }


def _spread(images: ImageSet) -> ImageSet:
    """At most `SAMPLE` images, spread over the set."""
    return images.subset(np.unique(np.linspace(0, len(images) - 1, min(len(images), SAMPLE)).astype(int)))
