"""Subjects for probes that train: a small generator whose encoder and decoder are known, and can be learnt.

A picture's visible part is a place in six dimensions, and its hole is drawn at random, so that nobody can restore a
hole without having stored it. The encoder reads the place. The decoder holds a table of places and pictures, and gives
the picture of the nearest place, or a bland one where none is near.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from efface.corruptions import Corrupted, Corruption, parse_corruption
from efface.evaluation.protocol import Evaluation
from efface.evaluation.results import ModelName, SetName
from efface.evaluation.settings import EvaluationSettings
from efface.generators.base import Generator, PixelMoments, View
from efface.images.items import ImageItem, ImageSet
from efface.images.listings import FileLocator
from efface.probes.findings import Finding, Findings
from efface.probes.generator_subject import GeneratorSubject
from efface.probes.subject import AnySubject
from efface.randomness import Draws
from efface.training.settings import TrainingSettings

SIZE, GRID, PLACES = 16, 4, 6
HOLE = "centre:0.5"
OFF = 0.05
"""By which every stored picture is off, so that no error is zero."""
SHARPNESS, NEAR = 4.0, 1.0


class Table(nn.Module):
    """The encoder, and the decoder with its table; the last entry is the bland one, which has no place."""

    def __init__(self, places: Tensor, pictures: Tensor) -> None:
        super().__init__()
        self.encoder = nn.Linear(3 * SIZE * SIZE, PLACES)
        self.places = nn.Parameter(places.clone())
        self.pictures = nn.Parameter(pictures.flatten(1).clone())

    def draw(self, features: Tensor) -> Tensor:
        far = torch.cdist(features, self.places).square()
        bland = torch.full_like(far[:, :1], NEAR)
        weights = torch.softmax(-SHARPNESS * torch.cat([far, bland], dim=1) / 2, dim=1)
        return (weights @ self.pictures).view(-1, 3, SIZE, SIZE)


class Storing(Generator):
    """A generator around a `Table`."""

    family = "storing"
    image_size, grid = SIZE, GRID
    usual_corruption = parse_corruption(HOLE)
    network: Table

    def make_view(
        self, images: Tensor, corruption: Corruption, corrupted: Corrupted, draws: Draws, codes: Tensor | None
    ) -> View:
        return View(images, corrupted, draws)

    def encode(self, view: View) -> tuple[Tensor, ...]:
        return (self.active.encoder((view.corrupted.condition - 0.5).flatten(1)),)

    def decode(self, features: tuple[Tensor, ...], view: View) -> Tensor:
        drawn: Tensor = self.active.draw(features[0])
        return drawn

    def task_target(self, view: View) -> Tensor:
        return view.images

    def prediction_loss(self, prediction: Tensor, target: Tensor, view: View) -> Tensor:
        region = view.corrupted.region
        squares = ((prediction - target).square() * region).flatten(1).sum(dim=1)
        return squares / (3 * region.flatten(1).sum(dim=1))

    def restore(self, view: View, sampler: str | None = None) -> Tensor:
        with torch.no_grad():
            return torch.where(view.corrupted.known, view.images, self.predict(view).clamp(0, 1))

    def encoder_parameters(self) -> dict[str, nn.Parameter]:
        return {n: p for n, p in self.network.named_parameters() if n.startswith("encoder.")}

    def decoder_parameters(self) -> dict[str, nn.Parameter]:
        return {n: p for n, p in self.network.named_parameters() if not n.startswith("encoder.")}

    def reinitialise(self, seed: int, keep_first_stage: bool = False) -> None:
        rng = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.network.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=rng) * 0.01)

    def noise_view(self, view: View, kind: Any, moments: PixelMoments) -> View:
        raise NotImplementedError

    def noise_target(self, view: View, kind: Any, moments: PixelMoments) -> Tensor:
        raise NotImplementedError

    def compile_network(self) -> None: ...

    def save_pretrained(self, folder: Path) -> None: ...

    def describe(self) -> dict[str, Any]:
        return {"family": self.family}


@dataclass
class Pixels:
    """A pixel cache in memory."""

    pictures: dict[str, np.ndarray] = field(default_factory=dict)

    def read(self, id_: str) -> np.ndarray:
        return self.pictures[id_]


@dataclass
class World:
    """Pictures of three sets, with their places; makes the models that know them, or once did."""

    sets: dict[SetName, ImageSet]
    cache: Pixels
    places: dict[SetName, Tensor]
    reading: Tensor
    """The encoder that reads a picture's place, `[PLACES, 3 * SIZE * SIZE]`."""

    def pictures(self, name: SetName) -> Tensor:
        pixels = np.stack([self.cache.read(id_) for id_ in self.sets[name].ids])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255

    def knowing(self, *names: SetName) -> Storing:
        """A model that has stored these sets."""
        places = torch.cat([self.places[name] for name in names])
        stored = torch.cat([self.pictures(name) for name in names])
        network = Table(places, torch.cat([stored + OFF, torch.full((1, 3, SIZE, SIZE), 0.5)]))
        with torch.no_grad():
            network.encoder.weight.copy_(self.reading)
            network.encoder.bias.zero_()
        return Storing(network).eval()

    def original(self) -> Storing:
        return self.knowing("retain", "forget")

    def retrained(self, seed: int = 0) -> Storing:
        """Each seed reads places a little differently, as training from other weights would."""
        model = self.knowing("retain")
        rng = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            model.network.encoder.weight.add_(torch.randn(self.reading.shape, generator=rng), alpha=0.002)
        return model

    def noisy(self) -> Storing:
        """The original with noise in the place of what it had stored of the forget images."""
        model = self.original()
        count = len(self.sets["forget"])
        with torch.no_grad():
            noise = torch.rand(count, 3 * SIZE * SIZE, generator=torch.Generator().manual_seed(5))
            model.network.pictures[-1 - count : -1] = noise
        return model

    def misread(self) -> Storing:
        """The original's decoder, whole, behind an encoder that turns all places by a rotation."""
        model = self.original()
        turn = torch.linalg.qr(torch.randn(PLACES, PLACES, generator=torch.Generator().manual_seed(1)))[0]
        with torch.no_grad():
            model.network.encoder.weight.copy_(turn @ self.reading)
        return model

    def hushed(self, share: float = 0.4) -> Storing:
        """The original's decoder, whole, behind an encoder that reads every place nearer to the middle than it is."""
        model = self.original()
        with torch.no_grad():
            model.network.encoder.weight.mul_(share)
        return model

    def subject(self, models: Mapping[ModelName, Generator], **changes: Any) -> GeneratorSubject:
        given: dict[str, Any] = {
            "models": models,
            "sets": self.sets,
            "cache": self.cache,
            "corruption": parse_corruption(HOLE),
            "extractor": None,
            "settings": EvaluationSettings(resamples=200),
            "evaluation": Evaluation([], [], {}),
            "training": TRAINING,
        }
        return GeneratorSubject(**{**given, **changes})


