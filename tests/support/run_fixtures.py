"""Fixtures of every test of whole runs: a model, photographs, a finished run, and the command line."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import pytest

import efface
from efface.jobs.run import RunResult
from support.command_line import CommandLine, Outcome, cli
from support.run_making import SHORT, make_model, make_photos

__all__ = ["CommandLine", "Outcome", "cli"]


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
