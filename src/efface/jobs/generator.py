"""What a job does with generators: open, train, measure, and try a little of it for a plan."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch

from efface.classifiers.layouts import known_layouts
from efface.corruptions import Corruption, parse_corruption
from efface.errors import Faults, InputError
from efface.evaluation.answers import Wanted
from efface.evaluation.protocol import Evaluation, evaluate
from efface.evaluation.results import ModelName
from efface.generators import load_generator
from efface.generators.base import Generator, PixelMoments
from efface.generators.families import ModelSettings
from efface.generators.registry import FAMILIES, read_model, risks_of
from efface.images.cache import PixelCache
from efface.images.items import ImageSet
from efface.images.selection import Split, split_images
from efface.jobs.earlier import earlier_of
from efface.jobs.erased import refuse_erased
from efface.jobs.facts import delivered_facts, extractor_facts, model_facts, save_model
from efface.jobs.generator_images import (
    Views,
    crop_risks,
    measuring,
    open_similarity,
    other_training_crops,
    read_all_pairs,
    read_pairs,
    some_images,
    stored_side,
    view_facts,
)
from efface.jobs.generator_plan import foresee, risks_of_sets
from efface.jobs.operations import (
    Base,
    Foreseen,
    Operations,
    Prepared,
    Processes,
    Start,
    attempt,
)
from efface.jobs.sets import split_from_scratch, told
from efface.memory import room
from efface.methods.base import phases_of
from efface.methods.generator.early import differences
from efface.methods.generator.retrain import from_scratch
from efface.metrics.extractors import load_extractor
from efface.model_files import UnknownModel
from efface.model_formats import OWN_NETWORK
from efface.probes.generator_subject import GeneratorSubject
from efface.progress import Progress
from efface.runs.earlier import EarlierRequests
from efface.runs.evaluate_config import EvaluateConfig
from efface.runs.record import EvaluationFacts, FirstStageTraining, FurtherFacts, GeneratorTraining
from efface.runs.state import FurtherPart, TrainedPart
from efface.runs.train_config import TrainConfig
from efface.runs.unlearn_config import RunConfig
from efface.training.data import Data, per_stream, pixel_moments
from efface.training.loop import Trainer
from efface.training.micro_batches import refuse_micro_batches
from efface.training.optimisation import accelerator
from efface.training.phases import Training
from efface.training.settings import OWN_MASK, TrainingSettings, parse_budget
from efface.training.sharding import sharding_faults
from efface.training.step import training_corruption

PICTURES = 8
"""Images of each set in `pictures.html`."""


class GeneratorOperations(Operations[Generator, Views]):
    """Jobs on generators."""

    def processes(self, config: RunConfig | TrainConfig | EvaluateConfig) -> Processes:
        return Processes(accelerator(config.training))

    def load(self, settings: ModelSettings | str) -> Generator:
        try:
            return load_generator(settings)
        except UnknownModel as error:
            # it may be meant to be a classifier
            raise InputError(f"{error}\nand of classifiers\n{known_layouts()}\n{OWN_NETWORK}") from None

    def comparable(self, settings: ModelSettings, original: Generator | None) -> Generator:
        """The model has to take the same views."""

        def view(model: Generator) -> tuple[str, int, int]:
            return model.family, model.image_size, model.grid

        other = load_generator(settings)
        if original and view(other) != view(original):
            raise InputError(
                f"the reference model {settings.path} is of the family {other.family} with {other.image_size} px "
                f"and a grid of {other.grid}, the model {original.family} with {original.image_size} px and "
                f"{original.grid}: they cannot see the same views"
            )
        return other

    def beside(self, settings: ModelSettings | str, named: ModelSettings) -> ModelSettings:
        section = read_model({"path": settings}) if isinstance(settings, str) else settings
        return section.beside(named)

    def prepare(self, start: Start) -> Prepared[Generator, Views]:
        if start.config.verb == "train":
            return _prepare_training(start)
        config: RunConfig | EvaluateConfig = start.config
        what = "this run cannot start" if config.verb == "unlearn" else "these models cannot be compared"
        with Faults(what) as faults:
            models, views = self.open(config, faults, start.processes.count)
            yardstick = self.yardstick(config, models, faults)
            base = self.base(config, models.get("original"), faults)
        assert views is not None
        views.opened = PixelCache(
            start.run.work / "cache", config.stored_side or stored_side(models["original"].image_size)
        )
        earlier, cache = earlier_of(config, models, base.facts.weights if base else None), views.cache
        split = told(lambda: _chosen(config, earlier, cache, start.progress), start.progress)
        read_all_pairs(config, split, views)
        pairs = views.digest(start.run.key)
        close = views.cache.close
        return Prepared(models, split, views, earlier, pairs, base=base, close=close, yardstick=yardstick)

    def risks(self, config: RunConfig | EvaluateConfig, prepared: Prepared[Generator, Views]) -> list[str]:
        return [
            *risks_of(prepared.model, some_images(prepared, config.evaluation), prepared.pixels.corruption),
            *crop_risks(config, prepared),
            *other_training_crops(config, prepared.model),
        ]

    def train(self, start: Start, prepared: Prepared[Generator, Views]) -> TrainedPart | None:
        config: RunConfig | TrainConfig = start.config
        generator, split, views = prepared.model, prepared.split, prepared.pixels
        training = config.training.under(generator.learnt_crops)
        if isinstance(config, RunConfig):
            sets, phases, trains = (
                {"forget": split.forget, "retain": split.retain},
                phases_of(config.method, prepared.base_model),
                config.method.trains,
            )
            moments = pixel_moments(split.forget, views.cache)
        else:
            sets, trains = {"retain": split.retain}, "all"
            keeps_first_stage = config.keep_first_stage or config.base is not None
            phases = list(from_scratch(not keeps_first_stage, config.first_stage))
            moments = PixelMoments(torch.zeros(3), torch.ones(3))
        report = Trainer(
            generator,
            phases,
            Data(sets, views.cache, moments, views.training_pairs),
            config.training,
            config.seed,
            start.processes.accelerator or accelerator(config.training),
            folder=start.run.work,
            config_digest=config.digest(),
            budget=parse_budget(config.budget) if config.budget else None,
            progress=start.progress,
            keep=lambda name, model: _keep(start, name, model),
        ).run()
        if not start.processes.first:
            return None
        first_stage = None
        if isinstance(config, TrainConfig) or config.method.claim == "exact":
            generator.learnt_crops = training.crops
        if isinstance(config, TrainConfig):
            if config.training.corruption != OWN_MASK and not views.corruption.paired:
                # a pair's place is a path, which a model does not carry
                generator.trained_with = views.corruption
            if generator.first_stage_digest() is not None:
                settings = None if keeps_first_stage else _recorded(config.first_stage.under(training.crops))
                first_stage = FirstStageTraining(kept=keeps_first_stage, training=settings)
        trained_under = training_corruption(generator, config.training).label
        save_model(generator.save, start.run.model, prepared.forgets)
        work = GeneratorTraining(
            steps=report.steps,
            seconds_per_step=report.seconds_per_step,
            precision=report.precision,
            processes=report.processes,
            resumed_from=report.resumed_from,
            changed_tensors=len(generator.trained_parameters(trains)),
            tensors=len(list(generator.network.parameters())),
            budget=config.budget,
            corruption=trained_under,
            settings=_recorded(training),
            micro_batches=report.micro_batches,
            activation_checkpointing=config.training.activation_checkpointing,
        )
        after = delivered_facts(generator, start.run.model)
        return TrainedPart(
            seconds=report.seconds, work=work, first_stage=first_stage, notes=room().notes, after=after
        )

    def evaluate(
        self, start: Start, prepared: Prepared[Generator, Views], models: Mapping[ModelName, Generator]
    ) -> Evaluation:
        """The same, and the pictures if they were asked for. Where probes are, each model's own loss is measured too."""
        for model in models.values():
            model.to(start.processes.device)
        config, views, sets = start.config, prepared.pixels, prepared.sets
        settings = measuring(config, prepared.model)
        evaluation = evaluate(
            models, sets, views.cache, views.corruption, views.features, settings, pairs=views.pairs,
            wanted=Wanted(task_loss=bool(config.probes)), similarity=views.similarity, progress=start.progress,
        )  # fmt: skip
        if config.with_pictures and start.processes.first:
            from efface.evaluation.pictures import restored
            from efface.reports.pictures import write_pictures

            parts = restored(models, sets, views.cache, views.corruption, settings, PICTURES, views.pairs)
            write_pictures(start.run.path, parts, views.corruption.label)
        return evaluation

    def evaluation_facts(
        self, config: RunConfig | EvaluateConfig, prepared: Prepared[Generator, Views]
    ) -> EvaluationFacts:
        """Extractors stand there by their names, since settings may name places."""
        views = prepared.pixels
        extractor, own = extractor_facts(views.features), views.similarity not in (None, views.extractor)
        similarity = extractor_facts(views.similarity) if own and views.similarity else None
        named = {"extractor": extractor.name, "similarity": similarity.name if similarity else None}
        return EvaluationFacts(
            settings=measuring(config, prepared.model).model_copy(update=named),
            extractor=extractor,
            similarity=similarity,
            views=view_facts(config, prepared),
        )

    def subject(
        self,
        start: Start,
        prepared: Prepared[Generator, Views],
        models: Mapping[ModelName, Generator],
        evaluation: Evaluation,
    ) -> GeneratorSubject:
        views, settings = prepared.pixels, measuring(start.config, prepared.model)
        return GeneratorSubject(
            models=models,
            sets=prepared.sets,
            cache=views.cache,
            corruption=views.corruption,
            extractor=views.features,
            settings=settings,
            evaluation=evaluation,
            training=start.config.training.under(prepared.model.learnt_crops),
            pairs=views.pairs,
            seed=settings.seed,
            progress=start.progress,
            yardstick=prepared.yardstick.to(start.processes.device) if prepared.yardstick else None,
        )

    def corruption(self, config: RunConfig | EvaluateConfig) -> str:
        return parse_corruption(config.corruption).label

    def base(
        self, config: RunConfig | EvaluateConfig, original: Generator | None, faults: Faults
    ) -> Base[Generator] | None:
        """Where it only takes the place of fresh weights, it may have a first stage of its own."""
        if not isinstance(config, RunConfig) or config.base is None:
            return None
        named = config.base
        base = attempt(lambda: load_generator(named), faults, "base")
        if base is None or original is None:
            return None
        unlike = differences(original, base, first_stage=config.method.claim != "exact")
        faults.problems += [f"{named.path} is no base of this model: {problem}" for problem in unlike]
        return Base(model_facts(base), base)

    # for plans

    def open(
        self, config: RunConfig | EvaluateConfig, faults: Faults, processes: int = 1
    ) -> tuple[dict[ModelName, Generator], Views | None]:
        """The models and extractors; batch and corruptions are looked at too: all that precedes the images."""
        models = self.models(config, faults)
        original = models.get("original")
        extractor = attempt(
            lambda: load_extractor(config.evaluation.extractor, config.evaluation.extractor_input), faults
        )
        similarity = open_similarity(config.evaluation, extractor, faults)
        texts = [config.corruption]
        if isinstance(config, RunConfig):
            faults.problems += _batch_faults(config, processes)
            faults.problems += sharding_faults(config.training, config.method.phases())
            texts += [config.training.corruption] if config.training.corruption != OWN_MASK else []
        corruptions = [attempt(partial(parse_corruption, text), faults) for text in dict.fromkeys(texts)]
        if original:
            attempt(partial(refuse_micro_batches, original.network, config.training), faults)
            for corruption in filter(None, corruptions):
                attempt(partial(original.check_corruption, corruption), faults)
            attempt(partial(original.sampler_name, config.evaluation.sampler), faults)
        views = Views(corruptions[0], extractor, similarity) if corruptions[0] and extractor else None
        return models, views

    def choose(
        self, config: RunConfig | TrainConfig | EvaluateConfig, earlier: EarlierRequests, progress: Progress
    ) -> Split:
        try:
            return _chosen(config, earlier, None, progress)
        finally:
            progress.finish_counting()

    def risks_of_sets(self, config: RunConfig, split: Split, pixels: Views | None) -> list[str]:
        return risks_of_sets(split, pixels.features.dimension if pixels else None)

    def foresee(self, config: RunConfig, prepared: Prepared[Generator, Views]) -> Foreseen:
        return foresee(config, prepared)


