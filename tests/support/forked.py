"""Processes that are killed or stopped, forked from one that has imported what a run needs: none imports it anew."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PRELOADED = (
    "pytest",
    "accelerate",
    "efface.jobs.run",
    "efface.generators.mae.generator",
    "support.training_process",
)
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(list(PRELOADED))


class Forked:
    """`function(*arguments)` in a process of its own, with the names of `subprocess.Popen`; prints go to `folder`."""

    def __init__(self, folder: Path, function: Callable[..., Any], *arguments: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.files = folder / "printed", folder / "errors"
        self.process = SERVER.Process(target=_redirected, args=(self.files, function, arguments))
        self.process.start()

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def printed(self) -> str:
        return self.files[0].read_text(encoding="utf-8") if self.files[0].exists() else ""

    def communicate(self, timeout: float = 120) -> tuple[str, str]:
        """What it printed and its errors, once it has ended."""
        self.process.join(timeout)
        assert self.process.exitcode is not None, "it does not end"
        return self.printed(), self.files[1].read_text(encoding="utf-8")


def command_line(arguments: tuple[str, ...], before: str = "") -> None:
    """efface's, after the statements `before`."""
    from efface.cli import main

    exec(before, {})
    sys.argv = ["efface", *arguments]
    main()


def _redirected(files: tuple[Path, Path], function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    for number, path in enumerate(files, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
    sys.exit(function(*arguments))
