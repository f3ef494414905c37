"""Cutting a network's forward in two without touching its source: what its encoder gives, and what comes behind.

The encoder is a set of modules. Its features are what these modules give and others consume. To encode, hooks collect it
and end the forward behind the last module of the encoder. To decode, the forward runs once more with the features in the
place of what these modules would give, so that they do not run: a gradient reaches the encoder through the features alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from efface.errors import InputError
from efface.wording import several

Run = Callable[[nn.Module], Any]
"""Calls a network with its inputs."""


class _EncoderEnded(BaseException):
    """Ends a forward; no `Exception`, so that no network's own handling takes it for a fault."""


@dataclass(frozen=True)
class Slot:
    """One tensor that an encoder's module gives. shape: of one batch of `Call.batch` images; grown: by how much each side
    is longer for one image more; kept: whether anything outside the encoder consumes it."""

    shape: tuple[int, ...]
    grown: tuple[int, ...]
    dtype: torch.dtype
    kept: bool = True

    def blank(self, images: int, batch: int, like: Tensor) -> Tensor:
        """Zeros in its place, for `images` images."""
        shape = [side + more * (images - batch) for side, more in zip(self.shape, self.grown, strict=True)]
        dtype = like.dtype if self.dtype.is_floating_point else self.dtype
        return torch.zeros(shape, dtype=dtype, device=like.device)


@dataclass(frozen=True)
class Call:
    """One call of an encoder's module in a forward: the module's name, and what it gives. Slots stand for tensors."""

    module: str
    layout: Any
    leaves: tuple[Any, ...]

    @property
    def slots(self) -> list[Slot]:
        return [leaf for leaf in self.leaves if isinstance(leaf, Slot)]


@dataclass(frozen=True)
class Cut:
    """A network's forward, cut behind its encoder.

    calls: those of the encoder's modules, in order. batch: images with which shapes were recorded. changed: whether the
    network changes features in place, so that each half needs its own.
    """

    calls: tuple[Call, ...]
    batch: int
    changed: bool

    def __deepcopy__(self, memo: object) -> Cut:
        return self

    @property
    def modules(self) -> list[str]:
        return list(dict.fromkeys(call.module for call in self.calls))

    def encode(self, network: nn.Module, run: Run) -> tuple[Tensor, ...]:
        """The features; nothing behind the encoder runs."""
        features: list[Tensor] = []
        position = 0

        def collect(name: str, output: Any) -> None:
            nonlocal position
            call = self._call(position, name)
            leaves = pytree.tree_leaves(output)
            if len(leaves) != len(call.leaves):
                raise _otherwise(f"{name} gave {len(leaves)} values, not {len(call.leaves)}")
            for leaf, slot in zip(leaves, call.leaves, strict=True):
                if isinstance(slot, Slot) and slot.kept:
                    features.append(leaf.clone() if self.changed else leaf)
            position += 1
            if position == len(self.calls):
                raise _EncoderEnded

        with _hooked(network, self.modules, collect):
            try:
                run(network)
            except _EncoderEnded:
                return tuple(features)
        raise _otherwise(f"its encoder's modules were called {position} times, not {len(self.calls)}")

    def decode(self, network: nn.Module, run: Run, features: Sequence[Tensor], images: int) -> Any:
        """What the network gives with `features` of `images` images in the place of its encoder."""
        waiting = iter(features)
        position = 0

        def instead(name: str) -> Callable[..., Any]:
            def forward(*_: Any, **__: Any) -> Any:
                nonlocal position
                call = self._call(position, name)
                position += 1
                leaves = [self._filled(leaf, waiting, images, features[0]) for leaf in call.leaves]
                return pytree.tree_unflatten(leaves, call.layout)

            return forward

        with _replaced(network, {name: instead(name) for name in self.modules}):
            return run(network)

    def _filled(self, leaf: Any, waiting: Iterator[Tensor], images: int, like: Tensor) -> Any:
        if not isinstance(leaf, Slot):
            return leaf
        if not leaf.kept:
            return leaf.blank(images, self.batch, like)
        feature = next(waiting)
        return feature.clone() if self.changed else feature

    def _call(self, position: int, name: str) -> Call:
        if position < len(self.calls) and self.calls[position].module == name:
            return self.calls[position]
        raise _otherwise(f"{name} was called where it had not been")


def _otherwise(what: str) -> InputError:
    return InputError(
        f"the network ran otherwise than when it was opened: {what}. Its forward depends on the picture, or on training "
        "mode, so it cannot be cut there: name other modules as model.encoder"
    )


def recorded(
    network: nn.Module, modules: Sequence[str], run: Callable[[nn.Module, int], Any], batch: int
) -> Cut:
    """The cut behind `modules`, from two forwards; raises `InputError` if it cannot be made.

    run: calls the network with so many images.
    """
    few, changed = _calls(network, modules, lambda part: run(part, batch))
    more, _ = _calls(network, modules, lambda part: run(part, batch + 1))
    if [call.module for call in few] != [call.module for call in more]:
        raise InputError(
            "encoder: the network calls its modules in another order for another number of images"
        )
    return Cut(tuple(_grown(one, other) for one, other in zip(few, more, strict=True)), batch, changed)


