"""The runs of a task of generators: trained, retrained and unlearned, and what they answer kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from efface.arrays import read_arrays
from efface.benchmark.generators.data import GeneratorData, images_of
from efface.benchmark.generators.models import new_generator, trained, unlearn
from efface.benchmark.generators.task import GeneratorTask
from efface.benchmark.runs import RunJob, RunSpending, weights_at
from efface.errors import EffaceError

if TYPE_CHECKING:
    from efface.evaluation.answers import Answers
    from efface.evaluation.results import ModelName, SetName
    from efface.generators.base import Generator
    from efface.training.loop import TrainingReport

PICTURES = "pictures"
OF_ANSWERS = ("features", "hole", "crops", PICTURES, "probabilities")
"""Arrays of a file, beside the values of metrics."""


@dataclass(frozen=True)
class GeneratorOutputs:
    """What is kept of a run: its answers by corruption and set, and what it took.

    relearning: by what was trained on, `retain` images or a `few` forget images, the mean log hole error of the measured
    forget images before and after each number of steps, `[1 + points]`.
    """

    answers: Mapping[tuple[str, SetName], Answers]
    relearning: Mapping[str, npt.NDArray[np.float64]]
    spent: RunSpending


def carry_out(job: RunJob) -> None:
    """Carry out a run and write its files; a failure that would happen again is kept too."""
    task = read_task(job.task)
    data = images_of(task, job.run.purpose)
    try:
        generator, report = _model(job, task, data)
        arrays = RunSpending(report.seconds, report.steps, cut=False).arrays()
        arrays |= measured(generator, task, data, job.run.kind)
        network = generator.network
        if task.relearning:
            from efface.benchmark.generators.relearning import relearning_curves

            curves = relearning_curves(generator, task, data, job.run)
            arrays |= {f"relearning|{name}": curve for name, curve in curves}
    except EffaceError as error:
        job.fail(error)
        return
    job.keep(arrays, network)


def read_outputs(path: Path) -> GeneratorOutputs:
    """What `carry_out` wrote."""
    from efface.evaluation.answers import Answers

    arrays = read_arrays(path)
    spent = RunSpending.of(arrays)
    parts: dict[tuple[str, SetName], dict[str, npt.NDArray[Any]]] = {}
    for name, values in arrays.items():
        corruption, _, of_set = name.rpartition("|")[0].rpartition("|")
        if corruption:
            part = parts.setdefault((corruption, cast("SetName", of_set)), {})
            part[name.rpartition("|")[2]] = values
    curves = {
        name.partition("|")[2]: values for name, values in arrays.items() if name.startswith("relearning|")
    }
    answers = {
        place: Answers(
            {name: values for name, values in part.items() if name not in OF_ANSWERS},
            part["features"],
            part["hole"],
            int(part["crops"]),
            part["pictures"],
            part.get("probabilities"),
        )
        for place, part in parts.items()
    }
    return GeneratorOutputs(answers, curves, spent)


def measured(
    generator: Generator, task: GeneratorTask, data: GeneratorData, kind: str
) -> dict[str, npt.ArrayLike]:
    """What a model answers, as the arrays of a run's file."""
    from efface.corruptions import parse_corruption
    from efface.evaluation.answers import Wanted, answers_of, similarity_of
    from efface.metrics.extractors import load_extractor

    extractor = load_extractor(task.evaluation.extractor, task.evaluation.extractor_input)
    arrays = dict[str, npt.ArrayLike]()
    similarity = similarity_of(task.evaluation, extractor)
    name, wanted = cast("ModelName", kind), Wanted(task.task_loss, task.pictures)
    for text in task.corruptions:
        for set_name, images in data.measured(task).items():
            if not len(images):
                continue
            by_model, _ = answers_of(
                {name: generator}, images, data.pictures, parse_corruption(text), extractor, task.evaluation,
                wanted=wanted, similarity=similarity,
            )  # fmt: skip
            answers, place = by_model[name], f"{text}|{set_name}|"
            arrays |= {place + metric: values.astype(np.float32) for metric, values in answers.values.items()}
            arrays |= {
                place + kept: value for kept in OF_ANSWERS if (value := getattr(answers, kept)) is not None
            }
    return arrays


@lru_cache(maxsize=4)
def read_task(text: str) -> GeneratorTask:
    """The task that a job names, as JSON."""
    return GeneratorTask.from_values(json.loads(text))


def _model(job: RunJob, task: GeneratorTask, data: GeneratorData) -> tuple[Generator, TrainingReport]:
    run, sets = job.run, data.sets
    if run.kind == "original":
        # in the order of ids, so that a forget set for tuning leaves the originals as they are
        both = sets["forget"].union(sets["retain"])
        order = sorted(range(len(both)), key=lambda place: both.ids[place])
        return trained(task, data, both.subset(order), run.key)
    if run.kind == "retrained":
        return trained(task, data, sets["retain"], run.key)
    generator = new_generator(task)
    generator.network.load_state_dict(weights_at(job.start.with_suffix(".safetensors")))
    return generator, unlearn(generator, run.section, task, data, run.key)
