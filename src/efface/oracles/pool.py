"""A pool of runs of one task: each carried out once, stored, and shared by every method, setup and metric."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from efface.errors import InputError, RunRefused
from efface.files import canonical_json, write_json
from efface.oracles.engines import Engine
from efface.oracles.runs import Job, Outputs, Run, carry_out, read_outputs
from efface.oracles.tasks import TaskSettings, open_task
from efface.progress import Progress

TASK_FILE = "task.json"


@dataclass(frozen=True)
class Failure:
    """A run that cannot be had, and why; `lasting` if the same would happen again."""

    run: Run
    error: str
    lasting: bool


class Pool:
    """The runs of `task` in a folder. A folder of another task, or of other images, is refused."""

    def __init__(self, folder: Path, task: TaskSettings) -> None:
        self.folder, self.task = folder, task
        note = folder / TASK_FILE
        wanted = {"task": task.as_dict(), "contents": open_task(task).digest()}
        if not note.exists():
            write_json(note, wanted)
        elif json.loads(note.read_text(encoding="utf-8")) != json.loads(canonical_json(wanted)):
            raise RunRefused(
                f"{folder} holds a pool of another task, or of other images ({note} differs); choose another folder, or "
                "put task and images back"
            )
        self._read: dict[Run, Outputs] = {}

    def has(self, run: Run) -> bool:
        """Whether the run is there."""
        return self._place(run).with_suffix(".npz").exists()

    def failure(self, run: Run) -> Failure | None:
        """Why the run cannot be had, if it was tried and would fail again."""
        path = self._place(run).with_suffix(".failed.json")
        if not path.exists():
            return None
        return Failure(run, json.loads(path.read_text(encoding="utf-8"))["error"], lasting=True)

    def missing(self, runs: Iterable[Run]) -> list[Run]:
        """Those that are neither there nor known to fail, each once, originals first."""
        wanted = [run for run in dict.fromkeys(runs) if not self.has(run) and self.failure(run) is None]
        return sorted(wanted, key=lambda run: run.kind != "original")

    def fill(
        self,
        runs: Iterable[Run],
        engine: Engine,
        progress: Progress | None = None,
        *,
        limit: float | None = None,
        keep_weights: bool = False,
        name: str = "runs",
    ) -> list[Failure]:
        """Carry out what is missing; returns all runs of `runs` that cannot be had. Stopped at any time, it goes on.

        limit: seconds that an unlearning run may take before it is stopped where it is.
        """
        progress = progress or Progress()
        runs = list(dict.fromkeys(runs))
        failures = []
        originals = {Run("original", run.start) for run in runs if run.kind == "unlearned"}
        for part in (
            [run for run in {*runs, *originals} if run.kind == "original"],
            [run for run in runs if run.kind != "original"],
        ):
            wanted = self.missing(part)
            if not wanted:
                continue
            jobs = [
                Job(str(self.folder), canonical_json(self.task.as_dict()), run, limit, keep_weights)
                for run in wanted
            ]
            with progress.task(name, len(jobs), 0) as task:
                for outcome in engine.run(carry_out, jobs):
                    if outcome.error:
                        failures.append(Failure(outcome.task.run, outcome.error, lasting=False))
                        progress.log("failed", run=outcome.task.run.name, error=outcome.error)
                    task.advance(1)
        failures += [failure for run in runs if (failure := self.failure(run))]
        return failures

    def outputs(self, run: Run) -> Outputs:
        """What is kept of a run; raises `InputError` if it is not there."""
        if run not in self._read:
            path = self._place(run).with_suffix(".npz")
            if not path.exists():
                raise InputError(f"the pool in {self.folder} does not hold the run {run.name}; fill it first")
            self._read[run] = read_outputs(path)
        return self._read[run]

    def stack(
        self, runs: Sequence[Run], what: Literal["confidence", "correct", "logits"], name: str
    ) -> npt.NDArray[np.float64]:
        """`[models, examples]` (or with classes, for logits) of one of the sets forget, retain, test."""
        return np.stack([getattr(self.outputs(run), what)[name] for run in runs]).astype(np.float64)

    def seconds(self, runs: Iterable[Run]) -> float:
        """Mean seconds of a run; nan for none."""
        times = [self.outputs(run).seconds for run in runs]
        return float(np.mean(times)) if times else float("nan")

    def _place(self, run: Run) -> Path:
        return self.folder / run.name
