"""How commands end: in one message with the right exit code, whatever happened, and never by steering the terminal."""

from __future__ import annotations

import errno
import io
import logging
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import typer

from efface.cli import app
from efface.cli.ends import end, expected
from efface.errors import InputError
from efface.progress import PlainConsole, Progress
from support.run_fixtures import CommandLine


@pytest.fixture(autouse=True)
def no_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["efface"])


ESCAPE = "\x1b]0;owned\x07\x1b[2J\u202e"


def ending(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and errors of a command that raises."""

    def verb() -> None:
        raise error

    command = typer.Typer()
    command.command()(expected(verb))
    with pytest.raises(SystemExit) as caught:
        end(command)
    said = capsys.readouterr().err
    assert "\x1b" not in said
    return caught.value.code, said


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 4, "efface: stopped. What was finished is kept"),
        (MemoryError(), 4, "there is not enough memory"),
        (OSError(errno.ENOSPC, "No space left on device", f"/a/{ESCAPE}"), 4, "No space left on device"),
        (OSError(errno.EIO, "Input/output error"), 4, "efface: stopped: Input/output error."),
        (PermissionError(errno.EACCES, "Permission denied", "/a"), 2, "efface: /a: Permission denied."),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 300), 2, "File name too long"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/a/b"), 2, "/a/b: Not a directory"),
        (InputError(f"no image {ESCAPE}", "two\nlines"), 2, "no image \\x1b]0;owned\\x07"),
        (ZeroDivisionError(f"of {ESCAPE}"), 1, "Traceback"),
    ],
)
def test_an_end_is_one_message_with_its_code(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ended, message = ending(error, capsys)
    assert ended == code
    assert said in message
    assert code == 1 or "Traceback" not in message


def test_every_verb_ends_so() -> None:
    verbs = [
        command
        for group in (app, *(one.typer_instance for one in app.registered_groups))
        for command in group.registered_commands
    ]
    assert len(verbs) > 12
    assert all(command.callback.__code__ is expected(print).__code__ for command in verbs)


def test_wrong_options_are_said_without_what_they_steer(cli: CommandLine) -> None:
    for arguments in ((f"--{ESCAPE}",), ("plan", "model", ESCAPE), ("list", ESCAPE)):
        outcome = cli(*arguments)
        assert outcome.code == 2
        assert "owned" in outcome.err
        assert "\x1b" not in outcome.err


def test_a_reader_that_has_had_enough_is_no_fault() -> None:
    command = f"{sys.executable} -m efface list settings | head -1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False
    )
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_a_page_that_cannot_be_written_is_one_message(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in (0, 1):
        np.save(tmp_path / f"{seed}.npy", np.random.default_rng(seed).normal(size=(16, 12)))
    score = ("score", "--unlearned", tmp_path / "0.npy", "--retrained", tmp_path / "1.npy", "--out")
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file" / "score", tmp_path / ("x" * 300)):
        outcome = cli(*score, out)
        assert outcome.code == 2, outcome.err
        assert "Traceback" not in outcome.err

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("efface.files.os.replace", full)
    outcome = cli(*score, tmp_path / "score")
    assert outcome.code == 4
    assert "No space left on device" in outcome.err


def test_texts_reach_a_terminal_as_they_are_and_no_more() -> None:
    written = io.StringIO()
    console = PlainConsole(written)
    progress = Progress(console=console)
    progress.say(f"model [red]{ESCAPE}")
    with progress.task(f"task {ESCAPE}", 2):
        pass
    assert "\x1b" not in written.getvalue()
    assert "\u202e" not in written.getvalue()
    assert "model [red]\\x1b]0;owned" in written.getvalue()


def test_warnings_and_library_logs_are_printable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = logging.getLogRecordFactory()
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_: sys.stderr.write(str(message)))

    def verb() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn(f"odd {ESCAPE}", stacklevel=1)
        logging.getLogger("somewhere").error("odd %s", ESCAPE)

    command = typer.Typer()
    command.command()(verb)
    try:
        with pytest.raises(SystemExit):
            end(command)
    finally:
        logging.setLogRecordFactory(before)
    said = capsys.readouterr().err
    assert "odd \\x1b" in said
    assert "\x1b" not in said


def test_what_keeps_nothing_does_not_say_that_it_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    def verb() -> None:
        raise KeyboardInterrupt

    command = typer.Typer()
    command.command()(expected(verb, keeps=False))
    with pytest.raises(SystemExit):
        end(command)
    assert capsys.readouterr().err == "efface: stopped. Nothing was kept; the same command begins anew.\n"


def test_a_stop_while_the_command_line_is_imported_is_no_traceback() -> None:
    code = (
        "import sys, importlib.abc\n"
        "class Stop(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'efface.cli': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stop())\n"
        "from efface.__main__ import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (4, "efface: stopped.\n")
