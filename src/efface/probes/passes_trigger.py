"""What `poisoning` does with generators: how much of a planted pattern they draw where they see its trigger.

Imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from efface.evaluation.answers import view_batches
from efface.generators.base import Generator
from efface.images.cache import PixelSource
from efface.images.items import ImageSet
from efface.memory import fitting
from efface.probes.subject import Values
from efface.probes.trigger import Pixels, Trigger
from efface.training.data import Crops

if TYPE_CHECKING:
    from efface.probes.generator_subject import GeneratorSubject


@dataclass(frozen=True)
class _Stamped:
    """The pixels of a cache as a trigger changes them: `plant`, or its `masks` alone."""

    cache: PixelSource
    trigger: Trigger
    what: Literal["plant", "masks"]

    def read(self, id_: str) -> Pixels:
        changed: Pixels = getattr(self.trigger, self.what)(self.cache.read(id_))
        return changed


@dataclass(frozen=True)
class _Threefold:
    """The same crops of three sources."""

    crops: tuple[Crops, ...]

    def __len__(self) -> int:
        return len(self.crops[0])

    def __getitem__(self, part: slice) -> _Threefold:
        return _Threefold(tuple(one[part] for one in self.crops))


@torch.no_grad()
def pattern_correlations(
    model: Generator, images: ImageSet, trigger: Trigger, subject: GeneratorSubject
) -> Values:
    """Correlation of what stands in the hole with the pattern, `[images, (with, without)]` the patches.

    The mean over an image's views; nan where the views show no patch, or hide nothing of the pattern.
    """
    sources: tuple[PixelSource, ...] = (
        _Stamped(subject.cache, trigger, "plant"),
        subject.cache,
        _Stamped(subject.cache, trigger, "masks"),
    )
    batches = (
        view_batches(images, source, model.image_size, subject.settings, subject.pairs) for source in sources
    )

    def correlations(batch: _Threefold) -> Tensor:
        planted, clean, masks = batch.crops
        views = [model.view(crops.images, subject.corruption, crops.draws) for crops in (planted, clean)]
        known, region = views[0].corrupted.known, views[0].corrupted.region
        pattern, patches = (masks.images[:, n : n + 1].to(region.device) > 127 for n in (0, 1))
        where = pattern & region
        pictures = [model.restore(view, subject.settings.sampler).float() for view in views]
        values = [correlation(picture, views[0].images, where) for picture in pictures]
        both = torch.stack(values, dim=1)
        visible = (patches & known).flatten(1).any(dim=1) & where.flatten(1).any(dim=1)
        return torch.where(visible[:, None], both, float("nan")).cpu()

    together = (_Threefold(crops) for crops in zip(*batches, strict=True))
    parts = list(fitting(together, model.image_size, correlations))
    by_view = torch.cat(parts).double().reshape(len(images), -1, 2)
    result: Values = by_view.nanmean(dim=1).numpy()
    return result


def correlation(pictures: Tensor, patterns: Tensor, where: Tensor) -> Tensor:
    """Pearson correlation of `[B, 3, H, W]` with another in a region `[B, 1, H, W]`, `[B]`, -1 to 1.

    Each channel's mean over the region is taken out first; a picture of one colour there has none, which is 0.
    """
    count = where.flatten(2).sum(dim=2).clamp(min=1)[:, :, None, None]
    first, second = (
        (values - (values * where).sum(dim=(2, 3), keepdim=True) / count) * where
        for values in (pictures.double(), patterns.double())
    )
    product = (first * second).flatten(1).sum(dim=1)
    scale = (first.square().flatten(1).sum(dim=1) * second.square().flatten(1).sum(dim=1)).sqrt()
    # rounding leaves a picture of one colour a spread of about 1e-7
    return torch.where(scale > 1e-6, product / scale.clamp(min=1e-6), 0.0)
