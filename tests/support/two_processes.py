"""Trainings that several processes must end as one does: `python -m support.two_processes FOLDER JOB...`.

The steps and final weights of each job are written to FOLDER/JOB.pt.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from efface.generators.base import Generator
from efface.methods import read_method
from efface.progress import Progress
from efface.training import step
from efface.training.optimisation import optimizer as of_adam
from efface.training.phases import Phase
from efface.training.settings import TrainingSettings
from support.family_training import fresh
from support.tiny_models import settings, trainer, training_data, weights_of


def descent(parameters: Mapping[str, nn.Parameter], settings: TrainingSettings) -> torch.optim.SGD:
    return torch.optim.SGD(parameters.values(), lr=settings.learning_rate)


DESCENT = {"steps": 6, "learning_rate": 0.2, "clip": 1.0}


@dataclass(frozen=True)
class Job:
    """What is trained how.

    within: by how much weights may differ at most. moved: by how much training moves the weight that it moves most.
    adam: whether AdamW trains, or plain gradient descent: AdamW makes a whole step of a gradient that is nothing but
    rounding, as that of a bias before a normalisation is, and rounding is all in which one process and two may differ.
    shard: whether weights are shared out where there are two. broken_off: the step after which the training ends, to go on
    from its checkpoint.
    """

    method: str | dict[str, Any]
    family: str = "mae"
    within: float = 1e-5
    moved: float = 1e-4
    adam: bool = False
    training: dict[str, Any] = field(default_factory=DESCENT.copy)
    shard: bool = False
    broken_off: int | None = None

    def phases(self) -> list[Phase]:
        return read_method({"name": self.method} if isinstance(self.method, str) else self.method).phases()

    def run(self, folder: Path) -> tuple[Generator, int]:
        """The trained model and its steps; `folder` takes pictures and checkpoints."""
        generator = fresh(self.family)
        data = training_data(folder / f"images of {os.environ.get('RANK', '0')}")
        chosen = settings(**self.training, shard=self.shard)
        options: dict[str, Any] = {"asked": chosen, "folder": folder / "work", "config_digest": "config"}
        with patch.object(step, "optimizer", partial(self.optimizer, os.environ.get("WORLD_SIZE", "1"))):
            if self.broken_off is not None:
                with suppress(BrokenOff):
                    stops = BreakOff(self.broken_off)
                    trainer(generator, self.phases(), data, progress=stops, **options).run()
                generator = fresh(self.family)
            return generator, trainer(generator, self.phases(), data, **options).run().steps

    def optimizer(
        self, processes: str, parameters: Mapping[str, nn.Parameter], settings: TrainingSettings
    ) -> torch.optim.Optimizer:
        """As asked for, of weights of which a process has no more than its part; a VAE is not shared out."""
        if self.shard and processes == "2" and not any(name.startswith("vae.") for name in parameters):
            parts = sum(one.to_local().numel() for one in parameters.values() if isinstance(one, DTensor))
            assert parts == pytest.approx(sum(one.numel() for one in parameters.values()) / 2, rel=0.1)
        return of_adam(parameters, settings) if self.adam else descent(parameters, settings)


class BrokenOff(Exception):
    """Ends a training between two checkpoints, in all processes."""


class BreakOff(Progress):
    """Does so after a step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def log(self, event: str, **values: Any) -> None:
        if event == "step" and values["step"] == self.step:
            raise BrokenOff


SECTIONS: dict[str, dict[str, Any]] = {
    "epsilon": {"name": "epsilon-constrained", "path": 1},
    "bargaining": {"name": "bargaining"},
    "decouple": {"name": "decouple", "threshold": 1e-4, "ascent": 0.6},
}
"""Methods that combine gradients; the last one ends a phase early."""

JOBS = {
    **{
        name: Job(name, adam=True, within=5e-6, moved=1e-3, training={"steps": 8})
        for name in ("encoder-noise", "retain-label")
    },
    "random-encoder": Job("random-encoder"),
    **{
        name: Job(section, adam=True, within=2e-5, moved=1e-3, training={"steps": 8, "warmup": 0.5})
        for name, section in SECTIONS.items()
    },
    "sharded": Job(
        "retain-label",
        adam=True,
        within=5e-6,
        moved=1e-3,
        shard=True,
        broken_off=5,
        training={
            "steps": 8,
            "average": 0.5,
            "gradient_accumulation": 2,
            "activation_checkpointing": True,
        },
    ),
    "mage-kept-codes": Job("encoder-noise", "mage", training={**DESCENT, "crops_per_image": 2}),
}
SLOW_JOBS = {
    "sharded-encoder": Job(
        "encoder-noise", adam=True, within=5e-6, moved=1e-3, training={"steps": 8}, shard=True
    ),
    "mage-sharded": Job("encoder-noise", "mage", shard=True),
    "palette-sharded": Job("encoder-noise", "palette", shard=True),
    "latent-sharded-anew": Job("retrain", "latent-inpainting", shard=True),
    "mage": Job("encoder-noise", "mage"),
    "mage-all": Job("noisy-label", "mage"),
    "palette": Job("encoder-noise", "palette"),
    "palette-anew": Job("retrain", "palette"),
    "latent-kept-codes": Job(
        "encoder-noise", "latent-inpainting", training={**DESCENT, "crops_per_image": 2}
    ),
    "latent": Job("encoder-noise", "latent-inpainting"),
    "latent-anew": Job("retrain", "latent-inpainting"),
}


def trained(name: str, folder: Path) -> tuple[dict[str, Tensor], int]:
    """Final weights and steps of a job."""
    generator, steps = (JOBS | SLOW_JOBS)[name].run(folder / name)
    return weights_of(generator), steps


if __name__ == "__main__":
    torch.set_num_threads(1)
    place = Path(sys.argv[1])
    for name in sys.argv[2:]:
        done = trained(name, place)
        if os.environ["RANK"] == "0":
            torch.save(done, place / f"{name}.pt")
    torch.distributed.destroy_process_group()
