"""Methods that combine gradients, in a process of their own: `python -m support.objectives_process FOLDER`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch

from efface.methods import read_method
from support.tiny_models import settings, tiny, trainer, training_data, weights_of

SECTIONS: dict[str, dict[str, Any]] = {
    "epsilon": {"name": "epsilon-constrained", "path": 1},
    "bargaining": {"name": "bargaining"},
    "decouple": {"name": "decouple", "threshold": 1e-4, "ascent": 0.6},
}


def carry_out(folder: Path) -> None:
    """All of `SECTIONS` on two processes or one; weights and steps go to `folder`."""
    torch.set_num_threads(1)
    rank = int(os.environ.get("RANK", "0"))
    data = training_data(folder / f"images of {rank}")
    for name, section in SECTIONS.items():
        generator = tiny()
        report = trainer(
            generator,
            read_method(section).phases(),
            data,
            asked=settings(steps=8, warmup=0.5),
            folder=folder / name,
        ).run()
        if rank == 0:
            torch.save((weights_of(generator), report.steps), folder / f"{name}.pt")
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    carry_out(Path(sys.argv[1]))
