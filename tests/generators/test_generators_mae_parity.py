"""The released layout: the same numbers as the released code, also after saving for plain transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoImageProcessor, ViTMAEForPreTraining

from efface.corruptions import Corrupted
from efface.generators import load_generator
from efface.generators.mae.family import MaeSettings
from efface.generators.mae.generator import MaeGenerator, MaeView
from support.released_layout import released, save_released
from support.tiny_models import SHAPE, draws, pictures, tiny, view

CHECKPOINTS = Path(__file__).parents[2].parent / "shared" / "data" / "checkpoints"
KINDS = ["mae-pixel", "mae-normpix"]
TOLERANCE = 1e-4
HEADS = {"heads": 2, "decoder_heads": 2}


def expected(kind: str) -> dict[str, Tensor]:
    path = CHECKPOINTS / f"{kind}.npz"
    if not path.exists():
        pytest.skip("the shared checkpoints are not here")
    with np.load(path) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def load(kind: str, arrays: dict[str, Tensor]) -> MaeGenerator:
    settings = MaeSettings(
        path=str(CHECKPOINTS / f"{kind}.pth"),
        heads=int(arrays["num_heads"]),
        decoder_heads=int(arrays["decoder_num_heads"]),
        norm_pix_loss=bool(arrays["norm_pix_loss"]),
    )
    generator = load_generator(settings)
    assert isinstance(generator, MaeGenerator)
    return generator


def view_of(generator: MaeGenerator, arrays: dict[str, Tensor]) -> MaeView:
    """The view in which the patches with the lowest noise are seen."""
    inputs, noise = arrays["image"], arrays["noise"]
    kept = int(noise.shape[1] * (1 - float(arrays["mask_ratio"])))
    hidden = torch.ones_like(noise, dtype=torch.bool)
    hidden.scatter_(1, noise.argsort(dim=1)[:, :kept], False)
    patch = generator.patch_size
    region = hidden.view(-1, 1, generator.grid, generator.grid)
    region = region.repeat_interleave(patch, 2).repeat_interleave(patch, 3)
    images = inputs * generator.std + generator.mean
    touched = hidden.view(-1, generator.grid, generator.grid).numpy()
    corrupted = Corrupted(images, ~region, region, touched)
    return MaeView(images, corrupted, draws(len(images)), inputs, hidden, kept)


@torch.no_grad()
def check(generator: MaeGenerator, arrays: dict[str, Tensor]) -> None:
    seen = view_of(generator, arrays)
    assert torch.equal(seen.hidden.float(), arrays["mask"].float())
    (latent,) = generator.encode(seen)
    # the release feeds visible patches in the order of their noise, efface in raster order
    kept = arrays["noise"].argsort(dim=1)[:, : seen.visible_count]
    raster = kept.argsort(dim=1).unsqueeze(-1).expand(-1, -1, latent.shape[-1])
    torch.testing.assert_close(latent[:, :1], arrays["latent"][:, :1], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(
        latent[:, 1:], arrays["latent"][:, 1:].gather(1, raster), atol=TOLERANCE, rtol=0
    )
    prediction = generator.decode((latent,), seen)
    torch.testing.assert_close(prediction, arrays["pred"], atol=TOLERANCE, rtol=0)
    loss = generator.prediction_loss(prediction, generator.task_target(seen), seen)
    assert loss.shape == (len(prediction),)
    assert abs(float(loss.mean()) - float(arrays["loss"])) < TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
def test_a_released_checkpoint_gives_the_released_numbers(kind: str) -> None:
    arrays = expected(kind)
    check(load(kind, arrays), arrays)


@pytest.mark.parametrize("kind", KINDS)
def test_the_numbers_hold_for_plain_transformers_and_on_the_way_back(kind: str, tmp_path: Path) -> None:
    arrays = expected(kind)
    generator = load(kind, arrays)
    with torch.no_grad():
        generator.encode(view_of(generator, arrays))
    generator.save_pretrained(tmp_path)
    network = ViTMAEForPreTraining.from_pretrained(tmp_path, mask_ratio=float(arrays["mask_ratio"]))
    with torch.no_grad():
        out = network(arrays["image"], noise=arrays["noise"])
    torch.testing.assert_close(out.logits, arrays["pred"], atol=TOLERANCE, rtol=0)
    assert torch.equal(out.mask, arrays["mask"].float())
    assert torch.equal(out.ids_restore, arrays["ids_restore"])
    assert abs(float(out.loss) - float(arrays["loss"])) < TOLERANCE
    again = load_generator(str(tmp_path))
    assert isinstance(again, MaeGenerator)
    assert again.weights_digest() == generator.weights_digest()
    check(again, arrays)


@pytest.mark.parametrize("kind", KINDS)
def test_the_wrong_reading_of_patches_gives_another_loss(kind: str) -> None:
    arrays = expected(kind)
    arrays["norm_pix_loss"] = ~arrays["norm_pix_loss"].bool()
    with pytest.raises(AssertionError):
        check(load(kind, arrays), arrays)


@pytest.mark.parametrize("beside", [{}, {"epoch": 3, "optimizer": {"state": {}, "param_groups": []}}])
def test_conversion_of_a_made_checkpoint_keeps_every_weight(beside: dict, tmp_path: Path) -> None:
    generator = tiny(seed=3)
    with torch.no_grad():
        for parameter in generator.network.parameters():
            parameter.normal_(std=0.2)  # so that no tensor equals another, biases included
    path = save_released(generator.network, tmp_path / "made.pth", **beside)
    loaded = load_generator(MaeSettings(path=path, **HEADS))
    assert loaded.weights_digest() == generator.weights_digest()
    images = pictures(2)
    with torch.no_grad():
        assert torch.equal(loaded.predict(view(loaded, images)), generator.predict(view(generator, images)))


def test_a_bare_state_dict_is_read_too(tmp_path: Path) -> None:
    generator = tiny(seed=3)
    torch.save(released(generator.network), tmp_path / "bare.pth")
    loaded = load_generator(MaeSettings(path=str(tmp_path / "bare.pth"), **HEADS))
    assert loaded.weights_digest() == generator.weights_digest()
    assert loaded.describe()["origin"]["kind"] == "released"


def test_the_architecture_is_read_off_the_shapes(tmp_path: Path) -> None:
    shape = {
        "image_size": 40, "patch_size": 10, "num_hidden_layers": 3, "decoder_num_hidden_layers": 2,
        "intermediate_size": 48, "decoder_intermediate_size": 40, "hidden_size": 192,
        "num_attention_heads": 3, "decoder_hidden_size": 512, "decoder_num_attention_heads": 16,
    }  # fmt: skip
    path = save_released(tiny(**shape).network, tmp_path / "other.pth")
    config = load_generator(path).network.config  # widths 192 and 512 are known, so no heads are asked for
    assert {name: getattr(config, name) for name in shape} == shape
    assert config.layer_norm_eps == 1e-6
    assert config.num_channels == 3


def test_fresh_positions_are_those_of_the_release() -> None:
    arrays = CHECKPOINTS / "mae-pixel.pth"
    if not arrays.exists():
        pytest.skip("the shared checkpoints are not here")
    stored = torch.load(arrays, weights_only=True)["model"]
    fresh = MaeGenerator.new(0, **{**SHAPE, "hidden_size": 48, "num_attention_heads": 4}).network
    positions = fresh.vit.embeddings.position_embeddings
    assert torch.allclose(positions, stored["pos_embed"], atol=1e-6)
    assert torch.allclose(fresh.decoder.decoder_pos_embed, stored["decoder_pos_embed"], atol=1e-6)


def test_a_saved_folder_opens_with_the_librarys_image_processor(tmp_path: Path) -> None:
    generator = MaeGenerator(tiny().network, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    generator.save_pretrained(tmp_path)
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    picture = (pictures(1)[0] * 255).round().byte()
    fed = processor(images=picture.permute(1, 2, 0).numpy(), return_tensors="pt")["pixel_values"]
    ours = view(generator, picture[None]).inputs
    torch.testing.assert_close(fed, ours, atol=1e-5, rtol=0)
    loaded = load_generator(str(tmp_path))
    assert loaded.describe()["image_mean"] == [0.1, 0.2, 0.3]
    assert loaded.describe()["image_std"] == [0.4, 0.5, 0.6]
    assert loaded.describe()["origin"]["image_statistics"] == "file"
