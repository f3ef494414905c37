"""Steps of classifier trainings, timed and counted by a worker. Nothing that is trained here is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from efface.benchmark.classifiers.runs import fresh, images_of, read_task, sets_of
from efface.benchmark.timing import StepCount, Timing, TimingJob
from efface.errors import EffaceError
from efface.files import write_json
from efface.methods.registry import read_classifier_method
from efface.training.passes import Cost, Facts, Pass, cost_of, training_pass

if TYPE_CHECKING:
    from efface.classifiers.classifier import Classifier
    from efface.images.labelled import LabelledImages

WARM_UP, TIMED = 5, 20


def time_steps(job: TimingJob) -> None:
    """Write the `Timing` of a task and of these methods."""
    task, data = read_task(job.task), images_of(job.task, "score")
    sets = sets_of(data)
    model, facts = fresh(task, data, sets, 0)
    train, retrain = (training_pass(task.recipe, name) for name in ("train", "retain"))
    methods, preparations, errors = dict[str, StepCount](), dict[str, StepCount](), dict[str, str]()
    for text in job.sections:
        try:
            method = read_classifier_method(json.loads(text))
            own = {name: len(images) for name, images in method.own_sets(sets, facts).items()}
            full = replace(facts, sizes={**facts.sizes, **own})
            passes = method.passes(full)
        except EffaceError as error:
            errors[text] = str(error)
            continue
        before = [
            replace(one, preparation=False) for one in passes if isinstance(one, Pass) and one.preparation
        ]
        methods[text] = _count(cost_of(passes, full.sizes))
        preparations[text] = _count(cost_of(before, full.sizes))
    everything = {**sets, "train": data.forget.join(data.retain)}
    step_seconds, run_seconds = _timed(model, everything, facts, data.test)
    timing = Timing(
        step_seconds=step_seconds,
        run_seconds=run_seconds,
        batch_size=task.recipe.batch_size,
        original=_count(cost_of([train], {"train": len(everything["train"])})),
        retrained=_count(cost_of([retrain], facts.sizes)),
        methods=methods,
        preparations=preparations,
        errors=errors,
    )
    write_json(Path(job.file), timing.as_dict())


def _timed(
    model: Classifier, sets: Mapping[str, LabelledImages], facts: Facts, test: LabelledImages
) -> tuple[float, float]:
    """Seconds of a step, and of measuring a model on all sets that are kept of a run."""
    from efface.classifiers.classifier import logits_of
    from efface.training.classification import run_passes

    train = training_pass(facts.recipe, "train")
    an_epoch = replace(train, epochs=1).steps({"train": len(sets["train"])})
    for steps in (WARM_UP, TIMED):
        report = run_passes(model, [replace(train, epochs=steps / an_epoch)], sets, facts)
    began = perf_counter()
    for images in (sets["train"], test):
        logits_of(model, images)
    return report.seconds / report.steps, perf_counter() - began


def _count(cost: Cost) -> StepCount:
    return StepCount(steps=cost.steps, images=cost.images)
