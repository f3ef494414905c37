"""A single file with the state dict of a ResNet in torchvision's layout, or in that of pytorch-cifar.

The names and shapes of its tensors tell which: ResNet-18 to -152, wide ones, ResNeXts, and those for CIFAR of three stages.
Pickles are read with `weights_only=True`; a file that asks for anything else is refused by name. No code of torchvision
is used.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
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
ELSEWHERE = {"linear.": "fc.", ".shortcut.": ".downsample."}
"""Names of pytorch-cifar (kuangliu) and what they are in torchvision."""
BLOCK = re.compile(r"layer(\d+)\.(\d+)\.conv1\.weight")


def load(settings: ClassifierSettings) -> Classifier:
    """A ResNet of efface's own with these weights; raises `InputError` naming all faults."""
    path = Path(settings.path)
    weights = read_weights(path, settings.entry)
    tensors = {_in_torchvision(name): tensor for name, tensor in weights.tensors.items()}
    shape = _shape(tensors, path)
    network = build(shape, seed=0)
    fill(network, tensors, str(path))
    origin = Origin("torchvision", {**weights.facts, "sha256": sha256_of_file(path), "stem": shape.stem})
    return assembled(Stored(network, shape.classes, origin, channels=shape.channels), settings)


def _in_torchvision(name: str) -> str:
    for other, ours in ELSEWHERE.items():
        name = name.replace(other, ours)
    return name


def _shape(tensors: Mapping[str, Tensor], path: Path) -> NetworkSettings:
    """The network that these tensors belong to: kernel 3 means the stem for small pictures, without max-pooling."""
    first, last = tensors["conv1.weight"], tensors["fc.weight"]
    kernel = first.shape[-1] if first.ndim == 4 else 0
    stages = Counter(int(found[1]) for name in tensors if (found := BLOCK.fullmatch(name)))
    middle = tensors.get("layer1.0.conv2.weight")
    if (
        kernel not in STEMS
        or last.ndim != 2
        or sorted(stages) != [*range(1, len(stages) + 1)]
        or middle is None
    ):
        raise InputError(
            f"{path} holds no ResNet that is known: conv1.weight is {tuple(first.shape)} and fc.weight "
            f"{tuple(last.shape)}; (64, 3, 7, 7) or (64, 3, 3, 3) and (classes, 512) are those of a ResNet-18. Any other "
            "network is opened by code of yours that builds it: --set model.network=package.module:build"
        )
    bottleneck = "layer1.0.conv3.weight" in tensors
    inner = middle.shape[0] if bottleneck and middle.ndim == 4 else None
    projected = any(".downsample." in name for name in tensors)
    resnet = {
        "stages": [stages[number] for number in sorted(stages)],
        "planes": first.shape[0],
        "inner": inner,
        "groups": inner // middle.shape[1] if inner and middle.shape[1] else 1,
        "shortcut": "convolution" if projected or len(stages) == 1 else "padding",
    }
    own = resnet == {
        "stages": [2, 2, 2, 2],
        "planes": 64,
        "inner": None,
        "groups": 1,
        "shortcut": "convolution",
    }
    shape = {"classes": last.shape[0], "channels": first.shape[1], "image_size": 1, "stem": STEMS[kernel]}
    named = {"network": "resnet18"} if own else {"network": "resnet", "resnet": resnet}
    return NetworkSettings.read({**named, **shape}, where=str(path))
