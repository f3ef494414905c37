"""Less memory for a step of training, and the same mathematics: activations are computed again when gradients want them.

Micro-batches: a batch goes through the network in parts, and what one part needs for its gradient is there only while that
is computed. Its loss is still that of the whole batch, whatever it makes of the outputs: GradCache (Gao et al.,
arXiv:2101.06983), by `torch.utils.checkpoint`. Activation checkpointing (Chen et al., arXiv:1604.06174): only what enters
the blocks of a network is kept. Either costs about one more forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

Output = TypeVar("Output", Tensor, tuple[Tensor, ...])


def in_micro_batches(count: int, function: Callable[..., Output], *batches: Any) -> Output:
    """`function(*batches)` in `count` parts of about equal size, of at least one image each.

    batches: tensors, tuples of tensors and whatever else can be cut by a slice, all of one length. function: gives a tensor
    or several, one row for each image, and treats each image by itself.
    """
    size = len(batches[-1])
    parts = min(count, size)
    if parts <= 1:
        return function(*batches)
    edges = [size * number // parts for number in range(parts + 1)]
    outputs = [
        _held_briefly(function, *(_cut(batch, slice(first, last)) for batch in batches))
        for first, last in pairwise(edges)
    ]
    if isinstance(outputs[0], Tensor):
        return torch.cat(outputs)
    return tuple(torch.cat(maps) for maps in zip(*outputs, strict=True))


def normalises_by_batch(network: nn.Module, training: bool = False) -> bool:
    """Whether a layer takes mean and variance of the batch that it is shown, so that a part of it is another input.

    training: whether it would in training mode; else as it is.
    """
    return any(isinstance(layer, _BatchNorm) and (training or layer.training) for layer in network.modules())


@contextmanager
def recomputing_blocks(network: nn.Module, wanted: bool = True) -> Iterator[None]:
    """Have the blocks of `network` keep only their inputs while the block runs. Does nothing unless `wanted`.

    Blocks are the members of its outermost lists of modules that have parts of their own, or else all its children.
    """
    blocks = (blocks_of(network) or list(network.children())) if wanted else []
    for block in blocks:
        block.forward = partial(_recomputed, block, block.forward)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The blocks of `recomputing_blocks`."""
    found: list[nn.Module] = []
    for child in network.children():
        members = list(child.children()) if isinstance(child, nn.ModuleList | nn.Sequential) else []
        found += [member for member in members if any(member.children())] or blocks_of(child)
    return found


def _recomputed(block: nn.Module, forward: Callable[..., Any], *given: Any, **named: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*given, **named)
    return checkpoint(forward, *given, use_reentrant=False, context_fn=partial(_contexts, block), **named)


def _held_briefly(function: Callable[..., Output], *batches: Any) -> Output:
    if not torch.is_grad_enabled():
        return function(*batches)
    output: Output = checkpoint(function, *batches, use_reentrant=False)
    return output


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Of the forward pass and of the second one, in which running statistics have been taken already."""
    return nullcontext(), _statistics_held(block)


@contextmanager
def _statistics_held(block: nn.Module) -> Iterator[None]:
    layers = [
        layer
        for layer in block.modules()
        if isinstance(layer, _BatchNorm) and layer.training and layer.running_mean is not None
    ]
    with ExitStack() as stack:
        for layer in layers:
            stack.callback(setattr, layer, "momentum", layer.momentum)
            if layer.num_batches_tracked is not None:
                stack.callback(layer.num_batches_tracked.copy_, layer.num_batches_tracked.clone())
            layer.momentum = 0.0
        yield


def _cut(batch: Any, part: slice) -> Any:
    return tuple(maps[part] for maps in batch) if isinstance(batch, tuple) else batch[part]
