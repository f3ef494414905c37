"""Softmax attention, and what feeds it, for training in bf16: fewer casts, and on a CPU no slow gradient.

torch's fused attention is slow in training in bf16 on a CPU: its gradient takes three to five times as long as that of
the products written out. Autocast casts the float32 output of a norm anew for each layer that reads it, and keeps every
cast for the backward pass; cast once, it is the same numbers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

NAME = "efface"
"""Under which transformers knows this attention."""


def attended(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Softmax attention over `[B, heads, L, width / heads]`."""
    if query.device.type != "cpu" or query.dtype != torch.bfloat16:
        return functional.scaled_dot_product_attention(query, key, value)
    # autocast would have the softmax keep float32 for the backward pass, beside the bf16 that the product keeps
    with torch.autocast("cpu", enabled=False):
        likeness = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        mixed: Tensor = likeness.softmax(dim=-1) @ value
        return mixed


def use_attended(network: Any) -> None:
    """Have a vision transformer of transformers, without masks and dropout of attention, attend by `attended`."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, _for_transformers)
    network.set_attn_implementation(NAME)


def cast_once(norms: list[nn.Module]) -> None:
    """Have norms whose outputs only linear layers read give them in the type of the autocast, where one is on."""
    for norm in norms:
        if _in_autocast_type not in norm._forward_hooks.values():
            norm.register_forward_hook(_in_autocast_type)


def _in_autocast_type(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    kind = output.device.type
    return output.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else output


def _for_transformers(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """`[B, heads, L, width / heads]` each, to `[B, L, heads, width / heads]`, as transformers asks."""
    return attended(query, key, value).transpose(1, 2), None
