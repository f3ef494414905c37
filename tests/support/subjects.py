"""Subjects for probes: small pictures, and generators whose memory is a table of pictures.

A remembering generator looks at what is visible, finds the picture of its memory that is most like it there, and gives
that picture's hole if the likeness is close enough; otherwise it fills the hole with the mean of what it sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from efface.corruptions import Corrupted, Corruption, parse_corruption
from efface.corruptions.base import mean_fill
from efface.evaluation.answers import Wanted, view_batches
from efface.evaluation.protocol import evaluate
from efface.evaluation.settings import EvaluationSettings
from efface.generators.base import Generator, PixelMoments, View
from efface.images.items import ImageItem, ImageSet
from efface.images.listings import FileLocator
from efface.probes.generator_subject import GeneratorSubject
from efface.randomness import Draws, numpy_draws, torch_draws

SIZE, GRID = 16, 4
CLOSE = 0.03
"""Root mean squared difference of visible pixels below which a picture is recognised."""


class Remembering(Generator):
    """Gives the holes of the pictures that it remembers, off by `error`; fills others with the mean.

    memory: pictures `[N, 3, SIZE, SIZE]` in [0, 1]. spoiled: pictures of the same kind on which it answers with noise.
    """

    family = "remembering"

    def __init__(
        self, memory: Tensor, *, spoiled: Tensor | None = None, error: float = 0.01, close: float = CLOSE
    ) -> None:
        super().__init__(nn.Linear(1, 1))
        self.memory, self.error, self.close = memory, error, close
        self.spoiled = torch.empty(0, 3, SIZE, SIZE) if spoiled is None else spoiled

    image_size, grid = SIZE, GRID
    usual_corruption = parse_corruption("random:0.75")

    def make_view(
        self, images: Tensor, corruption: Corruption, corrupted: Corrupted, draws: Draws, codes: Tensor | None
    ) -> View:
        return View(images, corrupted, draws)

    def restore(self, view: View, sampler: str | None = None) -> Tensor:
        seen, known = view.corrupted.condition, view.corrupted.known
        guess = mean_fill(seen, known)
        off = torch.stack(
            [self._off(id_, visit) for id_, visit in zip(view.draws.ids, view.draws.visits, strict=True)]
        )
        recalled, sure = nearest(seen, known, self.memory, self.close)
        guess = torch.where(sure, recalled, guess) + self.error * off
        _, spoiled = nearest(seen, known, self.spoiled, self.close)
        guess = torch.where(spoiled, view.draws.uniform("restoring", tuple(seen.shape[1:]), "cpu"), guess)
        return torch.where(known, seen, guess.clamp(0, 1))

    def encode(self, view: View) -> tuple[Tensor, ...]:
        return (self.restore(view),)

    def decode(self, features: tuple[Tensor, ...], view: View) -> Tensor:
        return features[0]

    def task_target(self, view: View) -> Tensor:
        return view.images

    def prediction_loss(self, prediction: Tensor, target: Tensor, view: View) -> Tensor:
        return (prediction - target).square().mean(dim=(1, 2, 3))

    def noise_view(self, view: View, kind: Any, moments: PixelMoments) -> View:
        raise NotImplementedError

    def noise_target(self, view: View, kind: Any, moments: PixelMoments) -> Tensor:
        raise NotImplementedError

    def encoder_parameters(self) -> dict[str, nn.Parameter]:
        return dict(self.network.named_parameters())

    def decoder_parameters(self) -> dict[str, nn.Parameter]:
        return {}

    def reinitialise(self, seed: int, keep_first_stage: bool = False) -> None: ...

    def compile_network(self) -> None: ...

    def save_pretrained(self, folder: Path) -> None: ...

    def describe(self) -> dict[str, Any]:
        return {}

    def _off(self, id_: str, visit: int) -> Tensor:
        return torch.randn(3, SIZE, SIZE, generator=torch_draws("off", id_, visit))


class Drawing(Remembering):
    """Draws at random: recalls a picture in a share of draws, else answers as one that does not remember."""

    def __init__(self, memory: Tensor, share: float) -> None:
        super().__init__(memory)
        self.share = share

    def sampler_name(self, text: str | None) -> str | None:
        return text or "drawn"

    def restore(self, view: View, sampler: str | None = None) -> Tensor:
        recalled = super().restore(view)
        blank = torch.where(
            view.corrupted.known, recalled, mean_fill(view.corrupted.condition, view.corrupted.known)
        )
        lucky = view.draws.uniform("recalls", (1, 1, 1), "cpu") < self.share
        return torch.where(lucky, recalled, blank)


class ForgetsWhere(Remembering):
    """Remembers, but answers with noise on views of `spoiled` pictures for which `forgets(view)` is true, `[B]`."""

    def __init__(self, memory: Tensor, spoiled: Tensor, forgets: Callable[[View], Tensor]) -> None:
        super().__init__(memory, spoiled=spoiled)
        self.forgets = forgets

    def restore(self, view: View, sampler: str | None = None) -> Tensor:
        noisy = super().restore(view)
        spoiled, self.spoiled = self.spoiled, self.spoiled[:0]
        recalled = super().restore(view)
        self.spoiled = spoiled
        return torch.where(self.forgets(view).view(-1, 1, 1, 1), noisy, recalled)


class Worse(Remembering):
    """Remembers, with an error that is some images' own factor times as large."""

    def __init__(self, memory: Tensor, factors: Mapping[str, float]) -> None:
        super().__init__(memory)
        self.factors = factors

    def _off(self, id_: str, visit: int) -> Tensor:
        return super()._off(id_, visit) * self.factors.get(id_, 1.0)


