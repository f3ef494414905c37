"""Tasks for engines: they leave their marks in files, raise, die or sleep as they are told."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from efface.benchmark.engines import Engine, Outcome, ProcessEngine
from efface.devices import named_device
from efface.errors import Stopped

SECONDS = 30.0
"""How long anything is waited for before a test fails."""


@dataclass(frozen=True)
class Errand:
    """A task: where it leaves its files, and what it does beside."""

    folder: Path
    name: str
    what: str = "nothing"


def do(errand: Errand) -> None:
    """Write who began, do what is asked, and write the result."""
    before = begun(errand.folder, errand.name)
    (errand.folder / f"{errand.name}.begun.{len(before)}").write_text(str(os.getpid()))
    if errand.what == "raise":
        raise ArithmeticError("no number\nfits")
    if errand.what == "exit":
        sys.exit(7)
    if errand.what == "leave":
        os._exit(0)
    if errand.what == "stop":
        raise Stopped("the caller asked to stop")
    if len(before) < {"die": 9, "die once": 1, "die twice": 2}.get(errand.what, 0):
        os.kill(os.getpid(), signal.SIGKILL)
    if errand.what == "sleep":
        time.sleep(600)
    if errand.what == "fail with a path":
        open("/home/ann/cats/7.png").close()
    if errand.what == "no result":
        return
    if errand.what.startswith("after "):
        wait_for(lambda: result(errand.folder, errand.what.removeprefix("after ")) is not None)
    if errand.what == "device":
        wait_for(lambda: len(list(errand.folder.glob("*.begun.0"))) == 3)
    (errand.folder / f"{errand.name}.result").write_text(named_device())


def look_at_threads(folder: Path) -> None:
    early = "torch" in sys.modules
    import torch

    said = f"{early} {torch.get_num_threads()} {os.environ['OMP_NUM_THREADS']}"
    (folder / "threads").write_text(said)


def drive(folder: Path) -> None:
    """The driver of a test that ends it: two workers that would never end."""
    signal.signal(signal.SIGTERM, stop)
    list(run(ProcessEngine(2), [Errand(folder, name, "sleep") for name in "abc"]))


def stop(number: int, frame: object) -> None:
    raise Stopped("stopped by a signal")


def run(engine: Engine, errands: list[Errand]) -> Generator[Outcome[Errand], None, None]:
    return engine.run(do, errands, lambda errand: result(errand.folder, errand.name) is not None)


def begun(folder: Path, name: str = "*") -> list[int]:
    """Process ids of those who began, in order of their tries."""
    return [int(file.read_text() or 0) for file in sorted(folder.glob(f"{name}.begun.*"))]


def result(folder: Path, name: str) -> str | None:
    file = folder / f"{name}.result"
    return file.read_text() if file.exists() else None


def wait_for(condition: Callable[[], Any]) -> None:
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
