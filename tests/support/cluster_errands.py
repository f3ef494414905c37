"""Tasks for the engines of clusters: as those for worker processes, and the result says how many threads there were."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from efface.benchmark.engines import Engine, Outcome
from efface.benchmark.engines.slurm import SlurmEngine
from efface.devices import named_device
from support.errands import Errand, begun, result, wait_for


def do(errand: Errand) -> None:
    before = begun(errand.folder, errand.name)
    (errand.folder / f"{errand.name}.begun.{len(before)}").write_text(str(os.getpid()))
    if errand.what == "raise":
        raise ArithmeticError("no number\nfits")
    if errand.what == "die" or (errand.what == "die once" and not before):
        os.kill(os.getpid(), signal.SIGKILL)
    if errand.what == "die once after a is told" and not before:
        wait_for((errand.folder / "told").exists)
        os.kill(os.getpid(), signal.SIGKILL)
    if errand.what == "sleep":
        time.sleep(600)
    (errand.folder / f"{errand.name}.result").write_text(f"{os.environ['OMP_NUM_THREADS']} {named_device()}")


def run(engine: Engine, errands: list[Errand]) -> Generator[Outcome[Errand], None, None]:
    return engine.run(do, errands, lambda errand: result(errand.folder, errand.name) is not None)


def local_slurm(folder: Path, **options: Any) -> SlurmEngine:
    pytest.importorskip("submitit", reason="needs efface[cluster]: submitit")
    return SlurmEngine(folder, executor="local", time_minutes=2, **options)
