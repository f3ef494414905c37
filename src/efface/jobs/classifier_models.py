"""What is odd about a classifier, and what in it or beside it may outlive a method."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch

from efface.batch_norms import replaced_by_a_batch, statistics_layers
from efface.classifiers import save_classifier
from efface.classifiers.architecture import ClassifierSettings
from efface.classifiers.classifier import Classifier, logits_of
from efface.classifiers.networks import settings_of
from efface.files import write_json
from efface.generators.families import TRAINING_NOTE
from efface.images.labelled import LabelledImages
from efface.methods.classifier.base import ClassifierMethod
from efface.runs.record import Handled, StatisticsFacts
from efface.runs.unlearn_config import ClassifierRunConfig, parse_time_limit
from efface.training.settings import Recipe, StatisticsChoice
from efface.wording import counted

LOOKED_AT = 512
"""Images by which it is told whether a model knows its classes at all."""
FEWEST_LOOKED_AT = 20
BATCH = 256
AVERAGED = re.compile(r"(^|[._-])ema([._-]|$)", re.IGNORECASE)


def risks_of(classifier: Classifier, settings: ClassifierSettings, images: LabelledImages) -> list[str]:
    """Sentences on what looks wrong with a model when it is shown images of its training, and on copies of its weights."""
    risks = []
    some = images.subset(np.linspace(0, len(images) - 1, min(len(images), LOOKED_AT)).round())
    if len(some) >= FEWEST_LOOKED_AT:
        right = float((logits_of(classifier, some, BATCH).argmax(1) == some.labels).mean())
        chance = float(np.bincount(some.labels).max() / len(some))
        if right <= chance:
            risks.append(
                f"the model names the class of {right:.0%} of the images, and always the most frequent one would be right "
                f"for {chance:.0%}: it may be untrained, or its classes, image size or normalisation may not be those of "
                "its training"
            )
    if averaged := averaged_weights(Path(settings.path)):
        risks.append(
            f"beside its weights the model carries averaged ones ({', '.join(averaged)}), which were not changed: they "
            "may still hold the forgotten images"
        )
    return risks


def recipe_risks(config: ClassifierRunConfig) -> list[str]:
    """A sentence, where the method or its bound on time rests on a recipe that nobody named."""
    limit = parse_time_limit(config.budget) if config.budget else None
    resting = [
        *([f"{config.method.name} trains by it"] if config.method.reads_recipe else []),
        *(["the share of retraining in the budget is measured by it"] if limit and limit.share else []),
    ]
    if config.knows_recipe or not resting:
        return []
    recipe = config.recipe
    return [
        "how the model was trained is not known: no note lies beside it, and no recipe was given. The competition's is "
        f"taken ({recipe.epochs} epochs of {recipe.optimizer} at {recipe.learning_rate:g}, {recipe.batch_size} images a "
        f"step), and {' and '.join(resting)}. Give the model's own, as in --set recipe.epochs=10"
    ]


def rebuilding_faults(method: ClassifierMethod, classifier: Classifier) -> list[str]:
    """What is wrong with a method that delivers a network of another make than the one that it is given."""
    own = settings_of(classifier.network, classifier.image_size)
    if not method.rebuilds or (own and own.committee == 1):
        return []
    what = "is a committee already" if own else "is none of efface's own"
    return [
        f"{method.name} makes a committee of networks like the model's, and this {type(classifier.network).__name__} "
        f"{what}: the committee could not be saved. Choose another method, or train a model with efface train "
        "--classifier"
    ]


def averaged_weights(path: Path) -> list[str]:
    """Names of files with exponentially averaged weights (EMA) in a model's folder."""
    names = [entry.name for entry in path.iterdir()] if path.is_dir() else []
    return sorted(name for name in names if AVERAGED.search(name))


def statistics_facts(
    classifier: Classifier, recomputed: int, turned: int, exact: bool, *, based: bool = False
) -> StatisticsFacts:
    """How many layers keep running statistics of images, and what was done with these; recomputed, turned: layers.

    based: whether a new training began with those of a base.
    """
    count, replaced = (len(layers(classifier.network)) for layers in (statistics_layers, replaced_by_a_batch))
    handled: Handled = "kept (may hold forgotten images)"
    if not count:
        handled = "none in this model"
    elif recomputed == count:
        handled = "recomputed from retain images"
    elif exact:
        handled = "of the base and the new training" if based else "of the new training alone"
    elif recomputed:
        handled = "recomputed from retain images in part, else kept (may hold forgotten images)"
    return StatisticsFacts(
        batch_norm_layers=count,
        replaced_by_a_batch=replaced,
        turned=turned,
        recomputed=recomputed,
        handled=handled,
    )


def statistics_risks(facts: StatisticsFacts) -> list[str]:
    """The limits that follow from `statistics_facts`, if any."""
    risks = []
    kept = facts.batch_norm_layers - facts.recomputed
    if "kept" in facts.handled:
        layers = "a layer" if kept == 1 else f"{kept} layers"
        risks.append(
            f"{layers} of batch normalisation keep running means and variances of the images of training; what the method "
            "did not overwrite of them may hold forgotten images (statistics: recompute makes them anew from retain images)"
        )
    return risks


def statistics_ahead(
    classifier: Classifier, choice: StatisticsChoice, trains: bool, exact: bool
) -> tuple[StatisticsFacts, list[str]]:
    """What will be done with running statistics, and a sentence where one batch replaces most of one.

    trains: whether the method has passes in training mode, which move the statistics; exact: whether these
    begin fresh.
    """
    layers, replaced = statistics_layers(classifier.network), replaced_by_a_batch(classifier.network)
    moved = len(replaced) if trains and choice == "auto" else 0
    recomputed = len(layers) if choice == "recompute" else moved if exact else 0
    facts = statistics_facts(classifier, recomputed, 0 if exact else moved, exact)
    if not replaced or not trains:
        return facts, []
    momenta = sorted({layer.momentum or 0.0 for layer in replaced.values()})
    cured = {
        "auto": "they train with 1 - momentum, and those that begin fresh are computed anew from retain images "
        "(statistics: keep would train with the momentum as it is)",
        "recompute": "they are computed anew from retain images after training",
        "keep": "with statistics: keep the model is delivered so; auto trains with 1 - momentum",
    }[choice]
    return facts, [
        f"{counted(len(replaced), 'layer')} of batch normalisation have a momentum of "
        f"{' to '.join(f'{value:g}' for value in dict.fromkeys((momenta[0], momenta[-1])))}: one batch replaces more than "
        f"half of a running statistic, and after training such a network often no longer works; {cured}"
    ]


def changed_tensors(before: Classifier, after: Classifier) -> int:
    """How many tensors of the delivered model are not those of the original."""
    old = before.network.state_dict()
    return sum(
        name not in old or old[name].shape != value.shape or not torch.equal(old[name].cpu(), value.cpu())
        for name, value in after.network.state_dict().items()
    )


def save_with_recipe(classifier: Classifier, recipe: Recipe | None, folder: Path) -> None:
    """The model's folder, with a note of how models like it are trained from scratch, where that is known."""
    save_classifier(classifier, folder)
    if recipe is not None:
        write_json(folder / TRAINING_NOTE, {"recipe": recipe.as_dict()})
