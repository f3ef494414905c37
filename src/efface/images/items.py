"""An image and an ordered, immutable set of images. Nothing here touches pixels.

Two files with the same bytes have the same id. A set keeps both entries: the data set that a model
was trained on did show that image twice, and how often it was seen matters. Whatever is done by id
(`without`, the pixel cache, keyed crops) concerns every entry with that id.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from efface.errors import InputError
from efface.files import sha256_of_bytes
from efface.wording import counted, printable


class ReadingError(InputError):
    """One image cannot be used; `reason` says why, without the name of the image."""

    def __init__(self, reason: str, path: str = "") -> None:
        self.reason = reason
        super().__init__(f"{printable(path)}: {reason}" if path else reason)


class Locator(Protocol):
    """Where the bytes of one image lie."""

    @property
    def where(self) -> str:
        """The resolved place, the same for two ways of naming one file."""
        ...

    def read_bytes(self) -> bytes:
        """The encoded image. Raises OSError when it cannot be read."""
        ...


@dataclass(frozen=True, slots=True)
class ImageItem:
    """One image: `id` is the sha256 (hex) of the encoded bytes, `path` its name for people.

    `path` may hold surrogates (bytes that are not UTF-8) and line breaks; print it with
    `printable`. `width` and `height` are pixels as stored in the file, 0 where not known; of `frames` (of an
    animation, or pages) the first is the image.
    """

    id: str
    path: str
    label: str | None
    source: Locator
    width: int = 0
    height: int = 0
    frames: int = 1

    def read_bytes(self) -> bytes:
        """The encoded bytes, checked against the id.

        Raises ReadingError when the file is gone, cannot be read, or changed since it was indexed.
        """
        try:
            data = self.source.read_bytes()
        except OSError as error:
            reason = error.strerror or str(error)
            raise ReadingError(f"can no longer be read ({reason})", self.path) from None
        if (digest := sha256_of_bytes(data)) != self.id:
            raise ReadingError(
                f"changed on disk since it was indexed (its sha256 was {self.id[:12]}…, now {digest[:12]}…); "
                "start again with the file as it is",
                self.path,
            )
        return data


@dataclass(frozen=True, slots=True)
class Fault:
    """An image that cannot be used: its name, why, and its resolved place (and id, once known)."""

    path: str
    reason: str
    where: str = ""
    id: str = ""

    def __str__(self) -> str:
        return f"{printable(self.path)}: {self.reason}"


class ImageSet:
    """An ordered, immutable list of images.

    `passed_over` counts files of the source that are not images, by suffix. `skipped` lists images
    that could not be read and were left out because that was asked for. Both describe how a set was
    opened: parts of a set do not repeat them, unions add them up.
    """

    def __init__(
        self,
        items: Iterable[ImageItem] = (),
        *,
        passed_over: Mapping[str, int] | None = None,
        skipped: Iterable[Fault] = (),
    ) -> None:
        self._items = tuple(items)
        self.passed_over: dict[str, int] = dict(sorted((passed_over or {}).items()))
        self.skipped = tuple(skipped)

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[ImageItem]:
        return iter(self._items)

    def __getitem__(self, index: int) -> ImageItem:
        return self._items[index]

    def __repr__(self) -> str:
        return f"ImageSet({counted(len(self), 'image')}, {len(self.classes)} classes)"

    @cached_property
    def ids(self) -> tuple[str, ...]:
        return tuple(item.id for item in self._items)

    @cached_property
    def labels(self) -> tuple[str | None, ...]:
        return tuple(item.label for item in self._items)

    @cached_property
    def paths(self) -> tuple[str, ...]:
        return tuple(item.path for item in self._items)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The label names, sorted; images without a label add none."""
        return tuple(sorted({label for label in self.labels if label is not None}))

    def subset(self, indices: Iterable[int]) -> ImageSet:
        """The images at `indices`, in that order."""
        return ImageSet(self._items[int(index)] for index in indices)

    def without(self, ids: Collection[str]) -> ImageSet:
        """The set less every entry whose id is in `ids`."""
        gone = frozenset(ids)
        return ImageSet(item for item in self._items if item.id not in gone)

    def union(self, other: ImageSet) -> ImageSet:
        """This set, then what `other` adds: an entry at the same place is taken once."""
        places = {item.source.where for item in self._items}
        added = (item for item in other if item.source.where not in places)
        counts = dict(self.passed_over)
        for suffix, count in other.passed_over.items():
            counts[suffix] = counts.get(suffix, 0) + count
        return ImageSet((*self._items, *added), passed_over=counts, skipped=(*self.skipped, *other.skipped))

    def keyed_ids(self, key: bytes) -> tuple[str, ...]:
        """HMAC-sha256 (hex) of each id under `key`: safe to publish, linkable only with the key."""
        return tuple(hmac.digest(key, image_id.encode(), hashlib.sha256).hex() for image_id in self.ids)

    def manifest(self, key: bytes) -> list[dict[str, str | None]]:
        """One row per image, in order: its keyed id and its label (made printable). No paths."""
        return [
            {"id": keyed, "label": None if label is None else printable(label)}
            for keyed, label in zip(self.keyed_ids(key), self.labels, strict=True)
        ]

    def digest(self) -> str:
        """Hex sha256 over the ordered ids and labels: equal for equal sets, wherever they lie."""
        digest = hashlib.sha256()
        for item in self._items:
            digest.update(json.dumps([item.id, item.label]).encode() + b"\n")
        return digest.hexdigest()
