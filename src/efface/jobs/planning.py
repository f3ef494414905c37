"""`plan`: everything that is wrong or risky with a model and its data at once, and what a run would cost.

Nothing is changed and nothing is kept: images are decoded into a temporary folder, and only as many as the
timed steps need.
"""

from __future__ import annotations

import math
import resource
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from efface.corruptions import Corruption, parse_corruption
from efface.errors import EffaceError, Faults, InputError
from efface.evaluation.requirements import foreseen
from efface.evaluation.results import ModelName, SetName
from efface.generators.base import Generator
from efface.generators.registry import risks_of
from efface.images.cache import PixelCache, estimate_bytes
from efface.images.items import ImageSet
from efface.images.selection import Split, split_images
from efface.jobs.account import some_images
from efface.jobs.classifiers.planning import look
from efface.jobs.preparation import Prepared, attempt, open_models, read_all_pairs, stored_side
from efface.jobs.probing import reference_notes
from efface.metrics.extractors import FeatureExtractor
from efface.metrics.frechet import frechet_refusal
from efface.progress import Progress
from efface.runs.classifier_config import ClassifierRunConfig
from efface.runs.config import RunConfig
from efface.training.data import Data, pixel_moments
from efface.training.loop import TIMED_STEPS, UNTIMED_STEPS, Trainer
from efface.training.optimisation import accelerator as make_accelerator
from efface.training.optimisation import chosen_precision
from efface.training.phases import Training
from efface.training.settings import parse_budget
from efface.training.step import training_corruption

FEW_IMAGES = 5
ADAMW_COPIES = 3
"""A checkpoint holds the trained weights and two moments of each."""


@dataclass(frozen=True)
class Estimate:
    """What a run would take, from a few timed steps of training and one batch of evaluation."""

    steps: int
    seconds_per_step: float
    training_seconds: float
    evaluation_seconds: float
    peak_memory_bytes: int
    disk_bytes: int
    disk_kept_bytes: int


