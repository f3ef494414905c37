"""The VQ-GAN tokenizer: pictures to tokens and back.

The network of MaskGIT's tokenizer (Chang et al., CVPR 2022), whose weights MAGE (Li et al., CVPR 2023) is released
with. It differs from that of Esser et al. (CVPR 2021) in ways that the released tensors show: no attention, no
convolutions around the codebook, no biases in residual blocks, halving by averaging, and a block that changes the
number of channels adds a 1 x 1 convolution of its own result, not of its input.

Pictures are in [0, 1] on both sides; what comes out is not clamped.

It is trained as a VQ-GAN with the entropy term of MaskGIT's and MAGVIT's tokenizers (Yu et al., CVPR 2023), which keeps
the codebook in use. Deviation: there is no discriminator and no perceptual loss. Both need either weights trained on
other images, which would spoil a comparison with retraining, or a second optimizer and thousands of steps before they
help; in their place errors of edges are weighed at several scales (a Laplacian pyramid), which keeps pictures sharper
than pixel errors alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from efface.recomputing import in_micro_batches

NORM_EPSILON = 1e-6
COMMITMENT = 0.25
EDGES = 1.0
ENTROPY = 0.1
ENTROPY_TEMPERATURE = 0.1
PYRAMID_LEVELS = 3


class ResidualBlock(nn.Module):
    """Two normalised 3 x 3 convolutions, `[B, inputs, h, w]` to `[B, outputs, h, w]`."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs, eps=NORM_EPSILON)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(groups, outputs, eps=NORM_EPSILON)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = None if inputs == outputs else nn.Conv2d(outputs, outputs, 1, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        change = self.conv1(functional.silu(self.norm1(inputs)))
        change = self.conv2(functional.silu(self.norm2(change)))
        result: Tensor = change + (inputs if self.shortcut is None else self.shortcut(change))
        return result


class DownLevel(nn.Module):
    """Residual blocks at one resolution, halved behind them except at the last level."""

    def __init__(self, inputs: int, outputs: int, blocks: int, groups: int, halved: bool) -> None:
        super().__init__()
        widths = [inputs] + [outputs] * blocks
        self.blocks = nn.ModuleList(ResidualBlock(widths[i], widths[i + 1], groups) for i in range(blocks))
        self.halved = halved

    def forward(self, values: Tensor) -> Tensor:
        for block in self.blocks:
            values = block(values)
        return functional.avg_pool2d(values, 2) if self.halved else values


class UpLevel(nn.Module):
    """Residual blocks at one resolution, doubled behind them except at the last level."""

    def __init__(self, inputs: int, outputs: int, blocks: int, groups: int, doubled: bool) -> None:
        super().__init__()
        widths = [inputs] + [outputs] * blocks
        self.blocks = nn.ModuleList(ResidualBlock(widths[i], widths[i + 1], groups) for i in range(blocks))
        self.upsample = nn.Conv2d(outputs, outputs, 3, padding=1) if doubled else None

    def forward(self, values: Tensor) -> Tensor:
        for block in self.blocks:
            values = block(values)
        if self.upsample is None:
            return values
        doubled: Tensor = self.upsample(functional.interpolate(values, scale_factor=2.0, mode="nearest"))
        return doubled


class TokenizerEncoder(nn.Module):
    """Pictures `[B, 3, H, W]` to one vector per token, `[B, dimension, h, w]`."""

    def __init__(
        self, dimension: int, channels: int, multipliers: Sequence[int], blocks: int, groups: int, patch: int
    ) -> None:
        super().__init__()
        widths = [channels, *(channels * multiplier for multiplier in multipliers)]
        self.patch = patch
        self.conv_in = nn.Conv2d(3 * patch**2, channels, 3, padding=1, bias=False)
        self.down = nn.ModuleList(
            DownLevel(widths[level], widths[level + 1], blocks, groups, level + 1 < len(multipliers))
            for level in range(len(multipliers))
        )
        self.mid = nn.ModuleList(ResidualBlock(widths[-1], widths[-1], groups) for _ in range(2))
        self.norm_out = nn.GroupNorm(groups, widths[-1], eps=NORM_EPSILON)
        self.conv_out = nn.Conv2d(widths[-1], dimension, 1)

    def forward(self, images: Tensor) -> Tensor:
        values = self.conv_in(functional.pixel_unshuffle(images, self.patch))
        for stage in (*self.down, *self.mid):
            values = stage(values)
        vectors: Tensor = self.conv_out(functional.silu(self.norm_out(values)))
        return vectors


class ToPixels(nn.Conv2d):
    """The last convolution, told apart because its fresh weights are others."""


class TokenizerDecoder(nn.Module):
    """One vector per token `[B, dimension, h, w]` to pictures `[B, 3, H, W]`."""

    def __init__(
        self, dimension: int, channels: int, multipliers: Sequence[int], blocks: int, groups: int, patch: int
    ) -> None:
        super().__init__()
        widths = [channels * multiplier for multiplier in multipliers]
        self.patch = patch
        self.conv_in = nn.Conv2d(dimension, widths[-1], 3, padding=1)
        self.mid = nn.ModuleList(ResidualBlock(widths[-1], widths[-1], groups) for _ in range(2))
        # listed from the finest level on, as the release numbers them; run from the coarsest on
        self.up = nn.ModuleList(
            UpLevel(widths[min(level + 1, len(widths) - 1)], widths[level], blocks, groups, level > 0)
            for level in range(len(widths))
        )
        self.norm_out = nn.GroupNorm(groups, widths[0], eps=NORM_EPSILON)
        self.conv_out = ToPixels(widths[0], 3 * patch**2, 3, padding=1)

    def forward(self, vectors: Tensor) -> Tensor:
        values = self.conv_in(vectors)
        for stage in (*self.mid, *reversed(self.up)):
            values = stage(values)
        return functional.pixel_shuffle(self.conv_out(functional.silu(self.norm_out(values))), self.patch)


