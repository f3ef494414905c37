"""The methods' losses on a diffusion model, and their gradients, against those of the released code."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from efface.corruptions import Corrupted
from efface.generators.base import PixelMoments
from efface.generators.palette.generator import PaletteGenerator, PaletteView
from efface.generators.palette.network import ENCODER
from efface.generators.palette.released import released_names, renamed
from efface.methods import read_method
from efface.methods.base import OneLossMethod
from efface.randomness import Draws
from efface.training.phases import Batch
from support.palette_models import opened, released_tensors
from support.published import FOLDER, arrays

RETAINED, FORGOTTEN = 3, 2
LOSS, GRADIENT = 1e-5, 1e-4
"""Relative tolerances; of an array of gradients its norm counts."""
METHODS = {
    "encoder-noise": "ours",
    "random-encoder": "random_encoder",
    "max-loss": "max_loss",
    "noisy-label": "noisy_label",
    "retain-label": "retain_label",
}
"""Under which name the arrays have each method."""
SAMPLED = ("input_blocks.0.0.weight", "middle_block.0.in_layers.2.bias", "out.2.weight")
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class ReleasedDraws(Draws):
    """Draws of the forgotten pictures, whose noise in feature space is that of the stored stream of numbers."""

    def normal(self, purpose: str, shape: tuple[int, ...], device: torch.device | str) -> Tensor:
        assert purpose.startswith("features ")
        stream = np.random.RandomState(11)
        for map_shape in MAPS[: int(purpose.removeprefix("features ")) + 1]:
            noise = stream.standard_normal((RETAINED + FORGOTTEN, *map_shape)).astype(np.float32)
        assert shape == noise.shape[1:]
        return torch.from_numpy(noise[RETAINED:])

    def join(self, other: Draws) -> ReleasedDraws:
        return ReleasedDraws(self.seed, self.ids + other.ids, self.visits + other.visits)


MAPS = [(32, 32, 32), (32, 32, 32), (32, 16, 16), (64, 16, 16), (64, 16, 16)]


@pytest.fixture(scope="module")
def stored() -> Arrays:
    return arrays("palette-losses.npz")


@pytest.fixture(scope="module")
def generator(stored: Arrays) -> PaletteGenerator:
    """The checkpoint as teacher; as student the same, every weight scaled a little."""
    made = opened(FOLDER / "palette.pth", image_size=32)
    made.keep_teacher("all")
    scaled, total = {}, 0.0
    for name, tensor in released_tensors(made.network).items():
        places = np.arange(tensor.numel(), dtype=np.float64).reshape(tensor.shape)
        values = (tensor.numpy().astype(np.float64) * (1 + 0.05 * np.cos(0.7 * places))).astype(np.float32)
        scaled[name.removeprefix("denoise_fn.")] = torch.from_numpy(values)
        total += float(np.abs(values.astype(np.float64)).sum())
    assert total == pytest.approx(float(stored["student_absolute_sum"]), rel=1e-6)
    made.network.load_state_dict(renamed(scaled, made.network, "the student"))
    return made.train()


def batch_of(stored: Arrays, hole: str) -> Batch:
    """Three pictures to retain and two to forget, with the stored holes, noise and noise levels."""

    def view(places: slice, draws: Draws) -> PaletteView:
        def tensor(name: str) -> Tensor:
            return torch.from_numpy(stored[name][places])

        hidden, gamma = tensor(f"hole_{hole}").bool(), tensor("gamma")[:, 0].float()
        images, condition = tensor("images").float() / 255, tensor(f"condition_{hole}")
        corrupted = Corrupted(images, ~hidden, hidden, np.ones((len(images), 1, 1), dtype=bool))
        noisy, noise = tensor(f"noisy_plain_{hole}"), tensor("noise")
        return PaletteView(images, corrupted, draws, condition, noisy, noise, gamma, gamma, hidden)

    views = {
        "retain": view(slice(0, RETAINED), ReleasedDraws(0, ("0", "1", "2"), (0,) * RETAINED)),
        "forget": view(slice(RETAINED, None), ReleasedDraws(0, ("3", "4"), (0,) * FORGOTTEN)),
    }
    return Batch(views, PixelMoments(torch.zeros(3), torch.ones(3)))


def weighted_by_head_count(generator: PaletteGenerator, name: str, alpha: float, batch: Batch) -> Tensor:
    """A released loss: mean over all pictures, those to be forgotten times alpha."""
    method = read_method({"name": name, "alpha": alpha * FORGOTTEN / RETAINED})
    assert isinstance(method, OneLossMethod)
    return method.loss(generator, batch).total * RETAINED / (RETAINED + FORGOTTEN)


@pytest.mark.parametrize("hole", ["equal", "unequal"])
@pytest.mark.parametrize("name", METHODS)
def test_losses_and_gradients_are_the_published_ones(
    name: str, hole: str, stored: Arrays, generator: PaletteGenerator
) -> None:
    batch, published = batch_of(stored, hole), f"{hole}_{METHODS[name]}"
    for alpha in (0.0, 0.1, 1.0):
        with torch.no_grad():
            loss = float(weighted_by_head_count(generator, name, alpha, batch))
        assert loss == pytest.approx(float(stored[f"loss_{published}_{alpha:g}"]), rel=LOSS), alpha
    generator.network.zero_grad()
    loss = weighted_by_head_count(generator, name, 0.25, batch)
    assert float(loss.detach()) == pytest.approx(float(stored[f"loss_{published}_0.25"]), rel=LOSS)
    loss.backward()
    gradients = released_gradients(
        generator.network, encoder_alone=name in ("encoder-noise", "random-encoder")
    )
    norms = stored[f"gradient_norm_{published}_0.25"]
    assert len(norms) == len(gradients) == 144
    for (weight, gradient), norm in zip(gradients.items(), norms, strict=True):
        assert (gradient is None) == np.isnan(norm), weight
        if gradient is not None and norm > 1e-5 * np.nanmax(norms):
            assert float(gradient.norm()) == pytest.approx(float(norm), rel=GRADIENT), weight
    for weight in SAMPLED:
        wanted, gradient = stored.get(f"gradient_{published}_0.25_{weight}"), gradients[weight]
        assert (wanted is None) == (gradient is None), weight
        if wanted is not None and gradient is not None:
            off = np.linalg.norm(gradient.numpy() - wanted)
            assert off < GRADIENT * np.linalg.norm(wanted), weight


def test_the_noisy_pictures_that_the_teacher_is_shown_are_the_published_ones(
    stored: Arrays, generator: PaletteGenerator
) -> None:
    forget = batch_of(stored, "unequal").views["forget"]
    shown = generator.taught_view(forget)
    assert isinstance(shown, PaletteView)
    wanted = torch.from_numpy(stored["noisy_forget_replaced_unequal"][RETAINED:])
    assert torch.allclose(shown.noisy, wanted, atol=1e-6)
    fed, asked = generator.noisy_label(forget, forget, PixelMoments(torch.zeros(3), torch.ones(3)))
    assert isinstance(fed, PaletteView)
    assert torch.equal(fed.noisy, shown.noisy)
    assert torch.equal(asked, torch.from_numpy(stored["noise"][RETAINED:]))


@pytest.mark.parametrize("name", ["fresh-noise", "retain-answer"])
def test_ours_are_other_methods_than_the_published_ones(
    name: str, stored: Arrays, generator: PaletteGenerator
) -> None:
    """Whose names they once had: no multiple of the published loss at every alpha."""
    batch, published = (
        batch_of(stored, "equal"),
        {"fresh-noise": "noisy_label", "retain-answer": "retain_label"}[name],
    )
    for view in batch.views.values():
        # the draws of their own, which the release does not have
        object.__setattr__(view, "draws", Draws(0, view.draws.ids, view.draws.visits))
    ratios = []
    for alpha in (0.0, 1.0):
        with torch.no_grad():
            loss = float(weighted_by_head_count(generator, name, alpha, batch))
        ratios.append(loss / float(stored[f"loss_equal_{published}_{alpha:g}"]))
    assert abs(ratios[1] / ratios[0] - 1) > 1e-2


def released_gradients(network: Any, encoder_alone: bool) -> dict[str, Tensor | None]:
    """Under the released names, in the order of a released file; the release's encoder has the level's embedding, too."""
    reached = (*ENCODER, "time_embedding") if encoder_alone else ("",)
    parts = released_names(network)
    filled = {
        name: parameter.detach() * 0 if parameter.grad is None else parameter.grad
        for name, parameter in network.named_parameters()
    }
    joined = released_tensors(SimpleNamespace(state_dict=lambda: filled, config=network.config), parts)
    order = torch.load(FOLDER / "palette.pth", weights_only=True)
    names = [name.removeprefix("denoise_fn.") for name in order if name.startswith("denoise_fn.")]
    return {
        name: joined[f"denoise_fn.{name}"] if parts[name][0].startswith(reached) else None for name in names
    }
