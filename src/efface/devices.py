"""On which device models run: the one place where it is chosen, for a whole job."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from efface.errors import InputError

if TYPE_CHECKING:
    import torch

AUTO = "auto"
WORKER = "EFFACE_WORKER_DEVICE"
"""The environment variable that tells a worker of a benchmark its device."""
FORM = re.compile(r"auto|cpu|mps|cuda(:\d+)?")

_NAMED: ContextVar[str] = ContextVar("device", default=AUTO)


def readable_device(text: str) -> str:
    """`text` as it is; raises `InputError` where it names no kind of device."""
    if not FORM.fullmatch(text):
        raise InputError(
            f"device '{text}': write cpu, cuda, cuda:1, mps, or auto for the first GPU if there is one"
        )
    return text


def find_device(name: str = AUTO) -> torch.device:
    """The device of this name; raises `InputError`, with those that are there, if this machine does not have it.

    `auto` is a CUDA GPU where there is one, and else the CPU: MPS has to be named.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if readable_device(name) == AUTO:
        return torch.device("cuda" if count else "cpu")
    device = torch.device(name)
    there = ["cpu", *(f"cuda:{number}" for number in range(count))]
    there += ["mps"] if torch.backends.mps.is_available() else []
    if device.type not in {name.split(":")[0] for name in there} or (device.index or 0) >= max(count, 1):
        raise InputError(f"device '{name}': this machine does not have it. There: {', '.join(there)}")
    return device


def named_device() -> str:
    """The name of the device of the present job, or of a benchmark's worker; `auto` where none was named."""
    name = _NAMED.get()
    return os.environ.get(WORKER, AUTO) if name == AUTO else name


def chosen_device() -> torch.device:
    """Where models of the present job, or of a benchmark's task, run."""
    return find_device(named_device())


def device_words() -> str:
    """The same for people, a GPU with its model."""
    import torch

    device = chosen_device()
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


@contextmanager
def on_device(name: str = AUTO) -> Iterator[None]:
    """Have everything in the block run on this device. Raises `InputError` before it if there is no such device."""
    import torch

    device = find_device(name)
    token = _NAMED.set(name)
    try:
        with ExitStack() as stack:
            if device.type == "cuda" and device.index is not None:
                # libraries that are told no number take the present device
                stack.enter_context(torch.cuda.device(device))
            yield
    finally:
        _NAMED.reset(token)
