"""The relative MMD test gives what an author's code gives (origin of the numbers: README.md of this folder)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from efface.forgetting.relative import relative_mmd

GIVEN = np.load(Path(__file__).with_name("relative-mmd.npz"), allow_pickle=False)


@pytest.mark.parametrize(("rule", "bandwidth"), [("median_bandwidth", None), ("fixed_bandwidth", 1.7)])
def test_the_published_test_is_equal(rule: str, bandwidth: float | None) -> None:
    for place, published in enumerate(GIVEN[rule]):
        samples = (GIVEN[f"{name}_{place}"] for name in "xyz")
        test = relative_mmd(*samples, bandwidth=bandwidth, published=True)
        found = [test.p_value, test.statistic, test.bandwidth, test.to_y, test.to_z]
        assert found == pytest.approx(published, rel=1e-9, abs=1e-9), (rule, place)
