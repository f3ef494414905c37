"""The index of a pixel cache: one fixed-size record per image, in a file that only grows.

A record is written after its pixels are on disk, so what it names is whole. It also holds the image's fingerprint, and
two check sums: of the pixels, and of the record itself. Readers map the file into memory; only the holder of the cache's
lock writes. Records that do not fit the shards are passed over, and left out when the index is written the next time.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from efface.files import replacing
from efface.images.fingerprints import FINGERPRINT

if TYPE_CHECKING:
    from numpy.typing import NDArray

RECORD = np.dtype(
    [
        ("digest", "u1", 32),
        ("offset", "<u8"),
        ("shard", "<u4"),
        ("height", "<u4"),
        ("width", "<u4"),
        ("pixels", "<u4"),
        ("fingerprint", FINGERPRINT),
        ("check", "<u4"),
    ]
)
SHARDS = "pixels-[0-9][0-9][0-9][0-9][0-9].bin"
LONGEST_SIDE = 1 << 24
"""Pixels; a record that tells of more is damaged, and its area would not fit 64 bits."""


@dataclass(frozen=True)
class Snapshot:
    """The index as it stood at one moment."""

    records: NDArray[Any]
    rows: NDArray[np.int64]  # usable records, sorted by the first 8 bytes of their digest
    prefixes: NDArray[np.uint64]
    version: tuple[int, int]

    def row(self, image_id: str) -> int:
        """The last record of an image, -1 where it has none: an earlier one was found damaged."""
        digest = bytes.fromhex(image_id)
        prefix = np.uint64(int.from_bytes(digest[:8], "big"))
        place = int(self.prefixes.searchsorted(prefix, side="right")) - 1
        while place >= 0 and self.prefixes[place] == prefix:
            row = int(self.rows[place])
            if self.records[row]["digest"].tobytes() == digest:
                return row
            place -= 1
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
        """Add records with their check sums, and flush. A torn record that a killed process left behind is cut off."""
        for record in records:
            record["check"] = check_of(record)
        with open(self.path, "ab") as file:
            whole = os.fstat(file.fileno()).st_size // RECORD.itemsize * RECORD.itemsize
            file.truncate(whole)
            file.write(records.tobytes())
            file.flush()
            os.fsync(file.fileno())

    def mend(self) -> bool:
        """Leave out records that do not fit the shards, and say whether there were any; the lock must be held."""
        now = self.refresh()
        if len(now.rows) == len(now.records):
            return False
        with replacing(self.path) as temporary, open(temporary, "wb") as file:
            now.records[np.sort(now.rows)].tofile(file)
        self.refresh()
        return True

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
        """Which records point at bytes that exist: a shard may have been removed by hand, the index may be damaged."""
        shards = {
            int(path.stem.removeprefix("pixels-")): path.stat().st_size
            for path in self.path.parent.glob(SHARDS)
        }
        sizes = np.zeros(max(shards, default=-1) + 2, np.uint64)
        sizes[list(shards)] = list(shards.values())
        # a shard that is not there has the last size, 0
        room = sizes[np.minimum(records["shard"], len(sizes) - 1)]
        fits: NDArray[np.bool_] = (records["offset"] <= room) & (ends_of(records) <= room)
        for side in ("height", "width"):
            fits &= (records[side] > 0) & (records[side] < LONGEST_SIDE)
        return fits


def ends_of(records: NDArray[Any]) -> NDArray[np.uint64]:
    """Where the pixels of each record end within their shard."""
    area = records["height"].astype(np.uint64) * records["width"].astype(np.uint64)
    ends: NDArray[np.uint64] = records["offset"] + np.uint64(3) * area
    return ends


def shard_path(folder: Path, shard: int) -> Path:
    """Where the pixels of a shard lie."""
    return folder / f"pixels-{shard:05d}.bin"


def check_of(record: np.void) -> int:
    """The check sum of a record, of all that stands before it."""
    return zlib.crc32(record.tobytes()[: -RECORD["check"].itemsize])
