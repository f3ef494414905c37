"""A place that the system says is mounted; really mounting one takes rights that tests do not have everywhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from efface.runs import erasing


def mounted(monkeypatch: pytest.MonkeyPatch, folder: Path, place: Path) -> None:
    """Have the system say that something is mounted at `place`; its table is written to `folder`."""
    named = os.path.realpath(place).replace(" ", "\\040")
    table = folder / "mountinfo"
    table.write_text(f"21 1 0:19 / / rw - ext4 /dev/a rw\n36 21 8:1 /photos {named} rw - ext4 /dev/a rw\n")
    monkeypatch.setattr(erasing, "MOUNTS", table)
