"""What filling a hole without a model gives on the very views of a benchmark: the mark that its models have to clear."""

from __future__ import annotations

from efface.benchmark.generators.data import GeneratorData
from efface.benchmark.generators.runs import new_generator
from efface.benchmark.generators.task import GeneratorTask
from efface.corruptions import parse_corruption
from efface.evaluation.fills import fill_errors


def fills_of(task: GeneratorTask, data: GeneratorData, corruption: str) -> dict[str, float]:
    """Mean hole error on the neutral images by kind of fill; empty for a corruption that hides nothing."""
    asked, images = parse_corruption(corruption), data.sets["neutral"]
    if not asked.hides or not len(images):
        return {}
    return fill_errors(images, data.pictures, new_generator(task), asked, task.evaluation)
