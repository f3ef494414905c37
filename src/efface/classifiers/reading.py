"""What all layouts of classifiers share: a folder's files, its tensors, and what the user's settings add to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from efface.classifiers.architecture import ClassifierSettings
from efface.classifiers.classifier import Classifier, Normalisation, Origin
from efface.classifiers.networks import blocks_of
from efface.errors import Faults, InputError
from efface.files import replacing
from efface.model_bounds import check_finite
from efface.model_files import beside
from efface.weights import check_tensors
from efface.wording import counted

WEIGHTS = "model.safetensors"
NORMALISATIONS = {
    "CIFAR-10, as in the starting kit of the unlearning challenge": "--set 'model.mean=[0.4914, 0.4822, 0.4465]' "
    "--set 'model.std=[0.2023, 0.1994, 0.2010]'",
    "ImageNet": "--set 'model.mean=[0.485, 0.456, 0.406]' --set 'model.std=[0.229, 0.224, 0.225]'",
    "values in [0, 1]": "--set model.scale=255",
    "raw values 0..255, as in the NeurIPS 2023 competition": "--set model.scale=1",
}
"""The usual choices, and how each is given."""
COUNTERS = "num_batches_tracked"
"""Batch normalisation's count of steps: older files lack it, and with a fixed momentum nothing reads it."""


@dataclass(frozen=True)
class Stored:
    """A network with its weights, and what its file says of it; None where it does not say."""

    network: nn.Module
    outputs: int
    origin: Origin
    channels: int = 3
    classes: tuple[str, ...] | None = None
    image_size: int | None = None
    normalisation: Normalisation | None = None
    blocks: tuple[str, ...] | None = None
    fresh: Callable[[int], nn.Module] | None = None


def assembled(stored: Stored, settings: ClassifierSettings) -> Classifier:
    """The classifier in evaluation mode, with the user's settings in place of what its file says.

    Raises `InputError` naming everything that neither says, and if it cannot be shown a picture of its size.
    """
    classes = settings.classes or stored.classes or tuple(str(number) for number in range(stored.outputs))
    image_size = settings.image_size or stored.image_size
    normalisation = _normalisation(stored, settings)
    with Faults(f"the classifier at {settings.path} cannot be used") as faults:
        if len(classes) != stored.outputs:
            faults.add(
                f"model.classes has {counted(len(classes), 'name')}, and the network gives {stored.outputs} logits"
            )
        if settings.channels not in (None, stored.channels):
            faults.add(f"model.channels is {settings.channels}, and the network takes {stored.channels}")
        if image_size is None:
            faults.add("its file does not say the size of its pictures: give --set model.image_size=N")
        if normalisation is None:
            usual = "; ".join(f"{name}: {how}" for name, how in NORMALISATIONS.items())
            faults.add(
                f"its file does not say how pictures are normalised. Give what it was trained with. {usual}"
            )
    assert image_size is not None
    classifier = Classifier(
        stored.network.eval(),
        classes=classes,
        image_size=image_size,
        channels=stored.channels,
        normalisation=normalisation,
        blocks=stored.blocks or blocks_of(stored.network),
        origin=stored.origin,
        fresh=stored.fresh,
    ).eval()
    _check_by_trying(classifier, settings.path)
    return classifier


def needed(settings: ClassifierSettings, *names: str) -> Path:
    """The first of these files that is there; raises `InputError` if none is."""
    if path := beside(settings.path, settings.revision, *names):
        return path
    raise InputError(f"{settings.path} has no weights: no {' or '.join(names)} is there")


def write_tensors(path: Path, network: nn.Module) -> None:
    """All weights and statistics as safetensors, atomically. Weights with two names are written under both."""
    tensors = {
        name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()
    }
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})


def fill(network: nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    """Put stored weights into `network`; raises `InputError` naming those that are missing, foreign or misshapen."""
    check_tensors(where, tensors, network.state_dict(), optional=COUNTERS)
    check_finite(where, tensors)
    network.load_state_dict(tensors, strict=False)


def _normalisation(stored: Stored, settings: ClassifierSettings) -> Normalisation | None:
    given = {
        name: getattr(settings, name)
        for name in ("scale", "mean", "std")
        if getattr(settings, name) is not None
    }
    return replace(stored.normalisation or Normalisation(), **given) if given else stored.normalisation


def _check_by_trying(classifier: Classifier, where: str) -> None:
    size = classifier.image_size
    try:
        with torch.no_grad():
            shape = tuple(classifier(torch.zeros(1, classifier.channels, size, size)).shape)
    except InputError as error:
        raise InputError(
            f"the classifier at {where} cannot be shown a picture of {size} px: {error}. "
            "If its pictures have another size, give --set model.image_size=N"
        ) from None
    if shape != (1, len(classifier.classes)):
        raise InputError(
            f"the classifier at {where} gives {list(shape)} for one picture; [1, {len(classifier.classes)}] is wanted"
        )


def side_of(size: Any) -> int | None:
    """The side of a square, however it is written; None if nothing is. Raises `ValueError` for other shapes."""
    if isinstance(size, Mapping):
        size = [size[key] for key in ("height", "width", "shortest_edge") if size.get(key) is not None]
    lengths = {size} if isinstance(size, int) else set(size or ())
    if len(lengths) > 1:
        raise ValueError(f"its pictures are {' x '.join(map(str, size))}: only square ones are supported")
    return int(lengths.pop()) if lengths else None


def numbers(values: Any) -> tuple[float, ...]:
    """One number or several as a library writes them; none for None."""
    if values is None:
        return ()
    return tuple(float(value) for value in (values if isinstance(values, list | tuple) else [values]))


def spread(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """A value for each channel, where one may stand for all."""
    return values * (channels // len(values))
