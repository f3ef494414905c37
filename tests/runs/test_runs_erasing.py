"""What is removed of a run: its own files, overwritten before, and nothing that is anybody else's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from efface.runs import erasing
from efface.runs.erasing import (
    erase,
    living_on,
    purge,
    put_in_place,
    remove_folder,
    working_entries,
    working_files,
)
from support.mounts import mounted


@pytest.fixture
def strangers(tmp_path: Path) -> Path:
    """A folder that is not the run's."""
    folder = tmp_path / "strangers"
    folder.mkdir()
    (folder / "thesis.txt").write_text("ten years")
    return folder


def test_purging_overwrites_then_removes_every_working_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work" / "cache"
    work.mkdir(parents=True)
    (work / "pixels").write_bytes(b"\xff" * 3_000_000)
    (tmp_path / "work" / "checkpoint.pt").write_bytes(b"\xff" * 10)
    seen: dict[str, bytes] = {}
    unlink = os.unlink

    def reading(name: str, *, dir_fd: int) -> None:
        with open(os.open(name, os.O_RDONLY, dir_fd=dir_fd), "rb") as file:
            seen[name] = file.read()
        unlink(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", reading)
    assert working_files(tmp_path) == ["work/cache/pixels", "work/checkpoint.pt"]
    assert purge(tmp_path) == ["work/cache/pixels", "work/checkpoint.pt"]
    assert seen == {"pixels": bytes(3_000_000), "checkpoint.pt": bytes(10)}
    assert working_files(tmp_path) == []
    assert purge(tmp_path) == []


def test_purge_removes_links_and_leaves_what_they_lead_to(tmp_path: Path) -> None:
    strangers = tmp_path / "strangers"
    strangers.mkdir()
    (strangers / "thesis.txt").write_text("ten years")
    run = tmp_path / "run"
    (run / "work").mkdir(parents=True)
    (run / "work" / "file").symlink_to(strangers / "thesis.txt")
    (run / "work" / "folder").symlink_to(strangers)
    (run / "work" / "broken").symlink_to("nowhere")
    os.link(strangers / "thesis.txt", run / "work" / "hard")
    os.mkfifo(run / "work" / "pipe")
    listed = working_files(run)
    assert listed == [f"work/{name}" for name in ("broken", "file", "folder", "hard", "pipe")]
    assert purge(run) == listed
    assert not (run / "work").exists()
    (run / "work").symlink_to(strangers)
    assert working_files(run) == ["work"]
    assert purge(run) == ["work"]
    assert not (run / "work").is_symlink()
    assert (strangers / "thesis.txt").read_text() == "ten years"


def test_names_of_one_content_inside_the_run_are_all_overwritten(tmp_path: Path, strangers: Path) -> None:
    work = tmp_path / "run" / "work"
    work.mkdir(parents=True)
    (work / "a").write_text("pixels")
    os.link(work / "a", work / "b")
    os.link(strangers / "thesis.txt", work / "c")
    os.link(strangers / "thesis.txt", work / "d")
    kept = os.open(work / "a", os.O_RDONLY)
    assert living_on(working_entries(tmp_path / "run")) == ["work/c", "work/d"]
    assert purge(tmp_path / "run") == ["work/a", "work/b", "work/c", "work/d"]
    assert os.read(kept, 10) == bytes(6)
    os.close(kept)
    assert (strangers / "thesis.txt").read_text() == "ten years"


@pytest.mark.parametrize("swapped_for", ["a file", "a link", "a folder"])
def test_what_took_the_place_of_a_listed_file_is_left(
    tmp_path: Path, strangers: Path, swapped_for: str
) -> None:
    run = tmp_path / "run"
    (run / "work").mkdir(parents=True)
    (run / "work" / "cache").write_text("pixels")
    listed = working_entries(run)
    (run / "work" / "cache").rename(run / "work" / "moved")
    if swapped_for == "a file":
        (run / "work" / "cache").write_text("mine")
    elif swapped_for == "a link":
        (run / "work" / "cache").symlink_to(strangers / "thesis.txt")
    else:
        strangers.rename(run / "work" / "cache")
        strangers = run / "work" / "cache"
    erase(run, listed)
    assert (run / "work" / "cache").exists()
    assert (run / "work" / "moved").read_text() == "pixels"
    assert (strangers / "thesis.txt").read_text() == "ten years"


def test_a_mount_is_not_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "run" / "work"
    (work / "photos").mkdir(parents=True)
    (work / "photos" / "1.jpg").write_text("mine")
    (work / "checkpoint.pt").write_text("weights")
    mounted(monkeypatch, tmp_path, work / "photos")
    assert purge(tmp_path / "run") == ["work/checkpoint.pt"]
    assert (work / "photos" / "1.jpg").read_text() == "mine"


def test_what_comes_while_a_run_is_purged_is_left_and_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "run" / "work"
    work.mkdir(parents=True)
    (work / "checkpoint.pt").write_text("weights")
    real = erasing.erase

    def late(run: Path, entries: list[erasing.Entry]) -> None:
        (work / "late").write_text("mine")
        real(run, entries)

    monkeypatch.setattr(erasing, "erase", late)
    assert purge(tmp_path / "run") == ["work/checkpoint.pt"]
    assert working_files(tmp_path / "run") == ["work/late"]


@pytest.mark.parametrize("name", ["model", ".model.tmp"])
def test_a_link_in_the_place_of_a_model_is_not_followed(tmp_path: Path, strangers: Path, name: str) -> None:
    (tmp_path / name).symlink_to(strangers)
    remove_folder(tmp_path / name)
    assert not (tmp_path / name).is_symlink()
    assert (strangers / "thesis.txt").read_text() == "ten years"


def test_a_model_takes_the_place_of_the_one_before(tmp_path: Path, strangers: Path) -> None:
    for name, text in ((".model.tmp", "new"), ("model", "old")):
        (tmp_path / name / "part").mkdir(parents=True)
        (tmp_path / name / "part" / "weights").write_text(text)
    os.link(strangers / "thesis.txt", tmp_path / "model" / "backup")
    put_in_place(tmp_path / ".model.tmp", tmp_path / "model")
    assert [path.name for path in (tmp_path / "model").rglob("*")] == ["part", "weights"]
    assert (tmp_path / "model" / "part" / "weights").read_text() == "new"
    assert (strangers / "thesis.txt").read_text() == "ten years"
