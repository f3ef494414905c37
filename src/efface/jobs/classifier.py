"""What a job does with classifiers: open, train, measure, and try a little of it for a plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, get_args

from efface.classifiers import NetworkSettings, factory_network, load_classifier
from efface.classifiers.architecture import ClassifierSettings, NetworkName
from efface.classifiers.classifier import Classifier, Normalisation, Origin
from efface.classifiers.heads import differences, for_classes
from efface.classifiers.networks import blocks_of, build
from efface.devices import chosen_device
from efface.errors import Faults, InputError
from efface.evaluation.classifiers import evaluate_classifiers
from efface.evaluation.protocol import Evaluation
from efface.evaluation.results import ModelName
from efface.images.cache import PixelCache
from efface.images.labels import class_names, class_numbers
from efface.images.selection import Split, split_images
from efface.jobs.classifier_images import Labelled, facts_for, given_to, labelled, measured, once_each
from efface.jobs.classifier_models import (
    changed_tensors,
    rebuilding_faults,
    recipe_risks,
    risks_of,
    save_with_recipe,
    statistics_facts,
    statistics_risks,
)
from efface.jobs.classifier_plan import foresee, risks_of_sets
from efface.jobs.earlier import earlier_of
from efface.jobs.erased import refuse_erased
from efface.jobs.facts import delivered_facts, model_facts, save_model
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
from efface.jobs.timing import retraining_seconds
from efface.launcher import launched
from efface.memory import room
from efface.methods.classifier.base import ClassifierMethod, check_sets
from efface.methods.classifier.retrain import RetrainClassifier
from efface.probes.classifier_subject import ClassifierSubject
from efface.progress import Progress
from efface.runs.earlier import EarlierRequests
from efface.runs.evaluate_config import ClassifierEvaluateConfig
from efface.runs.record import ClassifierTraining, EvaluationFacts
from efface.runs.state import PreparedPart, TrainedPart
from efface.runs.train_config import ClassifierTrainConfig
from efface.runs.unlearn_config import ClassifierRunConfig, parse_time_limit
from efface.training.classification import PassesReport, run_passes
from efface.training.micro_batches import refuse_micro_batches
from efface.training.optimisation import accelerator
from efface.training.passes import Cost, Pass, cost_of
from efface.training.settings import TrainingSettings


class ClassifierOperations(Operations[Classifier, Labelled]):
    """Jobs on classifiers."""

    def processes(self, config: Any) -> Processes:
        if launched() == 1:
            return Processes()
        if config.verb != "evaluate":
            raise InputError(
                f"a classifier is trained in one process, and {launched()} were started: leave torchrun out. Only evaluate "
                "shares images out over several"
            )
        return Processes(accelerator(TrainingSettings(precision="fp32")))

    def load(self, settings: ClassifierSettings | str) -> Classifier:
        return load_classifier(settings)

    def beside(
        self, settings: ClassifierSettings | str, named: ClassifierSettings | str
    ) -> ClassifierSettings | str:
        if isinstance(named, str):
            return settings
        return (ClassifierSettings(path=settings) if isinstance(settings, str) else settings).beside(named)

    def prepare(self, start: Start) -> Prepared[Classifier, Labelled]:
        if start.config.verb == "train":
            return _prepare_training(start)
        config: ClassifierRunConfig | ClassifierEvaluateConfig = start.config
        unlearns = isinstance(config, ClassifierRunConfig)
        what = "this run cannot start" if unlearns else "these models cannot be compared"
        with Faults(what) as faults:
            models, _ = self.open(config, faults)
            yardstick = self.yardstick(config, models, faults)
            base = self.base(config, models.get("original"), faults)
            if (
                isinstance(config, ClassifierRunConfig)
                and config.method.claim == "exact"
                and config.base is None
                and "original" in models
            ):
                # better now than after all images were read: not every network can draw its weights anew
                attempt(lambda: models["original"].copy().reinitialise(config.seed), faults)
        original, earlier = (
            models["original"],
            earlier_of(config, models, base.facts.weights if base else None),
        )
        with PixelCache(start.run.work / "cache", original.image_size) as cache:
            split = told(lambda: _chosen(config, earlier, cache, start.progress), start.progress)
            images = labelled(split.sets, cache, original)
            prepared = Prepared(models, split, images, earlier, base=base, yardstick=yardstick)
        if isinstance(config, ClassifierRunConfig):
            check_sets(config.method, given_to(config.method, prepared), len(original.classes))
            _refuse_micro_batches(config.method, config, prepared)
        return prepared

    def risks(
        self,
        config: ClassifierRunConfig | ClassifierEvaluateConfig,
        prepared: Prepared[Classifier, Labelled],
    ) -> list[str]:
        images = prepared.pixels.get("retain", prepared.pixels["forget"])
        if isinstance(config, ClassifierRunConfig):
            return [*risks_of(prepared.model, config.model, images), *recipe_risks(config)]
        return risks_of(prepared.model, config.original, images)

    def limit(self, start: Start, prepared: Prepared[Classifier, Labelled]) -> float | None:
        """A share of retraining is measured once, so that a continued run has the same bound."""
        config = start.config
        if not isinstance(config, ClassifierRunConfig) or config.budget is None:
            return None
        limit = parse_time_limit(config.budget)
        if limit.share is None:
            return limit.seconds
        given = given_to(config.method, prepared)
        facts, _ = facts_for(prepared, config.method, given, config.recipe, config.seed)
        whole = retraining_seconds(prepared.model.copy().to(chosen_device()), given, facts, config.training)
        start.progress.say(
            f"retraining would take about {whole:.1f} s; the method may take {limit.share:.0%} of it"
        )
        return limit.share * whole

    def train(self, start: Start, prepared: Prepared[Classifier, Labelled]) -> TrainedPart:
        """Training from scratch goes the way of the method `retrain`: of the same images, seed and network, both make the
        very same weights.
        """
        config: ClassifierRunConfig | ClassifierTrainConfig = start.config
        method = config.method if isinstance(config, ClassifierRunConfig) else RetrainClassifier()
        given = given_to(method, prepared)
        facts, everything = facts_for(prepared, method, given, config.recipe, config.seed)
        model, passes = prepared.model.copy().to(chosen_device()), method.passes(facts)
        report = run_passes(
            model,
            passes,
            everything,
            facts,
            limit=start.run.done(PreparedPart).limit_seconds,
            folder=start.run.work,
            digest=config.digest(),
            memory=config.training,
            progress=start.progress,
            statistics=config.statistics,
        )
        exact = method.claim == "exact" and report.finished
        # a recipe that nobody named is noted only where the delivered model was trained by it
        known = not isinstance(config, ClassifierRunConfig) or config.knows_recipe
        noted = config.recipe if known or exact else None
        save_model(lambda folder: save_with_recipe(model, noted, folder), start.run.model, prepared.forgets)
        cost = cost_of(passes, facts.sizes)
        budget = config.budget if isinstance(config, ClassifierRunConfig) else None
        statistics = statistics_facts(
            model, report.recomputed, report.turned, exact, based=facts.base is not None
        )
        return TrainedPart(
            seconds=report.seconds,
            work=_work(report, cost, prepared.model, model, config, budget),
            statistics=statistics,
            notes=room().notes,
            risks=[*statistics_risks(statistics), *of_the_bound(report)],
            after=delivered_facts(model, start.run.model),
        )

    def evaluate(
        self, start: Start, prepared: Prepared[Classifier, Labelled], models: Mapping[ModelName, Classifier]
    ) -> Evaluation:
        return evaluate_classifiers(
            {name: model.to(chosen_device()) for name, model in models.items()},
            measured(prepared.pixels),
            start.config.evaluation,
            proxy_retain=prepared.split.proxy,
            progress=start.progress,
        )

    def evaluation_facts(self, config: Any, prepared: Prepared[Classifier, Labelled]) -> EvaluationFacts:
        return EvaluationFacts(settings=config.evaluation, extractor=None)

    def subject(
        self,
        start: Start,
        prepared: Prepared[Classifier, Labelled],
        models: Mapping[ModelName, Classifier],
        evaluation: Evaluation,
    ) -> ClassifierSubject:
        settings = start.config.evaluation
        return ClassifierSubject(
            models=models,
            sets=measured(prepared.pixels),
            settings=settings,
            evaluation=evaluation,
            recipe=start.config.recipe,
            seed=settings.seed,
            progress=start.progress,
            yardstick=prepared.yardstick.to(chosen_device()) if prepared.yardstick else None,
        )

    def base(
        self,
        config: ClassifierRunConfig | ClassifierEvaluateConfig,
        original: Classifier | None,
        faults: Faults,
    ) -> Base[Classifier] | None:
        """With the original's classes: where these are others, with a fresh head."""
        if not isinstance(config, ClassifierRunConfig) or config.base is None:
            return None
        named = config.base
        base = attempt(lambda: load_classifier(named), faults, "base")
        if base is None or original is None:
            return None
        if config.method.asks_base and base.classes != original.classes:
            faults.add(f"{named.path} has other classes than the model: it cannot answer in its place")
        fitted = attempt(lambda: for_classes(base, original.classes, config.seed), faults)
        unlike = differences(original, fitted) if fitted else []
        faults.problems += [f"{named.path} is no base of this model: {problem}" for problem in unlike]
        return Base(model_facts(base), fitted) if fitted else None

    # for plans

    def open(
        self,
        config: ClassifierRunConfig | ClassifierEvaluateConfig,
        faults: Faults,
        processes: int = 1,
    ) -> tuple[dict[ModelName, Classifier], Labelled | None]:
        models = self.models(config, faults)
        if isinstance(config, ClassifierRunConfig):
            faults.problems += _validation_faults(config.method, config.validation)
            if "original" in models:
                faults.problems += rebuilding_faults(config.method, models["original"])
        return models, {}

    def choose(self, config: Any, earlier: EarlierRequests, progress: Progress) -> Split:
        try:
            return _chosen(config, earlier, None, progress)
        finally:
            progress.finish_counting()

    def check_sets(
        self, config: ClassifierRunConfig, models: Mapping[ModelName, Classifier], split: Split
    ) -> None:
        if "original" in models:
            class_numbers(split.sets, models["original"].classes)

    def risks_of_sets(self, config: ClassifierRunConfig, split: Split, pixels: Labelled | None) -> list[str]:
        return risks_of_sets(config, split)

    def foresee(self, config: ClassifierRunConfig, prepared: Prepared[Classifier, Labelled]) -> Foreseen:
        return foresee(config, prepared)

    def comparable(self, settings: ClassifierSettings, original: Classifier | None) -> Classifier:
        """The model has to have the same classes and input."""
        model = load_classifier(settings)
        if original is None:
            return model
        with Faults(f"the model {settings.path} cannot be compared with the original") as faults:
            if model.classes != original.classes:
                differing = [
                    f"{a!r} for {b!r}"
                    for a, b in zip(model.classes, original.classes, strict=False)
                    if a != b
                ]
                faults.add(
                    f"it has {len(model.classes)} classes, the original {len(original.classes)}"
                    if len(model.classes) != len(original.classes)
                    else f"it has other classes than the original: {', '.join(differing[:3])}. Name them with classes"
                )
            for what in ("image_size", "channels"):
                mine, theirs = getattr(model, what), getattr(original, what)
                if mine != theirs:
                    faults.add(f"its {what.replace('_', ' ')} is {mine}, the original's {theirs}")
        return model


