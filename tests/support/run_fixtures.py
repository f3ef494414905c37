"""Fixtures of every test of whole runs: a model, photographs, a finished run, and the command line."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

import efface
from efface.jobs.run import RunResult
from efface.training.interruption import STOPPING
from support.run_making import SHORT, make_model, make_photos


@dataclass(frozen=True)
class Outcome:
    """How the command line ended and what it printed."""

    code: int
    out: str
    err: str


CommandLine = Callable[..., Outcome]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "tiny-mae")


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny: Path, photos: Path) -> RunResult:
    """A run that forgot the cats and kept the dogs; the birds are neutral. Tests must not change it."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    return efface.unlearn(
        tiny, forget="label:cats", neutral="label:birds", images=photos, out=out, request={"id": "7"}, **SHORT
    )


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


@pytest.fixture(autouse=True)
def undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts of runs that a test makes for itself are laid out but not drawn: that takes over half of a tiny run.

    All is drawn in a test that is marked so, and of the runs that tests share all but those of every family.
    """
    if not request.node.get_closest_marker("draws"):
        leave_undrawn(monkeypatch)


def leave_undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    def save(figure: object, file: IO[str], **_: object) -> None:
        file.write('<svg viewBox="0 0 1 1"></svg>')

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", save)
