"""Ways to unlearn, one file each. Importing this package does not import torch."""

from efface.methods.base import GeneratorMethod, Method, OneLossMethod
from efface.methods.classifier.base import ClassifierMethod
from efface.methods.registry import (
    classifier_method,
    classifier_methods,
    method_class,
    methods,
    read_classifier_method,
    read_method,
)

__all__ = [
    "ClassifierMethod",
    "GeneratorMethod",
    "Method",
    "OneLossMethod",
    "classifier_method",
    "classifier_methods",
    "method_class",
    "methods",
    "read_classifier_method",
    "read_method",
]
