"""A single file with the state dict of a ResNet-18 in torchvision's layout, whose tensor names are facts of its files.

Pickles are read with `weights_only=True`; a file that asks for anything else is refused by name. No code of torchvision
is used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import Tensor

from efface.classifiers.architecture import ClassifierSettings, NetworkSettings
from efface.classifiers.classifier import Classifier, Origin
from efface.classifiers.efface_folder import save
from efface.classifiers.networks import build
from efface.classifiers.reading import Stored, assembled, fill
from efface.errors import InputError
from efface.files import sha256_of_file
from efface.weights import read_weights

__all__ = ["load", "save"]

STEMS: dict[int, Literal["imagenet", "cifar"]] = {7: "imagenet", 3: "cifar"}
OTHER_RESNETS = {
    "layer1.0.conv3.weight": "ResNet-50, -101 or -152",
    "layer1.2.conv1.weight": "ResNet-34",
}
"""A tensor of other ResNets in the same layout, and what has it."""


def load(settings: ClassifierSettings) -> Classifier:
    """A ResNet-18 of efface's own with these weights; raises `InputError` naming all faults."""
    path = Path(settings.path)
    weights = read_weights(path, settings.entry)
    tensors = weights.tensors
    for name, kind in OTHER_RESNETS.items():
        if name in tensors:
            raise InputError(
                f"{path} holds a {kind}; of files with bare state dicts only those of ResNet-18 are opened. Save the "
                "network as a folder with transformers or timm"
            )
    shape = _shape(tensors, path)
    network = build(shape, seed=0)
    fill(network, tensors, str(path))
    origin = Origin("torchvision", {**weights.facts, "sha256": sha256_of_file(path), "stem": shape.stem})
    return assembled(Stored(network, shape.classes, origin, channels=shape.channels), settings)


def _shape(tensors: dict[str, Tensor], path: Path) -> NetworkSettings:
    """The network that these tensors belong to: kernel 3 means the stem for small pictures, without max-pooling."""
    first, last = tensors["conv1.weight"], tensors["fc.weight"]
    kernel = first.shape[-1] if first.ndim == 4 else 0
    if kernel not in STEMS or last.ndim != 2:
        raise InputError(
            f"{path} holds no ResNet-18 that is known: conv1.weight is {tuple(first.shape)} and fc.weight "
            f"{tuple(last.shape)}; (64, 3, 7, 7) or (64, 3, 3, 3) and (classes, 512) are"
        )
    shape = {"classes": last.shape[0], "channels": first.shape[1], "image_size": 1, "stem": STEMS[kernel]}
    return NetworkSettings.read({"network": "resnet18", **shape}, where=str(path))