class Codebook(nn.Module):
    """The vectors that tokens stand for, `weight` `[K, dimension]`."""

    def __init__(self, size: int, dimension: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size, dimension))

    def distances(self, vectors: Tensor) -> Tensor:
        """Squared distance of each vector `[M, dimension]` to each code, `[M, K]`, always in float32."""
        with torch.autocast(vectors.device.type, enabled=False):
            vectors = vectors.float()
            squares = vectors.pow(2).sum(dim=1, keepdim=True) + self.weight.pow(2).sum(dim=1)
            return squares - 2 * vectors @ self.weight.t()

    def forward(self, tokens: Tensor) -> Tensor:
        """The vectors of `tokens`, `[..., dimension]`."""
        return functional.embedding(tokens, self.weight)


class Tokenizer(nn.Module):
    """Pictures `[B, 3, H, W]` in [0, 1] to tokens `[B, N]` in raster order, and back."""

    def __init__(
        self,
        codebook_size: int,
        dimension: int,
        channels: int,
        multipliers: Sequence[int],
        blocks: int,
        groups: int,
        patch: int,
    ) -> None:
        super().__init__()
        self.encoder = TokenizerEncoder(dimension, channels, multipliers, blocks, groups, patch)
        self.codebook = Codebook(codebook_size, dimension)
        self.decoder = TokenizerDecoder(dimension, channels, multipliers, blocks, groups, patch)

    def tokens(self, images: Tensor) -> Tensor:
        """The nearest code of each place, int64 `[B, N]`."""
        vectors = self.encoder(images).flatten(2).transpose(1, 2)
        nearest = self.codebook.distances(vectors.flatten(0, 1)).argmin(dim=1)
        return nearest.view(vectors.shape[:2])

    def pictures(self, tokens: Tensor) -> Tensor:
        """What `tokens` `[B, N]` of a square grid show, `[B, 3, H, W]`, about [0, 1] but not clamped."""
        side = round(tokens.shape[1] ** 0.5)
        vectors = self.codebook(tokens).transpose(1, 2).contiguous().unflatten(2, (side, side))
        pictures: Tensor = self.decoder(vectors)
        return pictures


def first_stage_loss(tokenizer: Tokenizer, images: Tensor, micro_batches: int = 1) -> Tensor:
    """The tokenizer's loss of each image, `[B]`, for `images` `[B, 3, H, W]` in [0, 1].

    One term speaks of the batch as a whole, and is the same for all its images: how evenly codes are used.
    micro_batches: into how many parts a batch is cut for the two networks, to save memory.
    """
    encoded = in_micro_batches(micro_batches, tokenizer.encoder, images)
    vectors = encoded.flatten(2).transpose(1, 2)
    distances = tokenizer.codebook.distances(vectors.flatten(0, 1)).unflatten(0, vectors.shape[:2])
    codes = tokenizer.codebook(distances.argmin(dim=2))
    # straight through: the encoder gets the gradient of the code that was put in its vector's place
    passed = vectors + (codes - vectors).detach()
    grid = passed.transpose(1, 2).contiguous().view_as(encoded)
    error = in_micro_batches(micro_batches, tokenizer.decoder, grid) - images
    pulled = (codes - vectors.detach()).pow(2) + COMMITMENT * (vectors - codes.detach()).pow(2)
    loss: Tensor = (
        _pixels(error)
        + EDGES * _edges(error)
        + pulled.mean(dim=(1, 2))
        + ENTROPY * code_entropy(distances, ENTROPY_TEMPERATURE)
    )
    return loss


def code_entropy(distances: Tensor, temperature: float) -> Tensor:
    """Entropy of each image's choices minus that of the whole batch's mean choice, `[B]` in nats.

    Low where every place chooses one code clearly while all codes are chosen alike. `distances` `[B, N, K]`.
    """
    logged = functional.log_softmax(-distances / temperature, dim=-1)
    chosen = logged.exp()
    single = -(chosen * logged).sum(dim=-1).mean(dim=1)
    mean = chosen.mean(dim=(0, 1))
    return single + (mean * mean.clamp(min=1e-9).log()).sum()


def _pixels(error: Tensor) -> Tensor:
    return error.abs().mean(dim=(1, 2, 3)) + error.pow(2).mean(dim=(1, 2, 3))


def _edges(error: Tensor) -> Tensor:
    """Mean absolute difference between the error and its own blur, summed over halved sizes, `[B]`."""
    total = error.new_zeros(len(error))
    for _ in range(PYRAMID_LEVELS):
        if error.shape[-1] % 2 or error.shape[-1] < 4:
            break
        coarse = functional.avg_pool2d(error, 2)
        detail = error - functional.interpolate(
            coarse, scale_factor=2.0, mode="bilinear", align_corners=False
        )
        total = total + detail.abs().mean(dim=(1, 2, 3))
        error = coarse
    return total
