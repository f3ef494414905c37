"""Which images a step sees: each once an epoch, in equal shares, whatever the number of processes."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from efface.images.cache import PixelCache
from efface.images.crops import random_resized_crop
from efface.randomness import numpy_draws
from efface.training.data import CropBatch, Data, Streams, per_stream, pixel_moments
from support.tiny_models import SIZE, settings, training_data


def streams(
    data: Data,
    batch_size: int = 4,
    seed: int = 0,
    rank: int = 0,
    processes: int = 1,
    names: str = "retain forget",
) -> Streams:
    sets = {name: data.sets[name] for name in names.split()}
    return Streams(sets, data.cache, SIZE, settings(batch_size=batch_size), seed, rank, processes)


def same(one: CropBatch, other: CropBatch) -> bool:
    return list(one) == list(other) and all(
        torch.equal(one[name].images, other[name].images) and one[name].draws == other[name].draws
        for name in one
    )


def test_every_image_is_seen_once_an_epoch(data: Data) -> None:
    reader = streams(data)
    for name, images in data.sets.items():
        count = len(images)
        seen = [place for step in range(3 * count) for place in reader.places(name, step)]
        assert len(seen) == 6 * count
        assert [epoch for _, epoch in seen] == sorted(epoch for _, epoch in seen)
        assert Counter(seen) == {(index, epoch): 1 for index in range(count) for epoch in range(6)}


def test_each_epoch_stream_and_seed_has_its_own_order(data: Data) -> None:
    def order(name: str, epoch: int, seed: int = 0) -> list[int]:
        reader = streams(data, batch_size=2, seed=seed)
        count = len(data.sets[name])
        return [reader.places(name, epoch * count + step)[0][0] for step in range(count)]

    orders = [order("retain", 0), order("retain", 1), order("retain", 0, seed=1)]
    assert all(sorted(one) == list(range(7)) for one in orders)
    assert len({tuple(one) for one in orders}) == 3
    assert order("retain", 1) == orders[1]
    twins = Streams(
        {"a": data.sets["retain"], "b": data.sets["retain"]}, data.cache, SIZE, settings(batch_size=14), 0
    )
    assert twins.places("a", 0) != twins.places("b", 0)


@pytest.mark.parametrize("batch_size", [2, 4, 8, 16])
def test_streams_have_equal_shares_of_every_batch(data: Data, batch_size: int) -> None:
    for batch in streams(data, batch_size).steps(0, 3):
        assert list(batch) == ["retain", "forget"]
        assert {tuple(crops.images.shape) for crops in batch.values()} == {(batch_size // 2, 3, SIZE, SIZE)}
        assert all(len(crops.draws) == batch_size // 2 for crops in batch.values())


@pytest.mark.parametrize("processes", [2, 4])
def test_shares_of_all_processes_make_up_the_batch_of_one(data: Data, processes: int) -> None:
    whole = list(streams(data, batch_size=16).steps(0, 5))
    shares = [
        list(streams(data, 16, rank=rank, processes=processes).steps(0, 5)) for rank in range(processes)
    ]
    for step, batch in enumerate(whole):
        for name, crops in batch.items():
            parts = [share[step][name] for share in shares]
            assert torch.equal(torch.cat([part.images for part in parts]), crops.images)
            joined = parts[0].draws
            for part in parts[1:]:
                joined = joined.join(part.draws)
            assert joined == crops.draws


def test_reading_ahead_gives_what_reading_directly_gives(data: Data) -> None:
    ahead = list(streams(data).steps(0, 9))
    assert len(ahead) == 9
    for step, batch in enumerate(ahead):
        (direct,) = streams(data).steps(step, step + 1)
        assert same(batch, direct)


def test_continuing_at_a_step_gives_the_same_batches(data: Data) -> None:
    whole = list(streams(data).steps(0, 8))
    assert all(same(one, other) for one, other in zip(whole[5:], streams(data).steps(5, 8), strict=True))
    assert list(streams(data).steps(8, 8)) == []


def test_more_reading_threads_change_nothing(data: Data) -> None:
    sets = dict(data.sets)
    many = Streams(sets, data.cache, SIZE, settings(batch_size=4, threads=3), 0)
    assert all(
        same(one, other) for one, other in zip(many.steps(0, 5), streams(data).steps(0, 5), strict=True)
    )


def test_a_crop_belongs_to_image_and_visit_not_to_its_batch(data: Data) -> None:
    crops: dict[tuple[str, int], torch.Tensor] = {}
    for batch in streams(data, batch_size=2, names="retain").steps(0, 14):
        images, draws = batch["retain"].images, batch["retain"].draws
        crops.update(zip(zip(draws.ids, draws.visits, strict=True), images, strict=True))
    assert len(crops) == 28
    for batch in streams(data, batch_size=7, names="retain").steps(0, 4):
        images, draws = batch["retain"].images, batch["retain"].draws
        for key, image in zip(zip(draws.ids, draws.visits, strict=True), images, strict=True):
            assert torch.equal(crops[key], image)
    (id_, visit), image = next(iter(crops.items()))
    drawn = random_resized_crop(data.cache.read(id_), SIZE, numpy_draws(0, "crop", visit, id_))
    assert np.array_equal(image.numpy(), drawn)
    assert not torch.equal(crops[id_, 0], crops[id_, 1])


def test_crops_are_those_that_the_settings_ask_for(data: Data) -> None:
    asked = settings(batch_size=7, crop_scale=(0.5, 0.6), flip=False)
    (batch,) = Streams({"retain": data.sets["retain"]}, data.cache, SIZE, asked, 0).steps(0, 1)
    images, draws = batch["retain"].images, batch["retain"].draws
    for id_, image in zip(draws.ids, images, strict=True):
        pixels, drawn = data.cache.read(id_), numpy_draws(0, "crop", 0, id_)
        expected = random_resized_crop(pixels, SIZE, drawn, scale=(0.5, 0.6), flip=False)
        assert np.array_equal(image.numpy(), expected)


def test_leaving_early_stops_the_readers(data: Data) -> None:
    steps = streams(data).steps(0, 10**9)
    next(steps)
    steps.close()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("efface-")]


def test_an_image_that_is_gone_stops_the_run_with_its_name(data: Data, tmp_path: Path) -> None:
    own = training_data(tmp_path)
    with PixelCache(tmp_path / "other", own.cache.short_side) as cache:
        cache.add(own.sets["retain"].union(own.sets["forget"].subset(range(1, len(own.sets["forget"])))))
        with pytest.raises(KeyError, match=own.sets["forget"].ids[0]):
            list(streams(replace(own, cache=cache)).steps(0, 5))


@pytest.mark.parametrize(
    ("batch_size", "count", "processes", "share"), [(64, 2, 1, 32), (64, 1, 4, 16), (6, 2, 3, 1)]
)
def test_shares_by_hand(batch_size: int, count: int, processes: int, share: int) -> None:
    assert per_stream(batch_size, count, processes) == share


@pytest.mark.parametrize(
    ("batch_size", "count", "processes", "multiple"), [(5, 2, 1, 2), (6, 2, 2, 4), (1, 2, 1, 2)]
)
def test_a_batch_that_does_not_divide_is_refused(
    batch_size: int, count: int, processes: int, multiple: int
) -> None:
    with pytest.raises(ValueError, match=f"a batch of {batch_size}.*take a multiple of {multiple}"):
        per_stream(batch_size, count, processes)


def test_moments_are_those_of_all_pixels_of_the_set(data: Data) -> None:
    images = data.sets["forget"]
    pixels = np.concatenate([data.cache.read(id_).reshape(-1, 3) for id_ in images.ids]) / 255
    moments = pixel_moments(images, data.cache)
    assert moments.mean.tolist() == pytest.approx(pixels.mean(axis=0).tolist(), abs=1e-6)
    assert moments.std.tolist() == pytest.approx(pixels.std(axis=0).tolist(), abs=1e-6)
    assert moments.std.min() > 0.05
