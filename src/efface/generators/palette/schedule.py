"""How much noise: the schedules of a pixel diffusion model, kept beside it. Importing this module does not import torch.

gamma (alpha-bar elsewhere) is the share of the signal in the variance of a noisy picture, sqrt(gamma) y + sqrt(1 -
gamma) noise; step 0 is almost clean. A Palette network is trained at any gamma between the steps of one schedule and
may be tested on another; a network with discrete timesteps has one schedule for both.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, JsonValue

from efface.errors import InputError
from efface.generators.palette.family import PaletteSettings
from efface.settings import Settings

Gammas = npt.NDArray[np.floating[Any]]
SCHEDULE, SCHEDULER = "schedule.json", "scheduler_config.json"
"""Files beside a saved network: efface's own schedules, and diffusers' words for one of them."""
COSINE_OFFSET, LARGEST_BETA = 0.008, 0.999


class NoiseSchedule(Settings):
    """The noise added at each step, in the words of diffusers' schedulers."""

    steps: int = Field(2000, ge=2, description="noise levels")
    start: float = Field(1e-6, gt=0, lt=1, description="beta, the variance added by the first step")
    end: float = Field(0.01, gt=0, lt=1, description="beta of the last step")
    shape: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = Field(
        "linear", description="beta between the two: linear, linear in its root, or the cosine schedule"
    )

    def betas(self) -> Gammas:
        """The variance added at each step, `[steps]`."""
        if self.shape == "linear":
            return np.linspace(self.start, self.end, self.steps)
        if self.shape == "scaled_linear":
            return np.square(np.linspace(self.start**0.5, self.end**0.5, self.steps))
        # Nichol and Dhariwal, ICML 2021, Eq. (17)
        place = np.linspace(0, 1, self.steps + 1)
        signal = np.square(np.cos((place + COSINE_OFFSET) / (1 + COSINE_OFFSET) * np.pi / 2))
        return np.minimum(1 - signal[1:] / signal[:-1], LARGEST_BETA)

    def gammas(self) -> Gammas:
        """The share of signal after each step, `[steps]`, falling."""
        return np.cumprod(1 - self.betas())


class Schedules(Settings):
    """The schedules of a model's training and of its ancestral sampler; the defaults are the release's."""

    level: Literal["gamma", "timestep"] = Field("gamma", description="what the network is told of the noise")
    train: NoiseSchedule = NoiseSchedule()
    test: NoiseSchedule = NoiseSchedule(start=1e-4, end=0.09)

    def changed(self, settings: PaletteSettings) -> Schedules:
        """With what `settings` says in place of the file's or the release's values; raises `InputError`."""
        said = {phase: _said(settings, phase) for phase in ("train", "test")}
        if self.level == "timestep":
            if said["test"]:
                raise InputError(
                    f"model.test_noise_{next(iter(said['test']))}: a network with discrete timesteps is tested on the "
                    "schedule of its training"
                )
            said["test"] = said["train"]
        phases = {phase: {**getattr(self, phase).as_dict(), **values} for phase, values in said.items()}
        return Schedules.read({"level": self.level, **phases}, where="the noise schedules")


def of_scheduler(config: dict[str, JsonValue]) -> Schedules:
    """The schedule in a diffusers `scheduler_config.json`, for training and test alike; raises `InputError`."""
    if config.get("trained_betas") is not None:
        raise InputError("the scheduler config lists its own betas: only schedules with a name are read")
    if config.get("prediction_type", "epsilon") != "epsilon":
        raise InputError(
            f"the network predicts '{config['prediction_type']}': only networks that predict the noise "
            "('epsilon') are supported"
        )
    if config.get("rescale_betas_zero_snr"):
        raise InputError(
            "the schedule ends in pure noise (rescale_betas_zero_snr), where noise cannot be predicted"
        )
    schedule = NoiseSchedule.read(
        {
            "steps": config.get("num_train_timesteps", 1000),
            "start": config.get("beta_start", 1e-4),
            "end": config.get("beta_end", 0.02),
            "shape": config.get("beta_schedule", "linear"),
        },
        where="the scheduler config",
    )
    return Schedules(level="timestep", train=schedule, test=schedule)


def scheduler_config(schedule: NoiseSchedule) -> dict[str, JsonValue]:
    """`schedule` as the arguments of a diffusers scheduler."""
    return {
        "num_train_timesteps": schedule.steps,
        "beta_start": schedule.start,
        "beta_end": schedule.end,
        "beta_schedule": schedule.shape,
        "prediction_type": "epsilon",
    }


def _said(settings: PaletteSettings, phase: str) -> dict[str, JsonValue]:
    values = {part: getattr(settings, f"{phase}_noise_{part}") for part in ("steps", "start", "end")}
    return {part: value for part, value in values.items() if value is not None}
