"""Decoded pixels on disk: decoded once, read back at memory speed.

Pixels lie one image after the other in shard files that are mapped into memory, so the working set is the
system's page cache and not this process. An entry appears in the index only after its pixels are
flushed: a killed run continues with what is missing. Pixels are compared with their check sum before a process
uses them first; what changed on disk since is decoded again by `add`. Writers hold a file lock; a second one waits,
then adds only what is still missing. The folder's name holds everything else that pixels depend on: decoder
version, short side and resampler.
"""

from __future__ import annotations

import os
import shutil
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Protocol, Self

import numpy as np
from PIL import Image

from efface.errors import Faults, InputError, Stopped
from efface.files import lock_held, private_files
from efface.images.cache_index import RECORD, Index, check_of, ends_of, shard_path
from efface.images.fingerprints import FINGERPRINT, PrintRows, fingerprint
from efface.images.items import Fault, ImageItem, ImageSet, ReadingError
from efface.images.reading import DECODER_VERSION, decode_image, header
from efface.images.threads import Progress, in_threads
from efface.wording import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from efface.images.fingerprints import Prints

RESAMPLERS = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
SHARD_BYTES = 1 << 30
COMMIT_BYTES, COMMIT_IMAGES = 1 << 26, 4096

Prepared = tuple["NDArray[np.uint8]", "Prints"]


class PixelSource(Protocol):
    """Where decoded images are read from, by id."""

    def read(self, id_: str) -> NDArray[np.uint8]:
        """uint8 `[height, width, 3]`."""
        ...


class PixelCache:
    """Decoded images by id (sha256 of the encoded bytes), shrunk to a short side of `short_side`.

    Images whose short side is smaller are kept as they are; nothing is enlarged. Safe to read from many
    threads and processes. Without a folder they are kept in memory, and nowhere else.
    """

    def __init__(self, folder: str | Path | None, short_side: int, resampler: str = "lanczos") -> None:
        if resampler not in RESAMPLERS:
            raise InputError(f"unknown resampler '{resampler}'. Valid: {', '.join(sorted(RESAMPLERS))}")
        if short_side < 1:
            raise InputError(f"the cached short side must be at least 1 pixel, not {short_side}")
        self.short_side = short_side
        self.resampler = resampler
        name = f"decoder{DECODER_VERSION}-short{short_side}-{resampler}"
        self._store = MemoryStore() if folder is None else Store(Path(folder) / name)

    def add(
        self, image_set: ImageSet, progress: Progress | None = None, skip_unreadable: bool = False
    ) -> tuple[Fault, ...]:
        """Decode and store what is not stored yet, or was changed on disk. Returns the images that were skipped.

        Raises InputError naming every image that cannot be read, unless `skip_unreadable`; the others are
        stored all the same. Raises InputError before decoding when the disk is too small.
        """
        with self._store.locked():
            missing = ImageSet({item.id: item for item in image_set if item.id not in self}.values())
            self._check_space(missing)
            faults = self._store.add(missing, self._prepare, progress)
        if not skip_unreadable:
            with Faults(f"{len(faults)} images cannot be used" if len(faults) > 1 else "") as collected:
                for fault in faults:
                    collected.add(str(fault))
        return faults

    def read(self, image_id: str) -> NDArray[np.uint8]:
        """Pixels uint8 [height, width, 3], a read-only view of the file. KeyError when not stored.

        Raises `Stopped` where they are no longer those that were stored.
        """
        return self._store.read(image_id)

    def fingerprints(self, ids: Iterable[str]) -> PrintRows:
        """What copies are found by, made when the images were decoded. KeyError as `read`."""
        return self._store.fingerprints(ids)

    def __contains__(self, image_id: object) -> bool:
        return isinstance(image_id, str) and self._store.holds(image_id)

    def __len__(self) -> int:
        return len(self._store)

    def close(self) -> None:
        """Let go of the mapped files; views that were handed out stay valid."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prepare(self, item: ImageItem) -> Prepared | Fault:
        try:
            image = decode_image(item.read_bytes())
        except ReadingError as error:
            return Fault(item.path, error.reason, item.source.where, item.id)
        size = _shrunk(*image.size, self.short_side)
        small = image if size == image.size else image.resize(size, RESAMPLERS[self.resampler])
        return np.asarray(small), fingerprint(image)

    def _check_space(self, missing: ImageSet) -> None:
        if isinstance(self._store, MemoryStore):
            return
        needed = estimate_bytes(missing, self.short_side)
        free = shutil.disk_usage(self._store.folder).free
        if needed > free:
            raise InputError(
                f"caching {counted(len(missing), 'image')} at short side {self.short_side} needs "
                f"{needed / 2**20:,.0f} MiB, but {self._store.folder.parent} has {free / 2**20:,.0f} MiB "
                "free; choose another folder or a smaller short side"
            )


def estimate_bytes(image_set: ImageSet, short_side: int) -> int:
    """Bytes that caching `image_set` takes on disk, from the sizes in the files' headers."""
    total = 0
    for item in {item.id: item for item in image_set}.values():
        told = item if item.width else header(item.read_bytes())
        width, height = _shrunk(told.width, told.height, short_side)
        total += 3 * width * height + RECORD.itemsize
    return total


