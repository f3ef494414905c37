"""Which modules and parameters of a network are its encoder: as the user names them, or proposed by a cut in the middle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from efface.errors import Faults, InputError
from efface.factories import running
from efface.generators.network.cut import Cut, Run, consumed, recorded
from efface.settings import unknown_name
from efface.wording import several

TRACED_IMAGES = 2


@dataclass(frozen=True)
class Parts:
    """A network's encoder and what comes behind it.

    named: the encoder as it was named or proposed. encoder, decoder: their parameters by name; those that the answer does
    not hang on are in neither. before: those of the decoder's that run before the features, beside the encoder. shared:
    those of the encoder that also run behind the features. passes_input: whether the input reaches the answer past the
    features too.
    """

    named: tuple[str, ...]
    proposed: bool
    cut: Cut
    encoder: tuple[str, ...]
    decoder: tuple[str, ...]
    before: tuple[str, ...]
    shared: tuple[str, ...]
    passes_input: bool


def parts_of(
    network: nn.Module,
    named: Sequence[str],
    make: Callable[[int], list[Tensor]],
    call: Callable[[nn.Module, list[Tensor]], Tensor],
) -> Parts:
    """The parts of a network in evaluation mode; raises `InputError` if it cannot be cut so.

    named: the encoder's modules and parameters; a cut in the middle is proposed where there are none. make: some inputs for
    so many images; call: the picture that a network answers them with.
    """

    def run(part: nn.Module, images: int) -> Any:
        return call(part, make(images))

    order = _completed(network, partial(run, images=TRACED_IMAGES))
    chosen = tuple(named) or proposed(network, order)
    hooked, encoder = _resolved(network, chosen, set(order))
    inputs = make(TRACED_IMAGES)
    cut = recorded(network, hooked, run, TRACED_IMAGES)
    # a forward that runs may still have no gradient
    with running(network):
        cut = consumed(cut, network, lambda part: call(part, inputs))
        parts = Parts(chosen, not named, cut, tuple(encoder), (), (), (), False)
        return _reached(network, parts, inputs, call)


def proposed(network: nn.Module, order: Sequence[str]) -> tuple[str, ...]:
    """The modules that run first, up to about half of all parameters. order: modules as they end in a forward."""
    sizes = {
        name: sum(one.numel() for one in network.get_submodule(name).parameters())
        for name in _units(network, order)
    }
    last = {name: place for place, name in enumerate(order)}
    units = sorted(sizes, key=lambda name: last[name])
    if len(units) < 2:
        raise InputError(
            "encoder: the network's parameters lie in fewer than two modules that its forward calls, so that it cannot be "
            "cut; split it into modules"
        )
    total, before, best, count = sum(sizes.values()), 0, float("inf"), 1
    for place, name in enumerate(units[:-1], start=1):
        before += sizes[name]
        if abs(2 * before - total) < best:
            best, count = abs(2 * before - total), place
    return _gathered(network, set(units[:count]), set(units), order)


def _units(network: nn.Module, order: Sequence[str]) -> list[str]:
    """The innermost called modules that hold parameters, by name; none of them inside another."""
    called, units = set(order), dict[str, None]()
    for name, module in network.named_modules():
        if next(module.parameters(recurse=False), None) is not None:
            unit = name
            while unit and unit not in called:
                unit = unit.rpartition(".")[0]
            if unit:
                units[unit] = None
    return [name for name in units if not any(_inside(name, other) for other in units)]


def _gathered(network: nn.Module, chosen: set[str], units: set[str], order: Sequence[str]) -> tuple[str, ...]:
    """`chosen` with modules that hold nothing else in the place of what they hold; in the order in which they run."""
    for name, _ in network.named_modules():
        inner = {unit for unit in units if _inside(unit, name)}
        if name and len(inner) > 1 and inner <= chosen and order.count(name) <= 1:
            chosen = (chosen - inner) | {name}
    place = {name: number for number, name in reversed(list(enumerate(order)))}

    def first(name: str) -> int:
        return min((place[one] for one in place if one == name or _inside(one, name)), default=0)

    return tuple(
        sorted((name for name in chosen if not any(_inside(name, other) for other in chosen)), key=first)
    )


def _completed(network: nn.Module, run: Run) -> list[str]:
    """Names of the modules below the network in the order in which their calls end in one forward."""
    order: list[str] = []

    def hook(name: str) -> Callable[..., None]:
        return lambda module, inputs, output: order.append(name)

    handles = [module.register_forward_hook(hook(name)) for name, module in network.named_modules() if name]
    try:
        with torch.no_grad():
            run(network)
    finally:
        for handle in handles:
            handle.remove()
    return order


def _resolved(network: nn.Module, named: Iterable[str], called: set[str]) -> tuple[list[str], list[str]]:
    """Called modules that give the encoder's features, none inside another, and the names of the encoder's parameters."""
    modules = dict(network.named_modules())
    parameters = dict(network.named_parameters())
    names = {id(parameter): name for name, parameter in parameters.items()}
    hooked, encoder = dict[str, None](), dict[str, None]()
    with Faults("the network cannot be cut") as faults:
        for name in named:
            if name in parameters:
                encoder[name] = None
                owner = name.rpartition(".")[0]
                if owner in called and not list(modules[owner].children()):
                    hooked[owner] = None
            elif name and name in modules:
                encoder.update({names[id(one)]: None for one in modules[name].parameters()})
                inside = [one for one in called if _inside(one, name)]
                units = (
                    [name]
                    if name in called
                    else [one for one in inside if not any(_inside(one, other) for other in inside)]
                )
                if not units:
                    faults.add(
                        f"encoder: the network's forward does not call {name}; name a module around it"
                    )
                hooked.update(dict.fromkeys(units))
            else:
                most = [one for one in modules if one and one.count(".") < 2]
                faults.add(f"encoder: {unknown_name('module or parameter', name, most)}")
        if not faults and not hooked:
            faults.add(
                f"encoder: {several(list(named))} are single parameters; name the modules that use them too"
            )
        if not faults and set(encoder) >= set(parameters):
            faults.add(
                "encoder: it holds all parameters of the network, so that nothing is left to decode; name fewer modules"
            )
    return [name for name in hooked if not any(_inside(name, other) for other in hooked)], list(encoder)


def _reached(network: nn.Module, parts: Parts, inputs: list[Tensor], call: Callable[..., Any]) -> Parts:
    """`parts` with what gradients tell of where its parameters and its input go."""
    cut = parts.cut
    named: dict[str, Tensor] = {name: one for name, one in network.named_parameters() if one.requires_grad}
    shown = [one.detach().clone().requires_grad_(one.is_floating_point()) for one in inputs]
    with torch.enable_grad():
        features = cut.encode(network, lambda part: call(part, inputs))
        before = _touched(features, named)
        held = [feature.detach() for feature in features]
        answer = cut.decode(network, lambda part: call(part, shown), held, TRACED_IMAGES)
        pictures = {str(place): one for place, one in enumerate(shown) if one.requires_grad}
        behind = _touched(pytree.tree_leaves(answer), named | pictures)
    encoder = [name for name in parts.encoder if name in before]
    if not encoder:
        raise InputError("encoder: nothing of it that can be trained runs before its features")
    decoder = [name for name in named if name in before | behind and name not in parts.encoder]
    if not any(name in behind for name in decoder):
        raise InputError(
            "encoder: nothing with weights runs behind it, so that nothing is left to decode; name earlier modules"
        )
    return Parts(
        parts.named,
        parts.proposed,
        cut,
        tuple(encoder),
        tuple(decoder),
        tuple(name for name in decoder if name in before),
        tuple(name for name in encoder if name in behind),
        bool(behind & set(pictures)),
    )


def _touched(outputs: Iterable[Any], asked: Mapping[str, Tensor]) -> set[str]:
    """Names of the tensors on which the outputs hang."""
    sums = [one.float().square().sum() for one in outputs if isinstance(one, Tensor) and one.requires_grad]
    if not sums or not asked:
        return set()
    gradients = torch.autograd.grad(torch.stack(sums).sum(), list(asked.values()), allow_unused=True)
    return {name for name, gradient in zip(asked, gradients, strict=True) if gradient is not None}


def _inside(name: str, other: str) -> bool:
    return name.startswith(f"{other}.")
