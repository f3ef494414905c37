"""Progress: plain lines off a terminal, a bar on one, and a log in which every line is JSON."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from efface import progress as progress_module
from efface.progress import Progress


def off_terminal() -> tuple[Progress, io.StringIO]:
    shown = io.StringIO()
    return Progress(console=Console(file=shown, force_terminal=False, width=200)), shown


def test_off_a_terminal_plain_lines_say_where_it_begins_and_ends() -> None:
    progress, shown = off_terminal()
    with progress.task("unlearn", 3, done=1) as task:
        task.advance()
        task.advance()
    lines = shown.getvalue().splitlines()
    assert lines == ["unlearn: 1 of 3", "unlearn: done in 0 s"]
    assert "\x1b" not in shown.getvalue()


def test_off_a_terminal_a_long_task_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    progress, shown = off_terminal()
    clock = iter([0.0, 0.0, 12.0, 12.0, 12.0, 13.0, 30.0, 30.0])
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: next(clock))
    with progress.task("unlearn", 10) as task:
        task.advance(2, loss=0.5)
        task.advance(8)
    lines = shown.getvalue().splitlines()
    # two of ten parts took 12 s, so the other eight take 48 s
    assert "unlearn: 2 of 10, 48 s left loss 0.5" in lines


def test_on_a_terminal_there_is_a_bar_with_the_count() -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=100, legacy_windows=False)
    with Progress(console=console).task("unlearn", 4, done=1) as task:
        task.advance(3, loss=0.25)
    text = shown.getvalue()
    assert "━" in text
    assert "4/4" in text
    assert "loss 0.25" in text
    assert "\x1b[" in text


def test_silence_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress.say("anything")
    progress.log("event")
    with progress.task("unlearn", 1) as task:
        task.advance()
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_progress_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    Progress.on_terminal().say("hello [bold]you[/bold]")
    assert capsys.readouterr() == ("", "hello [bold]you[/bold]\n")


def test_every_line_of_the_log_is_json_whatever_is_logged(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "log.jsonl")
    progress.log("step", loss=float("nan"), norm=float("inf"), step=1)
    progress.log("note", text='a\nb "quoted" \udcff <script> ü')
    lines = (tmp_path / "log.jsonl").read_text(encoding="ascii").splitlines()

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    step, note = [json.loads(line, parse_constant=refuse) for line in lines]
    assert (step["event"], step["loss"], step["norm"], step["step"]) == ("step", None, None, 1)
    assert note["text"] == 'a\nb "quoted" \udcff <script> ü'
    assert step["time"] <= note["time"]


def test_a_line_that_was_cut_short_does_not_spoil_the_next(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"event": "step"}\n{"event": "st')
    Progress().logging_to(log).log("start")
    Progress().logging_to(log).log("end")
    lines = log.read_text().splitlines()
    assert lines[:2] == ['{"event": "step"}', '{"event": "st']
    assert [json.loads(line)["event"] for line in lines[2:]] == ["start", "end"]


def test_counting_opens_one_display_for_each_name_and_closes_it() -> None:
    progress, shown = off_terminal()
    for done in range(1, 4):
        progress.count("reading", done, 3)
    progress.count("decoding", 1, 2)
    progress.finish_counting()
    assert [line.split(":")[0] for line in shown.getvalue().splitlines()] == [
        "reading",
        "reading",
        "decoding",
        "decoding",
    ]
    assert shown.getvalue().startswith("reading: 0 of 3\n")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (61, "1 min 01 s"), (3661, "1 h 01 min")]
)
def test_durations_read_naturally(seconds: float, text: str) -> None:
    assert progress_module._duration(seconds) == text
