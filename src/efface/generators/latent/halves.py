"""The two halves of a UNet: the path down with its middle, and the path up.

Both are written over the public children of diffusers' `UNet2DConditionModel`, in the order of its own forward
pass, so that one can run without the other. What that class offers beyond Stable Diffusion's own UNets (class or
picture embeddings, GLIGEN, ControlNet residuals) is left out: `unsupported` names it. The UNet is typed `Any`, as
the annotations of diffusers do not say what its models hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

SIZES_AND_TEXT = "text_time"
"""The embedding that Stable Diffusion XL adds to the timestep's: a pooled prompt, and the sizes of the picture."""
LEFT_OUT = (
    "class_embed_type",
    "num_class_embeds",
    "encoder_hid_dim_type",
    "encoder_hid_dim",
    "time_cond_proj_dim",
)


def unsupported(config: Mapping[str, Any]) -> list[str]:
    """Settings of a UNet whose parts `down` and `up` do not run."""
    found = [f"{name}={config[name]}" for name in LEFT_OUT if config.get(name) is not None]
    if (added := config.get("addition_embed_type")) not in (None, SIZES_AND_TEXT):
        found.append(f"addition_embed_type={added}")
    if config.get("center_input_sample"):
        found.append("center_input_sample=True")
    if config.get("attention_type", "default") != "default":
        found.append(f"attention_type={config['attention_type']}")
    return found


def down(
    unet: Any, sample: Tensor, timesteps: Tensor, context: Tensor, added: Tensor | None = None
) -> tuple[Tensor, ...]:
    """All residual maps that the path up consumes, highest resolution first, and the middle's output.

    sample: `[B, C, h, w]`; timesteps: long `[B]`; context: prompt embeddings `[B, L, D]`; added: what `addition`
    gives, of Stable Diffusion XL.
    """
    time = _time(unet, timesteps, added)
    sample = unet.conv_in(sample)
    residuals: tuple[Tensor, ...] = (sample,)
    for block in unet.down_blocks:
        if getattr(block, "has_cross_attention", False):
            sample, more = block(hidden_states=sample, temb=time, encoder_hidden_states=context)
        else:
            sample, more = block(hidden_states=sample, temb=time)
        residuals += more
    if unet.mid_block is not None:
        if getattr(unet.mid_block, "has_cross_attention", False):
            sample = unet.mid_block(sample, time, encoder_hidden_states=context)
        else:
            sample = unet.mid_block(sample, time)
    return (*residuals, sample)


def up(
    unet: Any,
    features: tuple[Tensor, ...],
    timesteps: Tensor,
    context: Tensor,
    added: Tensor | None = None,
) -> Tensor:
    """The prediction `[B, C, h, w]` from what `down` gives."""
    time = _time(unet, timesteps, added)
    *residuals, sample = features
    factor = 2**unet.num_upsamplers
    uneven = any(side % factor for side in residuals[0].shape[-2:])
    for block in unet.up_blocks:
        count = len(block.resnets)
        used, residuals = tuple(residuals[-count:]), residuals[:-count]
        options: dict[str, Any] = {}
        if getattr(block, "has_cross_attention", False):
            options["encoder_hidden_states"] = context
        if uneven and residuals:
            options["upsample_size"] = residuals[-1].shape[2:]
        sample = block(hidden_states=sample, temb=time, res_hidden_states_tuple=used, **options)
    if unet.conv_norm_out is not None:
        sample = unet.conv_act(unet.conv_norm_out(sample))
    prediction: Tensor = unet.conv_out(sample)
    return prediction


def addition(unet: Any, pooled: Tensor, side: int) -> Tensor:
    """What Stable Diffusion XL adds to the timestep, before it is embedded, `[B, K]`: of a whole picture of that side."""
    sizes = torch.tensor([side, side, 0, 0, side, side], device=pooled.device)
    return torch.cat([pooled, unet.add_time_proj(sizes).flatten().expand(len(pooled), -1)], dim=1)


def _time(unet: Any, timesteps: Tensor, added: Tensor | None) -> Tensor:
    time: Tensor = unet.time_embedding(unet.time_proj(timesteps))
    if added is not None:
        time = time + unet.add_embedding(added)
    if unet.time_embed_act is not None:
        time = unet.time_embed_act(time)
    return time
