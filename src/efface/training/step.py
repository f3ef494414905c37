"""One optimizer step of a training phase: views, loss, gradient, update."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from efface.corruptions import Corruption, parse_corruption
from efface.generators.base import Generator
from efface.training.codes import Codes
from efface.training.data import CropBatch, Data, Streams
from efface.training.optimisation import adamw
from efface.training.phases import Batch, LossFunction, Training
from efface.training.settings import TrainingSettings


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
        self.corruption = training_corruption(generator, phase, data.corruption, settings)
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
        parameters = generator.trained_parameters(phase.trained)
        self.parameters = list(parameters.values())
        self.optimizer = adamw(parameters, settings)
        self.average = Average(parameters, settings.average) if settings.average else None
        generator.train()
        if settings.compile:
            generator.compile_network()
        self.model = accelerator.prepare_model(PhaseLoss(generator, phase.loss))

    def __call__(
        self, crops: CropBatch, rate: float, finite: FiniteCheck
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Loss, its parts and the gradient's norm. Weights stay as they were if one is found not finite."""
        views = {
            stream: self.generator.view(
                batch.images, self.corruption, batch.draws, condition=batch.conditions, codes=batch.codes
            )
            for stream, batch in crops.items()
        }
        total, parts = self.model(Batch(views, self.data.moments, self._mean_over_processes))
        self.accelerator.backward(total)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.settings.clip or float("inf"))
        finite.add(total, norm)
        if not finite.immediate or finite.holds():
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
            if self.average and rate:
                self.average.add()
        self.optimizer.zero_grad(set_to_none=True)
        return total.detach(), parts, norm

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
            average.copy_(state[name])


class PhaseLoss(nn.Module):
    """A loss as a module, so that autocast and DDP wrap the whole of it."""

    def __init__(self, generator: Generator, loss: LossFunction) -> None:
        super().__init__()
        self.generator = generator
        self.loss = loss

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        loss = self.loss(self.generator, batch)
        return loss.total, dict(loss.parts)


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


def training_corruption(
    generator: Generator, phase: Training, asked: Corruption, settings: TrainingSettings
) -> Corruption:
    """The corruption that a phase trains with: the setting, else what the phase declares."""
    if settings.corruption is not None:
        return parse_corruption(settings.corruption)
    return generator.training_corruption if phase.corruption == "own" else asked
