"""Two winners of the unlearning competition against their port: schedules, steps, masks, and what training comes to."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from efface.classifiers.classifier import Classifier, Normalisation
from efface.images.labelled import LabelledImages
from efface.methods.classifier.base import ClassifierMethod
from efface.methods.classifier.kookmin import DRAWN, Kookmin, retain_less_forget
from efface.methods.classifier.layers import convolution_weights
from efface.methods.classifier.sebastian import CLASS_WEIGHTS, Sebastian
from efface.training.classification import Work, run_passes
from efface.training.passes import Edit, Facts, Pass
from support.published import arrays

STORED = arrays("competition-methods.npz")
CONVOLUTIONS = ("0", "3")


def state(name: str) -> dict[str, Tensor]:
    """The arrays `name/...` as a state dict."""
    return {
        key.removeprefix(f"{name}/"): torch.from_numpy(array)
        for key, array in STORED.items()
        if key.startswith(f"{name}/")
    }


def classifier(weights: str = "original") -> Classifier:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 3),
    )  # fmt: skip
    network.load_state_dict(state(weights), strict=False)
    scaling = Normalisation(scale=255, mean=(0.5,), std=(0.25,))
    return Classifier(network, classes=tuple("abc"), image_size=8, channels=3, normalisation=scaling).eval()


def sets() -> dict[str, LabelledImages]:
    return {
        name: LabelledImages(
            STORED[f"images_{name}"],
            STORED[f"labels_{name}"],
            tuple(f"{name}{number}" for number in range(24)),
        )
        for name in ("retain", "forget")
    }


def facts(model: Classifier) -> Facts:
    return Facts({"retain": 24, "forget": 24}, 3, model.blocks, seed=0)


def trained(method: ClassifierMethod, begun: str, memory: Mapping[str, Tensor]) -> Classifier:
    """The original after the published edit in the place of the method's own, and the method's training."""
    model = classifier()

    def published(work: Work) -> None:
        work.model.network.load_state_dict(state(begun), strict=False)
        work.memory |= memory

    _, *passes = method.passes(facts(model))
    run_passes(model, [Edit("as published", published), *passes], sets(), facts(model))
    return model


def farthest(model: Classifier, name: str) -> float:
    """The largest difference of any weight or statistic from the published ones."""
    found = model.network.state_dict()
    return max(float((found[key] - value).abs().max()) for key, value in state(name).items() if key in found)


# kookmin


@pytest.mark.parametrize("epochs", range(1, 11))
def test_kookmin_climbs_and_falls_at_the_published_rates(epochs: int) -> None:
    method = Kookmin(epochs=epochs)
    passes = [one for one in method.passes(facts(classifier())) if isinstance(one, Pass)]
    rates = [one.optimiser.learning_rate for one in passes]
    assert rates == pytest.approx(STORED["kookmin_rate"][epochs - 1, :epochs].tolist(), rel=1e-12)
    assert np.isnan(STORED["kookmin_rate"][epochs - 1, epochs:]).all()


def test_kookmin_ranks_by_the_published_gradients_and_draws_the_same_weights_anew() -> None:
    model = classifier()
    work = Work(model, sets(), facts(model))
    gradients = retain_less_forget(work, convolution_weights(model, "kookmin"), 64)
    drawn = Kookmin().masks(gradients)
    for layer in CONVOLUTIONS:
        wanted = torch.from_numpy(STORED[f"kookmin_gradient/{layer}.weight"])
        assert float((gradients[layer] - wanted).abs().max()) < 1e-6
        factor = torch.from_numpy(STORED[f"kookmin_gradient_factor/{layer}"])
        assert torch.equal(drawn[layer], factor == 1)


@pytest.mark.parametrize(
    ("epochs", "rate", "name"),
    [(4, 1e-3, "kookmin_after_4"), (5, 1e-3, "kookmin_after_5"), (5, 0.05, "kookmin_after_5_rate_0.05")],
)
def test_kookmin_trains_to_the_published_weights(epochs: int, rate: float, name: str) -> None:
    memory = {
        f"{DRAWN}{layer}": torch.from_numpy(STORED[f"kookmin_gradient_factor/{layer}"]) == 1
        for layer in CONVOLUTIONS
    }
    model = trained(Kookmin(epochs=epochs, learning_rate=rate), "kookmin_redrawn", memory)
    assert farthest(model, name) < 1e-6
    assert farthest(classifier("kookmin_redrawn"), name) > 1e-4


# sebastian


def test_sebastian_takes_the_published_number_of_steps() -> None:
    for row, epochs in enumerate(STORED["sebastian_steps_epochs"].tolist()):
        for batches in range(1, 13):
            sizes = {"retain": 64 * batches, "forget": 24}
            _, train, *_ = Sebastian(epochs=epochs).passes(Facts(sizes, 3, ("8",), seed=0))
            assert isinstance(train, Pass)
            assert train.steps(sizes) == STORED["sebastian_steps"][row, batches - 1], (epochs, batches)


@pytest.mark.parametrize("share", [0.99, 0.6])
def test_sebastian_keeps_the_published_values_and_weighs_classes_as_published(share: float) -> None:
    model = classifier()
    work = Work(model, sets(), facts(model))
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    with torch.no_grad():
        Sebastian(share=share).prune(work)
    for name, kept in state(f"sebastian_kept_{share:g}").items():
        same = model.network.state_dict()[name] == before[name]
        assert torch.equal(same, kept == 1), name
    wanted = torch.from_numpy(STORED["sebastian_class_weights"])
    assert torch.allclose(work.memory[CLASS_WEIGHTS], wanted, rtol=1e-6)


@pytest.mark.parametrize(("share", "rate"), [(0.99, 5e-4), (0.6, 5e-2)])
def test_sebastian_trains_to_the_published_weights(share: float, rate: float) -> None:
    memory = {CLASS_WEIGHTS: torch.from_numpy(STORED["sebastian_class_weights"])}
    model = trained(Sebastian(share=share, learning_rate=rate), f"sebastian_redrawn_{share:g}", memory)
    found = model.network.state_dict()
    for name, wanted in state(f"sebastian_after_{share:g}").items():
        if name in found:
            unit = wanted.abs().clamp(min=2**-14) * 2**-10
            assert ((found[name] - wanted).abs() <= unit).all(), name
