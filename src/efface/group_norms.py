"""Group norms that lose no small variance on a CPU.

Over maps that have their channels last in memory, torch takes a variance on the CPU as the mean of squares minus the
square of the mean: on flat pictures, where it is small beside the mean, hardly a digit of it is left (torch 2.13).
Attention layers and transposed codes leave such maps behind; kept channel by channel, they are normalised rightly.
"""

from __future__ import annotations

from torch import Tensor, nn


def keep_contiguous(network: nn.Module) -> None:
    """Have every group norm of `network` take its maps channel by channel, whatever lies before it."""
    for module in network.modules():
        if isinstance(module, nn.GroupNorm) and _contiguous not in module._forward_pre_hooks.values():
            module.register_forward_pre_hook(_contiguous)


def _contiguous(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(values.contiguous() for values in inputs)
