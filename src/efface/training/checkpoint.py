"""Checkpoints: one complete file, written beside the old one and put in its place at once.

It holds trained weights, optimizer state, the place in the run and all random states. Because every
draw is keyed, the data position is the step itself. Files are read with `weights_only=True`.
"""

from __future__ import annotations

import pickle
import random
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from efface.errors import InputError
from efface.files import replacing

FILE_NAME = "checkpoint.pt"


@dataclass
class Checkpoint:
    """The state of a run between two steps.

    phase: index of the phase under way; step: its finished steps; steps: how many it will have;
    average: the running average of its weights, if it keeps one; steps_before: those of the phases before it;
    shadow: the weights of the model beside the teacher, if there is one; combiners: what those of the phases
    carry, by the phase's index.
    """

    config_digest: str
    phase: int
    step: int
    steps: int
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    random_states: dict[str, Any]
    seconds: float
    average: dict[str, Tensor] = field(default_factory=dict)
    steps_before: int = 0
    shadow: dict[str, Tensor] = field(default_factory=dict)
    combiners: dict[int, dict[str, float]] = field(default_factory=dict)


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Put `checkpoint` in the place of the one before; on any error that one stays intact."""
    content = {entry.name: getattr(checkpoint, entry.name) for entry in fields(checkpoint)}
    with replacing(folder / FILE_NAME) as temporary:
        torch.save(content, temporary)


def load_checkpoint(folder: Path, config_digest: str) -> Checkpoint | None:
    """The checkpoint of this run, or None; raises `InputError` for one of another config."""
    path = folder / FILE_NAME
    if not path.exists():
        return None
    try:
        checkpoint = Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, EOFError, LookupError, TypeError, pickle.UnpicklingError):
        raise InputError(
            f"{path} is damaged and cannot be continued from; remove it, and the same command starts anew"
        ) from None
    if checkpoint.config_digest != config_digest:
        raise InputError(f"{path} belongs to another config; it is not continued")
    return checkpoint


def random_states() -> dict[str, Any]:
    """The global random states of python, NumPy and torch, as plain values and tensors."""
    version, internal, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    states: dict[str, Any] = {
        "python": [version, list(internal), gauss],
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def restore_random_states(states: dict[str, Any]) -> None:
    """Put back what `random_states` took."""
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])
