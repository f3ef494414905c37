"""The command line, run in this process: without torch, unless the verb needs it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from efface.training.interruption import STOPPING


@dataclass(frozen=True)
class Outcome:
    """How the command line ended and what it printed."""

    code: int
    out: str
    err: str


CommandLine = Callable[..., Outcome]


@pytest.fixture
def cli(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Outcome]]:
    """`cli("verify", run)` runs the command line in this process."""
    from efface.cli import main

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["efface", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        return Outcome(code, *capsys.readouterr())

    handlers, umask = {number: signal.getsignal(number) for number in STOPPING}, os.umask(0o022)
    os.umask(umask)
    yield run
    os.umask(umask)
    for number, handler in handlers.items():
        signal.signal(number, handler)
