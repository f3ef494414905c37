"""What a reader of data finds before any pixels are read, and how pixels are brought to one size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from efface.errors import Faults, InputError
from efface.images.items import Locator, ReadingError
from efface.images.reading import decode_image
from efface.images.threads import in_threads
from efface.wording import counted, printable

Part = Literal["train", "validation", "test"]
Places = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]
MOST_FAULTS = 10


@dataclass(frozen=True)
class Source:
    """All images of a data set, in a fixed order; a place is a number in that order.

    ids: unique; labels: int64 `[images]`, places in `classes`; pixels: reads those of some places, uint8
    `[places, channels, side, side]`. parts: which part each image comes with, if the data come in parts.
    persons: whom each image shows, if known. kit: places of the forget set that comes with the data, if one does.
    root: the folder that ids are relative to, where they are names of files.
    """

    ids: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    pixels: Callable[[Places], Pixels]
    parts: tuple[Part, ...] | None = None
    persons: tuple[str, ...] | None = None
    kit: Places | None = None
    notes: tuple[str, ...] = ()
    root: str | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, places: Places, classes: Places) -> Source:
        """The images at these places, whose labels are all among `classes` (sorted numbers of classes)."""
        kept = None if self.kit is None else np.flatnonzero(np.isin(places, self.kit))
        return replace(
            self,
            ids=tuple(self.ids[place] for place in places),
            labels=np.searchsorted(classes, self.labels[places]),
            classes=tuple(self.classes[one] for one in classes),
            pixels=lambda some: self.pixels(places[some]),
            parts=None if self.parts is None else tuple(self.parts[place] for place in places),
            persons=None if self.persons is None else tuple(self.persons[place] for place in places),
            kit=kept,
        )


def needed_path(path: str | None, data: str, what: str) -> str:
    """`path`, or an `InputError` that says what must lie there."""
    if path is None:
        raise InputError(f"path: {data} need the folder in which they lie: {what}")
    return path


def from_files(
    files: Sequence[Locator], side: int, channels: int, whole: bool = False
) -> Callable[[Places], Pixels]:
    """Reads encoded images; raises one `InputError` for all that cannot be read.

    whole: the whole picture is squeezed into the square; otherwise the largest centre square is taken.
    """

    def read(file: Locator) -> Pixels | str:
        try:
            return fitted(decode_image(file.read_bytes()), side, channels, whole)
        except ReadingError as error:
            return f"{printable(file.where)}: {error.reason}"
        except OSError as error:
            return f"{printable(file.where)}: {error.strerror or error}"

    def pixels(places: Places) -> Pixels:
        found = np.zeros((len(places), channels, side, side), np.uint8)
        faulty: list[str] = []
        for place, image in enumerate(in_threads(read, (files[place] for place in places))):
            if isinstance(image, str):
                faulty.append(image)
            else:
                found[place] = image
        with Faults(f"{counted(len(faulty), 'image')} cannot be read") as faults:
            for problem in faulty[:MOST_FAULTS]:
                faults.add(problem)
            if len(faulty) > MOST_FAULTS:
                faults.add(f"and {len(faulty) - MOST_FAULTS} more")
        return found

    return pixels


def from_array(images: Pixels, side: int, channels: int) -> Callable[[Places], Pixels]:
    """Reads from pixels in memory `[images, C, H, W]`."""

    def pixels(places: Places) -> Pixels:
        chosen = images[places]
        if chosen.shape[1:] == (channels, side, side):
            return chosen
        shown = [Image.fromarray(one[0] if len(one) == 1 else one.transpose(1, 2, 0)) for one in chosen]
        found = [fitted(one.convert("RGB"), side, channels, whole=False) for one in shown]
        return np.stack(found) if found else np.zeros((0, channels, side, side), np.uint8)

    return pixels


def fitted(image: Image.Image, side: int, channels: int, whole: bool) -> Pixels:
    """A picture as `[channels, side, side]`; Pillow's bilinear filter averages where it makes pictures smaller."""
    size, filtered = (side, side), Image.Resampling.BILINEAR
    image = image.resize(size, filtered) if whole else ImageOps.fit(image, size, filtered)
    if channels == 1:
        return np.asarray(image.convert("L"), dtype=np.uint8)[None]
    return np.asarray(image, dtype=np.uint8).transpose(2, 0, 1)
