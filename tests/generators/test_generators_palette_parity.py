"""The released layout: the same numbers as the released code, and every weight where it belongs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import group_norm

from efface.corruptions import Corrupted
from efface.errors import InputError
from efface.generators.palette.family import FAMILY, SIZES, PaletteArchitecture, recognises
from efface.generators.palette.generator import PaletteGenerator, PaletteView
from efface.generators.palette.network import down, up
from efface.generators.palette.released import released_names
from efface.generators.palette.schedule import NoiseSchedule
from efface.generators.registry import risks_of
from efface.model_files import Contents
from efface.randomness import Draws
from support.palette_models import SIDE, opened, palette, released, released_tensors, save_released
from support.tiny_models import pictures, view

CHECKPOINTS = Path(__file__).parents[2].parent / "shared" / "data" / "checkpoints"
TOLERANCE = 1e-4
REVERSE = {"test_noise_steps": 20, "test_noise_start": 1e-3, "test_noise_end": 0.5}


@dataclass(frozen=True)
class Recorded(Draws):
    """Draws that give the release's noise back, step by step."""

    steps: Any = None

    def normal(self, purpose: str, shape: tuple[int, ...], device: Any) -> Tensor:
        *_, last = purpose.split()
        return self.steps[int(last)] if last.isdigit() else torch.full((2, *shape), torch.nan)


@pytest.fixture(scope="module")
def arrays() -> dict[str, Tensor]:
    path = CHECKPOINTS / "palette.npz"
    if not path.exists():
        pytest.skip("the shared checkpoints are not here")
    with np.load(path) as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


@pytest.fixture(scope="module")
def generator(arrays: dict[str, Tensor]) -> PaletteGenerator:
    return opened(CHECKPOINTS / "palette.pth", image_size=32, **REVERSE)


def seen(arrays: dict[str, Tensor]) -> PaletteView:
    """The view whose inputs are the release's, with its hole and its draws."""
    hole = arrays["mask"].bool()
    images = (arrays["original"] + 1) / 2
    condition, noisy = arrays["unet_input"].chunk(2, dim=1)
    touched = np.ones((2, 16, 16), dtype=bool)
    gamma = arrays["gamma"][:, 0]
    recorded = Recorded(0, ("one", "other"), (0, 0), arrays["step_noise"])
    return PaletteView(
        images, Corrupted(images, ~hole, hole, touched), recorded, condition, noisy, noisy, gamma, gamma, hole
    )


