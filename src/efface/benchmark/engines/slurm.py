"""Tasks in jobs of a Slurm cluster, through submitit.

Many small tasks go into one job, which runs them one after the other. Their result files, in a folder that driver and
nodes share, say which are done while the job runs, and whatever becomes of it. That a task raised is known once its job
ends; if the job is lost, such a task is run again.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal

from efface.benchmark.engines.base import (
    Engine,
    Fact,
    Outcome,
    Report,
    T,
    attempt,
    call_packed,
    check_picklable,
    one_line,
    packed,
    thread_variables,
)
from efface.devices import WORKER
from efface.errors import Faults, InputError

POLL = {"slurm": 5.0, "local": 0.1}
"""Seconds between checks of results and jobs."""

CANCEL = 30.0
"""Seconds that a job on this machine gets to be gone."""


@dataclass
class _Job(Generic[T]):
    """A job, and which of its tasks are not known to be done, by their places in it."""

    handle: Any
    open: dict[int, T]


class SlurmEngine(Engine):
    """At most `parallel` jobs at a time, each with `tasks_per_job` tasks and at most `time_minutes` minutes.

    The tasks that a lost job left undone are run again, each in a job of its own, so that one which ends its job
    stands in no other's way. `folder` takes scripts and logs, and the cluster's nodes must see it.
    `executor="local"` runs the jobs as processes of this machine. A driver that is killed outright cannot cancel its
    jobs: they go on to their end, and their result files count.
    """

    name: ClassVar[str] = "slurm"
    on_cluster: ClassVar[bool] = True

    def __init__(
        self,
        folder: Path,
        partition: str | None = None,
        time_minutes: int = 240,
        cpus_per_task: int = 1,
        gpus_per_task: int = 0,
        tasks_per_job: int = 8,
        parallel: int = 64,
        executor: Literal["slurm", "local"] = "slurm",
    ) -> None:
        with Faults("the engine slurm cannot be set up like this") as faults:
            counts = {
                "time_minutes": time_minutes, "cpus_per_task": cpus_per_task,
                "tasks_per_job": tasks_per_job, "parallel": parallel,
            }  # fmt: skip
            for name, value in counts.items():
                if value < 1:
                    faults.add(f"{name} is {value}: give 1 or more")
            if gpus_per_task < 0:
                faults.add(f"gpus_per_task is {gpus_per_task}: give 0 or more")
            if executor not in POLL:
                faults.add(f"executor is '{executor}': give {' or '.join(POLL)}")
        self.folder = Path(folder).absolute()
        self.partition = partition
        self.time_minutes = time_minutes
        self.cpus_per_task = cpus_per_task
        self.gpus_per_task = gpus_per_task
        self.tasks_per_job = tasks_per_job
        self.parallel = parallel
        self.executor = executor

    @property
    def uses_gpu(self) -> bool:
        return self.gpus_per_task > 0

    def facts(self) -> dict[str, Fact]:
        names = ("partition", "cpus_per_task", "gpus_per_task", "executor")
        return {**super().facts(), **{name: getattr(self, name) for name in names}}

    def _run_once(
        self, function: Callable[[T], None], tasks: Sequence[T], done: Callable[[T], bool], deaths: int
    ) -> Generator[Outcome[T], None, None]:
        check_picklable(function, tasks)
        executor, size = self._executor(), 1 if deaths else self.tasks_per_job
        waiting = deque(tasks[i : i + size] for i in range(0, len(tasks), size))
        jobs: list[_Job[T]] = []
        try:
            while waiting or jobs:
                while waiting and len(jobs) < self.parallel:
                    some = waiting.popleft()
                    jobs.append(_Job(self._submit(executor, function, some), dict(enumerate(some))))
                for job in list(jobs):
                    if job.handle.done():
                        jobs.remove(job)
                        yield from _outcomes(job)
                    for number, task in list(job.open.items()):
                        if done(task):
                            del job.open[number]
                            yield Outcome(task)
                time.sleep(POLL[self.executor] if jobs else 0)
        finally:
            _cancel([job.handle for job in jobs], self.executor)

    def _executor(self) -> Any:
        try:
            import submitit
        except ImportError:
            raise InputError(
                "the engine slurm needs the package submitit: pip install 'efface[cluster]'"
            ) from None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            executor = submitit.AutoExecutor(folder=self.folder, cluster=self.executor)
        except OSError as error:
            raise InputError(f"the folder of jobs {self.folder} cannot be made: {error.strerror}") from None
        except RuntimeError:
            raise InputError(
                "there is no Slurm on this machine: srun was not found. Start from a login node of the cluster"
            ) from None
        executor.update_parameters(
            name="efface",
            timeout_min=self.time_minutes,
            cpus_per_task=self.cpus_per_task,
            # since Slurm 22.05 srun no longer takes this from the job
            slurm_srun_args=[f"--cpus-per-task={self.cpus_per_task}"],
            **({"gpus_per_node": self.gpus_per_task} if self.gpus_per_task else {}),
            **({"slurm_partition": self.partition} if self.partition else {}),
        )
        return executor

    def _submit(self, executor: Any, function: Callable[[T], None], tasks: Sequence[T]) -> Any:
        import cloudpickle
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        work = [packed(function, task, cloudpickle.dumps) for task in tasks]
        variables = thread_variables(self.cpus_per_task) | {WORKER: "cuda:0" if self.gpus_per_task else "cpu"}
        try:
            return executor.submit(work_through, work, variables)
        except (FailedJobError, FailedSubmissionError) as error:
            raise InputError(f"Slurm does not take the job: {one_line(error)}") from None


def work_through(work: Sequence[bytes], variables: Mapping[str, str]) -> list[Report]:
    """What a job does: run its tasks. `variables` are set before the tasks import anything."""
    from submitit.core.utils import UncompletedJobError

    os.environ.update(variables)
    # submitit raises this inside the task where the job's time is over
    return [attempt(call_packed, call, passing=(UncompletedJobError,)) for call in work]


def _outcomes(job: _Job[T]) -> Iterator[Outcome[T]]:
    """What became of the open tasks of a job that has ended; none is open afterwards."""
    handle, tasks, job.open = job.handle, job.open, {}
    try:
        reports = handle.result() if handle.paths.result_pickle.exists() else None
    # of whatever kind: a task that has no result file then counts as one whose worker died
    except Exception:
        reports = None
    if reports is None:
        how = f"job {handle.job_id} ended as {handle.state}; its log is {handle.paths.stderr}"
        yield from (Outcome(task, how, died=True) for task in tasks.values())
    else:
        yield from (Outcome(task, *reports[number]) for number, task in tasks.items())


def _cancel(handles: Sequence[Any], executor: str) -> None:
    """Cancel jobs, and wait until those on this machine are gone."""
    for handle in handles:
        handle.cancel(check=False)
    until = time.monotonic() + CANCEL if executor == "local" else 0
    while not all(handle.done() for handle in handles) and time.monotonic() < until:
        time.sleep(POLL["local"])
