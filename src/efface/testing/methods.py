"""What every method keeps to, whoever wrote it: the door for both kinds."""

from __future__ import annotations

from efface.methods.base import GeneratorMethod, Method
from efface.methods.classifier.base import ClassifierMethod
from efface.testing.checking import require
from efface.testing.classifier_methods import check_classifier_method
from efface.testing.generator_methods import check_generator_method


def check_method(method: type[Method] | Method) -> None:
    """Check a method for generators or for classifiers: its class, or one with settings that make a run short.

    Raises `AssertionError`.
    """
    made = method() if isinstance(method, type) and issubclass(method, Method) else method
    if isinstance(made, GeneratorMethod):
        check_generator_method(made)
        return
    require(
        isinstance(made, ClassifierMethod),
        f"{method!r} derives neither from GeneratorMethod nor from ClassifierMethod",
    )
    assert isinstance(made, ClassifierMethod)
    check_classifier_method(made)
