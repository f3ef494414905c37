"""Engines: run hundreds of small independent tasks, here or on a cluster. `engine_named("processes:4")` makes one.

| name | where | needs |
|---|---|---|
| `in-line` | one after the other in this process | nothing |
| `processes`, `processes:WORKERS` | worker processes on this machine | nothing |
| `processes:6@cuda:0`, `processes:8@cuda:0,cuda:1` | the same, sharing these devices | nothing |
| `ray`, `ray:ADDRESS` | a Ray of its own, or a running cluster (`ray:auto` finds it) | `efface[cluster]` |
| `slurm`, `slurm:PARTITION` | jobs on a Slurm cluster | `efface[cluster]` |
| `ray@gpu=0.25`, `ray:ADDRESS@gpu=0.25` | the same as `ray`, four tasks sharing one GPU | `efface[cluster]` |
| `slurm@gpu=1`, `slurm:PARTITION@gpu=1` | the same as `slurm`, a whole GPU for each job | `efface[cluster]` |

Without `@gpu=`, tasks on Ray and Slurm use no GPU, also where there are some.

Importing this package imports neither torch, Ray nor submitit.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from efface.benchmark.engines.base import Engine, InLineEngine, Outcome
from efface.benchmark.engines.processes import ProcessEngine
from efface.benchmark.engines.ray import RayEngine
from efface.benchmark.engines.slurm import SlurmEngine
from efface.devices import AUTO, FORM
from efface.errors import InputError
from efface.settings import unknown_name

JOBS = Path("runs/jobs")
"""Where Slurm's scripts and logs go if no folder is given; the cluster's nodes must see it."""

ENGINES: tuple[type[Engine], ...] = (InLineEngine, ProcessEngine, RayEngine, SlurmEngine)


def engine_named(text: str, folder: Path = JOBS, on: str = AUTO) -> Engine:
    """Read `name` or `name:argument` (see the table of this package); raises `InputError` if it is neither.

    `folder` is where the jobs of `slurm` keep scripts and logs. on: the device of all tasks, if one is named.
    """
    device = [] if on == AUTO else [on]
    text, gpus = _gpus_apart(text.strip())
    name, colon, argument = text.partition(":")
    if name not in {engine.name for engine in ENGINES}:
        raise InputError(unknown_name("engine", name, [engine.name for engine in ENGINES]))
    if colon and not argument:
        raise InputError(f"engine '{text}': nothing stands after the colon; write {name} or {_example(name)}")
    if device and (name in (RayEngine.name, SlurmEngine.name) or "@" in argument):
        raise InputError(
            f"device '{on}': the engine '{text}' names or gives its devices itself; leave --device out"
        )
    if name == RayEngine.name:
        return RayEngine(argument or None, gpus_per_task=gpus)
    if name == SlurmEngine.name:
        if gpus != int(gpus):
            raise InputError(f"engine '{text}@gpu={gpus:g}': Slurm gives whole GPUs; write {name}@gpu=1")
        return SlurmEngine(folder, argument or None, gpus_per_task=int(gpus))
    if name == ProcessEngine.name:
        workers, at, devices = argument.partition("@")
        if workers and not (workers.isascii() and workers.isdecimal()):
            raise InputError(f"engine '{text}': '{workers}' is no number of workers; write {_example(name)}")
        named = [device.strip() for device in devices.split(",")] if at else []
        if at and not all(FORM.fullmatch(one) and one != AUTO for one in named):
            raise InputError(f"engine '{text}': '{devices}' are no devices; write processes:6@cuda:0,cuda:1")
        return ProcessEngine(int(workers) if workers else None, devices=named or device)
    if argument:
        raise InputError(f"engine '{text}': {name} takes no argument; write {name}")
    return InLineEngine(*device)


def _known(text: str) -> str:
    try:
        engine_named(text)
    except InputError as error:
        raise ValueError(str(error)) from None
    return text


EngineText = Annotated[str, AfterValidator(_known)]
"""An engine as a setting: its text, as `engine_named` reads it."""


def _gpus_apart(text: str) -> tuple[str, float]:
    """`ray:auto@gpu=0.25` as `ray:auto` and 0.25; 0 GPUs where nothing is said of them."""
    where, at, count = text.rpartition("@gpu=")
    if not at:
        return text, 0.0
    name = where.partition(":")[0]
    if name not in (RayEngine.name, SlurmEngine.name):
        raise InputError(
            f"engine '{text}': @gpu= is for ray and slurm; processes name their devices, as processes:6@cuda:0"
        )
    if not re.fullmatch(r"\d+(\.\d+)?|\.\d+", count):
        raise InputError(f"engine '{text}': '{count}' is no number of GPUs; write {name}@gpu=1")
    return where, float(count)


def _example(name: str) -> str:
    examples = {"processes": "processes:4", "ray": "ray:auto", "slurm": "slurm:PARTITION"}
    return examples.get(name, name)


__all__ = [
    "Engine",
    "EngineText",
    "InLineEngine",
    "Outcome",
    "ProcessEngine",
    "engine_named",
]
