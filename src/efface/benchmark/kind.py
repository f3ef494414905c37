"""What differs between the two benchmarks, of classifiers and of generators: one object each. Imports no torch.

Everything else (config, pool, setups, tuning, cost, tables) is the same for both, and asks nothing about the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from efface.benchmark.config import BenchConfig
    from efface.benchmark.pool import Pool
    from efface.benchmark.reading import TaskReader
    from efface.benchmark.results import KindName
    from efface.benchmark.runs import PoolRun, RunJob
    from efface.benchmark.tasks import BenchTask
    from efface.benchmark.timing import TimingJob

Kept = TypeVar("Kept")


@dataclass(frozen=True)
class BenchKind(Generic[Kept]):
    """How the runs of one kind of model are carried out and read.

    digest: of the images of a task. carry_out, time_steps: functions of a module, which workers call; they write a
    run's file, or that of a timing. read: what is kept of a run. drop_images: what this process keeps of images is
    dropped, for files may have changed. code: the modules that decide what a run of a task gives. reader: reads a pool
    that is full. check: raises `InputError` for what is wrong with data and models of a task, before anything is written.
    """

    name: KindName
    digest: Callable[[Any], str]
    carry_out: Callable[[RunJob], None]
    time_steps: Callable[[TimingJob], None]
    read: Callable[[Path], Kept]
    drop_images: Callable[[], None]
    code: Callable[[Any, PoolRun], tuple[str, ...]]
    reader: Callable[[BenchConfig, Pool[Kept]], TaskReader[Kept]]
    check: Callable[[BenchConfig, BenchTask], None]
