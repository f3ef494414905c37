"""Tasks on Ray: one of its own on this machine, or a running cluster."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, ClassVar

from pydantic import JsonValue

from efface.benchmark.engines.base import (
    RETRIES,
    Engine,
    Fact,
    Outcome,
    Report,
    T,
    attempt,
    call_packed,
    check_picklable,
    death,
    one_line,
    packed,
    thread_variables,
)
from efface.benchmark.engines.processes import usable_cores
from efface.devices import WORKER
from efface.errors import Faults, InputError

IN_FLIGHT = 256
"""How many tasks are handed to Ray at once: enough to show a cluster that grows on demand what is wanted."""


CONNECT = 10.0
"""Seconds that a cluster gets to answer."""


class RayEngine(Engine):
    """Ray schedules the tasks and tries those again whose worker or node was lost.

    `address` None uses the Ray that this process is connected to already, or else starts one on this machine and
    shuts it down at the end; anything else is what `ray.init` takes: `auto`, `host:port`, `ray://host:port`. The
    cluster's nodes need efface installed, and the folder of results. With `gpus_per_task` (below 1: shared) a task's
    `efface.devices.chosen_device()` is `cuda:0`, of those that Ray lets it see.
    """

    name: ClassVar[str] = "ray"
    on_cluster: ClassVar[bool] = True

    def __init__(
        self, address: str | None = None, cpus_per_task: int = 1, gpus_per_task: float = 0.0
    ) -> None:
        with Faults() as faults:
            if cpus_per_task < 1:
                faults.add(f"cpus_per_task is {cpus_per_task}: give 1 or more")
            if gpus_per_task < 0:
                faults.add(
                    f"gpus_per_task is {gpus_per_task}: give 0 or more; 0.25 lets four tasks share one"
                )
        self.address = address
        self.cpus_per_task = cpus_per_task
        self.gpus_per_task = gpus_per_task

    @property
    def uses_gpu(self) -> bool:
        return self.gpus_per_task > 0

    def facts(self) -> dict[str, Fact]:
        names = ("address", "cpus_per_task", "gpus_per_task")
        return {**super().facts(), **{name: getattr(self, name) for name in names}}

    def _run_once(
        self, function: Callable[[T], None], tasks: Sequence[T], done: Callable[[T], bool], deaths: int
    ) -> Generator[Outcome[T], None, None]:
        ray = _ray()
        import cloudpickle

        check_picklable(function, tasks)
        own = not ray.is_initialized()
        if own:
            self._connect(ray)
        flying: dict[Any, T] = {}
        try:
            remote = self._remote(ray)
            waiting = iter(tasks)
            while True:
                for task in islice(waiting, IN_FLIGHT - len(flying)):
                    flying[remote.remote(packed(function, task, cloudpickle.dumps))] = task
                if not flying:
                    return
                ended, _ = ray.wait(list(flying), num_returns=1)
                for reference in ended:
                    yield _outcome(ray, reference, flying.pop(reference))
        finally:
            for reference in flying:
                ray.cancel(reference, force=True)
            if own:
                ray.shutdown()

    def _remote(self, ray: Any) -> Any:
        device = "cuda:0" if self.gpus_per_task else "cpu"
        variables = thread_variables(self.cpus_per_task) | {WORKER: device}
        return ray.remote(_work).options(
            num_cpus=self.cpus_per_task,
            num_gpus=self.gpus_per_task,
            max_retries=RETRIES,
            runtime_env={"env_vars": variables},
        )

    def _connect(self, ray: Any) -> None:
        options: dict[str, JsonValue] = {"address": self.address}
        if self.address is None:
            # a Ray of one's own tells nobody of its use, and gives up on a task that runs out of memory, too
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            options = {
                "address": "local",
                "num_cpus": usable_cores(),
                "include_dashboard": False,
                "_system_config": {"task_oom_retries": RETRIES},
            }
        else:
            _check_answers(self.address)
        try:
            with _own_signals():
                ray.init(configure_logging=False, **options)
        except (ConnectionError, ValueError, RuntimeError) as error:
            where = f"the Ray at {self.address}" if self.address else "a Ray on this machine"
            raise InputError(f"{where} cannot be used: {one_line(error)}") from None
        if self.address is None:
            there = ray.cluster_resources()
            wanted = {"CPU": self.cpus_per_task, "GPU": self.gpus_per_task}
            short = [f"{n} {name}" for name, n in wanted.items() if n > there.get(name, 0)]
            if short:
                ray.shutdown()
                raise InputError(f"a task asks for {' and '.join(short)}, which this machine does not have")


def _work(work: bytes) -> Report:
    return attempt(call_packed, work)


def _outcome(ray: Any, reference: Any, task: T) -> Outcome[T]:
    lost = (
        ray.exceptions.WorkerCrashedError,
        ray.exceptions.NodeDiedError,
        ray.exceptions.OutOfMemoryError,
    )
    try:
        return Outcome(task, *ray.get(reference))
    except lost as error:
        return Outcome(task, death(RETRIES + 1, one_line(error)))
    except ray.exceptions.RayError as error:
        return Outcome(task, one_line(error), str(error))


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise InputError("the engine ray needs the package ray: pip install 'efface[cluster]'") from None
    return ray


def _check_answers(address: str) -> None:
    """Raise `InputError` where nothing listens at `host:port`, which Ray itself takes minutes to find out."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host, int(port)), CONNECT).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"no Ray answers at {address} ({one_line(error)}): start one with `ray start --head`, or give its address"
        ) from None


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes over SIGTERM when it starts; give it back to the caller, who decides what stops a run."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
