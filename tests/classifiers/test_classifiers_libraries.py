"""Classifiers of transformers and timm: opened with what their folders say, and written back for their library."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForImageClassification, ResNetConfig, ResNetForImageClassification

from efface.classifiers import ClassifierSettings, is_classifier, load_classifier, save_classifier
from efface.classifiers.classifier import Classifier, Normalisation
from efface.classifiers.transformers_folder import preparation
from efface.errors import InputError
from support.classifier_models import CLASSES, pictures, stirred

PREPROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": 16, "width": 16},
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 0.00392156862745098,
    "do_normalize": True,
    "image_mean": [0.4, 0.5, 0.6],
    "image_std": [0.2, 0.3, 0.25],
}
TIMM = {
    "architecture": "tiny_conv",
    "num_classes": 4,
    "model_args": {"width": 6, "num_classes": 4},
    "pretrained_cfg": {
        "input_size": [3, 16, 16],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "tag": "x",
    },
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny ResNet as transformers saves it, with its image processor's settings."""
    folder = tmp_path_factory.mktemp("resnet")
    config = ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8],
        depths=[1, 1],
        layer_type="basic",
        id2label=dict(enumerate(CLASSES)),
        label2id={name: number for number, name in enumerate(CLASSES)},
    )
    stirred(ResNetForImageClassification(config)).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def changed(path: Path, **changes: Any) -> None:
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as refused:
        load_classifier(ClassifierSettings(path=str(path), **options))
    return str(refused.value)


def logits(classifier: Classifier) -> Tensor:
    with torch.no_grad():
        return classifier(pictures(size=classifier.image_size))


