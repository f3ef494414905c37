"""One optimizer step of a training phase: views, loss, gradient, update."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from efface.corruptions import Corruption, parse_corruption
from efface.generators.base import Generator
from efface.memory import is_out_of_memory
from efface.training.checkpoint import random_states, restore_random_states
from efface.training.codes import Codes
from efface.training.data import CropBatch, Data, Streams
from efface.training.micro_batches import more_micro_batches
from efface.training.optimisation import clipped, optimizer
from efface.training.phases import Batch, Combiner, LossFunction, Training
from efface.training.settings import OWN_MASK, TrainingSettings
from efface.training.sharding import ShardedNetwork, divided


class Step:
    """What a training phase does at each step: forward, backward, update, and the running average."""

    def __init__(
        self,
        generator: Generator,
        phase: Training,
        data: Data,
        settings: TrainingSettings,
        seed: int,
        accelerator: Accelerator,
        codes: Codes | None = None,
    ) -> None:
        self.generator, self.data, self.settings, self.accelerator = generator, data, settings, accelerator
        self.corruption = training_corruption(generator, settings)
        self.streams = Streams(
            {name: data.sets[name] for name in phase.streams},
            data.cache,
            generator.image_size,
            settings,
            seed,
            accelerator.process_index,
            accelerator.num_processes,
            pairs=data.pairs if self.corruption.paired else None,
            codes=codes,
        )
        loss = PhaseLoss(generator, phase.loss)
        # a first stage runs outside its loss too, to make views
        parts = settings.shard and accelerator.num_processes > 1 and phase.trained != "first-stage"
        self.sharded = ShardedNetwork(generator, loss, accelerator.num_processes) if parts else None
        parameters = generator.trained_parameters(phase.trained)
        self.parameters = list(parameters.values())
        self.optimizer = optimizer(parameters, settings)
        self.average = Average(parameters, settings.average) if settings.average else None
        generator.learns_statistics = phase.fresh
        generator.train()
        if settings.compile:
            generator.compile_network()
        self.combine = phase.combine
        # gradients of single objectives are averaged here, after both are known: DDP would wait for one backward
        self.model = accelerator.prepare_model(loss, evaluation_mode=self.combine is not None or parts)

    def close(self) -> None:
        """Leave a whole network behind."""
        if self.sharded:
            self.sharded.gather()

    def __call__(
        self, crops: CropBatch, rate: float, finite: FiniteCheck
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Loss, its parts and numbers, the gradient's norm. Weights stay as they were if one is found not finite.

        Where memory ends, the step is done again in twice as many micro-batches.
        """
        while True:
            states = random_states()
            try:
                total, numbers, norm = self._gradients(crops)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            restore_random_states(states)
            self.optimizer.zero_grad(set_to_none=True)
            self.generator.micro_batches = more_micro_batches(
                self.generator.network,
                self.generator.micro_batches,
                self.streams.share * len(crops),
                self.accelerator.num_processes,
            )
        finite.add(total, norm)
        if not finite.immediate or finite.holds():
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
            if self.average and rate:
                self.average.add()
        self.optimizer.zero_grad(set_to_none=True)
        return total.detach(), numbers, norm

    def _gradients(self, crops: CropBatch) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Give the parameters their gradients; loss, its parts and numbers, and the gradient's norm."""
        views = {
            stream: self.generator.view(
                batch.images, self.corruption, batch.draws, condition=batch.conditions, codes=batch.codes
            )
            for stream, batch in crops.items()
        }
        total, numbers, objectives = self.model(
            Batch(views, self.data.moments, self._mean_over_processes, self.corruption)
        )
        if self.combine is None:
            self.accelerator.backward(total)
        else:
            numbers |= self._combined(self.combine, objectives)
        norm = clipped(self.parameters, self.settings.clip)
        return total, numbers, norm

    def _combined(self, combine: Combiner, objectives: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Give the parameters the direction that `combine` makes as their gradient. Returns its numbers."""
        gradients: dict[str, list[Tensor]] = {}
        reached: set[int] = set()
        for place, (name, objective) in enumerate(objectives.items(), start=1):
            gradients[name] = self._gradient(objective, reached, place < len(objectives))
        values = {name: self._mean_over_processes(one.detach()) for name, one in objectives.items()}
        with torch.no_grad():
            direction, numbers = combine(gradients, values)
        for place, (parameter, one) in enumerate(zip(self.parameters, direction, strict=True)):
            # what no objective reaches is left alone, by weight decay too, as after a plain backward
            parameter.grad = one if place in reached else None
        return numbers

    def _gradient(self, objective: Tensor, reached: set[int], again: bool) -> list[Tensor]:
        """The gradient of one objective, averaged over processes; the places it reaches are added to `reached`.

        again: whether other objectives of the same graph follow.
        """
        gradient = []
        found = torch.autograd.grad(objective, self.parameters, retain_graph=again, allow_unused=True)
        for place, (parameter, one) in enumerate(zip(self.parameters, found, strict=True)):
            if one is None:
                gradient.append(torch.zeros_like(parameter))
                continue
            reached.add(place)
            alone = self.accelerator.num_processes == 1
            gradient.append(one if alone else self._mean_over_processes(one))
        return gradient

    def _mean_over_processes(self, value: Tensor) -> Tensor:
        mean: Tensor = self.accelerator.reduce(value, "mean")
        return mean


class Average:
    """A running average of trained weights: the later steps weigh more, the last `1 / (1 - decay)` most.

    The decay rises from a half as (1 + n) / (10 + n) with the steps taken, so that a short training does not
    keep its random beginning.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self.parameters, self.decay, self.steps = parameters, decay, 0
        self.weights = {name: parameter.detach().clone() for name, parameter in parameters.items()}

    @torch.no_grad()
    def add(self) -> None:
        """Take in the present weights."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        present = [parameter.detach() for parameter in self.parameters.values()]
        get_ema_multi_avg_fn(decay)(list(self.weights.values()), present, self.steps)

    @torch.no_grad()
    def settle(self) -> None:
        """Put the average in the place of the weights."""
        for name, parameter in self.parameters.items():
            parameter.copy_(self.weights[name])

    def state(self) -> dict[str, Tensor]:
        """Everything that a resumed run needs."""
        return {**self.weights, "": torch.tensor(self.steps)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave."""
        self.steps = int(state[""])
        for name, average in self.weights.items():
            average.copy_(divided(state[name], average))


class PhaseLoss(nn.Module):
    """A loss as a module, so that autocast and DDP wrap the whole of it."""

    def __init__(self, generator: Generator, loss: LossFunction) -> None:
        super().__init__()
        self.generator = generator
        self.loss = loss

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """The total, parts and numbers for the log, and the objectives."""
        loss = self.loss(self.generator, batch)
        return loss.total, {**loss.parts, **loss.numbers}, dict(loss.objectives)


class FiniteCheck:
    """Whether everything seen so far was finite, without waiting for an accelerator at each step."""

    def __init__(self, device: torch.device) -> None:
        self.immediate = device.type == "cpu"
        self._finite = torch.ones((), dtype=torch.bool, device=device)

    def add(self, *values: Tensor) -> None:
        for value in values:
            self._finite = self._finite & value.detach().isfinite().all()

    def holds(self) -> bool:
        return bool(self._finite.item())


def training_corruption(generator: Generator, settings: TrainingSettings) -> Corruption:
    """What is hidden while `generator` trains with these settings."""
    if settings.corruption == OWN_MASK:
        return generator.training_corruption
    return parse_corruption(settings.corruption)
