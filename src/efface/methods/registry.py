"""The methods by kind of model and name: those built in, and those that other packages add.

A package adds a method with an entry point in the group `efface.methods` that names its class; the class says for
which kind of model it is. Methods for generators and for classifiers may share a name: the model decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from efface.errors import InputError
from efface.methods.base import KINDS, GeneratorMethod, Kind, Method
from efface.methods.classifier.base import ClassifierMethod
from efface.methods.classifier.catalogue import CLASSIFIER_METHODS
from efface.methods.classifier.fine_tune import FineTuneClassifier
from efface.methods.generator.bargaining import Bargaining
from efface.methods.generator.blank import Blank
from efface.methods.generator.decouple import Decouple
from efface.methods.generator.encoder_noise import EncoderNoise
from efface.methods.generator.epsilon_constrained import EpsilonConstrained
from efface.methods.generator.fine_tune import FineTune
from efface.methods.generator.gradient_ascent import GradientAscent
from efface.methods.generator.level import Level
from efface.methods.generator.max_loss import MaxLoss
from efface.methods.generator.neighbour import Neighbour
from efface.methods.generator.noisy_label import NoisyLabel
from efface.methods.generator.random_encoder import RandomEncoder
from efface.methods.generator.retain_label import RetainLabel
from efface.methods.generator.retrain import Retrain
from efface.methods.generator.shrink_perturb import ShrinkPerturb
from efface.methods.generator.unseen import Unseen
from efface.settings import unknown_name

ENTRY_POINTS = "efface.methods"
GENERATOR_METHODS: tuple[type[GeneratorMethod], ...] = (
    EncoderNoise,
    MaxLoss,
    NoisyLabel,
    RetainLabel,
    RandomEncoder,
    GradientAscent,
    FineTune,
    ShrinkPerturb,
    EpsilonConstrained,
    Decouple,
    Bargaining,
    Blank,
    Neighbour,
    Level,
    Unseen,
    Retrain,
)
BASES: Mapping[Kind, type[Method]] = {"generator": GeneratorMethod, "classifier": ClassifierMethod}


@cache
def all_methods() -> dict[Kind, dict[str, type[Method]]]:
    """All methods by kind of model and name."""
    found: list[type[Method]] = [*GENERATOR_METHODS, *CLASSIFIER_METHODS]
    for point in entry_points(group=ENTRY_POINTS):
        try:
            found.append(point.load())
        except Exception as error:
            raise InputError(
                f"the method '{point.name}' of another package cannot be loaded from {point.value}: {error}. "
                "Mend or remove that package"
            ) from error
    return by_kind(found)


def methods() -> dict[str, type[GeneratorMethod]]:
    """All methods for generators by name; raises `InputError` where two claim one name."""
    return all_methods()["generator"]  # type: ignore[return-value]


def classifier_methods() -> dict[str, type[ClassifierMethod]]:
    """All methods for classifiers by name; raises `InputError` where two claim one name."""
    return all_methods()["classifier"]  # type: ignore[return-value]


def by_kind(found: Sequence[type[Method]]) -> dict[Kind, dict[str, type[Method]]]:
    """Methods by kind and name, refusing what is no method and what is there twice."""
    tables: dict[Kind, dict[str, type[Method]]] = {kind: {} for kind in KINDS}
    for method in found:
        if not (isinstance(method, type) and issubclass(method, tuple(BASES.values()))):
            raise InputError(
                f"{method!r}, given as a method by another package, is no subclass of "
                f"{' or '.join(base.__name__ for base in BASES.values())}"
            )
        if not getattr(method, "name", ""):
            raise InputError(f"{method.__module__}.{method.__qualname__} is a method without a name")
        table = tables[method.kind]
        if method.name in table:
            first, second = table[method.name], method
            raise InputError(
                f"two methods are named '{method.name}': {first.__module__}.{first.__qualname__} and "
                f"{second.__module__}.{second.__qualname__}"
            )
        table[method.name] = method
    return tables


def method_class(name: str) -> type[GeneratorMethod]:
    """The method for generators of that name; raises `InputError` with the nearest valid one."""
    if name not in methods():
        raise InputError(unknown_name("method", name, methods()))
    return methods()[name]


def classifier_method(name: str) -> type[ClassifierMethod]:
    """The method for classifiers of that name; raises `InputError` with the nearest valid one."""
    if name not in classifier_methods():
        raise InputError(unknown_name("method", name, classifier_methods()))
    return classifier_methods()[name]


def read_method(section: Mapping[str, Any]) -> GeneratorMethod:
    """A method for generators from a config section: its `name` and its own settings."""
    values = dict(section)
    name = str(values.pop("name", EncoderNoise.name))
    return method_class(name).read(values, where=f"method {name}")


def read_classifier_method(section: Mapping[str, Any]) -> ClassifierMethod:
    """A method for classifiers from a config section: its `name` and its own settings."""
    values = dict(section)
    name = str(values.pop("name", FineTuneClassifier.name))
    return classifier_method(name).read(values, where=f"method {name}")
