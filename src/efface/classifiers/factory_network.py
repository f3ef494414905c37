"""Classifiers of any make: a network that the user's code builds, with a file of weights, or one that is held in memory.

What efface saves of them is a folder with `config.json`, which names the factory and says how the network is used, and
`model.safetensors`. Code that the config names is run only where the user names it too, or where an installed package
offers it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from pydantic import JsonValue
from torch import nn

from efface.classifiers.architecture import (
    BY_FACTORY,
    CONFIG,
    ClassifierSettings,
    SavedByFactory,
    SavedNormalisation,
)
from efface.classifiers.classifier import Classifier, Normalisation, Origin, logits_in
from efface.classifiers.networks import blocks_of
from efface.classifiers.reading import WEIGHTS, Stored, assembled, fill, needed, write_tensors
from efface.documents import read_object
from efface.errors import InputError
from efface.factories import DRAWS, build, fresh, held, is_held, is_installed, running
from efface.files import sha256_of_file, write_json
from efface.hub import local_weights
from efface.model_bounds import check_finite
from efface.weights import read_weights
from efface.wording import counted


def load(settings: ClassifierSettings) -> Classifier:
    """A network with its weights; raises `InputError` naming all faults."""
    if is_held(settings.path):
        network = held(settings.path)
        check_finite(settings.path, network.state_dict())
        return _assembled(network, settings, Origin("memory", {"name": settings.path}))
    place = local_weights(settings.path)
    if place.is_dir() and (place / CONFIG).is_file():
        settings = with_config(settings)
    if settings.network is None:
        raise InputError(f"model.network: say what builds the network of {place}, as package.module:build")
    file = needed(settings, WEIGHTS, "pytorch_model.bin") if place.is_dir() else place
    by = settings.network
    network = held(by) if is_held(by) else build(by, settings.arguments)
    weights = read_weights(file, settings.entry, network.state_dict())
    fill(network, weights.tensors, str(file))
    facts = {**weights.facts, "sha256": sha256_of_file(file)}
    if is_held(by):
        return _assembled(network, settings, Origin("memory", {**facts, "name": by}))
    return _assembled(
        network, settings, Origin("factory", {**facts, "network": by, "arguments": settings.arguments})
    )


def save(classifier: Classifier, folder: Path) -> bool:
    """A folder that `load` opens, by the same factory or a like one. Every network can be saved so."""
    facts, normalisation = classifier.origin.facts, classifier.normalisation
    config = SavedByFactory(
        network=facts.get("network"),
        arguments=facts.get("arguments", {}),
        classes=classifier.classes,
        image_size=classifier.image_size,
        channels=classifier.channels,
        blocks=classifier.blocks,
        normalisation=SavedNormalisation(
            scale=normalisation.scale, mean=normalisation.mean, std=normalisation.std
        ),
    )
    write_tensors(folder / WEIGHTS, classifier.network)
    write_json(folder / CONFIG, config.as_dict())
    return True


def new(
    name: str,
    arguments: Mapping[str, JsonValue],
    seed: int,
    *,
    classes: tuple[str, ...],
    image_size: int,
    channels: int,
    normalisation: Normalisation,
) -> Classifier:
    """A classifier with fresh weights of a factory's network; raises `InputError`."""
    settings = ClassifierSettings(
        path=name,
        network=name,
        arguments=dict(arguments),
        classes=classes,
        image_size=image_size,
        channels=channels,
        scale=normalisation.scale,
        mean=normalisation.mean,
        std=normalisation.std,
    )
    origin = Origin("factory", {"network": name, "arguments": dict(arguments)})
    return _assembled(fresh(name, arguments, seed), settings, origin)


