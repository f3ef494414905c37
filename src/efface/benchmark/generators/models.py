"""The models of a task of generators: fresh, trained from scratch, and made to forget. Nothing is kept here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from efface.benchmark.generators.data import GeneratorData
from efface.benchmark.generators.task import GeneratorTask, section_parts
from efface.benchmark.runs import Section
from efface.images.items import ImageSet
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
    """A model of the task trained from scratch on `images`, every stage of it."""
    from efface.methods.generator.retrain import from_scratch

    generator = new_generator(task, seed)
    phases: list[Phase] = list(from_scratch(True, _unchecked(task.first_stage.as_dict())))
    settings = task.training.as_dict()
    return generator, run_phases(generator, phases, {"retain": images}, task, data, settings, seed)


def unlearn(
    generator: Generator, section: Section, task: GeneratorTask, data: GeneratorData, seed: int
) -> TrainingReport:
    """Let `generator` unlearn the forget set of `data` with the method of a section."""
    method, _, share = section_parts(section)
    settings = unlearning_settings(section, task)
    sets = {**data.sets, "retain": data.retained(share, task.images.split_seed)}
    return run_phases(generator, method.phases(), sets, task, data, settings.as_dict(), seed)


def unlearning_settings(section: Section, task: GeneratorTask) -> TrainingSettings:
    """How a method of a section trains: as it recommends, as the task says, and as the section says; later wins."""
    method, training, _ = section_parts(section)
    shown = shown_in_training(task.corruptions[0])
    return type(method).training_settings({**shown, **task.unlearning, **training})


def new_generator(task: GeneratorTask, seed: int = 0) -> Generator:
    """An untrained model of the task, which knows with what it will be trained."""
    from efface.corruptions import parse_corruption
    from efface.generators.registry import FAMILIES

    generator = FAMILIES.named(task.generator).new(task.architecture, seed)
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
