"""What is removed of a run is listed before, and counted from that list, however often the removal is interrupted."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import efface
from efface.jobs import concluding
from efface.jobs.concluding import record_purge
from efface.runs.folder import RunFolder
from efface.runs.record import read_record
from efface.runs.verification import verify
from support.run_making import SHORT

CONFIG = {"seed": 0}


def a_run(folder: Path) -> Path:
    with RunFolder(folder, CONFIG) as run:
        run.work.mkdir()
        for name in ("a", "b", "c"):
            (run.work / name).write_text(name)
    os.link(folder / "work" / "b", folder.parent / "backup of b")
    return folder


def failing_after(count: int) -> Callable[..., None]:
    real, calls = os.unlink, iter(range(100))

    def unlink(name: str, *, dir_fd: int | None = None) -> None:
        if dir_fd is not None and next(calls) == count:
            raise KeyboardInterrupt
        real(name, dir_fd=dir_fd)

    return unlink


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_purge_that_was_interrupted_counts_what_the_first_one_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: int
) -> None:
    with RunFolder(a_run(tmp_path / "run"), CONFIG) as run:
        with monkeypatch.context() as patched:
            patched.setattr(os, "unlink", failing_after(gone))
            with pytest.raises(KeyboardInterrupt):
                record_purge(run)
        assert len(os.listdir(run.work)) == 3 - gone
        working = record_purge(run)
    assert (working.removed, working.living_on, working.kept) == (3, 1, [])
    assert (tmp_path / "backup of b").read_text() == "b"


def test_the_record_tells_of_a_clock_that_was_set_back_and_of_names_elsewhere(
    tiny: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(["2026-03-02T10:00:00+00:00", *100 * ["2026-03-01T10:00:00+00:00"]])
    real, linked = concluding.conclude, tmp_path / "backup"

    def conclude(config: Any, run: RunFolder, *more: Any) -> None:
        os.link(run.work / "checkpoint.pt", linked)
        real(config, run, *more)

    monkeypatch.setattr(concluding, "now", lambda: next(times))
    monkeypatch.setattr("efface.jobs.run.conclude", conclude)
    run = efface.unlearn(
        tiny, forget=photos / "cats", retain=photos / "dogs", out=tmp_path / "run", **SHORT
    ).run
    record = read_record(run)
    assert any("the clock was set back" in note and "2026-03-02T10:00:00" in note for note in record.notes)
    assert record.working_files.living_on == 1
    assert "1 of them had another name elsewhere" in (run / "report.html").read_text()
    assert linked.stat().st_size
    assert all(check.passed for check in verify(run))
