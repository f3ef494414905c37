"""The models of a task of generators: fresh, trained from scratch, and made to forget. Nothing is kept here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from efface.benchmark.generators.data import GeneratorData, base_of
from efface.benchmark.generators.task import GeneratorTask, section_parts
from efface.benchmark.runs import Section
from efface.errors import InputError
from efface.images.items import ImageSet
from efface.methods.base import phases_of
from efface.training.settings import OWN_MASK, TrainingSettings, shown_in_training

if TYPE_CHECKING:
    from efface.generators.base import Generator
    from efface.training.data import Data
    from efface.training.loop import TrainingReport
    from efface.training.phases import Phase

NEVER = 10**9
"""Steps between checkpoints: a run is short, and a stopped one starts anew."""


def trained(
    task: GeneratorTask, data: GeneratorData, images: ImageSet, seed: int
) -> tuple[Generator, TrainingReport]:
    """A model of the task trained on `images`: from fresh weights every stage of it, from a base all but its first."""
    from efface.methods.generator.retrain import from_scratch

    generator = new_generator(task, seed)
    phases: list[Phase] = list(from_scratch(task.base is None, _unchecked(task.first_stage.as_dict())))
    settings = task.training.as_dict()
    return generator, run_phases(generator, phases, {"retain": images}, task, data, settings, seed)


def unlearn(
    generator: Generator, section: Section, task: GeneratorTask, data: GeneratorData, seed: int
) -> TrainingReport:
    """Let `generator` unlearn the forget set of `data` with the method of a section."""
    method, _, share = section_parts(section)
    settings = unlearning_settings(section, task)
    sets = {**data.sets, "retain": data.retained(share, task.images.split_seed)}
    base = new_generator(task) if method.asks_base or (task.base and method.begins_anew) else None
    return run_phases(generator, phases_of(method, base), sets, task, data, settings.as_dict(), seed)


def unlearning_settings(section: Section, task: GeneratorTask) -> TrainingSettings:
    """How a method of a section trains: as it recommends, as the task says, and as the section says; later wins."""
    method, training, _ = section_parts(section)
    shown = shown_in_training(task.corruptions[0])
    return type(method).training_settings({**shown, **task.unlearning, **training})


def new_generator(task: GeneratorTask, seed: int = 0) -> Generator:
    """A model of the task as it is before its training, fresh or the base; it knows with what it will be trained.

    Raises `InputError` where the base is of another family or size than the task says.
    """
    from efface.corruptions import parse_corruption
    from efface.generators.registry import FAMILIES

    if task.base is None:
        generator = FAMILIES.named(task.generator).new(task.architecture, seed)
    else:
        generator = base_of(task, task.base)
        asked, there = (
            (task.generator, task.architecture.image_size),
            (generator.family, generator.image_size),
        )
        if there != asked:
            raise InputError(
                f"base: {task.base} is of {there[0]} and {there[1]} px, the task of {asked[0]} and {asked[1]} px"
            )
    generator.learnt_crops = task.training.crops
    if task.training.corruption != OWN_MASK:
        generator.trained_with = parse_corruption(task.training.corruption)
    return generator


def training_data(task: GeneratorTask, data: GeneratorData, sets: Mapping[str, ImageSet]) -> Data:
    """What a training loop reads: these sets, and the moments of the forget set's pixels."""
    from efface.training.data import Data, pixel_moments

    moments = pixel_moments(data.sets["forget"], data.pictures)
    return Data(dict(sets), data.pictures, moments)


def run_phases(
    generator: Generator,
    phases: list[Phase],
    sets: Mapping[str, ImageSet],
    task: GeneratorTask,
    data: GeneratorData,
    settings: Section,
    seed: int,
) -> TrainingReport:
    """Run `phases` on `sets` by name with these training settings; draws, dropout included, hang on `seed` alone."""
    from efface.training.loop import Trainer
    from efface.training.optimisation import accelerator

    chosen = _unchecked(settings)
    process, reads = accelerator(chosen), training_data(task, data, sets)
    return Trainer(generator, phases, reads, chosen, seed, process, codes_in_memory=True).run()


def timed_step(task: GeneratorTask, data: GeneratorData, steps: int) -> float:
    """Seconds of a training step; nothing is kept."""
    from efface.methods.generator.retrain import from_scratch
    from efface.training.loop import Trainer
    from efface.training.optimisation import accelerator

    reads = training_data(task, data, {"retain": data.sets["retain"]})
    chosen = _unchecked(task.training.as_dict())
    phases: list[Phase] = list(from_scratch(False))
    return Trainer(new_generator(task), phases, reads, chosen, 0, accelerator(chosen)).time_steps(steps)


def _unchecked(settings: Section) -> TrainingSettings:
    return TrainingSettings.read({**settings, "checkpoint_every": NEVER, "log_every": NEVER, "threads": 1})
