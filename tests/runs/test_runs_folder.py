"""The run folder: who may write into it, and how it is left."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from efface.errors import InputError, RunRefused
from efface.files import lock_held
from efface.runs.folder import RunFolder, open_run, read_state
from efface.runs.state import RemovalPart, StartedPart
from support.mounts import mounted

CONFIG = {"seed": 0, "method": {"alpha": 1}}

HOLD = """
import fcntl, os, sys
handle = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(handle, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_new_folder_gets_a_config_and_a_secret_key(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "a" / "run", CONFIG) as run:
        assert open_run(run.path) == CONFIG
        assert len(run.key) == 32
        assert stat.S_IMODE(os.stat(run.path / "run.key").st_mode) == 0o600
    with RunFolder(tmp_path / "b", CONFIG) as other:
        assert other.key != run.key


def test_the_key_stays_when_a_run_is_continued(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run", CONFIG) as run:
        key = run.key
    with RunFolder(tmp_path / "run", CONFIG) as run:
        assert run.key == key


@pytest.mark.parametrize("content", [b"", b"abab", b"no key", b"\xff"])
def test_a_run_whose_key_is_damaged_is_not_continued(content: bytes, tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run", CONFIG):
        pass
    (tmp_path / "run" / "run.key").write_bytes(content)
    with pytest.raises(InputError, match=r"run.key"), RunFolder(tmp_path / "run", CONFIG):
        pass


@pytest.mark.parametrize("made_before", [False, True])
def test_a_run_is_its_owners_alone_whatever_the_umask(tmp_path: Path, made_before: bool) -> None:
    before = os.umask(0)
    try:
        if made_before:
            (tmp_path / "run").mkdir()
        with RunFolder(tmp_path / "run", CONFIG) as run:
            run.finish(StartedPart(at="now"))
            run.work.mkdir()
            (run.work / "written by a library").write_text("x")
        assert [name for name in run.path.rglob("*") if name.stat().st_mode & 0o077] == []
        assert stat.S_IMODE(run.path.stat().st_mode) == 0o700
        (tmp_path / "later").write_text("x")
        assert stat.S_IMODE((tmp_path / "later").stat().st_mode) == 0o666
    finally:
        os.umask(before)


def test_an_abandoned_folder_has_the_rights_that_it_had(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    with RunFolder(tmp_path, CONFIG) as run:
        run.abandon()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o750


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def flock(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", flock)
    with RunFolder(tmp_path, CONFIG) as run:
        assert not run.locked
        assert open_run(run.path) == CONFIG


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"), lock_held(tmp_path / "lock"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_another_config_is_refused_with_the_difference(tmp_path: Path) -> None:
    with RunFolder(tmp_path, CONFIG):
        pass
    with pytest.raises(RunRefused) as caught, RunFolder(tmp_path, {"seed": 0, "method": {"alpha": 2}}):
        pass
    assert "method.alpha: 1 -> 2" in str(caught.value)
    assert "seed" not in str(caught.value)
    assert open_run(tmp_path) == CONFIG


def test_a_folder_that_is_no_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_text("mine")
    with (
        pytest.raises(RunRefused, match=r"is not an efface run \(it holds holiday\.jpg\)"),
        RunFolder(tmp_path, CONFIG),
    ):
        pass
    assert os.listdir(tmp_path) == ["holiday.jpg"]


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with (
        pytest.raises(RunRefused, match="is a file; --out names a folder"),
        RunFolder(tmp_path / "out", CONFIG),
    ):
        pass
    assert (tmp_path / "out").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    below_a_file = RunFolder(tmp_path / "file" / "run", CONFIG)
    with pytest.raises(RunRefused, match="cannot be written: Not a directory"), below_a_file:
        pass


def test_a_folder_held_by_another_process_is_refused_until_it_lets_go(tmp_path: Path) -> None:
    with RunFolder(tmp_path, CONFIG):
        pass
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / ".lock")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(RunRefused, match="in use by another process"), RunFolder(tmp_path, CONFIG):
        pass
    holder.communicate("")
    with RunFolder(tmp_path, CONFIG) as run:
        assert run.path == tmp_path


def test_the_folder_is_held_inside_the_block_only(tmp_path: Path) -> None:
    with RunFolder(tmp_path, CONFIG), pytest.raises(RunRefused, match="in use"), RunFolder(tmp_path, CONFIG):
        pass
    with RunFolder(tmp_path, CONFIG):
        pass


def test_a_claim_that_was_killed_half_way_is_finished_by_the_next(tmp_path: Path) -> None:
    for left in (".lock", "run.key", ".config.yaml.77.tmp", ".run.key.77.tmp", ".probe.77.tmp"):
        (tmp_path / left).write_text("x")
    with RunFolder(tmp_path, CONFIG) as run:
        assert open_run(run.path) == CONFIG
        assert len(run.key) == 32
    assert not (tmp_path / ".config.yaml.77.tmp").exists()


def test_a_strangers_file_with_the_name_of_a_temporary_one_is_left(tmp_path: Path) -> None:
    (tmp_path / ".thesis.doc.tmp").write_text("ten years")
    with pytest.raises(RunRefused, match=r"it holds \.thesis\.doc\.tmp"), RunFolder(tmp_path, CONFIG):
        pass
    assert os.listdir(tmp_path) == [".thesis.doc.tmp"]


def test_what_a_kill_left_half_written_is_gone_at_the_next_start(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run", CONFIG) as run:
        pass
    halves = (
        ".report.html.7.tmp", "manifests/.forget.jsonl.7.tmp", ".model.tmp/model.safetensors", ".empty.tmp/",
        "path/.step-2.tmp/config.json", "work/.checkpoint.pt.7.tmp", "work/cache/c/.records.7.tmp",
    )  # fmt: skip
    for name in halves:
        (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        (run.path / name).mkdir() if name.endswith("/") else (run.path / name).write_text("half")
    (run.work / "checkpoint.pt").write_text("whole")
    with RunFolder(run.path, CONFIG):
        left = {path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file()}
    assert left == {".lock", "run.key", "config.yaml", "work/checkpoint.pt"}
    assert not list(run.path.rglob(".*.tmp"))


@pytest.mark.parametrize("content", ["", "- 1", "a: [1", "\x00"])
def test_a_damaged_config_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(InputError) as caught:
        open_run(tmp_path)
    assert "config.yaml" in str(caught.value)
    with pytest.raises(InputError), RunFolder(tmp_path, CONFIG):
        pass


def test_finished_parts_are_remembered(tmp_path: Path) -> None:
    with RunFolder(tmp_path, CONFIG) as run:
        assert run.finished(StartedPart) is None
        run.finish(StartedPart(at="now"))
        run.finish(RemovalPart(files=[]))
    with RunFolder(tmp_path, CONFIG) as run:
        assert run.finished(StartedPart) == StartedPart(at="now")
    assert read_state(tmp_path) == {"started": {"at": "now"}, "removal": {"files": [], "living_on": []}}


def test_a_part_that_lost_a_fact_is_damaged(tmp_path: Path) -> None:
    with RunFolder(tmp_path, CONFIG) as run:
        (tmp_path / "state.json").write_text('{"started": {}}')
        with pytest.raises(InputError, match=r"state\.json is damaged; remove it"):
            run.finished(StartedPart)


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"training"')
    with pytest.raises(InputError, match=r"state\.json is damaged; remove it"):
        read_state(tmp_path)


@pytest.mark.parametrize("place", ["work", "model", "log.jsonl", "manifests/forget.jsonl"])
def test_a_run_folder_with_a_link_in_it_is_refused_and_left(tmp_path: Path, place: str) -> None:
    strangers = tmp_path / "strangers"
    strangers.mkdir()
    with RunFolder(tmp_path / "run", CONFIG):
        pass
    (tmp_path / "run" / place).parent.mkdir(exist_ok=True)
    (tmp_path / "run" / place).symlink_to(strangers)
    with pytest.raises(RunRefused, match=f"{place} in .* is a link"), RunFolder(tmp_path / "run", CONFIG):
        pass
    assert (tmp_path / "run" / place).is_symlink()
    assert os.listdir(strangers) == []


def test_a_run_folder_with_a_mount_in_it_is_refused_and_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RunFolder(tmp_path / "my run", CONFIG) as run:
        (run.work / "photos").mkdir(parents=True)
        (run.work / "photos" / "1.jpg").write_text("mine")
    mounted(monkeypatch, tmp_path, run.work / "photos")
    with (
        pytest.raises(RunRefused, match=r"work/photos in .* another place is mounted"),
        RunFolder(run.path, CONFIG),
    ):
        pass
    assert (run.work / "photos" / "1.jpg").read_text() == "mine"


def test_a_run_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(tmp_path)
    with (
        pytest.raises(RunRefused, match=r"latest is a link to .*name that folder itself"),
        RunFolder(tmp_path / "latest", CONFIG),
    ):
        pass


def test_an_abandoned_run_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "new", CONFIG) as run:
        (run.work / "cache").mkdir(parents=True)
        (run.work / "cache" / "pixels").write_bytes(b"x")
        run.log.write_text("{}\n")
        run.finish(StartedPart(at="now"))
        run.abandon()
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    with RunFolder(tmp_path / "empty", CONFIG) as run:
        run.abandon()
    assert os.listdir(tmp_path / "empty") == []
    with RunFolder(tmp_path / "late", CONFIG) as run:
        (run.path / "manifests").mkdir()
        (run.path / "manifests" / "forget.jsonl").write_text("{}\n")
        run.abandon()
    assert not (tmp_path / "late").exists()


def test_a_run_with_a_finished_part_is_not_abandoned(tmp_path: Path) -> None:
    with RunFolder(tmp_path, CONFIG) as run:
        run.finish(RemovalPart(files=[]))
        run.abandon()
    assert open_run(tmp_path) == CONFIG
    assert (tmp_path / "run.key").exists()
