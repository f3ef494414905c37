"""One setting says on which device models run, and a device that is not there is one clear message."""

from __future__ import annotations

import pytest
import torch

from efface.benchmark.engines import engine_named
from efface.devices import WORKER, chosen_device, device_words, find_device, named_device, on_device
from efface.errors import InputError


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def test_without_a_gpu_auto_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device() == torch.device("cpu")
    for name in ("cuda", "cuda:0", "cuda:1", "mps"):
        with pytest.raises(InputError, match=rf"device '{name}': this machine does not have it. There: cpu$"):
            find_device(name)


def test_a_gpu_is_found_by_its_number(two_gpus: None) -> None:
    assert [find_device(name) for name in ("auto", "cuda", "cuda:1", "cpu")] == [
        torch.device(name) for name in ("cuda", "cuda", "cuda:1", "cpu")
    ]
    with pytest.raises(InputError, match=r"'cuda:2': .* There: cpu, cuda:0, cuda:1"):
        find_device("cuda:2")


@pytest.mark.parametrize("text", ["gpu", "cuda1", "cuda:", "cpu:0", "CUDA", ""])
def test_what_names_no_device_is_refused_with_the_right_forms(text: str) -> None:
    with pytest.raises(InputError, match="write cpu, cuda, cuda:1, mps, or auto"):
        find_device(text)


def test_a_device_holds_within_its_block_and_a_workers_where_none_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(WORKER, "cuda:7")
    assert named_device() == "cuda:7"
    with on_device("cpu"):
        assert (named_device(), chosen_device(), device_words()) == ("cpu", torch.device("cpu"), "cpu")
    assert named_device() == "cuda:7"


def test_a_device_of_a_benchmark_is_that_of_its_engine() -> None:
    assert engine_named("processes:2", on="cuda:1").devices == ("cuda:1",)
    assert engine_named("in-line", on="mps").devices == ("mps",)
    assert engine_named("processes:2").devices == ("cpu",)
    for engine in ("processes:2@cuda:0", "ray", "slurm@gpu=1"):
        with pytest.raises(InputError, match="leave --device out"):
            engine_named(engine, on="cuda:1")
