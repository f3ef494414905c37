"""`after-handling`: does the forgotten come back when the model is converted, quantised, merged or trained on?

A model that was handed on is seldom used as it was saved. Every model's forget error is measured again after the
weights were rounded to bf16 and forward passes cast to it; after the weights of linear and convolutional layers were
rounded to 8 bits (symmetric, one scale for each output channel); after a short fine-tuning on new data, which are the
neutral images; and after low-rank factors, where the model has some, were merged into the weights. The figure is the
mean of log(error before / error after), beside the retrained model's.

Follows Zhang et al., ICLR 2025 (arXiv:2410.16454), who found that quantisation brings back what language models had
unlearned. Quantisation is simulated: weights are rounded and put back as floats, activations are not rounded; real
kernels differ in details. Factors are merged in memory, by peft's own arithmetic, without writing a model anywhere.

It cannot tell a return from a repair: fine-tuning a model whose outputs were noise lowers their error even where
nothing comes back. The note therefore says how the error after it compares with the retrained model's after the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from efface.evaluation.results import ModelName
from efface.probes.base import Cost, Probe, Scores, Subject, Values, judged
from efface.probes.findings import Findings
from efface.probes.showing import unmeasured

if TYPE_CHECKING:
    from efface.generators.base import Generator
    from efface.images.items import ImageSet

BF16, INT8, FINE_TUNE, MERGE = "after-bf16", "after-int8", "after-finetune", "after-merge"
LEVELS = 127
"""Of a signed 8-bit number, to either side of zero."""


class AfterHandling(Probe):
    """The forget error after the model was handled as models are, beside that before."""

    name: ClassVar[str] = "after-handling"
    question: ClassVar[str] = "Does the forgotten stay forgotten when the model is converted or trained on?"
    summary: ClassVar[str] = "forget error after bf16, 8-bit weights, merged factors and further fine-tuning"
    source: ClassVar[str] = "quantisation: Zhang et al., ICLR 2025, arXiv:2410.16454"
    figures: ClassVar[tuple[str, ...]] = (BF16, INT8, FINE_TUNE, MERGE)
    cost: ClassVar[Cost] = "training"

    steps: int = Field(50, ge=1, description="steps of fine-tuning on neutral images")
    learning_rate: float | None = Field(None, gt=0, description="peak learning rate; default: the run's own")
    images: int = Field(64, ge=1, description="at most so many forget images are measured")

    def run(self, subject: Subject) -> Findings:
        from efface.probes.passes_training import log_errors, some_of

        forget = some_of(subject.sets["forget"], self.images, subject, self.name)
        before = {name: log_errors(model, forget, subject) for name, model in subject.models.items()}

        def figure(name: str, handle: Callable[[Generator], None], bf16: bool | None = None) -> Findings:
            return self._figure(subject, name, handle, forget, before, bf16)

        found = figure(BF16, round_to_bf16, True).join(figure(INT8, round_to_int8))
        if subject.has("neutral"):
            found = found.join(figure(FINE_TUNE, lambda model: self._fine_tune(model, subject)))
        else:
            found = found.join(unmeasured(self, subject, (FINE_TUNE,), "there are no neutral images"))
        if any(has_factors(model) for model in subject.models.values()):
            return found.join(figure(MERGE, merge_factors))
        return found.join(unmeasured(self, subject, (MERGE,), "no model has low-rank factors"))

    def _fine_tune(self, model: Generator, subject: Subject) -> None:
        from efface.probes.passes_training import train

        neutral, rate = subject.sets["neutral"], self.learning_rate
        train(model, neutral, subject, FINE_TUNE, steps=self.steps, learning_rate=rate)

    def _figure(
        self,
        subject: Subject,
        figure: str,
        handle: Callable[[Generator], None],
        forget: ImageSet,
        before: dict[ModelName, Values],
        bf16: bool | None,
    ) -> Findings:
        from efface.probes.passes_training import copy_of, log_errors

        after: dict[ModelName, Values] = {}
        for name, model in subject.models.items():
            handled = copy_of(model)
            handle(handled)
            after[name] = log_errors(handled, forget, subject, bf16=bf16)
        scores = {name: {"forget": np.stack([before[name], after[name]], axis=1)} for name in before}
        found = judged(self.name, figure, scores, fall, subject, unit="nats", goal="low")
        if "retrained" in after:
            level = {name: float((after[name] - after["retrained"]).mean()) for name in after}
            found = [
                replace(one, note="; ".join(filter(None, [one.note, _level(level[one.model])])))
                if one.model != "retrained"
                else one
                for one in found
            ]
        return Findings(tuple(found))


def fall(scores: Scores) -> float:
    """Mean fall of the log error, from `[images, (before, after)]`."""
    return float((scores["forget"][:, 0] - scores["forget"][:, 1]).mean())


def _level(difference: float) -> str:
    return f"after it, {np.exp(difference):.3g} times the retrained model's error"


def round_to_bf16(model: Generator) -> None:
    """Round all weights to bf16, in place; they stay of the type that they had."""
    import torch

    with torch.no_grad():
        for tensor in model.network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.bfloat16())


def round_to_int8(model: Generator) -> None:
    """Round the weights of linear and convolutional layers to 8 bits, in place.

    Symmetric, one scale for each output channel: its largest weight is 127 steps from zero.
    """
    import torch
    from torch import nn

    with torch.no_grad():
        for module in model.network.modules():
            if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
                weight = module.weight
                largest = weight.flatten(1).abs().amax(dim=1).clamp(min=torch.finfo(weight.dtype).tiny)
                step = (largest / LEVELS).view(-1, *[1] * (weight.ndim - 1))
                weight.copy_((weight / step).round().clamp(-LEVELS, LEVELS) * step)


def has_factors(model: Generator) -> bool:
    """Whether low-rank factors stand beside its weights, told by what peft's layers hold."""
    return any(hasattr(module, "lora_A") for module in model.network.modules())


def merge_factors(model: Generator) -> None:
    """Add low-rank factors to the weights that they stand beside, in place; nothing for a model without."""
    for module in model.network.modules():
        if hasattr(module, "lora_A"):
            module.merge()  # type: ignore[operator]
