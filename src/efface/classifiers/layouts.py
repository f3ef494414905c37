"""The layouts in which classifiers lie, and how each is told. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from efface.classifiers.architecture import MODEL_TYPE, ClassifierSettings
from efface.model_files import Contents

if TYPE_CHECKING:
    from efface.classifiers.classifier import Classifier

TRANSFORMERS_HEAD = "ForImageClassification"
TIMM_KEYS = frozenset({"architecture", "num_classes", "pretrained_cfg"})
RESNET_TENSORS = frozenset({"conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "fc.weight"})
"""Tensors that every ResNet in torchvision's layout has."""
WRAPPED = "module."
"""What data-parallel training scripts put before each name."""


@dataclass(frozen=True)
class Layout:
    """One layout of classifiers.

    summary: what lies there, in words.
    module: where `load(settings)` and `save(classifier, folder)` live; imported when a model is opened or saved. `save`
        gives False, with nothing written, for a network that cannot be opened again from this layout.
    recognises: whether a model in this layout lies there.
    """

    name: str
    summary: str
    module: str
    recognises: Callable[[Contents], bool]

    def load(self, settings: ClassifierSettings) -> Classifier:
        """Open a trained classifier, in evaluation mode; raises `InputError` with every fault found."""
        classifier: Classifier = import_module(self.module).load(settings)
        return classifier

    def save(self, classifier: Classifier, folder: Path) -> bool:
        """Write a folder that `load` opens to the same logits; False if the network is not of this layout."""
        return bool(import_module(self.module).save(classifier, folder))


EFFACE = Layout(
    name="efface",
    summary="a folder that efface has saved",
    module="efface.classifiers.efface_folder",
    recognises=lambda contents: contents.config.get("model_type") == MODEL_TYPE,
)
TRANSFORMERS = Layout(
    name="transformers",
    summary=f"a folder or hub id of a network ...{TRANSFORMERS_HEAD}",
    module="efface.classifiers.transformers_folder",
    recognises=lambda contents: any(
        str(name).endswith(TRANSFORMERS_HEAD) for name in contents.config.get("architectures") or ()
    ),
)
TIMM = Layout(
    name="timm",
    summary="a folder or hub id whose config.json names architecture, num_classes and pretrained_cfg",
    module="efface.classifiers.timm_folder",
    recognises=lambda contents: set(contents.config) >= TIMM_KEYS,
)
TORCHVISION = Layout(
    name="torchvision",
    summary="a file with the state dict of a ResNet-18",
    module="efface.classifiers.torchvision_file",
    recognises=lambda contents: {name.removeprefix(WRAPPED) for name in contents.tensors} >= RESNET_TENSORS,
)
