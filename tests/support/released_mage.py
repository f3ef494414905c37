"""The published MAGE checkpoint with random weights, and the student that its arrays speak of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from efface.generators.mage.generator import MageGenerator
from efface.generators.mage.released import converted_model
from support.mage_models import opened
from support.published import FOLDER


def released_mage(path: Path = FOLDER / "mage.pth") -> MageGenerator:
    """The output layer reads the encoder's token table, as released; dropout was 0 where the arrays were computed."""
    generator = opened(path, tied=True, heads=4, decoder_heads=4)
    generator.network.encoder.embedding.dropout.p = 0.0
    return generator


def teacher_and_student(folder: Path, absolute_sum: float) -> MageGenerator:
    """The checkpoint as teacher; as student the same, every weight scaled a little. folder: for its file."""
    generator, stored = released_mage(), released_weights()
    generator.keep_teacher("all")
    total = 0.0
    for name, tensor in stored.items():
        if name.startswith("vqgan.") or not tensor.is_floating_point():
            continue
        places = np.arange(tensor.numel(), dtype=np.float64).reshape(tensor.shape)
        values = (tensor.numpy().astype(np.float64) * (1 + 0.05 * np.cos(0.7 * places))).astype(np.float32)
        stored[name] = torch.from_numpy(values)
        total += float(np.abs(values.astype(np.float64)).sum())
    assert total == pytest.approx(absolute_sum, rel=1e-6)
    torch.save({"model": stored}, folder / "student.pth")
    generator.network.load_state_dict(released_mage(folder / "student.pth").network.state_dict())
    return generator.train()


def released_gradients(generator: MageGenerator) -> dict[str, Tensor | None]:
    """By released name, in the order of the released file; None for arrays that no gradient reaches."""
    stored, gradients = released_weights(), {}
    ours = {name: parameter.grad for name, parameter in generator.network.named_parameters()}
    for name, tensor in stored.items():
        if name.startswith("vqgan."):
            continue
        length = {"decoder_pos_embed_learned": stored["decoder_pos_embed_learned"]}
        converted = [key for key in converted_model({name: tensor, **length}) if key != "decoder.positions"]
        known = "decoder.positions" if name in length else converted[0] if converted else None
        gradients[name] = ours.get(known) if known else None
    return gradients


def released_weights() -> dict[str, Tensor]:
    stored: dict[str, Tensor] = torch.load(FOLDER / "mage.pth", weights_only=True)["model"]
    return stored
