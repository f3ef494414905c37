"""Tasks in jobs of a Slurm cluster, through submitit.

Many small tasks go into one job, which runs them one after the other and leaves a note on each in a folder that
driver and nodes share. So whatever becomes of a job, it is known which of its tasks are done.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from efface.errors import Faults, InputError
from efface.files import write_json
from efface.oracles.engines.base import (
    DEVICE,
    RETRIES,
    Engine,
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

POLL = {"slurm": 5.0, "local": 0.1}
"""Seconds between looks at the notes and the jobs."""

CANCEL = 5.0
"""Seconds that a job on this machine gets to be gone."""


@dataclass
class _Job:
    handle: Any
    open: list[int]


class SlurmEngine(Engine):
    """At most `parallel` jobs at a time, each with `tasks_per_job` tasks and at most `time_minutes` minutes.

    The tasks that a lost job left undone are tried again, each in a job of its own, so that one which ends its job
    stands in no other's way. `folder` takes scripts and logs, and the cluster's nodes must see it.
    `executor="local"` runs the jobs as processes of this machine. A driver that is killed outright cannot cancel its
    Slurm jobs: they go on to their end, and their result files count.
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

    def facts(self) -> dict[str, Any]:
        names = ("partition", "cpus_per_task", "gpus_per_task", "executor")
        return {**super().facts(), **{name: getattr(self, name) for name in names}}

    def run(self, function: Callable[[T], None], tasks: Sequence[T]) -> Iterator[Outcome[T]]:
        """As the contract says; raises `InputError` if submitit or Slurm is missing."""
        check_picklable(function, tasks)
        return self._outcomes(self._executor(), function, tasks)

    def _outcomes(
        self, executor: Any, function: Callable[[T], None], tasks: Sequence[T]
    ) -> Iterator[Outcome[T]]:
        numbers = range(len(tasks))
        queue = deque(list(numbers[i : i + self.tasks_per_job]) for i in numbers[:: self.tasks_per_job])
        deaths = [0] * len(tasks)
        jobs: list[_Job] = []
        notes = Path(tempfile.mkdtemp(prefix="notes-", dir=self.folder)).absolute()
        try:
            while queue or jobs:
                while queue and len(jobs) < self.parallel:
                    some = queue.popleft()
                    jobs.append(_Job(self._submit(executor, function, tasks, some, notes), some))
                for job in list(jobs):
                    # asked before the notes are read, so that no note is written in between
                    gone = job.handle.done()
                    for index, report in _read_notes(job, notes, gone):
                        job.open.remove(index)
                        yield Outcome(tasks[index], *report)
                    if not gone:
                        continue
                    jobs.remove(job)
                    for index in job.open:
                        deaths[index] += 1
                        if deaths[index] <= RETRIES:
                            queue.append([index])
                        else:
                            yield Outcome(tasks[index], death(deaths[index], _ending(job)))
                time.sleep(POLL[self.executor] if jobs else 0)
        finally:
            shutil.rmtree(notes, ignore_errors=True)
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

    def _submit(
        self, executor: Any, function: Callable[[T], None], tasks: Sequence[T], some: list[int], notes: Path
    ) -> Any:
        import cloudpickle
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        work = [(index, packed(function, tasks[index], cloudpickle.dumps)) for index in some]
        variables = thread_variables(self.cpus_per_task) | ({DEVICE: "cuda:0"} if self.gpus_per_task else {})
        driver = os.getpid() if self.executor == "local" else None
        try:
            return executor.submit(work_through, work, notes, variables, driver)
        except (FailedJobError, FailedSubmissionError) as error:
            raise InputError(f"Slurm does not take the job: {one_line(error)}") from None


def work_through(
    work: list[tuple[int, bytes]], notes: Path, variables: dict[str, str], driver: int | None
) -> list[tuple[int, Report]]:
    """What a job does: run its tasks, and leave a note on each. It ends early where `notes` is gone.

    `variables` are set before the tasks import anything. With `driver`, a process of this machine, the job ends as
    soon as that does.
    """
    from submitit.core.utils import UncompletedJobError

    os.environ.update(variables)
    if driver is not None:
        threading.Thread(target=_end_with_the_driver, args=(notes, driver), daemon=True).start()
    reports = []
    for index, call in work:
        if not notes.is_dir():
            break
        note = notes / f"{index}.json"
        # a job that Slurm put back into its queue begins again
        if not note.exists():
            # submitit raises this inside the task where the job's time is over
            reports.append((index, attempt(call_packed, call, passing=(UncompletedJobError,))))
            write_json(note, reports[-1][1])
    return reports


def _end_with_the_driver(notes: Path, driver: int) -> None:
    with suppress(OSError):
        while notes.is_dir():
            os.kill(driver, 0)
            time.sleep(POLL["local"])
    os._exit(1)


def _read_notes(job: _Job, notes: Path, gone: bool) -> Iterator[tuple[int, Report]]:
    for index in list(job.open):
        note = notes / f"{index}.json"
        if note.exists():
            error, trace, seconds = json.loads(note.read_text(encoding="utf-8"))
            yield index, (error, trace, seconds)
    # a shared folder may show the job's own result before it shows the last notes
    if gone and job.open and job.handle.paths.result_pickle.exists():
        with suppress(Exception):
            yield from [(index, report) for index, report in job.handle.result() if index in job.open]


def _ending(job: _Job) -> str:
    return f"job {job.handle.job_id} ended as {job.handle.state}; its log is {job.handle.paths.stderr}"


def _cancel(handles: list[Any], executor: str) -> None:
    """Jobs of this machine end by themselves once their notes are gone; those of Slurm are cancelled."""
    if executor == "slurm":
        for handle in handles:
            handle.cancel(check=False)
        return
    until = time.monotonic() + CANCEL
    while not all(handle.done() for handle in handles) and time.monotonic() < until:
        time.sleep(POLL["local"])
