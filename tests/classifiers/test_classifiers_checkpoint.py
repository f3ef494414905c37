"""Opening and saving classifiers: efface's folders, state dicts of ResNet-18, and what is said of bad files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from efface.classifiers import ClassifierSettings, is_classifier, load_classifier, save_classifier
from efface.classifiers.architecture import NetworkSettings
from efface.classifiers.classifier import Classifier, Normalisation
from efface.classifiers.committee import Committee
from efface.classifiers.networks import build
from efface.classifiers.own_networks import ResNet
from efface.errors import InputError
from efface.files import sha256_of_file
from support.classifier_models import CLASSES, NORMALISATION, logits, pictures, small, stirred

CIFAR = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2023, 0.1994, 0.2010)}


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    """A ResNet-18 of ten classes, as the starting kit's files hold it."""
    return stirred(build(NetworkSettings(network="resnet18", classes=10, image_size=32), seed=0))


@pytest.fixture
def narrow(resnet: nn.Module) -> dict[str, Tensor]:
    """The names of a ResNet-18 without its bulk: tensors of as many axes, one number wide."""
    tensors = resnet.state_dict()
    return {name: torch.zeros([min(side, 1) for side in tensors[name].shape]) for name in tensors}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_classifier(small(), tmp_path / "model")
    return tmp_path / "model"


def refusal(path: Path | str, **options: Any) -> str:
    with pytest.raises(InputError) as refused:
        load_classifier(ClassifierSettings(path=str(path), **options))
    message = str(refused.value)
    assert "weights_only" not in message, "torch's advice to load it anyway is not passed on"
    return message


def with_config(folder: Path, **changes: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


# efface's own folders


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"channels": 1, "image_size": 8},
        {"network": "mlp", "width": 6},
        {"committee": 3},
        {"committee": 2, "vote": "argmax"},
        {"network": "resnet18", "width": 16, "stem": "cifar"},
    ],
    ids=["small-conv", "grey", "mlp", "committee", "voting", "resnet18"],
)
def test_a_saved_classifier_opens_as_the_very_same(changes: dict[str, Any], tmp_path: Path) -> None:
    before = small(**changes)
    save_classifier(before, tmp_path / "model")
    after = load_classifier(tmp_path / "model")
    assert after.weights_digest() == before.weights_digest()
    assert torch.equal(logits(after), logits(before))
    assert logits(after).std() > 0
    assert (after.classes, after.image_size, after.channels) == (CLASSES, before.image_size, before.channels)
    assert (after.normalisation, after.blocks) == (before.normalisation, before.blocks)
    assert not after.training
    assert after.describe()["origin"] == {"kind": "efface"}
    assert is_classifier(str(tmp_path / "model"))


def test_a_folder_says_all_that_is_needed_and_has_no_other_files(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "efface-classifier"
    assert config["classes"] == list(CLASSES)
    assert config["normalisation"] == {"scale": 255.0, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25]}
    shape = {"network": "small-conv", "classes": 4, "channels": 3, "image_size": 16, "width": 4}
    assert config["network"] == {**shape, "committee": 1, "vote": "mean"}
    assert load_file(folder / "model.safetensors")["block1.conv.weight"].shape == (4, 3, 3, 3)


def test_a_committee_made_of_trained_parts_is_saved_whole(tmp_path: Path) -> None:
    one, other = small(seed=1), small(seed=2)
    committee = Committee([one.network, other.network])
    before = Classifier(committee, classes=CLASSES, image_size=16, normalisation=NORMALISATION)
    save_classifier(before.eval(), tmp_path)
    after = load_classifier(tmp_path)
    assert torch.equal(logits(after), logits(before))
    mean = (logits(one).softmax(1) + logits(other).softmax(1)) / 2
    assert torch.allclose(logits(after).exp(), mean, atol=1e-6)


def test_weights_that_two_members_share_are_written_under_both_names(tmp_path: Path) -> None:
    one = small()
    twice = Classifier(
        Committee([one.network, one.network]), classes=CLASSES, image_size=16, normalisation=NORMALISATION
    )
    save_classifier(twice.eval(), tmp_path)
    assert torch.allclose(logits(load_classifier(tmp_path)).exp(), logits(one).softmax(1), atol=1e-6)


def test_weights_in_another_memory_layout_are_saved_alike(tmp_path: Path) -> None:
    before = small()
    digest = before.weights_digest()
    before.to(memory_format=torch.channels_last)
    save_classifier(before, tmp_path)
    assert load_classifier(tmp_path).weights_digest() == digest


