"""The methods' losses on a token model, and their gradients, against those of the released code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from efface.corruptions import Corrupted
from efface.generators.base import PixelMoments
from efface.generators.mage.generator import MageGenerator, MageView
from efface.methods import read_method
from efface.methods.base import OneLossMethod
from efface.randomness import Draws
from efface.training.phases import Batch
from support.published import arrays
from support.released_mage import released_gradients, teacher_and_student

RETAINED, FORGOTTEN = 3, 2
LOSS, GRADIENT = 1e-5, 1e-4
"""Relative tolerances; of an array of gradients its norm counts."""
METHODS = {
    "ours_normal": ("encoder-noise", {"noise": "batch-matched"}),
    "ours_uniform": ("encoder-noise", {"noise": "uniform"}),
    "ours_constant": ("encoder-noise", {"noise": "constant"}),
    "max_loss": ("max-loss", {}),
    "noisy_label": ("noisy-label", {}),
    "random_encoder_meant": ("random-encoder", {}),
    "retain_label_meant": ("retain-label", {}),
}
"""Names in the arrays, and the method with its settings."""
DOUBLED = ("ours", "random_encoder", "retain_label")
"""Losses of the release in which the indicator of a set enters as 2."""
SAMPLED = ("norm.weight", "blocks.0.attn.qkv.bias", "decoder_norm.bias")
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class ReleasedDraws(Draws):
    """Draws of pictures of the stored batch, which are the stored ones."""

    def normal(self, purpose: str, shape: tuple[int, ...], device: torch.device | str) -> Tensor:
        if purpose == "features 0":
            stream = np.random.RandomState(12).standard_normal((RETAINED + FORGOTTEN, *shape))
            return torch.from_numpy(stream.astype(np.float32))[self.places]
        names = {"noise": "noise_normal", "noisy label": "noise_tokens_normal_draw"}
        return self._stored(names[purpose])

    def join(self, other: Draws) -> ReleasedDraws:
        return ReleasedDraws(self.seed, self.ids + other.ids, self.visits + other.visits)

    @property
    def places(self) -> list[int]:
        return [int(id_) for id_ in self.ids]

    def _stored(self, name: str) -> Tensor:
        values = torch.from_numpy(arrays("mage-losses.npz")[name])[self.places]
        return enlarged(values) if values.ndim == 4 else values


def enlarged(pictures: Tensor) -> Tensor:
    """Every pixel 4 x 4 times, as the release was fed."""
    return pictures.repeat_interleave(4, -1).repeat_interleave(4, -2)


@pytest.fixture(scope="module")
def stored() -> Arrays:
    return arrays("mage-losses.npz")


@pytest.fixture(scope="module")
def generator(stored: Arrays, tmp_path_factory: pytest.TempPathFactory) -> MageGenerator:
    folder: Path = tmp_path_factory.mktemp("student")
    return teacher_and_student(folder, float(stored["student_absolute_sum"]))


def batch_of(stored: Arrays, masks: str) -> Batch:
    """Three pictures to retain and two to forget, with the stored masks."""

    def view(first: int, last: int) -> MageView:
        places = slice(first, last)
        images = enlarged(torch.from_numpy(stored["images"][places])).float() / 255
        hidden = torch.from_numpy(stored[f"masked_{masks}"][places]).bool()
        dropped = torch.from_numpy(stored[f"dropped_{masks}"][places]).bool()
        kept = [
            torch.cat([torch.zeros(1, dtype=torch.long), (~row).nonzero().flatten() + 1]) for row in dropped
        ]
        known = torch.zeros(len(images), 1, 256, 256, dtype=torch.bool)
        corrupted = Corrupted(images, known, ~known, hidden.view(-1, 16, 16).numpy())
        draws = ReleasedDraws(0, tuple(str(place) for place in range(first, last)), (0,) * len(images))
        tokens = torch.from_numpy(stored["tokens"][places].astype(np.int64))
        return MageView(images, corrupted, draws, tokens, tokens, hidden, torch.stack(kept))

    views = {"retain": view(0, RETAINED), "forget": view(RETAINED, RETAINED + FORGOTTEN)}
    mean, std = (torch.full((3,), float(stored[name])) for name in ("pixel_mean", "pixel_std"))
    return Batch(views, PixelMoments(mean, std))


def weighted_by_head_count(
    generator: MageGenerator, name: str, alpha: float, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> Tensor:
    """A released loss: mean over all pictures, those to be forgotten times alpha."""
    method_name, settings = METHODS[name]
    method = read_method({"name": method_name, "alpha": alpha * FORGOTTEN / RETAINED, **settings})
    assert isinstance(method, OneLossMethod)
    if name == "ours_uniform":
        # the release draws fresh pictures, where efface chooses among kept ones
        uniform = torch.from_numpy(arrays("mage-losses.npz")["noise_image_tokens_uniform"].astype(np.int64))
        monkeypatch.setattr(generator._noise, "tokens", lambda *_: uniform[RETAINED:])
    loss = method.loss(generator, batch).total * RETAINED / (RETAINED + FORGOTTEN)
    return 2 * loss if name.startswith(DOUBLED) else loss


@pytest.mark.parametrize("masks", ["random", "hole"])
@pytest.mark.parametrize("name", METHODS)
def test_losses_and_gradients_are_the_published_ones(
    name: str, masks: str, stored: Arrays, generator: MageGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, published = batch_of(stored, masks), f"{masks}_{name}"
    with torch.no_grad():
        loss = float(weighted_by_head_count(generator, name, 1.0, batch, monkeypatch))
    assert loss == pytest.approx(float(stored[f"loss_{published}_1"]), rel=LOSS)
    generator.network.zero_grad()
    total = weighted_by_head_count(generator, name, 0.2, batch, monkeypatch)
    assert float(total.detach()) == pytest.approx(float(stored[f"loss_{published}_0.2"]), rel=LOSS)
    total.backward()
    gradients = released_gradients(generator)
    norms = stored[f"gradient_norm_{published}_0.2"]
    assert len(norms) == len(gradients) == 85
    for (weight, gradient), norm in zip(gradients.items(), norms, strict=True):
        assert (gradient is None) == np.isnan(norm), weight
        if gradient is not None and norm > 1e-5 * np.nanmax(norms):
            assert float(gradient.norm()) == pytest.approx(float(norm), rel=GRADIENT), weight
    for weight in SAMPLED:
        wanted, gradient = stored.get(f"gradient_{published}_0.2_{weight}"), gradients[weight]
        assert (wanted is None) == (gradient is None), weight
        if wanted is not None and gradient is not None:
            off = np.linalg.norm(gradient.numpy() - wanted)
            assert off < GRADIENT * np.linalg.norm(wanted), weight


@pytest.mark.parametrize("name", ["random_encoder_released", "retain_label_released", "retain_label_sign"])
def test_the_faults_of_the_released_code_are_not_reproduced(
    name: str, stored: Arrays, generator: MageGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sign of the label, which leaves forget images out; and retain images told apart by a label above 0."""
    meant = f"{name.rpartition('_')[0]}_meant"
    with torch.no_grad():
        loss = float(weighted_by_head_count(generator, meant, 1.0, batch_of(stored, "random"), monkeypatch))
    assert abs(loss / float(stored[f"loss_random_{name}_1"]) - 1) > 0.1


