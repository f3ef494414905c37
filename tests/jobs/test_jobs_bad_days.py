"""Bad days: full disks, torn writes, odd names, hostile files. Nothing is lost, and the message says what to do."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import efface
from efface.errors import InputError, RunRefused, Stopped
from efface.evaluation import results
from efface.jobs.run import RunResult
from efface.runs.erasing import working_files
from efface.runs.verification import verify
from efface.training.checkpoint import load_checkpoint
from support.run_fixtures import CommandLine
from support.run_making import SHORT, SHORT_OPTIONS, make_photos, save_photo, texts_of


@pytest.fixture
def sets(tiny: Path, photos: Path) -> dict[str, Any]:
    return {"model": tiny, "forget": photos / "cats", "retain": photos / "dogs"}


@pytest.fixture(scope="module")
def whole(tiny: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """The run of `sets` on a good day."""
    out = tmp_path_factory.mktemp("whole") / "run"
    return efface.unlearn(tiny, forget=photos / "cats", retain=photos / "dogs", out=out, **SHORT)


def after(result: RunResult) -> str:
    digest: str = result.record.model.after.weights
    return digest


def failing_at(count: int, real: Callable[..., Any], error: Callable[[], Exception]) -> Callable[..., Any]:
    calls = iter(range(1, 1000))

    def call(*arguments: Any, **options: Any) -> Any:
        if next(calls) == count:
            raise error()
        return real(*arguments, **options)

    return call


def full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")


def test_a_disk_that_fills_in_a_checkpoint_stops_the_run_with_the_last_one_intact(
    sets: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: RunResult
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", failing_at(3, torch.save, full))
        with pytest.raises(Stopped) as caught:
            efface.unlearn(**sets, out=tmp_path / "run", **SHORT)
    assert "No space left on device" in str(caught.value)
    assert "the same command continues" in str(caught.value)
    work = tmp_path / "run" / "work"
    stored = torch.load(work / "checkpoint.pt", weights_only=True)
    assert stored["step"] == 2
    assert load_checkpoint(work, stored["config_digest"]) is not None
    assert not list(work.glob(".*"))
    result = efface.unlearn(**sets, out=tmp_path / "run", **SHORT)
    assert result.record.training.resumed_from == 2
    assert after(result) == after(whole)
    assert result.rows == whole.rows


@pytest.mark.parametrize("name", ["results.json", "worst.json", "record.json", "report.html", "state.json"])
def test_a_disk_that_fills_while_a_result_is_written_stops_the_run(
    sets: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: RunResult, name: str
) -> None:
    replace = os.replace

    def full_for_it(source: Any, target: Any) -> None:
        # the state is written many times; the last part that it tells of is the evaluation
        if Path(target).name == name and (name != "state.json" or "evaluation" in Path(source).read_text()):
            raise full()
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full_for_it)
        with pytest.raises(Stopped, match="No space left on device"):
            efface.unlearn(**sets, out=tmp_path / "run", **SHORT)
    result = efface.unlearn(**sets, out=tmp_path / "run", **SHORT)
    assert after(result) == after(whole)
    assert result.rows == whole.rows
    assert working_files(result.run) == []
    assert all(check.passed for check in verify(result.run))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """`small_disk("400k")` is a file system of that size; a second call resizes it."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = False

    def mount(size: str) -> Path:
        nonlocal mounted
        options = f"size={size},remount" if mounted else f"size={size}"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)],
            check=False,
            capture_output=True,
        )
        if done.returncode:
            pytest.skip("no file system may be mounted here")
        mounted = True
        return place

    yield mount
    if mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_too_small_for_the_pixels_is_refused_before_it_is_filled(
    sets: dict[str, Any], small_disk: Callable[[str], Path]
) -> None:
    place = small_disk("40k")
    with pytest.raises(InputError, match=r"needs .* MiB, but .* free"):
        efface.unlearn(**sets, out=place / "run", **SHORT)
    assert os.listdir(place) == []


