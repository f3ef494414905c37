"""Which images a step sees, and their crops: a function of (seed, stream, step), never of a position.

A stream is an endless row of epochs over one image set, each in its own keyed order. Step `t` of a stream
with `b` images a step takes the places `t*b` to `t*b + b - 1` of that row; a process of many takes its
share of them. Crops are read ahead in threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from efface.generators.base import Moments
from efface.images.cache import PixelCache
from efface.images.crops import random_resized_crop
from efface.images.items import ImageSet
from efface.randomness import Draws, numpy_draws
from efface.training.settings import TrainingSettings

READ_AHEAD = 2

CropBatch = dict[str, tuple[Tensor, Draws]]
"""For each stream uint8 crops `[b, 3, size, size]` and their draws."""


class Streams:
    """Crops of several image sets, step by step, in equal numbers from each."""

    def __init__(
        self,
        sets: Mapping[str, ImageSet],
        cache: PixelCache,
        size: int,
        settings: TrainingSettings,
        seed: int,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.sets, self.cache, self.size, self.settings = dict(sets), cache, size, settings
        self.seed, self.rank, self.processes = seed, rank, processes
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
            crops = list(croppers.map(self._crop, ids, visits))
            batch[stream] = torch.from_numpy(np.stack(crops)), Draws(self.seed, ids, visits)
        return batch

    def _crop(self, id_: str, visit: int) -> npt.NDArray[np.uint8]:
        return random_resized_crop(
            self.cache.read(id_),
            self.size,
            numpy_draws(self.seed, "crop", visit, id_),
            scale=self.settings.crop_scale,
            flip=self.settings.flip,
        )

    def _order(self, stream: str, epoch: int) -> npt.NDArray[np.int64]:
        return numpy_draws(self.seed, "order", stream, epoch).permutation(len(self.sets[stream]))


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


def pixel_moments(images: ImageSet, cache: PixelCache) -> Moments:
    """Mean and standard deviation of each channel over all stored pixels of a set, in [0, 1]."""
    count, total, squares = 0, np.zeros(3), np.zeros(3)
    for id_ in images.ids:
        pixels = cache.read(id_).reshape(-1, 3).astype(np.float64) / 255
        count += len(pixels)
        total += pixels.sum(axis=0)
        squares += np.square(pixels).sum(axis=0)
    mean = total / max(count, 1)
    deviation = np.sqrt(np.maximum(squares / max(count, 1) - mean**2, 0))
    return Moments(torch.from_numpy(mean).float(), torch.from_numpy(deviation).float())
