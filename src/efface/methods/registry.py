"""The methods by name: those built in, and those that other packages add.

A package adds a method with an entry point in the group `efface.methods` that names its class.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from efface.errors import InputError
from efface.methods.base import Method
from efface.methods.generator.encoder_noise import EncoderNoise
from efface.methods.generator.fine_tune import FineTune
from efface.methods.generator.gradient_ascent import GradientAscent
from efface.methods.generator.max_loss import MaxLoss
from efface.methods.generator.noisy_label import NoisyLabel
from efface.methods.generator.random_encoder import RandomEncoder
from efface.methods.generator.retain_label import RetainLabel
from efface.methods.generator.retrain import Retrain
from efface.settings import unknown_name

ENTRY_POINTS = "efface.methods"
BUILT_IN: tuple[type[Method], ...] = (
    EncoderNoise,
    MaxLoss,
    NoisyLabel,
    RetainLabel,
    RandomEncoder,
    GradientAscent,
    FineTune,
    Retrain,
)


@cache
def methods() -> dict[str, type[Method]]:
    """All methods by name; raises `InputError` where two claim one name."""
    found = list(BUILT_IN)
    for point in entry_points(group=ENTRY_POINTS):
        try:
            found.append(point.load())
        except Exception as error:
            raise InputError(
                f"the method '{point.name}' of another package cannot be loaded from {point.value}: {error}. "
                "Mend or remove that package"
            ) from error
    return by_name(found)


def by_name(found: list[type[Method]]) -> dict[str, type[Method]]:
    """Methods by name, refusing what is no method and what is there twice."""
    table: dict[str, type[Method]] = {}
    for method in found:
        if not (isinstance(method, type) and issubclass(method, Method)):
            raise InputError(f"{method!r}, given as a method by another package, is no subclass of Method")
        if not getattr(method, "name", ""):
            raise InputError(f"{method.__module__}.{method.__qualname__} is a method without a name")
        if method.name in table:
            first, second = table[method.name], method
            raise InputError(
                f"two methods are named '{method.name}': {first.__module__}.{first.__qualname__} and "
                f"{second.__module__}.{second.__qualname__}"
            )
        table[method.name] = method
    return table


def method_class(name: str) -> type[Method]:
    """The method of that name; raises `InputError` with the nearest valid one."""
    if name not in methods():
        raise InputError(unknown_name("method", name, methods()))
    return methods()[name]


def read_method(section: Mapping[str, Any]) -> Method:
    """A method from a config section: its `name` and its own settings."""
    values = dict(section)
    name = str(values.pop("name", EncoderNoise.name))
    return method_class(name).read(values, where=f"method {name}")
