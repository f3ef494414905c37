"""What holds for every method for classifiers, on a tiny network with batch normalisation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from efface.classifiers import load_classifier, save_classifier
from efface.classifiers.architecture import ClassifierSettings, NetworkSettings
from efface.classifiers.classifier import Classifier
from efface.classifiers.networks import build
from efface.errors import InputError
from efface.images.labelled import LabelledImages
from efface.methods.classifier.base import ClassifierMethod, unlearn_classifier, with_own_sets
from efface.methods.registry import CLASSIFIER_METHODS
from efface.training.classification import OutOfTime, PassesReport, Work, run_passes
from efface.training.passes import Edit, Facts, Pass, cost_of, training_pass
from efface.training.recipe import Recipe

RECIPE = Recipe(epochs=2, batch_size=16, learning_rate=5e-3)
SHORT = {"epochs": 2, "rounds": 1, "cycles": 1, "images": 20, "noise_images": 8, "noise_steps": 3}
"""Settings that would make a run long, where a method has them."""


def digits() -> LabelledImages:
    found = load_digits()
    pixels = np.round(found.images * 15.9375).astype(np.uint8)[:, None]
    return LabelledImages(pixels, found.target.astype(np.int64), tuple(map(str, range(len(pixels)))))


DIGITS = digits()
SETS = {
    "forget": DIGITS.subset(range(12)),
    "retain": DIGITS.subset(range(12, 92)),
    "validation": DIGITS.subset(range(92, 122)),
}


def facts(classifier: Classifier, seed: int = 0) -> Facts:
    return Facts({name: len(one) for name, one in SETS.items()}, 10, classifier.blocks, RECIPE, seed)


@pytest.fixture(scope="module")
def original() -> Classifier:
    settings = NetworkSettings(network="small-conv", classes=10, channels=1, image_size=8, width=4)
    model = Classifier(build(settings, seed=0), classes=tuple("0123456789"), image_size=8, channels=1)
    trained = facts(model, 77)
    everything = {**SETS, "train": SETS["forget"].join(SETS["retain"])}
    run_passes(model, [training_pass(RECIPE, "train")], everything, trained)
    return model


def short(kind: type[ClassifierMethod]) -> ClassifierMethod:
    chosen = {name: value for name, value in SHORT.items() if name in kind.model_fields}
    return kind.read(chosen)


def weights(model: Classifier) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.network.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


def run(original: Classifier, kind: type[ClassifierMethod], seed: int = 0) -> tuple[Classifier, PassesReport]:
    return unlearn_classifier(original, short(kind), SETS, facts(original, seed))


every_method = pytest.mark.parametrize(
    "kind", CLASSIFIER_METHODS.built_in.values(), ids=lambda kind: kind.name
)


@every_method
def test_it_changes_the_model_and_leaves_what_it_was_given(
    kind: type[ClassifierMethod], original: Classifier
) -> None:
    before, state, numpy_state = weights(original), torch.get_rng_state(), np.random.get_state()[1].copy()
    original.train()
    model, report = run(original, kind)
    assert not same(weights(model), before)
    assert same(weights(original), before)
    assert original.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in original.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert not model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(tensor.isfinite().all() for tensor in weights(model).values())
    assert report.seconds > 0


@every_method
def test_it_repeats_with_its_seed(kind: type[ClassifierMethod], original: Classifier) -> None:
    one, again, other = (weights(run(original, kind, seed)[0]) for seed in (3, 3, 4))
    assert same(one, again)
    assert same(one, other) == kind.deterministic


@every_method
def test_its_steps_are_those_that_its_cost_says(kind: type[ClassifierMethod], original: Classifier) -> None:
    method = short(kind)
    _, here = with_own_sets(method, SETS, facts(original))
    passes, sizes = method.passes(here), here.sizes
    before = sum(one.steps(sizes) for one in passes if isinstance(one, Pass) and one.preparation)
    report = run(original, kind)[1]
    assert (report.steps, report.preparation_steps) == (cost_of(passes, sizes).steps, before)


@every_method
def test_it_refuses_sets_that_it_cannot_use(kind: type[ClassifierMethod], original: Classifier) -> None:
    method, before = short(kind), weights(original)
    both = {**SETS, "retain": SETS["retain"].join(SETS["forget"])}
    empty = {name: one for name, one in SETS.items() if name != "forget"}
    other = LabelledImages(SETS["forget"].pixels, SETS["forget"].labels + 9, SETS["forget"].ids)
    for wrong, said in (
        (both, "12 images are in both forget and retain"),
        (empty, f"forget: no images; {kind.name} needs some"),
        ({**SETS, "forget": other}, "but the model has 10 classes"),
    ):
        with pytest.raises(InputError, match=said):
            unlearn_classifier(original, method, wrong, facts(original))
    if kind.needs_validation:
        with pytest.raises(InputError, match="validation: no images"):
            unlearn_classifier(original, method, {**SETS, "validation": DIGITS.subset([])}, facts(original))
    assert same(weights(original), before)


@every_method
def test_what_it_made_can_be_saved_and_opened(
    kind: type[ClassifierMethod], original: Classifier, tmp_path: Path
) -> None:
    model, _ = run(original, kind)
    save_classifier(model, tmp_path / "model")
    opened = load_classifier(ClassifierSettings(path=str(tmp_path / "model")))
    images = torch.from_numpy(SETS["validation"].pixels)
    with torch.no_grad():
        assert torch.equal(opened.eval()(images), model(images))


@every_method
def test_every_published_setting_may_be_searched_in_its_range(kind: type[ClassifierMethod]) -> None:
    for name, (low, high) in kind.space.items():
        default: Any = kind.model_fields[name].default
        assert 0 < low < high
        assert low <= default <= high, f"{name}: {default} is not within {low} to {high}"


@every_method
def test_one_image_is_forgotten_where_normalisation_sees_single_pixels(kind: type[ClassifierMethod]) -> None:
    """As a ResNet-18 does at 32 px, in its last stage."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
            nn.Sequential(nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten()),
            nn.Linear(6, 10),
        )
    model = Classifier(network, classes=tuple("0123456789"), image_size=8, channels=1)
    done, report = unlearn_classifier(
        model, short(kind), {**SETS, "forget": DIGITS.subset([3])}, facts(model)
    )
    assert report.finished
    assert all(tensor.isfinite().all() for tensor in weights(done).values())


