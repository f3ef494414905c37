"""Campaigns are slow, say what they tried, and come in a short and a long form (`CAMPAIGN=long`)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from campaigns.errands import Errand, carry_out, make_errands
from support.forked import PRELOADED, SERVER

LONG = os.environ.get("CAMPAIGN") == "long"
TALLIES: list[str] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(4 * 3600 if LONG else 600))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TALLIES:
        terminalreporter.section("campaigns, " + ("long form" if LONG else "short form"))
        for line in TALLIES:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def tally() -> Callable[[str], None]:
    """Takes a sentence of what was tried and found; all are printed at the end."""
    return TALLIES.append


@pytest.fixture(scope="session")
def long_form() -> bool:
    return LONG


@pytest.fixture(scope="session")
def errands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Errand]:
    SERVER.set_forkserver_preload([*PRELOADED, "efface.cli", "matplotlib.figure", "campaigns.errands"])
    return make_errands(tmp_path_factory.mktemp("errands"))


@pytest.fixture(scope="session")
def finished_run(errands: dict[str, Errand], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that unlearned a generator. Tests must not change it."""
    folder = tmp_path_factory.mktemp("finished")
    ending = carry_out(errands["unlearn generator"], folder / "out", folder / "scratch")
    assert ending.code == 0, ending.said
    return folder / "out"
