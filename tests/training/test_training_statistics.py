"""Running statistics of batch normalisation where one batch replaces them: in transformers' MobileNetV2, and in general."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

from efface.batch_norms import replaced_by_a_batch, statistics_anew, statistics_layers
from efface.classifiers.classifier import Classifier, logits_of
from efface.classifiers.networks import blocks_of
from efface.images.labelled import LabelledImages
from efface.training.classification import Labelled, Work, run_passes
from efface.training.losses import cross_entropy
from efface.training.passes import Edit, Facts, Optimiser, Pass, training_pass
from efface.training.settings import Recipe
from support.classifier_models import small

LAYERS = 52
SIDE = 16
Sets = dict[str, LabelledImages]


def images(count: int, seed: int) -> LabelledImages:
    """Noise in which the class is the brightest of three colours."""
    draws = np.random.default_rng(seed)
    labels = draws.integers(3, size=count)
    pixels = draws.integers(0, 60, size=(count, 3, SIDE, SIDE))
    pixels[np.arange(count), labels] += 150
    return LabelledImages(
        pixels.astype(np.uint8),
        labels.astype(np.int64),
        tuple(f"{seed}-{number}" for number in range(count)),
    )


def accuracy(model: Classifier, some: LabelledImages) -> float:
    return float((logits_of(model, some).argmax(1) == some.labels).mean())


@pytest.fixture(scope="module")
def sets() -> Sets:
    """The forget images are of one class."""
    some = images(30, 2)
    return {"retain": images(64, 1), "forget": some.subset(np.flatnonzero(some.labels == 0)[:8])}


@pytest.fixture(scope="module")
def facts(sets: Sets) -> Facts:
    recipe = Recipe(epochs=4, batch_size=16, learning_rate=0.01)
    return Facts({name: len(some) for name, some in sets.items()}, 3, (), recipe)


@pytest.fixture(scope="module")
def mobilenet(sets: Sets, facts: Facts) -> Classifier:
    """A tiny MobileNetV2 with the library's own momentum, trained until it knows its classes."""
    config = MobileNetV2Config(
        depth_multiplier=0.1, depth_divisible_by=4, min_depth=4, output_stride=8, image_size=SIDE,
        num_labels=3, classifier_dropout_prob=0.0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = MobileNetV2ForImageClassification(config)
    model = Classifier(network, classes=("red", "green", "blue"), image_size=SIDE, blocks=blocks_of(network))
    report = run_passes(model, [training_pass(facts.recipe, "retain")], sets, facts)
    assert (report.recomputed, report.turned) == (LAYERS, 0), "they began fresh"
    return model


def forget_loss(work: Work, batches: Mapping[str, Labelled]) -> Tensor:
    return cross_entropy(work.model(batches["forget"].images), batches["forget"].labels)


STILL = Pass("still", forget_loss, {"forget": 8}, Optimiser(0.0, weight_decay=0.0, momentum=0.0))
"""A pass in training mode that changes no weight."""


def test_the_library_has_tensorflows_momentum(mobilenet: Classifier) -> None:
    assert len(statistics_layers(mobilenet.network)) == len(replaced_by_a_batch(mobilenet.network)) == LAYERS
    assert {layer.momentum for layer in replaced_by_a_batch(mobilenet.network).values()} == {0.997}
    assert not replaced_by_a_batch(small().network)


def test_one_batch_takes_the_statistics_unless_the_momentum_is_turned(
    mobilenet: Classifier, sets: Sets, facts: Facts
) -> None:
    """Without one weight update: a third right is chance here."""
    unseen = images(60, 3)
    assert accuracy(mobilenet, unseen) > 0.9
    kept, turned = mobilenet.copy(), mobilenet.copy()
    report = run_passes(kept, [STILL], sets, facts, statistics="keep")
    assert (report.recomputed, report.turned) == (0, 0)
    report = run_passes(turned, [STILL], sets, facts)
    assert (report.recomputed, report.turned) == (0, LAYERS)
    assert accuracy(kept, unseen) < 0.6
    assert accuracy(turned, unseen) == accuracy(mobilenet, unseen)
    for name, layer in statistics_layers(mobilenet.network).items():
        after, batch = (statistics_layers(model.network)[name] for model in (turned, kept))
        assert (after.momentum, after.training) == (0.997, False)
        # kept is 0.997 batch + 0.003 old, and turned the other way round: together they are batch + old
        assert after.running_mean is not None
        assert layer.running_mean is not None
        of_batch = (batch.running_mean - 0.003 * layer.running_mean) / 0.997
        torch.testing.assert_close(after.running_mean, 0.997 * layer.running_mean + 0.003 * of_batch)


@pytest.mark.parametrize("fresh", [False, True])
def test_what_reads_statistics_between_passes_finds_a_network_that_works(
    fresh: bool, mobilenet: Classifier, sets: Sets, facts: Facts
) -> None:
    """Those of a network whose statistics begin fresh are made anew from the retain images, as its own were."""
    unseen, seen, model = images(60, 3), [], mobilenet.copy()
    if fresh:
        for layer in statistics_layers(model.network).values():
            layer.reset_running_stats()
        assert accuracy(model, unseen) < 0.6

    def look(work: Work) -> None:
        seen.append(accuracy(work.model, unseen))

    def loss(work: Work, batches: Mapping[str, Labelled]) -> Tensor:
        look(work)
        return forget_loss(work, batches)

    passes = [STILL, Edit("measure", look), STILL, replace(STILL, mode="eval", loss=loss)]
    report = run_passes(model, passes, sets, facts)
    assert (report.recomputed, report.turned) == ((LAYERS, 0) if fresh else (0, LAYERS))
    assert seen == [accuracy(mobilenet, unseen)] * 2


def test_statistics_that_no_pass_moved_stay(mobilenet: Classifier, sets: Sets, facts: Facts) -> None:
    model = mobilenet.copy()
    passes = [Edit("nothing", lambda work: None), replace(STILL, mode="eval")]
    report = run_passes(model, passes, sets, facts)
    assert (report.recomputed, report.turned) == (0, 0)
    assert model.weights_digest() == mobilenet.weights_digest()


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("at", [2, 3, 4])
def test_an_interrupted_run_makes_the_same_statistics(
    at: int, fresh: bool, sets: Sets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps in training mode, and two in evaluation mode that read what they left."""

    class Killed(BaseException):
        pass

    left = [at]

    def loss(work: Work, batches: Mapping[str, Labelled]) -> Tensor:
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        return forget_loss(work, batches)

    def swift() -> Classifier:
        model = small(image_size=SIDE)
        for layer in statistics_layers(model.network).values():
            layer.momentum = 0.997
            if fresh:
                layer.reset_running_stats()
        return model

    learns = Pass("learn", loss, {"forget": 4}, Optimiser(1e-3))
    passes = [learns, replace(learns, mode="eval")]
    monkeypatch.setattr("efface.training.classification.CHECKPOINT_SECONDS", 0.0)
    facts = Facts({name: len(some) for name, some in sets.items()}, 4, ())
    interrupted, whole = swift(), swift()
    with pytest.raises(Killed):
        run_passes(interrupted, passes, sets, facts, folder=tmp_path, digest="x")
    interrupted = swift()
    report = run_passes(interrupted, passes, sets, facts, folder=tmp_path, digest="x")
    done = run_passes(whole, passes, sets, facts)
    made = (report.recomputed, report.turned)
    assert made == (done.recomputed, done.turned) == ((3, 0) if fresh else (0, 3))
    assert interrupted.weights_digest() == whole.weights_digest()


def test_torchs_own_momentum_is_left_alone_to_the_bit() -> None:
    some = {"forget": images(8, 2), "retain": images(24, 1)}
    facts = Facts({"forget": 8, "retain": 24}, 4, small(image_size=SIDE).blocks)
    by = {}
    for choice in ("auto", "keep"):
        model = small(image_size=SIDE)
        report = run_passes(model, [training_pass(facts.recipe, "retain")], some, facts, statistics=choice)  # type: ignore[arg-type]
        by[choice] = (model.weights_digest(), report.recomputed)
    assert by["auto"] == by["keep"]


def test_statistics_anew_are_the_mean_and_variance_of_what_went_in() -> None:
    network = nn.Sequential(nn.BatchNorm2d(2, momentum=0.9), nn.BatchNorm2d(2))
    values = torch.rand(6, 2, 3, 3)
    with statistics_anew(network, ["0"]):
        network(values)
    layer, other = network
    torch.testing.assert_close(layer.running_mean, values.mean((0, 2, 3)))
    torch.testing.assert_close(layer.running_var, values.var((0, 2, 3)))
    assert (layer.momentum, other.num_batches_tracked) == (0.9, 0)
