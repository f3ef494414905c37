"""The models of one seed, for all tests of plants."""

from __future__ import annotations

import pytest

from planting.worlds import ClassifierWorld, GeneratorWorld


@pytest.fixture(scope="session")
def generator_world() -> GeneratorWorld:
    return GeneratorWorld(0)


@pytest.fixture(scope="session")
def classifier_world() -> ClassifierWorld:
    return ClassifierWorld(0)
