"""`train` of a classifier: fresh weights, trained by a recipe, for instance the reference without the forget images.

The same passes as the method `retrain`: of the same images, seed and network, both make the very same weights.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from efface.classifiers import NetworkSettings, load_classifier
from efface.classifiers.classifier import Classifier, Normalisation, Origin
from efface.classifiers.networks import blocks_of, build
from efface.images.cache import PixelCache
from efface.images.items import ImageSet
from efface.images.labels import class_names
from efface.images.selection import Split
from efface.jobs.account import (
    delivered_facts,
    images_facts,
    manifests,
    refuse_other_images,
    save_model,
)
from efface.jobs.classifiers.models import device, save_with_recipe, statistics_facts
from efface.jobs.classifiers.sets import LabelledSplit, facts_for, label_sets, once_each
from efface.jobs.classifiers.unlearning import classifier_training
from efface.jobs.frame import begin, conclude
from efface.jobs.preparation import split_from_scratch
from efface.methods.classifier.retrain import RetrainClassifier
from efface.progress import Progress
from efface.runs.classifier_config import ClassifierTrainConfig
from efface.runs.folder import RunFolder
from efface.runs.record import FROM_SCRATCH, Claim, Durations, ModelsFacts, Seeds, Statement
from efface.runs.state import PreparedPart, TrainedPart
from efface.training.classification import run_passes
from efface.training.passes import cost_of


@dataclass(frozen=True)
class _Prepared:
    model: Classifier
    split: LabelledSplit


def train_classifier(config: ClassifierTrainConfig, run: RunFolder, progress: Progress) -> None:
    """Train, or continue to train, what `config` describes in the folder of `run`; raises as `jobs.training.train`."""
    began = time.monotonic()
    if not run.finished(TrainedPart):
        prepared = _prepare(config, run, progress)
        recorded = run.finished(PreparedPart)
        if recorded is None:
            begin(run)
            run.finish(_preparation(config, run, prepared.split, time.monotonic() - began))
        else:
            refuse_other_images(prepared.split.sets, run.key, recorded.images)
        _train(config, run, prepared, progress)
    conclude(config, run, progress, _statement(config, run))


def new_classifier(config: ClassifierTrainConfig, split: Split, like: Classifier | None) -> Classifier:
    """Fresh weights in the shape that `config` asks for; its classes are the labels of all images, left out ones too."""
    if like is not None:
        like.reinitialise(config.seed)
        return like
    classes = class_names((split.forget, split.retain, split.neutral))
    shape = {name: value for name, value in config.architecture.as_dict().items() if value is not None}
    settings = NetworkSettings.read(
        {"network": config.classifier, "classes": len(classes), **shape}, where="architecture"
    )
    network = build(settings, config.seed)
    values = config.normalisation
    return Classifier(
        network,
        classes=classes,
        image_size=settings.image_size,
        channels=settings.channels,
        normalisation=Normalisation(values.scale, values.mean, values.std),
        blocks=blocks_of(network),
        origin=Origin("efface"),
    )


def _prepare(config: ClassifierTrainConfig, run: RunFolder, progress: Progress) -> _Prepared:
    like = load_classifier(config.like) if config.like is not None else None
    size = like.image_size if like else config.architecture.image_size
    with PixelCache(run.work / "cache", size) as cache:
        split, _ = once_each(split_from_scratch(config, cache, progress), ImageSet())
        model = new_classifier(config, split, like)
        return _Prepared(model, label_sets(split, ImageSet(), cache, model))


def _preparation(
    config: ClassifierTrainConfig, run: RunFolder, split: LabelledSplit, seconds: float
) -> PreparedPart:
    selectors = (config.images, *config.without, *config.neutral)
    images = images_facts(split.split, selectors, manifests(run.path, split.sets, run.key))
    return PreparedPart(seconds=round(seconds, 3), images=images, notes=list(split.split.notes))


def _train(config: ClassifierTrainConfig, run: RunFolder, prepared: _Prepared, progress: Progress) -> None:
    method = RetrainClassifier()
    before, model = prepared.model.copy(), prepared.model.to(device())
    # what is left out is not trained on, but counts in the weights of the classes, as in the competition
    given = prepared.split.for_method(method)
    facts, everything = facts_for(model, method, given, config.recipe, config.seed)
    passes = method.passes(facts)
    report = run_passes(
        model,
        passes,
        everything,
        facts,
        folder=run.work,
        digest=config.digest(),
        progress=progress,
    )
    save_model(lambda folder: save_with_recipe(model, config.recipe, folder), run.model)
    run.finish(
        TrainedPart(
            seconds=report.seconds,
            work=classifier_training(
                report, cost_of(passes, facts.sizes), before, model, config.recipe, None
            ),
            statistics=statistics_facts(model, "keep", exact=True),
            after=delivered_facts(model, run.model),
        )
    )


def _statement(config: ClassifierTrainConfig, run: RunFolder) -> Statement:
    preparation, training = run.done(PreparedPart), run.done(TrainedPart)
    exact = preparation.images.only_retain
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
        first_stage=None,
        corruption=None,
        statistics=training.statistics,
        seeds=Seeds(training=config.seed),
        images=preparation.images,
        notes=preparation.notes,
        risks=[],
        evaluation=None,
    )
