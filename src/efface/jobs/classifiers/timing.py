"""What passes would take: a few real steps of each are timed on a copy of the model, the rest is counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from efface.classifiers.classifier import Classifier
from efface.images.labelled import LabelledImages
from efface.training.classification import run_passes
from efface.training.passes import Edit, Facts, Pass, Passes, cost_of, spans, training_pass

TIMED_STEPS = 5
SAMPLE = 1024
"""Images of each set with which steps are timed."""


def seconds_of(
    classifier: Classifier, passes: Passes, sets: Mapping[str, LabelledImages], facts: Facts
) -> tuple[int, float]:
    """Steps of the passes, and the seconds that they would take, without preparation.

    The time of edits goes into that of a step; where there are only edits, it grows with the images.
    """
    sizes = {name: len(images) for name, images in sets.items()}
    steps = cost_of(passes, sizes).steps
    some = {name: images.select(np.arange(min(len(images), SAMPLE))) for name, images in sets.items()}
    small = {name: len(images) for name, images in some.items()}
    timed = [one if isinstance(one, Edit) else _short(one, small) for one in passes]
    # the first steps pay for memory and kernels
    run_passes(classifier.copy(), timed, some, facts)
    report = run_passes(classifier.copy(), timed, some, facts)
    done = cost_of(timed, small).steps
    grown = steps / done if done else sum(sizes.values()) / sum(small.values())
    return steps, report.seconds * grown


def retraining_seconds(classifier: Classifier, sets: Mapping[str, LabelledImages], facts: Facts) -> float:
    """Seconds that training by the recipe on the retain images would take."""
    return seconds_of(classifier, [training_pass(facts.recipe, "retain")], sets, facts)[1]


def _short(one: Pass, sizes: Mapping[str, int]) -> Pass:
    batches = len(spans(sizes[next(iter(one.streams))], one.streams[next(iter(one.streams))]))
    return replace(one, epochs=min(one.epochs, TIMED_STEPS / batches))