class Store:
    """The files of one cache: `records`, `pixels-NNNNN.bin`, `lock`."""

    def __init__(self, folder: Path) -> None:
        with private_files():
            folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.index = Index(folder / "index")
        self._maps: dict[int, NDArray[np.uint8]] = {}
        self._mapping = threading.Lock()
        self._sound: tuple[int, bytearray] = 0, bytearray()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the cache's lock for writing."""
        with private_files(), lock_held(self.folder / "lock", wait=True):
            if self.index.mend():
                self.close()
            yield

    def __len__(self) -> int:
        return len(self.index.refresh().rows)

    def row(self, image_id: str) -> int:
        row = self.index.now.row(image_id)
        return row if row >= 0 else self.index.refresh().row(image_id)

    def holds(self, image_id: str) -> bool:
        """Whether an image is stored and as it was stored."""
        row = self.row(image_id)
        return row >= 0 and self._is_sound(row)

    def read(self, image_id: str) -> NDArray[np.uint8]:
        row = self.row(image_id)
        if row < 0:
            raise KeyError(f"image {image_id} is not in the pixel cache")
        if not self._is_sound(row):
            raise Stopped(
                f"the stored pixels of an image in {self.folder} changed on disk; the same command decodes them again"
            )
        return self._pixels(self.index.now.records[row])

    def fingerprints(self, ids: Iterable[str]) -> PrintRows:
        rows = [(self.row(image_id), image_id) for image_id in ids]
        if lacking := [image_id for row, image_id in rows if row < 0]:
            raise KeyError(f"{len(lacking)} images are not in the pixel cache, the first is {lacking[0]}")
        return PrintRows(self.index.now.records["fingerprint"], np.array([row for row, _ in rows], np.int64))

    def add(
        self,
        missing: ImageSet,
        prepare: Callable[[ImageItem], Prepared | Fault],
        progress: Progress | None,
    ) -> tuple[Fault, ...]:
        """Store the images of `missing`. The lock must be held."""
        faults = []
        writer = Writer(self)
        try:
            for done, (item, outcome) in enumerate(
                zip(missing, in_threads(prepare, missing), strict=True), 1
            ):
                if isinstance(outcome, Fault):
                    faults.append(outcome)
                else:
                    writer.write(item.id, *outcome)
                if progress:
                    progress("decoding images", done, len(missing))
        finally:
            writer.commit()
            self.index.refresh()
        return tuple(faults)

    def close(self) -> None:
        with self._mapping:
            self._maps.clear()

    def _pixels(self, record: np.void) -> NDArray[np.uint8]:
        height, width, start = int(record["height"]), int(record["width"]), int(record["offset"])
        stop = start + 3 * height * width
        return self._mapped(int(record["shard"]), stop)[start:stop].reshape(height, width, 3)

    def _is_sound(self, row: int) -> bool:
        """Whether a record and its pixels fit their check sums; asked once of each record in a process."""
        now = self.index.now
        inode, sound = self._sound
        if inode != now.version[0] or len(sound) < len(now.records):
            kept = sound if inode == now.version[0] else b""
            sound = bytearray(kept).ljust(len(now.records), b"\0")
            self._sound = now.version[0], sound
        if not sound[row]:
            record = now.records[row]
            fits = int(record["check"]) == check_of(record)
            sound[row] = fits and int(record["pixels"]) == zlib.crc32(self._pixels(record).data)
        return bool(sound[row])

    def _mapped(self, shard: int, stop: int) -> NDArray[np.uint8]:
        pixels = self._maps.get(shard)
        if pixels is None or len(pixels) < stop:
            with self._mapping:
                path = shard_path(self.folder, shard)
                pixels = self._maps[shard] = np.memmap(path, np.uint8, mode="r").view(np.ndarray)
        return pixels


