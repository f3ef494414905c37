"""Classifiers in folders of timm: read and written back so that timm opens them."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import torch
from pydantic import BaseModel, JsonValue, PositiveInt

from efface.classifiers.architecture import CONFIG, ClassifierSettings
from efface.classifiers.classifier import Classifier, Normalisation, Origin
from efface.classifiers.reading import (
    WEIGHTS,
    Stored,
    assembled,
    fill,
    needed,
    numbers,
    side_of,
    spread,
    write_tensors,
)
from efface.documents import read_object
from efface.errors import InputError
from efface.files import write_json
from efface.settings import validated
from efface.weights import UNREADABLE, quiet, read_weights, why_unreadable

TIMM_WEIGHTS = (WEIGHTS, "pytorch_model.bin")
RESERVED = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir")
"""Arguments with which timm would read other files than those of the folder."""


class Prepared(BaseModel):
    """What pictures timm's model is shown."""

    input_size: tuple[int, int, int]
    mean: float | list[float]
    std: float | list[float]
    label_names: list[str] | None = None


class TimmConfig(BaseModel):
    """What of timm's `config.json` is read here."""

    architecture: str
    num_classes: PositiveInt
    pretrained_cfg: Prepared
    model_args: dict[str, JsonValue] | None = None
    label_names: list[str] | None = None


def load(settings: ClassifierSettings) -> Classifier:
    """A classifier in a folder of timm, by the installed timm; raises `InputError` naming all faults."""
    try:
        timm = import_module("timm")
    except (ImportError, RuntimeError) as error:
        raise InputError(
            f"{settings.path} holds a model of timm, which cannot be imported here ({error}). Install timm and a "
            "torchvision that fits the installed torch; because of the latter it is none of efface's dependencies"
        ) from None
    path = needed(settings, CONFIG)
    values = read_object(path)
    config = validated(TimmConfig, values, f"{path} is no config of timm")
    arguments, prepared = config.model_args or {}, config.pretrained_cfg
    if not re.fullmatch(r"[\w.]+", config.architecture) or any(key in RESERVED for key in arguments):
        raise InputError(
            f"{settings.path}/{CONFIG} asks timm for another model than its own: nothing was opened"
        )
    try:
        channels, *sides = prepared.input_size
        size, mean, std = side_of(sides), numbers(prepared.mean), numbers(prepared.std)
        with torch.random.fork_rng(devices=[]), quiet():
            said = {**arguments, "num_classes": config.num_classes, "in_chans": channels}
            network = timm.create_model(config.architecture, pretrained=False, **said)
    except (*UNREADABLE, LookupError, AttributeError) as error:
        raise InputError(
            f"the timm model at {settings.path} cannot be read: {type(error).__name__}: {why_unreadable(error)}"
        ) from None
    weights = read_weights(needed(settings, *TIMM_WEIGHTS), settings.entry, network.state_dict())
    fill(network, weights.tensors, settings.path)
    names = config.label_names or prepared.label_names
    stored = Stored(
        network,
        outputs=config.num_classes,
        origin=Origin("timm", {"config": values, **weights.facts}),
        channels=channels,
        classes=tuple(names) if names else None,
        image_size=size,
        normalisation=Normalisation(255.0, mean, std),
    )
    return assembled(stored, settings)


def save(classifier: Classifier, folder: Path) -> bool:
    """A folder that `load` opens, and timm as `local-dir:FOLDER`; False if the network was not read by timm."""
    config = classifier.origin.facts.get("config")
    if config is None:
        return False
    # timm always divides by 255 first
    share = classifier.normalisation.scale / 255
    prepared = {
        **config["pretrained_cfg"],
        "input_size": [classifier.channels, classifier.image_size, classifier.image_size],
        "mean": [value * share for value in spread(classifier.normalisation.mean, classifier.channels)],
        "std": [value * share for value in spread(classifier.normalisation.std, classifier.channels)],
    }
    write_tensors(folder / WEIGHTS, classifier.network)
    write_json(
        folder / CONFIG, {**config, "label_names": list(classifier.classes), "pretrained_cfg": prepared}
    )
    return True