OPERATIONS = ClassifierOperations()


def new_classifier(
    config: ClassifierTrainConfig, split: Split, like: Classifier | None, base: Classifier | None = None
) -> Classifier:
    """What `config` trains: `base`, or fresh weights in the shape that it asks for.

    Its classes are those of `like`, else the labels of all images, left out ones too, unless the base has these.
    """
    if base is not None:
        classes = like.classes if like else class_names((split.forget, split.retain, split.neutral))
        model = for_classes(base, classes, config.seed)
        if like is not None and config.like and config.base:
            whose = f"{config.like.path} is no model that was trained on from {config.base.path}"
            if unlike := differences(like, model):
                raise InputError(*(f"{whose}: {problem}" for problem in unlike))
        return model
    if like is not None:
        like.reinitialise(config.seed)
        return like
    classes = class_names((split.forget, split.retain, split.neutral))
    values = config.normalisation
    normalisation = Normalisation(values.scale, values.mean, values.std)
    architecture, name = config.architecture, str(config.classifier)
    if name not in get_args(NetworkName):
        return factory_network.new(
            name,
            architecture.arguments or {},
            config.seed,
            classes=classes,
            image_size=architecture.image_size,
            channels=architecture.channels,
            normalisation=normalisation,
        )
    shape = architecture.as_dict()
    settings = NetworkSettings.read(
        {"network": config.classifier, "classes": len(classes), **shape}, where="architecture"
    )
    network = build(settings, config.seed)
    return Classifier(
        network,
        classes=classes,
        image_size=settings.image_size,
        channels=settings.channels,
        normalisation=normalisation,
        blocks=blocks_of(network),
        origin=Origin("efface"),
    )


