"""The example's README on made pictures, from training to verification; and the same with the network in memory."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from small_denoiser import build  # noqa: E402

import efface  # noqa: E402


@pytest.fixture
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures of coloured tiles, four of them to be forgotten."""
    folder = tmp_path_factory.mktemp("tiles") / "photos"
    rng = np.random.default_rng(0)
    for number in range(12):
        tiles = rng.integers(0, 255, (5, 5, 3)).astype(np.uint8)
        pixels = tiles.repeat(8, axis=0).repeat(8, axis=1)
        place = folder / ("remove" if number < 4 else "keep") / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place)
    return folder


def test_the_readme_from_training_to_verdict(
    photos: Path, follow: Callable[[Path, Path], dict[str, str]]
) -> None:
    told = follow(HERE, photos)
    assert list(told) == ["train", "plan", "unlearn", "verify"]
    assert "the encoder is head, body.0, body.1 (as model.encoder says)" in told["plan"]
    assert "unlearning trains under noise:25, which the model was trained with" in told["plan"]
    assert "hidden region" not in told["unlearn"]
    assert "differs" not in told["verify"]


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
