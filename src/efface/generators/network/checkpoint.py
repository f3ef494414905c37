"""Opening and making networks: a factory with a file of weights, and folders that efface saved.

A saved folder holds `config.json`, which names the factory and says how the network is used, and `model.safetensors`. Code
that it names is run only where the user names it too, or where an installed package offers it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import JsonValue
from torch import Tensor, nn

from efface.corruptions import parse_corruption
from efface.documents import read_object
from efface.errors import InputError
from efface.factories import build, is_held, is_installed
from efface.files import refuse_absent, sha256_of_file
from efface.generators.families import Architecture
from efface.generators.network.family import CONFIG, NetworkArchitecture, NetworkSettings, Use
from efface.generators.network.generator import WEIGHTS, NetworkGenerator, fresh
from efface.generators.network.risks import risks
from efface.hub import local_weights
from efface.model_bounds import check_finite
from efface.weights import check_tensors, read_weights

__all__ = ["load", "new", "risks"]


def load(settings: NetworkSettings) -> NetworkGenerator:
    """A network with its weights; raises `InputError` naming all faults."""
    generator = _opened(settings)
    if settings.assumed is not None:
        generator.assumed = parse_corruption(settings.assumed)
    return generator


def _opened(settings: NetworkSettings) -> NetworkGenerator:
    if is_held(settings.path):
        if settings.image_size is None:
            raise InputError(
                "model.image_size: say the side in pixels of the square pictures that the network answers with"
            )
        network = build(settings.path, {})
        check_finite(settings.path, network.state_dict())
        return NetworkGenerator(network.eval(), _use(settings), settings.image_size, {"kind": "memory"})
    path = local_weights(settings.path)
    if path.is_dir():
        settings = _with_config(settings)
    if settings.network is None:
        raise InputError(f"model.network: say what builds the network of {path}, as package.module:build")
    if settings.image_size is None:
        raise InputError(
            f"model.image_size: say the side in pixels of the square pictures that {settings.network} answers with"
        )
    file = path / WEIGHTS if path.is_dir() else path
    refuse_absent(file, "weights")
    network = build(settings.network, settings.arguments)
    weights = read_weights(file, settings.entry, network.state_dict())
    _fill(network, weights.tensors, str(file))
    origin: dict[str, JsonValue] = {
        "kind": "efface" if path.is_dir() else "factory",
        **weights.facts,
        "sha256": sha256_of_file(file),
    }
    return NetworkGenerator(network.eval(), _use(settings), settings.image_size, origin)


def new(architecture: Architecture, seed: int) -> NetworkGenerator:
    """An untrained network. The global random state is left as it was."""
    assert isinstance(architecture, NetworkArchitecture)
    use = _use(architecture)
    return NetworkGenerator(fresh(use, seed), use, architecture.image_size, {"kind": "new", "seed": seed})


def _use(given: Use) -> Use:
    """How the network is used, without where it lies."""
    return Use.model_validate({name: getattr(given, name) for name in Use.model_fields})


def _with_config(settings: NetworkSettings) -> NetworkSettings:
    """The settings with what the folder's config says in the place of those not given; raises `InputError`."""
    config = read_object(Path(settings.path) / CONFIG)
    config.pop("model_type", None)
    named = config.get("network")
    if settings.network is None and not is_installed(str(named)):
        built = (
            f"is built by {named}, code that is not run unless you name it"
            if named
            else "has no factory in its config"
        )
        add = named or "package.module:build"
        raise InputError(
            f"the network of {settings.path} {built}: if you trust it, add --set model.network={add}"
        )
    given = {
        name: getattr(settings, name)
        for name in settings.model_fields_set
        if getattr(settings, name) is not None
    }
    return NetworkSettings.read({**config, **given}, where=f"{settings.path}/{CONFIG}")


def _fill(network: nn.Module, weights: dict[str, Tensor], where: str) -> None:
    """Put the weights into the network; raises `InputError` if they do not fit."""
    wanted = network.state_dict()
    if odd := [name for name, value in wanted.items() if not isinstance(value, Tensor)]:
        raise InputError(f"the network keeps {odd[0]} in its state, which is no tensor")
    check_tensors(where, weights, wanted, optional="num_batches_tracked")
    check_finite(where, weights)
    with torch.no_grad():
        network.load_state_dict({**wanted, **weights})
