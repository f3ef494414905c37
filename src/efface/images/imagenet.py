"""ImageNet-1K (ILSVRC 2012) where it lies: in folders by class, or in the official archives, not unpacked.

Training images: `train/n01440764/*.JPEG`, or `ILSVRC2012_img_train.tar`. Validation images: `val/n01440764/*.JPEG`;
or `val/ILSVRC2012_val_*.JPEG` or `ILSVRC2012_img_val.tar` together with labels: the development kit
`ILSVRC2012_devkit_t12(.tar.gz)`, or a list of file name and class a line. Nothing of the data set comes with efface.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from efface.documents import read_bytes
from efface.errors import InputError
from efface.images.archives import files_in_tar
from efface.images.class_parts import DataSet, FolderPart, LabelledPart, Part, TarPart, files_of, folders_of
from efface.images.items import Locator
from efface.images.rows import lines_of
from efface.wording import printable

WNID = re.compile(r"n\d{8}")
DEVKIT = "ILSVRC2012_devkit_t12"
TRUTH = "data/ILSVRC2012_validation_ground_truth.txt"
META = "data/meta.mat"
MAX_KIT_BYTES = 64 << 20

SITE = "image-net.org (ILSVRC 2012; an account is needed)"


def open_imagenet(root: str, val_labels: str | None = None) -> DataSet:
    """The data set below `root`; a damaged archive or label list raises `InputError`."""
    absent: dict[str, str] = {}
    parts = {"train": _train(root, absent), "val": _val(root, val_labels, absent)}
    return DataSet("imagenet-1k", "ImageNet-1K", root, 1000, {"train": 732, "val": 50}, parts, absent)


def _train(root: str, absent: dict[str, str]) -> Part | None:
    folder, archive = os.path.join(root, "train"), os.path.join(root, "ILSVRC2012_img_train.tar")
    if os.path.isdir(folder) and (classes := _classes(folder)):
        return FolderPart(classes)
    if os.path.isfile(archive):
        inner = {name.removesuffix(".tar"): file for name, file in files_in_tar(archive).items()}
        return TarPart({name: file for name, file in inner.items() if WNID.fullmatch(name)})
    absent["train"] = (
        f"the training images are not there: neither {printable(folder)} with a folder for each class "
        f"(n01440764 and so on) nor {printable(archive)}. Download ILSVRC2012_img_train.tar (138 GB) from {SITE} "
        "and put it there as it is; it need not be unpacked"
    )
    return None


def _val(root: str, val_labels: str | None, absent: dict[str, str]) -> Part | None:
    folder, archive = os.path.join(root, "val"), os.path.join(root, "ILSVRC2012_img_val.tar")
    files: Mapping[str, Locator] = {}
    if os.path.isdir(folder):
        if classes := _classes(folder):
            return FolderPart(classes)
        files = files_of(folder)
    if not files and os.path.isfile(archive):
        files = files_in_tar(archive)
    if not files:
        absent["val"] = (
            f"the validation images are not there: neither {printable(folder)} (a folder for each class, or all "
            f"50,000 files) nor {printable(archive)}. Download ILSVRC2012_img_val.tar (6.3 GB) from {SITE} and put "
            "it there as it is; it need not be unpacked"
        )
        return None
    labels = read_labels(val_labels) if val_labels else _devkit_labels(root)
    if labels is None:
        absent["val"] = (
            f"the classes of the validation images are not known: there is no {DEVKIT}.tar.gz and no folder {DEVKIT} "
            f"in {printable(root)}. Download the development kit (task 1 and 2, 2.5 MB) from {SITE} and put it there, "
            "or give --val-labels, a list with the file name and the class (n01440764) of each image"
        )
        return None
    return LabelledPart.joined(files, labels)


def read_labels(path: str) -> dict[str, str]:
    """A list of file name and class, separated by a comma or blanks, by file name without suffix.

    Lines without a class in second place, such as a heading, are passed over; what follows the class, too.
    """
    pairs = [line.replace(",", " ").split()[:2] for _, line in lines_of(path)]
    labels = {
        os.path.splitext(pair[0])[0]: pair[1] for pair in pairs if len(pair) == 2 and WNID.fullmatch(pair[1])
    }
    if not labels:
        raise InputError(
            f"the labels {printable(path)} name no image: a line is a file name and a class, for example "
            "ILSVRC2012_val_00000001.JPEG n01751748"
        )
    return labels


def _devkit_labels(root: str) -> dict[str, str] | None:
    """The labels by file name without suffix that the development kit tells; None without a kit."""
    folder, archive = os.path.join(root, DEVKIT), os.path.join(root, f"{DEVKIT}.tar.gz")
    try:
        if os.path.isdir(folder):
            data = {name: read_bytes(os.path.join(folder, name), MAX_KIT_BYTES) for name in (TRUTH, META)}
        elif os.path.isfile(archive):
            with tarfile.open(archive) as tar:
                data = {name: _member(tar, f"{DEVKIT}/{name}") for name in (TRUTH, META)}
        else:
            return None
        wnids = _wnids(data[META])
        numbers = [int(line) for line in data[TRUTH].split()]
        return {f"ILSVRC2012_val_{place:08d}": wnids[number] for place, number in enumerate(numbers, 1)}
    except (
        Exception
    ) as error:  # the readers of archives and MATLAB tables raise nearly anything on damaged data
        raise InputError(
            f"the development kit in {printable(root)} cannot be used ({type(error).__name__}: "
            f"{printable(str(error))}); download {DEVKIT}.tar.gz again"
        ) from None


def _wnids(meta: bytes) -> dict[int, str]:
    """ILSVRC2012_ID to WordNet id, from the kit's MATLAB table."""
    import scipy.io

    table: Any = scipy.io.loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
    ids, wnids = np.atleast_1d(table["ILSVRC2012_ID"]), np.atleast_1d(table["WNID"])
    return {int(number): str(wnid) for number, wnid in zip(ids, wnids, strict=True)}


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        raise KeyError(name)
    return file.read(MAX_KIT_BYTES)


def _classes(folder: str) -> dict[str, str]:
    return {name: path for name, path in folders_of(folder).items() if WNID.fullmatch(name)}
