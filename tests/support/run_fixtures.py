"""Fixtures of every test of whole runs: a model, photographs, a finished run, and the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import efface
from efface.jobs.run import RunResult
from efface.reports.canvas import UNDRAWN
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
def undrawn(request: pytest.FixtureRequest) -> Iterator[None]:
    """Charts of runs that a test makes for itself are left empty: drawing takes over half of a tiny run.

    All is drawn in a test that is marked so, and of the runs that tests share all but those of every family.
    """
    with charts_left_empty(not request.node.get_closest_marker("draws")):
        yield


@contextmanager
def charts_left_empty(empty: bool = True) -> Iterator[None]:
    token = UNDRAWN.set(empty)
    yield
    UNDRAWN.reset(token)
