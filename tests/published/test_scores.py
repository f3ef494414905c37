"""RMIA, KLoM and the competition's score give what their authors' code gave (`README.md`: where each file is from)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from efface.errors import InputError
from efface.forgetting.distributions import klom
from efface.forgetting.likelihood_attacks import rmia
from efface.forgetting.official import official_score
from support import tiled_rule

FOLDER = Path(__file__).parent
TYPES = ("float32", "float64")


def stored(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)


@pytest.mark.parametrize("target", [0, 3])
def test_rmia_is_that_of_ml_privacy_meter_at_every_offline_a(target: int) -> None:
    given = stored("rmia")
    for a, expected in zip(given["offline_a"], given[f"score_{target}"], strict=True):
        found = rmia(
            given["signals"][:, target],
            given[f"reference_signals_{target}"].T,
            given["population_signals"][:, target],
            given[f"population_reference_signals_{target}"].T,
            a=float(a),
        )
        assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("models", [8, 32, 128])
def test_klom_is_that_of_easydub(models: int) -> None:
    given = stored("klom")
    unlearned, retrained, expected = (given[f"{name}_{models}"] for name in ("unlearned", "oracle", "klom"))
    defined = np.isfinite(expected)
    assert klom(unlearned[:, defined], retrained[:, defined]) == pytest.approx(expected[defined], abs=1e-9)
    if not defined.all():
        with pytest.raises(
            InputError, match=r"not defined for 1 of 14 examples, the first at place 6.* 0 / 0"
        ):
            klom(unlearned, retrained)


@pytest.mark.parametrize("dtype", TYPES)
def test_the_official_score_is_the_competitions_under_nineteen_laws(dtype: str) -> None:
    given = stored("forgetting-score-flat")
    found = official_score(given[f"laws_unlearned_{dtype}"], given[f"laws_retrained_{dtype}"])
    assert found.epsilon.tolist() == given[f"laws_epsilon_{dtype}"].tolist()
    assert found.points.tolist() == given[f"laws_points_{dtype}"].tolist()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("models", [3, 7, 16, 33])
def test_so_it_is_on_nearly_constant_arrays_and_raises_where_the_published_code_stops(
    models: int, dtype: str
) -> None:
    given = stored("forgetting-score-flat")
    unlearned, retrained, epsilon, points = (
        given[f"flat_{name}_{dtype}_{models}"] for name in ("unlearned", "retrained", "epsilon", "points")
    )
    stops = np.isnan(epsilon)
    found = official_score(unlearned[:, ~stops], retrained[:, ~stops])
    assert found.epsilon.tolist() == epsilon[~stops].tolist()
    assert found.points.tolist() == points[~stops].tolist()
    if stops.any():
        places = ", ".join(str(place) for place in np.flatnonzero(stops))
        with pytest.raises(InputError, match=rf"stops at {stops.sum()} examples? \({places}\)"):
            official_score(unlearned, retrained)
        defined = official_score(unlearned, retrained, where_it_stops="define")
        assert defined.unresolved[stops].all()
        assert (defined.epsilon[stops] == 50).all()


def test_float32_counts_as_float32_at_other_offsets_and_spreads_too() -> None:
    random = np.random.default_rng(11)
    differ = 0
    for offset in (-40.0, 0.7, 5.0, 900.0):
        for spread in (0.0005, 0.004, 0.02):
            u, r = (random.normal(offset, spread, (5, 1)).astype(np.float32) for _ in range(2))
            expected = tiled_rule.epsilon(u[:, 0], r[:, 0])
            found = official_score(u, r, where_it_stops="define").epsilon[0]
            assert found == pytest.approx(50.0 if np.isnan(expected) else min(expected, 50.0), abs=1e-6)
            wide = official_score(u.astype(np.float64), r.astype(np.float64), where_it_stops="define")
            differ += wide.epsilon[0] != found
    assert differ