def by_transformers(folder: Path, images: Tensor) -> Tensor:
    network = AutoModelForImageClassification.from_pretrained(folder, local_files_only=True)
    mean, std = (torch.tensor(PREPROCESSOR[f"image_{name}"]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        out: Tensor = network((images / 255 - mean) / std).logits
    return out


# transformers


def test_a_folder_of_transformers_opens_with_all_that_it_says(folder: Path) -> None:
    assert is_classifier(str(folder))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    found = load_classifier(folder)
    assert torch.equal(torch.get_rng_state(), before)
    assert (found.classes, found.image_size, found.channels) == (CLASSES, 16, 3)
    assert found.normalisation == Normalisation(255.0, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
    assert isinstance(found.head, nn.Linear)
    assert not found.training
    assert logits(found).std() > 0
    assert torch.allclose(logits(found), by_transformers(folder, pictures()), atol=1e-5)
    assert found.describe()["origin"]["kind"] == "transformers"


def test_a_saved_folder_opens_with_plain_transformers_and_again(folder: Path, tmp_path: Path) -> None:
    found = load_classifier(folder)
    with torch.no_grad():
        found.head.weight.mul_(2)
    shutil.rmtree(folder)
    save_classifier(found, tmp_path / "again")
    again = load_classifier(tmp_path / "again")
    assert again.weights_digest() == found.weights_digest()
    assert torch.equal(logits(again), logits(found))
    assert torch.allclose(by_transformers(tmp_path / "again", pictures()), logits(found), atol=1e-5)
    assert json.loads((tmp_path / "again" / "preprocessor_config.json").read_text()) == PREPROCESSOR
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert config["architectures"] == ["ResNetForImageClassification"]
    assert config["id2label"] == {str(number): name for number, name in enumerate(CLASSES)}
    assert str(tmp_path) not in json.dumps(config), "no path of this machine is written"


def test_what_the_user_says_is_written_into_the_folder(folder: Path, tmp_path: Path) -> None:
    settings = {
        "classes": ("a", "b", "c", "d"),
        "image_size": 24,
        "scale": 1.0,
        "mean": (9.0,),
        "std": (2.0,),
    }
    found = load_classifier(ClassifierSettings(path=str(folder), **settings))
    save_classifier(found, tmp_path / "again")
    again = load_classifier(tmp_path / "again")
    assert (again.classes, again.image_size) == (settings["classes"], 24)
    assert again.normalisation == Normalisation(1.0, (9.0,) * 3, (2.0,) * 3)
    assert torch.equal(logits(again), logits(found))
    preprocessor = json.loads((tmp_path / "again" / "preprocessor_config.json").read_text())
    assert preprocessor["resample"] == 3, "what is not changed is kept"


def test_a_folder_without_an_image_processor_asks_and_is_saved_with_one(folder: Path, tmp_path: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    message = refusal(folder)
    assert "give --set model.image_size=N" in message
    assert "does not say how pictures are normalised" in message
    found = load_classifier(ClassifierSettings(path=str(folder), image_size=16, mean=(0.5,), std=(0.25,)))
    save_classifier(found, tmp_path / "again")
    again = load_classifier(tmp_path / "again")
    assert (again.image_size, again.normalisation) == (16, Normalisation(255.0, (0.5,) * 3, (0.25,) * 3))
    assert torch.equal(logits(again), logits(found))


@pytest.mark.parametrize(
    ("said", "size", "normalisation"),
    [
        ({}, None, None),
        ({"size": 32}, 32, None),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, 224, None),
        ({"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}}, 224, None),
        ({"size": 8, "do_normalize": False}, 8, Normalisation()),
        ({"size": 8, "do_normalize": False, "do_rescale": False}, 8, Normalisation(1.0)),
        ({"image_mean": 0.5, "image_std": 0.25}, None, Normalisation(255.0, (0.5,), (0.25,))),
        ({"image_mean": [1, 2, 3], "image_std": [4, 5, 6], "rescale_factor": 0.5}, None,
         Normalisation(2.0, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0))),
        # a processor with a step of its own: what it does is not guessed
        ({"size": 8, "image_mean": [0.5], "image_std": [0.5], "rescale_offset": True}, 8, None),
    ],
)  # fmt: skip
def test_what_an_image_processor_says_is_understood(
    said: dict[str, Any], size: int | None, normalisation: Normalisation | None
) -> None:
    assert preparation(said) == (size, normalisation)


def test_faults_of_a_folder_of_transformers_are_named(folder: Path) -> None:
    preprocessor, config = folder / "preprocessor_config.json", folder / "config.json"
    changed(preprocessor, size={"height": 16, "width": 24})
    assert "preprocessor_config.json is not usable: its pictures are 16 x 24: only square" in refusal(folder)
    changed(preprocessor, size=16)
    assert "model.classes has 3 names, and the network gives 4 logits" in refusal(
        folder, classes=("a", "b", "c")
    )
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "classifier.1.weight": torch.zeros(4, 9)}, folder / "model.safetensors")
    assert "classifier.1.weight: stored as (4, 9), the network has (4, 8)" in refusal(folder)
    del weights["classifier.1.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "missing: classifier.1.weight" in refusal(folder)
    (folder / "model.safetensors").write_bytes(b"hello")
    assert f"the model at {folder} cannot be read: " in refusal(folder)
    changed(config, problem_type="multi_label_classification")
    save_file({**weights, "classifier.1.weight": torch.zeros(4, 8)}, folder / "model.safetensors")
    assert "gives several labels to a picture" in refusal(folder)
    changed(config, model_type="mine", auto_map={"AutoModelForImageClassification": "harm.Model"})
    assert "comes with code of its own: nothing of it was run" in refusal(folder)


# timm


class TinyConv(nn.Module):
    """Stands for a network of timm: the settings of its folder are arguments of `create_model`."""

    def __init__(self, channels: int, classes: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3)
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.head(self.stem(images).relu().mean((2, 3)))
        return out


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A stand-in for timm, which needs torchvision; what it was asked for."""
    asked: list[dict[str, Any]] = []

    def create_model(
        name: str, pretrained: bool, num_classes: int, in_chans: int, width: int = 3
    ) -> nn.Module:
        asked.append({"name": name, "pretrained": pretrained, "width": width})
        if name != "tiny_conv":
            raise RuntimeError(f"Unknown model ({name})")
        return TinyConv(in_chans, num_classes, width)

    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create_model))
    return asked


@pytest.fixture
def timm_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "timm"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(TIMM))
    torch.save(stirred(TinyConv(3, 4, 6)).state_dict(), folder / "pytorch_model.bin")
    return folder


def test_a_folder_of_timm_opens_and_is_written_back(
    timm: list[dict[str, Any]], timm_folder: Path, tmp_path: Path
) -> None:
    assert is_classifier(str(timm_folder))
    found = load_classifier(timm_folder)
    assert timm == [{"name": "tiny_conv", "pretrained": False, "width": 6}]
    assert (found.classes, found.image_size) == (("0", "1", "2", "3"), 16)
    assert found.normalisation == Normalisation(255.0, (0.5,) * 3, (0.25,) * 3)
    save_classifier(found, tmp_path / "again")
    again = load_classifier(tmp_path / "again")
    assert again.weights_digest() == found.weights_digest()
    assert torch.equal(logits(again), logits(found))
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert {key: config[key] for key in TIMM} == TIMM


def test_another_scale_is_written_as_timm_would_apply_it(
    timm: list[dict[str, Any]], timm_folder: Path, tmp_path: Path
) -> None:
    found = load_classifier(
        ClassifierSettings(
            path=str(timm_folder), classes=CLASSES, scale=51.0, mean=(1.0, 2.0, 3.0), std=(0.5,)
        )
    )
    save_classifier(found, tmp_path / "again")
    again = load_classifier(tmp_path / "again")
    # (x / 51 - 1) / 0.5 = (x / 255 - 0.2) / 0.1
    assert again.normalisation.scale == 255.0
    assert again.normalisation.mean == pytest.approx((0.2, 0.4, 0.6))
    assert again.normalisation.std == pytest.approx((0.1,) * 3)
    assert again.classes == CLASSES
    assert torch.allclose(logits(again), logits(found), atol=1e-4)


def test_without_timm_the_folder_is_refused_with_what_is_needed(
    timm_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    message = refusal(timm_folder)
    assert f"{timm_folder} holds a model of timm, which cannot be imported here" in message
    assert "Install timm and a torchvision that fits the installed torch" in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "other"}, "cannot be read: RuntimeError: Unknown model (other)"),
        (
            {"architecture": "hf-hub:nobody/harm"},
            "asks timm for another model than its own: nothing was opened",
        ),
        ({"model_args": {"checkpoint_path": "x.pth"}}, "asks timm for another model than its own"),
        ({"model_args": {"depth": 3}}, "cannot be read: TypeError: "),
        (
            {"pretrained_cfg": {"mean": [0.5], "std": [0.5]}},
            "pretrained_cfg.input_size: it is needed and was not given",
        ),
        ({"pretrained_cfg": {**TIMM["pretrained_cfg"], "input_size": [3, 8, 16]}}, "only square ones"),
        ({"num_classes": 5}, "head.weight: stored as (4, 6), the network has (5, 6)"),
    ],
)
def test_faults_of_a_folder_of_timm_are_named(
    changes: dict[str, Any], message: str, timm: list[dict[str, Any]], timm_folder: Path
) -> None:
    changed(timm_folder / "config.json", **changes)
    assert message in refusal(timm_folder)
