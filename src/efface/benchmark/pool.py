"""A pool of runs of one task: each carried out once, stored, and shared by every method, setup and metric."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

import numpy as np

from efface.benchmark.code import code_digest
from efface.benchmark.engines import Engine
from efface.benchmark.engines.base import without_folders
from efface.benchmark.kind import BenchKind, Kept
from efface.benchmark.runs import PoolRun, RunJob, RunSpending
from efface.benchmark.tasks import BenchTask
from efface.documents import read_json, read_object
from efface.errors import InputError, RunRefused
from efface.files import canonical_json, write_json
from efface.progress import Progress
from efface.runs.erasing import entries_below, erase

TASK_FILE = "task.json"
CODE_DIGITS = 10
KEPT = 512
"""Outputs that a pool keeps in memory: the retrained models and some methods' runs."""


@dataclass(frozen=True)
class RunFailure:
    """A run that cannot be had, and why; `lasting` if the same would happen again."""

    run: PoolRun
    error: str
    lasting: bool

    @property
    def told(self) -> str:
        """The error as results show it: of a path only its last part."""
        return without_folders(self.error)


class Pool(Generic[Kept]):
    """The runs of `task` in a folder. A folder of another task, or of other images, is refused."""

    def __init__(self, folder: Path, task: BenchTask, kind: BenchKind[Kept]) -> None:
        # runs are carried out by processes that may stand in another folder; `resolve` would name places that other
        # machines do not know
        self.folder, self.task, self.kind = Path(folder).absolute(), task, kind
        kind.drop_images()
        note = self.folder / TASK_FILE
        wanted = {"task": task.as_dict(), "contents": kind.digest(task)}
        if not note.exists():
            write_json(note, wanted)
        elif read_json(note) != json.loads(canonical_json(wanted)):
            raise RunRefused(
                f"{folder} holds a pool of another task, or of other images ({note} differs); choose another folder, or "
                "put task and images back"
            )
        self._read: OrderedDict[PoolRun, Kept] = OrderedDict()
        self._spent: dict[PoolRun, RunSpending] = {}
        self._names: dict[PoolRun, str] = {}

    def has(self, run: PoolRun) -> bool:
        """Whether the run is there."""
        return self._place(run).with_suffix(".npz").exists()

    def failure(self, run: PoolRun) -> RunFailure | None:
        """Why the run cannot be had, if it was tried and would fail again."""
        path = self._failed(run)
        if not path.exists():
            return None
        return RunFailure(run, str(read_object(path).get("error")), lasting=True)

    def failure_file(self, run: PoolRun) -> str | None:
        """Where a lasting failure is kept, from the pool's folder; None where there is none."""
        path = self._failed(run)
        return path.relative_to(self.folder).as_posix() if path.exists() else None

    def drop_failures(self) -> list[Path]:
        """Remove all lasting failures, so that their runs are tried again; returns the files that are gone."""
        found = sorted(self.folder.rglob("*.failed.json"))
        for path in found:
            path.unlink()
        return found

    def drop_weights(self) -> int:
        """Overwrite and remove the weights of all models; returns how many."""
        weights = [entry for entry in entries_below(self.folder) if entry.name.endswith(".safetensors")]
        erase(self.folder, weights)
        return len(weights)

    def missing(self, runs: Iterable[PoolRun]) -> list[PoolRun]:
        """Those that are neither there nor known to fail, each once, originals first."""
        wanted = [run for run in dict.fromkeys(runs) if not self.has(run) and self.failure(run) is None]
        return sorted(wanted, key=lambda run: run.kind != "original")

    def fill(
        self,
        runs: Iterable[PoolRun],
        engine: Engine,
        progress: Progress | None = None,
        *,
        limit: float | None = None,
        name: str = "runs",
    ) -> list[RunFailure]:
        """Carry out what is missing; returns all runs of `runs` that cannot be had. Stopped at any time, it goes on.

        limit: seconds that an unlearning run may take before it is stopped where it is.
        """
        progress = progress or Progress()
        runs = list(dict.fromkeys(runs))
        failures = []
        unlike: dict[PoolRun, str] = {}
        originals = {PoolRun("original", run.start) for run in runs if run.kind == "unlearned"}
        again = self._without_weights(runs)
        if again:
            progress.say(
                f"{len(again)} originals are trained again: their weights were removed when all was done "
                "(keep_weights: true keeps them)"
            )
        for part in (
            [run for run in {*runs, *originals} if run.kind == "original"],
            [run for run in runs if run.kind != "original"],
        ):
            wanted = [*self.missing(part), *(run for run in again if run in part)]
            for run in [run for run in wanted if PoolRun("original", run.start) in unlike]:
                failures.append(RunFailure(run, unlike[PoolRun("original", run.start)], lasting=False))
                wanted.remove(run)
            if not wanted:
                continue
            task_text = canonical_json(self.task.with_whole_path().as_dict())
            for family in dict.fromkeys(run.family for run in wanted):
                if self._of_other_code(family):
                    progress.say(
                        f"{family}: its code has changed since it was carried out; it is carried out anew"
                    )
            jobs = [
                RunJob(
                    self._place(run),
                    self._place(PoolRun("original", run.start)),
                    task_text,
                    run,
                    limit,
                    run in again,
                )
                for run in wanted
            ]
            with progress.task(name, len(jobs), 0) as task:
                for outcome in engine.run(self.kind.carry_out, jobs, self._ended):
                    if outcome.error:
                        failures.append(RunFailure(outcome.task.run, outcome.error, lasting=False))
                        if outcome.task.weights_only:
                            unlike[outcome.task.run] = outcome.error
                        progress.log("failed", run=self._name(outcome.task.run), error=outcome.error)
                    task.advance(1)
            for run in wanted:
                self._read.pop(run, None)
                self._spent.pop(run, None)
        failures += [failure for run in runs if (failure := self.failure(run))]
        return failures

    def outputs(self, run: PoolRun) -> Kept:
        """What is kept of a run; raises `InputError` if it is not there."""
        if run not in self._read:
            self._read[run] = self.kind.read(self._file(run))
            if len(self._read) > KEPT:
                self._read.popitem(last=False)
        self._read.move_to_end(run)
        return self._read[run]

    def spent(self, run: PoolRun) -> RunSpending:
        """What a run took, without reading its arrays; raises `InputError` if it is not there."""
        if run not in self._spent:
            self._spent[run] = RunSpending.read(self._file(run))
        return self._spent[run]

    def seconds(self, runs: Iterable[PoolRun]) -> float:
        """Mean seconds of a run; nan for none."""
        times = [self.spent(run).seconds for run in runs]
        return float(np.mean(times)) if times else float("nan")

    def _without_weights(self, runs: Iterable[PoolRun]) -> list[PoolRun]:
        """Originals that were measured and lost their weights, from which a missing run is to start."""
        starts = dict.fromkeys(
            PoolRun("original", run.start) for run in self.missing(runs) if run.kind == "unlearned"
        )
        return [
            run
            for run in starts
            if self.has(run) and not self._place(run).with_suffix(".safetensors").exists()
        ]

    def _ended(self, job: RunJob) -> bool:
        """Whether a run left its outputs, or why it would fail again."""
        if job.weights_only:
            return job.weights.exists()
        return self.has(job.run) or self.failure(job.run) is not None

    def _place(self, run: PoolRun) -> Path:
        return self.folder / self._name(run)

    def _name(self, run: PoolRun) -> str:
        """Where a run lies, without an ending: other code is another run."""
        if run not in self._names:
            code = code_digest(self.kind.code(self.task, run))[:CODE_DIGITS]
            start = f"from-{run.start}/" if run.kind == "unlearned" else ""
            self._names[run] = f"{run.family}-{code}/{start}{run.seed}"
        return self._names[run]

    def _of_other_code(self, family: str) -> bool:
        """Whether there are runs of a kind and method that other code carried out, and none of the present one."""
        place = self.folder / family
        mine = {
            Path(name).parts[len(Path(family).parts) - 1]
            for run, name in self._names.items()
            if run.family == family
        }
        found = {path.name for path in place.parent.glob(f"{place.name}-{'[0-9a-f]' * CODE_DIGITS}")}
        return bool(found) and not found & mine

    def _failed(self, run: PoolRun) -> Path:
        return self._place(run).with_suffix(".failed.json")

    def _file(self, run: PoolRun) -> Path:
        path = self._place(run).with_suffix(".npz")
        if not path.exists():
            raise InputError(
                f"the pool in {self.folder} does not hold the run {self._name(run)}; fill it first"
            )
        return path
