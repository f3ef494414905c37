"""Picture sets that the metric tests share: bundled photos, faces and digits, and optional shared data."""

from __future__ import annotations

import pytest
from torch import Tensor, nn

from support.picture_sets import MeanColours, digits, faces, photo_crops, shared_pictures


@pytest.fixture
def mean_colours() -> nn.Module:
    return MeanColours()


@pytest.fixture(scope="session")
def photos() -> Tensor:
    return photo_crops()[0]


@pytest.fixture(params=["photos", "faces", "digits", "scenes128-val", "imagenet64-val"])
def pictures(request: pytest.FixtureRequest) -> Tensor:
    """128 pictures of each set in turn: as few as the built-in extractor is of use from."""
    own = {"photos": lambda: photo_crops()[0], "faces": faces, "digits": digits}
    return own.get(request.param, lambda: shared_pictures(request.param))()[:128]
