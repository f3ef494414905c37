"""The denoising UNet of the released Palette models.

Saharia et al., "Palette: Image-to-Image Diffusion Models" (SIGGRAPH 2022) on the UNet of Dhariwal and Nichol,
"Diffusion Models Beat GANs" (NeurIPS 2021): the condition picture is concatenated to the noisy one, and in place of a
timestep the network is told the continuous noise level. Written afresh from these papers and from the tensor names
and shapes of released files; those names are kept, so that released weights load as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, scaled_dot_product_attention

GROUPS = 32
EMBEDDING_FACTOR = 4
LONGEST_PERIOD = 10_000


class PaletteUNet(ModelMixin, ConfigMixin):  # type: ignore[misc]  # as the library's own models
    """Predicts the noise `[B, 3, H, W]` in the noisy half of its input.

    Input: condition and noisy picture one behind the other, `[B, 6, H, W]` in [-1, 1], and the noise level gamma
    `[B]`, the share of signal in the noisy picture's variance.

    `down` and `up` are its two halves. What `down` returns is all that `up` is given beside the level.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        sample_size: int = 256,
        inner_channels: int = 64,
        channel_multipliers: Sequence[int] = (1, 2, 4, 8),
        blocks_per_level: int = 2,
        attention_levels: Sequence[int] = (),
        channels_per_head: int = 32,
        dropout: float = 0.0,
        scale_shift_norm: bool = True,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.inner_channels = inner_channels
        embedding = EMBEDDING_FACTOR * inner_channels
        self.cond_embed = nn.Sequential(
            nn.Linear(inner_channels, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )

        def residual(channels: int, out: int, resampling: str = "") -> ResidualBlock:
            return ResidualBlock(channels, out, embedding, dropout, scale_shift_norm, resampling)

        def attention(channels: int, level: int) -> list[nn.Module]:
            return [Attention(channels, channels_per_head)] if level in attention_levels else []

        last = len(channel_multipliers) - 1
        channels = inner_channels
        stages = [Stage(nn.Conv2d(6, channels, 3, padding=1))]
        skipped = [channels]
        for level, multiplier in enumerate(channel_multipliers):
            width = multiplier * inner_channels
            for _ in range(blocks_per_level):
                stages.append(Stage(residual(channels, width), *attention(width, level)))
                channels = width
                skipped.append(channels)
            if level < last:
                stages.append(Stage(residual(channels, channels, "down")))
                skipped.append(channels)
        self.input_blocks = nn.ModuleList(stages)
        self.middle_block = Stage(
            residual(channels, channels), Attention(channels, channels_per_head), residual(channels, channels)
        )
        stages = []
        for level in range(last, -1, -1):
            width = channel_multipliers[level] * inner_channels
            for number in range(blocks_per_level + 1):
                parts = [residual(channels + skipped.pop(), width), *attention(width, level)]
                channels = width
                if level and number == blocks_per_level:
                    parts.append(residual(channels, channels, "up"))
                stages.append(Stage(*parts))
        self.output_blocks = nn.ModuleList(stages)
        self.out = nn.Sequential(Norm(channels), nn.SiLU(), zeroed(nn.Conv2d(channels, 3, 3, padding=1)))

    def down(self, inputs: Tensor, level: Tensor) -> tuple[Tensor, ...]:
        """The maps after every block of the down path, and the middle block's last."""
        embedding = self._embedding(level)
        maps = []
        hidden = inputs
        for stage in self.input_blocks:
            hidden = stage(hidden, embedding)
            maps.append(hidden)
        return (*maps, self.middle_block(hidden, embedding))

    def up(self, maps: tuple[Tensor, ...], level: Tensor) -> Tensor:
        """The predicted noise from what `down` returned."""
        embedding = self._embedding(level)
        *skipped, hidden = maps
        for stage in self.output_blocks:
            hidden = stage(torch.cat([hidden, skipped.pop()], dim=1), embedding)
        predicted: Tensor = self.out(hidden)
        return predicted

    def forward(self, inputs: Tensor, level: Tensor) -> Tensor:
        """The predicted noise `[B, 3, H, W]`."""
        return self.up(self.down(inputs, level), level)

    def _embedding(self, level: Tensor) -> Tensor:
        embedded: Tensor = self.cond_embed(level_waves(level, self.inner_channels))
        return embedded


class Stage(nn.Sequential):
    """Blocks in a row; those that want the noise level's embedding are given it."""

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:  # type: ignore[override]
        for block in self:
            hidden = block(hidden, embedding) if isinstance(block, ResidualBlock) else block(hidden)
        return hidden


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut; the noise level scales and shifts the second norm, or is added before it.

    resampling: `down` halves the side by averaging, `up` doubles it by repeating, before the first convolution.
    """

    def __init__(
        self, channels: int, out: int, embedding: int, dropout: float, scale_shift: bool, resampling: str
    ) -> None:
        super().__init__()
        self.scale_shift, self.resampling = scale_shift, resampling
        self.in_layers = nn.Sequential(Norm(channels), nn.SiLU(), nn.Conv2d(channels, out, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, (2 if scale_shift else 1) * out))
        self.out_layers = nn.Sequential(
            Norm(out), nn.SiLU(), nn.Dropout(dropout), zeroed(nn.Conv2d(out, out, 3, padding=1))
        )
        self.skip_connection = nn.Identity() if channels == out else nn.Conv2d(channels, out, 1)

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        norm, activation, convolution = self.in_layers
        inner = convolution(self._resampled(activation(norm(hidden))))
        said = self.emb_layers(embedding)[:, :, None, None]
        if self.scale_shift:
            norm, *rest = self.out_layers
            scale, shift = said.chunk(2, dim=1)
            inner = norm(inner) * (1 + scale) + shift
            for layer in rest:
                inner = layer(inner)
        else:
            inner = self.out_layers(inner + said)
        result: Tensor = self.skip_connection(self._resampled(hidden)) + inner
        return result

    def _resampled(self, hidden: Tensor) -> Tensor:
        if self.resampling == "down":
            hidden = avg_pool2d(hidden, 2)
        return interpolate(hidden, scale_factor=2.0) if self.resampling == "up" else hidden


class Attention(nn.Module):
    """Self-attention over all places. Each head's query, key and value lie one behind the other in `qkv`."""

    def __init__(self, channels: int, channels_per_head: int) -> None:
        super().__init__()
        self.channels_per_head = channels_per_head
        self.norm = Norm(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = zeroed(nn.Conv1d(channels, channels, 1))

    def forward(self, hidden: Tensor) -> Tensor:
        flat = hidden.flatten(2)
        heads = self.qkv(self.norm(flat)).unflatten(1, (-1, 3 * self.channels_per_head)).transpose(2, 3)
        query, key, value = heads.chunk(3, dim=-1)
        mixed = scaled_dot_product_attention(query, key, value).transpose(2, 3).flatten(1, 2)
        result: Tensor = (flat + self.proj_out(mixed)).view_as(hidden)
        return result


class Norm(nn.GroupNorm):
    """Group normalisation, computed in float32 whatever the precision around it."""

    def __init__(self, channels: int) -> None:
        super().__init__(GROUPS, channels)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.float()).to(input.dtype)


def level_waves(level: Tensor, width: int) -> Tensor:
    """Cosines, then sines, of the levels `[B]` at `width // 2` frequencies from 1 down to 1/10000: `[B, width]`."""
    half = width // 2
    places = torch.arange(half, dtype=torch.float32, device=level.device)
    angles = level.float()[:, None] * torch.exp(places * (-math.log(LONGEST_PERIOD) / half))
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def zeroed(layer: nn.Conv2d | nn.Conv1d) -> nn.Module:
    """`layer` with all weights at zero, so that a fresh block does nothing."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
