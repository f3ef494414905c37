"""Fixtures of all tests that train tiny models; a folder's conftest takes them in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from efface.training.data import Data
from support.tiny_models import training_data


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """The images that tiny models train on."""
    return training_data(tmp_path_factory.mktemp("images"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums of floats hang on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
