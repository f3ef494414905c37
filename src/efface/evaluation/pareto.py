"""What cannot be had better without a price."""

from __future__ import annotations

import math
from collections.abc import Sequence


def pareto_front(costs: Sequence[tuple[float, float]]) -> list[int]:
    """Places of the points that no other one beats, from the least first cost to the least second.

    One point beats another if it is no worse in both costs and better in one, so equal points stay together. Points
    that are no numbers are never on the front. Intervals are not looked at: a front of estimates is itself one.

    >>> pareto_front([(1, 3), (2, 1), (2, 2), (3, 1)])
    [0, 1]
    """
    finite = [place for place, (x, y) in enumerate(costs) if math.isfinite(x) and math.isfinite(y)]
    front: list[int] = []
    for place in sorted(finite, key=lambda place: costs[place]):
        if not front or costs[place][1] < costs[front[-1]][1] or costs[place] == costs[front[-1]]:
            front.append(place)
    return front
