"""What trying a little of an unlearning run tells of a generator's: what it changes, takes, and will not tell."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median

import torch
from torch import Tensor

from efface.corruptions import Corruption
from efface.evaluation.answers import sample_count, samples_of, view_batches
from efface.evaluation.protocol import evaluate
from efface.evaluation.results import ModelName, SetName
from efface.evaluation.settings import EvaluationSettings
from efface.generators.base import Generator, Trained, pixels_in_unit_range
from efface.generators.registry import risks_of
from efface.generators.sampling import steps_of, with_steps
from efface.images.cache import estimate_bytes
from efface.images.items import ImageSet
from efface.images.selection import Split
from efface.jobs.generator_images import (
    Views,
    crop_risks,
    measuring,
    read_all_pairs,
    some_images,
    stored_side,
    training_crops,
)
from efface.jobs.operations import Changes, Foreseen, Prepared, RunEstimate, peak_memory
from efface.jobs.sets import measured_sets, trial_cache
from efface.memory import fitting
from efface.methods.base import phases_of
from efface.metrics.frechet import frechet_refusal
from efface.randomness import Draws
from efface.runs.unlearn_config import RunConfig
from efface.training.data import Crops, Data, pixel_moments
from efface.training.loop import TIMED_STEPS, UNTIMED_STEPS, Trainer
from efface.training.optimisation import accelerator, chosen_precision
from efface.training.phases import Phase, Training
from efface.training.settings import TrainingSettings, parse_budget
from efface.training.step import training_corruption
from efface.wording import counted, magnitude

FEW_IMAGES = 5
FEW_IN_BATCH, PATIENCE = (1, 4), 8.0
"""Images of each stream with which it is tried how slow steps are; seconds that timing whole batches may take."""
FEW_SAMPLER_STEPS, MORE_SAMPLER_STEPS = 1, 3
ADAMW_COPIES = 3
"""A checkpoint holds the trained weights and two moments of each."""


@dataclass(frozen=True)
class WeightChanges(Changes):
    """Which weights a method may change. share: of all parameters; first: names of some tensors."""

    trains: Trained
    tensors: int
    parameters: int
    share: float
    first: list[str]
    precision: str = ""

    @property
    def words(self) -> str:
        return (
            f"changes: {self.trains}, {counted(self.tensors, 'tensor')}, "
            f"{magnitude(self.parameters)} parameters ({self.share:.0%}), such as {', '.join(self.first)}"
        )


def risks_of_sets(split: Split, dimension: int | None) -> list[str]:
    """Sentences on what these sets will not tell. dimension: of the features, where they can be computed."""
    risks = []
    if not len(split.neutral):
        risks.append("no neutral set: what the model does with images that it never saw will not be known")
    if not len(split.retain):
        risks.append("no retain set: what unlearning costs the rest will not be known")
    for name, images in measured_sets(split).items():
        refusal = frechet_refusal(len(images), dimension) if dimension else None
        if 0 < len(images) < FEW_IMAGES:
            risks.append(
                f"{name} has {counted(len(images), 'image')}: no interval can be given below {FEW_IMAGES}"
            )
        elif len(images) and refusal:
            risks.append(f"{name}: {refusal}")
    return risks


def foresee(config: RunConfig, prepared: Prepared[Generator, Views]) -> Foreseen:
    some = config.training.batch_size * (UNTIMED_STEPS + TIMED_STEPS)
    sets = {name: images.subset(range(min(len(images), some))) for name, images in prepared.sets.items()}
    side = config.stored_side or stored_side(prepared.model.image_size)
    with trial_cache(sets.values(), side) as cache:
        tried = replace(prepared, pixels=replace(prepared.pixels, opened=cache))
        return _foreseen(config, tried, sets)


def _foreseen(
    config: RunConfig, prepared: Prepared[Generator, Views], sets: Mapping[SetName, ImageSet]
) -> Foreseen:
    """What steps and answers take on a few images of each set."""
    generator, settings, views = prepared.model, config.training, prepared.pixels
    small = Split(sets["forget"], sets["retain"], sets["neutral"])
    for images in sets.values():
        views.cache.add(images, skip_unreadable=config.images.skip_unreadable)
    read_all_pairs(config, small, views)
    sample = replace(prepared, split=small)
    risks = [
        *risks_of(generator, some_images(sample, config.evaluation), views.corruption),
        *crop_risks(config, sample),
        *_unfamiliar(generator, views.corruption),
    ]
    phases = phases_of(config.method, prepared.base_model)
    notes = [
        *generator.remarks(),
        masks_of_training(generator, settings),
        training_crops(config, generator),
    ]
    if (samples := sample_count(generator, config.evaluation)) > 1:
        notes.append(f"each model answers each view {samples} times (evaluation.samples), which is priced in")
    data = Data(
        {str(name): images for name, images in sets.items()},
        views.cache,
        pixel_moments(small.forget, views.cache),
        views.training_pairs,
    )
    # one crop an image: a step is timed with codes at hand where the run will have them
    timed = settings.model_copy(update={"crops_per_image": settings.crops_per_image and 1})
    if settings.shard:
        notes.append(
            "training.shard: time and memory were taken in one process, which keeps all whole; of N processes under "
            "torchrun each keeps an Nth of the trained weights, their gradients and moments"
        )
    per_step, note = _step_seconds(generator, phases, data, timed, config.seed)
    notes += note
    shown = training_corruption(generator, settings)
    notes += _first_stage_price(generator, some_images(sample, config.evaluation), shown, settings.batch_size)
    training = next(phase for phase in phases if isinstance(phase, Training))
    steps = _steps(config, per_step, sum(len(prepared.split.sets[one]) for one in training.streams))
    counts = sum(len(images) for images in prepared.sets.values())
    estimate = RunEstimate(
        steps=steps,
        seconds_per_step=per_step,
        training_seconds=per_step * steps,
        evaluation_seconds=_evaluation_seconds(config, sample) * counts,
        peak_memory_bytes=peak_memory(),
        **_disk(config, prepared),
    )
    changes = replace(_changes(config, generator), precision=chosen_precision(settings))
    return Foreseen(changes, estimate, risks, notes)


def _step_seconds(
    generator: Generator, phases: list[Phase], data: Data, settings: TrainingSettings, seed: int
) -> tuple[float, list[str]]:
    """Seconds of a step, and a note where whole batches are so slow that the price is that of a few of their images."""

    def timed(settings: TrainingSettings, count: int) -> float:
        trainer = Trainer(
            generator, phases, data, settings, seed, accelerator(settings), codes_in_memory=True
        )
        return trainer.time_steps(count)

    streams = max(len(phase.streams) for phase in phases if isinstance(phase, Training))
    whole, more = settings.batch_size, FEW_IN_BATCH[-1] * streams
    for few in (count * streams for count in FEW_IN_BATCH):
        if whole < 2 * few:
            break
        some = settings.model_copy(update={"batch_size": few, "gradient_accumulation": 1})
        seconds = timed(some, 1) * whole / few
        if seconds * (UNTIMED_STEPS + TIMED_STEPS) <= PATIENCE:
            break
        if few == more or seconds * more / whole * (UNTIMED_STEPS + 1) > PATIENCE:
            return seconds, [
                f"a step of {whole} images takes about {seconds:.2g} s here, by steps of {few}: time is priced from "
                "these, and memory does not count the others"
            ]
    return timed(settings, TIMED_STEPS), []


def _first_stage_price(
    generator: Generator, images: Tensor, corruption: Corruption, batch_size: int
) -> list[str]:
    """What the first stage costs each step where codes that are kept do not spare it."""
    if not generator.codes_change(corruption):
        return []
    codes = generator.codes(pixels_in_unit_range(images, generator.device), corruption)
    seconds = []
    for visit in range(UNTIMED_STEPS + TIMED_STEPS):
        began = time.monotonic()
        generator.view(images, corruption, Draws(0, ("",) * len(images), (visit,) * len(images)), codes=codes)
        seconds.append(time.monotonic() - began)
    each = median(seconds[UNTIMED_STEPS:]) * batch_size / len(images)
    return [
        f"what the model is fed under {corruption.label} passes the first stage at every step, kept codes or not: about "
        f"{each:.2g} s of it"
    ]


def masks_of_training(generator: Generator, settings: TrainingSettings) -> str:
    """Under which masks unlearning trains, and whether the model knows them."""
    own, used = generator.training_corruption, training_corruption(generator, settings)
    if not generator.tells_training:
        return f"unlearning trains under {used.label}: what the model was trained to undo is not said (model.trained_with)"
    if str(used) == str(own):
        return f"unlearning trains under {own.label}, which the model was trained with"
    return f"unlearning trains under {used.label}; the model was trained with {own.label}"


def _changes(config: RunConfig, generator: Generator) -> WeightChanges:
    names = generator.trained_parameters(config.method.trains)
    everything = sum(parameter.numel() for parameter in generator.network.parameters())
    changed = sum(parameter.numel() for parameter in names.values())
    share = round(changed / everything, 4)
    return WeightChanges(config.method.trains, len(names), changed, share, sorted(names)[:3])


def _unfamiliar(generator: Generator, corruption: Corruption) -> list[str]:
    """Whether the model was ever shown this kind of corruption."""
    own = generator.training_corruption
    alike = own.hides == corruption.hides and (corruption.hides or own.name == corruption.name)
    if alike or not generator.tells_training:
        return []
    return [
        f"the model was trained with {own}, not with {corruption}: it may never have learnt to restore that"
    ]


def _steps(config: RunConfig, per_step: float, images: int) -> int:
    budget = parse_budget(config.budget) if config.budget else None
    if budget and budget.steps:
        return budget.steps
    if budget and budget.seconds:
        return max(1, int(budget.seconds / per_step))
    return config.training.steps_on(images)


def _evaluation_seconds(config: RunConfig, sample: Prepared[Generator, Views]) -> float:
    """Seconds for each image, over all models. Of a long sampler a few steps run, by which the others are priced."""
    settings = measuring(config, sample.model)
    answers = settings.crops_per_image * sample_count(sample.model, settings)
    sampler = sample.model.sampler_name(settings.sampler)
    further = max((steps_of(sampler) or 0) - FEW_SAMPLER_STEPS, 0)
    few = with_steps(sampler, FEW_SAMPLER_STEPS) if sampler and further else settings.sampler
    settings = settings.model_copy(
        update={"resamples": 200, "crops_per_image": 1, "samples": 1, "sampler": few}
    )
    _answer_seconds(sample, settings, 1)  # the first answer may load or allocate what later ones have
    each, images = _answer_seconds(sample, settings, 1), 1
    if each * settings.batch_size <= PATIENCE:
        images = settings.batch_size
        each = _answer_seconds(sample, settings, images)
    if sampler and further:
        each += further * _sampler_step_seconds(sample, settings, sampler, images)
    return each * answers * (3 if config.retrained else 2)


def _answer_seconds(sample: Prepared[Generator, Views], settings: EvaluationSettings, images: int) -> float:
    """What measuring one image takes, by so many of each set."""
    few, views = {name: _first(of_set, images) for name, of_set in sample.sets.items()}, sample.pixels
    only: dict[ModelName, Generator] = {"original": sample.model}
    began = time.monotonic()
    evaluate(only, few, views.cache, views.corruption, views.features, settings, pairs=views.pairs)
    return (time.monotonic() - began) / max(sum(map(len, few.values())), 1)


def _first(images: ImageSet, count: int) -> ImageSet:
    return images.subset(range(min(len(images), count)))


@torch.inference_mode()
def _sampler_step_seconds(
    sample: Prepared[Generator, Views], settings: EvaluationSettings, sampler: str, count: int
) -> float:
    """What one more step of the sampler takes for each answer: how much longer more steps take than few."""
    model, views = sample.model, sample.pixels

    def each_step(batch: Crops) -> float:
        view = model.eval().view(batch.images, views.corruption, batch.draws, condition=batch.conditions)
        seconds = []
        for steps in (FEW_SAMPLER_STEPS, MORE_SAMPLER_STEPS):
            so_many = settings.model_copy(update={"sampler": with_steps(sampler, steps)})
            began = time.monotonic()
            # on the CPU they are there: an accelerator may still be at work
            next(samples_of(model, view, so_many)).cpu()
            seconds.append(time.monotonic() - began)
        longer = max(seconds[1] - seconds[0], 0)
        return longer / (MORE_SAMPLER_STEPS - FEW_SAMPLER_STEPS) / len(view)

    images = _first(max(sample.sets.values(), key=len), count)
    batches = view_batches(images, views.cache, model.image_size, settings, views.pairs)
    return next(fitting(batches, model.image_size, each_step))


def _disk(config: RunConfig, prepared: Prepared[Generator, Views]) -> dict[str, int]:
    generator = prepared.model
    weights = sum(p.numel() * p.element_size() for p in generator.network.parameters())
    trained = sum(
        p.numel() * p.element_size() for p in generator.trained_parameters(config.method.trains).values()
    )
    cache = estimate_bytes(prepared.split.everything, prepared.pixels.cache.short_side)
    # a checkpoint is written beside the one before
    return {
        "disk_bytes": math.ceil(cache + 2 * ADAMW_COPIES * trained + 2 * weights),
        "disk_kept_bytes": weights,
    }
