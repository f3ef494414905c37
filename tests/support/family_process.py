"""Training of one family in a process of its own: `python -m support.family_process FOLDER FAMILY METHOD [CROPS]`.

Final weights are written to FOLDER/weights.pt. With CROPS, codes of so many crops an image are kept. Plain
gradient descent takes AdamW's place: that one makes a whole step of a gradient that is nothing but rounding, as
that of a bias before a normalisation is, and rounding is all in which one process and two may differ.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import patch

import torch
from torch import nn

from efface.training import step
from efface.training.settings import TrainingSettings
from support.family_training import fresh, phases_of
from support.tiny_models import settings, trainer, training_data


def descent(parameters: Mapping[str, nn.Parameter], settings: TrainingSettings) -> torch.optim.SGD:
    return torch.optim.SGD(parameters.values(), lr=settings.learning_rate)


def run(folder: Path, family: str, method: str, crops: int | None = None) -> int:
    """Train six steps, one batch of four images a step."""
    torch.set_num_threads(1)
    generator = fresh(family)
    chosen = settings(steps=6, crops_per_image=crops, learning_rate=0.2, clip=1.0)
    rank = int(os.environ.get("RANK", "0"))
    data = training_data(folder / f"images of {rank}")
    job = trainer(
        generator, phases_of(method), data, asked=chosen, folder=folder / "work", config_digest="config"
    )
    with patch.object(step, "adamw", descent):
        job.run()
    if rank == 0:
        torch.save(generator.network.state_dict(), folder / "weights.pt")
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    return 0


if __name__ == "__main__":
    crops = int(sys.argv[4]) if len(sys.argv) > 4 else None
    sys.exit(run(Path(sys.argv[1]), sys.argv[2], sys.argv[3], crops))
