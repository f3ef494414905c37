"""Picture sets for metrics: bundled photos, faces and digits, and optional shared data."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def photo_crops(count: int = 200, side: int = 64) -> tuple[Tensor, np.ndarray]:
    """Crops [count, 3, side, side] of bundled photos, and the number of the photo of each."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    photos = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket(), data.hubble_deep_field()]
    photos += [data.immunohistochemistry(), *load_sample_images().images]
    random = np.random.default_rng(0)
    crops = []
    for index in range(count):
        photo = photos[index % len(photos)]
        top, left = (random.integers(0, length - side) for length in photo.shape[:2])
        crops.append(photo[top : top + side, left : left + side])
    return as_tensor(np.stack(crops)), np.arange(count) % len(photos)


def faces() -> Tensor:
    from skimage import data

    return torch.tensor(data.lfw_subset()).float()[:, None].repeat(1, 3, 1, 1).clamp(0, 1)


def digits(count: int = 200) -> Tensor:
    from sklearn.datasets import load_digits

    return torch.tensor(load_digits().images[:count]).float()[:, None].repeat(1, 3, 1, 1) / 16


def shared_pictures(name: str, count: int = 160) -> Tensor:
    """`count` pictures of an optional development set; the test is skipped where it is absent."""
    path = SHARED / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"optional data set {name} is not here")
    with np.load(path, allow_pickle=False) as archive:
        content, offset = archive["bytes"], archive["offset"]
    picks = np.random.default_rng(0).choice(len(offset) - 1, count, replace=False)
    files = (content[offset[i] : offset[i + 1]].tobytes() for i in picks)
    return as_tensor(np.stack([np.asarray(Image.open(io.BytesIO(f)).convert("RGB")) for f in files]))


def as_tensor(pictures: np.ndarray) -> Tensor:
    return torch.tensor(pictures).permute(0, 3, 1, 2).float() / 255


class MeanColours(nn.Module):
    """Eight features of a picture, in the form that torchmetrics takes."""

    num_features = 8

    def forward(self, images: Tensor) -> Tensor:
        return images.reshape(len(images), 8, -1).mean(2)
