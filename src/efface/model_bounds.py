"""Opening a model that somebody else may have made: what is built is bounded by what its files hold, and whatever is odd
in them is one sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.modules import module as hooks

from efface.errors import Faults, InputError
from efface.weights import FLOATING, SHOWN_TENSORS, UNREADABLE, why_unreadable
from efface.wording import printable, several

SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
VALUES_A_BYTE, MODULES_A_BYTE = 8, 1 / 16
"""What may be built for each byte of the files: libraries build a network up to three times, of numbers of two bytes."""
SPARE_VALUES, SPARE_MODULES, MOST_MODULES = 1 << 22, 20_000, 500_000
HUB_BYTES = 1 << 40


@contextmanager
def opening(path: str) -> Iterator[None]:
    """Open the model at `path` inside the block; raises `InputError` for whatever in its files is not as it must be."""
    try:
        with bounded(path):
            yield
    except (*UNREADABLE, LookupError, AttributeError, MemoryError, RecursionError) as error:
        raise InputError(
            f"the model at {printable(path)} cannot be read: its tensors or settings are not those of such a model "
            f"({type(error).__name__}: {printable(why_unreadable(error))})"
        ) from error


@contextmanager
def bounded(path: str) -> Iterator[None]:
    """Refuse a network that is far larger than the weights at `path`, before memory is taken for it.

    The innermost block counts: the parts of a model may lie in other places.
    """
    budget = _Budget(path, _stored_bytes(Path(path)))
    _BUDGETS.append(budget)
    handles = [
        hooks.register_module_parameter_registration_hook(budget.values),
        hooks.register_module_buffer_registration_hook(budget.values),
        hooks.register_module_module_registration_hook(budget.module),
    ]
    try:
        yield
    finally:
        _BUDGETS.pop()
        for handle in handles:
            handle.remove()


def check_opened(path: str, network: nn.Module) -> None:
    """Raise `InputError` naming weights of an opened model that are no numbers, and weights stored as whole numbers."""
    check_kinds(path, network)
    check_finite(path, network.state_dict())


def check_finite(path: str, weights: Mapping[str, Tensor]) -> None:
    """Raise `InputError` naming the tensors at `path` that hold NaN or infinite weights."""
    odd = [
        name
        for name, tensor in weights.items()
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())
    ]
    if odd:
        raise InputError(
            f"the weights at {printable(path)} are damaged: NaN or infinite values in {several(odd, SHOWN_TENSORS)}. "
            "Take the file from where it was saved before its training went wrong"
        )


def check_kinds(path: str, network: nn.Module) -> None:
    """Raise `InputError` naming weights that the safetensors files of a folder hold as whole numbers."""
    wanted = {name for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
    with Faults(f"the weights in {printable(path)} do not fit the architecture they claim") as faults:
        for file in sorted(Path(path).glob("*.safetensors")):
            try:
                with safe_open(file, "pt") as stored:
                    kinds = {name: stored.get_slice(name).get_dtype() for name in wanted & set(stored.keys())}
            except SafetensorError:  # not what the model was opened from
                continue
            for name, kind in sorted(kinds.items()):
                if kind not in FLOATING:
                    faults.add(f"{printable(name)}: stored as {kind}, which is no type of weights")


@dataclass
class _Budget:
    """How much may still be built."""

    path: str
    stored: int

    def __post_init__(self) -> None:
        self.values_left = VALUES_A_BYTE * self.stored + SPARE_VALUES
        self.modules_left = min(int(MODULES_A_BYTE * self.stored) + SPARE_MODULES, MOST_MODULES)

    def values(self, parent: nn.Module, name: str, tensor: Tensor | None) -> None:
        if tensor is not None and _BUDGETS[-1] is self:
            self.values_left -= tensor.numel()
            self._check()

    def module(self, parent: nn.Module, name: str, child: nn.Module | None) -> None:
        if _BUDGETS[-1] is self:
            self.modules_left -= 1
            self._check()

    def _check(self) -> None:
        if self.values_left < 0 or self.modules_left < 0:
            raise InputError(
                f"the settings of the model at {printable(self.path)} describe a network that is far larger than its "
                f"weights, which take {self.stored / (1 << 20):.3g} MiB: the two do not belong together, or are damaged"
            )


_BUDGETS: list[_Budget] = []


def _stored_bytes(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    if not path.is_dir():
        return HUB_BYTES
    return sum(file.stat().st_size for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