def test_what_the_user_says_takes_the_place_of_what_the_folder_says(folder: Path, tmp_path: Path) -> None:
    found = load_classifier(
        ClassifierSettings(path=str(folder), classes=("a", "b", "c", "d"), image_size=24, scale=1.0)
    )
    assert (found.classes, found.image_size) == (("a", "b", "c", "d"), 24)
    assert found.normalisation == Normalisation(1.0, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
    save_classifier(found, tmp_path / "again")
    again = load_classifier(tmp_path / "again")
    assert (again.classes, again.image_size, again.normalisation) == (found.classes, 24, found.normalisation)
    assert torch.equal(logits(again), logits(found))


def test_opening_and_saving_leaves_the_global_random_state_alone(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(4)
    before = torch.get_rng_state()
    save_classifier(load_classifier(folder), tmp_path / "again")
    assert torch.equal(torch.get_rng_state(), before)


def test_own_folders_open_without_the_large_libraries(folder: Path) -> None:
    code = (
        "import sys; from efface.classifiers import load_classifier; load_classifier(sys.argv[1]);"
        "sys.exit(bool({'transformers', 'diffusers', 'accelerate'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(folder)], check=False).returncode == 0


# state dicts


@pytest.mark.parametrize(
    ("pack", "said"),
    [
        (lambda tensors: tensors, []),
        (
            lambda tensors: {"state_dict": tensors, "epoch": 3},
            ["weights: of the file the entry 'state_dict' is read"],
        ),
        (
            lambda tensors: {f"module.{name}": tensor for name, tensor in tensors.items()},
            ["weights: 'module.' taken off the names of its tensors"],
        ),
        # files from before torch 0.4.1, such as torchvision's first ones
        (lambda tensors: {name: tensor for name, tensor in tensors.items() if "num_batches" not in name}, []),
    ],
    ids=["plain", "wrapped", "data-parallel", "without counters"],
)
def test_a_state_dict_of_the_starting_kit_opens(
    pack: Any, said: list[str], resnet: nn.Module, tmp_path: Path
) -> None:
    path = tmp_path / "weights_resnet18_cifar10.pth"
    torch.save(pack(resnet.state_dict()), path)
    assert is_classifier(str(path))
    found = load_classifier(ClassifierSettings(path=str(path), image_size=32, **CIFAR))
    assert isinstance(found.network, ResNet)
    assert found.classes == tuple("0123456789")
    origin = found.describe()["origin"]
    assert origin.pop("reading", []) == said
    assert origin == {"kind": "torchvision", "sha256": sha256_of_file(path), "stem": "imagenet"}
    images = pictures(2, 32)
    mean, std = (torch.tensor(CIFAR[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        wanted = resnet.eval()((images / 255 - mean) / std)
        assert torch.allclose(found(images), wanted, atol=1e-5)


def test_stem_channels_and_classes_are_read_off_the_tensors(tmp_path: Path) -> None:
    network = build(
        NetworkSettings(network="resnet18", classes=7, channels=1, image_size=28, stem="cifar"), seed=0
    )
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    found = load_classifier(
        ClassifierSettings(path=str(tmp_path / "weights.safetensors"), image_size=28, scale=1)
    )
    assert isinstance(found.network, ResNet)
    assert (found.network.stem, found.channels, len(found.classes)) == ("cifar", 1, 7)
    assert found.normalisation == Normalisation(1.0)
    save_classifier(found, tmp_path / "folder")
    again = load_classifier(tmp_path / "folder")
    assert again.weights_digest() == found.weights_digest()
    assert torch.equal(logits(again), logits(found))


def test_what_a_state_dict_does_not_say_is_asked_for_and_never_guessed(
    resnet: nn.Module, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(resnet.state_dict(), path)
    message = refusal(path, classes=("a", "b"))
    assert message.startswith(f"the classifier at {path} cannot be used:")
    assert "model.classes has 2 names, and the network gives 10 logits" in message
    assert "does not say the size of its pictures: give --set model.image_size=N" in message
    assert "does not say how pictures are normalised" in message
    for choice in (
        "CIFAR-10, as in the starting kit of the unlearning challenge: --set 'model.mean=[0.4914, 0.4822, 0.4465]' "
        "--set 'model.std=[0.2023, 0.1994, 0.2010]'",
        "ImageNet: --set 'model.mean=[0.485, 0.456, 0.406]' --set 'model.std=[0.229, 0.224, 0.225]'",
        "values in [0, 1]: --set model.scale=255",
        "raw values 0..255, as in the NeurIPS 2023 competition: --set model.scale=1",
    ):
        assert choice in message


def test_a_mean_without_a_deviation_is_refused() -> None:
    with pytest.raises(InputError, match="std: it is needed beside mean"):
        ClassifierSettings.read({"path": "x", "mean": [0.5]})
    with pytest.raises(InputError, match="mean: it is needed beside std"):
        ClassifierSettings.read({"path": "x", "std": [0.5]})


RESNETS: dict[str, dict[str, Any]] = {
    "34": {"stages": (3, 4, 6, 3)},
    "50": {"stages": (3, 4, 6, 3), "inner": 8},
    "wide": {"stages": (1, 1, 1, 1), "inner": 16},
    "next": {"stages": (1, 2, 1, 1), "inner": 8, "groups": 4},
    "cifar": {"stages": (3, 3, 3), "shortcut": "padding"},
}


@pytest.mark.parametrize("name", RESNETS)
def test_other_resnets_are_told_by_their_tensors(name: str, tmp_path: Path) -> None:
    shape = {**RESNETS[name], "planes": 8}
    before = stirred(ResNet(4, stem="cifar" if name == "cifar" else "imagenet", **shape)).eval()
    torch.save(
        {"state_dict": {f"model.{key}": value for key, value in before.state_dict().items()}},
        tmp_path / "a.ckpt",
    )
    found = load_classifier(ClassifierSettings(path=str(tmp_path / "a.ckpt"), image_size=32, scale=255))
    assert isinstance(found.network, ResNet)
    images = pictures(2, 32)
    with torch.no_grad():
        torch.testing.assert_close(found(images), before(images / 255))
    assert found.blocks[-2:] == (f"layer{len(shape['stages'])}", "fc")
    save_classifier(found, tmp_path / "folder")
    again = load_classifier(tmp_path / "folder")
    assert again.weights_digest() == found.weights_digest()
    assert torch.equal(logits(again), logits(found))


def test_a_resnet_of_pytorch_cifar_opens(tmp_path: Path) -> None:
    network = stirred(ResNet(4, stem="cifar", planes=8)).eval()
    theirs = {
        f"module.{name.replace('fc.', 'linear.').replace('downsample', 'shortcut')}": value
        for name, value in network.state_dict().items()
    }
    torch.save({"net": theirs, "acc": 95.1, "epoch": 199}, tmp_path / "ckpt.pth")
    found = load_classifier(ClassifierSettings(path=str(tmp_path / "ckpt.pth"), image_size=32, **CIFAR))
    assert {name: tuple(value.shape) for name, value in found.network.state_dict().items()} == {
        name: tuple(value.shape) for name, value in network.state_dict().items()
    }
    assert torch.equal(found.network.get_parameter("fc.weight"), network.get_parameter("fc.weight"))


def test_the_published_resnets_have_as_many_parameters_as_their_papers_say() -> None:
    """ResNet-50 and wide ResNet-50-2 of torchvision, and the ResNet-20 for CIFAR of He et al., table 6."""
    deep = (3, 4, 6, 3)
    with torch.device("meta"):
        counts = [
            sum(parameter.numel() for parameter in network.parameters())
            for network in (
                ResNet(1000, stages=deep, inner=64),
                ResNet(1000, stages=deep, inner=128),
                ResNet(1000, stages=deep, inner=128, groups=32),
                ResNet(10, stem="cifar", stages=(3, 3, 3), planes=16, shortcut="padding"),
            )
        ]
    assert counts == [25_557_032, 68_883_240, 25_028_904, 269_722]


def test_a_stem_of_another_kernel_is_refused(narrow: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({**narrow, "conv1.weight": torch.zeros(1, 3, 5, 5)}, tmp_path / "five.pth")
    message = refusal(tmp_path / "five.pth")
    assert "conv1.weight is (1, 3, 5, 5) and fc.weight (1, 1); (64, 3, 7, 7) or (64, 3, 3, 3)" in message


def test_every_tensor_that_does_not_fit_is_named(resnet: nn.Module, tmp_path: Path) -> None:
    tensors = dict(resnet.state_dict())
    del tensors["layer4.1.bn2.bias"]
    tensors |= {"extra.weight": torch.zeros(1), "layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)}
    torch.save(tensors, tmp_path / "bad.pth")
    message = refusal(tmp_path / "bad.pth", image_size=32, scale=1)
    assert "missing: layer4.1.bn2.bias" in message
    assert "not part of it: extra.weight" in message
    assert "layer1.0.conv1.weight: stored as (64, 64, 1, 1), the network has (64, 64, 3, 3)" in message


# what is no classifier


class OpensAFile:
    """Unpickled by a careless reader, this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


def test_files_that_are_no_weights_are_refused_and_nothing_of_them_runs(tmp_path: Path) -> None:
    torch.save({"conv1.weight": OpensAFile(tmp_path / "harm")}, tmp_path / "code.pth")
    assert "it carries code" in refusal(tmp_path / "code.pth")
    assert not (tmp_path / "harm").exists()
    for name in ("text.pth", "text.safetensors"):
        (tmp_path / name).write_text("hello")
        assert "is not a readable" in refusal(tmp_path / name)


def test_what_is_no_classifier_is_told_and_what_is_known_is_listed(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    (tmp_path / "generator").mkdir()
    (tmp_path / "nothing").mkdir()
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text('{"a": 1, "architectures": 7}')
    config = {"model_type": "vit_mae", "architectures": ["ViTMAEForPreTraining"]}
    (tmp_path / "generator" / "config.json").write_text(json.dumps(config))
    for name, words in (
        ("other.pth", "holds the tensors weight, ..., which is no classifier that is known"),
        ("generator", "holds a 'vit_mae' model, which is no classifier"),
        ("bare", "holds a config that names neither model_type nor architecture, which is no classifier"),
        ("nothing", "is not a model folder: it has no config.json"),
        ("missing", "no such file or folder"),
    ):
        assert not is_classifier(str(tmp_path / name))
        message = refusal(tmp_path / name)
        assert words in message
        if "Known are" in message:
            assert (
                "torchvision: a file with the state dict of a ResNet, in the layout of torchvision or of pytorch-cifar"
                in message
            )
    assert not is_classifier("nobody/nothing")
    assert "If a model of the hub is meant: hub:nobody/nothing" in refusal("nobody/nothing")
    assert "the model hub:nobody/nothing cannot be read: " in refusal("hub:nobody/nothing")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["a", "b"]}, "classes: 2 names for 4 classes"),
        (
            {"normalisation": {"scale": 0, "mean": [0], "std": [1]}},
            "normalisation.scale: Input should be greater",
        ),
        (
            {"normalisation": {"scale": 1, "mean": [0, 0], "std": [1]}},
            "normalisation.mean: 2 values for 3 channels",
        ),
        ({"surprise": 1}, "unknown setting 'surprise'"),
        ({"network": {"network": "vgg", "classes": 4, "image_size": 16}}, "network.network: "),
        (
            {"network": {"network": "small-conv", "classes": 4, "image_size": 16, "width": 5}},
            "block1.conv.weight: stored as (4, 3, 3, 3), the network has (5, 3, 3, 3)",
        ),
        (
            {"network": {"network": "mlp", "classes": 4, "image_size": 16}},
            "missing: head.bias, head.weight, hidden1.bias",
        ),
    ],
)
def test_a_folder_whose_config_is_wrong_is_refused(
    changes: dict[str, Any], message: str, folder: Path
) -> None:
    if message.startswith("missing"):
        save_file({"block1.conv.weight": torch.zeros(1)}, folder / "model.safetensors")
    assert message in refusal(with_config(folder, **changes))


def test_a_folder_with_broken_files_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:100])
    assert "model.safetensors is not a readable file of weights" in refusal(folder)
    (folder / "model.safetensors").unlink()
    assert "has no weights: no model.safetensors is there" in refusal(folder)
    (folder / "config.json").write_text("[1]")
    assert "config.json must hold keys and values, not a list" in refusal(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json cannot be read"):
        is_classifier(str(folder))


def test_pictures_of_a_size_that_the_network_cannot_take_are_refused(tmp_path: Path) -> None:
    save_classifier(small(network="mlp", width=6), tmp_path)
    message = refusal(tmp_path, image_size=9)
    assert "cannot be shown a picture of 9 px" in message
    assert "give --set model.image_size=N" in message


def test_a_network_of_unknown_make_is_saved_without_saying_what_builds_it(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    save_classifier(Classifier(network, classes=("a", "b"), image_size=2), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["network"] is None
    assert load_file(tmp_path / "model.safetensors")["1.weight"].shape == (2, 12)
