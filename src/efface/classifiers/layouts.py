"""Which layout a classifier lies in, and whether what lies at a path is a classifier at all. Imports no torch at import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from efface.errors import InputError
from efface.settings import read_json

Layout = Literal["efface", "transformers", "timm", "torchvision"]
KNOWN: dict[Layout, str] = {
    "efface": "a folder that efface has saved",
    "transformers": "a folder or hub id of a network ...ForImageClassification",
    "timm": "a folder or hub id whose config.json names architecture, num_classes and pretrained_cfg",
    "torchvision": "a file with the state dict of a ResNet-18",
}
CONFIG = "config.json"
MODEL_TYPE: Literal["efface-classifier"] = "efface-classifier"
"""The `model_type` in the `config.json` of efface's own folders."""
TRANSFORMERS_HEAD = "ForImageClassification"
TIMM_KEYS = ("architecture", "num_classes", "pretrained_cfg")
RESNET_TENSORS = frozenset({"conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "fc.weight"})
"""Tensors that every ResNet in torchvision's layout has."""
WRAPPED = "module."
"""What data-parallel training scripts put before each name."""


@dataclass(frozen=True)
class Contents:
    """What lies at a path: the `config.json` of a folder or hub repository, or the tensor names of a file."""

    config: Mapping[str, Any] = field(default_factory=dict)
    tensors: frozenset[str] = frozenset()


def is_classifier(path: str, revision: str | None = None) -> bool:
    """Whether a classifier lies at `path`; False also where nothing does.

    A folder or hub id is told by its `config.json`; only for a file of weights torch is imported. Raises `InputError`
    for a file that cannot be read.
    """
    contents = contents_of(path, revision)
    return isinstance(contents, Contents) and layout_of(contents) is not None


def layout_at(path: str, revision: str | None = None) -> Layout:
    """The layout of the classifier at `path`; raises `InputError` naming what is known where there is none."""
    contents = contents_of(path, revision)
    if isinstance(contents, str):
        raise InputError(contents)
    if layout := layout_of(contents):
        return layout
    known = "\n".join(f"  - {name}: {what}" for name, what in KNOWN.items())
    raise InputError(
        f"{path} holds {_in_words(contents)}, which is no classifier that is known. Known are\n{known}"
    )


def contents_of(path: str, revision: str | None = None) -> Contents | str:
    """What lies at `path`, or a sentence that says why nothing does; raises `InputError` if it cannot be read."""
    place = Path(path)
    if place.is_file():
        from efface.weights import tensor_names

        return Contents(tensors=tensor_names(place))
    if place.is_dir():
        if not (place / CONFIG).is_file():
            return f"{path} is not a classifier's folder: it has no {CONFIG}"
        return Contents(read_json(place / CONFIG))
    if place.is_absolute() or path.count("/") != 1 or path.startswith("."):
        return f"no classifier at {path}: neither a folder, a file nor a hub id (owner/name)"
    from huggingface_hub import hf_hub_download

    try:
        return Contents(read_json(Path(hf_hub_download(path, CONFIG, revision=revision))))
    except (OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return f"no classifier at {path}: no folder of that name is here, and as a hub id: {reason}"


def layout_of(contents: Contents) -> Layout | None:
    """The layout of the classifier that lies there; None if it is no classifier."""
    config = contents.config
    if config.get("model_type") == MODEL_TYPE:
        return "efface"
    named = config.get("architectures")
    if isinstance(named, list) and any(str(name).endswith(TRANSFORMERS_HEAD) for name in named):
        return "transformers"
    if all(key in config for key in TIMM_KEYS):
        return "timm"
    if {name.removeprefix(WRAPPED) for name in contents.tensors} >= RESNET_TENSORS:
        return "torchvision"
    return None


def _in_words(contents: Contents) -> str:
    named = contents.config.get("architectures")
    if isinstance(named, list) and named:
        return f"a {named[0]}"
    for name in ("model_type", "_class_name", "architecture"):
        if name in contents.config:
            return f"a '{contents.config[name]}' model"
    if contents.config:
        return "a config that names no architecture"
    some = ", ".join(sorted(contents.tensors)[:3])
    return f"the tensors {some}, ..." if some else "no tensors by name"
