"""Files of weights as people have them are read to one network's tensors, and what was done is said."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from efface.errors import InputError
from efface.model_files import contents_of
from efface.weights import read_weights

NETWORK = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
PLAIN = {f"layers.{name}": tensor for name, tensor in NETWORK.state_dict().items()}
BARE = {"stem.weight": torch.ones(2), **PLAIN}


def prefixed(prefix: str, tensors: dict[str, Tensor] = BARE) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def same(read: dict[str, Tensor], wanted: dict[str, Tensor] = BARE) -> bool:
    return set(read) == set(wanted) and all(torch.equal(read[name], wanted[name].float()) for name in wanted)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (BARE, []),
        ({"model": BARE, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}, ["the entry 'model'"]),
        ({"state_dict": prefixed("model."), "pytorch-lightning_version": "2.5"}, ["'state_dict'", "'model.' taken off"]),
        ({"net": prefixed("module."), "acc": 95.1}, ["the entry 'net'", "'module.'"]),
        (prefixed("_orig_mod."), ["'_orig_mod.' taken off"]),
        (prefixed("module._orig_mod.model."), ["'_orig_mod.', 'module.model.'"]),
        ({"state": {"weights": prefixed("whatever.")}}, ["'state.weights'", "'whatever.'"]),
        (prefixed("module.") | {"n_averaged": torch.tensor(3)}, ["left out of the file, and not changed: n_averaged"]),
        (prefixed("model.") | {"criterion.weight": torch.ones(3)}, ["criterion.weight"]),
        ({"model": prefixed("module."), "rng_state": torch.zeros(8, dtype=torch.uint8)}, ["'module.'"]),
    ],
)  # fmt: skip
def test_wrappers_and_prefixes_are_taken_off_and_told(content: Any, said: list[str], tmp_path: Path) -> None:
    torch.save(content, tmp_path / "file.ckpt")
    read = read_weights(tmp_path / "file.ckpt")
    assert same(read.tensors)
    assert bool(read.notes) == bool(said)
    assert all(words in " ".join(read.notes) for words in said)
    assert contents_of(str(tmp_path / "file.ckpt")).tensors == set(BARE)


def test_a_part_that_was_compiled_has_its_own_names(tmp_path: Path) -> None:
    torch.save(
        {name.replace("layers.", "layers._orig_mod."): t for name, t in BARE.items()}, tmp_path / "a.pt"
    )
    assert same(read_weights(tmp_path / "a.pt").tensors)


def test_only_so_much_is_taken_off_as_the_network_wants(tmp_path: Path) -> None:
    save_file(prefixed("module.", PLAIN), tmp_path / "a.safetensors")
    assert same(read_weights(tmp_path / "a.safetensors", wanted=PLAIN).tensors, PLAIN)
    save_file(prefixed("model.", PLAIN), tmp_path / "own.safetensors")
    own = prefixed("model.", PLAIN)
    assert same(read_weights(tmp_path / "own.safetensors", wanted=own).tensors, own)


EMA = {name: tensor + 1 for name, tensor in BARE.items()}


@pytest.mark.parametrize(
    ("content", "plain", "averaged"),
    [
        ({"state_dict": BARE, "state_dict_ema": EMA}, "state_dict", "state_dict_ema"),
        ({"params": BARE, "params_ema": EMA}, "params", "params_ema"),
        ({"model": prefixed("module."), "model_ema": prefixed("module.", EMA)}, "model", "model_ema"),
        ({"state_dict": prefixed("model.") | prefixed("ema_model.", EMA)}, "state_dict.model", "state_dict.ema_model"),
        ({"model": BARE, "ema": prefixed("ema_model.", EMA) | {"step": torch.tensor(1)}}, "model", "ema"),
        (BARE | prefixed("ema.", EMA), "plain", "ema"),
        ({"generator": BARE, "discriminator": EMA}, "generator", "discriminator"),
    ],
)  # fmt: skip
def test_where_a_file_holds_several_sets_of_weights_the_user_says_which(
    content: Any, plain: str, averaged: str, tmp_path: Path
) -> None:
    path = tmp_path / "both.pth"
    torch.save(content, path)
    with pytest.raises(InputError, match=r"several sets of weights: .*--set model\.entry=NAME") as error:
        read_weights(path)
    assert plain in str(error.value)
    assert averaged in str(error.value)
    assert same(read_weights(path, plain).tensors)
    read = read_weights(path, averaged)
    assert torch.equal(read.tensors["stem.weight"], EMA["stem.weight"])
    # a model is told all the same, so that its own settings are read first
    assert contents_of(str(path)).tensors == set(BARE)
    with pytest.raises(InputError, match=r"has no entry 'other'\. There are: "):
        read_weights(path, "other")


def test_one_of_several_networks_in_a_state_dict_can_be_named(tmp_path: Path) -> None:
    torch.save({"state_dict": prefixed("netG.") | prefixed("netD.", EMA)}, tmp_path / "gan.ckpt")
    read = read_weights(tmp_path / "gan.ckpt", "netG")
    assert same(read.tensors)
    assert "left out of the file, and not changed: netD" in read.notes[1]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_numbers_become_float32_and_it_is_said(kind: torch.dtype, tmp_path: Path) -> None:
    halves = {name: tensor.to(kind) for name, tensor in BARE.items()}
    save_file(halves, tmp_path / "a.safetensors")
    read = read_weights(tmp_path / "a.safetensors")
    assert {tensor.dtype for tensor in read.tensors.values()} == {torch.float32}
    name = str(kind).removeprefix("torch.")
    assert read.notes == (f"weights: stored as {name}; computed and saved as float32",)


def test_weights_in_several_files_are_read_as_one(tmp_path: Path) -> None:
    first, second = dict(list(BARE.items())[:2]), dict(list(BARE.items())[2:])
    save_file(first, tmp_path / "a-1.safetensors")
    save_file(second, tmp_path / "a-2.safetensors")
    places = dict.fromkeys(first, "a-1.safetensors") | dict.fromkeys(second, "a-2.safetensors")
    index = tmp_path / "a.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    assert same(read_weights(index).tensors)
    index.write_text(json.dumps({"weight_map": {**places, "x": "../a-1.safetensors", "y": "gone"}}))
    with pytest.raises(InputError) as error:
        read_weights(index)
    assert "../a-1.safetensors does not lie beside it" in str(error.value)
    assert "gone does not lie beside it" in str(error.value)


def test_a_file_is_read_by_what_it_holds_and_not_by_its_name(tmp_path: Path) -> None:
    save_file(BARE, tmp_path / "named.ckpt")
    torch.save(BARE, tmp_path / "named.safetensors")
    assert same(read_weights(tmp_path / "named.ckpt").tensors)
    assert same(read_weights(tmp_path / "named.safetensors").tensors)


def archive(*names: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as made:
            for name in names:
                made.writestr(name, b"")

    return write


@pytest.mark.parametrize(
    ("name", "write", "told"),
    [
        ("m.onnx", b"\x08\x07\x12\x07pytorch", "an ONNX model, which is not read"),
        ("renamed.pth", b"\x08\x07\x12\x07pytorch", "an ONNX model, which is not read"),
        ("m.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 9, "an HDF5 file, as of a Keras model, which is not read"),
        ("m.keras", archive("config.json", "model.weights.h5"), "a Keras model, which is not read"),
        ("m.tflite", b"\x1c\0\0\0TFL3", "a TensorFlow Lite model, which is not read"),
        ("saved_model.pb", b"\x01\x02", "a TensorFlow model, which is not read"),
        ("m.gguf", b"GGUF\x03", "a GGUF file of llama.cpp, which is not read"),
        ("m.npz", archive("a.npy", "b.npy"), "an archive of NumPy arrays, which is not read"),
        ("m.pt", archive("m/data.pkl", "m/code/__torch__.py"), "a TorchScript program, which is not read"),
        ("m.zip", archive("photo.png"), "a zip archive: unpack it first"),
        ("m.pth", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("m.pth", b"<!DOCTYPE html><html>", "a web page: the download went wrong"),
        ("m.pth", b"", "an empty file"),
    ],
)
def test_a_format_that_is_not_read_is_named(
    name: str, write: bytes | Callable[[Path], None], told: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if isinstance(write, bytes):
        path.write_bytes(write)
    else:
        write(path)
    with pytest.raises(InputError) as error:
        contents_of(str(path))
    assert f"{path} is {told}" in str(error.value) or (told in str(error.value))
    assert "truncated" not in str(error.value)
    assert ("--set model.network=" in str(error.value)) == ("which is not read" in told)
