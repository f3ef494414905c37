"""A training run for a process of its own.

WHAT: `whole` runs to the end, `kill` is killed at STEP as by a power cut, `wait` says when STEP is done and
goes on slowly, so that a signal can reach it. Final weights are written to FOLDER/weights.pt.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

from efface.errors import EffaceError
from efface.methods import read_method
from efface.progress import Progress
from support.tiny_models import settings, tiny, trainer, training_data


class Watched(Progress):
    """Acts when a step is logged."""

    def __init__(self, what: str, step: int) -> None:
        super().__init__()
        self.what, self.step = what, step

    def log(self, event: str, **values: Any) -> None:
        if event != "step" or values["step"] < self.step:
            return
        if self.what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.what == "wait":
            print(f"step {values['step']}", flush=True)
            time.sleep(0.05)


def run(folder: Path, what: str, step: int = 0) -> int:
    """Train, and return the exit code that the command line would give."""
    torch.set_num_threads(1)
    generator = tiny()
    chosen = settings(steps=200 if what == "wait" else 8)
    data = training_data(folder / "images")
    job = trainer(
        generator, read_method({"name": "encoder-noise"}).phases(), data, asked=chosen, folder=folder / "work",
        config_digest="config", progress=Watched(what, step),
    )  # fmt: skip
    try:
        job.run()
    except EffaceError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    torch.save(generator.network.state_dict(), folder / "weights.pt")
    return 0
