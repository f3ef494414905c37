"""Classifiers in folders of transformers: read and written back so that the library opens them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageClassification, PreTrainedModel

from efface.classifiers.architecture import CONFIG, ClassifierSettings
from efface.classifiers.classifier import Classifier, Normalisation, Origin
from efface.classifiers.reading import Stored, assembled, numbers, side_of, spread
from efface.documents import read_object
from efface.errors import InputError
from efface.files import write_json
from efface.hub import hub_facts
from efface.model_files import beside
from efface.weights import pretrained, quiet, stored_facts

PREPROCESSOR = "preprocessor_config.json"
DECIMALS = 6
"""Digits to which a scale is read off its reciprocal: 1 / 0.00392156862745098 is 255."""
STEPS_OF_ITS_OWN = ("rescale_offset", "include_top")
"""Options with which an image processor does more than scale and normalise."""


def load(settings: ClassifierSettings) -> Classifier:
    """A `...ForImageClassification` of transformers, in float32; raises `InputError` naming all faults."""
    network = _network(settings)
    config = network.config
    facts = {
        **hub_facts(settings.path, getattr(config, "_commit_hash", None)),
        **stored_facts(settings.path, settings.variant),
    }
    if getattr(config, "problem_type", None) == "multi_label_classification":
        raise InputError(
            f"{settings.path} gives several labels to a picture; only one label each is supported"
        )
    path = beside(settings.path, settings.revision, PREPROCESSOR)
    preprocessor = read_object(path) if path else {}
    try:
        size, normalisation = preparation(preprocessor)
        size = size or side_of(getattr(config, "image_size", None))
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path or settings.path} is not usable: {error}") from None
    stored = Stored(
        network,
        outputs=config.num_labels,
        origin=Origin("transformers", facts | ({"preprocessor": preprocessor} if preprocessor else {})),
        channels=getattr(config, "num_channels", 3),
        classes=tuple(str(config.id2label.get(number, number)) for number in range(config.num_labels)),
        image_size=size,
        normalisation=normalisation,
    )
    return assembled(stored, settings)


def save(classifier: Classifier, folder: Path) -> bool:
    """A folder that `AutoModelForImageClassification` and `AutoImageProcessor` open; False for a foreign network."""
    network = classifier.network
    if not isinstance(network, PreTrainedModel):
        return False
    config: Any = network.config
    config.id2label = dict(enumerate(classifier.classes))
    config.label2id = {name: number for number, name in enumerate(classifier.classes)}
    with quiet():
        network.save_pretrained(folder)
    values = dict(classifier.origin.facts.get("preprocessor", {}))
    if preparation(values) != (classifier.image_size, classifier.normalisation):
        values = _with_preparation(values, classifier)
    write_json(folder / PREPROCESSOR, values)
    return True


def preparation(preprocessor: Mapping[str, Any]) -> tuple[int | None, Normalisation | None]:
    """Side in pixels and normalisation that an image processor's settings speak of; None where they do not.

    Raises `ValueError` where pictures are not square.
    """
    if not preprocessor:
        return None, None
    size = side_of(preprocessor.get("size"))
    if preprocessor.get("do_center_crop") and preprocessor.get("crop_size") is not None:
        size = side_of(preprocessor["crop_size"])
    if any(preprocessor.get(option) for option in STEPS_OF_ITS_OWN):
        return size, None
    scale = 1.0
    if preprocessor.get("do_rescale") is not False:
        scale = round(1 / preprocessor.get("rescale_factor", 1 / 255), DECIMALS)
    if preprocessor.get("do_normalize") is False:
        return size, Normalisation(scale)
    mean, std = (numbers(preprocessor.get(name)) for name in ("image_mean", "image_std"))
    return size, Normalisation(scale, mean, std) if mean and std else None


def _network(settings: ClassifierSettings) -> Any:
    try:
        return pretrained(
            AutoModelForImageClassification,
            settings.path,
            settings.revision,
            settings.variant,
            trust_remote_code=False,
            dtype=torch.float32,
        )
    except InputError:
        config = beside(settings.path, settings.revision, CONFIG)
        if config and "auto_map" in read_object(config):
            raise InputError(
                f"the model at {settings.path} comes with code of its own: nothing of it was run"
            ) from None
        raise


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
        "image_mean": list(spread(normalisation.mean, classifier.channels)),
        "image_std": list(spread(normalisation.std, classifier.channels)),
    }
