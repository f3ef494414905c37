"""What cannot be had better without a price."""

from __future__ import annotations

import math

import numpy as np

from efface.evaluation.figures import pareto_front


def test_a_point_is_on_the_front_unless_another_is_no_worse_in_both_costs_and_better_in_one() -> None:
    costs = [(3.0, 1.0), (1, 3), (2, 2), (2, 2), (2, 3), (3, 2), (1, 4)]
    assert pareto_front(costs) == [1, 2, 3, 0]
    assert pareto_front([*costs, (math.nan, 0), (0, 0)]) == [8]
    assert pareto_front([]) == []


def test_the_front_is_that_of_comparing_every_pair() -> None:
    costs = [(float(x), float(y)) for x, y in np.random.default_rng(7).integers(0, 12, (60, 2))]
    beaten = [any(o[0] <= p[0] and o[1] <= p[1] and o != p for o in costs) for p in costs]
    assert sorted(pareto_front(costs)) == [place for place, is_beaten in enumerate(beaten) if not is_beaten]
