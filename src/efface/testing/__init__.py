"""The contracts that the project's own classes keep, to be tried on a class of another package.

    from efface.testing import check_method
    check_method(MyMethod)

Each function runs all of its checks on models of a few thousand weights and raises `AssertionError` at the first one that
fails, with its name and what was wrong. None needs pytest, files or a network; each takes seconds on one core. Importing
this package imports torch.
"""

from efface.testing.classifiers import check_classifier
from efface.testing.corruptions import check_corruption
from efface.testing.generators import check_generator
from efface.testing.methods import check_method
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
