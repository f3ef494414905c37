"""What every input must lead to: a right result, or one clear message; bounded in time and memory."""

from __future__ import annotations

import contextlib
import io
import re
import resource
import signal
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from efface.cli import main
from efface.errors import EXIT_CODES

MOST_SECONDS = 30.0
"""Of the processor, not of the clock: other work on the machine does not count."""
MOST_MEMORY = 2 << 30
"""Address space above what the process has with all its libraries."""
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class TimeUp(BaseException):
    """The command took longer than any of these inputs is worth."""


@dataclass(frozen=True)
class Verdict:
    """How the command line ended."""

    code: int
    out: str
    err: str


def judged(*arguments: object) -> Verdict:
    """efface with these arguments in this process; any end but a result or one message is an `AssertionError`."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        bounded(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(sys, "argv", ["efface", *map(str, arguments)])
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    verdict = Verdict(code, out.getvalue(), err.getvalue())
    assert code in EXIT_CODES, verdict
    assert code != 1, verdict
    assert "not enough memory" not in verdict.err, verdict
    assert not CONTROL.search(verdict.out + verdict.err), verdict
    messages = [line for line in verdict.err.splitlines() if line.startswith("efface: ")]
    assert len(messages) == bool(code), verdict
    return verdict


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """`TimeUp` after `MOST_SECONDS`, `MemoryError` above `MOST_MEMORY`; what libraries warn of is passed over."""

    def up(*_: object) -> None:
        raise TimeUp

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGPROF)}
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = before = resource.getrlimit(resource.RLIMIT_AS)
    signal.signal(signal.SIGPROF, up)
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_MEMORY, hard))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.setitimer(signal.ITIMER_PROF, 0)
        for number, handler in handlers.items():
            signal.signal(number, handler)
