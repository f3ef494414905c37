"""The example's README on made pictures, from training to verification; and the same with the network in memory."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from small_denoiser import build  # noqa: E402

import efface  # noqa: E402

MODEL = [
    "--set", "model.network=small_denoiser:build", "--set", "model.arguments={width: 16}",
    "--set", "model.image_size=32", "--set", "model.value_range=[-1, 1]",
    "--set", "model.condition=[picture, noise-level]",
]  # fmt: skip
FEW = ["--set", "training={steps: 4, batch_size: 4, precision: fp32}"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures of coloured tiles, four of them to be forgotten."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(12):
        tiles = rng.integers(0, 255, (5, 5, 3)).astype(np.uint8)
        pixels = tiles.repeat(8, axis=0).repeat(8, axis=1)
        place = folder / ("remove" if number < 4 else "keep") / f"{number}.png"
        place.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(place)
    return folder


def command(*arguments: str | Path) -> str:
    """The output of an `efface` command that is carried out in the example's folder."""
    done = subprocess.run(
        [sys.executable, "-m", "efface", *map(str, arguments)],
        cwd=HERE, capture_output=True, text=True, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_the_readme_from_training_to_verdict(photos: Path, tmp_path: Path) -> None:
    original, unlearned = tmp_path / "original", tmp_path / "unlearned"
    command("train", "--images", photos, *MODEL, *FEW, "--out", original)
    weights = original / "model" / "model.safetensors"
    job = [weights, "--config", "own_network.yaml", "--forget", photos / "remove", "--images", photos, *FEW]
    said = command("plan", *job)
    assert "the encoder is head, body.0, body.1 (as model.encoder says)" in said
    assert "unlearning trains under noise:25, which the model was trained with" in said
    assert "hidden region" not in command("unlearn", *job, "--out", unlearned)
    assert "differs" not in command("verify", unlearned)


def test_the_network_in_memory(photos: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = efface.Module(
        build(width=16),
        "small-denoiser",
        image_size=32,
        value_range=(-1, 1),
        condition=("picture", "noise-level"),
    )
    result = efface.unlearn(
        network, out=tmp_path / "run", images=photos, forget=photos / "remove",
        training={"steps": 4, "batch_size": 4, "precision": "fp32"},
    )  # fmt: skip
    before = result.record.model.before
    assert before is not None
    assert before.description.details["built_by"] == "memory:small-denoiser"
    assert result.record.corruption == "noise:25"
