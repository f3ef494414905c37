"""The denoising UNet of pixel diffusion models, diffusers' `UNet2DModel`: made anew, checked, and run in two halves.

The halves are the down path with the middle block, and the up path. The encoder's maps are all that the up path is
given beside the noise level, which both halves embed with the same weights. Those weights are counted to the decoder:
else training the encoder would change the decoder. (In the release they receive the encoder's gradient, so its decoder
is not quite fixed.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor, nn

from efface.errors import Faults

ENCODER = ("conv_in", "down_blocks", "mid_block")
"""The first parts of the names of the encoder's modules; all others are the decoder's."""
LAST_LAYERS = ("conv2", "to_out.0", "conv_out")
"""How the names of layers end whose output is added to what is there already, and of the network's last one."""
TRANSPARENT = ". Pictures with transparency (RGBA) are read as colour alone"
"""Said of networks with a channel for how much shows through."""


def fresh(config: Mapping[str, Any], seed: int) -> nn.Module:
    """An untrained network whose blocks do nothing and which predicts zero, as Dhariwal and Nichol begin (NeurIPS 2021).

    The global random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: nn.Module = UNet2DModel.from_config(dict(config))
    for name, layer in network.named_modules():
        if name.endswith(LAST_LAYERS):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)
    return network.eval()


def down(network: nn.Module, inputs: Tensor, level: Tensor) -> tuple[Tensor, ...]:
    """The maps after every block of the down path, and the middle block's last.

    inputs: condition and noisy picture one behind the other, `[B, 6, H, W]` in [-1, 1]; level: gamma or timestep `[B]`.
    """
    unet: Any = network
    embedding = _embedding(unet, level)
    if unet.config["center_input_sample"]:
        inputs = 2 * inputs - 1
    hidden = unet.conv_in(inputs)
    maps = [hidden]
    for block in unet.down_blocks:
        hidden, more = block(hidden_states=hidden, temb=embedding)
        maps.extend(more)
    return (*maps, unet.mid_block(hidden, embedding))


def up(network: nn.Module, maps: tuple[Tensor, ...], level: Tensor) -> Tensor:
    """The predicted noise `[B, 3, H, W]` from what `down` returned."""
    unet: Any = network
    embedding = _embedding(unet, level)
    *skipped, hidden = maps
    for block in unet.up_blocks:
        count = len(block.resnets)
        hidden = block(hidden, tuple(skipped[-count:]), embedding)
        del skipped[-count:]
    predicted: Tensor = unet.conv_out(unet.conv_act(unet.conv_norm_out(hidden)))
    return predicted


class ContiguousAttention(AttnProcessor2_0):
    """The library's attention leaves its maps with the channels last in memory, which slows the layers behind it."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        mixed: Tensor = super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        return mixed.contiguous()


def use_contiguous_attention(network: nn.Module) -> None:
    """Have every attention layer of `network` leave its maps as convolutions take them; it computes the same."""
    for layer in network.modules():
        if isinstance(layer, Attention):
            processor: Any = ContiguousAttention()  # type: ignore[no-untyped-call]
            layer.set_processor(processor)


def check_network(network: Any, where: str) -> None:
    """Raise `InputError` with every reason why a network cannot be used for restoring pictures."""
    config: Mapping[str, Any] = network.config
    size = config["sample_size"]
    sides = {size} if isinstance(size, int) else set(size or ())
    halved = len(config["block_out_channels"]) - 1
    with Faults(f"the network in {where} cannot be used for restoring pictures") as faults:
        taken, given = config["in_channels"], config["out_channels"]
        if (taken, given) not in ((6, 3), (2, 1)):
            faults.add(
                f"it takes {taken} channels and gives {given}: it must take 6, the condition picture's and then the noisy "
                "picture's, and give 3, or of a grey network 2 and 1" + (TRANSPARENT if given == 4 else "")
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
        if not sides:
            faults.add("it does not say the size of its pictures: give --set model.image_size=N")
        elif len(sides) > 1:
            faults.add(f"its pictures are {size}: only square ones are supported")
        elif max(sides) % 2**halved:
            faults.add(f"pictures of {max(sides)} px cannot be halved {halved} times: model.image_size")


def _embedding(unet: Any, level: Tensor) -> Tensor:
    embedding: Tensor = unet.time_embedding(unet.time_proj(level))
    return embedding
