"""Images inside tar archives, read where they lie: an uncompressed tar holds each file as one stretch of bytes.

Only headers are read to list an archive, and nothing is ever unpacked, so that its names lead nowhere. An archive within
an archive (one tar per class inside one tar) is the same again at an offset. In a shard as WebDataset has them, the label
of `0001.jpg` is the text of `0001.cls`.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from efface.documents import open_file
from efface.errors import InputError
from efface.images.listings import Candidate, Listing, is_image_name
from efface.images.reading import MAX_BYTES
from efface.wording import printable


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """A file inside a tar archive at a resolved path: `size` bytes from `offset` on."""

    archive: str
    name: str
    offset: int
    size: int

    @property
    def where(self) -> str:
        return f"{self.archive}#{self.name}"

    def read_bytes(self) -> bytes:
        if self.size > MAX_BYTES:
            raise OSError(f"oversized: {self.size:,} bytes, more than {MAX_BYTES:,}")
        with open(self.archive, "rb") as file:
            file.seek(self.offset)
            data = file.read(self.size)
        if len(data) < self.size:
            raise OSError("the archive ends within this file")
        return data


MAX_LABEL_BYTES = 1024


def list_tars(paths: Sequence[str]) -> Listing:
    """The pictures in tar archives, in their order."""
    listing = Listing()
    for path in paths:
        links: list[str] = []
        files = files_in_tar(path, links)
        listing.problems += [
            f"{printable(f'{path}#{name}')} is a link, which is not followed in an archive: put the picture there"
            for name in links
        ]
        for name, file in files.items():
            label = files.get(os.path.splitext(name)[0] + ".cls")
            known = label is not None and label.size <= MAX_LABEL_BYTES
            text = label.read_bytes().decode("utf-8", "replace").strip() if label and known else ""
            kind = listing.candidates if is_image_name(os.path.basename(name)) else listing.others
            kind.append(Candidate(f"{path}#{name}", file, text or None))
    return listing


def files_in_tar(path: str | Path, links: list[str] | None = None) -> dict[str, ArchivedFile]:
    """The regular files of a tar archive by name, in the archive's order. links: takes the names of images that are links.

    Raises InputError for a file that is no uncompressed tar, or that ends too early.
    """
    archive = os.path.realpath(path)
    try:
        with open_file(archive) as file:
            return _files(file, archive, "", 0, os.path.getsize(archive), links)
    except OSError as error:
        raise InputError(f"{printable(os.fspath(path))} cannot be read: {error.strerror}") from None
    except tarfile.TarError as error:
        raise _damaged(os.fspath(path), error) from None


def files_in_inner_tar(inner: ArchivedFile) -> dict[str, ArchivedFile]:
    """The same for an archive that lies in another one."""
    try:
        with open(inner.archive, "rb") as file:
            return _files(file, inner.archive, f"{inner.name}#", inner.offset, inner.size)
    except OSError as error:
        raise InputError(f"{printable(inner.where)} cannot be read: {error.strerror}") from None
    except tarfile.TarError as error:
        raise _damaged(inner.where, error) from None


def _files(
    file: object, archive: str, prefix: str, offset: int, size: int, links: list[str] | None = None
) -> dict[str, ArchivedFile]:
    file.seek(offset)  # type: ignore[attr-defined]
    found: dict[str, ArchivedFile] = {}
    # "r:" refuses compression; tarfile takes the file's present position as the start of the archive
    with tarfile.open(fileobj=file, mode="r:") as tar:  # type: ignore[call-overload]
        for member in tar:
            if member.size < 0 or member.offset_data + member.size > offset + size:
                raise tarfile.ReadError("unexpected end of data")
            if member.isreg():
                name = member.name.removeprefix("./")
                found[name] = ArchivedFile(archive, prefix + name, member.offset_data, member.size)
            elif member.islnk() and (target := found.get(member.linkname.removeprefix("./"))):
                found[member.name.removeprefix("./")] = target
            elif links is not None and (member.issym() or member.islnk()):
                links += [member.name] if is_image_name(os.path.basename(member.name)) else []
    return found


def _damaged(name: str, error: Exception) -> InputError:
    return InputError(
        f"{printable(name)} is damaged, incomplete or no uncompressed tar archive ({error}); download it again, or "
        "unpack it"
    )
