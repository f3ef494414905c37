"""What lies at a model's path: a folder, a single file of weights, or a repository of the hub.

Families and layouts of models are told apart by this alone, before anything is opened. Imports no torch, except to
look into a single file.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from efface.documents import read_object
from efface.errors import InputError
from efface.factories import is_held
from efface.files import replacing, write_json
from efface.hub import HUB, NothingThere, hub_name
from efface.model_formats import check_format, header_of
from efface.wording import printable

CONFIGS = ("model_index.json", "config.json")
PEFT_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = (
    "adapter_model.safetensors", "adapter_model.bin", "pytorch_lora_weights.safetensors", "pytorch_lora_weights.bin",
)  # fmt: skip
"""The files of LoRA adapters that peft and diffusers write."""
ADAPTER = re.compile(r"lora|hada_w|lokr_|dora_scale|oft_|\.alpha$")
"""In the name of every tensor of an adapter."""
FORGOTTEN_NOTE = "efface_forgotten.json"
"""Lies in the folder of a model that was made by forgetting images or leaving them out, and goes along with copies."""
FORGOTTEN_KEY = "efface_forgotten"
"""The same in the header of a safetensors file, for weights that are copied without their folder."""


class UnknownModel(InputError):
    """What lies at this path is no model of the kind that was looked for."""


@dataclass(frozen=True)
class Contents:
    """What lies at a model's path, as far as telling models apart needs it.

    config: `model_index.json` or else `config.json` of a folder or hub repository; tensors: names of the tensors in a
    single file, where `is_file`. The other of the two is empty.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    tensors: frozenset[str] = frozenset()
    is_file: bool = False

    def __str__(self) -> str:
        for name in ("model_type", "_class_name", "architecture"):
            if name in self.config:
                return f"a '{self.config[name]}' model"
        if not self.is_file:
            return "a config that names neither model_type nor architecture"
        some = ", ".join(sorted(self.tensors)[:3])
        return f"the tensors {some}, ..." if some else "no tensors by name"


def contents_of(
    path: str, revision: str | None = None, entry: str | None = None, base: str | None = None
) -> Contents:
    """What lies at `path`; raises `NothingThere` if nothing does, and `InputError` if it cannot be read.

    entry: which of several sets of weights in a single file is meant; base: as in `model_place`, where a LoRA adapter lies.
    """
    if is_held(path):
        return Contents()
    path = model_place(path, base)
    place = Path(path)
    if place.is_file():
        from efface.weights import tensor_names

        return Contents(tensors=tensor_names(place, entry), is_file=True)
    if place.is_dir():
        if config := beside(path, revision, *CONFIGS):
            return Contents(read_object(config))
        check_format(place)
        raise NothingThere(f"{path} is not a model folder: it has no {' or '.join(reversed(CONFIGS))}")
    from huggingface_hub import hf_hub_download

    hub, reason = hub_name(path), ""
    for name in CONFIGS:
        try:
            return Contents(read_object(Path(hf_hub_download(hub, name, revision=revision))))
        except (OSError, ValueError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    raise NothingThere(f"the model {HUB}{hub} cannot be read: {reason}")


def beside(path: str, revision: str | None, *names: str) -> Path | None:
    """The first of these files that is in the model's folder or hub repository, if any is; none of one in memory."""
    if is_held(path):
        return None
    if Path(path).exists():
        return next((Path(path) / name for name in names if (Path(path) / name).is_file()), None)
    from huggingface_hub import hf_hub_download

    for name in names:
        try:
            return Path(hf_hub_download(hub_name(path), name, revision=revision))
        except (OSError, ValueError):
            continue
    return None


def is_adapter(path: str) -> bool:
    """Whether a LoRA adapter lies here, and no model; told by names alone."""
    place = Path(path)
    if place.is_file():
        names = set(header_of(place)) - {"__metadata__"}
        return bool(names) and all(ADAPTER.search(name) for name in names)
    if not place.is_dir() or beside(path, None, *CONFIGS):
        return False
    return beside(path, None, PEFT_CONFIG, *ADAPTER_WEIGHTS) is not None


def model_place(path: str, base: str | None = None) -> str:
    """Where the whole model lies: `path`, or for a LoRA adapter the model that it is for, as said or as peft noted.

    Raises `InputError` where that is not known.
    """
    if not is_adapter(path):
        if base is not None:
            raise InputError(f"model.base is for a LoRA adapter, and {printable(path)} is none: leave it out")
        return path
    if base is not None:
        return base
    config = Path(path) / PEFT_CONFIG
    noted = read_object(config).get("base_model_name_or_path") if config.is_file() else None
    noted = noted if isinstance(noted, str) else ""
    if noted:
        for place in (Path(noted), Path(path) / noted):
            if place.exists():
                return str(place)
    known = f" It was trained for {printable(noted)}, which does not lie here." if noted else ""
    raise InputError(
        f"{printable(path)} is a LoRA adapter, which is nothing without the model that it was trained for.{known} Name "
        "that model, a folder or hub:owner/name, with --set model.base=MODEL"
    )


def mark_forgetting(folder: Path, note: str) -> None:
    """Mark a model that is being written as made by forgetting images: beside its weights and in them."""
    write_json(folder / FORGOTTEN_NOTE, {"note": note})
    for path in sorted(folder.rglob("*.safetensors")):
        if header := header_of(path):
            texts = {**header.get("__metadata__", {}), FORGOTTEN_KEY: note}
            text = json.dumps({**header, "__metadata__": texts}, separators=(",", ":")).encode()
            text += b" " * (-len(text) % 8)
            with open(path, "rb") as file, replacing(path) as temporary, open(temporary, "wb") as copy:
                file.seek(8 + int.from_bytes(file.read(8), "little"))
                copy.write(len(text).to_bytes(8, "little") + text)
                shutil.copyfileobj(file, copy, 1 << 20)


def made_by_forgetting(place: Path) -> bool:
    """Whether a model, a folder or a file of weights, is marked as made by forgetting images."""
    folder, files = (place.parent, [place]) if place.is_file() else (place, place.rglob("*.safetensors"))
    return beside(str(folder), None, FORGOTTEN_NOTE) is not None or any(
        FORGOTTEN_KEY in header_of(file).get("__metadata__", {})
        for file in files
        if file.suffix == ".safetensors"
    )
