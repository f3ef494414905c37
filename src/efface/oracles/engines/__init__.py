"""Engines: run hundreds of small independent tasks, here or on a cluster. `engine_named("processes:4")` makes one.

| name | where | needs |
|---|---|---|
| `in-line` | one after the other in this process | nothing |
| `processes`, `processes:WORKERS` | worker processes on this machine | nothing |
| `processes:6@cuda:0`, `processes:8@cuda:0,cuda:1` | the same, sharing these devices | nothing |
| `ray`, `ray:ADDRESS` | a Ray of its own, or a running cluster (`ray:auto` finds it) | `efface[cluster]` |
| `slurm`, `slurm:PARTITION` | jobs on a Slurm cluster | `efface[cluster]` |

Importing this package imports neither torch, Ray nor submitit.
"""

from __future__ import annotations

import re
from pathlib import Path

from efface.errors import InputError
from efface.oracles.engines.base import Engine, Outcome, worker_device
from efface.oracles.engines.in_line import InLineEngine
from efface.oracles.engines.processes import ProcessEngine
from efface.oracles.engines.ray import RayEngine
from efface.oracles.engines.slurm import SlurmEngine
from efface.settings import unknown_name

JOBS = Path("runs/jobs")
"""Where Slurm's scripts and logs go if no folder is given; the cluster's nodes must see it."""

ENGINES: tuple[type[Engine], ...] = (InLineEngine, ProcessEngine, RayEngine, SlurmEngine)


def engine_named(text: str, folder: Path = JOBS) -> Engine:
    """Read `name` or `name:argument` (see the table of this package); raises `InputError` if it is neither.

    `folder` is where the jobs of `slurm` keep scripts and logs.
    """
    name, colon, argument = text.strip().partition(":")
    if name not in {engine.name for engine in ENGINES}:
        raise InputError(unknown_name("engine", name, [engine.name for engine in ENGINES]))
    if colon and not argument:
        raise InputError(f"engine '{text}': nothing stands after the colon; write {name} or {_example(name)}")
    if name == RayEngine.name:
        return RayEngine(argument or None)
    if name == SlurmEngine.name:
        return SlurmEngine(folder, argument or None)
    if name == ProcessEngine.name:
        workers, at, devices = argument.partition("@")
        if workers and not (workers.isascii() and workers.isdecimal()):
            raise InputError(f"engine '{text}': '{workers}' is no number of workers; write {_example(name)}")
        named = [device.strip() for device in devices.split(",")] if at else []
        if at and not all(re.fullmatch(r"cpu|cuda(:\d+)?", device) for device in named):
            raise InputError(f"engine '{text}': '{devices}' are no devices; write processes:6@cuda:0,cuda:1")
        return ProcessEngine(int(workers) if workers else None, devices=named)
    if argument:
        raise InputError(f"engine '{text}': {name} takes no argument; write {name}")
    return InLineEngine()


def _example(name: str) -> str:
    examples = {"processes": "processes:4", "ray": "ray:auto", "slurm": "slurm:PARTITION"}
    return examples.get(name, name)


__all__ = ["Engine", "InLineEngine", "Outcome", "ProcessEngine", "engine_named", "worker_device"]
