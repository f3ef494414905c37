"""From noise to a picture: the ancestral sampler, and the fast ones of `generators.sampling` on gamma.

Pixels are in [-1, 1]; every estimate of the clean picture is clipped to that, as in the release.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import torch
from torch import Tensor

from efface.generators.palette.schedule import Gammas, NoiseSchedule, scheduler_config
from efface.generators.sampling import Sampler, denoise, make_scheduler, spread

Predict = Callable[[Tensor, int], Tensor]
"""The network's noise estimate for a noisy picture at a step of the schedule."""
PutBack = Callable[[Tensor], Tensor]
SMALLEST_VARIANCE = 1e-20


def ancestral(
    gammas: Gammas,
    steps: int,
    predict: Predict,
    start: Tensor,
    draw: Callable[[int], Tensor],
    put_back: PutBack,
) -> Tensor:
    """The reverse process of Ho et al. (NeurIPS 2020, Algorithm 2) with clipped estimates, as Palette is tested.

    draw: the noise added when step number `i` (0 is the first one taken) is done; the last step draws none.
    With fewer `steps` than the schedule has, it runs over an even choice of its levels.
    """
    noisy = start
    chosen = spread(len(gammas), steps)
    levels = [float(gammas[step]) for step in chosen] + [1.0]
    with torch.no_grad():
        for number, step in enumerate(chosen):
            gamma, after = levels[number], levels[number + 1]
            clean = clean_estimate(noisy, predict(noisy, step), gamma)
            alpha = gamma / after
            noisy = clean * (sqrt(after) * (1 - alpha) / (1 - gamma)) + noisy * (
                sqrt(alpha) * (1 - after) / (1 - gamma)
            )
            if number < len(chosen) - 1:
                variance = max((1 - alpha) * (1 - after) / (1 - gamma), SMALLEST_VARIANCE)
                noisy = noisy + sqrt(variance) * draw(number)
            noisy = put_back(noisy)
    return noisy


def fast(
    schedule: NoiseSchedule, sampler: Sampler, predict: Predict, start: Tensor, put_back: PutBack
) -> Tensor:
    """DDIM or DPM-Solver++ over an even choice of the schedule's levels.

    They want the schedule of training, not that of testing: most levels of the latter are all but pure noise, and
    lie below those that the network was trained at.
    """
    gammas = schedule.gammas()
    scheduler = make_scheduler(sampler, **{**scheduler_config(schedule), "prediction_type": "sample"})
    return denoise(
        scheduler,
        sampler.steps,
        lambda noisy, step: clean_estimate(noisy, predict(noisy, step), float(gammas[step])),
        start,
        lambda noisy, _: put_back(noisy),
    )


def clean_estimate(noisy: Tensor, noise: Tensor, gamma: float) -> Tensor:
    """The clean picture that a noise estimate implies, clipped to [-1, 1]."""
    return ((noisy - sqrt(1 - gamma) * noise.to(noisy.dtype)) / sqrt(gamma)).clamp(-1, 1)
