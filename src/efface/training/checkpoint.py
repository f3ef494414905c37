"""Checkpoints: one complete file, written beside the old one and put in its place at once.

It holds trained weights, optimizer state, the place in the run and all random states. Because every
draw is keyed, the data position is the step itself. Files are read with `weights_only=True`, and hold a
check sum of all their content: torch's own reader does not notice a flipped bit.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from efface.errors import InputError
from efface.files import replacing

FILE_NAME = "checkpoint.pt"
CHECK = "check"


@dataclass
class Checkpoint:
    """The state of a run between two steps.

    phase: index of the phase under way; step: its finished steps; steps: how many it will have;
    average: the running average of its weights, if it keeps one; steps_before: those of the phases before it;
    shadow: the weights of the model beside the teacher, if there is one; combiners: what those of the phases
    carry, by the phase's index; micro_batches: into how many each batch is cut.
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
    micro_batches: int = 1


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Put `checkpoint` in the place of the one before; on any error that one stays intact."""
    write_checked(
        folder / FILE_NAME, {entry.name: getattr(checkpoint, entry.name) for entry in fields(checkpoint)}
    )


def load_checkpoint(folder: Path, config_digest: str) -> Checkpoint | None:
    """The checkpoint of this run, or None; raises `InputError` for a damaged one, and for one of another config."""
    path = folder / FILE_NAME
    if not path.exists():
        return None
    content = read_checked(path)
    try:
        checkpoint = Checkpoint(**content)
    except TypeError:
        raise _damaged(path) from None
    if checkpoint.config_digest != config_digest:
        raise InputError(f"{path} belongs to another config; it is not continued")
    return checkpoint


def write_checked(path: Path, content: Mapping[str, Any]) -> None:
    """Save `content` with its check sum in the place of what was there; on any error that stays intact."""
    with replacing(path) as temporary:
        torch.save({**content, CHECK: check_of(content)}, temporary)


def read_checked(path: Path) -> dict[str, Any]:
    """What `write_checked` saved; raises `InputError` where it is no longer that."""
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        intact = content.pop(CHECK) == check_of(content)
    except Exception:  # whatever a library makes of damaged bytes
        raise _damaged(path) from None
    if not intact:
        raise _damaged(path)
    return content


def check_of(value: object, before: int = 0) -> int:
    """A check sum (CRC-32, 0.8 GiB/s) of plain values and tensors, however they are nested."""
    if isinstance(value, Tensor):
        before = check_of([str(value.dtype), list(value.shape)], before)
        plain = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        return zlib.crc32(plain.numpy().data, before)
    if isinstance(value, Mapping):
        value = [part for entry in value.items() for part in entry]
    if isinstance(value, list | tuple):
        before = zlib.crc32(b"%d parts" % len(value), before)
        for part in value:
            before = check_of(part, before)
        return before
    return zlib.crc32(repr(value).encode("utf-8", "backslashreplace"), before)


def _damaged(path: Path) -> InputError:
    return InputError(
        f"{path} is damaged and cannot be continued from; remove it, and the same command starts anew"
    )


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