def consumed(cut: Cut, network: nn.Module, run: Run) -> Cut:
    """`cut` with only those features that something behind the encoder consumes; raises `InputError` if that cannot be cut.

    run: calls the network with `cut.batch` images.
    """
    with torch.no_grad():
        whole = pytree.tree_leaves(run(network))
        features = cut.encode(network, run)
    floating = [
        feature.detach().clone().requires_grad_() if feature.is_floating_point() else feature
        for feature in features
    ]
    with torch.enable_grad():
        output = pytree.tree_leaves(cut.decode(network, run, floating, cut.batch))
    for one, other in zip(output, whole, strict=True):
        if isinstance(one, Tensor) and not torch.allclose(
            one, other, rtol=1e-3, atol=1e-5 * float(other.abs().max())
        ):
            raise InputError(
                f"encoder: with the features of {several(cut.modules)} in place the network answers otherwise than as a "
                "whole; one of these modules changes its input in place, or keeps something for a later one. Name modules "
                "inside or around it"
            )
    with torch.enable_grad():
        total = sum(
            leaf.float().square().sum() for leaf in output if isinstance(leaf, Tensor) and leaf.requires_grad
        )
        asked = [feature for feature in floating if feature.requires_grad]
        gradients = (
            torch.autograd.grad(total, asked, allow_unused=True)
            if isinstance(total, Tensor) and asked
            else [None] * len(asked)
        )
    reached = iter(gradients)
    kept = iter([next(reached) is not None if feature.requires_grad else True for feature in floating])
    calls = []
    for call in cut.calls:
        leaves = tuple(
            replace(leaf, kept=next(kept)) if isinstance(leaf, Slot) else leaf for leaf in call.leaves
        )
        calls.append(replace(call, leaves=leaves))
    _check_features(calls, cut.batch)
    return replace(cut, calls=tuple(calls))


def _check_features(calls: Sequence[Call], batch: int) -> None:
    kept = [(call.module, slot) for call in calls for slot in call.slots if slot.kept]
    if not kept:
        raise InputError("encoder: nothing behind it consumes what it gives; name modules that run earlier")
    for module, slot in kept:
        if not slot.dtype.is_floating_point:
            raise InputError(
                f"encoder: {module} also gives whole numbers, such as places of maxima, which are no features; name one "
                "around it"
            )
        if not slot.shape or slot.shape[0] != batch or slot.grown[0] != 1 or any(slot.grown[1:]):
            raise InputError(
                f"encoder: {module} gives a tensor of shape {list(slot.shape)} for {batch} images, where images must come "
                "first; name a module around it"
            )


def _calls(network: nn.Module, modules: Sequence[str], run: Run) -> tuple[list[Call], bool]:
    """The calls of `modules` in one forward, and whether what they gave was changed in place behind them."""
    calls: list[Call] = []
    given: list[tuple[Tensor, int]] = []

    def collect(name: str, output: Any) -> None:
        leaves, layout = pytree.tree_flatten(output)
        slots = [
            Slot(tuple(leaf.shape), (0,) * leaf.dim(), leaf.dtype) if isinstance(leaf, Tensor) else leaf
            for leaf in leaves
        ]
        calls.append(Call(name, layout, tuple(slots)))
        given.extend((leaf, leaf._version) for leaf in leaves if isinstance(leaf, Tensor))

    with _hooked(network, modules, collect), torch.no_grad():
        run(network)
    called = {call.module for call in calls}
    if missing := [name for name in modules if name not in called]:
        raise InputError(
            f"encoder: the network's forward does not call {several(missing)}; name modules around them"
        )
    return calls, any(leaf._version != version for leaf, version in given)


def _grown(one: Call, other: Call) -> Call:
    leaves = []
    for leaf, larger in zip(one.leaves, other.leaves, strict=True):
        if isinstance(leaf, Slot) and isinstance(larger, Slot):
            grown = tuple(more - side for side, more in zip(leaf.shape, larger.shape, strict=True))
            leaves.append(replace(leaf, grown=grown))
        else:
            leaves.append(leaf)
    return replace(one, leaves=tuple(leaves))


@contextmanager
def _hooked(
    network: nn.Module, modules: Sequence[str], collect: Callable[[str, Any], None]
) -> Iterator[None]:
    """`collect` gets the name and the output of each of `modules`, at every call."""

    def hook(name: str) -> Callable[..., None]:
        return lambda module, inputs, output: collect(name, output)

    handles = [network.get_submodule(name).register_forward_hook(hook(name)) for name in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _replaced(network: nn.Module, forwards: Mapping[str, Callable[..., Any]]) -> Iterator[None]:
    """These forwards in the place of the modules' own."""
    modules = {name: network.get_submodule(name) for name in forwards}
    own = {name: module.__dict__.get("forward") for name, module in modules.items()}
    for name, module in modules.items():
        module.__dict__["forward"] = forwards[name]
    try:
        yield
    finally:
        for name, module in modules.items():
            del module.__dict__["forward"]
            if own[name] is not None:
                module.__dict__["forward"] = own[name]
