"""Steps of generator trainings, timed and counted by a worker. Nothing that is trained here is kept."""

from __future__ import annotations

import json
from pathlib import Path
from time import perf_counter

from efface.benchmark.generators.data import images_of
from efface.benchmark.generators.models import new_generator, timed_step, unlearning_settings
from efface.benchmark.generators.runs import measured, read_task
from efface.benchmark.timing import StepCount, Timing, TimingJob
from efface.errors import EffaceError
from efface.files import write_json
from efface.training.settings import TrainingSettings

TIMED = 12


def time_steps(job: TimingJob) -> None:
    """Write the `Timing` of a task and of these methods; a first stage's training is not counted."""
    task = read_task(job.task)
    data = images_of(task)
    step = timed_step(task, data, TIMED)
    began = perf_counter()
    measured(new_generator(task), task, data, "original")
    beside = perf_counter() - began
    if task.relearning:
        # both fine-tunings, and after each piece the forget images are measured alone
        pieces = 2 * (1 + len(task.relearning.steps))
        beside += 2 * task.relearning.steps[-1] * step + pieces * beside / 3
    images = len(data.sets["forget"]) + len(data.sets["retain"])
    methods, errors = dict[str, StepCount](), dict[str, str]()
    for text in job.sections:
        try:
            # a step of a method is about a training step; those with a teacher take somewhat more
            methods[text] = _count(unlearning_settings(json.loads(text), task), images)
        except EffaceError as error:
            errors[text] = str(error)
    training = _count(task.training, images)
    timing = Timing(
        step_seconds=step,
        run_seconds=beside,
        batch_size=task.training.batch_size,
        original=training,
        retrained=training,
        methods=methods,
        errors=errors,
    )
    write_json(Path(job.file), timing.as_dict())


def _count(settings: TrainingSettings, images: int) -> StepCount:
    steps = settings.steps_on(images)
    return StepCount(steps=steps, images=steps * settings.batch_size)
