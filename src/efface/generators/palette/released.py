"""The files that Palette's training code saves: a bare state dict, the network below `denoise_fn.`, its noise schedule
beside it.

Tensor names and shapes were read off Janspiry/Palette-Image-to-Image-Diffusion-Models checkpoints; no code of it is
used. Sizes are read off the tensors, which are then given the names of diffusers' `UNet2DModel`: it computes the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DModel
from pydantic import JsonValue
from torch import Tensor, nn

from efface.errors import Faults, InputError
from efface.files import sha256_of_file
from efface.generators.palette.family import GROUPS, PaletteArchitecture, PaletteSettings
from efface.generators.palette.network import TRANSPARENT
from efface.generators.palette.schedule import Schedules
from efface.weights import check_tensors, read_weights

NETWORK = "denoise_fn."
SCHEDULE = "gammas"
BUFFERS = {
    SCHEDULE,
    "sqrt_recip_gammas",
    "sqrt_recipm1_gammas",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
}
SIZES_READ_OFF = (
    "input_blocks.0.0.weight",
    "input_blocks.1.0.out_layers.3.weight",
    "input_blocks.1.0.emb_layers.1.weight",
    "output_blocks.0.0.out_layers.3.weight",
    "out.2.weight",
)
HEAD_CHANNELS, IMAGE_SIZE = 32, 256
AVERAGED = re.compile(r"(^|_)ema($|_)", re.IGNORECASE)
LAYERS = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
    "group_norm": "norm",
    "to_q": "qkv",
    "to_k": "qkv",
    "to_v": "qkv",
    "to_out.0": "proj_out",
}
"""The layers of residual blocks and of attention: the library's names, and the release's."""


def load_released(
    path: Path, settings: PaletteSettings, schedules: Schedules
) -> tuple[nn.Module, dict[str, JsonValue], tuple[str, ...]]:
    """Network, origin and warnings; raises `InputError` naming all faults."""
    weights = read_weights(path, settings.entry)
    tensors = {name.removeprefix(NETWORK): tensor for name, tensor in weights.tensors.items()}
    buffers = {name: tensors.pop(name) for name in BUFFERS & set(tensors)}
    if missing := [name for name in SIZES_READ_OFF if name not in tensors]:
        raise InputError(f"{path} is no complete Palette network: no tensor {', '.join(missing)}")
    network: Any = UNet2DModel(**configuration(tensors, settings))
    network.load_state_dict(renamed(tensors, network, str(path)))
    origin: dict[str, JsonValue] = {"kind": "released", **weights.facts, "sha256": sha256_of_file(path)}
    origin["weights"] = "averaged" if AVERAGED.search(settings.entry or "") else "plain"
    warnings = []
    if AVERAGED.search(path.stem):
        origin["weights"] = "averaged"
        warnings.append(
            f"{path.name} is the running average of a training's weights; the release begins it before it loads a "
            f"checkpoint, so that after a resumed training it is worthless: {AVERAGED.sub('', path.stem)}"
            f"{path.suffix} beside it holds the plain weights"
        )
    if SCHEDULE in buffers:
        origin["schedule"], sentence = _compared(buffers[SCHEDULE], schedules)
        warnings += [sentence] if sentence else []
    return network.eval(), origin, tuple(warnings)


def renamed(tensors: Mapping[str, Tensor], network: Any, where: str) -> dict[str, Tensor]:
    """Released tensors under the names of `network`'s; raises `InputError` naming all that do not fit."""
    wanted, names = network.state_dict(), released_names(network)
    check_tensors(where, tensors, {name: _like(name, wanted, targets) for name, targets in names.items()})
    result = {}
    for name, targets in names.items():
        parts = [tensors[name]]
        if len(targets) > 1:
            # each head's query, key and value lie one behind the other
            parts = list(
                parts[0].unflatten(0, (-1, len(targets), network.config["attention_head_dim"])).unbind(1)
            )
        for target, part in zip(targets, parts, strict=True):
            result[target] = part.reshape(wanted[target].shape)
    return result


def released_names(network: Any) -> dict[str, list[str]]:
    """By the name of each released tensor those of `network`'s that it holds: one, or query, key and value."""
    blocks = _released_blocks(network)
    names: dict[str, list[str]] = {}
    for target in network.state_dict():
        layer, _, kind = target.rpartition(".")
        block = next(block for block in blocks if layer == block or layer.startswith(f"{block}."))
        inner = layer.removeprefix(block).removeprefix(".")
        names.setdefault(".".join(filter(None, (blocks[block], LAYERS.get(inner), kind))), []).append(target)
    return names


def _released_blocks(network: Any) -> dict[str, str]:
    """The release's name of each block or single layer, by the library's; of some that the network does not have, too."""
    blocks = {
        "conv_in": "input_blocks.0.0",
        "time_embedding.linear_1": "cond_embed.0",
        "time_embedding.linear_2": "cond_embed.2",
        "mid_block.resnets.0": "middle_block.0",
        "mid_block.attentions.0": "middle_block.1",
        "mid_block.resnets.1": "middle_block.2",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
    }
    number = 1
    for level, stage in enumerate(network.down_blocks):
        for place in range(len(stage.resnets)):
            blocks[f"down_blocks.{level}.resnets.{place}"] = f"input_blocks.{number}.0"
            blocks[f"down_blocks.{level}.attentions.{place}"] = f"input_blocks.{number}.1"
            number += 1
        blocks[f"down_blocks.{level}.downsamplers.0"] = f"input_blocks.{number}.0"
        number += stage.downsamplers is not None
    number = 0
    for level, stage in enumerate(network.up_blocks):
        for place in range(len(stage.resnets)):
            blocks[f"up_blocks.{level}.resnets.{place}"] = f"output_blocks.{number}.0"
            blocks[f"up_blocks.{level}.attentions.{place}"] = f"output_blocks.{number}.1"
            number += 1
        # no block of its own, but the last part of the level's last one
        last = 2 if hasattr(stage, "attentions") else 1
        blocks[f"up_blocks.{level}.upsamplers.0"] = f"output_blocks.{number - 1}.{last}"
    return blocks


