"""Files that are not what they seem: each is refused with one message that says what and what to do."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import ViTMAEModel

from efface.errors import InputError
from efface.generators import load_generator
from efface.generators.base import PixelMoments
from efface.generators.mae.family import MaeSettings
from efface.generators.mae.generator import MaeGenerator
from efface.generators.mae.risks import risks
from efface.generators.registry import FAMILIES
from support.released_layout import released, save_released
from support.tiny_models import pictures, tiny, view

HEADS = {"heads": 2, "decoder_heads": 2}


class OpensAFile:
    """Unpickled by a careless reader, this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def with_config(folder: Path, **changes: Any) -> str:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return str(folder)


def refusal(settings: MaeSettings | str | Path) -> str:
    with pytest.raises(InputError) as caught:
        load_generator(settings if isinstance(settings, MaeSettings) else str(settings))
    message = str(caught.value)
    assert "Traceback" not in message
    assert "weights_only" not in message, "torch's advice to load it anyway is not passed on"
    assert "\x1b" not in message
    return message


def changed_release(path: Path, drop: str = "", **changes: Any) -> MaeSettings:
    state = {
        name: tensor for name, tensor in released(tiny().network).items() if not drop or drop not in name
    }
    torch.save({"model": {**state, **changes}}, path)
    return MaeSettings(path=str(path), **HEADS)


# an encoder alone


def test_a_released_encoder_without_decoder_is_explained(tmp_path: Path) -> None:
    state = {
        name: tensor
        for name, tensor in released(tiny().network).items()
        if not name.startswith("decoder") and name != "mask_token"
    }
    torch.save({"model": state}, tmp_path / "mae_pretrain_vit_tiny.pth")
    message = refusal(tmp_path / "mae_pretrain_vit_tiny.pth")
    assert "an encoder without its decoder" in message
    assert "mae_visualize_vit_*.pth" in message


def test_an_encoder_saved_by_transformers_is_explained(tmp_path: Path) -> None:
    ViTMAEModel(tiny().config).save_pretrained(tmp_path)
    message = refusal(tmp_path)
    assert "an encoder without its decoder" in message
    assert str(tmp_path) in message


# damaged files


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_pth_file_is_named(share: float, tmp_path: Path) -> None:
    path = Path(save_released(tiny().network, tmp_path / "whole.pth"))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    message = refusal(path)
    assert f"{path} is not a readable checkpoint: it is truncated, or no file of weights" in message


@pytest.mark.parametrize("content", [b"hello\n", b"\0" * 64])
def test_a_file_of_something_else_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    assert f"{path} is not a readable checkpoint" in refusal(path)