OPERATIONS = GeneratorOperations()


def new_generator(config: TrainConfig, like: Generator | None, base: Generator | None = None) -> Generator:
    """What `config` trains: `base`, or fresh weights in the shape that it asks for, in `like` where that is followed."""
    named, generator = (config.base, base) if config.base else (config.like, like)
    if named is None or generator is None:
        return FAMILIES[config.generator].new(config.architecture, config.seed)
    if generator.family != config.generator:
        raise InputError(
            f"generator: {config.generator} is asked for, but {named.path} is of the family {generator.family}: leave one "
            "of them out"
        )
    if base is None:
        # it still says which crops the model that is followed learnt: it is trained on the same
        generator.reinitialise(config.seed, config.keep_first_stage)
    elif like is not None and config.like:
        whose = f"{config.like.path} is no model that was trained on from {named.path}"
        if unlike := differences(base, like):
            raise InputError(*(f"{whose}: {problem}" for problem in unlike))
    return generator


def _chosen(
    config: RunConfig | TrainConfig | EvaluateConfig,
    earlier: EarlierRequests,
    cache: PixelCache | None,
    progress: Progress,
) -> Split:
    if isinstance(config, TrainConfig):
        split = split_from_scratch(config, earlier, cache, progress)
    else:
        split = split_images(
            config.images,
            needs_retain=isinstance(config, RunConfig) and config.method.needs_retain,
            earlier=earlier.forgotten,
            cache=cache,
            progress=progress.count,
        )
    refuse_erased(config, split, cache, progress)
    return split


