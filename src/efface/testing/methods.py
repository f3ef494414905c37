"""What every method keeps to, whoever wrote it: the door for both kinds."""

from __future__ import annotations

from collections.abc import Mapping

from efface.methods.base import GeneratorMethod, Method
from efface.methods.classifier.base import ClassifierMethod
from efface.testing.checking import require
from efface.testing.classifier_methods import check_classifier_method
from efface.testing.generator_methods import check_generator_method


def check_method(method: type[Method], settings: Mapping[str, object] | None = None) -> None:
    """Check a method for generators or for classifiers.

    settings: those without which it cannot be, and those that make a run short. Raises `AssertionError`.
    """
    if isinstance(method, type) and issubclass(method, GeneratorMethod):
        check_generator_method(method, settings or {})
        return
    derived = isinstance(method, type) and issubclass(method, ClassifierMethod)
    require(derived, f"{method!r} derives neither from GeneratorMethod nor from ClassifierMethod")
    assert issubclass(method, ClassifierMethod)
    check_classifier_method(method, settings or {})