def test_a_pickle_of_something_else_is_named(tmp_path: Path) -> None:
    torch.save([1, 2, 3], tmp_path / "list.pth")
    assert "list.pth holds no tensors by name" in refusal(tmp_path / "list.pth")
    torch.save({"model": {"conv1.weight": torch.zeros(2)}}, tmp_path / "resnet.pth")
    assert "holds the tensors conv1.weight, ..., which is no model that efface knows" in refusal(
        tmp_path / "resnet.pth"
    )


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_safetensors_file_is_named(share: float, folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert f"the model at {folder} cannot be read" in refusal(folder)


def test_a_folder_without_weights_is_named(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "no file named model.safetensors" in refusal(folder)


@pytest.mark.parametrize(
    "drop", ["pos_embed", "blocks.0.mlp.fc1.weight", "decoder_embed.weight", "norm2.bias"]
)
def test_missing_tensors_of_a_release_are_named(drop: str, tmp_path: Path) -> None:
    message = refusal(changed_release(tmp_path / "holes.pth", drop))
    named = {"norm2.bias": "layernorm_after.bias"}.get(drop, drop)
    assert named in message


def test_mismatched_shapes_name_the_first_tensors_with_both_shapes(tmp_path: Path) -> None:
    state = {f"blocks.{number}.norm1.weight": torch.zeros(7) for number in range(2)}
    message = refusal(changed_release(tmp_path / "odd.pth", "", **state))
    assert re.search(
        r"layers?\.0\S*layernorm_before\.weight: stored as \(7,\), the network has \(32,\)", message
    )
    assert re.search(r"layers?\.1\S*layernorm_before\.weight: stored as \(7,\)", message)


def test_a_config_that_asks_for_other_weights_names_at_most_five(folder: Path) -> None:
    message = refusal(with_config(folder, hidden_size=48))
    assert message.count("stored as") == 5
    assert "stored as (1, 1, 32), the network has (1, 1, 48)" in message
    assert "missing: vit.layers.2" in refusal(with_config(folder, hidden_size=32, num_hidden_layers=3))
    assert "not part of it: vit.layers.1" in refusal(with_config(folder, num_hidden_layers=1))


# code instead of weights


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_refused_and_none_of_it_runs(zipped: bool, tmp_path: Path) -> None:
    trace = tmp_path / "the code ran"
    content = {"model": released(tiny().network), "args": OpensAFile(trace)}
    torch.save(content, tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped)
    message = refusal(tmp_path / "evil.pth")
    assert f"{tmp_path / 'evil.pth'}" in message
    assert "carries code (io.open)" in message
    assert "Nothing of it was run" in message
    assert not trace.exists()
    torch.load(tmp_path / "evil.pth", weights_only=False)["args"].close()
    assert trace.exists(), "a careless reader would have run it"


def test_code_in_the_weights_of_a_folder_is_refused_too(folder: Path) -> None:
    trace = folder / "the code ran"
    (folder / "model.safetensors").unlink()
    torch.save({**tiny().network.state_dict(), "x": OpensAFile(trace)}, folder / "pytorch_model.bin")
    message = refusal(folder)
    assert "carries code (io.open)" in message
    assert not trace.exists()


def test_options_kept_by_the_training_script_are_admitted_and_read(tmp_path: Path) -> None:
    for said in (True, False):
        options = argparse.Namespace(norm_pix_loss=said, model="mae_vit_tiny")
        path = save_released(tiny().network, tmp_path / f"{said}.pth", args=options)
        generator = load_generator(MaeSettings(path=path, **HEADS))
        assert generator.network.config.norm_pix_loss is said
        assert generator.describe()["origin"]["norm_pix_loss"] == "file"
        forced = load_generator(MaeSettings(path=path, norm_pix_loss=not said, **HEADS))
        assert forced.network.config.norm_pix_loss is not said
        assert forced.describe()["origin"]["norm_pix_loss"] == "settings"


def test_what_a_release_does_not_say_is_noted_as_assumed(tmp_path: Path) -> None:
    path = save_released(tiny().network, tmp_path / "silent.pth")
    origin = load_generator(MaeSettings(path=path, **HEADS)).describe()["origin"]
    assert origin["norm_pix_loss"] == "assumed"
    assert origin["image_statistics"] == "ImageNet (assumed)"
    assert re.fullmatch(r"[0-9a-f]{64}", origin["sha256"])


# sizes


def test_an_unusual_width_asks_for_the_heads(tmp_path: Path) -> None:
    path = save_released(tiny().network, tmp_path / "narrow.pth")
    message = refusal(path)
    assert "encoder of width 32: give --set model.heads=N" in message
    assert "decoder of width 32: give --set model.decoder_heads=N" in message
    one = refusal(MaeSettings(path=path, heads=2))
    assert "encoder" not in one
    assert "model.decoder_heads" in one


def test_heads_that_do_not_divide_the_width_are_refused(tmp_path: Path) -> None:
    path = save_released(tiny().network, tmp_path / "narrow.pth")
    message = refusal(MaeSettings(path=path, heads=5, decoder_heads=2))
    assert "encoder of width 32: model.heads=5 does not divide it" in message


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"image_size": [32, 64]}, "image_size is (32, 64): only square"),
        ({"patch_size": [8, 4]}, "patch_size is (8, 4): only square"),
        ({"num_channels": 4}, "takes 4 channels: images have three, or one for a grey network"),
        ({"image_size": 36}, "image_size 36 is no multiple of patch_size 8"),
        ({"hidden_size": "wide"}, "expected int, got str"),
    ],
)
def test_architectures_that_cannot_be_used_are_refused(changes: dict, told: str, folder: Path) -> None:
    assert told in refusal(with_config(folder, **changes))


def test_all_faults_of_an_architecture_come_at_once(folder: Path) -> None:
    message = refusal(with_config(folder, image_size=[32, 64], num_channels=4))
    assert "only square" in message
    assert "it takes 4 channels" in message


def test_a_release_for_grey_images_opens(tmp_path: Path) -> None:
    path = save_released(tiny(num_channels=1).network, tmp_path / "grey.pth")
    model = load_generator(MaeSettings(path=path, **HEADS))
    assert model.describe()["origin"]["reading"][-1].startswith("pictures: shown and restored in grey")


