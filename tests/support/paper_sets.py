"""Miniature ImageNets and Places, in folders and in the official archives' layout."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

WNIDS = [f"n{number:08d}" for number in (1440764, 1443537, 1484850, 2007558, 7753592, 12267677)]
SCENES = ["airfield", "arena-hockey", "bar", "beach", "canyon", "sky"]

Files = dict[str, bytes]
"""Bytes of a file by its name "class/file"."""


def jpeg(seed: int) -> bytes:
    file = io.BytesIO()
    grain = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(grain).resize((12, 10)).save(file, "JPEG")
    return file.getvalue()


def train_files(classes: Iterable[str], count: int = 4, suffix: str = "JPEG") -> Files:
    names = [f"{name}/{name}_{10 * index}.{suffix}" for name in classes for index in range(count)]
    return {name: jpeg(index) for index, name in enumerate(names)}


def val_files(
    classes: Iterable[str], count: int = 2, stem: str = "ILSVRC2012_val_", suffix: str = "JPEG"
) -> Files:
    """Numbered through, the classes taking turns, as the real ones are not in order either."""
    turns = [name for _ in range(count) for name in classes]
    names = [f"{name}/{stem}{place:08d}.{suffix}" for place, name in enumerate(turns, 1)]
    return {name: jpeg(10_000 + index) for index, name in enumerate(names)}


def in_folders(root: Path, part: str, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / part / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def imagenet_archives(root: Path, train: Files, val: Files) -> Path:
    """ILSVRC2012_img_train.tar (a tar of tars), ILSVRC2012_img_val.tar and the development kit."""
    root.mkdir(parents=True, exist_ok=True)
    inner: dict[str, Files] = {}
    for name, data in train.items():
        class_, _, file = name.partition("/")
        inner.setdefault(class_, {})[file] = data
    outer = {f"{class_}.tar": tar_of(files) for class_, files in inner.items()}
    (root / "ILSVRC2012_img_train.tar").write_bytes(tar_of(outer))
    (root / "ILSVRC2012_img_val.tar").write_bytes(
        tar_of({name.partition("/")[2]: data for name, data in sorted(val.items(), key=by_file)})
    )
    kit = {f"ILSVRC2012_devkit_t12/data/{name}": data for name, data in kit_files(val).items()}
    (root / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(tar_of(kit, "gz"))
    return root


def kit_files(val: Files) -> Files:
    """The kit's numbers are neither in the order of the ids nor those of the usual class index."""
    wnids = sorted({name.partition("/")[0] for name in val}, reverse=True)
    table = np.array(
        [(number, wnid, "words") for number, wnid in enumerate(wnids, 1)],
        dtype=[("ILSVRC2012_ID", object), ("WNID", object), ("words", object)],
    )
    file = io.BytesIO()
    scipy.io.savemat(file, {"synsets": table})
    truth = [
        wnids.index(name.partition("/")[0]) + 1 for name in sorted(val, key=lambda name: name.split("/")[1])
    ]
    return {
        "meta.mat": file.getvalue(),
        "ILSVRC2012_validation_ground_truth.txt": "".join(f"{number}\n" for number in truth).encode(),
    }


def places_256(root: Path, train: Files, val: Files) -> Path:
    """data_256/a/arena/hockey/..., val_256/Places365_val_..., and the lists."""
    for name, data in train.items():
        class_, _, file = name.partition("/")
        in_folders(root, f"data_256{listed_name(class_)}", {file: data})
    in_folders(root, "val_256", {name.partition("/")[2]: data for name, data in val.items()})
    scenes = sorted({name.partition("/")[0] for name in val})
    rows = [f"{file} {scenes.index(class_)}" for class_, file in sorted(n.split("/") for n in val)]
    (root / "places365_val.txt").write_text("\n".join(rows) + "\n")
    (root / "categories_places365.txt").write_text(
        "".join(f"{listed_name(scene)} {number}\n" for number, scene in enumerate(scenes))
    )
    return root


def listed_name(scene: str) -> str:
    return f"/{scene[0]}/{scene.replace('-', '/')}"


def tar_of(files: Mapping[str, bytes], compression: str = "") -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode=f"w:{compression}") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return whole.getvalue()


def by_file(item: tuple[str, bytes]) -> str:
    return item[0].partition("/")[2]
