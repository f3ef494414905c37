"""What all checks are made of: conditions that must hold, and messages that name the check."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from efface.errors import InputError
from efface.methods.base import Method
from efface.settings import Settings


def require(condition: object, message: str) -> None:
    """Raise `AssertionError` with `message` unless `condition` holds; also where Python runs without assertions."""
    if not condition:
        raise AssertionError(message)


def refused(call: Callable[[], object], saying: str, message: str) -> None:
    """Require that `call` raises `InputError` with a message that holds `saying`."""
    try:
        call()
    except InputError as error:
        require(saying in str(error), f"{message}: the message must hold {saying!r}, got {str(error)!r}")
    else:
        raise AssertionError(message)


def run_checks(name: str, checks: Iterable[Callable[[], None]]) -> None:
    """Run them in order; the first failure, or exception, becomes an `AssertionError` that says which check it was."""
    for check in checks:
        what = getattr(check, "func", check)
        said = (what.__doc__ or what.__name__).splitlines()[0].rstrip(".")
        try:
            check()
        except AssertionError as error:
            raise AssertionError(f"{name}: {said}: {error}") from error
        except Exception as error:
            raise AssertionError(f"{name}: {said}: it raised {type(error).__name__}: {error}") from error


@contextmanager
def random_states_kept() -> Iterator[None]:
    """Require that what is done inside leaves the global random states of Python, NumPy and torch as they were."""
    states = random.getstate(), str(np.random.get_state()), torch.get_rng_state()
    yield
    require(states[0] == random.getstate(), "it drew from Python's global random state")
    require(states[1] == str(np.random.get_state()), "it drew from NumPy's global random state")
    require(torch.equal(states[2], torch.get_rng_state()), "it drew from torch's global random state")


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums of floats hang on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def settings_are_documented(kind: type[Settings]) -> None:
    """Every setting has a description."""
    for name, field in kind.model_fields.items():
        require(field.description, f"the setting '{name}' has no description")


def unknown_settings_are_refused(kind: type[Settings]) -> None:
    """Unknown settings are refused, with the nearest name."""
    refused(lambda: kind.read({"zzzzzz": 1}), "unknown setting 'zzzzzz'", "it takes an unknown setting")
    for name in kind.model_fields:
        message = f"'{name}x' is taken for a setting"
        refused(lambda name=name: kind.read({f"{name}x": 1}), f"did you mean '{name}'", message)  # type: ignore[misc]


def texts_are_given(thing: type, names: Iterable[str]) -> None:
    """Name, summary and source are given."""
    for name in names:
        text = getattr(thing, name, None)
        require(isinstance(text, str) and text.strip(), f"the class variable '{name}' is no text")


def published_settings_lie_in_their_ranges(kind: type[Method]) -> None:
    """Every published setting lies in the range in which it may be searched."""
    for name, (low, high) in kind.search_space.items():
        require(name in kind.model_fields, f"search_space names '{name}', which is no setting")
        default = kind.model_fields[name].default
        require(0 < low < high, f"{name}: no range of positive numbers from {low} to {high}")
        require(low <= default <= high, f"{name}: {default} does not lie within {low} to {high}")
