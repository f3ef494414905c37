"""Carries out the passes of a method on a classifier: keyed batches, exact resume, a limit of time.

Classifiers are small and many where generators are large and few, so this loop is lean: images lie in memory, and
nothing is written unless a folder is given.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from efface.batch_norms import (
    batches_taken,
    fresh_statistics,
    replaced_by_a_batch,
    statistics_anew,
    statistics_layers,
    turned_momenta,
)
from efface.classifiers.classifier import Classifier
from efface.errors import InputError, Stopped
from efface.images.labelled import LabelledImages
from efface.memory import in_batches, is_out_of_memory, restarting
from efface.progress import Progress
from efface.randomness import key, numpy_draws, torch_draws
from efface.recomputing import recomputing_blocks
from efface.training.checkpoint import read_checked, write_checked
from efface.training.interruption import StopRequest
from efface.training.micro_batches import more_micro_batches, refuse_micro_batches
from efface.training.passes import Edit, Facts, Optimiser, Pass, Passes, spans
from efface.training.settings import StatisticsChoice, StepMemory
from efface.wording import counted

CHECKPOINT = "passes.pt"
CHECKPOINT_SECONDS = 60.0
FINITE_EVERY = 50
EVALUATION_BATCH = 512
STATISTICS_BATCH = 256
LAYER_SETS = ("recomputed", "turned", "fresh")
KEPT_SETS = ("train", "retain")
"""Those whose images may be in running statistics, the first that is there."""


@dataclass(frozen=True)
class Labelled:
    """One batch of one set: images `[B, C, H, W]` in 0..255, labels `[B]`, and their places `[B]` in the set."""

    images: Tensor
    labels: Tensor
    places: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class PassesReport:
    """What was done, over all starts. `steps` and `seconds` leave preparation out, which is counted apart.

    cut: it went beyond the limit of time. finished: all was carried out; one that was cut may have finished in its last
    step or edit. resumed_from: steps of both kinds before the last continuation. micro_batches: those at its end.
    recomputed: layers whose running statistics were made anew from the images of training. turned: others, of whose
    statistics each batch replaced 1 - momentum.
    """

    steps: int
    seconds: float
    preparation_steps: int
    preparation_seconds: float
    cut: bool
    finished: bool
    resumed_from: int | None
    micro_batches: int = 1
    recomputed: int = 0
    turned: int = 0


class OutOfTime(Exception):
    """Ends an edit at its deadline; it never leaves the loop."""


class Work:
    """What losses and edits are given: the model, its sets, the frozen original, and a memory.

    memory: tensors that a method keeps between its passes; they are saved with a checkpoint. deadline: of the edit that
    is being carried out, on the clock of `time.perf_counter`.
    """

    def __init__(
        self,
        model: Classifier,
        sets: Mapping[str, LabelledImages],
        facts: Facts,
        statistics: StatisticsChoice = "keep",
    ) -> None:
        self.model, self.facts = model, facts
        self.device = model.device
        self.memory: dict[str, Tensor] = {}
        self.deadline: float | None = None
        self.sets = dict(sets)
        self._pixels = {name: torch.from_numpy(np.ascontiguousarray(images.pixels)).to(self.device)
                        for name, images in sets.items()}  # fmt: skip
        self._labels = {
            name: torch.from_numpy(images.labels).to(self.device) for name, images in sets.items()
        }
        self._frozen = model.copy().eval().requires_grad_(False)
        self._kept_logits: dict[str, Tensor] = {}
        self.statistics = statistics
        self.recomputed: set[str] = set()
        self.turned: set[str] = set()
        self.fresh: set[str] = set()
        self.taken = batches_taken(model.network)

    @property
    def seed(self) -> int:
        """The seed of unlearning, by which every draw is keyed."""
        return self.facts.seed

    def begin_anew(self) -> None:
        """Give the model the weights of the base, where there is one, else fresh ones."""
        if self.facts.base is None:
            self.model.reinitialise(self.seed)
        else:
            self.model.network.load_state_dict(self.facts.base.network.state_dict())

    def draws(self, *parts: str | int) -> torch.Generator:
        """A torch generator for the draw named by `parts`."""
        return torch_draws(self.seed, *parts, device=self.device)

    def batch(self, stream: str, places: npt.NDArray[np.int64] | Tensor) -> Labelled:
        """The images of a set at these places. In an edit whose time is up, it ends the edit."""
        self.check_time()
        index = torch.as_tensor(places).to(self.device)
        return Labelled(self._pixels[stream][index], self._labels[stream][index], index)

    def check_time(self) -> None:
        """End the edit from which this is called if its time is up; the weights must be what they were before it."""
        if self.deadline is not None and time.perf_counter() > self.deadline:
            raise OutOfTime

    def batches(self, stream: str, size: int) -> Iterator[Labelled]:
        """One pass over a set in its own order."""
        for a, b in spans(len(self.sets[stream]), size):
            yield self.batch(stream, np.arange(a, b))

    def settle(self) -> None:
        """Make fresh running statistics anew that training moved, before they are read: as `run_passes` says.

        The model is left in evaluation mode.
        """
        taken = batches_taken(self.model.network)
        moved = [name for name in self.fresh if taken.get(name, 0) != self.taken.get(name, 0)]
        if moved:
            self.recompute(moved)

    @torch.no_grad()
    def recompute(self, layers: Collection[str]) -> None:
        """Make the running statistics of these layers anew, from the images that were trained on and may be kept."""
        stream = next((name for name in KEPT_SETS if name in self.sets), next(iter(self.sets)))

        def pass_over(size: int) -> None:
            with statistics_anew(self.model.network, layers):
                for a, b in spans(len(self.sets[stream]), size):
                    self.model(self._pixels[stream][a:b])

        restarting(STATISTICS_BATCH, self.model.image_size, pass_over)
        self.recomputed |= set(layers)
        self.note_statistics()

    @contextmanager
    def training_statistics(self) -> Iterator[None]:
        """How running statistics that one batch replaces take the batches of a pass: as `run_passes` says."""
        if self.statistics != "auto":
            yield
            return
        self.fresh |= fresh_statistics(self.model.network)
        with turned_momenta(self.model.network):
            yield
        self.turned = (self.turned | replaced_by_a_batch(self.model.network).keys()) - self.fresh

    def note_statistics(self) -> None:
        """What stands in running statistics now is as it should be."""
        self.taken = batches_taken(self.model.network)

    @torch.no_grad()
    def original(self, images: Tensor) -> Tensor:
        """Logits `[B, classes]` of the frozen original, in evaluation mode."""
        return self._frozen(images)  # type: ignore[no-any-return]

    @property
    def original_model(self) -> Classifier:
        """The frozen original itself; it must not be changed."""
        return self._frozen

    def original_logits(self, stream: str) -> Tensor:
        """Logits `[images, classes]` of the frozen original on a whole set, computed once."""
        if stream not in self._kept_logits:
            pixels = self._pixels[stream]

            def logits(part: range) -> Tensor:
                self.check_time()
                return self.original(pixels[part.start : part.stop])

            parts = in_batches(len(pixels), EVALUATION_BATCH, self.model.image_size, logits)
            self._kept_logits[stream] = torch.cat(list(parts))
        return self._kept_logits[stream]

    @cached_property
    def class_weights(self) -> Tensor | None:
        """1 / number of training images of each class, `[classes]`, if the recipe weighs classes; else None.

        Forget and retain images count, for retrained models too, as in the competition. Absent classes weigh 0.
        """
        if not self.facts.recipe.class_weights:
            return None
        counts = self.class_counts().float()
        return torch.where(counts > 0, 1 / counts.clamp(min=1), torch.zeros_like(counts))

    def class_counts(self) -> Tensor:
        """Training images of each class, `[classes]`: those of `forget` and `retain`, else those of `train`."""
        found = [self._labels.get(name) for name in ("forget", "retain", "train")]
        labels = [one for one in found[:2] if one is not None] or [
            one for one in found[2:] if one is not None
        ]
        if not labels:
            raise InputError(
                "the training images of a class cannot be counted: no set forget, retain or train"
            )
        return torch.bincount(torch.cat(labels), minlength=self.facts.classes)


def run_passes(
    model: Classifier,
    passes: Passes,
    sets: Mapping[str, LabelledImages],
    facts: Facts,
    *,
    limit: float | None = None,
    folder: Path | None = None,
    digest: str = "",
    memory: StepMemory | None = None,
    progress: Progress | None = None,
    statistics: StatisticsChoice = "auto",
) -> PassesReport:
    """Change `model` in place by edits and passes; it ends in evaluation mode.

    statistics: of batch normalisation. auto: layers of which one batch would replace more than half (`batch_norms`) take
    1 - momentum of it; those that began fresh, which few batches then hardly move, take theirs anew after training and
    before whatever reads them meanwhile, as the mean over the images of `train`, else `retain`. Others keep what training
    left. recompute: all layers take theirs anew at the end. keep: none does.
    limit: seconds after which it stops where it is. With a `folder`, a checkpoint is written there now and then and at
    a signal, and the same call goes on from it; `digest` ties it to its config. Global random states stay as they were.
    memory: into how many micro-batches each batch is cut, and whether activations are computed again. Raises `Stopped` at
    a signal, or where a loss is not finite, and `InputError` for micro-batches of a network that normalises by batch.
    """
    work = Work(model, sets, facts, statistics)
    return _Loop(work, passes, limit, folder, digest, memory or StepMemory(), progress or Progress()).run()


class _Loop:
    def __init__(
        self,
        work: Work,
        passes: Passes,
        limit: float | None,
        folder: Path | None,
        digest: str,
        memory: StepMemory,
        progress: Progress,
    ) -> None:
        self.work, self.passes, self.memory = work, passes, memory
        self.model, self.sets, self.facts = work.model, work.sets, work.facts
        self.limit, self.folder, self.digest, self.progress = limit, folder, digest, progress
        self.optimisers: dict[str, tuple[Optimiser, torch.optim.Optimizer]] = {}
        self.seconds = self.preparation = 0.0
        self.steps = self.preparation_steps = 0
        self.cut, self.finished = False, True
        self.resumed_from: int | None = None
        self.saved = time.monotonic()

    def run(self) -> PassesReport:
        devices = [self.work.device] if self.work.device.type == "cuda" else []
        with torch.random.fork_rng(devices), ExitStack() as stack:
            stop = stack.enter_context(StopRequest()) if self.folder else None
            stack.enter_context(recomputing_blocks(self.model.network, self.memory.activation_checkpointing))
            stack.callback(setattr, self.model, "micro_batches", 1)
            self.model.micro_batches = self.memory.gradient_accumulation
            first, step = self._resume()
            for number, one in enumerate(self.passes):
                if number < first:
                    continue
                if self.cut:
                    self.finished = False
                    break
                began = time.perf_counter()
                if isinstance(one, Edit):
                    self._edit(number, one, began)
                else:
                    with self.work.training_statistics() if one.mode == "train" else nullcontext():
                        self._train(number, one, step if number == first else 0, stop, began)
                self._count(one, began)
                self._drop_moments(number)
            self._end_statistics()
            micro_batches = self.model.micro_batches
        self.model.eval().requires_grad_(True).zero_grad(set_to_none=True)
        return PassesReport(
            self.steps,
            self.seconds,
            self.preparation_steps,
            self.preparation,
            self.cut,
            self.finished,
            self.resumed_from,
            micro_batches,
            len(self.work.recomputed),
            len(self.work.turned),
        )

    def _end_statistics(self) -> None:
        began = time.perf_counter()
        if self.work.statistics == "recompute":
            self.work.recompute(list(statistics_layers(self.model.network)))
        self.work.settle()
        self.seconds += time.perf_counter() - began
        for handled, layers, said in (
            ("recomputed", self.work.recomputed, "were made anew from the images of training"),
            ("turned", self.work.turned, "took 1 - momentum of each batch"),
        ):
            if layers:
                self.progress.log("statistics", layers=len(layers), handled=handled)
                self.progress.say(f"running statistics of {counted(len(layers), 'layer')} {said}")

    def _count(self, one: Edit | Pass, began: float) -> None:
        if one.preparation:
            self.preparation += time.perf_counter() - began
        else:
            self.seconds += time.perf_counter() - began
            self.cut = self.cut or (self.limit is not None and self.seconds > self.limit)

    def _edit(self, number: int, edit: Edit, began: float) -> None:
        self.work.settle()
        _seed(self.work.device, key(self.facts.seed, "edit", number))
        self.model.eval().requires_grad_(True)
        if self.limit is not None and not edit.preparation:
            self.work.deadline = began + self.limit - self.seconds
        try:
            while not self._edited(edit):
                # it changes the weights at its end only, so it can begin anew
                self._cut_further(max(map(len, self.sets.values())))
        except OutOfTime:
            self.cut, self.finished = True, False
        finally:
            self.work.deadline = None
        self.work.note_statistics()
        self.model.requires_grad_(True).zero_grad(set_to_none=True)
        self.progress.log("edit", phase=edit.name)

    def _edited(self, edit: Edit) -> bool:
        """Whether memory sufficed."""
        try:
            with torch.no_grad():
                edit.apply(self.work)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True

    def _cut_further(self, images: int) -> None:
        self.model.zero_grad(set_to_none=True)
        self.model.micro_batches = more_micro_batches(self.model, self.model.micro_batches, images)

    def _train(self, number: int, one: Pass, first: int, stop: StopRequest | None, began: float) -> None:
        sizes = {name: len(images) for name, images in self.sets.items()}
        steps = one.steps(sizes)
        if first == 0 and (one.mode == "eval" or 1 in (sizes[stream] for stream in one.streams)):
            self.work.settle()
        orders = _Orders(self.facts.seed, number, sizes, one.streams)
        optimizer = self._optimiser(one.optimiser)
        self._choose(one)
        every = max(1, steps // 10)
        with self.progress.task(one.name, steps, first) as task:
            for step in range(first, steps):
                loss = self._step(number, one, step, steps, orders, optimizer)
                if self.work.device.type == "cpu" or step % FINITE_EVERY == 0 or step == steps - 1:
                    self._refuse_non_finite(loss, one, step)
                if one.preparation:
                    self.preparation_steps += 1
                else:
                    self.steps += 1
                if (step + 1) % every == 0 or step + 1 == steps:
                    value = loss.item()
                    self.progress.measured(number, one.name, step + 1, steps, loss=value)
                    task.advance(step + 1 - task.done, loss=value)
                spent = time.perf_counter() - began
                if self.limit is not None and not one.preparation and self.seconds + spent > self.limit:
                    self.cut, self.finished = True, step + 1 == steps
                    return
                if self.folder and (
                    (stop and stop.signal_name) or time.monotonic() - self.saved > CHECKPOINT_SECONDS
                ):
                    self._save(number, step + 1, one.preparation, spent)
                    if stop and stop.signal_name:
                        raise Stopped(
                            f"stopped by {stop.signal_name} after step {step + 1} of {steps} of '{one.name}'; the "
                            f"checkpoint is in {self.folder}. The same command continues."
                        )

    def _step(
        self,
        number: int,
        one: Pass,
        step: int,
        steps: int,
        orders: _Orders,
        optimizer: torch.optim.Optimizer,
    ) -> Tensor:
        places = {stream: orders.places(stream, step) for stream in one.streams}
        while (loss := self._gradient(one, places, key(self.facts.seed, "step", number, step))) is None:
            self._cut_further(max(map(len, places.values())))
        if one.before_step:
            with torch.no_grad():
                one.before_step(self.work)
        for group in optimizer.param_groups:
            group["lr"] = one.optimiser.learning_rate * one.schedule(step / steps)
        optimizer.step()
        if one.after_step:
            with torch.no_grad():
                one.after_step(self.work)
        return loss

    def _gradient(self, one: Pass, places: Mapping[str, npt.NDArray[np.int64]], seed: int) -> Tensor | None:
        """Give the weights their gradients; the loss, or None where memory did not suffice."""
        try:
            batches = {stream: self.work.batch(stream, those) for stream, those in places.items()}
            _seed(self.work.device, seed)
            if one.augment and self.facts.recipe.augment == "crop-flip":
                batches = {stream: _shifted(batch) for stream, batch in batches.items()}
            single = one.mode == "train" and any(len(batch) == 1 for batch in batches.values())
            with _running_statistics(self.model) if single else nullcontext():
                loss = one.loss(self.work, batches)
            self.model.zero_grad(set_to_none=True)
            loss.backward()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None
        return loss.detach()

    def _choose(self, one: Pass) -> None:
        """Only the weights that the pass trains have gradients, and so are the only ones that the optimizer moves."""
        self.model.train(one.mode == "train")
        if one.mode == "train":
            refuse_micro_batches(self.model, self.memory)
        self.model.requires_grad_(one.trained is None)
        if one.trained is not None:
            parameters = dict(self.model.network.named_parameters())
            for name in one.trained(self.model):
                parameters[name].requires_grad_(True)
            for parameter in parameters.values():
                if not parameter.requires_grad:
                    parameter.grad = None

    def _optimiser(self, wanted: Optimiser) -> torch.optim.Optimizer:
        if wanted.name not in self.optimisers:
            self.optimisers[wanted.name] = (wanted, _optimizer(wanted, self.model))
        return self.optimisers[wanted.name][1]

    def _drop_moments(self, number: int) -> None:
        """Forget the moments that no later pass goes on with."""
        later = {one.optimiser.name for one in self.passes[number + 1 :] if isinstance(one, Pass)}
        for name in set(self.optimisers) - later:
            del self.optimisers[name]

    def _refuse_non_finite(self, loss: Tensor, one: Pass, step: int) -> None:
        if not math.isfinite(loss.item()):
            raise Stopped(
                f"{one.name}: the loss is not finite at step {step + 1}; a smaller learning rate usually helps"
            )

    def _save(self, number: int, step: int, preparation: bool, spent: float) -> None:
        assert self.folder is not None
        content = {
            "digest": self.digest,
            "number": number,
            "step": step,
            "steps": [self.steps, self.preparation_steps],
            "seconds": [self.seconds + spent * (not preparation), self.preparation + spent * preparation],
            "weights": self.model.network.state_dict(),
            "memory": self.work.memory,
            "micro_batches": self.model.micro_batches,
            "statistics": {
                "taken": self.work.taken,
                **{name: sorted(getattr(self.work, name)) for name in LAYER_SETS},
            },
            "optimisers": {name: state.state_dict() for name, (_, state) in self.optimisers.items()},
        }
        write_checked(self.folder / CHECKPOINT, content)
        self.saved = time.monotonic()

    def _resume(self) -> tuple[int, int]:
        path = self.folder / CHECKPOINT if self.folder else None
        if path is None or not path.exists():
            return 0, 0
        content = _read_checkpoint(path, self.digest)
        for one in self.passes[: content["number"]]:
            if isinstance(one, Edit) and one.rebuilds:
                with torch.no_grad():
                    one.apply(self.work)
        self.model.network.load_state_dict(content["weights"])
        self.model.micro_batches = content["micro_batches"]
        self.work.memory = {name: value.to(self.work.device) for name, value in content["memory"].items()}
        self.work.taken = content["statistics"]["taken"]
        for name in LAYER_SETS:
            setattr(self.work, name, set(content["statistics"][name]))
        described = {one.optimiser.name: one.optimiser for one in self.passes if isinstance(one, Pass)}
        for name, state in content["optimisers"].items():
            self._optimiser(described[name]).load_state_dict(state)
        self.seconds, self.preparation = content["seconds"]
        self.steps, self.preparation_steps = content["steps"]
        self.resumed_from = self.steps + self.preparation_steps
        self.progress.say(f"continuing after step {self.resumed_from}")
        return content["number"], content["step"]


class _Orders:
    """Which images a step sees: each stream in keyed orders of its own, epoch after epoch."""

    def __init__(self, seed: int, number: int, sizes: Mapping[str, int], streams: Mapping[str, int]) -> None:
        self.seed, self.number, self.sizes = seed, number, sizes
        self.spans = {stream: spans(sizes[stream], size) for stream, size in streams.items()}
        self._order = lru_cache(maxsize=2 * len(streams))(self._drawn)

    def places(self, stream: str, step: int) -> npt.NDArray[np.int64]:
        epoch, place = divmod(step, len(self.spans[stream]))
        a, b = self.spans[stream][place]
        return self._order(stream, epoch)[a:b]

    def _drawn(self, stream: str, epoch: int) -> npt.NDArray[np.int64]:
        draws = numpy_draws(self.seed, "order", self.number, stream, epoch)
        return draws.permutation(self.sizes[stream])


def _optimizer(wanted: Optimiser, model: Classifier) -> torch.optim.Optimizer:
    parameters = list(model.network.parameters())
    if wanted.kind == "adam":
        return torch.optim.Adam(
            parameters, lr=wanted.learning_rate, weight_decay=wanted.weight_decay, fused=True
        )
    return torch.optim.SGD(
        parameters,
        lr=wanted.learning_rate,
        momentum=wanted.momentum,
        weight_decay=wanted.weight_decay,
        fused=True,
    )


@contextmanager
def _running_statistics(model: Classifier) -> Iterator[None]:
    """Batch normalisation in evaluation mode, all else as it was: one value for a channel has no variance."""
    layers = [one for one in model.modules() if isinstance(one, _BatchNorm) and one.training]
    for layer in layers:
        layer.eval()
    try:
        yield
    finally:
        for layer in layers:
            layer.train()


def _seed(device: torch.device, number: int) -> None:
    """Seed the generator of the CPU and that of the device, and no other one."""
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(number)


def _shifted(batch: Labelled) -> Labelled:
    """Zero-padded by an eighth of the side, cut at a random place, half of the images mirrored."""
    count, _, height, width = batch.images.shape
    by = max(1, height // 8)
    padded = torch.nn.functional.pad(batch.images, (by, by, by, by))
    tops, lefts = torch.randint(0, 2 * by + 1, (2, count))
    rows = (tops[:, None] + torch.arange(height)).to(padded.device)
    columns = lefts[:, None] + torch.arange(width)
    mirrored = torch.rand(count) < 0.5
    columns = torch.where(mirrored[:, None], columns.flip(1), columns).to(padded.device)
    place = torch.arange(count, device=padded.device)[:, None, None]
    cut = padded.permute(0, 2, 3, 1)[place, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return Labelled(cut, batch.labels, batch.places)


def _read_checkpoint(path: Path, digest: str) -> dict[str, Any]:
    content = read_checked(path)
    if content["digest"] != digest:
        raise InputError(f"{path} belongs to another config; it is not continued")
    return content
