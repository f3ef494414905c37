"""Low-rank factors beside frozen weights (Hu et al., "LoRA", ICLR 2022), as peft puts them into a UNet.

They stand on attention projections and on the convolutions of residual blocks, on the whole UNet: a method that
trains the encoder moves those of the path down alone, and those that were never moved change nothing and are not
saved. On disk they are diffusers' own format, with the scale multiplied in, so that every reader gets it right.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from efface.errors import InputError
from efface.generators.latent.network import LatentNetwork
from efface.weights import with_product

FILE = "pytorch_lora_weights.safetensors"
PREFIX = "unet."
ADAPTER = "default"
TARGETS = r"(down_blocks|mid_block|up_blocks)\..*\.(to_q|to_k|to_v|to_out\.0|conv1|conv2)"
SEED = 0
"""Of the factors' first values: one half is random, the other zero, so that nothing is changed at first."""

Factors = dict[str, tuple[Tensor, Tensor]]
"""For each module by name: A `[r, in, ...]` and B `[out, r, ...]` with its scale; they add B A to its weight."""


def add_factors(unet: Any, rank: int, alpha: float) -> None:
    """Put untrained factors into `unet`; raises `InputError` without peft.

    The global random state is left as it was.
    """
    # peft says that the scale is a whole number, and works with any
    _put_into(unet, r=rank, lora_alpha=alpha, target_modules=TARGETS)


def go_on_with(unet: Any, start: Factors) -> None:
    """Put factors that were trained already into `unet`, to be trained further; raises `InputError` without peft."""
    ranks = {name: len(a) for name, (a, _) in start.items()}
    _put_into(
        unet,
        r=max(ranks.values()),
        lora_alpha=max(ranks.values()),
        rank_pattern=ranks,
        alpha_pattern=ranks,
        target_modules=list(start),
    )
    with torch.no_grad():
        for name, layer in _layers(unet).items():
            for half, values in zip((layer.lora_A, layer.lora_B), start[name], strict=True):
                half[ADAPTER].weight.copy_(values)


def has_factors(network: nn.Module) -> bool:
    return bool(_layers(network))


def factors(network: nn.Module) -> Factors:
    """The factors that change something, on the CPU."""
    found: Factors = {}
    for name, layer in _layers(network).items():
        a, b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
        if bool(b.any()):
            found[name] = (a.detach().cpu(), b.detach().cpu() * layer.scaling[ADAPTER])
    return found


def without_factors(network: LatentNetwork, start: Factors | None = None) -> LatentNetwork:
    """The same network without factors, or with those of the `start` added to its weights.

    It shares every weight with `network`; only those to which something is added are copied.
    """
    shared = copy.deepcopy(network, memo={id(parameter): parameter for parameter in network.parameters()})
    shared.unet.unload_lora()
    for name, (a, b) in (start or {}).items():
        layer = shared.unet.get_submodule(name)
        layer.weight = nn.Parameter(with_product(layer.weight, a, b))
    return shared


def plain_weights(network: nn.Module) -> dict[str, Tensor]:
    """All weights under the names of the network without factors, what the factors add being added."""
    weights = {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in network.state_dict().items()
        if ".lora_" not in name
    }
    for name, (a, b) in factors(network).items():
        weights[f"{name}.weight"] = with_product(weights[f"{name}.weight"], a, b)
    return weights


def without_effect(network: nn.Module, weights: Mapping[str, Tensor], anew: bool) -> dict[str, Tensor]:
    """Plain weights under the names of a network that may have factors, whose own then add nothing.

    anew: whether their random halves are drawn again, since they were trained.
    """
    state = {
        name: tensor.clone() if ".lora_" in name else weights[name.replace(".base_layer.", ".")]
        for name, tensor in network.state_dict().items()
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        for name, tensor in state.items():
            if ".lora_B." in name:
                tensor.zero_()
            elif ".lora_A." in name and anew:
                tensor.copy_(nn.init.kaiming_uniform_(torch.empty(tensor.shape), a=5**0.5))
    return state


def save_factors(unet: Any, folder: Path) -> None:
    """Write the file that `pipeline.load_lora_weights(folder)` opens."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, (a, b) in factors(unet).items():
        tensors[f"{PREFIX}{name}.lora_A.weight"] = a.contiguous()
        tensors[f"{PREFIX}{name}.lora_B.weight"] = b.contiguous()
    save_file(tensors, folder / FILE, metadata={"format": "pt"})


def _put_into(unet: Any, **options: Any) -> None:
    try:
        from peft import LoraConfig
    except ImportError:
        raise InputError("low-rank factors need the package peft: pip install 'efface[lora]'") from None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        unet.add_adapter(LoraConfig(**options), adapter_name=ADAPTER)


def _layers(network: nn.Module) -> dict[str, Any]:
    """peft's layers by name, told by what they hold: peft need not be installed where there are none."""
    return {name: module for name, module in network.named_modules() if hasattr(module, "lora_A")}
