"""Models of a few thousand weights, made pictures, and draws, for checks that take seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from efface.classifiers.architecture import NetworkSettings
from efface.classifiers.classifier import Classifier
from efface.classifiers.networks import build
from efface.files import sha256_of_bytes
from efface.generators.base import Generator, PixelMoments
from efface.generators.mae.generator import MaeGenerator
from efface.images.items import ImageItem, ImageSet
from efface.images.labelled import LabelledImages
from efface.randomness import Draws
from efface.training.classification import run_passes
from efface.training.data import Data, pixel_moments
from efface.training.passes import Facts, training_pass
from efface.training.settings import Recipe

SIZE, PATCH, GRID = 32, 8, 4
MOMENTS = PixelMoments(torch.tensor([0.2, 0.5, 0.8]), torch.tensor([0.3, 0.1, 0.02]))
RECIPE = Recipe(epochs=2, batch_size=16, learning_rate=5e-3)
SHAPE: Mapping[str, int | float] = {
    "image_size": SIZE,
    "patch_size": PATCH,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "decoder_hidden_size": 32,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 64,
    "layer_norm_eps": 1e-6,
}


def tiny_generator(seed: int = 0, **changes: float) -> MaeGenerator:
    """An untrained masked autoencoder of 4 x 4 patches of 8 px, in evaluation mode."""
    return MaeGenerator.new(seed, **{**SHAPE, **changes}).eval()


def randomised(generator: Generator) -> Generator:
    """The same, with larger random weights than fresh ones, which give nearly the same whatever is seen."""
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in generator.trained_parameters("all").values():
            parameter.add_(torch.randn(parameter.shape, generator=rng), alpha=0.2)
    return generator


def tiny_classifier() -> Classifier:
    """Three convolutions with batch normalisation, trained for two epochs on the digits of `DIGITS`."""
    settings = NetworkSettings(network="small-conv", classes=10, channels=1, image_size=8, width=4)
    model = Classifier(build(settings, seed=0), classes=tuple("0123456789"), image_size=8, channels=1)
    everything = {**DIGITS, "train": DIGITS["forget"].join(DIGITS["retain"])}
    run_passes(model, [training_pass(RECIPE, "train")], everything, facts_of(model, 77))
    return model


def other_classifier(*, normalised: bool = False) -> Classifier:
    """An untrained network of another make; with batch normalisation that sees single pixels, if `normalised`."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        between = (
            [nn.BatchNorm2d(4), nn.BatchNorm2d(6)] if normalised else [nn.Identity(), nn.GroupNorm(2, 6)]
        )
        network = nn.Sequential(
            nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, bias=not normalised), between[0], nn.ReLU()),
            nn.Sequential(nn.Conv2d(4, 6, 3, bias=not normalised), between[1], nn.ReLU(), nn.Flatten()),
            nn.Linear(6, 10),
        )
    return Classifier(network, classes=tuple("0123456789"), image_size=8, channels=1)


def facts_of(classifier: Classifier, seed: int = 0) -> Facts:
    """What a method for classifiers is told of the sets of `DIGITS`."""
    sizes = {name: len(images) for name, images in DIGITS.items()}
    return Facts(sizes, 10, classifier.blocks, RECIPE, seed)


def pictures(count: int, seed: int = 0, size: int = SIZE) -> Tensor:
    """Smooth random colour pictures `[count, 3, size, size]` in [0, 1]."""
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=size, mode="bicubic").clamp(0, 1)


def draws(count: int, seed: int = 0, visit: int = 0, first: int = 0) -> Draws:
    """Draws of the images `image first`, `image first + 1`, ..."""
    return Draws(seed, tuple(f"image {first + number}" for number in range(count)), (visit,) * count)


def weights_of(model: Generator | Classifier) -> dict[str, Tensor]:
    """A copy of all weights and statistics."""
    return {name: tensor.clone() for name, tensor in model.network.state_dict().items()}


def changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> set[str]:
    """Names of the tensors that are not bit for bit the same, or that only one side has."""
    common = before.keys() & after.keys()
    return {name for name in common if not torch.equal(before[name], after[name])} | (
        before.keys() ^ after.keys()
    )


@dataclass(frozen=True)
class MadePixels:
    """Pictures in memory: an image's bytes are its pixels."""

    pixels: dict[str, npt.NDArray[np.uint8]] = field(default_factory=dict)

    def read(self, id_: str) -> npt.NDArray[np.uint8]:
        return self.pixels[id_]

    def image_set(self, count: int, seed: int) -> ImageSet:
        """`count` different pictures of two classes, which are added."""
        items = []
        for number, picture in enumerate(pictures(count, seed, size=40)):
            made = np.ascontiguousarray((picture * 255).round().byte().permute(1, 2, 0).numpy())
            source = _InMemory(f"{seed}/{number}", made.tobytes())
            id_ = sha256_of_bytes(source.content)
            self.pixels[id_] = made
            items.append(ImageItem(id_, f"{source.where}.png", ("cat", "dog")[number % 2], source))
        return ImageSet(items)


@dataclass(frozen=True)
class _InMemory:
    where: str
    content: bytes

    def read_bytes(self) -> bytes:
        return self.content


def training_data(retain: int = 7, forget: int = 5) -> Data:
    """Retain and forget sets of made pictures in memory."""
    cache = MadePixels()
    sets = {"retain": cache.image_set(retain, seed=1), "forget": cache.image_set(forget, seed=2)}
    return Data(sets, cache, pixel_moments(sets["forget"], cache))


def _digits() -> dict[str, LabelledImages]:
    found = load_digits()
    pixels = np.round(found.images * 15.9375).astype(np.uint8)[:, None]
    everything = LabelledImages(pixels, found.target.astype(np.int64), tuple(map(str, range(len(pixels)))))
    ends = {"forget": (0, 12), "retain": (12, 92), "validation": (92, 122)}
    return {name: everything.subset(range(*place)) for name, place in ends.items()}


DIGITS: dict[str, LabelledImages] = _digits()
"""Handwritten digits of 8 px that come with scikit-learn."""
