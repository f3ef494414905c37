"""Streaming metrics: batches, joined states and two processes give what the pure functions give."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor
from torchmetrics import Metric

from efface.errors import InputError
from efface.metrics.frechet import frechet_distance
from efface.metrics.image_error import hole_mse
from efface.metrics.intervals import bootstrap_mean
from efface.metrics.kernel import kernel_distance, kernel_distance_interval
from efface.metrics.streaming import FrechetDistance, KernelDistance, PerImageScores

N, D = 48, 6
METRICS = {
    "frechet": partial(FrechetDistance, D),
    "kernel": partial(KernelDistance, D, resamples=200),
    "scores": partial(PerImageScores, hole_mse),
}


def features() -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(0)
    return torch.randn(N, D, generator=draws), 0.5 + 1.2 * torch.randn(N, D, generator=draws)


def pictures() -> tuple[Tensor, Tensor, Tensor]:
    draws = torch.Generator().manual_seed(0)
    restored, truth = (torch.rand(N, 3, 8, 8, generator=draws) for _ in range(2))
    return restored, truth, torch.rand(N, 1, 8, 8, generator=draws) < 0.5


def photos() -> Tensor:
    return torch.arange(N) // 3 + 10


def fed(name: str, rows: slice | Tensor, batch: int = 7) -> Metric:
    """The metric `name` after the images `rows`, batch by batch."""
    metric = METRICS[name]()
    for chunk in torch.arange(N)[rows].split(batch):
        if len(chunk) == 0:
            break
        if name == "scores":
            inputs = (x[chunk] for x in pictures())
            metric.update(*inputs, images=chunk * 1_000_003, groups=photos()[chunk])
            continue
        for reference, side in zip((True, False), features(), strict=True):
            groups = {"groups": photos()[chunk]} if name == "kernel" else {}
            metric.update(side[chunk], reference=reference, **groups)
    return metric


def expected(name: str) -> object:
    a, b = (x.double().numpy() for x in features())
    groups = photos().numpy(), photos().numpy()
    if name == "frechet":
        return frechet_distance(a, b)
    if name == "kernel":
        interval = kernel_distance_interval(a, b, *groups, resamples=200)
        return kernel_distance(a, b, *groups), interval
    return np.arange(N) * 1_000_003, hole_mse(*pictures()).double().numpy(), groups[0]


def assert_equal(got: object, want: object) -> None:
    if isinstance(got, tuple):
        assert isinstance(want, tuple)
        for one, other in zip(got, want, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-8)
    else:
        np.testing.assert_allclose(got, want, rtol=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_batches_give_what_the_pure_function_gives(name: str) -> None:
    assert_equal(fed(name, slice(None)).compute(), expected(name))
    assert_equal(fed(name, slice(None), batch=48).compute(), expected(name))


@pytest.mark.parametrize("name", METRICS)
def test_joined_shards_give_what_one_process_gives(name: str) -> None:
    first, second = fed(name, slice(0, None, 2)), fed(name, slice(1, None, 2))
    first.merge_state(second)
    assert_equal(first.compute(), expected(name))


@pytest.mark.parametrize("name", METRICS)
def test_reset_forgets_everything(name: str) -> None:
    metric = fed(name, slice(0, 20))
    metric.reset()
    for attribute in metric._defaults:
        held = getattr(metric, attribute)
        assert held == [] if isinstance(held, list) else not held.any()


def _shard(rank: int, folder: str) -> None:
    """One of two processes: uneven shards, then a process that got no image at all."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    uneven = slice(0, 19) if rank == 0 else slice(19, None)
    idle = slice(0, 0) if rank == 1 else slice(None)
    results = {
        (name, split): fed(name, rows).compute()
        for name in METRICS
        for split, rows in (("uneven", uneven), ("idle", idle))
    }
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_give_what_one_gives_on_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_shard, args=(folder,), nprocs=2)
        for rank in range(2):
            results = torch.load(Path(folder) / f"{rank}.pt", weights_only=False)
            assert len(results) == 2 * len(METRICS)
            for (name, _), result in results.items():
                assert_equal(result, expected(name))


def test_an_image_that_two_processes_scored_counts_once() -> None:
    metric = fed("scores", slice(None))
    metric.merge_state(fed("scores", slice(0, 5)))
    result = metric.compute()
    assert_equal(result, expected("scores"))
    assert bootstrap_mean(result.values, result.groups) is not None


def test_too_few_photos_give_a_kernel_distance_without_interval() -> None:
    value, interval = fed("kernel", slice(0, 9)).compute()
    assert np.isfinite(value)
    assert interval is None


def test_too_few_images_are_refused_when_the_distance_is_asked_for() -> None:
    with pytest.raises(ValueError, match="at least 12 images on each side, got 11"):
        fed("frechet", slice(0, 11)).compute()


def test_wrong_batches_are_refused_in_words() -> None:
    with pytest.raises(InputError, match=r"features must be \[images, 6\], got \[4, 5\]"):
        METRICS["frechet"]().update(torch.zeros(4, 5), reference=True)
    with pytest.raises(InputError, match="not finite"):
        METRICS["kernel"]().update(torch.full((4, D), torch.nan), reference=True, groups=torch.arange(4))
    with pytest.raises(InputError, match="name the photo of each of 4 images"):
        METRICS["kernel"]().update(torch.zeros(4, D), reference=True, groups=torch.arange(3))
    with pytest.raises(InputError, match="name each of the 48 images"):
        METRICS["scores"]().update(*pictures(), images=torch.arange(3))
