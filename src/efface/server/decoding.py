"""Pictures from strangers: decoded in a process of its own, whose memory and time are bounded.

Whatever a file does to a decoder, it does it there. The original is never sent to a browser: what is shown is a small JPEG
made anew from its pixels, so that nothing hidden in a file comes out of the service.
"""

from __future__ import annotations

import io
import multiprocessing
import re
import resource
from concurrent.futures import TimeoutError as TookTooLong
from pathlib import PurePosixPath, PureWindowsPath

from pebble import ProcessExpired, ProcessPool

from efface.errors import InputError
from efface.wording import printable

MOST_PIXELS = 100_000_000
MEMORY = 3 << 30
SECONDS = 20.0
"""What one picture may take."""
TASKS = 500
"""Pictures after which the process is replaced."""
THUMBNAIL = 320
"""Pixels of a thumbnail's longer side."""
TAIL = (1 << 16) + 22
"""Where a ZIP archive has its end (APPNOTE 4.3.16)."""
ELSEWHERE = (
    (re.compile(rb"Rar!\x1a\x07|7z\xbc\xaf\x27\x1c"), "a RAR or 7z archive"),
    (re.compile(rb"__halt_compiler|<\?php\s", re.I), "a PHP program"),
    (re.compile(rb"<script[\s>]|<html[\s>]|<!doctype html", re.I), "a web page"),
    (re.compile(rb"<svg\s[^<]{0,300}xmlns", re.I), "a drawing (SVG)"),
    (re.compile(rb"\AGIF8[79]a/\*"), "a script"),
)
"""What a polyglot holds beside the picture. Each is long enough that compressed pixels do not spell it by chance."""


class NotAPicture(InputError):
    """A file that is not taken in: no picture, too large a one, or something else besides."""


class Decoder:
    """One process that decodes, started with the first picture; it is replaced when a picture breaks it."""

    def __init__(self) -> None:
        self._pool = ProcessPool(
            max_workers=1,
            max_tasks=TASKS,
            initializer=_limit,
            context=multiprocessing.get_context("spawn"),
        )

    def close(self) -> None:
        """End the process."""
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()

    def check(self, data: bytes) -> None:
        """Raise `NotAPicture` unless this is a whole picture of bearable size, and nothing else besides."""
        if else_ := what_else(data):
            raise NotAPicture(f"the file is a picture and {else_} at once; send the picture alone")
        self.thumbnail(data)

    def thumbnail(self, data: bytes) -> bytes:
        """A small JPEG of a picture; raises `NotAPicture`."""
        future = self._pool.schedule(small, args=[data], timeout=SECONDS)
        try:
            made, reason = future.result()
        except TookTooLong:
            reason, made = f"it takes longer than {SECONDS:.0f} s to decode", b""
        except (ProcessExpired, MemoryError):
            reason, made = "it breaks the decoder, or takes too much memory", b""
        if reason:
            raise NotAPicture(f"the picture cannot be taken in: {reason}")
        return made


def what_else(data: bytes) -> str:
    """What a picture file is besides a picture, in words; nothing where it is a picture alone.

    A video behind a photo (a phone's motion photo) is left alone, as is a second picture.
    """
    if b"PK\x05\x06" in data[-TAIL:]:
        return "a ZIP archive"
    if b"%PDF-" in data[:1024]:
        return "a PDF"
    return next((words for pattern, words in ELSEWHERE if pattern.search(data)), "")


def check_name(name: str) -> None:
    """Raise `NotAPicture` for a file name that is a path; names are not kept in any case."""
    whole = name in (PurePosixPath(name).name, "") and name in (PureWindowsPath(name).name, "")
    if not whole or name in (".", "..") or not printable(name) == name:
        raise NotAPicture(f"the name of the file is a path or cannot be printed: {printable(name)[:100]}")


def small(data: bytes, side: int = THUMBNAIL) -> tuple[bytes, str]:
    """A JPEG of at most `side` pixels a side, and why not. It runs in the process with limits."""
    from efface.images.items import ReadingError
    from efface.images.reading import decode_image

    try:
        image = decode_image(data, MOST_PIXELS)
        image.thumbnail((side, side))
        out = io.BytesIO()
        image.convert("RGB").save(out, "JPEG", quality=85)
    except ReadingError as error:
        return b"", str(error)
    except MemoryError:
        return b"", "it takes too much memory"
    return out.getvalue(), ""


def _limit() -> None:
    """Bound this process: its memory, no files written, no core."""
    for kind, most in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))
