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
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from efface.errors import Faults, InputError
from efface.generators.latent.network import LatentNetwork
from efface.model_bounds import check_finite
from efface.weights import UNREADABLE, why_unreadable, with_product

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
    try:
        from peft import LoraConfig
    except ImportError:
        raise InputError("model.lora_rank needs the package peft: pip install 'efface[lora]'") from None
    # peft says that the scale is a whole number, and works with any
    options: dict[str, Any] = {"r": rank, "lora_alpha": alpha, "target_modules": TARGETS}
    config = LoraConfig(**options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        unet.add_adapter(config, adapter_name=ADAPTER)


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


def without_factors(network: LatentNetwork) -> LatentNetwork:
    """The same network as it was before factors were added. It shares every weight; nothing is copied."""
    shared = copy.deepcopy(network, memo={id(parameter): parameter for parameter in network.parameters()})
    shared.unet.unload_lora()
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


def save_factors(unet: Any, folder: Path) -> None:
    """Write the file that `pipeline.load_lora_weights(folder)` opens."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, (a, b) in factors(unet).items():
        tensors[f"{PREFIX}{name}.lora_A.weight"] = a.contiguous()
        tensors[f"{PREFIX}{name}.lora_B.weight"] = b.contiguous()
    save_file(tensors, folder / FILE, metadata={"format": "pt"})


def merge_factors(unet: Any, file: Path) -> None:
    """Add saved factors to the weights of `unet`; raises `InputError` naming all faults."""
    saved = _read(file)
    check_finite(
        str(file),
        {f"{name} ({half})": t for name, pair in saved.items() for half, t in zip("AB", pair, strict=True)},
    )
    weights = dict(unet.named_parameters())
    with Faults(f"the low-rank factors in {file} do not fit the model they are for") as faults:
        for name, (a, b) in saved.items():
            weight = weights.get(f"{name}.weight")
            if weight is None:
                faults.add(f"{name}: the model has no such weight")
            elif (
                a.shape[1:] != weight.shape[1:] or b.shape[:1] != weight.shape[:1] or a.shape[0] != b.shape[1]
            ):
                faults.add(
                    f"{name}: factors {tuple(a.shape)} and {tuple(b.shape)} for a weight {tuple(weight.shape)}"
                )
    with torch.no_grad():
        for name, (a, b) in saved.items():
            weights[f"{name}.weight"].copy_(with_product(weights[f"{name}.weight"], a, b))


def _layers(network: nn.Module) -> dict[str, Any]:
    """peft's layers by name, told by what they hold: peft need not be installed where there are none."""
    return {name: module for name, module in network.named_modules() if hasattr(module, "lora_A")}


def _read(file: Path) -> Factors:
    halves: dict[str, dict[str, Tensor]] = {}
    try:
        with safe_open(file, "pt") as opened:
            for key in opened.keys():  # noqa: SIM118 - not a mapping
                name, half, _ = key.removeprefix(PREFIX).rsplit(".", 2)
                halves.setdefault(name, {})[half] = opened.get_tensor(key)
    except UNREADABLE as error:
        raise InputError(
            f"{file} is not a readable file of low-rank factors: {why_unreadable(error)}"
        ) from None
    return _paired(halves, file)


def _paired(halves: Mapping[str, Mapping[str, Tensor]], file: Path) -> Factors:
    with Faults(f"{file} does not hold low-rank factors as diffusers writes them") as faults:
        for name, pair in halves.items():
            if set(pair) != {"lora_A", "lora_B"}:
                faults.add(f"{name}: has {', '.join(sorted(pair))}, not lora_A and lora_B")
    return {name: (pair["lora_A"], pair["lora_B"]) for name, pair in halves.items()}