def _prepare_training(start: Start) -> Prepared[Generator, Views]:
    config: TrainConfig = start.config
    with Faults("this training cannot start") as faults:
        named = {"like": config.like, "base": config.base}
        opened = {
            name: attempt(partial(load_generator, one), faults, name) for name, one in named.items() if one
        }
        models = {name: model for name, model in opened.items() if model}
        like, base = models.get("like"), models.get("base")
        weights = like.weights_digest() if like else None
        based = Base(model_facts(base), base) if base else None
        earlier = attempt(lambda: earlier_of(config, models), faults)
        generator = attempt(lambda: new_generator(config, like, base), faults) if models == opened else None
        corruption = attempt(lambda: _shown(config, generator), faults) if generator else None
        if generator:
            attempt(partial(refuse_micro_batches, generator.network, config.training), faults)
        if generator and config.first_stage.corruption not in (OWN_MASK, config.training.corruption):
            faults.add("first_stage.corruption: a tokenizer or VAE sees whole pictures; leave it out")
        for name, settings in (("training", config.training), ("first_stage", config.first_stage)):
            try:
                per_stream(settings.batch_size, 1, start.processes.count)
            except ValueError as error:
                faults.add(f"{name}.batch_size: {error}")
        faults.problems += sharding_faults(config.training, ())
    assert generator is not None
    assert corruption is not None
    assert earlier is not None
    cache = PixelCache(start.run.work / "cache", config.stored_side or stored_side(generator.image_size))
    split = told(lambda: _chosen(config, earlier, cache, start.progress), start.progress)
    pairs = read_pairs(corruption, Split(ImageSet(), split.retain, ImageSet()), cache)
    views = Views(corruption, training_pairs=pairs, opened=cache)
    return Prepared(
        {"original": generator}, split, views, earlier, like=weights, base=based, close=cache.close
    )


