"""Steps of trainings, counted and timed where runs are carried out."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from efface.benchmark.runs import PoolRun
from efface.documents import Described


@dataclass(frozen=True)
class TimingJob:
    """Steps to be timed and counted by a worker; `file` takes the `Timing`. sections: of methods, as canonical JSON."""

    file: str
    task: str
    sections: tuple[str, ...]


class StepCount(Described):
    """Steps of training, and the images that pass in them: of training steps, `batch_size` each."""

    steps: int = Field(description="optimizer steps")
    images: int = Field(description="images that pass in them")


class Timing(Described):
    """Steps of a training, a retraining and each method (by canonical JSON of its section), and their seconds."""

    step_seconds: float = Field(description="of one step of training")
    run_seconds: float = Field(description="of what every run does beside its steps")
    batch_size: int = Field(description="images of one step of training")
    original: StepCount = Field(description="of a training")
    retrained: StepCount = Field(description="of a retraining")
    methods: dict[str, StepCount] = Field(description="of unlearning, by section")
    preparations: dict[str, StepCount] = Field(
        {}, description="what a method does before it is asked to forget: no limit binds it"
    )
    errors: dict[str, str] = Field({}, description="why the steps of a method cannot be counted, by section")

    def seconds(self, run: PoolRun, limit: float | None = None) -> float:
        """Worker seconds of a run. limit: share of a retraining at which unlearning is stopped.

        A step with more images than one of training takes longer in proportion; a smaller one no less, because small
        networks spend their time on the step itself. Edits are not counted.
        """
        trained = {"original": self.original, "retrained": self.retrained}.get(run.kind)
        spent = self._of_steps(trained or self.methods.get(run.method))
        if run.kind == "unlearned" and limit is not None:
            spent = min(spent, limit * self._of_steps(self.retrained))
        return spent + self._of_steps(self.preparations.get(run.method)) + self.run_seconds

    def _of_steps(self, count: StepCount | None) -> float:
        return max(count.steps, count.images / self.batch_size) * self.step_seconds if count else 0.0
