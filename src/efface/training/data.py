"""Which images a step sees, and their crops: a function of (seed, stream, step), never of a position.

A stream is an endless row of epochs over one image set, each in its own keyed order. Step `t` of a stream
with `b` images a step takes the places `t*b` to `t*b + b - 1` of that row; a process of many takes its
share of them. Crops are read ahead in threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from efface.generators.base import PixelMoments
from efface.images.cache import PixelSource
from efface.images.crops import fitted, random_resized_crop
from efface.images.items import ImageSet
from efface.randomness import Draws, numpy_draws
from efface.training.settings import TrainingSettings

if TYPE_CHECKING:
    from efface.training.codes import Codes

READ_AHEAD = 2


@dataclass(frozen=True)
class Crops:
    """Crops of one stream, uint8 `[b, 3, size, size]`, and what goes with them.

    conditions: the same crops of each image's pair; codes: what the model's first stage makes of the crops.
    """

    images: Tensor
    draws: Draws
    conditions: Tensor | None = None
    codes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, part: slice) -> Crops:
        conditions, codes = (
            None if values is None else values[part] for values in (self.conditions, self.codes)
        )
        return Crops(self.images[part], self.draws[part], conditions, codes)


CropBatch = dict[str, Crops]


@dataclass(frozen=True)
class Data:
    """What training reads: image sets by stream name, their pixels, the noise moments.

    pairs: where training shows pairs, the id of each image's other picture.
    """

    sets: Mapping[str, ImageSet]
    cache: PixelSource
    moments: PixelMoments
    pairs: Mapping[str, str] | None = None


class Cropper:
    """Training crops: a function of seed, image id and visit. With K crops an image, visit K is visit 0 again."""

    def __init__(self, cache: PixelSource, size: int, settings: TrainingSettings, seed: int) -> None:
        self.cache, self.size, self.settings, self.seed = cache, size, settings, seed
        self.crops = settings.crops

    def number(self, visit: int) -> int:
        """Which of an image's crops a visit sees."""
        return visit % self.settings.crops_per_image if self.settings.crops_per_image else visit

    def crop(self, id_: str, visit: int, pixels_of: str | None = None) -> npt.NDArray[np.uint8]:
        """The crop uint8 `[3, size, size]`; of another picture, `pixels_of`, at the same place if one is named."""
        pixels = self.cache.read(id_)
        return random_resized_crop(
            fitted(self.cache.read(pixels_of), pixels) if pixels_of else pixels,
            self.size,
            numpy_draws(self.seed, "crop", self.number(visit), id_),
            scale=self.crops.scale,
            flip=self.crops.flip,
        )


class Streams:
    """Crops of several image sets, step by step, in equal numbers from each."""

    def __init__(
        self,
        sets: Mapping[str, ImageSet],
        cache: PixelSource,
        size: int,
        settings: TrainingSettings,
        seed: int,
        rank: int = 0,
        processes: int = 1,
        *,
        pairs: Mapping[str, str] | None = None,
        codes: Codes | None = None,
    ) -> None:
        self.sets, self.settings, self.seed = dict(sets), settings, seed
        self.rank, self.processes, self.pairs, self.codes = rank, processes, pairs, codes
        self.cropper = Cropper(cache, size, settings, seed)
        self.share = per_stream(settings.batch_size, len(self.sets), processes)
        self._orders = lru_cache(maxsize=4 * len(self.sets))(self._order)

    def places(self, stream: str, step: int) -> list[tuple[int, int]]:
        """(index in the set, epoch) of every image that this process sees at `step`."""
        count = len(self.sets[stream])
        first = step * self.share * self.processes + self.rank * self.share
        places = (divmod(place, count) for place in range(first, first + self.share))
        return [(int(self._orders(stream, epoch)[rest]), epoch) for epoch, rest in places]

    def steps(self, first: int, last: int) -> Iterator[CropBatch]:
        """The batches of steps `first` to `last - 1`, read ahead."""
        with (
            ThreadPoolExecutor(1, "efface-batches") as reader,
            ThreadPoolExecutor(self.settings.threads, "efface-crops") as croppers,
        ):
            waiting: list[Future[CropBatch]] = []
            try:
                for step in range(first, last + READ_AHEAD):
                    if step < last:
                        waiting.append(reader.submit(self._batch, step, croppers))
                    if step >= first + READ_AHEAD:
                        yield waiting.pop(0).result()
            finally:
                for future in waiting:
                    future.cancel()

    def _batch(self, step: int, croppers: ThreadPoolExecutor) -> CropBatch:
        batch: CropBatch = {}
        for stream, images in self.sets.items():
            places = self.places(stream, step)
            ids = tuple(images[index].id for index, _ in places)
            visits = tuple(epoch for _, epoch in places)
            crop = self.cropper.crop
            pixels = _stacked(croppers.map(crop, ids, visits))
            conditions = codes = None
            if self.pairs is not None:
                conditions = _stacked(croppers.map(crop, ids, visits, [self.pairs[id_] for id_ in ids]))
            if self.codes is not None:
                numbers = map(self.cropper.number, visits)
                codes = _stacked(map(self.codes.read, ids, numbers))
            batch[stream] = Crops(pixels, Draws(self.seed, ids, visits), conditions, codes)
        return batch

    def _order(self, stream: str, epoch: int) -> npt.NDArray[np.int64]:
        return numpy_draws(self.seed, "order", stream, epoch).permutation(len(self.sets[stream]))


def _stacked(arrays: Iterable[npt.NDArray[Any]]) -> Tensor:
    return torch.from_numpy(np.stack(list(arrays)))


def per_stream(batch_size: int, streams: int, processes: int) -> int:
    """Images of one stream a step in one process; raises `ValueError` if it does not divide evenly.

    Equal shares keep the mean over processes equal to the mean over the whole batch.
    """
    share, rest = divmod(batch_size, streams * processes)
    if rest or not share:
        parts = f"{streams} stream{'s' * (streams > 1)} and {processes} process{'es' * (processes > 1)}"
        raise ValueError(
            f"a batch of {batch_size} does not divide evenly over {parts}: "
            f"take a multiple of {streams * processes}"
        )
    return share


def pixel_moments(images: ImageSet, cache: PixelSource) -> PixelMoments:
    """Mean and standard deviation of each channel over all stored pixels of a set, in [0, 1]."""
    count, total, squares = 0, np.zeros(3), np.zeros(3)
    for id_ in images.ids:
        pixels = cache.read(id_).reshape(-1, 3).astype(np.float64) / 255
        count += len(pixels)
        total += pixels.sum(axis=0)
        squares += np.square(pixels).sum(axis=0)
    mean = total / max(count, 1)
    deviation = np.sqrt(np.maximum(squares / max(count, 1) - mean**2, 0))
    return PixelMoments(torch.from_numpy(mean).float(), torch.from_numpy(deviation).float())
