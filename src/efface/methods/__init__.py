"""Ways to unlearn, one file each. Importing this package does not import torch."""

from efface.methods.base import Method, OneLossMethod
from efface.methods.registry import method_class, methods, read_method

__all__ = [
    "Method",
    "OneLossMethod",
    "method_class",
    "methods",
    "read_method",
]
