"""Released networks from picture to picture through the family `network`: what they restore, and a whole job each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from skimage import data
from torch import Tensor
from torch.nn.functional import interpolate

import efface
from efface.corruptions import parse_corruption
from efface.corruptions.degradations import shrunk
from efface.generators.base import Generator
from support.real_models import released
from support.run_fixtures import CommandLine
from support.tiny_models import draws

SIDE = 160
NETWORKS: dict[str, dict[str, Any]] = {
    f"esrgan_slim_x{scale}": {
        "network": "real_networks:ResidualDense", "arguments": {"scale": scale}, "scale": scale, "value_range": [0, 255],
    }
    for scale in (2, 4)
} | {"ffdnet_color": {"network": "real_networks:FFDNet", "condition": ["picture", "noise-level"]}}  # fmt: skip
CORRUPTIONS = {"esrgan_slim_x2": "downsample:2", "esrgan_slim_x4": "downsample:4", "ffdnet_color": "noise:25"}


def weights(name: str, folder: Path) -> Path:
    save_file(released(name), folder / f"{name}.safetensors")
    return folder / f"{name}.safetensors"


def pictures(side: int = SIDE) -> Tensor:
    """A face, a cup and a cat, `[3, 3, side, side]` in [0, 1]."""
    places = ((data.astronaut(), 20, 150), (data.coffee(), 100, 200), (data.chelsea(), 60, 120))
    cut = [photo[top : top + side, left : left + side] for photo, top, left in places]
    return torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2) / 255


def decibels(restored: Tensor, images: Tensor) -> float:
    """Mean peak signal-to-noise ratio over the pictures."""
    return float((-10 * (restored.clamp(0, 1) - images).square().mean((1, 2, 3)).log10()).mean())


def restored_by(name: str, folder: Path) -> tuple[Tensor, Tensor]:
    """What the network makes of the pictures, and what it is shown."""
    generator = efface.load(weights(name, folder), image_size=SIDE, **NETWORKS[name])
    assert isinstance(generator, Generator)
    view = generator.view(pictures(), parse_corruption(CORRUPTIONS[name]), draws(3))
    return generator.restore(view), view.corrupted.condition


@pytest.mark.parametrize("scale", [2, 4])
def test_super_resolution_restores_more_than_large_pixels_and_nearly_what_bicubic_does(
    scale: int, tmp_path: Path
) -> None:
    """It was trained to look sharp, not for the squared error, of which bicubic enlargement leaves a little less."""
    images = pictures()
    small = shrunk(images, scale)
    reached = decibels(restored_by(f"esrgan_slim_x{scale}", tmp_path)[0], images)
    by = {
        mode: decibels(interpolate(small, scale_factor=scale, mode=mode), images)
        for mode in ("nearest", "bicubic")
    }
    assert reached >= by["nearest"] + 1.5
    assert reached >= by["bicubic"] - 0.8


def test_the_denoiser_takes_nine_tenths_of_the_noise(tmp_path: Path) -> None:
    restored, shown = restored_by("ffdnet_color", tmp_path)
    assert decibels(restored, pictures()) >= decibels(shown, pictures()) + 10


@pytest.mark.parametrize("name", NETWORKS)
def test_two_photographs_are_forgotten_the_run_is_verified_and_the_network_opens_again(
    name: str, tmp_path: Path, cli: CommandLine
) -> None:
    photos, run = tmp_path / "photos", tmp_path / "run"
    for place, picture in enumerate(pictures(96).repeat(2, 1, 1, 1)):
        file = photos / ("remove" if place < 2 else "keep") / f"{place}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = (picture.roll(11 * place, 2) * 255).byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(file)
    said = [f"--set=model.{key}={value}" for key, value in {**NETWORKS[name], "image_size": 48}.items()]
    few = ["--set=training={steps: 2, batch_size: 2, precision: fp32}", "--set=images.duplicates=ignore"]
    done = cli(
        "unlearn",
        weights(name, tmp_path),
        *said,
        *few,
        "--images",
        photos,
        "--forget",
        photos / "remove",
        "--out",
        run,
    )
    assert done.code == 0, done.err
    assert cli("verify", run).code == 0
    after = efface.load(run / "model", network=NETWORKS[name]["network"])
    record = json.loads((run / "record.json").read_text())
    assert record["corruption"] == CORRUPTIONS[name]
    assert (
        record["model"]["after"]["weights"] == after.weights_digest() != record["model"]["before"]["weights"]
    )
