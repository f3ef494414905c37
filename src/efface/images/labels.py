"""From the labels of image sets (folder names, a manifest's column) to the class numbers of a model, and to its pixels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from efface.errors import Faults, InputError
from efface.images.crops import batch
from efface.images.folders import parts_not_classes
from efface.images.items import ImageItem, ImageSet
from efface.images.labelled import LabelledImages
from efface.wording import counted, did_you_mean, printable, several

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from efface.images.cache import PixelCache

# the weights of ITU-R BT.601 in 16 bits, as Pillow has them
LUMA = np.array([19595, 38470, 7471], dtype=np.uint32)
SHOWN_LABELS = 10


def class_names(sets: Iterable[ImageSet]) -> tuple[str, ...]:
    """All labels of the sets as class names: in the order of numbers where all are numbers, else of the alphabet.

    Raises `InputError` if there are fewer than two.
    """
    sets = tuple(sets)
    if parts := parts_not_classes(item for images in sets for item in images):
        raise InputError(parts)
    found = {label for images in sets for label in images.labels if label is not None}
    if odd := sorted(printable(label) for label in found if not _is_utf8(label)):
        raise InputError(
            f"labels that are not UTF-8 cannot be saved as class names: {several(odd)}; rename their folders"
        )
    if len(found) < 2:
        raise InputError(
            f"a classifier needs images of two classes or more, and these have {len(found)}: put them into one folder for "
            "each class, or give a manifest with a column label"
        )
    if all(label.isdecimal() for label in found):
        return tuple(sorted(found, key=lambda label: (int(label), label)))
    return tuple(sorted(found))


def class_numbers(sets: Mapping[str, ImageSet], classes: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """The class number of every image, `[images]` for each set; raises one `InputError` naming all that have none.

    A label is one of `classes`; where these are mere numbers (`3`, or `LABEL_3` as transformers has it), also a number.
    """
    if parts := parts_not_classes(item for images in sets.values() for item in images):
        raise InputError(parts)
    numbers = {name: number for number, name in enumerate(classes)}
    nameless = all(re.fullmatch(r"(LABEL_)?\d+", name) for name in classes)
    if nameless:
        numbers |= {str(number): number for number in range(len(classes)) if str(number) not in numbers}
    with Faults("the labels of these images are not the classes of the model") as faults:
        for name, images in sets.items():
            missing = Counter(label for label in images.labels if label not in numbers)
            for label, count in missing.most_common(SHOWN_LABELS):
                faults.add(f"{name}: {_refusal(label, count, classes)}")
            if len(missing) > SHOWN_LABELS:
                faults.add(f"{name}: {len(missing) - SHOWN_LABELS} more labels are no class of the model")
        named = sorted({label for images in sets.values() for label in images.labels if label} - set(numbers))
        if faults and nameless and named:
            hint = f". Sorted, as most loaders number them: --set 'model.classes=[{', '.join(map(printable, named))}]'"
            faults.add(
                "model.classes: the model's classes have no names; give names in the order of its logits, as a list or a "
                f"file with a name in each line{hint if len(named) == len(classes) else ''}"
            )
    return {
        name: np.array([numbers[str(label)] for label in images.labels], dtype=np.int64)
        for name, images in sets.items()
    }


def each_once(images: ImageSet, name: str) -> tuple[ImageSet, list[str]]:
    """The set with every picture once, and notes on what was left out: entries with the same bytes, first one kept."""
    first: dict[str, ImageItem] = {}
    twice = contradicting = 0
    for item in images:
        kept = first.setdefault(item.id, item)
        twice += kept is not item
        contradicting += kept.label != item.label
    notes = []
    if twice:
        notes.append(
            f"{name}: {counted(twice, 'more file')} with the bytes of another one "
            f"{'was' if twice == 1 else 'were'} left out; each picture counts once"
        )
    if contradicting:
        notes.append(
            f"{name}: {contradicting} of these had another label than the first one, whose label was taken"
        )
    return (
        (ImageSet(first.values(), passed_over=images.passed_over, skipped=images.skipped), notes)
        if twice
        else (
            images,
            [],
        )
    )


def labelled_images(
    images: ImageSet,
    numbers: NDArray[np.int64],
    cache: PixelCache,
    size: int,
    channels: int,
) -> LabelledImages:
    """The centre squares of cached images in a model's size, grey (BT.601) for a model of one channel.

    Raises `InputError` for other numbers of channels than 1 and 3.
    """
    if channels not in (1, 3):
        raise InputError(
            f"the model takes pictures of {channels} channels; colour (3) and grey (1) ones can be made"
        )
    pixels = batch(cache, images.ids, size)
    if channels == 1:
        pixels = grey(pixels)
    return LabelledImages(pixels, numbers, images.ids)


def grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colour pictures uint8 `[B, 3, H, W]` as their luma `[B, 1, H, W]`; grey ones keep their values exactly."""
    luma = np.tensordot(pixels.astype(np.uint32), LUMA, axes=([1], [0])) + (1 << 15) >> 16
    return luma.astype(np.uint8)[:, None]


def _refusal(label: str | None, count: int, classes: Sequence[str]) -> str:
    images = f"{count} image{'s' * (count != 1)}"
    has = "has" if count == 1 else "have"
    if label is None:
        return f"{images} {has} no label: put images into one folder for each class, or give a manifest with a column label"
    near = did_you_mean(label, classes)
    return f"{images} {has} the label '{printable(label)}', no class of the model{near or _some(classes)}"


def _some(classes: Sequence[str]) -> str:
    listed = ", ".join(printable(name) for name in classes[:SHOWN_LABELS])
    return f"; its classes are {listed}{', ...' * (len(classes) > SHOWN_LABELS)}"


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)
