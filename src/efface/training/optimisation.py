"""Optimizer, learning-rate schedule, precision and processes of the training loop."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from efface.devices import chosen_device
from efface.launcher import drop_leftovers
from efface.training.settings import TrainingSettings
from efface.training.sharding import whole


def optimizer(parameters: Mapping[str, nn.Parameter], settings: TrainingSettings) -> torch.optim.Adam:
    """Adam or AdamW without weight decay on biases, norms and single tokens, as He et al. 2022 train."""
    decayed = [p for name, p in parameters.items() if p.ndim > 1 and not name.endswith("token")]
    others = [p for name, p in parameters.items() if p.ndim <= 1 or name.endswith("token")]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(
        [group for group in groups if group["params"]],
        lr=settings.learning_rate,
        betas=settings.betas,
        fused=True,
    )


def learning_rate(settings: TrainingSettings, step: int, steps: int) -> float:
    """Linear warm-up over the first share of the steps, then half a cosine down to zero, or the peak to the end.

    `step` counts from 0, and the first step already has a rate above zero.
    """
    warm = round(settings.warmup * steps)
    if step < warm:
        return settings.learning_rate * (step + 1) / (warm + 1)
    if settings.schedule == "constant":
        return settings.learning_rate
    share = (step - warm) / max(steps - warm, 1)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def clipped(parameters: Sequence[nn.Parameter], most: float | None) -> Tensor:
    """Bound the norm of all gradients together, as `torch.nn.utils.clip_grad_norm_`; their norm before that is returned.

    Gradients within the bound, which that function multiplies by 1, are left alone where that is known without waiting.
    """
    norm: Tensor = whole(nn.utils.get_total_norm([one.grad for one in parameters if one.grad is not None]))
    if most is not None and not (norm.device.type == "cpu" and most / (norm + 1e-6) >= 1):
        nn.utils.clip_grads_with_norm_(parameters, most, norm)
    return norm


def accelerator(settings: TrainingSettings) -> Accelerator:
    """Processes, device and precision: one process, or as many as torchrun started."""
    precision = "bf16" if chosen_precision(settings) == "bf16" else "no"
    device = chosen_device()
    if AcceleratorState._shared_state:
        # accelerate keeps one state for the whole process; a second run may want another precision or device
        present = AcceleratorState()
        moved = present.num_processes == 1 and present.device.type != device.type
        if moved or present.mixed_precision != precision:
            AcceleratorState._reset_state(reset_partial_state=moved)
    drop_leftovers()
    return Accelerator(cpu=device.type == "cpu", mixed_precision=precision)


def autocast_precision(accelerator: Accelerator) -> torch.dtype | None:
    """The type that autocast computes in, or None where nothing is cast."""
    return torch.bfloat16 if accelerator.mixed_precision == "bf16" else None


def chosen_precision(settings: TrainingSettings) -> str:
    """`fp32` or `bf16`; `auto` takes bf16 only where the hardware computes in it."""
    if settings.precision != "auto":
        return settings.precision
    return "bf16" if has_bf16() else "fp32"


def has_bf16() -> bool:
    """Whether the device computes in bf16, rather than emulating it."""
    kind = chosen_device().type
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if kind == "cpu" and platform.machine().lower() in {"x86_64", "amd64"}:
        return bool(torch.cpu._is_avx512_bf16_supported())
    return False