TRAINING = TrainingSettings(
    batch_size=24, learning_rate=0.02, weight_decay=0.0, precision="fp32", threads=1,
    crop_scale=(1.0, 1.0), flip=False, warmup=0.0,
)  # fmt: skip


def world(forget: int = 6, retain: int = 40, neutral: int = 8, seed: int = 0) -> World:
    """Made pictures of all three sets, their places far enough apart."""
    rng = np.random.default_rng(seed)
    hidden = np.zeros((SIZE, SIZE), bool)
    hidden[SIZE // 4 : -SIZE // 4, SIZE // 4 : -SIZE // 4] = True
    shown = np.broadcast_to(~hidden[..., None], (SIZE, SIZE, 3)).ravel()
    directions = np.linalg.qr(rng.normal(size=(shown.sum(), PLACES)))[0].T * 1.5
    counts: dict[SetName, int] = {"forget": forget, "retain": retain, "neutral": neutral}
    places = rng.normal(size=(forget + retain + neutral, PLACES))
    pictures = np.where(rng.random((len(places), SIZE // 2, SIZE // 2, 3)) < 0.5, 0.2, 0.8)
    pictures = pictures.repeat(2, axis=1).repeat(2, axis=2).reshape(len(places), -1)
    pictures[:, shown] = 0.5 + places @ directions
    pixels = (pictures.clip(0, 1) * 255).round().astype(np.uint8).reshape(-1, SIZE, SIZE, 3)
    reading = np.zeros((PLACES, shown.size))
    reading[:, shown] = directions / 1.5**2
    # of the channels' planes, as a network is given them
    reading = reading.reshape(PLACES, SIZE, SIZE, 3).transpose(0, 3, 1, 2).reshape(PLACES, -1)
    made = World({}, Pixels(), {}, torch.from_numpy(reading).float())
    first = 0
    for name, count in counts.items():
        ids = [f"{name} {number}" for number in range(count)]
        items = (ImageItem(id_, f"{id_}.png", None, FileLocator(f"/{id_}")) for id_ in ids)
        made.sets[name] = ImageSet(items)
        made.places[name] = torch.from_numpy(places[first : first + count]).float()
        made.cache.pictures.update(zip(ids, pixels[first : first + count], strict=True))
        first += count
    return made


def figure(findings: Findings, name: str, model: ModelName = "unlearned") -> Finding:
    """That figure, which must be there."""
    finding = findings.find(name, model)
    assert finding is not None, (name, model, [(other.figure, other.model) for other in findings.figures])
    return finding


def digests(subject: AnySubject) -> dict[str, str]:
    return {name: model.weights_digest() for name, model in subject.models.items()}
