"""Released classifiers: through the command line to a verified run and open again; and one's batch normalisation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file
from torch import Tensor

import efface
from efface.batch_norms import replaced_by_a_batch
from efface.classifiers.classifier import Classifier, Normalisation, logits_of
from efface.images.labelled import LabelledImages
from efface.training.classification import Labelled, Work, run_passes
from efface.training.losses import cross_entropy
from efface.training.passes import Facts, Optimiser, Pass
from support.real_models import lite0_weights, mobilenet, photos, released, saved, written
from support.run_fixtures import CommandLine

SIDE, SMALL = 224, 128
LITE0 = {"network": "support.real_models:lite0", "classes": 1000, "image_size": SIDE, "scale": 255}
CIFAR = {"image_size": 32, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "scale": 255}


def prepared(name: str, folder: Path) -> tuple[Path, dict[str, Any], LabelledImages, int]:
    """The model, the settings that open it, photographs of its training, and what its class 0 is numbered."""
    if name == "efficientnet-lite0":
        weights = lite0_weights()
        return (
            weights,
            {**LITE0, "mean": [0.498] * 3, "std": [0.502] * 3},
            photos("imagenet256", 0, 10, SIDE),
            0,
        )
    if name == "mobilenet-v2":
        return saved(mobilenet(SMALL), folder / "mobilenet"), {}, photos("imagenet256", 0, 10, SMALL), 1
    save_file(released(name), folder / "resnet.safetensors")
    return folder / "resnet.safetensors", CIFAR, photos("cifar10-train", 0, 10, 32), 0


@pytest.mark.parametrize(
    "name", ["efficientnet-lite0", "mobilenet-v2", "cifar10_resnet20", "cifar10_resnet56"]
)
def test_it_knows_its_photographs_forgets_two_is_verified_and_opens_again(
    name: str, tmp_path: Path, cli: CommandLine
) -> None:
    path, settings, images, first = prepared(name, tmp_path)
    model = efface.load(path, **settings)
    assert isinstance(model, Classifier)
    assert (logits_of(model, images).argmax(1) == images.labels + first).mean() >= 0.3, (
        "of 10 to 1,001 classes"
    )
    listed, run = written(images, tmp_path, images.labels + first), tmp_path / "run"
    (tmp_path / "forget.txt").write_text("00.png\n01.png\n")
    said = [f"--set=model.{key}={value}" for key, value in settings.items()]
    method = ["--method", "fine-tune", "--set", "method={epochs: 1, batch_size: 4, learning_rate: 0.0001}"]
    forget = ["--images", listed, "--forget", tmp_path / "forget.txt"]
    done = cli("unlearn", path, *said, *forget, *method, "--out", run)
    assert done.code == 0, done.err
    assert cli("verify", run).code == 0
    code = {"network": settings["network"]} if "network" in settings else {}
    after = efface.load(run / "model", **code)
    assert after.weights_digest() != model.weights_digest()
    record = json.loads((run / "record.json").read_text())
    assert record["model"]["after"]["weights"] == after.weights_digest()


def forget_loss(work: Work, batches: Mapping[str, Labelled]) -> Tensor:
    return cross_entropy(work.model(batches["forget"].images), batches["forget"].labels)


def test_a_batch_in_training_mode_leaves_mobilenet_as_able_as_it_was() -> None:
    """Without one weight update, ten images take its statistics where the momentum is taken as torch has it."""
    model = Classifier(
        mobilenet(SMALL),
        classes=tuple(map(str, range(1001))),
        image_size=SMALL,
        normalisation=Normalisation(255.0, (128 / 255,) * 3, (128 / 255,) * 3),
    )
    assert {layer.momentum for layer in replaced_by_a_batch(model.network).values()} == {0.997}
    images = photos("imagenet256", 0, 34, SMALL)
    images = replace(images, labels=images.labels + 1)
    sets = {"forget": images.subset(np.arange(10)), "retain": images.subset(np.arange(10, 34))}
    still = Pass("still", forget_loss, {"forget": 10}, Optimiser(0.0, weight_decay=0.0, momentum=0.0))
    right = {}
    for choice in ("as it was", "keep", "auto"):
        after = model.copy()
        if choice != "as it was":
            run_passes(after, [still], sets, Facts({"forget": 10, "retain": 24}, 1001, ()), statistics=choice)  # type: ignore[arg-type]
        right[choice] = (logits_of(after, sets["retain"]).argmax(1) == sets["retain"].labels).mean()
    assert right["as it was"] >= 0.4
    assert right["keep"] <= right["as it was"] / 2
    assert right["auto"] >= right["as it was"] - 0.05
