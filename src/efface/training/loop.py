"""The one training loop, on accelerate. It knows phases and their losses, not what they are for."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from efface.documents import read_object
from efface.errors import Stopped
from efface.files import write_json
from efface.generators.base import Generator, Trained
from efface.progress import Progress, Task
from efface.recomputing import recomputing_blocks
from efface.settings import Settings
from efface.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    random_states,
    restore_random_states,
    save_checkpoint,
)
from efface.training.codes import keep_codes
from efface.training.data import Cropper, Data
from efface.training.interruption import StopRequest
from efface.training.optimisation import autocast_precision, learning_rate
from efface.training.phases import Combiner, EditPhase, Keep, Phase, Training
from efface.training.settings import Budget, TrainingSettings
from efface.training.sharding import load_moments, whole
from efface.training.step import FiniteCheck, Step, training_corruption
from efface.wording import counted

UNTIMED_STEPS, TIMED_STEPS = 2, 6
KEPT_NAME = "kept.json"
"""Beside the checkpoint: which models were kept as further results."""


class KeptModels(Settings):
    """What that file holds."""

    config: str
    names: list[str]


@dataclass(frozen=True)
class TrainingReport:
    """What training did. `seconds` counts all starts of an interrupted run; `micro_batches` are those at its end."""

    steps: int
    seconds: float
    seconds_per_step: float
    precision: str
    processes: int
    resumed_from: int | None
    micro_batches: int = 1


class Trainer:
    """Runs the phases of a method on a generator, from the last checkpoint in `folder` if there is one.

    With `folder=None` no checkpoint is kept, and codes of crops only where `codes_in_memory`. `config_digest` ties
    checkpoints to their config.
    keep: saves the generator as a further result under a name that a phase gives. It is called once for each, in the
    main process, and again only if it was broken off; without it such phases do nothing.
    """

    def __init__(
        self,
        generator: Generator,
        phases: list[Phase],
        data: Data,
        settings: TrainingSettings,
        seed: int,
        accelerator: Accelerator,
        *,
        folder: Path | None = None,
        codes_in_memory: bool = False,
        config_digest: str = "",
        budget: Budget | None = None,
        progress: Progress | None = None,
        keep: Callable[[str, Generator], None] | None = None,
    ) -> None:
        self.generator, self.phases, self.data, self.settings = generator, phases, data, settings
        self.seed, self.accelerator, self.folder, self.config_digest = (
            seed,
            accelerator,
            folder,
            config_digest,
        )
        self.codes_in_memory = codes_in_memory
        self.budget = budget or Budget()
        self.progress = progress or Progress()
        self.keep = keep
        self.seconds = 0.0
        self.resumed_from: int | None = None
        self._done_steps = 0

    def run(self) -> TrainingReport:
        """All phases, to the end. Raises `Stopped`, with a checkpoint, on a signal or a non-finite loss.

        Every draw hangs on the seed. The global random state is left as it was.
        """
        device = self.accelerator.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            # dropout draws from the global state; processes see other images, so each has draws of its own
            torch.manual_seed(self.seed + self.accelerator.process_index)
            with self._saving_memory():
                return self._run_phases()

    @contextmanager
    def _saving_memory(self) -> Iterator[None]:
        """Cut batches and keep activations as the settings say while the block runs."""
        generator, settings = self.generator, self.settings
        generator.micro_batches = settings.gradient_accumulation
        try:
            with recomputing_blocks(generator.network, settings.activation_checkpointing):
                yield
        finally:
            generator.micro_batches = 1

    def _run_phases(self) -> TrainingReport:
        generator = self.generator
        generator.to(self.accelerator.device)
        edits = any(isinstance(phase, EditPhase) for phase in self.phases)
        trained: Trained = "encoder" if self._only_encoder() and not edits else "all"
        generator.set_trained(trained)
        if any(isinstance(phase, Training) and phase.needs_teacher for phase in self.phases):
            generator.keep_teacher(trained, autocast_precision(self.accelerator))
            if edits:
                generator.keep_original()
        for combiner in self._combiners().values():
            combiner.load_state({})
        checkpoint = self._resume()
        with StopRequest() as stop:
            for number, phase in enumerate(self.phases):
                if (checkpoint and number < checkpoint.phase) or not self._has_work(phase):
                    continue
                here = checkpoint if checkpoint and number == checkpoint.phase else None
                if isinstance(phase, EditPhase):
                    phase.apply(generator, self.seed)
                    self.progress.log("edit", phase=phase.name)
                elif isinstance(phase, Keep):
                    self._keep(phase.name)
                else:
                    self._train(number, phase, here, stop)
        generator.drop_teacher()
        generator.drop_shadow()
        generator.eval().set_trained("all")
        per_step = self.seconds / max(self._done_steps, 1)
        return TrainingReport(
            self._done_steps,
            self.seconds,
            per_step,
            "bf16" if self.accelerator.mixed_precision == "bf16" else "fp32",
            self.accelerator.num_processes,
            self.resumed_from,
            self.generator.micro_batches,
        )

    def time_steps(self, count: int = TIMED_STEPS) -> float:
        """Median seconds of a step of the first training phase. Weights and states stay as they are."""
        phase = next(phase for phase in self.phases if isinstance(phase, Training) and self._has_work(phase))
        trained_before = self.generator.training
        self.generator.to(self.accelerator.device).set_trained(phase.trained)
        if phase.needs_teacher:
            self.generator.keep_teacher(phase.trained, autocast_precision(self.accelerator))
        if any(isinstance(before, EditPhase) for before in self.phases[: self.phases.index(phase)]):
            # one of these may keep a shadow for the loss; a step beside any other takes as long
            self.generator.keep_shadow()
        with self._saving_memory():
            step = self._step(phase)
            seconds = self._timed(step, count)
            step.close()
        self.generator.drop_teacher()
        self.generator.drop_shadow()
        self.generator.train(trained_before).set_trained("all")
        return seconds

    def _has_work(self, phase: Phase) -> bool:
        """Not so a phase for the first stage of a model that has none."""
        return not isinstance(phase, Training) or bool(self.generator.trained_parameters(phase.trained))

    def _combiners(self) -> dict[int, Combiner]:
        """Those of the phases, by their place."""
        return {
            number: phase.combine
            for number, phase in enumerate(self.phases)
            if isinstance(phase, Training) and phase.combine is not None
        }

    def _step(self, phase: Training) -> Step:
        settings, codes = (phase.settings or self.settings).under(self.generator.learnt_crops), None
        if (self.folder or self.codes_in_memory) and phase.trained != "first-stage":
            cropper = Cropper(self.data.cache, self.generator.image_size, settings, self.seed)
            ids = [id_ for stream in phase.streams for id_ in self.data.sets[stream].ids]
            place = self.folder / "codes" if self.folder else None
            corruption = training_corruption(self.generator, settings)
            with self.accelerator.main_process_first():
                codes = keep_codes(self.generator, ids, cropper, corruption, place, self.progress)
        return Step(self.generator, phase, self.data, settings, self.seed, self.accelerator, codes)

    def _only_encoder(self) -> bool:
        return all(phase.trained == "encoder" for phase in self.phases if isinstance(phase, Training))

    def _resume(self) -> Checkpoint | None:
        checkpoint = load_checkpoint(self.folder, self.config_digest) if self.folder else None
        if checkpoint:
            for phase in self.phases[: checkpoint.phase]:
                if isinstance(phase, EditPhase):
                    # it may have changed more than weights, as the scale of a new first stage's codes
                    phase.apply(self.generator, self.seed)
            state = self.generator.network.state_dict()
            self.generator.network.load_state_dict({**state, **checkpoint.weights})
            self.generator.load_shadow(checkpoint.shadow)
            for number, combiner in self._combiners().items():
                combiner.load_state(checkpoint.combiners.get(number, {}))
            self.seconds, self.resumed_from = checkpoint.seconds, checkpoint.step
            self._done_steps = checkpoint.steps_before
            self.generator.micro_batches = checkpoint.micro_batches
            self.progress.say(f"continuing at step {checkpoint.step} of {checkpoint.steps}")
        return checkpoint

    def _keep(self, name: str) -> None:
        if self.accelerator.is_main_process and self.keep is not None:
            # a run that was killed behind it comes here again, with the same weights
            kept = self._kept()
            if name not in kept:
                self.keep(name, self.generator)
                if self.folder is not None:
                    note = KeptModels(config=self.config_digest, names=[*kept, name])
                    write_json(self.folder / KEPT_NAME, note.as_dict())
        self.progress.log("keep", phase=name, kept=self.keep is not None)
        self.accelerator.wait_for_everyone()

    def _kept(self) -> list[str]:
        if self.folder is None or not (self.folder / KEPT_NAME).exists():
            return []
        note = KeptModels.read(read_object(self.folder / KEPT_NAME), where=str(self.folder / KEPT_NAME))
        return note.names if note.config == self.config_digest else []

    def _train(self, number: int, phase: Training, checkpoint: Checkpoint | None, stop: StopRequest) -> None:
        self.generator.set_trained(phase.trained)
        step = self._step(phase)
        if checkpoint:
            steps, first = checkpoint.steps, checkpoint.step
            if step.average:
                step.average.load(checkpoint.average)
            load_moments(step.optimizer, checkpoint.optimizer)
            restore_random_states(checkpoint.random_states)
        else:
            steps, first = self._steps(phase, step), 0
            self._save(number, 0, steps, step)
        self.progress.log("phase", phase=phase.name, first=first, steps=steps)
        with self.progress.task(phase.name, steps, first) as task:
            self._run_steps(number, phase, step, range(first, steps), steps, task, stop)
        if step.average:
            step.average.settle()
        step.close()

    def _run_steps(
        self,
        number: int,
        phase: Training,
        step: Step,
        places: range,
        steps: int,
        task: Task,
        stop: StopRequest,
    ) -> None:
        settings, finite, done = step.settings, FiniteCheck(self.accelerator.device), places.start
        every = settings.log_every
        began, before, since = time.monotonic(), self.seconds, places.start
        for place, crops in zip(places, step.streams.steps(places.start, steps), strict=True):
            total, numbers, norm = step(crops, learning_rate(settings, place, steps), finite)
            done = place + 1
            self.seconds = before + time.monotonic() - began
            ended = phase.until is not None and phase.until(self._means(numbers))
            last = done == steps or ended
            if finite.immediate or done % every == 0 or last:
                self._refuse_non_finite(finite, phase, step, since, done)
            if done % every == 0 or last:
                values = {"loss": total.item(), **{name: value.item() for name, value in numbers.items()}}
                self.progress.measured(
                    number,
                    phase.name,
                    done,
                    steps,
                    gradient_norm=norm.item(),
                    learning_rate=learning_rate(settings, place, steps),
                    seconds=round(self.seconds, 3),
                    **values,
                )
                task.advance(done - task.done, **values)
                since = done
            stopping = self._wants_to_stop(stop, done)
            if (done % settings.checkpoint_every == 0 and not last) or (stopping and not last):
                self._refuse_non_finite(finite, phase, step, since, done)
                self._save(number, done, steps, step)
            if stopping and not last:
                self.progress.log("stopped", reason=stopping, step=done)
                kept = f"; the checkpoint is in {self.folder}" if self.folder else ""
                raise Stopped(
                    f"stopped by {stopping} after step {done} of {steps}{kept}. The same command continues."
                )
            if ended:
                self.progress.log("ended", phase=phase.name, step=done, steps=steps)
                break
        self._done_steps += done

    def _means(self, numbers: Mapping[str, Tensor]) -> dict[str, float]:
        """Means over processes."""
        return {name: self.accelerator.reduce(value, "mean").item() for name, value in numbers.items()}

    def _refuse_non_finite(
        self, finite: FiniteCheck, phase: Training, step: Step, since: int, done: int
    ) -> None:
        if finite.holds():
            return
        self.progress.log("non-finite", phase=phase.name, step=done)
        where = f"step {done}" if finite.immediate else f"one of the steps {since + 1} to {done}"
        if not finite.immediate:
            # on an accelerator the weights may already be spoilt: go back to the last checkpoint
            step.close()
            self._resume()
        kept = f" The last good weights are in {self.folder}." if self.folder else ""
        raise Stopped(
            f"{phase.name}: the loss or its gradient is not finite at {where}; training stopped.{kept} "
            "A smaller training.learning_rate, a smaller method.alpha or fewer steps usually help; "
            "a changed config needs a new --out folder."
        )

    def _wants_to_stop(self, stop: StopRequest, done: int) -> str | None:
        if self.accelerator.num_processes == 1:
            return stop.signal_name
        # all processes must stop at the same step; asking costs a synchronisation, on GPUs every few steps
        if self.accelerator.device.type != "cpu" and done % self.settings.log_every:
            return None
        mine = torch.tensor(float(stop.signal_name is not None), device=self.accelerator.device)
        anyone: Tensor = self.accelerator.reduce(mine, "sum")
        return (stop.signal_name or "a signal to another process") if anyone.item() else None

    def _steps(self, phase: Training, step: Step) -> int:
        training = [one for one in self.phases if isinstance(one, Training) and self._has_work(one)]
        shares = sum(one.share for one in training)
        if self.budget.steps is not None:
            return max(1, int(self.budget.steps * phase.share / shares))
        if self.budget.seconds is None:
            images = sum(len(self.data.sets[stream]) for stream in phase.streams)
            return max(1, round(step.settings.steps_on(images) * phase.share))
        seconds = torch.tensor(self._timed(step, TIMED_STEPS), device=self.accelerator.device)
        slowest = float(self.accelerator.gather(seconds.unsqueeze(0)).max())
        steps = max(1, int(self.budget.seconds * phase.share / shares / slowest))
        self.progress.say(f"{slowest:.3f} s a step: the budget allows {counted(steps, 'step')}")
        self.progress.log("budget", seconds=self.budget.seconds, seconds_per_step=slowest, steps=steps)
        return steps

    def _timed(self, step: Step, count: int) -> float:
        """Time whole steps at a learning rate of zero, then forget what they did to states and moments."""
        states, carried = random_states(), step.combine.state() if step.combine else {}
        finite, times = FiniteCheck(self.accelerator.device), []
        last = time.monotonic()
        for crops in step.streams.steps(0, UNTIMED_STEPS + count):
            step(crops, 0.0, finite)
            finite.holds()  # waits for the device
            times.append(time.monotonic() - last)
            last = time.monotonic()
        step.optimizer.state.clear()
        step.optimizer.zero_grad()
        if step.combine:
            step.combine.load_state(carried)
        restore_random_states(states)
        return statistics.median(times[UNTIMED_STEPS:])

    def _save(self, number: int, done: int, steps: int, step: Step) -> None:
        if self.folder is None:
            return
        # parts are put together by all processes
        weights = whole(self.generator.network.state_dict(), "cpu")
        moments = whole(step.optimizer.state_dict(), "cpu")
        average = whole(step.average.state(), "cpu") if step.average else {}
        if self.accelerator.is_main_process:
            if not any(isinstance(phase, EditPhase) for phase in self.phases):
                groups = {phase.trained for phase in self.phases if isinstance(phase, Training)}
                trained = {name for group in groups for name in self.generator.trained_parameters(group)}
                buffers = {name for name, _ in self.generator.network.named_buffers()}
                weights = {name: weights[name] for name in weights if name in trained | buffers}
            save_checkpoint(
                self.folder,
                Checkpoint(
                    self.config_digest,
                    number,
                    done,
                    steps,
                    weights,
                    moments,
                    random_states(),
                    self.seconds,
                    average,
                    self._done_steps,
                    self.generator.shadow_state(),
                    {place: combiner.state() for place, combiner in self._combiners().items()},
                    self.generator.micro_batches,
                ),
            )
        self.accelerator.wait_for_everyone()
