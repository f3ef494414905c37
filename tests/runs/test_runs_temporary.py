"""Temporary folders go at the end of their work, or with the next start; nobody else's are touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from efface.runs import temporary
from efface.runs.folder import hold
from efface.runs.temporary import OWNED, erase_abandoned, temporary_folder

HOLD = """
import sys
from efface.runs.temporary import temporary_folder
with temporary_folder() as folder:
    (folder / "pixels").write_text("forgotten")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders lie."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_its_owners_alone_and_gone_at_the_end(place: Path) -> None:
    with temporary_folder() as folder:
        assert folder.parent == place
        assert folder.stat().st_mode & 0o77 == 0
        (folder / "deep").mkdir()
        (folder / "deep" / "pixels").write_text("forgotten")
        erase_abandoned()
        assert (folder / "deep" / "pixels").exists()
    assert os.listdir(place) == []


def test_another_start_does_not_meddle_while_it_is_removed(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = temporary.remove_folder

    def beside_another_start(folder: Path) -> None:
        there = folder.exists()
        erase_abandoned()
        assert folder.exists() == there
        remove(folder)

    with temporary_folder() as folder:
        (folder / "pixels").write_text("forgotten")
        monkeypatch.setattr(temporary, "remove_folder", beside_another_start)
    assert os.listdir(place) == []


def test_one_that_a_kill_left_is_erased_by_the_next_start_and_no_other(place: Path) -> None:
    mine = (place / "efface-experiments", place / "efface-notes")
    mine[0].mkdir()
    (mine[0] / "thesis.txt").write_text("ten years")
    mine[1].symlink_to(mine[0])
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(place)},
    )  # fmt: skip
    assert holder.stdout is not None
    left = Path(holder.stdout.readline().strip())
    erase_abandoned()
    assert (left / "pixels").read_text() == "forgotten"
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert (left / OWNED).exists()
    with ExitStack() as held:
        hold(place / "run", held)  # as each verb does that writes a folder
    assert not left.exists()
    assert (mine[0] / "thesis.txt").read_text() == "ten years"
    assert mine[1].is_symlink()
