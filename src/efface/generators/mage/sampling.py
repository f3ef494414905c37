"""Filling in hidden tokens step by step, the surest first (Chang et al., "MaskGIT", CVPR 2022, section 3.2).

`confidence:20,6,1`: 20 steps; Gumbel noise of scale 6, falling to 0, on the log-probabilities that decide which
tokens stay; the hole made 1 token wider on each side. These are the numbers of the released evaluation. `greedy:20,1`
takes the likeliest token everywhere and no noise.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from efface.corruptions.base import Mask, number
from efface.errors import InputError
from efface.settings import unknown_name

MOST_STEPS = 1000
LEAST_SHOWN = 0.5
"""A hole is not made wider where that would take more than this share of the tokens that are seen."""
TINY = 1e-9
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "confidence": ("steps", "temperature", "wider"),
    "greedy": ("steps", "wider"),
}


@dataclass(frozen=True)
class TokenSampler:
    """How hidden tokens are filled in. `str(sampler)` reads back to an equal one.

    steps: evaluations of the network. temperature: of the choice which tokens stay, at the first step.
    wider: tokens by which the hole is made wider on each side.
    """

    name: Literal["confidence", "greedy"] = "confidence"
    steps: int = 20
    temperature: float = 6.0
    wider: int = 1

    def __str__(self) -> str:
        middle = f",{number(self.temperature)}" if self.name == "confidence" else ""
        return f"{self.name}:{self.steps}{middle}" + ("" if self.wider == 1 else f",{self.wider}")


def read_token_sampler(text: str | None) -> TokenSampler:
    """Read `confidence:STEPS,TEMPERATURE,WIDER` or `greedy:STEPS,WIDER`, of which the ends may be left out.

    None is `confidence:20,6`. Raises `InputError` that names what is offered.
    """
    default = TokenSampler()
    name, _, rest = ("confidence" if text is None else text.strip()).partition(":")
    if name not in ARGUMENTS:
        raise InputError(unknown_name("sampler", name, ARGUMENTS))
    known = ARGUMENTS[name]
    parts = [part.strip() for part in rest.split(",")] if rest else []
    values = dict(zip(known, parts, strict=False))
    steps, wider = _whole(values.get("steps", str(default.steps))), _whole(values.get("wider", "1"))
    temperature = _positive(values.get("temperature", "6")) if name == "confidence" else 0.0
    if len(parts) > len(known) or not steps or steps > MOST_STEPS or wider is None or temperature is None:
        raise InputError(
            f"sampler '{text}': write confidence:STEPS,TEMPERATURE,WIDER, for example confidence:20,6,1, or "
            f"greedy:STEPS,WIDER; steps from 1 to {MOST_STEPS}, temperature 0 or more, wider in whole tokens"
        )
    return TokenSampler("confidence" if name == "confidence" else "greedy", steps, temperature, wider)


def widened(touched: Mask, by: int) -> Mask:
    """`touched` `[B, grid, grid]` with every hole `by` tokens wider on each side, corners included.

    An image of which too little would still be seen keeps its hole as it is: `LEAST_SHOWN`.
    """
    grown = touched
    for _ in range(by):
        padded = np.pad(grown, ((0, 0), (1, 1), (1, 1)))
        side = touched.shape[1]
        grown = np.logical_or.reduce(
            [padded[:, row : row + side, column : column + side] for row in range(3) for column in range(3)]
        )
    seen, before = (~grown).sum(axis=(1, 2)), (~touched).sum(axis=(1, 2))
    kept = seen >= LEAST_SHOWN * before
    return np.where(kept[:, None, None], grown, touched)


def complete(
    scores: Callable[[Tensor, Tensor], Tensor],
    tokens: Tensor,
    unknown: Mask,
    sampler: TokenSampler,
    uniform: Tensor,
) -> Tensor:
    """`tokens` `[B, N]` with those that are `unknown` `[B, N]` filled in.

    scores: the network's scores `[B, N, K]` for tokens and bool `[B, N]` of those that it must not see.
    uniform: draws from U[0, 1), `[B, 2, steps, N]`; the first half chooses tokens, the second which of them stay.
    """
    # how many are still open is known beforehand, so that no step waits for an accelerator
    begun = unknown.sum(axis=1)
    still_open, open_count = torch.from_numpy(unknown).to(tokens.device), begun
    for step in range(sampler.steps):
        done = (step + 1) / sampler.steps
        logged = functional.log_softmax(scores(tokens, still_open).float(), dim=-1)
        chosen = _chosen(logged, uniform[:, 0, step], sampler)
        confidence = logged.gather(2, chosen.unsqueeze(2)).squeeze(2)
        gumbel = -(-(uniform[:, 1, step].clamp(min=TINY)).log()).clamp(min=TINY).log()
        confidence = confidence + sampler.temperature * (1 - done) * gumbel
        tokens = torch.where(still_open, chosen, tokens)
        left = np.floor(begun * math.cos(math.pi / 2 * done) + TINY).astype(np.int64)
        open_count = np.clip(np.minimum(left, open_count - 1), 0, None) if done < 1 else 0 * begun
        if not open_count.any():
            break
        rank = confidence.masked_fill(~still_open, math.inf).argsort(dim=1).argsort(dim=1)
        still_open = rank < torch.from_numpy(open_count).to(tokens.device).unsqueeze(1)
    return tokens


def _chosen(logged: Tensor, uniform: Tensor, sampler: TokenSampler) -> Tensor:
    """One token per place, `[B, N]`: the likeliest, or drawn by inverting the distribution function."""
    if sampler.name == "greedy":
        return logged.argmax(dim=-1)
    below = (logged.exp().cumsum(dim=-1) <= uniform.unsqueeze(-1)).sum(dim=-1)
    return below.clamp(max=logged.shape[-1] - 1)


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,6}", text) else None


def _positive(text: str) -> float | None:
    return float(text) if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{0,6})?|\.[0-9]{1,6}", text) else None
