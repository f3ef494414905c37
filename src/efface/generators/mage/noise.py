"""Tokens of noise pictures, made once and kept.

A noise picture must pass through the tokenizer, which costs more than the encoder that learns from it. So there are
`ROWS` noise pictures for each kind and moments, and an image's draws choose one of them. Rows are made when they are
first picks for. Deviation from the release, which draws and tokenizes a fresh one every time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from efface.generators.base import PixelMoments, noise_pixels
from efface.generators.families import NoiseKind
from efface.randomness import Draws

ROWS = 256

Key = tuple[NoiseKind, int, tuple[float, ...]]


class NoiseBank:
    """Tokens of noise pictures of one model; no part of its weights.

    tokenize: float pictures `[B, 3, side, side]` to tokens `[B, N]`.
    """

    def __init__(self, tokenize: Callable[[Tensor], Tensor], side: int) -> None:
        self.tokenize, self.side = tokenize, side
        self.rows: dict[Key, dict[int, Tensor]] = {}

    def clear(self) -> None:
        """Forget all rows, as must be when the tokenizer may have changed."""
        self.rows.clear()

    def tokens(self, kind: NoiseKind, moments: PixelMoments, draws: Draws, device: torch.device) -> Tensor:
        """The tokens of one noise picture for each image that `draws` speaks of, `[B, N]` on `device`."""
        pixels = (
            (*moments.mean.tolist(), *moments.std.tolist()) if kind in ("moment-matched", "constant") else ()
        )
        made = self.rows.setdefault((kind, draws.seed, pixels), {})
        count = 1 if kind == "constant" else ROWS
        picks = [int(rng.integers(count)) for rng in draws.each("noise")]
        missing = np.unique([row for row in picks if row not in made]).astype(int).tolist()
        if missing:
            # drawn on the CPU, so that every device is given the same pictures
            pictures = self._pictures(missing, kind, moments, draws.seed)
            made.update(zip(missing, self.tokenize(pictures.to(device)).cpu(), strict=True))
        return torch.stack([made[row] for row in picks]).to(device)

    def _pictures(self, rows: list[int], kind: NoiseKind, moments: PixelMoments, seed: int) -> Tensor:
        draws = Draws(seed, tuple(f"noise picture {row}" for row in rows), (0,) * len(rows))
        shape = (3, self.side, self.side)
        if kind == "standard-normal":
            return draws.normal("noise", shape, "cpu")
        on_cpu = PixelMoments(moments.mean.cpu(), moments.std.cpu())
        return noise_pixels(torch.empty(len(rows), *shape), kind, on_cpu, draws)
