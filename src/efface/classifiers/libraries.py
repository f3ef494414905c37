"""Classifiers in the folders of transformers and of timm: read and written back so that the library opens them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageClassification, PreTrainedModel

from efface.classifiers.architecture import ClassifierSettings
from efface.classifiers.classifier import Classifier, Normalisation, Origin
from efface.classifiers.layouts import CONFIG
from efface.classifiers.reading import (
    WEIGHTS,
    Found,
    assembled,
    beside,
    fill,
    needed,
    write_tensors,
)
from efface.errors import InputError
from efface.files import write_json
from efface.settings import read_json
from efface.weights import UNREADABLE, check_fit, quiet, read_tensors, why_unreadable

PREPROCESSOR = "preprocessor_config.json"
DECIMALS = 6
"""Digits to which a scale is read off its reciprocal: 1 / 0.00392156862745098 is 255."""
STEPS_OF_ITS_OWN = ("rescale_offset", "include_top")
"""Options with which an image processor does more than scale and normalise."""
TIMM_WEIGHTS = (WEIGHTS, "pytorch_model.bin")
TIMM_RESERVED = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir")
"""Arguments with which timm would read other files than those of the folder."""


def load_transformers(settings: ClassifierSettings) -> Classifier:
    """A `...ForImageClassification` of transformers, in float32; raises `InputError` naming all faults."""
    network, facts = _from_pretrained(settings)
    config: Any = network.config
    if getattr(config, "problem_type", None) == "multi_label_classification":
        raise InputError(
            f"{settings.path} gives several labels to a picture; only one label each is supported"
        )
    path = beside(settings, PREPROCESSOR)
    preprocessor = read_json(path) if path else {}
    try:
        size, normalisation = preparation(preprocessor)
        size = size or _side(getattr(config, "image_size", None))
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path or settings.path} is not usable: {error}") from None
    found = Found(
        network,
        outputs=config.num_labels,
        origin=Origin("transformers", facts | ({"preprocessor": preprocessor} if preprocessor else {})),
        channels=getattr(config, "num_channels", 3),
        classes=tuple(str(config.id2label.get(number, number)) for number in range(config.num_labels)),
        image_size=size,
        normalisation=normalisation,
    )
    return assembled(found, settings)


def save(classifier: Classifier, folder: Path) -> bool:
    """Write a folder in the layout of the library that the network belongs to; False if it belongs to neither."""
    if isinstance(classifier.network, PreTrainedModel):
        save_transformers(classifier, folder)
        return True
    if classifier.origin.kind == "timm" and "config" in classifier.origin.facts:
        save_timm(classifier, folder)
        return True
    return False


def save_transformers(classifier: Classifier, folder: Path) -> None:
    """A folder that `AutoModelForImageClassification` and `AutoImageProcessor` open."""
    network = classifier.network
    assert isinstance(network, PreTrainedModel)
    config: Any = network.config
    config.id2label = dict(enumerate(classifier.classes))
    config.label2id = {name: number for number, name in enumerate(classifier.classes)}
    with quiet():
        network.save_pretrained(folder)
    values = dict(classifier.origin.facts.get("preprocessor", {}))
    if preparation(values) != (classifier.image_size, classifier.normalisation):
        values = _with_preparation(values, classifier)
    write_json(folder / PREPROCESSOR, values)


def preparation(preprocessor: Mapping[str, Any]) -> tuple[int | None, Normalisation | None]:
    """Side in pixels and normalisation that an image processor's settings speak of; None where they do not.

    Raises `ValueError` where pictures are not square.
    """
    if not preprocessor:
        return None, None
    size = _side(preprocessor.get("size"))
    if preprocessor.get("do_center_crop") and preprocessor.get("crop_size") is not None:
        size = _side(preprocessor["crop_size"])
    if any(preprocessor.get(option) for option in STEPS_OF_ITS_OWN):
        return size, None
    scale = 1.0
    if preprocessor.get("do_rescale") is not False:
        scale = round(1 / preprocessor.get("rescale_factor", 1 / 255), DECIMALS)
    if preprocessor.get("do_normalize") is False:
        return size, Normalisation(scale)
    mean, std = (_numbers(preprocessor.get(name)) for name in ("image_mean", "image_std"))
    return size, Normalisation(scale, mean, std) if mean and std else None


def load_timm(settings: ClassifierSettings) -> Classifier:
    """A classifier in a folder of timm, by the installed timm; raises `InputError` naming all faults."""
    try:
        timm = import_module("timm")
    except (ImportError, RuntimeError) as error:
        raise InputError(
            f"{settings.path} holds a model of timm, which cannot be imported here ({error}). Install timm and a "
            "torchvision that fits the installed torch; because of the latter it is none of efface's dependencies"
        ) from None
    config = read_json(needed(settings, CONFIG))
    name, prepared = config["architecture"], config["pretrained_cfg"]
    arguments = config.get("model_args") or {}
    if not re.fullmatch(r"[\w.]+", str(name)) or any(key in TIMM_RESERVED for key in arguments):
        raise InputError(
            f"{settings.path}/{CONFIG} asks timm for another model than its own: nothing was opened"
        )
    try:
        channels, *sides = prepared["input_size"]
        size, mean, std = _side(sides), _numbers(prepared["mean"]), _numbers(prepared["std"])
        with torch.random.fork_rng(devices=[]), quiet():
            said = {**arguments, "num_classes": config["num_classes"], "in_chans": channels}
            network = timm.create_model(name, pretrained=False, **said)
    except (*UNREADABLE, LookupError, AttributeError) as error:
        raise InputError(
            f"the timm model at {settings.path} cannot be read: {type(error).__name__}: {why_unreadable(error)}"
        ) from None
    fill(network, read_tensors(needed(settings, *TIMM_WEIGHTS)), settings.path)
    names = config.get("label_names") or prepared.get("label_names")
    found = Found(
        network,
        outputs=config["num_classes"],
        origin=Origin("timm", {"config": config}),
        channels=channels,
        classes=tuple(str(label) for label in names) if names else None,
        image_size=size,
        normalisation=Normalisation(255.0, mean, std),
    )
    return assembled(found, settings)


def save_timm(classifier: Classifier, folder: Path) -> None:
    """A folder that `load_timm` opens, and timm as `local-dir:FOLDER`."""
    config = classifier.origin.facts["config"]
    # timm always divides by 255 first
    share = classifier.normalisation.scale / 255
    prepared = {
        **config["pretrained_cfg"],
        "input_size": [classifier.channels, classifier.image_size, classifier.image_size],
        "mean": [value * share for value in _spread(classifier.normalisation.mean, classifier.channels)],
        "std": [value * share for value in _spread(classifier.normalisation.std, classifier.channels)],
    }
    write_tensors(folder / WEIGHTS, classifier.network)
    write_json(
        folder / CONFIG, {**config, "label_names": list(classifier.classes), "pretrained_cfg": prepared}
    )


def _from_pretrained(settings: ClassifierSettings) -> tuple[PreTrainedModel, dict[str, Any]]:
    local = Path(settings.path).is_dir()
    try:
        with torch.random.fork_rng(devices=[]), quiet():
            # with output_loading_info the library returns a pair, which its annotations do not say
            loaded: Any = AutoModelForImageClassification.from_pretrained(
                settings.path,
                revision=settings.revision or "main",
                local_files_only=local,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                dtype=torch.float32,
            )
    except UNREADABLE as error:
        config = beside(settings, CONFIG)
        if config and "auto_map" in read_json(config):
            raise InputError(
                f"the model at {settings.path} comes with code of its own: nothing of it was run"
            ) from None
        raise InputError(f"the model at {settings.path} cannot be read: {why_unreadable(error)}") from None
    network, report = loaded
    check_fit(
        settings.path,
        list(report["missing_keys"]),
        list(report["unexpected_keys"]),
        list(report["mismatched_keys"]),
    )
    facts = {} if local else {"hub": settings.path, "revision": getattr(network.config, "_commit_hash", None)}
    return network, facts


def _with_preparation(values: Mapping[str, Any], classifier: Classifier) -> dict[str, Any]:
    """An image processor's settings for what this classifier is shown; a new one's where there are none."""
    kept = {key: value for key, value in values.items() if key not in STEPS_OF_ITS_OWN}
    side = {"height": classifier.image_size, "width": classifier.image_size}
    if preparation(values)[0] != classifier.image_size:
        kept |= {"do_resize": True, "size": side, "do_center_crop": False}
    normalisation = classifier.normalisation
    return {
        "image_processor_type": "ViTImageProcessor",
        **kept,
        "do_rescale": True,
        "rescale_factor": 1 / normalisation.scale,
        "do_normalize": True,
        "image_mean": list(_spread(normalisation.mean, classifier.channels)),
        "image_std": list(_spread(normalisation.std, classifier.channels)),
    }


def _side(size: Any) -> int | None:
    """The side of a square, however it is written; None if nothing is. Raises `ValueError` for other shapes."""
    if isinstance(size, Mapping):
        size = [size[key] for key in ("height", "width", "shortest_edge") if size.get(key) is not None]
    lengths = {size} if isinstance(size, int) else set(size or ())
    if len(lengths) > 1:
        raise ValueError(f"its pictures are {' x '.join(map(str, size))}: only square ones are supported")
    return int(lengths.pop()) if lengths else None


def _numbers(values: Any) -> tuple[float, ...]:
    if values is None:
        return ()
    return tuple(float(value) for value in (values if isinstance(values, list | tuple) else [values]))


def _spread(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values * (channels // len(values))
