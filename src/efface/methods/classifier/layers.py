"""Which parts of a network methods speak of, told by kind and place, so that they work on any classifier. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efface.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

    from efface.classifiers.classifier import Classifier


def convolution_weights(classifier: Classifier, method: str) -> dict[str, Parameter]:
    """The kernels `[out, in / groups, height, width]` of all convolutions, by their layers' names.

    Raises `InputError` where there is none.
    """
    import torch

    layers = classifier.named_layers(torch.nn.Conv2d)
    if not layers:
        network = type(classifier.network).__name__
        raise InputError(
            f"{method} changes convolutions, and this {network} has none (Conv2d); choose another method"
        )
    return {name: layer.get_parameter("weight") for name, layer in layers.items()}


def stem_of(classifier: Classifier, method: str) -> str:
    """Name of the first convolution, or of the first linear layer if there is none; `InputError` without either."""
    import torch

    for kind in (torch.nn.Conv2d, torch.nn.Linear):
        for name in classifier.named_layers(kind):
            return name
    network = type(classifier.network).__name__
    raise InputError(f"{method} draws the first layer anew, and this {network} has no Conv2d or Linear")


def head_of(classifier: Classifier, method: str) -> str:
    """Name of the head; `InputError` where it has no weights, as in a committee."""
    head = classifier.blocks[-1]
    if not any(True for _ in classifier.head.parameters()):
        raise InputError(f"{method} draws the head anew, and this network's head, '{head}', has no weights")
    return head


def normalisation_tensors(classifier: Classifier) -> set[str]:
    """Names of the weights that belong to layers of batch, instance, group or layer normalisation."""
    from torch.nn import GroupNorm, LayerNorm, Module
    from torch.nn.modules.batchnorm import _NormBase

    kinds: tuple[type[Module], ...] = (_NormBase, GroupNorm, LayerNorm)
    return {
        f"{layer}.{name}"
        for layer, module in classifier.named_layers(*kinds).items()
        for name, _ in module.named_parameters(recurse=False)
    }


def smallest(values: Tensor, share: float) -> Tensor:
    """A mask of the `round(share * count)` smallest values; of equal ones, the first."""
    order = values.flatten().argsort(stable=True)
    chosen = order.new_zeros(len(order)).bool()
    chosen[order[: round(share * len(order))]] = True
    return chosen.view_as(values)
