"""Errors: complete messages for a person, all faults together, documented exit codes."""

from __future__ import annotations

import pytest

from efface.errors import (
    EXIT_CODES,
    EffaceError,
    Faults,
    InputError,
    Mismatch,
    RunRefused,
    Stopped,
)


def test_one_fault_is_the_message_itself() -> None:
    assert str(InputError("row 3: no such file")) == "row 3: no such file"


def test_several_faults_are_counted_and_listed() -> None:
    assert str(InputError("a", "b")) == "2 things are wrong:\n  - a\n  - b"


def test_a_heading_stands_above_even_one_fault() -> None:
    assert str(InputError("a", what="the list does not fit")) == "the list does not fit:\n  - a"


def collect(*problems: str, then: Exception | None = None) -> None:
    """A block that finds `problems`, and may end in an error of its own."""
    with Faults("wrong") as faults:
        for problem in problems:
            faults.add(problem)
            assert faults
        if then:
            raise then


def test_faults_are_raised_together_when_the_block_ends() -> None:
    with pytest.raises(InputError) as caught:
        collect("first", "second")
    assert caught.value.problems == ("first", "second")
    assert str(caught.value) == "wrong:\n  - first\n  - second"


def test_no_fault_raises_nothing() -> None:
    with Faults() as faults:
        pass
    assert not faults


def test_an_input_error_inside_the_block_joins_the_faults() -> None:
    with pytest.raises(InputError) as caught:
        collect("first", then=InputError("second", "third"))
    assert caught.value.problems == ("first", "second", "third")


def test_any_other_error_wins_over_the_faults() -> None:
    with pytest.raises(KeyError, match="a defect"):
        collect("first", then=KeyError("a defect"))


@pytest.mark.parametrize(
    ("kind", "code"), [(EffaceError, 1), (InputError, 2), (RunRefused, 3), (Stopped, 4), (Mismatch, 5)]
)
def test_every_error_has_the_exit_code_that_is_documented(kind: type[EffaceError], code: int) -> None:
    assert kind.exit_code == code
    assert code in EXIT_CODES