class MemoryStore:
    """The images of a cache that leaves nothing on disk."""

    def __init__(self) -> None:
        self._images: dict[str, Prepared] = {}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else writes here."""
        yield

    def __len__(self) -> int:
        return len(self._images)

    def holds(self, image_id: str) -> bool:
        """Whether an image is stored."""
        return image_id in self._images

    def read(self, image_id: str) -> NDArray[np.uint8]:
        """Pixels of a stored image; KeyError for another."""
        return self._images[image_id][0]

    def fingerprints(self, ids: Iterable[str]) -> PrintRows:
        """What copies are found by; KeyError where an image is not stored."""
        stored = [self._images[image_id][1] for image_id in ids]
        prints = np.zeros(len(stored), FINGERPRINT)
        for row, one in enumerate(stored):
            prints[row] = one
        return PrintRows.all_of(prints)

    def add(
        self,
        missing: ImageSet,
        prepare: Callable[[ImageItem], Prepared | Fault],
        progress: Progress | None,
    ) -> tuple[Fault, ...]:
        """Decode and store the images of `missing`."""
        faults = []
        for done, (item, outcome) in enumerate(zip(missing, in_threads(prepare, missing), strict=True), 1):
            if isinstance(outcome, Fault):
                faults.append(outcome)
            else:
                self._images[item.id] = outcome
            if progress:
                progress("decoding images", done, len(missing))
        return tuple(faults)

    def close(self) -> None:
        self._images.clear()


class Writer:
    """Appends images to shards, and their records to the index in commits.

    Pixels behind the last record, which a killed writer left, are written over.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        now = store.index.now
        shards = now.records["shard"]
        self.shard = int(shards.max(initial=0))
        self.offset = int(ends_of(now.records[shards == self.shard]).max(initial=0))
        self.pending: list[tuple[object, ...]] = []
        self.pending_bytes = 0
        self.file: BinaryIO | None = None

    def write(self, image_id: str, pixels: NDArray[np.uint8], prints: Prints) -> None:
        if self.offset and self.offset + pixels.nbytes > SHARD_BYTES:
            self.commit()
            self.shard, self.offset = self.shard + 1, 0
        if self.file is None:
            path = shard_path(self.store.folder, self.shard)
            self.file = open(path, "rb+" if path.exists() else "wb+")  # noqa: SIM115 (closed by commit)
            self.file.seek(self.offset)
        pixels = np.ascontiguousarray(pixels)
        self.file.write(pixels.data)
        digest = np.frombuffer(bytes.fromhex(image_id), np.uint8)
        height, width = pixels.shape[:2]
        check = zlib.crc32(pixels.data)
        self.pending.append((digest, self.offset, self.shard, height, width, check, prints, 0))
        self.offset += pixels.nbytes
        self.pending_bytes += pixels.nbytes
        if self.pending_bytes >= COMMIT_BYTES or len(self.pending) >= COMMIT_IMAGES:
            self.commit()

    def commit(self) -> None:
        """Flush the pixels, and only then name them in the index."""
        if self.file is None:
            return
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        self.store.index.append(np.array(self.pending, RECORD))
        self.file, self.pending, self.pending_bytes = None, [], 0


def _shrunk(width: int, height: int, short_side: int) -> tuple[int, int]:
    short = min(width, height)
    if short <= short_side:
        return width, height
    return max(1, round(width * short_side / short)), max(1, round(height * short_side / short))
