"""Running statistics of batch normalisation: which layers keep them, where one batch replaces most of them, and new ones.

torch's momentum is the share of the new batch in a running statistic, TensorFlow's that of the old value. Where the latter
was taken over unchanged (transformers' MobileNets with 0.997 or 0.9997, its EfficientNet with 0.99), the statistics of a
network that trains are those of its last batch, and in evaluation mode it no longer works (transformers 5.14). What its
makers meant is 1 - momentum.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

MOST = 0.5
"""The share of a running statistic above which one batch replaces most of it."""


def statistics_layers(network: nn.Module) -> dict[str, _NormBase]:
    """The layers of `network` that keep running statistics, by name."""
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, _NormBase) and module.running_mean is not None
    }


def replaced_by_a_batch(network: nn.Module) -> dict[str, _NormBase]:
    """Those of them of whose statistics one batch replaces more than half."""
    layers = statistics_layers(network)
    return {name: layer for name, layer in layers.items() if (layer.momentum or 0.0) > MOST}


def batches_taken(network: nn.Module) -> dict[str, int]:
    """How many batches the statistics of `replaced_by_a_batch` have taken in so far, by layer."""
    return {name: _count(layer) for name, layer in replaced_by_a_batch(network).items()}


def fresh_statistics(network: nn.Module) -> set[str]:
    """Names of the layers of `replaced_by_a_batch` whose statistics no batch has moved yet: mean 0 and variance 1."""
    return {
        name
        for name, layer in replaced_by_a_batch(network).items()
        if not layer.running_mean.any() and (layer.running_var == 1).all()  # type: ignore[union-attr]
    }


@contextmanager
def turned_momenta(network: nn.Module) -> Iterator[None]:
    """The layers of `replaced_by_a_batch` take 1 - momentum of each batch that goes forward inside."""
    momenta = {layer: layer.momentum or 0.0 for layer in replaced_by_a_batch(network).values()}
    for layer, momentum in momenta.items():
        layer.momentum = 1 - momentum
    try:
        yield
    finally:
        for layer, momentum in momenta.items():
            layer.momentum = momentum


@contextmanager
def statistics_anew(network: nn.Module, names: Collection[str] | None = None) -> Iterator[None]:
    """Running statistics become the mean over the batches that go forward inside, all else being in evaluation mode.

    names: of the layers; default: all that keep statistics. `network` is left in evaluation mode.
    """
    layers = [layer for name, layer in statistics_layers(network).items() if names is None or name in names]
    momenta = [layer.momentum for layer in layers]
    network.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
        layer.train()
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        network.eval()


def _count(layer: _NormBase) -> int:
    return 0 if layer.num_batches_tracked is None else int(layer.num_batches_tracked)