def test_tokens_of_pictures_and_of_noise_are_the_published_ones(
    stored: Arrays, generator: MageGenerator
) -> None:
    pictures = {
        "tokens": enlarged(torch.from_numpy(stored["images"])).float() / 255,
        "noise_image_tokens_uniform": enlarged(torch.from_numpy(stored["noise_uniform"])),
        "noise_image_tokens_constant": torch.full((5, 3, 256, 256), float(stored["pixel_mean"])),
        "noise_image_tokens_normal": (
            enlarged(torch.from_numpy(stored["noise_normal"])) * float(stored["pixel_std"])
            + float(stored["pixel_mean"])
        ).clamp(0, 1),
    }
    for name, images in pictures.items():
        np.testing.assert_array_equal(generator.tokens(images), stored[name], err_msg=name)


def test_noise_of_a_batch_is_drawn_afresh_and_nothing_of_it_is_kept(
    stored: Arrays, generator: MageGenerator
) -> None:
    batch = batch_of(stored, "hole")
    forget = batch.views["forget"]
    noisy = generator.noise_view(forget, "batch-matched", batch.moments)
    assert isinstance(noisy, MageView)
    np.testing.assert_array_equal(noisy.inputs, stored["noise_image_tokens_normal"][RETAINED:])
    assert not any(kind == "batch-matched" for kind, *_ in generator._noise.rows)


def test_noisy_labels_are_the_published_tokens(stored: Arrays, generator: MageGenerator) -> None:
    batch = batch_of(stored, "random")
    fed, asked = generator.noisy_label(batch.views["retain"], batch.views["forget"], batch.moments)
    assert fed is batch.views["forget"]
    np.testing.assert_array_equal(asked, stored["noisy_label_tokens"][RETAINED:])
