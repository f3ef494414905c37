"""Images packed into archives, with the class of each: any set in the layout of `archives`."""

from __future__ import annotations

import os

import numpy as np

from efface.errors import InputError
from efface.images.datasets.packs import archives_lie_in, read_archives
from efface.images.datasets.source import Source, from_files, needed_path
from efface.wording import printable

MOST_CLASSES = 1_000_000
WHAT = "packed:DIR/NAME for archives NAME-train.npz (and NAME-test.npz or NAME-val.npz) in DIR"


def read_packed(path: str | None, side: int, channels: int) -> Source:
    """The images of `DIR/NAME`; raises one `InputError` for all that is wrong."""
    folder, name = os.path.split(needed_path(path, "packed images", WHAT))
    if not archives_lie_in(folder, name):
        raise InputError(f"no {printable(name)}-train.npz in {printable(folder or '.')}: write {WHAT}")
    packs = read_archives(folder, name, ["label"])
    labels = packs.columns["label"].astype(np.int64)
    count = len(packs.classes) or MOST_CLASSES
    if not len(labels) or labels.min() < 0 or labels.max() >= count:
        raise InputError(f"{printable(name)}: labels from 0 to {count - 1} are needed")
    classes = packs.classes or tuple(str(label) for label in range(int(labels.max()) + 1))
    parts = packs.parts if "test" in packs.parts else None
    return Source(packs.ids, labels, classes, from_files(packs.files, side, channels), parts)
