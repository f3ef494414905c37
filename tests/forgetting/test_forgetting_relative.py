"""The relative tests: what they say of laws that are known, and how often they raise a false alarm."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from efface.errors import InputError
from efface.forgetting.relative import closer_to_retrained, relative_mmd
from efface.forgetting.relative_divergence import relative_divergence
from efface.randomness import numpy_draws

Floats = NDArray[np.float64]


def normal(*key: str | int, count: int = 40, numbers: int = 2) -> Floats:
    return numpy_draws("relative tests", *key).normal(size=(count, numbers))


def test_the_nearer_side_is_told_and_swapping_the_sides_swaps_the_answer() -> None:
    x, y, z = normal("x"), normal("y") + 1.5, normal("z") + 0.3
    test, swapped = relative_mmd(x, y, z), relative_mmd(x, z, y)
    assert test.p_value < 1e-4
    assert test.low > 0
    assert test.difference == pytest.approx(test.to_y - test.to_z)
    assert swapped.difference == pytest.approx(-test.difference)
    assert swapped.p_value == pytest.approx(1 - test.p_value)
    assert (swapped.low, swapped.high) == pytest.approx((-test.high, -test.low))


def test_the_deviation_is_that_of_leaving_out_rows_one_by_one() -> None:
    sides = [normal("leave out", place, count=12) + place / 2 for place in range(3)]

    def without(which: tuple[int, ...], row: int, paired: bool) -> float:
        left = [np.delete(side, row, axis=0) if place in which else side for place, side in enumerate(sides)]
        return relative_mmd(*left, bandwidth=1.3, paired=paired).difference

    for paired, groups in ((False, ((0,), (1,), (2,))), (True, ((0, 1, 2),))):
        test = relative_mmd(*sides, bandwidth=1.3, paired=paired)
        left_out = [np.array([without(group, row, paired) for row in range(12)]) for group in groups]
        variance = sum(11 / 12 * ((values - values.mean()) ** 2).sum() for values in left_out)
        assert test.statistic == pytest.approx(test.difference / np.sqrt(variance))


def test_pairs_see_through_the_difficulty_of_photos() -> None:
    draws = numpy_draws("photos")
    difficulty = draws.normal(0, 1, (30, 1))
    o, r, u = (difficulty + shift + draws.normal(0, 0.1, (30, 2)) for shift in (-0.4, 0.0, -0.1))
    assert relative_mmd(u, o, r, paired=True).p_value > 0.05
    test = closer_to_retrained(u, o, r)
    assert test.p_value < 1e-4
    assert closer_to_retrained(u, r, o).difference == pytest.approx(-test.difference)
    ends = [closer_to_retrained(end, o, r).difference for end in (o, r)]
    assert ends[0] == pytest.approx(-ends[1])
    assert ends[0] < test.difference < ends[1]
    assert abs(closer_to_retrained(u + 9, o, r).difference) < 1e-6


def test_a_model_half_way_is_called_closer_in_one_of_twenty() -> None:
    alarms = 0
    for number in range(300):
        draws = numpy_draws("half way", number)
        gap = draws.normal(0.5, 0.3, (20, 1))
        noise = draws.normal(0, 0.2, (3, 20, 2))
        o, r, u = noise - np.array([1.0, 0.0, 0.5])[:, None, None] * gap
        alarms += closer_to_retrained(u, o, r).p_value <= 0.05
    assert alarms / 300 == pytest.approx(0.05, abs=0.03)


def test_models_that_are_equal_are_not_told_apart() -> None:
    x, y = normal("x"), normal("y")
    test = relative_mmd(x, y, y, paired=True)
    assert (test.difference, test.p_value) == pytest.approx((0.0, 0.5))


@pytest.mark.parametrize("divergence", ["hockey-stick", "chi-square"])
def test_another_retraining_passes_in_nineteen_of_twenty_and_a_shift_is_found(divergence) -> None:
    given = {"divergence": divergence, "permutations": 99}
    alarms = 0
    for number in range(150):
        u, r, other = (normal(number, side, count=12) for side in "uro")
        alarms += relative_divergence(u, r, other, seed=number, **given).p_value <= 0.05
    assert alarms / 150 <= 0.09
    u, r, other = (normal("power", side, count=60) for side in "uro")
    test = relative_divergence(u + 1, r, other, **given)
    assert test.p_value == pytest.approx(0.01)
    assert test.difference == pytest.approx(test.unlearned - test.yardstick)
    assert test.unlearned > test.yardstick
    assert relative_divergence(other, r, u + 1, **given).p_value > 0.9


def test_the_hockey_stick_is_that_of_two_known_laws() -> None:
    # total variation of N(0, 1) and N(2, 1) is 2 Phi(1) - 1 = 0.683
    u, r, other = (normal("wide", side, count=400, numbers=1) for side in "uro")
    test = relative_divergence(u + 2, r, other, bandwidths=1, regularisations=(0.1,), permutations=19)
    assert test.unlearned == pytest.approx(0.683, abs=0.06)
    # of E_2: Phi(1 - log(2) / 2) - 2 Phi(-1 - log(2) / 2)
    order = relative_divergence(
        u + 2, r, other, order=2, bandwidths=1, regularisations=(0.1,), permutations=19
    )
    assert order.unlearned == pytest.approx(0.565, abs=0.08)


def test_paired_rows_are_exchanged_within_their_pair() -> None:
    r = normal("r", count=8)
    # u is r + 3, other is r: exchanged within pairs, no deal but the given one has all of u on one side
    test = relative_divergence(r + 3, r, r + 0.01, paired=True, permutations=999)
    assert test.p_value < 0.02


def test_what_does_not_fit_is_refused_at_once() -> None:
    with pytest.raises(InputError) as refused:
        relative_mmd(
            np.zeros((4, 2)),
            np.zeros((6, 3)),
            np.full((6, 2), np.nan),
            bandwidth=0,
            paired=True,
            published=True,
        )
    said = str(refused.value)
    for part in ("4 rows", "numbers a row", "NaN", "bandwidth", "published", "they must be equal"):
        assert part in said
    with pytest.raises(InputError) as refused:
        relative_divergence(
            np.zeros((6, 2)),
            np.zeros((6, 2)),
            np.zeros((7, 2)),
            order=0.5,
            permutations=2,
            regularisations=(),
        )
    for part in ("yardstick 7", "order", "permutations", "regularisations"):
        assert part in str(refused.value)
    with pytest.raises(InputError, match="published variance"):
        relative_mmd(*[np.eye(8) * scale for scale in (100, 200, 300)], bandwidth=1.0, published=True)