@every_method
def test_its_traits_say_what_it_delivers_and_whether_it_trains_by_the_recipe(
    kind: type[ClassifierMethod], original: Classifier
) -> None:
    method = short(kind)
    _, here = with_own_sets(method, SETS, facts(original))
    other = replace(here, recipe=Recipe(epochs=5, batch_size=16, learning_rate=0.03))
    one, another = (
        [(each.optimiser, each.epochs) for each in method.passes(known) if isinstance(each, Pass)]
        for known in (here, other)
    )
    assert kind.reads_recipe == (one != another)
    same_make = type(run(original, kind)[0].network) is type(original.network)
    assert kind.rebuilds != same_make
    assert kind.like_for_like == same_make


@every_method
def test_an_edit_whose_time_runs_out_leaves_the_weights_alone(
    kind: type[ClassifierMethod], original: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each edit that looks at the clock is ended at its last look, when it has done most of its work."""
    method = short(kind)
    everything, here = with_own_sets(method, SETS, facts(original))
    work = Work(original.copy().eval(), everything, here)
    looks, ends_at = 0, 0

    def look(self: Work) -> None:
        nonlocal looks
        looks += 1
        if looks == ends_at:
            raise OutOfTime

    monkeypatch.setattr(Work, "check_time", look)
    for one in method.passes(here):
        if isinstance(one, Edit):
            before, memory = weights(work.model), dict(work.memory)
            looks, ends_at = 0, 0
            with torch.no_grad():
                one.apply(work)
                if looks and not one.preparation:
                    work.model.network.load_state_dict(before)
                    work.memory, work._kept_logits = memory, {}
                    looks, ends_at = 0, looks
                    with pytest.raises(OutOfTime):
                        one.apply(work)
                    assert same(weights(work.model), before)
                    looks, ends_at = 0, 0
                    one.apply(work)


@every_method
def test_it_runs_on_a_network_of_another_make(kind: type[ClassifierMethod]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.ReLU()),
            nn.Sequential(nn.Conv2d(4, 6, 3), nn.GroupNorm(2, 6), nn.ReLU(), nn.Flatten()),
            nn.Linear(6, 10),
        )
    model = Classifier(network, classes=tuple("0123456789"), image_size=8, channels=1)
    before = weights(model)
    done, _ = unlearn_classifier(model, short(kind), SETS, facts(model))
    assert not same(weights(done), before)
