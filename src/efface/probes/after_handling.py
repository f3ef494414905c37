"""`after-handling`: does the forgotten come back when the model is converted, quantised, pruned, merged or trained on?

A model that was handed on is seldom used as it was saved. Every model's forget error is measured again after the
weights were rounded to bf16 and forward passes cast to it; after the weights of linear and convolutional layers were
rounded to 8 bits (symmetric, one scale for each output channel); after a short fine-tuning on new data, which are the
neutral images; of generators after low-rank factors, where the model has some, were merged into the weights; and of
classifiers after the smallest weights of each linear and convolutional layer were set to zero (Han et al. 2015,
arXiv:1506.02626). The figure is the mean of log(error before / error after), beside the retrained model's; with
`-accuracy`, the share of images that are answered rightly only afterwards.

Follows Zhang et al., ICLR 2025 (arXiv:2410.16454), who found that quantisation brings back what language models had
unlearned. Quantisation is simulated: weights are rounded and put back as floats, activations are not rounded; real
kernels differ in details. Factors are merged in memory, by peft's own arithmetic, without writing a model anywhere.

It cannot tell a return from a repair: fine-tuning a model whose outputs were noise lowers their error even where
nothing comes back. The note therefore says how the error after it compares with the retrained model's after the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from efface.evaluation.results import ModelName
from efface.probes.base import Cost, FiguresByKind, Probe, Scores, Side, judged
from efface.probes.findings import Finding, Findings, Goal
from efface.probes.subject import LOG_ERROR, WRONG, AnySubject, ErrorKind, Errors, Images, Network

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

BF16, INT8, PRUNED = "after-bf16", "after-int8", "after-pruning"
FINE_TUNE, MERGE = "after-finetune", "after-merge"
LEVELS = 127
"""Of a signed 8-bit number, to either side of zero."""


class AfterHandling(Probe):
    """The forget error after the model was handled as models are, beside that before."""

    name: ClassVar[str] = "after-handling"
    question: ClassVar[str] = "Does the forgotten stay forgotten when the model is converted or trained on?"
    summary: ClassVar[str] = (
        "forget error after bf16, 8-bit or pruned weights, merged factors, further training"
    )
    source: ClassVar[str] = "quantisation: Zhang et al., ICLR 2025, arXiv:2410.16454"
    figures: ClassVar[FiguresByKind] = {
        "generator": (BF16, INT8, FINE_TUNE, MERGE),
        "classifier": tuple(
            measure.named(figure)
            for figure in (BF16, INT8, PRUNED, FINE_TUNE)
            for measure in (LOG_ERROR, WRONG)
        ),
    }
    memory: ClassVar[Mapping[str, Side]] = dict.fromkeys(
        (*figures["generator"], *figures["classifier"]), "above"
    )
    goals: ClassVar[Mapping[str, Goal]] = dict.fromkeys(
        (*figures["generator"], *figures["classifier"]), "low"
    )
    cost: ClassVar[Cost] = "training"

    steps: int = Field(50, ge=1, description="steps of fine-tuning on neutral images")
    learning_rate: float | None = Field(None, gt=0, description="peak learning rate; default: the run's own")
    images: int = Field(64, ge=1, description="at most so many forget images are measured")
    pruned: float = Field(
        0.3, gt=0, lt=1, description="of classifiers: share of each layer's weights that is set to zero"
    )

    def run(self, subject: AnySubject) -> Findings:
        forget = subject.some_of(subject.sets["forget"], self.images, self.name)
        before = {name: subject.errors(model, forget) for name, model in subject.models.items()}
        handlings: dict[str, Callable[[Any], None]] = {
            BF16: round_to_bf16,
            INT8: round_to_int8,
            PRUNED: partial(prune, share=self.pruned),
            FINE_TUNE: partial(self._fine_tune, subject=subject),
            MERGE: merge_factors,
        }
        refusals = {} if subject.has("neutral") else {FINE_TUNE: "there are no neutral images"}
        if not any(has_factors(model) for model in subject.models.values()):
            refusals[MERGE] = "no model has low-rank factors"
        findings = Findings()
        for figure, handle in handlings.items():
            if figure not in self.figures[subject.kind]:
                continue
            if why := refusals.get(figure):
                findings = findings.join(self.unmeasured_by_all(subject, figure, why))
            else:
                findings = findings.join(self._figures(subject, figure, handle, forget, before))
        return findings

    def _fine_tune(self, model: Any, subject: AnySubject) -> None:
        neutral, rate = subject.sets["neutral"], self.learning_rate
        subject.train(model, neutral, FINE_TUNE, steps=self.steps, learning_rate=rate)

    def _figures(
        self,
        subject: AnySubject,
        figure: str,
        handle: Callable[[Any], None],
        forget: Images,
        before: dict[ModelName, Errors],
    ) -> Findings:
        after: dict[ModelName, Errors] = {}
        for name, model in subject.models.items():
            handled = subject.copy_of(model)
            handle(handled)
            after[name] = subject.errors(handled, forget, bf16=True if figure == BF16 else None)
        findings = Findings()
        for measure in subject.measures:
            scores = {
                name: {"forget": np.stack([before[name][measure], after[name][measure]], axis=1)}
                for name in before
            }
            figures = judged(
                self.name, measure.named(figure), scores, fall, subject,
                unit=measure.unit, goal=self.goals[measure.named(figure)], share=measure.share(),
            )  # fmt: skip
            findings = findings.join(figures.noted(partial(_level, measure=measure, after=after)))
        return findings


def fall(scores: Scores) -> float:
    """Mean fall of the error, from `[images, (before, after)]`."""
    return float((scores["forget"][:, 0] - scores["forget"][:, 1]).mean())


def _level(finding: Finding, measure: ErrorKind, after: dict[ModelName, Errors]) -> str | None:
    """Where the model ends, since a fall alone may be a repair."""
    if "retrained" not in after or finding.model == "retrained":
        return None
    own, reference = (after[model][measure] for model in (finding.model, "retrained"))
    if measure.is_log:
        return f"after it, {np.exp(float((own - reference).mean())):.3g} times the retrained model's error"
    return f"after it, right for {1 - own.mean():.0%}, the retrained model for {1 - reference.mean():.0%}"


def round_to_bf16(model: Network) -> None:
    """Round all weights to bf16, in place; they stay of the type that they had."""
    import torch

    with torch.no_grad():
        for tensor in model.network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.bfloat16())


def round_to_int8(model: Network) -> None:
    """Round the weights of linear and convolutional layers to 8 bits, in place.

    Symmetric, one scale for each output channel: its largest weight is 127 steps from zero.
    """
    import torch

    with torch.no_grad():
        for weight in _weights(model):
            largest = weight.flatten(1).abs().amax(dim=1).clamp(min=torch.finfo(weight.dtype).tiny)
            step = (largest / LEVELS).view(-1, *[1] * (weight.ndim - 1))
            weight.copy_((weight / step).round().clamp(-LEVELS, LEVELS) * step)


def prune(model: Network, share: float) -> None:
    """Set the smallest weights of each linear and convolutional layer to zero, in place, rounded down to whole ones."""
    import torch

    with torch.no_grad():
        for weight in _weights(model):
            zero = torch.zeros(weight.numel(), dtype=torch.bool, device=weight.device)
            zero[weight.abs().flatten().argsort(stable=True)[: int(share * weight.numel())]] = True
            weight.masked_fill_(zero.view(weight.shape), 0)


def has_factors(model: Network) -> bool:
    """Whether low-rank factors stand beside its weights, told by what peft's layers hold."""
    return any(hasattr(module, "lora_A") for module in model.network.modules())


def merge_factors(model: Network) -> None:
    """Add low-rank factors to the weights that they stand beside, in place; nothing for a model without."""
    for module in model.network.modules():
        if hasattr(module, "lora_A"):
            module.merge()  # type: ignore[operator]


def _weights(model: Network) -> Iterator[Tensor]:
    """The weights of linear and convolutional layers, output channels first."""
    from torch import nn

    for module in model.network.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            yield module.weight
