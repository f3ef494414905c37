"""The runs of a task of generators: models trained, retrained and unlearned, and what they answer kept.

The section of an unlearned run is the method's own, and may hold two entries more: `training`, settings in place of the
task's for unlearning, and `retain`, the share of the retain images at hand, or `proxy` for the task's proxy images.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from efface.benchmark.generators.data import GeneratorData, contents, forget_images, open_images
from efface.benchmark.generators.task import GeneratorTask
from efface.benchmark.runs import Job, Run, Trade, spent_of, weights_at, write_weights
from efface.errors import EffaceError, InputError
from efface.files import replacing, write_json
from efface.images.items import ImageSet
from efface.methods.base import GeneratorMethod
from efface.methods.registry import read_method
from efface.training.settings import TrainingSettings

if TYPE_CHECKING:
    from efface.evaluation.answers import Answers
    from efface.evaluation.results import ModelName, SetName
    from efface.generators.base import Generator
    from efface.training.data import Data
    from efface.training.loop import TrainingReport

NEVER = 10**9
"""Steps between checkpoints: a run is short, and a stopped one starts anew."""
SMALLEST_ERROR = 1e-8
"""Hole errors below it count as it when a logarithm is taken: an exact copy would be infinite."""
BESIDE_METHOD = ("training", "retain")
"""Entries of a section that are no settings of the method."""


@dataclass(frozen=True)
class GeneratorOutputs:
    """What is kept of a run: its answers by corruption and set; seconds of training or unlearning alone.

    relearning: by what was shown, `retain` or `few` forget images, the mean log hole error of the measured forget
    images before and after each number of steps, `[1 + points]`.
    """

    answers: Mapping[tuple[str, SetName], Answers]
    relearning: Mapping[str, npt.NDArray[np.float64]]
    seconds: float
    steps: int


def section_parts(section: Mapping[str, Any]) -> tuple[GeneratorMethod, dict[str, Any], float | str]:
    """The method, the training settings and the retain share (or `proxy`) of a section; raises `InputError`."""
    method = read_method({name: value for name, value in section.items() if name not in BESIDE_METHOD})
    share = section.get("retain", 1.0)
    number = isinstance(share, int | float) and not isinstance(share, bool) and 0 < share <= 1
    if not (number or share == "proxy"):
        raise InputError(
            f"method {method.name}: retain: a share above 0 and up to 1, or proxy, not {share!r}"
        )
    training = dict(section.get("training") or {})
    TrainingSettings.read(training, where=f"method {method.name}: training")
    return method, training, share


def carry_out(job: Job) -> None:
    """Carry out a run and write its file, and its weights beside it; a failure that would happen again is kept too."""
    place = Path(job.folder) / job.run.name
    task, data = _task(job.task), open_images(job.task, job.run.purpose)
    try:
        generator, report = _model(job, task, data)
        arrays: dict[str, Any] = {"seconds": report.seconds, "steps": report.steps, "cut": False}
        arrays |= _measured(generator, task, data, job.run.kind)
        if job.run.kind == "original" or job.keep_weights:
            write_weights(generator.network, place.with_suffix(".safetensors"))
        if task.relearning:
            from efface.benchmark.generators.relearning import relearning_curves

            curves = relearning_curves(generator, task, data, job.run)
            arrays |= {f"relearning|{name}": curve for name, curve in curves}
    except EffaceError as error:
        write_json(place.with_suffix(".failed.json"), {"error": str(error)})
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    with replacing(place.with_suffix(".npz")) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


def read_outputs(path: Path) -> GeneratorOutputs:
    """What `carry_out` wrote."""
    from efface.evaluation.answers import Answers

    with np.load(path, allow_pickle=False) as arrays:
        spent = spent_of(arrays)
        parts: dict[tuple[str, SetName], dict[str, Any]] = {}
        for name in arrays.files:
            corruption, _, rest = name.rpartition("|")[0].rpartition("|")
            if corruption:
                parts.setdefault((corruption, cast("SetName", rest)), {})[name.rpartition("|")[2]] = arrays[
                    name
                ]
        curves = {
            name.partition("|")[2]: arrays[name] for name in arrays.files if name.startswith("relearning|")
        }
    kept = ("features", "hole", "crops", "pictures", "probabilities")
    answers = {
        place: Answers(
            {name: values for name, values in found.items() if name not in kept},
            found["features"],
            found["hole"],
            int(found["crops"]),
            found["pictures"],
            found.get("probabilities"),
        )
        for place, found in parts.items()
    }
    return GeneratorOutputs(answers, curves, spent.seconds, spent.steps)


def trained(
    task: GeneratorTask, data: GeneratorData, images: ImageSet, seed: int
) -> tuple[Generator, TrainingReport]:
    """A model of the task trained from scratch on `images`, every stage of it."""
    from efface.methods.generator.retrain import from_scratch

    generator = new_generator(task, seed)
    phases = list(from_scratch(True, _unchecked(task.first_stage.as_dict())))
    return generator, run_phases(
        generator, phases, {"retain": images}, task, data, task.training.as_dict(), seed
    )


def unlearn(
    generator: Generator, section: Mapping[str, Any], task: GeneratorTask, data: GeneratorData, seed: int
) -> TrainingReport:
    """Let `generator` unlearn the forget set of `data` with the method of a section."""
    method, training, share = section_parts(section)
    settings = type(method).training_settings({**task.unlearning, **training})
    sets = {**data.sets, "retain": data.retained(share, task.images.split_seed)}
    return run_phases(generator, method.phases(), sets, task, data, settings.as_dict(), seed)


def timed_step(task: GeneratorTask, data: GeneratorData, steps: int) -> tuple[float, float]:
    """Seconds of a training step, and of measuring a model; nothing is kept."""
    from time import perf_counter

    from efface.methods.generator.retrain import from_scratch
    from efface.training.loop import Trainer
    from efface.training.optimisation import accelerator

    generator = new_generator(task)
    reads, chosen = (
        training_data(task, data, {"retain": data.sets["retain"]}),
        _unchecked(task.training.as_dict()),
    )
    trainer = Trainer(generator, list(from_scratch(False)), reads, chosen, 0, accelerator(chosen))
    step = trainer.time_steps(steps)
    began = perf_counter()
    _measured(generator, task, data, "original")
    return step, perf_counter() - began


def new_generator(task: GeneratorTask, seed: int = 0) -> Generator:
    """An untrained model of the task, which knows with what it will be trained."""
    from efface.corruptions import parse_corruption
    from efface.generators.registry import FAMILIES

    generator = FAMILIES.named(task.generator).new(task.architecture, seed)
    if task.training.corruption:
        generator.trained_with = parse_corruption(task.training.corruption)
    return generator


def training_data(task: GeneratorTask, data: GeneratorData, sets: Mapping[str, ImageSet]) -> Data:
    """What a training loop reads: these sets, and the moments of the forget set's pixels."""
    from efface.corruptions import parse_corruption
    from efface.training.data import Data, pixel_moments

    moments = pixel_moments(data.sets["forget"], data.pictures)
    return Data(dict(sets), data.pictures, parse_corruption(task.corruptions[0]), moments)


