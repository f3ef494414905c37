"""Carries out what an example's README says, command by command, in one process and an empty folder."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from efface.cli import app

Follow = Callable[..., dict[str, str]]
COMMAND = re.compile(r"^ {4}efface ((?:.*\\\n)*.*)$", re.MULTILINE)


@pytest.fixture
def follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Follow:
    """`follow(EXAMPLE, photos)`: what each verb said. `photos` is moved into the folder; the example's files are copied."""
    # drawing charts takes most of the time of so small a run
    empty = '<svg viewBox="0 0 1 1"></svg>'
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, file, **_: file.write(empty))

    def followed(example: Path, photos: Path) -> dict[str, str]:
        for file in example.glob("*.*"):
            if not file.name.startswith("test_"):
                shutil.copy(file, tmp_path)
        photos.rename(tmp_path / "photos")
        monkeypatch.chdir(tmp_path)
        told: dict[str, str] = {}
        for command in COMMAND.findall((example / "README.md").read_text(encoding="utf-8")):
            words, said = shlex.split(command.replace("\\\n", " ")), io.StringIO()
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                code = app(words, standalone_mode=False)
            assert code in (None, 0), said.getvalue()
            told[words[0]] = said.getvalue()
        return told

    return followed
