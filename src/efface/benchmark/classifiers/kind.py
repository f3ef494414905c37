"""Classifiers, for the benchmark."""

from __future__ import annotations

from typing import cast

from efface.benchmark.classifiers.reading import ClassifierReader
from efface.benchmark.classifiers.runs import ClassifierOutputs, carry_out, digest_of, images_of, read_outputs
from efface.benchmark.classifiers.task import ClassifierTask, new_classifier
from efface.benchmark.classifiers.timing import time_steps
from efface.benchmark.config import BenchConfig, check_base
from efface.benchmark.kind import BenchKind
from efface.benchmark.runs import PoolRun
from efface.benchmark.tasks import BenchTask
from efface.images.datasets import open_dataset
from efface.methods.registry import read_classifier_method


def _check(config: BenchConfig, task: BenchTask) -> None:
    check_base(config, task)
    data = open_dataset(task.images)
    if task.base is not None:
        new_classifier(cast("ClassifierTask", task), data, 0)
    if config.tuning:
        open_dataset(task.images, "tuning")


def _code(task: ClassifierTask, run: PoolRun) -> tuple[str, ...]:
    made = ("efface.benchmark.classifiers.runs", "efface.benchmark.classifiers.task")
    if run.kind != "unlearned":
        return made
    return (*made, type(read_classifier_method(run.section)).__module__)


CLASSIFIERS: BenchKind[ClassifierOutputs] = BenchKind(
    name="classifiers",
    digest=digest_of,
    carry_out=carry_out,
    time_steps=time_steps,
    read=read_outputs,
    drop_images=images_of.cache_clear,
    code=_code,
    reader=ClassifierReader,
    check=_check,
)
