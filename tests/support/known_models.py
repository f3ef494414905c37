"""Models whose restoration is known by hand, on pictures of one colour each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from efface.corruptions import Corrupted, Corruption, parse_corruption
from efface.evaluation.protocol import Evaluation, evaluate
from efface.evaluation.settings import EvaluationSettings
from efface.generators.base import View
from efface.images.items import ImageItem, ImageSet
from efface.images.listings import FileLocator

SIZE, GRID = 16, 4


class KnownModel(nn.Module):
    """Fills the hole with the true pixels, off by the error of the image times that of the visit.

    of_sample: what is added to the error of each answer in turn; a model of one answer has one number.
    """

    image_size, grid = SIZE, GRID
    device = torch.device("cpu")

    def __init__(
        self,
        errors: dict[str, float] | float,
        of_visit: Sequence[float] = (1.0,),
        of_sample: Sequence[float] = (0.0,),
    ) -> None:
        super().__init__()
        self.errors, self.of_visit, self.of_sample = errors, of_visit, of_sample
        self.sample = 0
        self.seen: list[tuple[tuple[str, ...], Tensor, Tensor]] = []
        self.samplers: list[str | None] = []

    def sampler_name(self, text: str | None) -> str | None:
        return text

    def view(
        self, images: Tensor, corruption: Corruption, draws: Any, *, condition: Tensor | None = None
    ) -> View:
        pixels = images.float() / 255
        shown = None if condition is None else condition.float() / 255
        corrupted = corruption.apply(pixels, GRID, draws, shown)
        self.seen.append((draws.ids, pixels, corrupted.known))
        return View(pixels, corrupted, draws)

    def is_stochastic(self, sampler: str | None = None) -> bool:
        return len(self.of_sample) > 1

    def redrawn(self, view: View, number: int) -> View:
        self.sample = number
        return view

    def restore(self, view: View, sampler: str | None = None) -> Tensor:
        self.samplers.append(sampler)
        number, self.sample = self.sample, 0
        off = [
            self._error(id_) * self.of_visit[visit % len(self.of_visit)] + self.of_sample[number]
            for id_, visit in zip(view.draws.ids, view.draws.visits, strict=True)
        ]
        wrong = view.images + torch.tensor(off).view(-1, 1, 1, 1)
        return torch.where(view.corrupted.known, view.images, wrong)

    def _error(self, id_: str) -> float:
        return self.errors if isinstance(self.errors, float) else self.errors[id_]


@dataclass
class MeanColour:
    """Features: the mean of each of the first `dimension` channels."""

    dimension: int = 2
    name: str = "mean-colour"
    digest: str = "0" * 64
    comparable_to: str = "itself"

    def features(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))[:, : self.dimension]


@dataclass
class Pixels:
    """A pixel cache in memory."""

    pictures: dict[str, np.ndarray] = field(default_factory=dict)

    def read(self, id_: str) -> np.ndarray:
        return self.pictures[id_]


class NothingHidden(Corruption):
    """A corruption without a region, as colour and resolution changes have none."""

    name, usage, summary = "nothing", "nothing", "nothing"

    @classmethod
    def parse(cls, arguments: str) -> NothingHidden:
        return cls()

    def __str__(self) -> str:
        return "nothing"

    def apply(self, images: Tensor, grid: int, draws: Any, condition: Tensor | None = None) -> Corrupted:
        none = torch.zeros(len(images), 1, SIZE, SIZE, dtype=torch.bool)
        return Corrupted(images, none, none, np.zeros((len(images), grid, grid), dtype=bool))

    def check(self, size: int, grid: int) -> None: ...


def image_set(ids: Iterable[str], labels: dict[str, str] | None = None) -> ImageSet:
    return ImageSet(
        ImageItem(id_, f"{id_}.png", (labels or {}).get(id_), FileLocator(f"/{number}/{id_}"))
        for number, id_ in enumerate(ids)
    )


def cache_of(ids: Iterable[str], side: int = SIZE) -> Pixels:
    """A picture for each id: one colour, a different one for each, and never near black or white."""
    return Pixels(
        {
            id_: np.full((side, side, 3), (90 + 9 * place, 70 + 5 * (place**2 % 11), 100), np.uint8)
            for place, id_ in enumerate(dict.fromkeys(ids))
        }
    )


def measured(
    models: dict[str, KnownModel],
    sets: dict[str, ImageSet],
    corruption: Corruption | str = "centre:0.5",
    cache: Pixels | None = None,
    extractor: MeanColour | None = None,
    **settings: Any,
) -> Evaluation:
    """`evaluate` on these models; pictures of one colour unless `cache` is given."""
    asked = parse_corruption(corruption) if isinstance(corruption, str) else corruption
    everything = [id_ for images in sets.values() for id_ in images.ids]
    return evaluate(
        models,  # type: ignore[arg-type]
        sets,  # type: ignore[arg-type]
        cache or cache_of(everything),  # type: ignore[arg-type]
        asked,
        extractor or MeanColour(),
        EvaluationSettings(**{"resamples": 200, **settings}),
    )