def of_the_bound(report: PassesReport) -> list[str]:
    """What it means that a method went beyond its bound on time."""
    if not report.cut:
        return []
    if report.finished:
        return ["the method went to its end, but took longer than its bound on time allows"]
    return [
        f"the method was stopped by its bound on time after {report.steps} step{'s' * (report.steps != 1)}, before its "
        "end: the delivered model is what it had come to"
    ]


def _prepare_training(start: Start) -> Prepared[Classifier, Labelled]:
    config: ClassifierTrainConfig = start.config
    named = {"like": config.like, "base": config.base}
    with Faults("this training cannot start") as faults:
        opened = {
            name: attempt(partial(load_classifier, one), faults, name) for name, one in named.items() if one
        }
    like, base = opened.get("like"), opened.get("base")
    shape = base or like
    size = shape.image_size if shape else config.architecture.image_size
    weights = like.weights_digest() if like else None
    earlier = earlier_of(config, {name: model for name, model in opened.items() if model})
    with PixelCache(start.run.work / "cache", size) as cache:
        split = told(lambda: _chosen(config, earlier, cache, start.progress), start.progress)
        model = new_classifier(config, split, like, base)
        pixels = labelled(split.sets, cache, model)
        based = Base(model_facts(base), model) if base else None
        prepared = Prepared({"original": model}, split, pixels, earlier, like=weights, base=based)
        _refuse_micro_batches(RetrainClassifier(), config, prepared)
        return prepared


