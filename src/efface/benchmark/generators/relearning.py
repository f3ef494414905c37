"""Whether what was forgotten comes back: a model's error on forget images along a short fine-tuning. Imports torch.

Much shorter than the probe of this name, which asks one model closely: here it is asked of every run of a pool.
"""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import numpy.typing as npt

from efface.benchmark.generators.data import GeneratorData
from efface.benchmark.generators.errors import errors_of
from efface.benchmark.generators.models import run_phases
from efface.benchmark.generators.task import GeneratorTask
from efface.benchmark.runs import PoolRun
from efface.corruptions import parse_corruption
from efface.evaluation.answers import answers_of
from efface.generators.base import Generator
from efface.images.items import ImageSet
from efface.methods.generator.fine_tune import FineTune
from efface.metrics.extractors import load_extractor
from efface.randomness import key, numpy_draws


def relearning_curves(
    generator: Generator, task: GeneratorTask, data: GeneratorData, run: PoolRun
) -> list[tuple[str, npt.NDArray[np.float64]]]:
    """Fine-tune copies of `generator` on retain images, and on a few forget images; see `GeneratorOutputs.relearning`.

    Draws are the same for a retrained model and for what was unlearned from the original of its seed: curves are paired.
    """
    assert task.relearning is not None
    seed = key("relearning", run.start if run.kind == "unlearned" else run.seed)
    forget = data.sets["forget"]
    order = numpy_draws(task.images.split_seed, "relearning").permutation(len(forget))
    count = max(1, round(task.relearning.shots * len(forget)))
    shown = forget.subset(np.sort(order[:count]).tolist())
    others = forget.subset(np.sort(order[count:]).tolist())
    curves = []
    for name, images, measured in (("retain", data.sets["retain"], forget), ("few", shown, others)):
        student, done = deepcopy(generator), 0
        errors = [_log_error(student, task, data, measured)]
        for steps in task.relearning.steps:
            # each piece has a new optimizer and a schedule of its own, without warm-up and down to zero
            piece = {"steps": steps - done, "epochs": None, "warmup": 0.0}
            settings = {**task.training.as_dict(), **task.unlearning, **piece}
            run_phases(student, FineTune().phases(), {"retain": images}, task, data, settings, seed + steps)
            errors.append(_log_error(student, task, data, measured))
            done = steps
        curves.append((name, np.array(errors)))
    return curves


def _log_error(generator: Generator, task: GeneratorTask, data: GeneratorData, images: ImageSet) -> float:
    # errors need no extractor of worth
    plain = task.evaluation.model_copy(update={"extractor": "built-in", "similarity": None})
    found, _ = answers_of(
        {"unlearned": generator}, images, data.pictures, parse_corruption(task.corruptions[0]),
        load_extractor(plain.extractor, plain.extractor_input), plain,
    )  # fmt: skip
    return float(np.log(errors_of(found["unlearned"])).mean())