class TrainedTwice(Remembering):
    """The same model trained once more: as good, with errors of its own."""

    def _off(self, id_: str, visit: int) -> Tensor:
        return super()._off(f"again {id_}", visit)


def nearest(seen: Tensor, known: Tensor, memory: Tensor, close: float) -> tuple[Tensor, Tensor]:
    """The picture of `memory` most like `seen` where `known`, and whether it is close, bool `[B, 1, 1, 1]`."""
    if not len(memory):
        return seen, torch.zeros(len(seen), 1, 1, 1, dtype=torch.bool)
    visible = known.expand_as(seen).flatten(1).float()
    apart = ((seen.flatten(1)[:, None] - memory.flatten(1)[None]).square() * visible[:, None]).sum(dim=2)
    least = (apart / visible.sum(dim=1, keepdim=True).clamp(min=1)).sqrt().min(dim=1)
    return memory[least.indices], (least.values < close).view(-1, 1, 1, 1)


@dataclass
class Layout:
    """Features: the mean and the spread of each of 2 x 2 fields and channels."""

    name: str = "layout"
    dimension: int = 24
    digest: str = "0" * 64
    comparable_to: str = "itself"

    def features(self, images: Tensor) -> Tensor:
        mean, square = avg_pool2d(images, SIZE // 2), avg_pool2d(images.square(), SIZE // 2)
        return torch.cat([mean, (square - mean.square()).clamp(min=0).sqrt()], dim=1).flatten(1)


@dataclass
class Pictures:
    """Smooth coloured pictures with some texture, each a function of its id alone; twice as large as the models."""

    made: dict[str, np.ndarray] = field(default_factory=dict)

    def read(self, id_: str) -> np.ndarray:
        if id_ not in self.made:
            coarse = torch.rand(1, 3, 5, 5, generator=torch_draws("picture", id_)) * 0.7 + 0.15
            smooth = interpolate(coarse, (2 * SIZE, 2 * SIZE), mode="bicubic").clamp(0, 1)
            rough = torch.randn(1, 3, 2 * SIZE, 2 * SIZE, generator=torch_draws("texture", id_)) * 0.04
            self.made[id_] = ((smooth + rough).clamp(0, 1)[0].permute(1, 2, 0) * 255).byte().numpy()
        return self.made[id_]


def image_set(ids: Iterable[str], labels: Sequence[str | None] | None = None) -> ImageSet:
    ids = list(ids)
    return ImageSet(
        ImageItem(id_, f"{id_}.png", label, FileLocator(f"/{place}/{id_}"))
        for place, (id_, label) in enumerate(zip(ids, labels or [None] * len(ids), strict=True))
    )


def numbered(name: str, count: int, classes: Sequence[str] = ()) -> ImageSet:
    """Images `name-0`, `name-1`, ...; with `classes`, labelled in turn."""
    labels = [classes[place % len(classes)] for place in range(count)] if classes else None
    return image_set([f"{name}-{place}" for place in range(count)], labels)


def views_of(images: ImageSet, cache: Pictures, *crops: int) -> Tensor:
    """The true pictures `[N, 3, SIZE, SIZE]` of the evaluation's views with each of these numbers of crops."""
    shown = [
        batch.images.float() / 255
        for count in crops or (1,)
        for batch in view_batches(images, cache, SIZE, EvaluationSettings(crops_per_image=count))  # type: ignore[arg-type]
    ]
    return torch.cat(shown)


def subject(
    models: Mapping[str, Generator],
    sets: Mapping[str, ImageSet],
    cache: Pictures | None = None,
    corruption: str = "centre:0.5",
    *,
    task_loss: bool = False,
    **settings: Any,
) -> GeneratorSubject:
    """A subject with its evaluation; settings are the evaluation's."""
    cache, asked = cache or Pictures(), EvaluationSettings(**{"resamples": 200, "worst": 5, **settings})
    hidden = parse_corruption(corruption)
    given: dict[str, Any] = {"models": models, "sets": sets, "cache": cache, "corruption": hidden}
    given |= {"extractor": Layout(), "settings": asked}
    evaluation = evaluate(**given, wanted=Wanted(task_loss=task_loss))
    return GeneratorSubject(**given, evaluation=evaluation)


def forgetting(
    unlearned: str | Generator = "second",
    *,
    count: int = 24,
    classes: Sequence[str] = (),
    crops: Sequence[int] = (1,),
    **settings: Any,
) -> GeneratorSubject:
    """`count` images in each set; the original remembers forget and retain, the retrained one retain only.

    unlearned: "original" (did not forget), "noise" (answers with noise on forget images), "second" (retrained a second
    time), or a model. crops: how many crops the views have that the models were trained on.
    """
    cache = Pictures()
    sets = {name: numbered(name, count, classes) for name in ("forget", "retain", "neutral")}
    forget, retain = (views_of(sets[name], cache, *crops) for name in ("forget", "retain"))
    known: dict[str, Generator] = {
        "original": Remembering(torch.cat([forget, retain])),
        "retrained": Remembering(retain),
        "noise": Remembering(retain, spoiled=forget),
        "second": TrainedTwice(retain),
    }
    chosen = known[unlearned] if isinstance(unlearned, str) else unlearned
    models = {"original": known["original"], "unlearned": chosen, "retrained": known["retrained"]}
    return subject(models, sets, cache, **settings)


def spread(count: int, dimension: int, *key: str | int) -> np.ndarray:
    """Standard normal rows `[count, dimension]`."""
    return numpy_draws("rows", *key).normal(size=(count, dimension))
