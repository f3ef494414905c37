"""What passes would take: a few real steps of each are timed on a copy of the model, the rest is counted."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from efface.classifiers.classifier import Classifier
from efface.images.labelled import LabelledImages
from efface.training.classification import Work, run_passes
from efface.training.passes import Edit, Facts, Pass, Passes, cost_of, spans, training_pass
from efface.training.settings import StepMemory

TIMED_STEPS = 5
SAMPLE = 1024
"""Images of each set with which steps are timed."""


@dataclass(frozen=True)
class Times:
    """Seconds of a step, a mean over the passes, and of all edits together; both without preparation."""

    step: float
    edits: float


def times_of(
    classifier: Classifier,
    passes: Passes,
    sets: Mapping[str, LabelledImages],
    facts: Facts,
    sizes: Mapping[str, int],
    memory: StepMemory | None = None,
) -> Times:
    """What steps and edits would take on sets of these `sizes`, of which `sets` may be samples.

    Edits take the time that is measured. Where sets are larger than the images timed with, edits are timed with half of
    these too, and what the other half cost is counted for all further images.
    """
    some = {name: _spread(images, SAMPLE) for name, images in sets.items()}
    cut = {name for name, images in some.items() if len(images) < sizes.get(name, 0)}
    half = {
        name: _spread(images, max(2, len(images) // 2)) if name in cut else images
        for name, images in some.items()
    }
    # the first steps pay for memory and kernels
    _timed(classifier, passes, half, facts, memory)
    step, edits = _timed(classifier, passes, some, facts, memory)
    if not cut or not any(isinstance(one, Edit) and not one.preparation for one in passes):
        return Times(step, edits)
    _, less = _timed(classifier, passes, half, facts, memory)
    left_out = sum(len(some[name]) - len(half[name]) for name in cut)
    further = sum(sizes[name] - len(some[name]) for name in cut)
    return Times(step, edits + max(0.0, edits - less) * further / max(1, left_out))


def retraining_seconds(
    classifier: Classifier,
    sets: Mapping[str, LabelledImages],
    facts: Facts,
    memory: StepMemory | None = None,
) -> float:
    """Seconds that training by the recipe on the retain images would take."""
    sizes = {name: len(images) for name, images in sets.items()}
    passes = [training_pass(facts.recipe, "retain")]
    return times_of(classifier, passes, sets, facts, sizes, memory).step * cost_of(passes, sizes).steps


def _timed(
    classifier: Classifier,
    passes: Passes,
    sets: Mapping[str, LabelledImages],
    facts: Facts,
    memory: StepMemory | None,
) -> tuple[float, float]:
    """Seconds of a step and of all edits, from one run of a few steps of each pass."""
    sizes = {name: len(images) for name, images in sets.items()}
    spent: list[float] = []
    timed = [_clocked(one, spent) if isinstance(one, Edit) else _short(one, sizes) for one in passes]
    report = run_passes(classifier.copy(), timed, sets, facts, memory=memory, statistics="keep")
    return (report.seconds - sum(spent)) / max(1, report.steps), sum(spent)


def _clocked(edit: Edit, spent: list[float]) -> Edit:
    """The same edit, which adds its seconds to `spent` unless it is preparation."""

    def apply(work: Work) -> None:
        _wait(work.device)
        began = time.perf_counter()
        edit.apply(work)
        _wait(work.device)
        if not edit.preparation:
            spent.append(time.perf_counter() - began)

    return replace(edit, apply=apply)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _spread(images: LabelledImages, count: int) -> LabelledImages:
    """At most so many images, spread over the set."""
    return images.subset(np.linspace(0, len(images) - 1, min(len(images), count)).astype(np.int64))


def _short(one: Pass, sizes: Mapping[str, int]) -> Pass:
    batches = len(spans(sizes[next(iter(one.streams))], one.streams[next(iter(one.streams))]))
    return replace(one, epochs=min(one.epochs, TIMED_STEPS / batches))
