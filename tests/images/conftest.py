"""A data set of two classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.pictures import save_picture


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    """data/{cats,dogs}/{0,1,2}.png and a note that is not an image."""
    for index in range(3):
        save_picture(tmp_path / "data" / "cats" / f"{index}.png", index)
        save_picture(tmp_path / "data" / "dogs" / f"{index}.png", 10 + index)
    (tmp_path / "data" / "readme.txt").write_text("hello")
    return tmp_path / "data"
