"""Classifiers: image classifiers behind one contract. `load_classifier` opens any supported model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from efface.classifiers.architecture import ClassifierSettings, NetworkSettings
from efface.classifiers.layouts import is_classifier

if TYPE_CHECKING:
    from efface.classifiers.classifier import Classifier


def load_classifier(settings: ClassifierSettings | str | Path) -> Classifier:
    """Open a trained classifier, in evaluation mode; raises `InputError` with every fault found."""
    from efface.classifiers import checkpoint

    return checkpoint.load_classifier(settings)


__all__ = ["ClassifierSettings", "NetworkSettings", "is_classifier", "load_classifier"]