def _refuse_micro_batches(
    method: ClassifierMethod,
    config: ClassifierRunConfig | ClassifierTrainConfig,
    prepared: Prepared[Classifier, Labelled],
) -> None:
    """Raise `InputError` where a pass of the method would take other statistics from parts of its batches."""
    facts, _ = facts_for(prepared, method, given_to(method, prepared), config.recipe, config.seed)
    if any(isinstance(one, Pass) and one.mode == "train" for one in method.passes(facts)):
        refuse_micro_batches(prepared.model, config.training)


def _chosen(
    config: ClassifierRunConfig | ClassifierTrainConfig | ClassifierEvaluateConfig,
    earlier: EarlierRequests,
    cache: PixelCache | None,
    progress: Progress,
) -> Split:
    """The sets, every picture once in each."""
    if isinstance(config, ClassifierTrainConfig):
        split = split_from_scratch(config, earlier, cache, progress)
    else:
        unlearns = isinstance(config, ClassifierRunConfig)
        split = split_images(
            config.images,
            needs_retain=unlearns,
            validation=config.validation if isinstance(config, ClassifierRunConfig) else (),
            earlier=earlier.forgotten,
            cache=cache,
            progress=progress.count,
        )
    refuse_erased(config, split, cache, progress)
    return once_each(split)


def _validation_faults(method: ClassifierMethod, validation: Iterable[str]) -> list[str]:
    """What is wrong with giving, or not giving, validation images to the method."""
    given = bool(tuple(validation))
    if method.uses_validation and not given:
        return [
            f"{method.name} needs validation images, in neither the forget nor the retain set: give "
            "--set 'validation=[SELECTOR]', said as --neutral is"
        ]
    if given and not method.uses_validation:
        return [
            f"validation: {method.name} uses no validation images; leave them out, or give them as neutral"
        ]
    return []


def _work(
    report: PassesReport,
    cost: Cost,
    before: Classifier,
    after: Classifier,
    config: ClassifierRunConfig | ClassifierTrainConfig,
    budget: str | None,
) -> ClassifierTraining:
    """What the record tells of the training. cost: what was laid down, without preparation."""
    steps = cost.steps if report.finished else report.steps
    return ClassifierTraining(
        steps=report.steps,
        seconds_per_step=report.seconds / steps if steps else None,
        precision="fp32",
        processes=1,
        resumed_from=report.resumed_from,
        changed_tensors=changed_tensors(before, after),
        tensors=len(after.network.state_dict()),
        budget=budget,
        recipe=config.recipe,
        micro_batches=report.micro_batches,
        activation_checkpointing=config.training.activation_checkpointing,
        cut=report.cut,
        complete=report.finished,
        preparation_steps=report.preparation_steps,
        preparation_seconds=report.preparation_seconds,
    )
