"""Every signal by which a scheduler or a terminal asks for an end is taken as that; what is ignored stays so."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from efface.training.interruption import STOPPING, StopRequest, interrupt_on_signals


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The handlers as they were; none of the signals is ignored inside a test."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in STOPPING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"])
def test_the_first_signal_is_noted_and_the_second_ends_the_work(name: str) -> None:
    number = signal.Signals[name]
    with StopRequest() as stop:
        assert stop.signal_name is None
        signal.raise_signal(number)
        assert stop.signal_name == name
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) == signal.SIG_DFL


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"])
def test_outside_of_training_a_signal_interrupts_as_ctrl_c_does(name: str) -> None:
    interrupt_on_signals()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.Signals[name])


def test_a_run_under_nohup_outlives_its_terminal() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    interrupt_on_signals()
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGHUP)
        assert stop.signal_name is None
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