def _model(job: Job, task: GeneratorTask, data: GeneratorData) -> tuple[Generator, TrainingReport]:
    run, sets = job.run, data.sets
    if run.kind == "original":
        # in the order of ids, so that a forget set for tuning leaves the originals as they are
        both = sets["forget"].union(sets["retain"])
        order = sorted(range(len(both)), key=lambda place: both.ids[place])
        return trained(task, data, both.subset(order), run.key)
    if run.kind == "retrained":
        return trained(task, data, sets["retain"], run.key)
    generator = new_generator(task)
    start = Path(job.folder) / Run("original", run.start).name
    generator.network.load_state_dict(weights_at(start.with_suffix(".safetensors")))
    return generator, unlearn(generator, run.section, task, data, run.key)


def run_phases(
    generator: Generator,
    phases: list[Any],
    sets: Mapping[str, ImageSet],
    task: GeneratorTask,
    data: GeneratorData,
    settings: Mapping[str, Any],
    seed: int,
) -> TrainingReport:
    """Run `phases` on `sets` by name with these training settings; draws, dropout included, hang on `seed` alone."""
    from efface.training.loop import Trainer
    from efface.training.optimisation import accelerator

    chosen = _unchecked(settings)
    process, reads = accelerator(chosen), training_data(task, data, sets)
    with tempfile.TemporaryDirectory() as folder:
        # codes of a first stage are kept in a folder; models without one need none
        keeps = Path(folder) if generator.first_stage_parameters() else None
        return Trainer(generator, phases, reads, chosen, seed, process, folder=keeps).run()


def _unchecked(settings: Mapping[str, Any]) -> TrainingSettings:
    return TrainingSettings.read({**settings, "checkpoint_every": NEVER, "log_every": NEVER, "threads": 1})


def _measured(generator: Generator, task: GeneratorTask, data: GeneratorData, kind: str) -> dict[str, Any]:
    from efface.corruptions import parse_corruption
    from efface.evaluation.answers import Wanted, answers_of, similarity_of
    from efface.metrics.extractors import load_extractor

    extractor, arrays = load_extractor(task.evaluation.extractor), dict[str, Any]()
    similarity = similarity_of(task.evaluation, extractor)
    name, wanted = cast("ModelName", kind), Wanted(task.task_loss, task.pictures)
    for text in task.corruptions:
        for set_name, images in data.measured(task).items():
            if not len(images):
                continue
            found, _ = answers_of(
                {name: generator}, images, data.pictures, parse_corruption(text), extractor, task.evaluation,
                wanted=wanted, similarity=similarity,
            )  # fmt: skip
            answers, place = found[name], f"{text}|{set_name}|"
            arrays |= {place + metric: values.astype(np.float32) for metric, values in answers.values.items()}
            arrays |= {
                place + "features": answers.features,
                place + "hole": answers.hole,
                place + "crops": answers.crops,
                place + "pictures": answers.pictures,
            }
            if answers.probabilities is not None:
                arrays[place + "probabilities"] = answers.probabilities
    return arrays


@lru_cache(maxsize=4)
def _task(text: str) -> GeneratorTask:
    return GeneratorTask.from_values(json.loads(text))


GENERATORS = Trade(contents, carry_out, read_outputs, forget_images)
