"""Filling in hidden tokens step by step, the surest first (Chang et al., "MaskGIT", CVPR 2022, section 3.2).

`confidence:20,6,1`: 20 steps over the tokens of the hole; Gumbel noise of scale 6, falling to 0, on the
log-probabilities that decide which tokens stay; the hole made 1 token wider on each side. `greedy:20,1` takes the
likeliest token everywhere and no noise.

`maskgit:20,6,1` is the released evaluation of Li et al., ICLR 2024, with its numbers. Its 20 steps are those of a
picture of which nothing is known; a hole begins at the step behind which less would be hidden than it hides. So the
middle quarter of a picture of 16 x 16 tokens, 100 with the tokens around it, takes 6 evaluations of the network at
noise of scale 1.5 and less, where `confidence` takes 20 at 5.7 and less.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
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
Name = Literal["confidence", "greedy", "maskgit"]
Counts = npt.NDArray[np.int64]
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "confidence": ("steps", "temperature", "wider"),
    "greedy": ("steps", "wider"),
    "maskgit": ("steps", "temperature", "wider"),
}


@dataclass(frozen=True)
class TokenSampler:
    """How hidden tokens are filled in. `str(sampler)` reads back to an equal one.

    steps: of the schedule; evaluations of the network, of `maskgit` at most. temperature: scale of the noise in the choice
    which tokens stay, before the first step.
    wider: tokens by which the hole is made wider on each side.
    """

    name: Name = "confidence"
    steps: int = 20
    temperature: float = 6.0
    wider: int = 1

    def __str__(self) -> str:
        middle = f",{number(self.temperature)}" if "temperature" in ARGUMENTS[self.name] else ""
        return f"{self.name}:{self.steps}{middle}" + ("" if self.wider == 1 else f",{self.wider}")


def read_token_sampler(text: str | None) -> TokenSampler:
    """Read `confidence:STEPS,TEMPERATURE,WIDER`, the same of `maskgit`, or `greedy:STEPS,WIDER`; ends may be left out.

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
    temperature = _positive(values.get("temperature", "6")) if "temperature" in known else 0.0
    if len(parts) > len(known) or not steps or steps > MOST_STEPS or wider is None or temperature is None:
        raise InputError(
            f"sampler '{text}': write confidence:STEPS,TEMPERATURE,WIDER, for example confidence:20,6,1, the same "
            f"of maskgit, or greedy:STEPS,WIDER; steps from 1 to {MOST_STEPS}, temperature 0 or more, wider in whole tokens"
        )
    return TokenSampler(cast("Name", name), steps, temperature, wider)


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
    gumbel: Tensor,
) -> Tensor:
    """`tokens` `[B, N]` with those that are `unknown` `[B, N]` filled in.

    scores: the network's scores `[B, N, K]` for tokens and bool `[B, N]` of those that it must not see.
    uniform: draws from U[0, 1) that choose tokens; gumbel: standard Gumbel draws that choose which of them stay; both
    `[B, steps, N]`.
    """
    # how many are still open is known beforehand, so that no step waits for an accelerator
    begun = unknown.sum(axis=1)
    still_open, open_count = torch.from_numpy(unknown).to(tokens.device), begun
    for step in range(sampler.steps):
        done = (step + 1) / sampler.steps
        left = _left_open(sampler, done, begun, open_count, unknown.shape[1])
        if (left == open_count).all():
            continue
        logged = functional.log_softmax(scores(tokens, still_open).float(), dim=-1)
        chosen = _chosen(logged, uniform[:, step], sampler)
        confidence = logged.gather(2, chosen.unsqueeze(2)).squeeze(2)
        confidence = confidence + sampler.temperature * (1 - done) * gumbel[:, step]
        tokens = torch.where(still_open, chosen, tokens)
        open_count = left
        if not open_count.any():
            break
        rank = confidence.masked_fill(~still_open, math.inf).argsort(dim=1).argsort(dim=1)
        still_open = rank < torch.from_numpy(open_count).to(tokens.device).unsqueeze(1)
    return tokens


def as_gumbel(uniform: Tensor) -> Tensor:
    """Standard Gumbel draws of the same shape from draws of U[0, 1)."""
    return -(-(uniform.clamp(min=TINY)).log()).clamp(min=TINY).log()


def _left_open(sampler: TokenSampler, done: float, begun: Counts, still: Counts, length: int) -> Counts:
    """How many of each image's `still` open tokens stay open behind a step; as many as before where it takes no part.

    done: share of the steps behind it. begun: tokens that were open at first; length: tokens of a whole picture.
    """
    share = math.cos(math.pi / 2 * done)
    if done == 1:
        return np.zeros_like(begun)
    if sampler.name != "maskgit":
        left: Counts = np.floor(begun * share + TINY).astype(np.int64)
        return np.maximum(np.minimum(left, still - 1), 0)
    # the last token stays open until the last step, as released
    left = np.maximum(np.minimum(math.floor(length * share), still - 1), 1)
    return np.where(share < begun / length, left, still)


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
