"""Numbers in words: the examples of the docstrings, and the odd ones."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from efface import wording


def test_the_examples_in_the_docstrings_hold() -> None:
    tried = doctest.testmod(wording)
    assert tried.attempted >= 8
    assert not tried.failed


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (-1.5, "−1.500"), (12345678.0, "1.235 × 10⁷"), (0.99999, "1.0000"), (123456.7, "123457")],
)
def test_numbers_of_any_size_stay_readable(value: float, text: str) -> None:
    assert wording.figure(value) == text


@pytest.mark.parametrize(
    ("value", "reference", "text"),
    [
        (1.00001, 1, "under 0.01 %"),
        (5000, 1, "× 1000 or more"),
        (0.5, 1, "× 0.50"),
        (1, 0, "+1.0"),
        (30, 1, "× 30"),
    ],
)
def test_ratios_are_never_finer_or_larger_than_they_can_be_trusted(
    value: float, reference: float, text: str
) -> None:
    assert wording.ratio(value, reference) == text


def test_text_that_is_no_date_stays_as_it_is() -> None:
    assert wording.moment("next week") == "next week"
    assert wording.moment(None) == "not stated"


@pytest.mark.parametrize("edge", [0.0, 1.0, -1.0, 1.02, 0.25])
def test_a_printed_bound_stands_on_its_side_of_the_number_that_decides(edge: float) -> None:
    for away in (0, 1e-17, 1e-9, 1e-4, 0.004, 0.006, 0.3):
        for value in (edge - away, edge + away, float(np.nextafter(edge, 9)), float(np.nextafter(edge, -9))):
            for places in range(5):
                sign, _, number = wording.bound(value, places, [edge]).replace("−", "-").rpartition(" ")
                if value < edge:
                    assert sign == "<" or float(number) < edge
                elif value > edge:
                    assert sign == ">" or float(number) > edge
                else:
                    assert not sign
                assert not sign or float(number) == edge


def test_an_interval_that_excludes_no_difference_says_so_however_it_is_rounded() -> None:
    assert wording.interval(0.0004, 3.2, 2) == "> 0 to 3.2"
    assert wording.interval(-2.0, -0.0004, places=2) == "−2.00 to < 0"
    assert wording.interval(-0.0, 0.2, places=2) == "0.00 to 0.20"
    assert wording.interval(0.2493, 1.1, places=2, decides=[0.25]) == "< 0.25 to 1.10"
