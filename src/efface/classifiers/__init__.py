"""Classifiers: image classifiers behind one contract. `load_classifier` opens any supported model."""

from efface.classifiers.architecture import ClassifierSettings, NetworkSettings
from efface.classifiers.layouts import is_classifier, load_classifier, save_classifier

__all__ = ["ClassifierSettings", "NetworkSettings", "is_classifier", "load_classifier", "save_classifier"]