def test_every_encoder_map_and_the_output_are_the_releases(
    generator: PaletteGenerator, arrays: dict[str, Tensor]
) -> None:
    at = seen(arrays)
    with torch.no_grad():
        features = generator.encode(at)
        prediction = generator.decode(features, at)
    expected = [arrays[name] for name in sorted(arrays) if name.startswith("encoder_map")]
    assert len(features) == len(expected) == 5
    for feature, array in zip(features, expected, strict=True):
        torch.testing.assert_close(feature, array, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(prediction, arrays["unet_output"], atol=TOLERANCE, rtol=0)


def test_the_whole_reverse_process_is_the_releases(
    generator: PaletteGenerator, arrays: dict[str, Tensor]
) -> None:
    np.testing.assert_allclose(generator.schedules.test.betas(), arrays["betas_test"].numpy(), atol=1e-12)
    at = replace(seen(arrays), condition=arrays["condition"])
    restored = generator.restore(at, "ancestral") * 2 - 1
    hole = at.hole.expand_as(restored)
    torch.testing.assert_close(restored[hole], arrays["restored"][hole].clamp(-1, 1), atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(restored[~hole], arrays["original"][~hole], atol=1e-6, rtol=0)


def test_the_file_says_where_it_is_from_and_which_schedule_it_holds(generator: PaletteGenerator) -> None:
    origin = generator.describe()["origin"]
    assert origin["kind"] == "released"
    assert len(origin["sha256"]) == 64
    assert origin["schedule"] == "the file's is the test schedule in use"
    other = opened(CHECKPOINTS / "palette.pth", image_size=32)
    assert any("noise schedule" in sentence for sentence in risks_of(other, pictures(2, size=32)))


def test_the_full_size_network_is_the_released_one() -> None:
    """Numbers of the layout file: 326 tensors beside 6 schedule buffers, 62.653347 million numbers with those."""
    with torch.device("meta"):
        network = UNet2DModel(**PaletteArchitecture(**SIZES["base"]).network_config())
    names = released_names(network)
    assert len(names) == 332 - 6
    assert sum(tensor.numel() for tensor in network.state_dict().values()) == 62_653_347 - 6 * 2000
    assert {name.split(".")[1] for name in names if name.startswith("input_blocks")} == {
        str(n) for n in range(12)
    }
    assert {name for name in names if "qkv" in name} == {
        "middle_block.1.qkv.weight",
        "middle_block.1.qkv.bias",
    }


def test_attention_reads_each_heads_query_key_and_value_one_behind_the_other(tmp_path: Path) -> None:
    """Written out head by head and place by place from the released tensors, with 16 channels a head."""
    made = palette(channels_per_head=16)
    tensors = released(made)
    loaded: Any = opened(save_released(made, tmp_path / "made.pth"), channels_per_head=16).network
    norm, weight, bias, out, shift = (
        tensors[f"denoise_fn.middle_block.1.{name}"]
        for name in ("norm.weight", "qkv.weight", "qkv.bias", "proj_out.weight", "proj_out.bias")
    )
    hidden = torch.randn(1, 64, 2, 3, generator=torch.Generator().manual_seed(2))
    flat = group_norm(hidden.flatten(2), 32, norm, tensors["denoise_fn.middle_block.1.norm.bias"])[0]
    qkv = weight[:, :, 0] @ flat + bias[:, None]
    rows = []
    for head in range(4):
        query, key, value = qkv[48 * head : 48 * head + 48].split(16)
        rows.append(value @ torch.softmax(query.T @ key / 16**0.5, dim=1).T)
    expected = hidden + (out[:, :, 0] @ torch.cat(rows) + shift[:, None]).view_as(hidden)
    with torch.no_grad():
        torch.testing.assert_close(loaded.mid_block.attentions[0](hidden), expected)


def test_the_noise_level_is_told_in_cosines_then_sines() -> None:
    network: Any = palette().network
    waves = network.time_proj(torch.tensor([0.25]))[0]
    slow = 0.25 / 10_000**0.5
    assert len(waves) == 32
    assert waves[[0, 8, 16, 24]].tolist() == pytest.approx(
        [math.cos(0.25), math.cos(slow), math.sin(0.25), math.sin(slow)]
    )


# conversion of made files


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"channel_multipliers": (1, 2, 3), "blocks_per_level": 2, "attention_levels": (0, 2)},
        {"channel_multipliers": (1, 1), "attention_levels": ()},
        {"channel_multipliers": (1,), "attention_levels": (0,)},
        {"image_size": 64, "inner_channels": 64},
    ],
    ids=str,
)
def test_sizes_are_read_off_the_tensors(shape: dict[str, Any], tmp_path: Path) -> None:
    made = palette(**shape)
    loaded = opened(save_released(made, tmp_path / "16_Network.pth"), image_size=made.image_size)
    assert loaded.weights_digest() == made.weights_digest()
    ours, theirs = made.describe()["config"], loaded.describe()["config"]
    assert {key: _plain(value) for key, value in ours.items()} == {
        key: _plain(value) for key, value in theirs.items()
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def test_a_loaded_file_predicts_what_was_saved(tmp_path: Path) -> None:
    made = palette(seed=3)
    loaded = opened(save_released(made, tmp_path / "made.pth"))
    at = view(made, pictures(2, size=SIDE))
    with torch.no_grad():
        assert torch.equal(loaded.predict(at), made.predict(at))
    assert loaded.describe()["origin"]["schedule"] == "the file's is the train schedule in use"
    assert loaded.warnings == ()


def test_heads_are_asked_for_and_matter(tmp_path: Path) -> None:
    path = save_released(palette(), tmp_path / "made.pth")
    one, other = opened(path), opened(path, channels_per_head=16)
    at = view(one, pictures(1, size=SIDE))
    with torch.no_grad():
        assert not torch.equal(one.predict(at), other.predict(at))
    with pytest.raises(InputError, match=r"--set model\.channels_per_head=N"):
        opened(path, channels_per_head=24)


def test_a_network_that_adds_its_embedding_is_read_too(tmp_path: Path) -> None:
    network: Any = UNet2DModel.from_config({**palette().network.config, "resnet_time_scale_shift": "default"})
    torch.save(released_tensors(network), tmp_path / "made.pth")
    loaded: Any = opened(tmp_path / "made.pth")
    assert loaded.describe()["config"]["resnet_time_scale_shift"] == "default"
    assert loaded.describe()["origin"]["kind"] == "released"
    inputs, level = torch.rand(2, 6, SIDE, SIDE), torch.tensor([0.1, 0.9])
    with torch.no_grad():
        expected = network.eval()(inputs, level).sample
        torch.testing.assert_close(up(loaded.network, down(loaded.network, inputs, level), level), expected)


def test_a_network_whose_first_level_is_wider_than_its_input_is_refused(tmp_path: Path) -> None:
    tensors = released(palette())
    tensors["denoise_fn.input_blocks.1.0.out_layers.3.weight"] = torch.zeros(64, 64, 3, 3)
    torch.save(tensors, tmp_path / "made.pth")
    assert "32 channels at first and 64 at its first level" in refusal(tmp_path / "made.pth")


@pytest.mark.parametrize("prefix", ["denoise_fn_ema.", "netG_EMA.denoise_fn.", "ema."])
def test_of_averaged_and_plain_weights_in_a_file_the_user_says_which(prefix: str, tmp_path: Path) -> None:
    made = palette()
    averaged = {f"{prefix}{name}": torch.zeros_like(t) for name, t in made.network.state_dict().items()}
    torch.save({**released(made), **averaged}, tmp_path / "both.pth")
    entry = prefix.partition(".")[0]
    message = refusal(tmp_path / "both.pth")
    assert f"plain ({len(released(made))} tensors), {entry} ({len(averaged)} tensors)" in message
    assert "--set model.entry=NAME" in message
    loaded = opened(tmp_path / "both.pth", entry="plain")
    assert loaded.weights_digest() == made.weights_digest()
    origin = loaded.describe()["origin"]
    assert origin["weights"] == "plain"
    assert origin["reading"][1] == f"weights: left out of the file, and not changed: {entry}"


def test_a_file_of_averaged_weights_is_named_as_such(tmp_path: Path) -> None:
    loaded = opened(save_released(palette(), tmp_path / "16_Network_ema.pth"))
    assert loaded.describe()["origin"]["weights"] == "averaged"
    assert any("16_Network.pth" in sentence for sentence in risks_of(loaded, pictures(2, size=SIDE)))


def test_weights_of_parallel_training_and_safetensors_are_read(tmp_path: Path) -> None:
    made = palette()
    torch.save({f"module.{n}": t for n, t in released(made).items()}, tmp_path / "parallel.pth")
    save_file(released(made), tmp_path / "made.safetensors")
    for name in ("parallel.pth", "made.safetensors"):
        assert opened(tmp_path / name).weights_digest() == made.weights_digest()


# files that are not what they seem


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        opened(path, **options)
    return str(caught.value)


def test_all_tensors_that_do_not_fit_are_named_at_once(tmp_path: Path) -> None:
    tensors = released(palette())
    del tensors["denoise_fn.cond_embed.2.bias"]
    tensors["denoise_fn.input_blocks.2.0.extra"] = torch.zeros(1)
    tensors["denoise_fn.out.0.weight"] = torch.zeros(7)
    torch.save(tensors, tmp_path / "made.pth")
    message = refusal(tmp_path / "made.pth")
    for part in ("cond_embed.2.bias", "input_blocks.2.0.extra", "out.0.weight", "(7,)", "(32,)"):
        assert part in message


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    assert "no complete Palette network" in refusal(tmp_path / "other.pth")
    (tmp_path / "cut.pth").write_bytes(save_released(palette(), tmp_path / "whole.pth").read_bytes()[:1000])
    assert "truncated" in refusal(tmp_path / "cut.pth")


def test_a_file_that_carries_code_is_refused(tmp_path: Path) -> None:
    class Opens:
        def __reduce__(self) -> Any:
            return open, (str(tmp_path / "opened"), "w")

    torch.save({**released(palette()), "more": Opens()}, tmp_path / "made.pth")
    assert "carries code" in refusal(tmp_path / "made.pth")
    assert not (tmp_path / "opened").exists()


def test_a_network_without_condition_or_with_another_resampling_is_refused(tmp_path: Path) -> None:
    tensors = released(palette())
    tensors["denoise_fn.input_blocks.0.0.weight"] = torch.zeros(32, 3, 3, 3)
    tensors["denoise_fn.input_blocks.2.0.op.weight"] = torch.zeros(32, 32, 3, 3)
    torch.save(tensors, tmp_path / "made.pth")
    message = refusal(tmp_path / "made.pth", image_size=17)
    for part in ("3 channels", "resblock_updown", "17 px"):
        assert part in message


def test_the_released_files_are_recognised() -> None:
    names = frozenset(released(palette()))
    assert recognises(Contents(tensors=names))
    assert recognises(Contents(tensors=frozenset(f"module.{name}" for name in names)))
    assert recognises(Contents(config={"_class_name": "UNet2DModel"}))
    assert not recognises(Contents(tensors=frozenset({"patch_embed.proj.weight", "pos_embed"})))
    assert not recognises(Contents(config={"_class_name": "UNet2DConditionModel"}))
    assert FAMILY.name == PaletteGenerator.family


def test_schedules_follow_their_papers() -> None:
    released_schedule = NoiseSchedule()
    assert released_schedule.betas()[0] == pytest.approx(1e-6)
    assert released_schedule.betas()[-1] == pytest.approx(0.01)
    # Nichol and Dhariwal: alpha-bar halfway is cos^2((0.5 + 0.008) / 1.008 * pi / 2) / cos^2(0.008 / 1.008 * pi / 2)
    cosine = NoiseSchedule(steps=1000, shape="squaredcos_cap_v2").gammas()
    assert cosine[499] == pytest.approx(0.4938, abs=1e-3)
    assert (np.diff(cosine) < 0).all()