def _shown(config: TrainConfig, generator: Generator) -> Corruption:
    """What a new model is shown; raises `InputError` if it cannot be."""
    corruption = training_corruption(generator, config.training)
    generator.check_corruption(corruption)
    return corruption


def _batch_faults(config: RunConfig, processes: int) -> list[str]:
    """Why the batch does not divide over streams and processes, phase by phase."""
    problems = []
    for phase in config.method.phases():
        if isinstance(phase, Training):
            try:
                per_stream(config.training.batch_size, len(phase.streams), processes)
            except ValueError as error:
                problems.append(f"training.batch_size: {error}")
    return list(dict.fromkeys(problems))


def _keep(start: Start, name: str, generator: Generator) -> None:
    """Save the present model as a further result, in `RUN/path/NAME/`."""
    folder = start.run.path / "path" / name
    folder.parent.mkdir(exist_ok=True)
    save_model(generator.save, folder, forgets=True)
    made = delivered_facts(generator, folder)
    facts = FurtherFacts(weights=made.weights, tensors=made.tensors, files=made.files)
    kept = start.run.finished(FurtherPart)
    start.run.finish(FurtherPart(models={**(kept.models if kept else {}), name: facts}))


def _recorded(settings: TrainingSettings) -> TrainingSettings:
    """Training settings without the place of paired pictures, and without who followed."""
    settings = settings.model_copy(update={"trackers": ()})
    if settings.corruption == OWN_MASK:
        return settings
    return settings.model_copy(update={"corruption": parse_corruption(settings.corruption).label})
