"""`sebastian`: 99 % of the weights are drawn anew, the smallest ones, and trained towards the original's certainty.

Follows: Sebastian, a winner of the competition (arXiv:2406.09073), with the settings of its notebook as ported in
github.com/xcadet/deepunlearn (arXiv:2410.01276): of all weights and biases of convolutions and linear layers together,
the 99 % of smallest magnitude are pruned; pruned weights are drawn from U(-1, 1) / sqrt(fan_in), pruned biases are 0,
batch normalisation is left alone. Then 3.2 epochs and a step on the retain images with cross-entropy, a class weighted by
its count to the power of -0.1, and the mean squared difference of the prediction's entropy from the original's. At last
all values are rounded to 16-bit floats.
Deviations: values beyond the range of 16-bit floats become the largest of them, where a cast would make them infinite.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from efface.errors import InputError
from efface.methods.classifier.base import ClassifierMethod
from efface.methods.classifier.layers import smallest
from efface.training.losses import cross_entropy, entropy
from efface.training.passes import Edit, Facts, Optimiser, Pass, Passes, spans

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

    from efface.classifiers.classifier import Classifier
    from efface.training.classification import Labelled, Work

CLASS_WEIGHTS = "sebastian class weights"


class Sebastian(ClassifierMethod):
    """Keep only the largest weights, and learn the others again."""

    share: float = Field(
        0.99, gt=0, le=1, description="share of convolution and linear weights and biases that is pruned"
    )
    epochs: float = Field(3.2, gt=0, description="epochs on the retain images, to the step that exceeds them")
    learning_rate: float = Field(5e-4, gt=0, description="learning rate")
    class_exponent: float = Field(
        -0.1, description="a class weighs its number of retain images to this power"
    )
    entropy_weight: float = Field(1.0, ge=0, description="weight of the difference of entropies")
    quantise: bool = Field(True, description="whether all values are rounded to 16-bit floats at the end")
    weight_decay: float = Field(5e-4, ge=0, description="weight decay")
    batch_size: int = Field(64, ge=2, description="images a step")

    name: ClassVar[str] = "sebastian"
    summary: ClassVar[str] = (
        "99 % of the weights, the smallest, are drawn anew and trained with the original's entropy"
    )
    source: ClassVar[str] = "Sebastian, a winner of the competition, arXiv:2406.09073"
    deviations: ClassVar[str] = (
        "values beyond the range of 16-bit floats become the largest of them, not infinite"
    )
    needs_forget: ClassVar[bool] = False
    needs_original: ClassVar[bool] = True
    competition: ClassVar[bool] = True
    as_published: ClassVar[bool] = True
    search_space: ClassVar[Mapping[str, tuple[float, float]]] = {
        "share": (0.3, 0.99),
        "learning_rate": (1e-4, 1e-1),
    }

    def passes(self, facts: Facts) -> Passes:
        optimiser = Optimiser(self.learning_rate, self.weight_decay)
        batches = len(spans(facts.sizes["retain"], self.batch_size))
        # the port stops after the step that goes beyond the epochs
        epochs = (int(self.epochs * batches) + 1) / batches
        train = Pass("retain", self.loss, {"retain": self.batch_size}, optimiser, epochs)
        return [Edit("prune", self.prune), train, *([Edit("round", quantise)] if self.quantise else [])]

    def prune(self, work: Work) -> None:
        """Draw the smallest weights anew and set the smallest biases to 0; count the classes."""
        import torch

        prunable = prunable_parameters(work.model)
        magnitudes = torch.cat([parameter.abs().flatten() for parameter in prunable.values()])
        parts = smallest(magnitudes, self.share).split([parameter.numel() for parameter in prunable.values()])
        for (name, parameter), part in zip(prunable.items(), parts, strict=True):
            fresh = torch.zeros_like(parameter)
            if parameter.dim() > 1:
                bound = parameter[0].numel() ** -0.5
                fresh.uniform_(-bound, bound, generator=work.draws(self.name, name))
            parameter.copy_(fresh.where(part.view_as(parameter), parameter))
        counts = torch.bincount(torch.from_numpy(work.sets["retain"].labels), minlength=work.facts.classes)
        weights = counts.clamp(min=1).float() ** self.class_exponent
        work.memory[CLASS_WEIGHTS] = weights.to(work.device)

    def loss(self, work: Work, batches: Mapping[str, Labelled]) -> Tensor:
        """Weighted cross-entropy, and how far the entropy of each prediction is from the original's."""
        batch = batches["retain"]
        logits = work.model(batch.images)
        wanted = entropy(work.original_logits("retain")[batch.places])
        difference = (entropy(logits) - wanted).square().mean()
        labelled = cross_entropy(logits, batch.labels, work.memory[CLASS_WEIGHTS])
        return labelled + self.entropy_weight * difference


def prunable_parameters(classifier: Classifier) -> dict[str, Parameter]:
    """Weights and biases of all convolutions and linear layers, by name. Raises `InputError` where there is none."""
    import torch

    layers = classifier.named_layers(torch.nn.Conv2d, torch.nn.Linear)
    if not layers:
        network = type(classifier.network).__name__
        raise InputError(
            f"sebastian prunes Conv2d and Linear layers, and this {network} has none; choose another method"
        )
    return {
        f"{layer}.{name}": parameter
        for layer, module in layers.items()
        for name, parameter in module.named_parameters(recurse=False)
    }


def quantise(work: Work) -> None:
    """Round all weights and statistics to 16-bit floats, and go on with 32 bits."""
    import torch

    largest = torch.finfo(torch.float16).max
    for value in work.model.network.state_dict().values():
        if value.is_floating_point():
            value.copy_(value.clamp(-largest, largest).half())