@dataclass
class Plan:
    """What `plan` found. A run can start if `faults` is empty."""

    faults: list[str] = field(default_factory=list)
    risks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sets: dict[str, int] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    estimate: Estimate | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values."""
        return asdict(self)


def plan(config: RunConfig | ClassifierRunConfig, progress: Progress | None = None) -> Plan:
    """Look at the run that `config` describes without starting it; raises nothing for what it finds."""
    progress = progress or Progress()
    if isinstance(config, ClassifierRunConfig):
        looked = dict(vars(look(config, progress)))
        numbers = looked.pop("estimate")
        estimate = Estimate(**numbers, peak_memory_bytes=_peak_memory()) if numbers else None
        return Plan(**looked, estimate=estimate)
    found = Plan(notes=[*_notes_of_probes(config), *reference_notes(config, config.retrained is not None)])
    with tempfile.TemporaryDirectory(prefix="efface-plan-") as folder:
        faults = Faults()
        generator, extractor, retrained = open_models(config, 1, faults)
        if generator:
            found.model = generator.describe()
            found.changes = _changes(config, generator)
        split = attempt(lambda: _split(config, progress), faults)
        if split:
            found.notes = [*split.notes, *found.notes]
            found.sets = {name: len(images) for name, images in _sets(split).items()}
            found.risks += _risks_of_sets(config, split, extractor)
            found.risks += _risks_of_requirements(config, split)
        if generator and split and extractor and not faults:
            cache = PixelCache(Path(folder), config.stored_side or stored_side(generator.image_size))
            corruption = parse_corruption(config.corruption)
            prepared = Prepared(generator, corruption, split, cache, extractor, retrained)
            try:
                _measure(config, prepared, found, Path(folder))
            except EffaceError as error:
                faults.problems += error.problems if isinstance(error, InputError) else [str(error)]
            finally:
                cache.close()
        found.faults = list(dict.fromkeys(faults.problems))
    return found


def _split(config: RunConfig, progress: Progress) -> Split:
    try:
        return split_images(config.images, needs_retain=config.method.needs_retain, progress=progress.count)
    finally:
        progress.finish_counting()


def _changes(config: RunConfig, generator: Generator) -> dict[str, Any]:
    names = generator.trained_parameters(config.method.trains)
    everything = sum(parameter.numel() for parameter in generator.network.parameters())
    changed = sum(parameter.numel() for parameter in names.values())
    return {
        "trains": config.method.trains,
        "tensors": len(names),
        "parameters": changed,
        "share": round(changed / everything, 4),
        "first": sorted(names)[:3],
    }


def _sets(split: Split) -> dict[SetName, ImageSet]:
    return {"forget": split.forget, "retain": split.retain, "neutral": split.neutral}


def _risks_of_sets(config: RunConfig, split: Split, extractor: FeatureExtractor | None) -> list[str]:
    risks = []
    sets = _sets(split)
    if not len(split.neutral):
        risks.append("no neutral set: what the model does with images that it never saw will not be known")
    if config.retrained is None:
        risks.append(
            "no retrained model (--retrained): whether the result behaves like a model that never saw the forget "
            "images cannot be measured"
        )
    if not len(split.retain):
        risks.append("no retain set: what unlearning costs the rest will not be known")
    for name, images in sets.items():
        if 0 < len(images) < FEW_IMAGES:
            risks.append(f"{name} has {len(images)} images: no interval can be given below {FEW_IMAGES}")
        elif extractor and len(images) and frechet_refusal(len(images), extractor.dimension):
            risks.append(f"{name}: {frechet_refusal(len(images), extractor.dimension)}")
    share = len(split.forget) / max(len(split.forget) + len(split.retain), 1)
    if share > 0.5:
        risks.append(f"{share:.0%} of the images are to be forgotten: training anew may serve better")
    return risks


def _risks_of_requirements(config: RunConfig, split: Split) -> list[str]:
    counts = {name: len(set(images.ids)) for name, images in _sets(split).items()}
    return foreseen(config.require, "generator", counts, retrained=config.retrained is not None)


def _notes_of_probes(config: RunConfig) -> list[str]:
    """What the probes take beyond the evaluation whose time is estimated."""
    cost = {"nothing": "no further passes", "passes": "further passes", "training": "training of copies"}
    return [f"probe {probe.name}: {cost[probe.cost]}, not in the estimate" for probe in config.probes]


def _measure(config: RunConfig, prepared: Prepared, found: Plan, working: Path) -> None:
    """Fill in what only running a little can tell."""
    settings, generator, split = config.training, prepared.generator, prepared.split
    some = settings.batch_size * (UNTIMED_STEPS + TIMED_STEPS)
    sets = {name: images.subset(range(min(len(images), some))) for name, images in _sets(split).items()}
    small = Split(sets["forget"], sets["retain"], sets["neutral"])
    for images in sets.values():
        prepared.cache.add(images, skip_unreadable=config.images.skip_unreadable)
    pairs, training_pairs = read_all_pairs(config, small, prepared.cache)
    sample = replace(prepared, split=small, pairs=pairs, training_pairs=training_pairs)
    found.risks += risks_of(generator, some_images(sample, config.evaluation))
    phases = config.method.phases()
    training = next(phase for phase in phases if isinstance(phase, Training))
    used = training_corruption(generator, training, prepared.corruption, settings)
    found.risks += _unfamiliar(generator, prepared.corruption)
    if str(used) != str(generator.training_corruption):
        found.notes.append(
            f"the model was pre-trained with {generator.training_corruption}; unlearning trains with {used}"
        )
    trainer = Trainer(
        generator,
        phases,
        Data(
            {str(name): images for name, images in sets.items()},
            prepared.cache,
            prepared.corruption,
            pixel_moments(small.forget, prepared.cache),
            sample.training_pairs,
        ),
        # one crop an image: a step is timed with codes at hand where the run will have them
        settings.model_copy(update={"crops_per_image": settings.crops_per_image and 1}),
        config.seed,
        make_accelerator(settings),
        folder=working,
    )
    per_step = trainer.time_steps()
    steps = _steps(config, per_step)
    found.changes["precision"] = chosen_precision(settings)
    found.estimate = Estimate(
        steps=steps,
        seconds_per_step=per_step,
        training_seconds=per_step * steps,
        evaluation_seconds=_evaluation_seconds(config, sample, found.sets),
        peak_memory_bytes=_peak_memory(),
        **_disk(config, prepared),
    )


def _unfamiliar(generator: Generator, corruption: Corruption) -> list[str]:
    """Whether the model was ever shown this kind of corruption."""
    own = generator.training_corruption
    if own.hides == corruption.hides and (corruption.hides or own.name == corruption.name):
        return []
    return [
        f"the model was trained with {own}, not with {corruption}: it may never have learnt to restore that"
    ]


def _steps(config: RunConfig, per_step: float) -> int:
    budget = parse_budget(config.budget) if config.budget else None
    if budget and budget.steps:
        return budget.steps
    if budget and budget.seconds:
        return max(1, int(budget.seconds / per_step))
    return config.training.steps


def _evaluation_seconds(config: RunConfig, sample: Prepared, counts: dict[str, int]) -> float:
    import time

    from efface.evaluation.protocol import evaluate

    settings = config.evaluation.model_copy(update={"resamples": 200})
    few = {
        name: images.subset(range(min(len(images), settings.batch_size)))
        for name, images in sample.sets.items()
    }
    began = time.monotonic()
    only: dict[ModelName, Generator] = {"original": sample.generator}
    evaluate(only, few, sample.cache, sample.corruption, sample.extractor, settings, pairs=sample.pairs)
    measured = sum(len(images) for images in few.values())
    models = 3 if sample.retrained else 2
    return (time.monotonic() - began) / max(measured, 1) * sum(counts.values()) * models


def _peak_memory() -> int:
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _disk(config: RunConfig, prepared: Prepared) -> dict[str, int]:
    generator, split = prepared.generator, prepared.split
    weights = sum(p.numel() * p.element_size() for p in generator.network.parameters())
    trained = sum(
        p.numel() * p.element_size() for p in generator.trained_parameters(config.method.trains).values()
    )
    everything = split.forget.union(split.retain).union(split.neutral)
    cache = estimate_bytes(everything, prepared.cache.short_side)
    # a checkpoint is written beside the one before
    return {
        "disk_bytes": math.ceil(cache + 2 * ADAMW_COPIES * trained + 2 * weights),
        "disk_kept_bytes": weights,
    }
