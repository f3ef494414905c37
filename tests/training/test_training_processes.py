"""Two processes, each with half of every batch, end with the weights of one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from efface.training.sharding import sharding_faults
from support.family_training import fresh
from support.tiny_models import settings, weights_of
from support.two_processes import JOBS, SLOW_JOBS, trained

NO_GRADIENT = "k_proj.bias"
"""Attention does not depend on the bias of its keys: what Adam moves there is rounding error alone."""
Weights = dict[str, Tensor]


def in_two_processes(folder: Path, jobs: Iterable[str]) -> Path:
    launch = [sys.executable, *["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]]
    done = subprocess.run(
        [*launch, "-m", "support.two_processes", str(folder), *jobs],
        check=False,
        timeout=250,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return folder


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Weights, int]]:
    """Final weights and steps of a job on two processes, which carry out all jobs, one after the other."""
    done: dict[bool, Path] = {}

    def weights(job: str) -> tuple[Weights, int]:
        slow = job in SLOW_JOBS
        if slow not in done:
            done[slow] = in_two_processes(tmp_path_factory.mktemp("two"), SLOW_JOBS if slow else JOBS)
        return torch.load(done[slow] / f"{job}.pt")

    return weights


def largest_difference(one: Weights, other: Weights, adam: bool) -> float:
    names = [name for name in one if not (adam and name.endswith(NO_GRADIENT))]
    return max(float((one[name] - other[name]).abs().max()) for name in names)


@pytest.mark.parametrize("job", [*JOBS, *(pytest.param(job, marks=pytest.mark.slow) for job in SLOW_JOBS)])
def test_two_processes_train_the_same_weights_as_one(
    job: str, of_two: Callable[[str], tuple[Weights, int]], tmp_path: Path
) -> None:
    asked = (JOBS | SLOW_JOBS)[job]
    (one, steps), (two, others) = trained(job, tmp_path), of_two(job)
    assert steps == others
    assert (steps < asked.training["steps"]) == (job == "decouple"), "its ascent ends early"
    assert largest_difference(one, two, asked.adam) < asked.within
    assert largest_difference(one, weights_of(fresh(asked.family)), asked.adam) > asked.moved


def test_what_cannot_be_shared_out_is_said_at_once() -> None:
    asked = settings(shard=True, compile=True)
    faults = sharding_faults(asked, JOBS["bargaining"].phases())
    assert len(faults) == 2
    assert "compile" in faults[0]
    assert "several objectives" in faults[1]
    assert sharding_faults(asked.model_copy(update={"compile": False}), JOBS["sharded"].phases()) == []
    assert sharding_faults(settings(compile=True), JOBS["bargaining"].phases()) == []
    assert "shard" not in settings().as_dict(), "configs of runs that were begun before stay as they are"
    assert asked.as_dict()["shard"] is True
