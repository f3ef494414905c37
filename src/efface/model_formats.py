"""Formats of files of models, told by their first bytes or their names, before anything is opened. Imports no torch."""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from efface.errors import InputError
from efface.wording import printable

WAY_ON = (
    "What is trained here is a torch network: give its weights as .safetensors, or as a state dict that torch.save wrote, "
    "in a layout that is known, or name the network with --set model.network=PACKAGE.MODULE:FUNCTION"
)
OWN_NETWORK = (
    "A network of your own is named with --set model.network=PACKAGE.MODULE:FUNCTION, and a classifier also with --set "
    "model.classes=[...]"
)
"""The way on for a model that is in no layout that is known."""
KERAS, TENSORFLOW = "a Keras model", "a TensorFlow model"
BEGINNINGS = {
    b"version https://git-lfs": "a Git LFS pointer: the file itself was not fetched. Get it with git lfs pull",
    b"\x89HDF\r\n\x1a\n": f"an HDF5 file, as of {KERAS}",
    b"GGUF": "a GGUF file of llama.cpp",
    b"\x93NUMPY": "a NumPy array",
    b"\x1f\x8b": "a gzip archive: unpack it first",
    b"BZh": "a bzip2 archive: unpack it first",
    b"\xfd7zXZ": "an xz archive: unpack it first",
    b"7z\xbc\xaf": "a 7z archive: unpack it first",
    b"Rar!": "a RAR archive: unpack it first",
    b"<!DOCTYPE": "a web page: the download went wrong",
    b"<html": "a web page: the download went wrong",
    b"<?xml": "an XML file, as OpenVINO writes beside its weights",
}
SUFFIXES = {
    ".onnx": "an ONNX model",
    ".h5": f"an HDF5 file, as of {KERAS}",
    ".hdf5": f"an HDF5 file, as of {KERAS}",
    ".keras": KERAS,
    ".tflite": "a TensorFlow Lite model",
    ".pb": TENSORFLOW,
    ".meta": TENSORFLOW,
    ".index": TENSORFLOW,
    ".mlmodel": "a Core ML model",
    ".msgpack": "a Flax model",
    ".pdparams": "a PaddlePaddle model",
    ".caffemodel": "a Caffe model",
    ".engine": "a TensorRT engine",
    ".joblib": "a pickle of joblib",
    ".gguf": "a GGUF file of llama.cpp",
}
IN_FOLDER = {
    "saved_model.pb": TENSORFLOW,
    "keras_metadata.pb": KERAS,
    "tf_model.h5": TENSORFLOW,
    "checkpoint": TENSORFLOW,
    "model.json": "a TensorFlow.js model",
    "flax_model.msgpack": "a Flax model",
    "model.onnx": "an ONNX model",
    "Manifest.json": "a Core ML model",
}
WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_model|pytorch_model|model)(?:\.(?P<variant>\w+?))?(?:-\d+-of-\d+)?(?:\.(?P<late>\w+?))?"
    r"\.(?P<kind>safetensors|bin)"
)
"""The names that transformers and diffusers give to files of weights; a variant is a word such as fp16."""
LONGEST = 300
LONGEST_HEADER = 100_000_000
"""In bytes, as safetensors has it."""


@dataclass(frozen=True)
class StoredForm:
    """The files in which a network's weights lie. variant: the word in their names; safe: whether they are safetensors."""

    variant: str | None
    safe: bool
    files: tuple[Path, ...]


def stored_form(folder: Path, variant: str | None = None) -> StoredForm | None:
    """How a network in the folder of a library is stored; None where there are no weights.

    Without `variant` plain files count, or the only variant that there is. Raises `InputError` naming the variants.
    """
    found: dict[tuple[str | None, bool], list[Path]] = {}
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        if form := WEIGHTS.fullmatch(file.name):
            key = (form["variant"] or form["late"], form["kind"] == "safetensors")
            found.setdefault(key, []).append(file)
    variants = {name for name, _ in found}
    if not found:
        return None
    chosen = next(iter(variants)) if variant is None and len(variants) == 1 else variant
    if chosen not in variants:
        known = ", ".join(sorted(name or "no variant" for name in variants))
        asked = f"no weights of the variant {printable(variant)}" if variant else "no plain weights"
        raise InputError(
            f"{printable(str(folder))} holds {asked}. There are: {known}. Choose one with --set model.variant=NAME"
        )
    safe = (chosen, True) in found
    return StoredForm(chosen, safe, tuple(found[chosen, safe]))


def check_format(path: Path) -> None:
    """Raise `InputError` naming the format of a file, or of a folder without a model that is known, if it is not read."""
    told = _of_folder(path) if path.is_dir() else _of_file(path)
    if told:
        way_on = "" if ":" in told else f", which is not read. {WAY_ON}"
        raise InputError(f"{printable(str(path))} is {told}{way_on}")


def is_safetensors(path: Path) -> bool:
    """Whether a file begins like safetensors, whatever its name."""
    with open(path, "rb") as file:
        start = file.read(10)
    return start[8:10] == b'{"' and int.from_bytes(start[:8], "little") < path.stat().st_size


def header_of(path: Path) -> dict[str, Any]:
    """What stands before the tensors of a safetensors file; empty where it cannot be read."""
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length <= LONGEST_HEADER else {}
    except (OSError, ValueError):
        return {}
    return header if isinstance(header, dict) else {}


def _of_folder(folder: Path) -> str | None:
    return next((what for name, what in IN_FOLDER.items() if (folder / name).is_file()), None)


def _of_file(path: Path) -> str | None:
    with open(path, "rb") as file:
        start = file.read(LONGEST)
    if is_safetensors(path):
        return None
    if start.startswith(b"PK\x03\x04"):
        return _of_archive(path)
    if not start:
        return "an empty file: it was not written to its end, or not fetched"
    begun = next((what for begins, what in BEGINNINGS.items() if start.startswith(begins)), None)
    return (
        begun
        or _by_field(start)
        or (TENSORFLOW if ".data-00000-of-" in path.name else None)
        or SUFFIXES.get(path.suffix.lower())
    )


def _by_field(start: bytes) -> str | None:
    """What is told by a part of a file's beginning."""
    if start[257:262] == b"ustar":
        return "a tar archive: unpack it first"
    if start[4:8] == b"TFL3":
        return SUFFIXES[".tflite"]
    # the first field of an ONNX file is its version, the second who made it or the graph
    is_onnx = start[:1] == b"\x08" and start[2:3] in (b"\x12", b"\x1a", b"\x3a")
    return SUFFIXES[".onnx"] if is_onnx else None


def _of_archive(path: Path) -> str | None:
    """What a zip archive holds that is no file of `torch.save`."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return None
    inner = {name.rpartition("/")[2] for name in names}
    if not any("/code/" in name for name in names) and "data.pkl" in inner:
        return None
    signs = {
        "a TorchScript program": any("/code/" in name for name in names),
        KERAS: "model.weights.h5" in inner,
        "a program of torch.export": any(name.startswith("archive_format") for name in inner),
        "an archive of NumPy arrays": all(name.endswith(".npy") for name in names),
    }
    return next((what for what, there in signs.items() if there), "a zip archive: unpack it first")
