"""Opening and making token models: folders that efface saved, the released MAGE and VQGAN files.

Pickles are read with `weights_only=True`; a file that asks for anything else is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from efface.errors import Faults, InputError
from efface.files import sha256_of_file
from efface.generators.families import Architecture
from efface.generators.mage.family import MageArchitecture, MageSettings
from efface.generators.mage.generator import MageGenerator
from efface.generators.mage.network import MageConfig, MageModel
from efface.generators.mage.released import (
    INNER_TOKENIZER,
    MODEL_SIZES,
    TOKENIZER_SIZES,
    VOCABULARY,
    converted_model,
    converted_tokenizer,
    length_of,
    model_sizes,
    token_grid,
    tokenizer_sizes,
)
from efface.generators.mage.risks import risks
from efface.hub import hub_facts
from efface.weights import check_tensors, pretrained, read_weights, stored_facts

__all__ = ["load", "new", "risks"]

TABLE, OUTPUT_TABLE = "encoder.embedding.tokens.weight", "decoder.head.table"


def load(settings: MageSettings) -> MageGenerator:
    """A token model from wherever `settings` says; raises `InputError` naming all faults."""
    if Path(settings.path).is_file():
        network, origin = _load_released(Path(settings.path), settings)
    else:
        network, origin = _load_folder(settings)
        if settings.tokenizer is not None:
            origin["tokenizer"] = _replace_tokenizer(network, Path(settings.tokenizer))
    if settings.leaky is not None:
        network.config.leaky = settings.leaky
    return MageGenerator(network, origin)


def new(architecture: Architecture, seed: int) -> MageGenerator:
    """An untrained token model and tokenizer; raises `InputError` naming what does not fit together."""
    assert isinstance(architecture, MageArchitecture)
    if problems := architecture.faults():
        raise InputError(*problems, what="this token model cannot be built")
    values = architecture.as_dict()
    codes = architecture.codebook_size
    return MageGenerator.new(
        seed,
        **values,
        vocabulary_size=codes + 2,
        class_token=codes,
        mask_token=codes + 1,
        inner_size=4 * architecture.hidden_size,
        decoder_inner_size=4 * architecture.decoder_hidden_size,
    )


def _load_released(path: Path, settings: MageSettings) -> tuple[MageModel, dict[str, Any]]:
    weights_read = read_weights(path, settings.entry)
    tensors = weights_read.tensors
    model = {name: tensor for name, tensor in tensors.items() if not name.startswith(INNER_TOKENIZER)}
    inner = _inner(tensors)
    origin: dict[str, Any] = {"kind": "released", **weights_read.facts, "sha256": sha256_of_file(path)}
    where = str(path)
    if settings.tokenizer is not None:
        inner, origin["tokenizer"] = _stand_alone(Path(settings.tokenizer))
        where += f" with the tokenizer {settings.tokenizer}"
    if missing := [name for name in MODEL_SIZES if name not in model]:
        alone = all(name in model for name in TOKENIZER_SIZES)
        raise InputError(
            f"{path} is no token model in the released MAGE layout: "
            + (
                "it is a tokenizer alone. Name the token model's file, and this one with --set model.tokenizer=FILE"
                if alone
                else f"no tensor {', '.join(missing)}"
            )
        )
    _check_tokenizer(
        inner,
        str(settings.tokenizer or path),
        "" if settings.tokenizer else "; give --set model.tokenizer=FILE",
    )
    sizes = tokenizer_sizes(inner) | model_sizes(model, settings)
    grid = token_grid(model)
    sizes["image_size"] = grid * 2 ** (len(sizes["tokenizer_multipliers"]) - 1)
    sizes["tied"] = settings.tied is True
    with Faults(f"the parts of {where} do not fit together") as faults:
        if sizes["codebook_size"] != sizes["vocabulary_size"] - VOCABULARY:
            faults.add(
                f"the tokenizer has {sizes['codebook_size']} codes, but the token model was made for "
                f"{sizes['vocabulary_size'] - VOCABULARY}"
            )
        if grid**2 + 1 != (positions := length_of(model)):
            faults.add(f"{positions} positions are not those of a class token and a square of tokens")
    weights = converted_tokenizer(inner) | converted_model(model)
    if not sizes["tied"]:
        weights[OUTPUT_TABLE] = weights[TABLE].clone()
    return _filled(MageConfig(**sizes), weights, where), origin


def _load_folder(settings: MageSettings) -> tuple[MageModel, dict[str, Any]]:
    network: MageModel = pretrained(
        MageModel, settings.path, settings.revision, settings.variant, dtype=torch.float32
    )
    if settings.tied is True:
        network.share_output_table()
    elif settings.tied is False:
        network.give_output_table()
    commit = getattr(network.config, "_commit_hash", None)
    return network, {
        "kind": "transformers",
        **hub_facts(settings.path, commit),
        **stored_facts(settings.path, settings.variant),
    }


def _replace_tokenizer(network: MageModel, path: Path) -> dict[str, Any]:
    """Give `network` the stand-alone tokenizer at `path`, which must be of the same shape; its origin."""
    tensors, origin = _stand_alone(path)
    _check_tokenizer(tensors, str(path), "")
    wanted = {name: tensor for name, tensor in network.state_dict().items() if name.startswith("tokenizer.")}
    given = converted_tokenizer(tensors)
    check_tensors(f"{path}, as the tokenizer of this model,", given, wanted)
    network.load_state_dict({**network.state_dict(), **given})
    return origin


def _stand_alone(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise InputError(f"model.tokenizer: no file at {path}")
    tensors = read_weights(path).tensors
    # the tokenizer inside the file of a whole model will do as well
    return _inner(tensors) or tensors, {"kind": "released", "sha256": sha256_of_file(path)}


def _inner(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tokenizer's tensors in the file of a whole model."""
    length = len(INNER_TOKENIZER)
    return {name[length:]: tensor for name, tensor in tensors.items() if name.startswith(INNER_TOKENIZER)}


def _check_tokenizer(tensors: Mapping[str, Tensor], where: str, advice: str) -> None:
    if missing := [name for name in TOKENIZER_SIZES if name not in tensors]:
        raise InputError(f"{where} holds no VQGAN tokenizer: no tensor {', '.join(missing)}{advice}")


def _filled(config: MageConfig, weights: dict[str, Tensor], where: str) -> MageModel:
    with torch.device("meta"):
        network = MageModel(config)
    check_tensors(where, weights, network.state_dict())
    network.load_state_dict(weights, assign=True)
    network.train(False)
    return network