def with_config(settings: ClassifierSettings) -> ClassifierSettings:
    """The settings with what the folder's config says in the place of those not given; raises `InputError`."""
    path = Path(settings.path) / CONFIG
    values = read_object(path)
    if values.get("model_type") != BY_FACTORY:
        return settings
    saved = SavedByFactory.read(values, where=str(path))
    if settings.network is None and not (saved.network and is_installed(saved.network)):
        built = (
            f"is built by {saved.network}, code that is not run unless you name it: if you trust it, add "
            f"--set model.network={saved.network}"
            if saved.network
            else "was held in memory: say what builds it with --set model.network=package.module:build"
        )
        raise InputError(f"the network of {settings.path} {built}")
    said = {**saved.as_dict(), **saved.normalisation.as_dict()}
    given = {name: value for name, value in settings.as_dict().items() if value not in (None, {})}
    kept = {name: value for name, value in said.items() if name in ClassifierSettings.model_fields}
    return ClassifierSettings.read({**kept, **given}, where=str(path))


def _assembled(network: nn.Module, settings: ClassifierSettings, origin: Origin) -> Classifier:
    network.eval()
    if settings.classes is None:
        raise InputError(
            f"model.classes: say the classes of {settings.path} in the order of the logits, as a list, a count, or a "
            "file with a name in each line"
        )
    blocks = settings.blocks or blocks_of(network)
    if settings.image_size is not None:  # what is missing is said below, all at once
        met = _tried(network, blocks, settings, settings.image_size)
        blocks = settings.blocks or met
        _check_head(network, blocks, len(settings.classes))
    name = origin.facts.get("network")
    draws = partial(fresh, name, origin.facts["arguments"]) if name else None
    stored = Stored(
        network, len(settings.classes), origin, channels=settings.channels or 3, blocks=blocks, fresh=draws
    )
    return assembled(stored, settings)


def _tried(
    network: nn.Module, blocks: tuple[str, ...], settings: ClassifierSettings, side: int
) -> tuple[str, ...]:
    """The blocks in the order in which a picture goes through them; those that it leaves out come first.

    Raises `InputError` for a network that takes no such picture, gives no logits, or other ones the second time.
    """
    channels, order = settings.channels or 3, list[str]()
    picture = torch.rand(1, channels, side, side, generator=torch.Generator().manual_seed(0))
    modules = dict(network.named_modules())
    handles = [
        modules[name].register_forward_pre_hook(lambda *_, name=name: order.append(name))
        for name in blocks
        if name in modules
    ]
    try:
        with torch.no_grad(), running(network):
            outputs = network(picture), network(picture)
    except InputError as error:
        raise InputError(
            f"{settings.path} cannot be shown a picture of {side} px and {counted(channels, 'channel')}: {error}. Give its "
            "own with --set model.image_size=N, --set model.channels=N"
        ) from None
    finally:
        for handle in handles:
            handle.remove()
    first, second = (logits_in(output) for output in outputs)
    if not torch.allclose(first, second, rtol=1e-3, atol=1e-5 * float(first.abs().max()), equal_nan=True):
        raise InputError(DRAWS)
    met = list(dict.fromkeys(order))
    return (*(name for name in blocks if name not in met), *met)


def _check_head(network: nn.Module, blocks: tuple[str, ...], classes: int) -> None:
    """The last block gives the logits; raises `InputError` for one that is plainly something else."""
    modules = dict(network.named_modules())
    head = modules.get(blocks[-1]) if blocks else None
    if head is None:  # said with all other faults of blocks
        return
    outputs = getattr(head, "out_features", getattr(head, "out_channels", None))
    if not isinstance(head, nn.Linear | nn.Conv2d):
        what = f"a {type(head).__name__}"
    elif outputs != classes:
        what = f"a {type(head).__name__} of {outputs} outputs, and there are {classes} classes"
    else:
        return
    raise InputError(
        f"the last part of the network is {blocks[-1]}, {what}: the head has to be a linear layer or a 1x1 convolution "
        "that gives the logits. Check model.classes, or name the parts from input to output with "
        "--set 'model.blocks=[stem,body,head]'"
    )
