"""Generators, for the benchmark."""

from __future__ import annotations

from typing import cast

from efface.benchmark.config import BenchConfig, check_base
from efface.benchmark.generators.data import digest_of, drop_images, images_of
from efface.benchmark.generators.models import new_generator
from efface.benchmark.generators.reading import GeneratorReader
from efface.benchmark.generators.runs import GeneratorOutputs, carry_out, read_outputs
from efface.benchmark.generators.task import GeneratorTask, section_parts
from efface.benchmark.generators.timing import time_steps
from efface.benchmark.kind import BenchKind
from efface.benchmark.runs import PoolRun
from efface.benchmark.tasks import BenchTask
from efface.corruptions import parse_corruption
from efface.generators.registry import FAMILIES
from efface.metrics.extractors import EXTRACTORS


def _check(config: BenchConfig, task: BenchTask) -> None:
    task = cast("GeneratorTask", task)
    images_of(task)
    check_base(config, task)
    if config.tuning:
        images_of(task, "tuning")
    generator = new_generator(task)
    for text in task.corruptions:
        generator.check_corruption(parse_corruption(text))
    generator.sampler_name(task.evaluation.sampler)


def _code(task: GeneratorTask, run: PoolRun) -> tuple[str, ...]:
    made = [f"efface.benchmark.generators.{module}" for module in ("runs", "models", "relearning", "errors")]
    extractor = EXTRACTORS.named(task.evaluation.extractor.partition(":")[0])
    made += [FAMILIES.named(task.generator).module, extractor.opens.partition(":")[0]]
    made += [type(parse_corruption(text)).__module__ for text in task.corruptions]
    if run.kind == "unlearned":
        made.append(type(section_parts(run.section)[0]).__module__)
    return tuple(made)


GENERATORS: BenchKind[GeneratorOutputs] = BenchKind(
    name="generators",
    digest=digest_of,
    carry_out=carry_out,
    time_steps=time_steps,
    read=read_outputs,
    drop_images=drop_images,
    code=_code,
    reader=GeneratorReader,
    check=_check,
)
