"""The contracts that the project's own classes keep, to be tried on a class of another package.

    from efface.testing import check_method
    check_method(MyMethod)

Each function runs all of its checks on models of a few thousand weights and raises `AssertionError` at the first one that
fails, with its name and what was wrong. None needs pytest, files or a network; each takes seconds on one core. Importing
this package imports torch.
"""

from __future__ import annotations

from efface.methods.base import GeneratorMethod, Method
from efface.methods.classifier.base import ClassifierMethod
from efface.testing.classifier_methods import check_classifier_method
from efface.testing.classifiers import check_classifier
from efface.testing.corruptions import check_corruption
from efface.testing.generator_methods import check_generator_method
from efface.testing.generators import check_generator
from efface.testing.metrics import check_metric
from efface.testing.probes import check_probe

__all__ = [
    "check_classifier",
    "check_corruption",
    "check_generator",
    "check_method",
    "check_metric",
    "check_probe",
]


def check_method(method: type[Method] | Method) -> None:
    """Check a method for generators or for classifiers: its class, or one with settings that make a run short.

    Raises `AssertionError`.
    """
    made = method() if isinstance(method, type) and issubclass(method, Method) else method
    if isinstance(made, GeneratorMethod):
        check_generator_method(made)
    elif isinstance(made, ClassifierMethod):
        check_classifier_method(made)
    else:
        raise AssertionError(f"{method!r} derives neither from GeneratorMethod nor from ClassifierMethod")
