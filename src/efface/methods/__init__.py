"""Ways to unlearn, one file each. Importing this package does not import torch."""

from efface.methods.base import GeneratorMethod, Method, OneLossMethod
from efface.methods.classifier.base import ClassifierMethod
from efface.methods.registry import (
    CLASSIFIER_METHODS,
    GENERATOR_METHODS,
    read_classifier_method,
    read_method,
)

__all__ = [
    "CLASSIFIER_METHODS",
    "GENERATOR_METHODS",
    "ClassifierMethod",
    "GeneratorMethod",
    "Method",
    "OneLossMethod",
    "read_classifier_method",
    "read_method",
]
