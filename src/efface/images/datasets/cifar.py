"""CIFAR-10 as it is given out, binary or pickled, with the split and the forget set of the competition's starting kit.

The kit forgets the images of `forget_idx.npy`, and halves the test images into test and validation with torch's
generator at seed 42. Source: `unlearning-CIFAR10.ipynb` of github.com/unlearning-challenge/starting-kit.
"""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from efface.arrays import read_array
from efface.errors import Faults, InputError
from efface.images.class_parts import folders_of
from efface.images.datasets.class_folders import read_folders
from efface.images.datasets.packs import archives_lie_in, read_archives
from efface.images.datasets.source import Part, Pixels, Places, Source, from_array, from_files, needed_path
from efface.wording import printable

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
"""Of values 0..1, as the starting kit normalises."""
BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
BINARY, PICKLED = "cifar-10-batches-bin", "cifar-10-batches-py"
VALUES = 3 * 32 * 32
KIT, KIT_SEED = "forget_idx.npy", 42
WHAT = (
    f"{BINARY}/data_batch_1.bin and so on (cifar-10-binary.tar.gz from www.cs.toronto.edu/~kriz/cifar.html), "
    f"or {PICKLED}/, or cifar10-train.npz, or one folder for each class"
)
HALVED = "test and validation are halves of the test images that come with the data, as in the starting kit"
HARMLESS = {
    (module, name)
    for core in ("numpy.core", "numpy._core")
    for module, name in (
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        (f"{core}.multiarray", "_reconstruct"),
        (f"{core}.numeric", "_frombuffer"),
    )
} | {("_codecs", "encode")}


def read_cifar(path: str | None, side: int, channels: int) -> Source:
    """The images with the parts that come with them. Raises one `InputError` for all that is wrong."""
    root = needed_path(path, "CIFAR-10 images", WHAT)
    for read, ending, inner in ((_read_binary, ".bin", BINARY), (_read_pickled, "", PICKLED)):
        for folder in (Path(root), Path(root, inner)):
            if (folder / f"{BATCHES[0]}{ending}").is_file():
                return _from_batches(folder, ending, read, _kit(root, folder), side, channels)
    if archives_lie_in(root, "cifar10"):
        packs = read_archives(root, "cifar10", ["label"])
        parts = _halved(packs.parts) if "test" in packs.parts else None
        pixels = from_files(packs.files, side, channels)
        labels = packs.columns["label"].astype(np.int64)
        return Source(
            packs.ids, labels, packs.classes or NAMES, pixels, parts, notes=(HALVED,) if parts else ()
        )
    if not (os.path.isdir(root) and folders_of(root)):
        raise InputError(f"no CIFAR-10 images in {printable(root)}: it must hold {WHAT}")
    return read_folders(root, side, channels)


def kit_lies_in(path: str) -> bool:
    """Whether the starting kit's forget set lies in a folder, beside the images or beside their folder."""
    return any(os.path.isfile(os.path.join(path, inner, KIT)) for inner in ("", BINARY, PICKLED))


def _from_batches(folder: Path, ending: str, read: Any, kit: Path | None, side: int, channels: int) -> Source:
    images: list[Pixels] = []
    labels: list[Places] = []
    parts: list[Part] = []
    with Faults(f"the batches in {printable(str(folder))} cannot be used") as faults:
        for name in BATCHES:
            place = folder / f"{name}{ending}"
            if not place.is_file():
                faults.add(f"{place.name} is missing; unpack the archive again")
                continue
            try:
                one, classes = read(place)
            except InputError as error:
                faults.add(str(error))
                continue
            images.append(one)
            labels.append(classes)
            parts += ["test" if name == BATCHES[-1] else "train"] * len(one)
    counts = {part: parts.count(part) for part in ("train", "test")}
    return Source(
        ids=tuple(f"{part}/{place:05d}" for part, count in counts.items() for place in range(count)),
        labels=np.concatenate(labels),
        classes=NAMES,
        pixels=from_array(np.concatenate(images), side, channels),
        parts=_halved(tuple(parts)),
        kit=None if kit is None else _read_kit(kit, counts["train"]),
        notes=(HALVED,),
    )


def _read_binary(place: Path) -> tuple[Pixels, Places]:
    """Rows of one byte of label and 3,072 of pixels, red, green, blue."""
    content = np.fromfile(place, dtype=np.uint8)
    if not len(content) or len(content) % (1 + VALUES):
        raise InputError(
            f"{place.name}: {len(content)} bytes are no rows of {1 + VALUES}; unpack the archive again"
        )
    rows = content.reshape(-1, 1 + VALUES)
    return _checked(place, rows[:, 1:], rows[:, 0].astype(np.int64))


def _read_pickled(place: Path) -> tuple[Pixels, Places]:
    try:
        batch = _OnlyArrays(io.BytesIO(place.read_bytes()), encoding="bytes").load()
        data, labels = np.asarray(batch[b"data"]), np.asarray(batch[b"labels"])
    except Exception as error:  # an unpickler raises nearly anything on damaged data
        raise InputError(
            f"{place.name} cannot be read as a pickle of arrays alone ({type(error).__name__}: {error}); take the binary "
            f"version instead, {BINARY}"
        ) from None
    if data.dtype != np.uint8 or data.shape != (len(labels), VALUES) or labels.dtype.kind != "i":
        raise InputError(
            f"{place.name}: data {data.dtype} {list(data.shape)} are not uint8 [images, {VALUES}]"
        )
    return _checked(place, data, labels.astype(np.int64))


class _OnlyArrays(pickle.Unpickler):
    """Builds arrays and plain values; whatever else a pickle asks for is refused, and so is never run."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in HARMLESS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def _checked(place: Path, data: Pixels, labels: Places) -> tuple[Pixels, Places]:
    if labels.min() < 0 or labels.max() >= len(NAMES):
        raise InputError(f"{place.name}: labels from {labels.min()} to {labels.max()}; 0 to 9 are needed")
    return data.reshape(-1, 3, 32, 32), labels


def _halved(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """The second half of the test images, in an order drawn by torch as `random_split` does, is for validation."""
    import torch

    held = np.flatnonzero(np.array(parts) == "test")
    order = torch.randperm(len(held), generator=torch.Generator().manual_seed(KIT_SEED)).numpy()
    # random_split gives an image that is left over to its first part
    moved = set(held[order[(len(held) + 1) // 2 :]].tolist())
    return tuple("validation" if place in moved else part for place, part in enumerate(parts))


def _kit(root: str, folder: Path) -> Path | None:
    return next((place for place in (Path(root, KIT), folder / KIT) if place.is_file()), None)


def _read_kit(place: Path, count: int) -> Places:
    found = read_array(place)
    unique = np.unique(found)
    if (
        found.ndim != 1
        or found.dtype.kind not in "iu"
        or not len(found)
        or unique[0] < 0
        or unique[-1] >= count
    ):
        raise InputError(f"{printable(str(place))}: places of training images, 0 to {count - 1}, are needed")
    return unique.astype(np.int64)
