"""Tasks for the engines of clusters: as those for worker processes, and the result says how many threads there were."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from efface.oracles.engines.base import worker_device
from efface.oracles.engines.slurm import SlurmEngine
from support.errands import Errand, begun


def do(errand: Errand) -> None:
    before = begun(errand.folder, errand.name)
    (errand.folder / f"{errand.name}.begun.{len(before)}").write_text(str(os.getpid()))
    if errand.what == "raise":
        raise ArithmeticError("no number\nfits")
    if errand.what == "die" or (errand.what == "die once" and not before):
        os.kill(os.getpid(), signal.SIGKILL)
    if errand.what == "sleep":
        time.sleep(600)
    (errand.folder / f"{errand.name}.result").write_text(f"{os.environ['OMP_NUM_THREADS']} {worker_device()}")


def drive(folder: Path) -> None:
    """The driver of a test that kills it."""
    list(local_slurm(folder / "jobs").run(do, [Errand(folder, name, "sleep") for name in "ab"]))


def local_slurm(folder: Path, **options: Any) -> SlurmEngine:
    pytest.importorskip("submitit", reason="needs efface[cluster]: submitit")
    return SlurmEngine(folder, executor="local", time_minutes=2, **options)