@pytest.mark.parametrize("changes", [{"image_size": [32, 32]}, {"patch_size": [8, 8]}])
def test_a_square_written_as_a_pair_is_a_square(changes: dict, folder: Path) -> None:
    from support.tiny_models import pictures, view

    generator = load_generator(with_config(folder, **changes))
    assert (generator.image_size, generator.grid) == (32, 4)
    restored = generator.restore(view(generator, pictures(1)))
    assert torch.equal(restored, tiny().restore(view(tiny(), pictures(1))))


# what the folder says of itself


def test_another_kind_of_model_is_named(folder: Path) -> None:
    message = refusal(with_config(folder, model_type="vit"))
    assert "holds a 'vit' model, which is no model that efface knows" in message
    assert all(f"- {family.name}: {family.summary}" in message for family in FAMILIES.values())


def test_folders_that_hold_no_model(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "not a model folder: it has no config.json" in refusal(tmp_path / "empty")
    (folder / "config.json").write_text("{")
    assert "config.json cannot be read" in refusal(folder)
    (folder / "config.json").write_text("{}")
    assert "names neither model_type nor architecture" in refusal(folder)


@pytest.mark.parametrize("path", ["./missing", "missing", "/missing/model", "a/b/c", "owner/name"])
def test_a_path_that_is_not_there_is_said_to_be_missing(path: str) -> None:
    assert f"no model at {path}: no such file or folder" in refusal(path)


def test_a_hub_id_without_network_gives_one_clear_message_at_once() -> None:
    began = time.monotonic()
    message = refusal("hub:some-owner/some-model")
    assert time.monotonic() - began < 5
    assert "the model hub:some-owner/some-model cannot be read" in message
    assert "connection" in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("said", "mean", "std"),
    [
        ({"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.2]}, [0.5, 0.4, 0.3], [0.2, 0.2, 0.2]),
        ({"image_mean": 0.5, "image_std": [0.25]}, [0.5] * 3, [0.25] * 3),
        ({"do_normalize": False, "image_mean": [0.5] * 3, "image_std": [0.2] * 3}, [0.0] * 3, [1.0] * 3),
        ({}, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ],
)
def test_channel_statistics_come_from_the_folder(said: dict, mean: list, std: list, folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    described = load_generator(str(folder)).describe()
    assert described["image_mean"] == mean
    assert described["image_std"] == std
    own = load_generator(MaeSettings(path=str(folder), image_mean=(0.1, 0.1, 0.1))).describe()
    assert own["image_mean"] == [0.1] * 3
    assert own["image_std"] == std
    assert own["origin"]["image_statistics"] == "settings"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "cannot be read"),
        ('{"image_mean": [0.5, 0.5]}', "is not usable"),
        ('{"image_std": "wide"}', "is not usable"),
        ("[1]", "must hold keys and values"),
    ],
)
def test_channel_statistics_that_cannot_be_read_are_named(text: str, fault: str, folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text(text)
    assert f"{folder / 'preprocessor_config.json'} {fault}" in refusal(folder)


def test_a_deviation_of_zero_is_refused() -> None:
    with pytest.raises(InputError, match=r"image_std\.1: Input should be greater than 0"):
        MaeSettings.read({"path": "x", "image_std": (0.2, 0.0, 0.2)})


def test_a_grey_model_is_shown_grey_and_answers_in_grey(tmp_path: Path) -> None:
    tiny(num_channels=1).save_pretrained(tmp_path / "grey")
    model = load_generator(str(tmp_path / "grey"))
    assert isinstance(model, MaeGenerator)
    images = pictures(2)
    seen = view(model, images)
    brightness = (images * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(dim=1)
    assert torch.allclose(seen.images[:, 2], brightness)
    restored = model.restore(seen)
    assert torch.equal(restored[:, 0], restored[:, 2])
    assert bool(
        torch.isfinite(model.prediction_loss(model.predict(seen), model.task_target(seen), seen)).all()
    )
    moments = PixelMoments(torch.full((3,), 0.5), torch.full((3,), 0.2))
    for kind in ("standard-normal", "moment-matched"):
        assert model.noise_view(seen, kind, moments).inputs.shape == (2, 1, *images.shape[2:])
    assert "shown and restored in grey" in str(model.origin["reading"])
    assert all("mean" not in risk for risk in risks(model, images))
    model.save_pretrained(tmp_path / "saved")
    again = load_generator(str(tmp_path / "saved"))
    assert again.weights_digest() == model.weights_digest()
    assert torch.allclose(again.restore(view(again, images)), restored, atol=1e-6)
