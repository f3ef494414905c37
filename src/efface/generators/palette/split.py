"""A denoising UNet in two halves: down path with middle block, and up path. Both kinds of network have them.

The encoder's maps are all that the up path is given beside the noise level, which both halves embed with the same
weights. Those weights are counted to the decoder: else training the encoder would change the decoder. (In the release
they receive the encoder's gradient, so its decoder is not quite fixed.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from efface.errors import Faults
from efface.generators.palette.network import PaletteUNet


@dataclass(frozen=True)
class Split:
    """How one kind of network is run in halves.

    down: (network, inputs `[B, 6, H, W]`, level `[B]`) to the maps; up: (network, maps, level) to the noise.
    encoder: the first parts of the names of the encoder's modules; all others are the decoder's.
    continuous: whether the network is told the share of signal gamma; else it is told the timestep.
    """

    down: Callable[..., tuple[Tensor, ...]]
    up: Callable[..., Tensor]
    encoder: tuple[str, ...]
    continuous: bool


def split_of(network: nn.Module) -> Split:
    """The halves of this network."""
    if isinstance(network, PaletteUNet):
        return Split(PaletteUNet.down, PaletteUNet.up, ("input_blocks", "middle_block"), True)
    return Split(_down, _up, ("conv_in", "down_blocks", "mid_block"), False)


def check_unet2d(network: Any, where: str) -> None:
    """Raise `InputError` with every reason why a diffusers network cannot be used as a conditioned one."""
    config = network.config
    with Faults(f"the network in {where} cannot be used for restoring pictures") as faults:
        if (config["in_channels"], config["out_channels"]) != (6, 3):
            faults.add(
                f"it takes {config['in_channels']} channels and gives {config['out_channels']}: it must take 6, the "
                "condition picture's and then the noisy picture's, and give 3"
            )
        if config["time_embedding_type"] != "positional":
            faults.add(
                f"its time embedding is '{config['time_embedding_type']}': only 'positional' is supported"
            )
        if network.class_embedding is not None:
            faults.add("it is conditioned on classes")
        if network.mid_block is None:
            faults.add("it has no middle block")
        if any(hasattr(block, "skip_conv") for block in (*network.down_blocks, *network.up_blocks)):
            faults.add("it has Skip blocks, which pass pictures around the features")


def _down(network: Any, inputs: Tensor, level: Tensor) -> tuple[Tensor, ...]:
    embedding = _embedding(network, level)
    if network.config["center_input_sample"]:
        inputs = 2 * inputs - 1
    hidden = network.conv_in(inputs)
    maps = [hidden]
    for block in network.down_blocks:
        hidden, more = block(hidden_states=hidden, temb=embedding)
        maps.extend(more)
    return (*maps, network.mid_block(hidden, embedding))


def _up(network: Any, maps: tuple[Tensor, ...], level: Tensor) -> Tensor:
    embedding = _embedding(network, level)
    *skipped, hidden = maps
    for block in network.up_blocks:
        count = len(block.resnets)
        hidden = block(hidden, tuple(skipped[-count:]), embedding)
        del skipped[-count:]
    predicted: Tensor = network.conv_out(network.conv_act(network.conv_norm_out(hidden)))
    return predicted


def _embedding(network: Any, level: Tensor) -> Tensor:
    embedding: Tensor = network.time_embedding(network.time_proj(level))
    return embedding
