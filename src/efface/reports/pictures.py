"""Pictures of the very images that were to be forgotten: a separate file that has to be asked for.

The report never holds any of them.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from efface.files import write_text
from efface.reports.page import render

if TYPE_CHECKING:
    from PIL.Image import Image

    from efface.evaluation.pictures import RestoredPictures

SMALLEST = 128
"""Pixels below which a picture is shown enlarged, pixel by pixel."""


def write_pictures(folder: Path, parts: Iterable[RestoredPictures], corruption: str) -> Path:
    """Write `FOLDER/pictures.html`, one self-contained page with the pictures of each set; returns its path.

    It shows images that were to be forgotten, and says so.
    """
    path = Path(folder) / "pictures.html"
    tables = [(part, [[data_url(picture) for picture in row] for row in part.rows]) for part in parts]
    small = any(row[0].width < SMALLEST for part, _ in tables for row in part.rows)
    write_text(path, render("pictures.html", tables=tables, corruption=corruption, small=small))
    return path


def data_url(picture: Image) -> str:
    """The picture as a PNG inside a page."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
