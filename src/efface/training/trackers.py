"""Trackers of experiments that follow the losses of a run: TensorBoard, MLflow, Weights & Biases, trackio, by accelerate.

They get numbers by phase and step. Nothing of images, no name, no id and no path of this machine is handed to them: a run
is called by a word made of its key, and what their packages look up by themselves is switched off as far as they allow. A
run that goes on after a kill goes on there too. One that cannot be reached is left out, and the run goes on.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from math import isfinite
from pathlib import Path
from typing import Any

from pydantic import Field

from efface.documents import Absent, Described, read_object
from efface.errors import Faults
from efface.files import write_json
from efface.settings import validated

PROJECT = "efface"
FOLDER = "tracking"
"""Where in a run those write that write files."""
STATE = "trackers.json"
PACKAGES = {"tensorboard": "torch.utils.tensorboard"}
"""What is imported for a tracker, where that is not its name."""


class Followed(Described):
    """What a run that goes on has to know of its trackers."""

    places: dict[str, list[int]] = Field(
        default_factory=dict, description="by the place of a phase: the steps before it, and its own"
    )
    mlflow: str | None = Field(None, description="the id that MLflow gave the run")


def refuse_missing(names: Sequence[str]) -> None:
    """Raise `InputError` naming every tracker whose package cannot be imported."""
    with Faults("training.trackers cannot be used, and nothing was started") as faults:
        for name in names:
            try:
                import_module(PACKAGES.get(name, name))
            # whatever other people's code may raise
            except Exception as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                faults.add(
                    f"{name}: {reason}. Install it with pip install 'efface[trackers]', or leave it out"
                )


def public_name(key: bytes) -> str:
    """How a run is called to trackers: always the same, and telling nothing without its key."""
    return f"run-{hmac.digest(key, b'trackers', hashlib.sha256).hex()[:12]}"


@contextmanager
def following(
    names: Sequence[str], run: Path, work: Path, key: bytes, note: Callable[[str], None]
) -> Iterator[Trackers | None]:
    """The trackers by name while the block runs; None where there are none. They are closed at its end, also by an error.

    run: its folder; work: that of its working files; note: is told of a tracker that failed.
    """
    trackers = Trackers(names, run / FOLDER, work / STATE, public_name(key), note) if names else None
    try:
        yield trackers
    finally:
        if trackers:
            trackers.finish()


class Trackers:
    """Trackers that are opened when the first step is to be told."""

    def __init__(
        self, names: Sequence[str], folder: Path, state: Path, name: str, note: Callable[[str], None]
    ) -> None:
        self.folder, self.state, self.name, self.note = folder, state, name, note
        self._names = list(names)
        self._open: dict[str, Any] = {}
        self._followed = self._read()

    def __call__(self, place: int, phase: str, step: int, steps: int, values: Mapping[str, float]) -> None:
        """Step `step` of `steps` of the phase at `place`, with its figures."""
        at = self._before(place, steps) + step
        told = {f"{phase}/{name}": value for name, value in values.items() if isfinite(value)}
        for name in list(self._names):
            with self._left_out_if_it_fails(name):
                if name not in self._open:
                    self._open[name] = self._opened(name, at)
                self._open[name].log(told, step=at)

    def finish(self) -> None:
        """Close all that are open."""
        for name, tracker in self._open.items():
            with self._left_out_if_it_fails(name):
                tracker.finish()
        self._open = {}

    @contextmanager
    def _left_out_if_it_fails(self, name: str) -> Iterator[None]:
        """A service that is down, or a package that fails, ends no training."""
        try:
            yield
        except Exception as error:
            self._names.remove(name)
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            self.note(f"the tracker {name} failed, and the run goes on without it: {reason}")

    def _before(self, place: int, steps: int) -> int:
        """The steps of all phases before the one at `place`."""
        places = self._followed.places
        if str(place) not in places:
            before = max((first + own for first, own in places.values()), default=0)
            self._keep({"places": {**places, str(place): [before, steps]}})
        return self._followed.places[str(place)][0]

    def _opened(self, name: str, first: int) -> Any:
        tracker = OPENED[name](self, first)
        # the first process alone comes here; accelerate would make a state for the whole process to find that out
        tracker.main_process_only = False
        tracker.start()
        if name == "mlflow":
            self._keep({"mlflow": tracker.active_run.info.run_id})
        return tracker

    def _tensorboard(self, first: int) -> Any:
        from accelerate.tracking import TensorBoardTracker

        # steps that a killed start wrote behind its checkpoint are told once more
        return TensorBoardTracker("tensorboard", logging_dir=str(self.folder), purge_step=first)

    def _mlflow(self, first: int) -> Any:
        from accelerate.tracking import MLflowTracker

        # what MLflow would fill in: the place of the program, the user, the commit of the folder that one stands in
        tags = {"mlflow.source.name": PROJECT, "mlflow.user": "", "mlflow.source.git.commit": ""}
        return MLflowTracker(PROJECT, run_id=self._followed.mlflow, run_name=self.name, tags=tags)

    def _wandb(self, first: int) -> Any:
        import wandb
        from accelerate.tracking import WandBTracker

        settings = wandb.Settings(
            console="off",
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            save_code=False,
            x_disable_meta=True,
            x_disable_stats=True,
        )
        # its files lie where wandb puts them, outside the run, since there are links among them
        return WandBTracker(PROJECT, id=self.name, name=self.name, resume="allow", settings=settings)

    def _trackio(self, first: int) -> Any:
        from accelerate.tracking import TrackioTracker

        return TrackioTracker(PROJECT, name=self.name, resume="allow", embed=False)

    def _read(self) -> Followed:
        try:
            return validated(Followed, read_object(self.state), f"{self.state} is damaged")
        except Absent:
            return Followed()

    def _keep(self, changes: Mapping[str, Any]) -> None:
        self._followed = self._followed.model_copy(update=dict(changes))
        write_json(self.state, self._followed.as_dict())


OPENED: Mapping[str, Callable[[Trackers, int], Any]] = {
    "tensorboard": Trackers._tensorboard,
    "mlflow": Trackers._mlflow,
    "wandb": Trackers._wandb,
    "trackio": Trackers._trackio,
}
"""What opens a tracker, by its name; it is told at which step."""
