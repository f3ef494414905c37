"""Numbers in words: the examples of the docstrings, and the odd ones."""

from __future__ import annotations

import doctest

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