def _like(name: str, wanted: Mapping[str, Tensor], targets: list[str]) -> Tensor:
    """A released tensor's shape, without its numbers: attention is made of convolutions over one dimension."""
    rows = sum(len(wanted[target]) for target in targets)
    convolved = (1,) if name.endswith(("qkv.weight", "proj_out.weight")) else ()
    return torch.empty((rows, *wanted[targets[0]].shape[1:], *convolved), device="meta")


def configuration(tensors: Mapping[str, Tensor], settings: PaletteSettings) -> dict[str, JsonValue]:
    """The arguments of `UNet2DModel` that a released state dict belongs to."""
    inner, taken = tensors["input_blocks.0.0.weight"].shape[:2]
    given = tensors["out.2.weight"].shape[0]
    per_level = _blocks_per_level(tensors)
    levels, rest = divmod(_count(tensors, "output_blocks"), per_level + 1)
    firsts = [1 + level * (per_level + 1) for level in range(levels)]
    widths = [_width(tensors, first) for first in firsts]
    attended = [
        level for level, first in enumerate(firsts) if f"input_blocks.{first}.1.qkv.weight" in tensors
    ]
    head = settings.channels_per_head or HEAD_CHANNELS
    size = settings.image_size or IMAGE_SIZE
    with Faults("this Palette network cannot be used") as faults:
        if (taken, given) != (6, 3):
            faults.add(
                f"it takes {taken} channels and gives {given}: only 6 (condition, noisy picture) and 3 will do, or 2 "
                f"and 1 of a grey network in a folder of diffusers{TRANSPARENT if given == 4 else ''}"
            )
        if any(name.endswith((".op.weight", ".conv.weight")) for name in tensors):
            faults.add(
                "it changes resolution by plain convolutions (resblock_updown off), which is not supported"
            )
        elif rest or not all(widths) or any(width % inner for width in widths if width):
            faults.add(
                "its blocks do not form levels of equal depth whose channels are multiples of the first's"
            )
        elif inner % GROUPS or widths[0] != inner:
            faults.add(
                f"it has {inner} channels at first and {widths[0]} at its first level: both must be the same multiple "
                f"of {GROUPS}"
            )
        for width in {widths[level] for level in attended} | {widths[-1]}:
            if width and width % head:
                faults.add(
                    f"attention over {width} channels: give --set model.channels_per_head=N that divides them"
                )
        if size % 2 ** (levels - 1):
            faults.add(f"pictures of {size} px cannot be halved {levels - 1} times: model.image_size")
    shape = PaletteArchitecture(
        image_size=size,
        inner_channels=inner,
        channel_multipliers=tuple(width // inner for width in widths),
        blocks_per_level=per_level,
        attention_levels=tuple(attended),
        channels_per_head=head,
        dropout=settings.dropout or 0.0,
    )
    scaled = tensors["input_blocks.1.0.emb_layers.1.weight"].shape[0] == 2 * widths[0]
    return shape.network_config() | ({} if scaled else {"resnet_time_scale_shift": "default"})


def _blocks_per_level(tensors: Mapping[str, Tensor]) -> int:
    """A level's blocks: the first block of the up path that ends by doubling the side closes the lowest level."""
    count = _count(tensors, "output_blocks")
    for number in range(count):
        if any(f"output_blocks.{number}.{part}.in_layers.0.weight" in tensors for part in (1, 2)):
            return max(number, 1)
    return max(count - 1, 1)


def _count(tensors: Mapping[str, Tensor], blocks: str) -> int:
    found = {match[1] for name in tensors if (match := re.match(rf"{blocks}\.(\d+)\.", name))}
    return len(found)


def _width(tensors: Mapping[str, Tensor], block: int) -> int:
    convolution = tensors.get(f"input_blocks.{block}.0.out_layers.3.weight")
    return 0 if convolution is None else int(convolution.shape[0])


def _compared(gammas: Tensor, schedules: Schedules) -> tuple[str, str]:
    """Which schedule in use is the file's, and a sentence if it is none of them."""
    stored = gammas.to(torch.float64).flatten().numpy()
    for phase in ("train", "test"):
        used = getattr(schedules, phase).gammas()
        # the file's are float32, in which a gamma near 1 has seven digits
        if len(used) == len(stored) and np.allclose(stored, used, rtol=1e-3, atol=1e-6):
            return f"the file's is the {phase} schedule in use", ""
    told = f"the file's ({len(stored)} steps, gamma from {stored[0]:.6g} to {stored[-1]:.3g}) is not in use"
    return told, (
        f"noise schedule: {told}. It was saved for training or for testing: give it with --set "
        "model.train_noise_steps, _start and _end, or model.test_noise_steps, _start and _end"
    )
