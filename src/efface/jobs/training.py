"""`train`: a model from scratch, for instance the reference that never saw the forget images."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from efface.classifiers import load_classifier
from efface.classifiers.classifier import Classifier
from efface.corruptions import Corruption, parse_corruption
from efface.errors import Faults, InputError
from efface.evaluation.results import SetName
from efface.generators import load_generator
from efface.generators.base import Generator, Moments
from efface.generators.registry import FAMILIES
from efface.images.cache import PixelCache
from efface.images.items import ImageSet
from efface.images.selection import Split
from efface.jobs.account import (
    delivered_facts,
    generator_training,
    images_facts,
    manifests,
    recorded_settings,
    refuse_other_images,
    save_model,
)
from efface.jobs.classifiers.training import train_classifier
from efface.jobs.frame import begin, conclude, run_folder
from efface.jobs.preparation import attempt, read_pairs, split_from_scratch, stored_side
from efface.methods.generator.retrain import from_scratch
from efface.progress import Progress
from efface.runs.classifier_config import ClassifierTrainConfig
from efface.runs.config import TrainConfig
from efface.runs.folder import RunFolder
from efface.runs.record import (
    FROM_SCRATCH,
    Claim,
    Durations,
    FirstStageTraining,
    ModelFacts,
    ModelsFacts,
    Record,
    Seeds,
    Statement,
    read_record,
)
from efface.runs.state import PreparedPart, RecordedPart, TrainedPart
from efface.training.data import Data, per_stream
from efface.training.loop import Trainer
from efface.training.optimisation import accelerator as make_accelerator
from efface.training.settings import parse_budget


@dataclass(frozen=True)
class TrainResult:
    """A trained model: its run folder and record."""

    run: Path
    record: Record

    @property
    def model(self) -> Path:
        """The folder of the trained model."""
        return self.run / "model"

    def generator(self) -> Generator:
        """The trained generator, opened."""
        return load_generator(str(self.model))

    def classifier(self) -> Classifier:
        """The trained classifier, opened."""
        return load_classifier(str(self.model))


def train(
    config: TrainConfig | ClassifierTrainConfig, out: Path, progress: Progress | None = None
) -> TrainResult:
    """Train, or continue to train, what `config` describes in the folder `out`; raises as `unlearn` does."""
    if isinstance(config, ClassifierTrainConfig):
        with run_folder(config, out, progress) as (run, spoken):
            if run.finished(RecordedPart):
                spoken.say(f"{out} is finished already; nothing to do")
            else:
                train_classifier(config, run, spoken)
            return TrainResult(run.path, read_record(run.path))
    accelerator = make_accelerator(config.training)
    first = accelerator.is_main_process
    with run_folder(config, out, progress, first) as (run, spoken):
        accelerator.wait_for_everyone()
        if run.finished(RecordedPart):
            spoken.say(f"{out} is finished already; nothing to do")
            return TrainResult(run.path, read_record(run.path))
        began = time.monotonic()
        with accelerator.main_process_first():
            generator, corruption, cache, split, pairs = _prepare(
                config, run, accelerator.num_processes, spoken
            )
        if first and not run.finished(PreparedPart):
            begin(run)
            run.finish(_preparation(config, run, split, time.monotonic() - began))
        elif first:
            refuse_other_images(_sets(split), run.key, run.done(PreparedPart).images)
        if not run.finished(TrainedPart):
            report = Trainer(
                generator,
                list(from_scratch(not config.keep_first_stage, config.first_stage)),
                Data({"retain": split.retain}, cache, generator.training_corruption, _no_moments(), pairs),
                config.training,
                config.seed,
                accelerator,
                folder=run.work,
                config_digest=config.digest(),
                budget=parse_budget(config.budget) if config.budget else None,
                progress=spoken,
            ).run()
            if first:
                if config.training.corruption and not corruption.paired:
                    # a pair's place is a path, which a model does not carry
                    generator.trained_with = corruption
                save_model(generator.save, run.model)
                run.finish(
                    TrainedPart(
                        seconds=report.seconds,
                        work=generator_training(config.training, report, generator, "all", config.budget),
                        after=delivered_facts(generator, run.model),
                    )
                )
        cache.close()
        if first:
            conclude(config, run, spoken, _statement(config, run))
        accelerator.wait_for_everyone()
        return TrainResult(run.path, read_record(run.path))


def _prepare(
    config: TrainConfig, run: RunFolder, processes: int, progress: Progress
) -> tuple[Generator, Corruption, PixelCache, Split, Mapping[str, str] | None]:
    with Faults("this training cannot start") as faults:
        generator = attempt(lambda: new_generator(config), faults)
        corruption = None
        if generator:
            corruption = attempt(lambda: _training_corruption(config, generator), faults)
            if config.first_stage.corruption not in (None, config.training.corruption):
                faults.add("first_stage.corruption: a tokenizer or VAE sees whole pictures; leave it out")
        for name, settings in (("training", config.training), ("first_stage", config.first_stage)):
            try:
                per_stream(settings.batch_size, 1, processes)
            except ValueError as error:
                faults.add(f"{name}.batch_size: {error}")
    assert generator is not None
    assert corruption is not None
    cache = PixelCache(run.work / "cache", config.stored_side or stored_side(generator.image_size))
    split = split_from_scratch(config, cache, progress)
    pairs = read_pairs(corruption, Split(ImageSet(), split.retain, ImageSet()), cache)
    return generator, corruption, cache, split, pairs


def _training_corruption(config: TrainConfig, generator: Generator) -> Corruption:
    """What the model is shown; raises `InputError` if it cannot be."""
    text = config.training.corruption
    corruption = parse_corruption(text) if text else generator.training_corruption
    generator.check_corruption(corruption)
    return corruption


def new_generator(config: TrainConfig) -> Generator:
    """Fresh weights in the shape that `config` asks for."""
    if config.like is None:
        return FAMILIES.named(config.generator).new(config.architecture, config.seed)
    generator = load_generator(config.like)
    if generator.family != config.generator:
        raise InputError(
            f"generator: {config.generator} is asked for, but {config.like.path} is of the family {generator.family}: "
            "leave one of them out"
        )
    if config.keep_first_stage and generator.first_stage_digest() is None:
        raise InputError(f"keep_first_stage: {config.like.path} has no first stage")
    generator.reinitialise(config.seed, config.keep_first_stage)
    return generator


def _preparation(config: TrainConfig, run: RunFolder, split: Split, seconds: float) -> PreparedPart:
    sets = manifests(run.path, _sets(split), run.key)
    selectors = (config.images, *config.without, *config.neutral)
    images = images_facts(split, selectors, sets)
    return PreparedPart(seconds=round(seconds, 3), images=images, notes=list(split.notes))


def _sets(split: Split) -> dict[SetName, ImageSet]:
    return {"forget": split.forget, "retain": split.retain, "neutral": split.neutral}


def _statement(config: TrainConfig, run: RunFolder) -> Statement:
    preparation, training = run.done(PreparedPart), run.done(TrainedPart)
    exact = preparation.images.only_retain and not config.keep_first_stage
    return Statement(
        kind="training",
        claim=Claim(level="exact" if exact else "empirical", words=FROM_SCRATCH),
        request=None,
        durations=Durations(preparation=preparation.seconds, training=round(training.seconds, 3)),
        model=ModelsFacts(before=None, after=training.after),
        retrained=None,
        sources={},
        method=None,
        training=training.work,
        first_stage=_first_stage(config, training.after),
        statistics=None,
        corruption=None,
        seeds=Seeds(training=config.seed),
        images=preparation.images,
        notes=preparation.notes,
        risks=[],
        evaluation=None,
    )


def _first_stage(config: TrainConfig, after: ModelFacts) -> FirstStageTraining | None:
    """How the first stage came about; None for a model without."""
    if after.description.first_stage is None:
        return None
    training = None if config.keep_first_stage else recorded_settings(config.first_stage)
    return FirstStageTraining(kept=config.keep_first_stage, training=training)


def _no_moments() -> Moments:
    return Moments(torch.zeros(3), torch.ones(3))
