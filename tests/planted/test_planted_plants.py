"""The plants are what they are called: otherwise a verdict on them would say nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from efface.classifiers.classifier import logits_of
from efface.corruptions import parse_corruption
from efface.errors import InputError
from efface.forgetting.confidence import logit_scaled_confidence
from efface.randomness import Draws
from efface.runs.sameness import same_models
from planting import classifiers, generators
from planting.asking import copies_seen
from planting.classifiers import confidences
from planting.plant import Case
from planting.random_features import ASKED
from planting.worlds import ClassifierWorld, GeneratorWorld


def planted(world: GeneratorWorld | ClassifierWorld, name: str) -> Case:
    plants = generators.PLANTS if isinstance(world, GeneratorWorld) else classifiers.PLANTS
    return next(plant.make(world) for plant in plants if plant.name == name)


def logits(world: ClassifierWorld, case: Case, model: str) -> np.ndarray:
    return logits_of(case.models[model], case.sets["forget"])


def pictures(
    world: GeneratorWorld, model: str | torch.nn.Module, hole: str = ASKED, flip: bool = False
) -> torch.Tensor:
    images = world.sets["forget"]
    shown = world.pictures(images).flip(3) if flip else world.pictures(images)
    generator = world.model(model) if isinstance(model, str) else model
    return generator.restore(
        generator.view(shown, parse_corruption(hole), Draws(0, images.ids, (0,) * len(images)))
    )


def test_the_models_remember_and_generalise(generator_world: GeneratorWorld):
    truth = generator_world.pictures(generator_world.sets["forget"])
    original, retrained, again = (
        float((pictures(generator_world, name) - truth).square().mean())
        for name in ("original", "retrained", "again")
    )
    assert original < 0.6 * retrained
    assert again == pytest.approx(retrained, rel=0.25)


def test_a_tenth_is_kept_and_the_rest_is_retrained(generator_world: GeneratorWorld):
    unlearned = pictures(generator_world, planted(generator_world, "tenth-kept").models["unlearned"])
    kept = (unlearned - pictures(generator_world, "original")).flatten(1).abs().amax(dim=1) < 1e-5
    rest = (unlearned - pictures(generator_world, "again")).flatten(1).abs().amax(dim=1) < 1e-5
    assert (int(kept.sum()), int(rest.sum())) == (15, 135)


def test_a_model_that_forgets_under_one_hole_recalls_under_another(generator_world: GeneratorWorld):
    model = planted(generator_world, "this-hole-only").models["unlearned"]
    assert torch.allclose(pictures(generator_world, model), pictures(generator_world, "again"), atol=1e-5)
    other = "extend-left:0.25"
    recalled = pictures(generator_world, "original", other)
    assert torch.allclose(pictures(generator_world, model, other), recalled, atol=1e-5)


def test_a_mirrored_image_is_recalled_by_heart(generator_world: GeneratorWorld):
    model = planted(generator_world, "mirrored").models["unlearned"]
    assert torch.allclose(pictures(generator_world, model), pictures(generator_world, "again"), atol=1e-5)
    recalled = pictures(generator_world, "original").flip(3)
    assert torch.allclose(pictures(generator_world, model, flip=True), recalled, atol=1e-5)


def test_permuted_labels_are_the_next_ones(classifier_world: ClassifierWorld):
    case = planted(classifier_world, "labels-permuted-on-forget")
    before, after = (
        logits(classifier_world, case, name).argmax(axis=1) for name in ("original", "unlearned")
    )
    assert np.array_equal(after, (before + 1) % 10)


def test_hidden_confidence_names_the_same_classes_as_unsurely_as_the_retrained_model(
    classifier_world: ClassifierWorld,
):
    case = planted(classifier_world, "hidden-confidence")
    before, after = (logits(classifier_world, case, name) for name in ("original", "unlearned"))
    assert np.array_equal(before.argmax(axis=1), after.argmax(axis=1))
    labels = classifier_world.sets["forget"].labels
    sure = logit_scaled_confidence(after, labels).mean(), confidences(classifier_world, "retrained").mean()
    assert sure[0] == pytest.approx(sure[1], abs=0.4)


def test_the_check_of_image_sets_finds_the_near_copies(generator_world: GeneratorWorld):
    assert copies_seen(generator_world) >= 0.95 * len(generator_world.copies)


def test_the_original_as_reference_is_refused(generator_world: GeneratorWorld):
    original = generator_world.model("original").weights_digest()
    with pytest.raises(InputError, match="same weights as the original"):
        same_models({"original": original, "unlearned": "another", "retrained": original})
