"""The index of a pixel cache: one fixed-size record per image, in a file that only grows.

A record is written after its pixels are on disk, so what it names is whole. It also holds the image's fingerprint.
Readers map the file into memory; only the holder of the cache's lock writes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from efface.images.duplicates import SIDE

if TYPE_CHECKING:
    from numpy.typing import NDArray

RECORD = np.dtype(
    [
        ("digest", "u1", 32),
        ("offset", "<u8"),
        ("shard", "<u4"),
        ("height", "<u4"),
        ("width", "<u4"),
        ("hashes", "<u8", 2),
        ("thumbnail", "u1", (SIDE, SIDE, 3)),
    ]
)


@dataclass(frozen=True)
class Snapshot:
    """The index as it stood at one moment."""

    records: NDArray[Any]
    rows: NDArray[np.int64]  # usable records, sorted by the first 8 bytes of their digest
    prefixes: NDArray[np.uint64]
    version: tuple[int, int]

    def row(self, image_id: str) -> int:
        """The record of an image, -1 where it has none."""
        digest = bytes.fromhex(image_id)
        prefix = np.uint64(int.from_bytes(digest[:8], "big"))
        place = int(self.prefixes.searchsorted(prefix))
        while place < len(self.rows) and self.prefixes[place] == prefix:
            row = int(self.rows[place])
            if self.records[row]["digest"].tobytes() == digest:
                return row
            place += 1
        return -1


class Index:
    """The index file at `path`, beside the shards that it points into."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = self._snapshot()

    def refresh(self) -> Snapshot:
        """Take note of what any process added since."""
        if self._version() != self.now.version:
            self.now = self._snapshot()
        return self.now

    def append(self, records: NDArray[Any]) -> None:
        """Add records and flush. A torn record that a killed process left behind is cut off."""
        with open(self.path, "ab") as file:
            whole = os.fstat(file.fileno()).st_size // RECORD.itemsize * RECORD.itemsize
            file.truncate(whole)
            file.write(records.tobytes())
            file.flush()
            os.fsync(file.fileno())
        self.refresh()

    def _version(self) -> tuple[int, int]:
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return (0, 0)
        return (status.st_ino, status.st_size // RECORD.itemsize)

    def _snapshot(self) -> Snapshot:
        version = self._version()
        records: NDArray[Any] = np.zeros(0, RECORD)
        if count := version[1]:
            records = np.memmap(self.path, RECORD, mode="r", shape=(count,)).view(np.ndarray)
        rows = np.flatnonzero(self._inside_shards(records))
        starts = np.ascontiguousarray(records["digest"][rows, :8])
        prefixes = starts.view(">u8").reshape(-1).astype(np.uint64)
        order = np.argsort(prefixes, kind="stable")
        return Snapshot(records, rows[order], prefixes[order], version)

    def _inside_shards(self, records: NDArray[Any]) -> NDArray[np.bool_]:
        """Which records point at bytes that exist (a shard may have been removed by hand)."""
        if not len(records):
            return np.zeros(0, np.bool_)
        paths = (shard_path(self.path.parent, shard) for shard in range(int(records["shard"].max()) + 1))
        sizes = np.array([path.stat().st_size if path.exists() else 0 for path in paths], np.uint64)
        inside: NDArray[np.bool_] = ends_of(records) <= sizes[records["shard"]]
        return inside


def ends_of(records: NDArray[Any]) -> NDArray[np.uint64]:
    """Where the pixels of each record end within their shard."""
    area = records["height"].astype(np.uint64) * records["width"].astype(np.uint64)
    ends: NDArray[np.uint64] = records["offset"] + np.uint64(3) * area
    return ends


def shard_path(folder: Path, shard: int) -> Path:
    return folder / f"pixels-{shard:05d}.bin"
