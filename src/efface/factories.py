"""Networks that are built by code which the user names: an importable factory, or an entry point of `efface.networks`.

A factory is any callable that returns a `torch.nn.Module`: a class, a function. It is named `package.module:build` and
found among what is installed, or in the working directory; another package may give one a plain name:

    [project.entry-points."efface.networks"]
    my-network = "my_package:build"

Its code runs, so only a name that the user gave, or an installed entry point, may reach `build`. A network that is held in
memory has a name too, `memory:NAME`, in this process alone. Imports no torch.
"""

from __future__ import annotations

import copy
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from efface.errors import EffaceError, InputError
from efface.memory import is_out_of_memory
from efface.settings import unknown_name
from efface.wording import printable, shortened

if TYPE_CHECKING:
    from torch import nn

GROUP = "efface.networks"
DRAWS = (
    "the network draws at random in evaluation mode: it answers the same picture in two ways, so that models cannot be "
    "compared. Have its code draw only while it is trained (if self.training); a VAE then decodes the mean, and dropout is "
    "given training=self.training"
)
"""Why a network is refused that samples in its forward."""
MEMORY = "memory:"
"""How the place of a network begins that is held in memory."""
_HELD: dict[str, nn.Module] = {}
FORM = "write it as package.module:build, or as the name of an entry point of the group efface.networks"
"""How a network is named."""


def build(name: str, arguments: Mapping[str, JsonValue], seed: int = 0) -> nn.Module:
    """The network that the factory `name` makes of the keyword `arguments`, with fresh weights drawn from `seed`.

    The global random state is left as it was. Raises one `InputError` for whatever is wrong with name, code or arguments.
    """
    import torch

    # parameters that are made where nothing is learnt could never be trained
    with _from_working_directory(), torch.random.fork_rng(devices=[]), torch.inference_mode(False):
        factory = _factory(name)
        if fault := _unfit(factory, arguments):
            raise InputError(f"network {printable(name)} cannot be called with {_said(arguments)}: {fault}")
        torch.manual_seed(seed)
        try:
            network = factory(**arguments)
        # whatever other people's code may raise
        except (Exception, SystemExit) as error:
            raise InputError(
                f"network {printable(name)}, called with {_said(arguments)}: {_what(error)}"
            ) from error
    if isinstance(network, type) or not isinstance(network, torch.nn.Module):
        given = f"the class {network.__name__}" if isinstance(network, type) else type(network).__name__
        raise InputError(
            f"network {printable(name)} returns {given}, not a torch.nn.Module: name what returns the network itself"
        )
    return network


def fresh(name: str, arguments: Mapping[str, JsonValue], seed: int) -> nn.Module:
    """The same with fresh weights; raises `InputError` also where some are read from somewhere rather than drawn.

    A weight is taken for read where it is the same for two seeds, and not one number throughout.
    """
    import torch

    made, other = (build(name, arguments, one) for one in (seed, seed + 1))
    for (weight, one), another in zip(made.named_parameters(), other.parameters(), strict=True):
        if (
            one.requires_grad
            and torch.equal(one, another)
            and one.numel()
            and (one != one.flatten()[0]).any()
        ):
            raise InputError(
                f"fresh weights: {printable(name)} gives the same {weight} for every seed, so it reads it from somewhere; "
                "name a factory, or arguments, that draw all weights"
            )
    return made


@contextmanager
def running(network: nn.Module) -> Iterator[None]:
    """Code of `network` runs in the block: whatever it raises becomes one `InputError` that says what.

    What efface and torch raise through it passes as it is: memory that ended, the end of what is computed again.
    """
    from torch.utils import checkpoint

    try:
        yield
    except (EffaceError, checkpoint._StopRecomputationError):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        mode = "training" if network.training else "evaluation"
        raise InputError(
            f"the network {type(network).__name__} fails in {mode} mode: {_what(error)}"
        ) from error


def hold(name: str, network: nn.Module) -> str:
    """Keep a network in memory under a name; gives the place at which `held` finds it. Raises `InputError`."""
    if not re.fullmatch(r"[\w.-]+", name):
        raise InputError(
            f"name {shortened(name)}: a network in memory is named by letters, digits, dots and hyphens"
        )
    _HELD[f"{MEMORY}{name}"] = network
    return f"{MEMORY}{name}"


def is_held(place: str) -> bool:
    """Whether a place names a network in memory."""
    return place.startswith(MEMORY)


def held(place: str) -> nn.Module:
    """A copy of the network that is held at a place; raises `InputError` if none is, in this process."""
    if place not in _HELD:
        raise InputError(
            f"{printable(place)} names a network that was held in memory and is no longer: give it again as efface.Module, "
            "under the same name"
        )
    return copy.deepcopy(_HELD[place])


def is_installed(name: str) -> bool:
    """Whether an installed package offers a network of that name, so that a saved folder may name it too."""
    return name in _offered()


def _factory(name: str) -> Callable[..., object]:
    """What the name stands for; raises `InputError`."""
    if is_held(name):
        return partial(copy.deepcopy, held(name))
    offered = _offered()
    if name in offered:
        try:
            loaded: Any = offered[name].load()
        except (Exception, SystemExit) as error:
            raise InputError(
                f"network {name} ({offered[name].value}) cannot be imported: {_what(error)}. Mend or update its package"
            ) from error
        return _callable(name, loaded)
    module, colon, attribute = name.partition(":")
    if not colon:
        raise InputError(f"{unknown_name('network', name, offered)}; {FORM}")
    parts = (*module.split("."), *attribute.split("."))
    if not all(part.isidentifier() for part in parts):
        raise InputError(f"network {shortened(name)} names no factory: {FORM}")
    holder = _imported(name, module)
    for part in attribute.split("."):
        if not hasattr(holder, part):
            where = getattr(sys.modules[module], "__file__", None) or "a folder without code"
            own = [name for name, value in vars(holder).items() if getattr(value, "__module__", "") == module]
            raise InputError(f"network {name}: {unknown_name('name', part, own)}, in {where}")
        holder = getattr(holder, part)
    return _callable(name, holder)


def _imported(name: str, module: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if module == missing or module.startswith(f"{missing}."):
            raise InputError(
                f"network {name}: there is no module {missing}, neither installed nor in the working directory "
                f"({Path.cwd()}). Install its package, or start in the folder that holds it"
            ) from None
        raise InputError(f"network {name}: {module} needs {missing}, which is not installed") from error
    except (Exception, SystemExit) as error:
        raise InputError(f"network {name}: {module} cannot be imported: {_what(error)}") from error


def _callable(name: str, factory: Any) -> Callable[..., object]:
    if not callable(factory):
        raise InputError(
            f"network {name} is of the type {type(factory).__name__}, which cannot be called: name what makes the network"
        )
    called: Callable[..., object] = factory
    return called


def _unfit(factory: Callable[..., object], arguments: Mapping[str, JsonValue]) -> str:
    """Why the factory cannot be called so; empty if it can, or if it does not say what it takes."""
    try:
        signature = inspect.signature(factory)
    except (ValueError, TypeError):
        return ""
    try:
        signature.bind(**arguments)
    except TypeError as error:
        return f"{error}; it takes {signature}"
    return ""


def _said(arguments: Mapping[str, JsonValue]) -> str:
    return ", ".join(f"{name}={shortened(value)}" for name, value in arguments.items()) or "no arguments"


def _what(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {printable(lines[0])}" if lines else type(error).__name__


def _offered() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


@contextmanager
def _from_working_directory() -> Iterator[None]:
    """Modules of the working directory can be imported inside the block, behind all that is installed."""
    here = os.getcwd()
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.remove(here)
