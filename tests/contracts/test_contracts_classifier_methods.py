"""What holds for every method for classifiers, on tiny networks of three makes."""

from __future__ import annotations

import pytest

from efface.methods import CLASSIFIER_METHODS, ClassifierMethod
from efface.testing import check_method

SHORT = {"epochs": 2, "rounds": 1, "cycles": 1, "images": 20, "noise_images": 8, "noise_steps": 3}
"""Settings that would make a run long, where a method has them."""


@pytest.mark.parametrize("method", CLASSIFIER_METHODS.built_in.values(), ids=lambda method: method.name)
def test_a_method_keeps_its_contract(method: type[ClassifierMethod]) -> None:
    check_method(method.read({name: value for name, value in SHORT.items() if name in method.model_fields}))
