"""Models of every family, and classifiers, whose files are damaged or lie: one message, and no memory taken for it."""

from __future__ import annotations

import json
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from efface.adapters import merge, read_adapter
from efface.classifiers import load_classifier, save_classifier
from efface.errors import InputError
from efface.generators import load_generator
from efface.testing.models import tiny_classifier
from support.families import MODELS, untrained

FAMILIES = ("mae", "mage", "palette", "latent-inpainting")
KINDS = (*FAMILIES, "classifier")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    for family in FAMILIES:
        MODELS[family]().save_pretrained(folder / family)
    (folder / "classifier").mkdir()
    save_classifier(tiny_classifier(), folder / "classifier")
    return {kind: folder / kind for kind in KINDS}


@pytest.fixture(params=KINDS)
def model(request: pytest.FixtureRequest, models: dict[str, Path], tmp_path: Path) -> tuple[str, Path]:
    shutil.copytree(models[request.param], tmp_path / "model")
    return request.param, tmp_path / "model"


def refusal(kind: str, folder: Path) -> str:
    opener: Callable[[str], object] = load_classifier if kind == "classifier" else load_generator
    with pytest.raises(InputError) as caught:
        opener(str(folder))
    return str(caught.value)


def weights_in(folder: Path) -> Path:
    return sorted(folder.rglob("*.safetensors"), key=lambda file: file.stat().st_size)[-1]


def changed(file: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> str:
    """Change the largest tensor of a file; returns its name."""
    tensors = load_file(file)
    name = max(tensors, key=lambda name: tensors[name].numel())
    tensors[name] = change(tensors[name].clone())
    save_file(tensors, file, metadata={"format": "pt"})
    return name


def with_nan(tensor: torch.Tensor) -> torch.Tensor:
    tensor.view(-1)[3] = float("nan")
    return tensor


def with_infinity(tensor: torch.Tensor) -> torch.Tensor:
    tensor.view(-1)[0] = -float("inf")
    return tensor


@pytest.mark.parametrize("odd", [with_nan, with_infinity])
def test_weights_that_are_no_numbers_are_named(
    odd: Callable[[torch.Tensor], torch.Tensor], model: tuple[str, Path]
) -> None:
    kind, folder = model
    name = changed(weights_in(folder), odd)
    message = refusal(kind, folder)
    assert "NaN or infinite" in message
    assert name.rpartition(".")[0].rpartition(".")[2] in message


def test_weights_that_are_whole_numbers_are_named(model: tuple[str, Path]) -> None:
    kind, folder = model
    name = changed(weights_in(folder), lambda tensor: (tensor * 1000).to(torch.int64))
    message = refusal(kind, folder)
    assert name in message
    # diffusers says it in its own words
    assert "which is no type of weights" in message or "Only Tensors of floating point" in message


@pytest.mark.parametrize("share", [0, 0.0005, 0.5, 0.999])
def test_a_file_that_was_cut_is_said_to_be(share: float, model: tuple[str, Path]) -> None:
    kind, folder = model
    file = weights_in(folder)
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    message = refusal(kind, folder)
    assert any(words in message for words in ("cannot be read", "not a readable file", "is an empty file"))


SIZES = {
    "mae": ({"num_hidden_layers": 10**7}, {"hidden_size": 2 * 10**6}, {"image_size": 8 * 10**5}),
    "mage": ({"layers": 10**7}, {"vocabulary_size": 10**9}),
    "palette": ({"block_out_channels": [2**20, 2**20]}, {"layers_per_block": 10**7}),
    "classifier": (),
}


@pytest.mark.parametrize(
    ("kind", "change"), [(kind, change) for kind, changes in SIZES.items() for change in changes]
)
def test_a_config_of_a_network_that_the_weights_cannot_fill_takes_no_memory(
    kind: str,
    change: dict[str, object],
    models: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if kind != "mae":  # which is refused by the bound as it is
        monkeypatch.setattr("efface.model_bounds.SPARE_MODULES", 1000)
    folder = shutil.copytree(models[kind], tmp_path / "model")
    values = json.loads((folder / "config.json").read_text())
    assert set(change) <= set(values), sorted(values)
    (folder / "config.json").write_text(json.dumps({**values, **change}))
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refusal(kind, folder)
    assert time.monotonic() - began < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20


def test_factors_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    generator = untrained("latent-inpainting")
    name = next(
        name.removesuffix(".weight")
        for name, weight in generator.network.unet.named_parameters()
        if name.endswith("to_q.weight")
    )
    rows, columns = generator.network.unet.get_parameter(f"{name}.weight").shape
    factors = {
        f"unet.{name}.lora_A.weight": torch.ones(2, columns),
        f"unet.{name}.lora_B.weight": torch.ones(rows, 2),
    }
    factors[f"unet.{name}.lora_B.weight"][0, 0] = float("nan")
    save_file(factors, tmp_path / "factors.safetensors")
    with pytest.raises(InputError, match="NaN or infinite"):
        merge(read_adapter(str(tmp_path / "factors.safetensors")), {"unet": generator.network.unet})
