"""Samplers of diffusion models: how one is named, and the one reverse loop that all families share.

A sampler is written `name` or `name:steps`. Two fast ones are built on diffusers: DDIM with eta 0 (Song et al.,
ICLR 2021) and DPM-Solver++ of second order (Lu et al., 2022). Both draw nothing: the pictures are a function of
the start noise, which the caller draws with the keyed draws of its view.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from efface.errors import InputError
from efface.settings import unknown_name

# DDIM is the first order of DPM-Solver++ (Lu et al. 2022, section 4). diffusers' own DDIMScheduler steps over a whole
# number of trained steps, so that 30 of 1000 steps end at a noisy picture or start from one; this class does not.
ORDERS = {"ddim": 1, "dpm-solver++": 2}
NOISE_SCHEDULE = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
    "prediction_type",
)

STEPS = re.compile(r"(?<=:)[0-9]+")


@dataclass(frozen=True)
class Sampler:
    """A sampler's name and its number of network evaluations. `str(sampler)` is `ddim:20`."""

    name: str
    steps: int

    def __str__(self) -> str:
        return f"{self.name}:{self.steps}"


class Scheduler(Protocol):
    """What the reverse loop uses of a diffusers scheduler."""

    config: Mapping[str, Any]
    alphas_cumprod: Tensor

    def set_timesteps(self, *, timesteps: list[int]) -> None: ...

    def step(
        self, model_output: Tensor, timestep: int, sample: Tensor, *, return_dict: bool
    ) -> tuple[Tensor, ...]: ...


def read_sampler(
    text: str | None, offered: Mapping[str, int], default: str, most: int | None = None
) -> Sampler:
    """Read `ddim` or `ddim:50`; None is `default`.

    offered: every sampler that the model has, with the steps that it takes when none are given.
    most: the largest number of steps, that is the number of noise levels of the schedule.
    Raises `InputError` that names what is offered.
    """
    written = default if text is None else text.strip()
    name, colon, count = written.partition(":")
    if name not in offered:
        raise InputError(unknown_name("sampler", name, offered))
    if not colon:
        steps = offered[name]
        return Sampler(name, steps if most is None else min(steps, most))
    steps = int(count) if re.fullmatch(r"[0-9]{1,9}", count.strip()) else 0
    if steps < 1 or (most is not None and steps > most):
        bound = "1 or more" if most is None else f"1 to {most}"
        raise InputError(
            f"sampler '{written}': steps go from {bound}, for example {name}:{offered[name]}. "
            f"Offered: {', '.join(offered)}"
        )
    return Sampler(name, steps)


def steps_of(sampler: str | None) -> int | None:
    """The steps of a sampler as `Generator.sampler_name` writes it; None where a model restores in one pass.

    >>> steps_of("ddim:50"), steps_of("confidence:20,6"), steps_of(None)
    (50, 20, None)
    """
    said = STEPS.search(sampler or "")
    return int(said.group()) if said else None


def with_steps(sampler: str, steps: int) -> str:
    """The same sampler with other steps.

    >>> with_steps("confidence:20,6", 2)
    'confidence:2,6'
    """
    return STEPS.sub(str(steps), sampler, count=1)


def make_scheduler(sampler: Sampler, **config: Any) -> Scheduler:
    """The diffusers scheduler of a fast sampler on a model's own noise schedule.

    config: what describes the schedule in diffusers' words, `trained_betas=...` or `beta_start=...` and so on, and
    `prediction_type`. A whole `scheduler_config.json` may be given: what does not describe the schedule is left out.
    """
    if sampler.name not in ORDERS:
        raise ValueError(f"no scheduler for sampler '{sampler.name}': {', '.join(ORDERS)}")
    from diffusers import DPMSolverMultistepScheduler

    untyped: Any = DPMSolverMultistepScheduler
    scheduler: Scheduler = untyped(
        **{key: config[key] for key in NOISE_SCHEDULE if key in config},
        solver_order=ORDERS[sampler.name],
        algorithm_type="dpmsolver++",
        final_sigmas_type="zero",
    )
    return scheduler


def spread(trained: int, steps: int) -> list[int]:
    """`steps` of the timesteps 0 to `trained - 1`, evenly spread, highest first; the first is always the last
    trained one, pure noise (Lin et al., WACV 2024, "trailing").

    >>> spread(1000, 4), spread(5, 5)
    ([999, 749, 499, 249], [4, 3, 2, 1, 0])
    """
    return [int(place) - 1 for place in np.round(np.linspace(trained, 0, steps + 1)[:-1])]


def denoise(
    scheduler: Scheduler,
    steps: int,
    predict: Callable[[Tensor, int], Tensor],
    start: Tensor,
    put_back: Callable[[Tensor, float], Tensor] | None = None,
) -> Tensor:
    """The reverse process from the noise `start` to a clean sample of the same shape.

    predict: the network's output for a sample at a trained timestep, in the scheduler's `prediction_type`.
    put_back: re-imposes what is known on a sample after every step. It is also given the sample's level, the share of
    signal alpha-bar in it: 1 after the last step, when the sample is clean.
    """
    timesteps = spread(scheduler.config["num_train_timesteps"], steps)
    with warnings.catch_warnings():
        # diffusers hands a tensor to NumPy in a way that NumPy 2 deprecates
        warnings.simplefilter("ignore", DeprecationWarning)
        scheduler.set_timesteps(timesteps=timesteps)
    levels = [float(scheduler.alphas_cumprod[timestep]) for timestep in timesteps[1:]] + [1.0]
    sample = start
    with torch.no_grad():
        for timestep, level in zip(timesteps, levels, strict=True):
            output = predict(sample, timestep).to(sample.dtype)
            sample = scheduler.step(output, timestep, sample, return_dict=False)[0]
            if put_back is not None:
                sample = put_back(sample, level)
    return sample