def test_a_place_that_cannot_be_written_is_refused(sets: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunRefused, match="cannot be written: Not a directory"):
        efface.unlearn(**sets, out=tmp_path / "file" / "run", **SHORT)
    with pytest.raises(RunRefused, match="is a file"):
        efface.unlearn(**sets, out=tmp_path / "file", **SHORT)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_read_only_folder_is_refused(
    sets: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", forbidden)
    with pytest.raises(RunRefused, match="cannot be written: Permission denied"):
        efface.unlearn(**sets, out=tmp_path / "run", **SHORT)


def test_writing_rights_lost_in_a_run_stop_it(
    sets: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: RunResult
) -> None:
    def forbidden(*_: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "results.json")

    with monkeypatch.context() as patched:
        patched.setattr(results, "write_json", forbidden)
        with pytest.raises(Stopped, match=r"Permission denied \(results\.json\)"):
            efface.unlearn(**sets, out=tmp_path / "run", **SHORT)
    assert efface.unlearn(**sets, out=tmp_path / "run", **SHORT).rows == whole.rows


def test_odd_names_break_neither_json_nor_page(tiny: Path, tmp_path: Path, cli: CommandLine) -> None:
    data = make_photos(tmp_path / "photos")
    label = "<script>alert(1)<\nscript>\udcff"
    folder = os.fsencode(data) + b"/" + os.fsencode(label.replace("/", ""))
    os.mkdir(folder)
    for number, name in enumerate((b"<b>.png", b"line\nbreak.png", b"caf\xe9.png", b"$(x) ';.png")):
        made = save_photo(tmp_path / "made.png", 400 + number)
        os.rename(made, folder + b"/" + name)
    outcome = cli(
        "unlearn", tiny, "--images", data, "--forget", "label:cats", "--out", tmp_path / "run",
        "--set", "request.reason='<script>alert(2)</script> & more'", "--json", *SHORT_OPTIONS,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["run"] == str(tmp_path / "run")
    texts = texts_of(tmp_path / "run")
    for name, text in texts.items():
        if name.endswith(".json"):
            json.loads(text)
        elif name.endswith(".jsonl"):
            assert all(json.loads(line) for line in text.splitlines())
    assert "<script" not in texts["report.html"].lower()
    assert "&lt;script&gt;alert(2)" in texts["report.html"]
    worst = [entry["name"] for entry in json.loads(texts["worst.json"]) if entry["kind"] == "class"]
    assert worst
    assert all(name.startswith("class-") for name in worst), "a class is named by a keyed word"
    assert all(check.passed for check in verify(tmp_path / "run"))


def test_odd_names_are_printed_on_one_line_when_they_are_at_fault(
    tiny: Path, tmp_path: Path, cli: CommandLine
) -> None:
    data = make_photos(tmp_path / "photos")
    with open(os.fsencode(data) + b"/dogs/new\nline \xff<i>.png", "wb") as file:
        file.write(b"no image")
    outcome = cli("unlearn", tiny, "--images", data, "--forget", "label:cats", "--out", tmp_path / "run")
    assert outcome.code == 2
    assert "new\\nline \\udcff<i>.png: not an image" in outcome.err
    assert not (tmp_path / "run").exists()


def test_a_manifest_that_points_outside_its_folder_says_so(
    tiny: Path, photos: Path, tmp_path: Path, cli: CommandLine
) -> None:
    (tmp_path / "lists").mkdir()
    save_photo(tmp_path / "outside.png", 7)
    manifest = tmp_path / "lists" / "all.csv"
    manifest.write_text("path\n../outside.png\n")
    outcome = cli(
        "unlearn", tiny, "--forget", manifest, "--retain", photos / "dogs", "--out", tmp_path / "run"
    )
    assert outcome.code == 2
    assert "all.csv row 1" in outcome.err
    assert "outside" in outcome.err.replace("../outside.png", "")
    assert not (tmp_path / "run").exists()


class Trap:
    """An object whose unpickling calls `function` on a path."""

    def __init__(self, function: Callable[[str], Any], argument: str) -> None:
        self.function, self.argument = function, argument

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return self.function, (self.argument,)


@pytest.mark.parametrize(
    ("function", "command", "name"),
    [
        (os.system, "touch {}", "posix.system"),
        (os.mkdir, "{}", "posix.mkdir"),
        (print, "{}", "print"),
    ],
)
def test_a_checkpoint_that_carries_code_is_refused_by_name_and_not_run(
    photos: Path, tmp_path: Path, cli: CommandLine, function: Callable[[str], Any], command: str, name: str
) -> None:
    trace = tmp_path / "trace"
    torch.save({"model": {}, "extra": Trap(function, command.format(trace))}, tmp_path / "model.pth")
    outcome = cli(
        "unlearn", tmp_path / "model.pth", "--forget", photos / "cats", "--retain", photos / "dogs",
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert outcome.code == 2
    assert str(tmp_path / "model.pth") in outcome.err
    assert f"it carries code ({name})" in outcome.err
    assert str(trace) not in outcome.out
    assert "Traceback" not in outcome.err
    assert not trace.exists()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.9])
def test_a_truncated_model_is_named(
    tiny: Path, photos: Path, tmp_path: Path, cli: CommandLine, kept: float
) -> None:
    torn = tmp_path / "torn"
    torn.mkdir()
    for file in tiny.iterdir():
        data = file.read_bytes()
        (torn / file.name).write_bytes(
            data[: int(len(data) * kept)] if file.suffix == ".safetensors" else data
        )
    outcome = cli(
        "unlearn", torn, "--forget", photos / "cats", "--retain", photos / "dogs", "--out", tmp_path / "run"
    )
    assert outcome.code == 2
    assert str(torn) in outcome.err
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "run").exists()


def test_a_folder_whose_name_is_not_utf8_is_refused_before_anything_changes(
    tiny: Path, photos: Path, tmp_path: Path, cli: CommandLine
) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    os.mkdir(folder)
    save_photo(tmp_path / "made.png", 7).rename(Path(folder) / "one.png")
    sets = ("--forget", folder, "--retain", photos / "dogs")
    outcome = cli("unlearn", tiny, *sets, "--out", tmp_path / "run", *SHORT_OPTIONS)
    assert outcome.code == 2
    assert "images.forget.0: the text is not UTF-8" in outcome.err
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_weights(
    sets: dict[str, Any], tmp_path: Path
) -> None:
    training = {**SHORT["training"], "learning_rate": 1e30, "clip": None, "warmup": 0.0}
    with pytest.raises(Stopped) as caught:
        efface.unlearn(**sets, out=tmp_path / "run", training=training)
    assert "not finite" in str(caught.value)
    assert "a changed config needs a new --out folder" in str(caught.value)
    stored = torch.load(tmp_path / "run" / "work" / "checkpoint.pt", weights_only=True)
    assert all(tensor.isfinite().all() for tensor in stored["weights"].values())
    for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))
