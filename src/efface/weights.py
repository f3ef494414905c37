"""Reading files of weights: nothing that they hold is ever executed, and every fault is said in one line."""

from __future__ import annotations

import argparse
import errno
import hashlib
import logging
import pickle
import re
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from pydantic import BaseModel, JsonValue
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from efface.documents import read_object
from efface.errors import Faults, InputError
from efface.files import replacing, sha256_of_bytes
from efface.hub import source_of
from efface.model_formats import check_format, is_safetensors, stored_form
from efface.settings import validated
from efface.state_dicts import chosen, likeliest
from efface.wording import printable, several

SHOWN_TENSORS = 5
UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    RuntimeError,
    EOFError,
    ArithmeticError,
    SafetensorError,
    StrictDataclassError,
    pickle.UnpicklingError,
)
"""What the libraries raise for files that are damaged or not what they claim to be."""
TRUNCATED = "it is truncated, or no file of weights at all"
READING = "reading"
"""The part of a model's origin that says how its files were read."""
INDEX = ".index.json"
"""How the name of the list of files ends over which weights are spread."""
FLOATING = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}  # fmt: skip
"""How safetensors and torch name numbers that are not whole."""


class ShardIndex(BaseModel):
    """What such a list says: the file of each tensor."""

    weight_map: dict[str, str]


@dataclass(frozen=True)
class Weights:
    """What `read_weights` read: tensors in float32 by the network's names, and sentences on how it came to them.

    arguments: the options of the training script, where the file keeps them.
    """

    tensors: dict[str, Tensor]
    notes: tuple[str, ...] = ()
    arguments: Any = None

    @property
    def facts(self) -> dict[str, JsonValue]:
        """How they were read, as a part of a model's origin."""
        return {READING: list(self.notes)} if self.notes else {}

    def argument(self, name: str) -> Any:
        """An option of the training script; None where the file does not keep it."""
        kept = self.arguments
        return kept.get(name) if isinstance(kept, Mapping) else getattr(kept, name, None)


def read_weights(path: Path, entry: str | None = None, wanted: Collection[str] = ()) -> Weights:
    """The network's tensors in a file of weights: safetensors, also in several files (`*.index.json`), or torch's.

    Wrappers and prefixes of training scripts are taken off: all that the names have in common, or as much as makes them
    fit the `wanted` names. Numbers become float32. Raises `InputError` if the file cannot be read, carries code, or
    holds several sets of weights and `entry` does not say which.
    """
    content = _content(path)
    found = chosen(content, entry, str(path)).without_prefix(wanted)
    tensors = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in found.tensors.items()
    }
    kinds = {tensor.dtype for tensor in found.tensors.values() if tensor.is_floating_point()}
    arguments = content.get("args", content.get("hyper_parameters")) if isinstance(content, Mapping) else None
    return Weights(tensors, (*found.words, *stored_as(kinds)), arguments)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a saved model's file exactly as they are stored; raises `InputError` if it cannot be read."""
    content = _content(path)
    flat = isinstance(content, Mapping) and all(isinstance(value, Tensor) for value in content.values())
    return dict(content) if flat else likeliest(content, None).tensors


def tensor_names(path: Path, entry: str | None = None) -> frozenset[str]:
    """The names that `read_weights` gives, without reading the tensors; where a file holds several sets, one's of them."""
    return frozenset(likeliest(_content(path, mapped=True), entry).without_prefix().tensors)


def stored_as(kinds: Iterable[torch.dtype]) -> list[str]:
    """A sentence where weights are stored in other numbers than those that they are computed in."""
    names = sorted(str(kind).removeprefix("torch.") for kind in set(kinds) - {torch.float32})
    return [f"weights: stored as {' and '.join(names)}; computed and saved as float32"] if names else []


def stored_facts(path: str, variant: str | None = None, parts: Iterable[str] = ("",)) -> dict[str, JsonValue]:
    """What is odd about the files of a model's folder, as a part of its origin: their variant, the numbers in them."""
    kinds, variants = set(), set()
    for part in parts:
        if form := stored_form(Path(path) / part, variant):
            variants |= {form.variant} - {None}
            tensors = (tensor for file in form.files for tensor in _content(file, mapped=True).values())
            kinds |= {tensor.dtype for tensor in tensors if tensor.is_floating_point()}
    notes = [f"weights: the files of the variant {name} are read" for name in sorted(map(str, variants))]
    notes += stored_as(kinds)
    return {READING: [*notes]} if notes else {}


def _content(path: Path, mapped: bool = False) -> Any:
    """Everything in a file of weights; tensors may stay on disk until they are read, with `mapped`."""
    if path.name.endswith(INDEX):
        return _joined(path, mapped)
    check_format(path)
    if zipped(path) or not (path.suffix == ".safetensors" or is_safetensors(path)):
        return read_pickle(path, mapped)
    try:
        if not mapped:
            return load_file(path)
        with safe_open(path, "pt") as file:
            return {name: _like(file.get_slice(name)) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except UNREADABLE as error:
        raise InputError(f"{path} is not a readable file of weights: {why_unreadable(error)}") from None


def _like(stored: Any) -> Tensor:
    """A tensor without numbers in place of one on disk; of whole numbers the type is not told."""
    kind = getattr(torch, FLOATING.get(stored.get_dtype(), "int64"))
    return torch.empty(stored.get_shape(), dtype=kind, device="meta")


def _joined(index: Path, mapped: bool) -> dict[str, Tensor]:
    """The tensors of all files that an index of weights names, which lie beside it."""
    shards = validated(ShardIndex, read_object(index), f"{index} is no index of weights").weight_map
    joined: dict[str, Tensor] = {}
    with Faults(f"the weights of {index} are incomplete") as faults:
        for name in sorted(set(shards.values())):
            if Path(name).name != name or not (index.parent / name).is_file():
                faults.add(f"{printable(name)} does not lie beside it")
            else:
                joined |= _content(index.parent / name, mapped)
    return joined


def read_pickle(path: Path, mapped: bool = False) -> Any:
    """A file of `torch.save`, tensors and plain values only; raises `InputError` if it carries code.

    `argparse.Namespace`, in which training scripts keep their options, is admitted: it only holds values.
    With `mapped`, tensors stay on disk until they are read, where the file's format allows it.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            if path.suffix == ".safetensors":  # which torch would believe
                with open(path, "rb") as file:
                    return torch.load(file, map_location="cpu", weights_only=True)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and zipped(path))
    except (*UNREADABLE, LookupError, AttributeError) as error:
        cut_short = isinstance(error, LookupError | AttributeError)
        reason = TRUNCATED if cut_short else why_unreadable(error)
        raise InputError(f"{path} is not a readable checkpoint: {reason}") from None


def zipped(path: Path) -> bool:
    """Whether a file of weights has torch's present format, whose tensors can stay on disk."""
    with open(path, "rb") as file:
        return file.read(4) == b"PK\x03\x04"


def check_fit(
    where: str,
    missing: Sequence[str],
    unexpected: Sequence[str],
    mismatched: Sequence[tuple[str, Sequence[int], Sequence[int]]] = (),
) -> None:
    """Raise one `InputError` if weights do not fit; `mismatched`: name, stored shape, wanted shape."""
    with Faults(f"the weights in {where} do not fit the architecture they claim") as faults:
        for kind, names in (("missing", sorted(missing)), ("not part of it", sorted(unexpected))):
            if names:
                faults.add(f"{kind}: {several(names)}")
        for name, stored, wanted in sorted(mismatched)[:SHOWN_TENSORS]:
            faults.add(f"{name}: stored as {tuple(stored)}, the network has {tuple(wanted)}")


def check_tensors(
    where: str, given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], optional: str | None = None
) -> None:
    """`check_fit` of tensors by name, on those of the network; names that end in `optional` may be missing."""
    check_fit(
        where,
        [
            name
            for name in wanted
            if name not in given and not (optional is not None and name.endswith(optional))
        ],
        [name for name in given if name not in wanted],
        [
            (name, given[name].shape, wanted[name].shape)
            for name in wanted
            if name in given and given[name].shape != wanted[name].shape
        ],
    )
    with Faults(f"the weights in {where} do not fit the architecture they claim") as faults:
        for name, tensor in wanted.items():
            if tensor.is_floating_point() and not given.get(name, tensor).is_floating_point():
                faults.add(f"{name}: stored as {given[name].dtype}, which is no type of weights")


def why_unreadable(error: BaseException) -> str:
    """Why a file of weights cannot be read, in one line. torch's advice to unpickle it anyway is left out."""
    if found := re.search(r"GLOBAL (\S+) (?:was not an allowed|whose module)", str(error)):
        return (
            f"refused, because it carries code ({found[1]}), not only weights. Nothing of it was run. "
            "Ask its maker for a safetensors file, or for the bare state dict: torch.save(model.state_dict(), FILE), "
            "not torch.save(model, FILE)"
        )
    broken = isinstance(error, (pickle.UnpicklingError, EOFError))
    # torch seeks before the start of a file that was cut short
    short = isinstance(error, OSError) and error.errno == errno.EINVAL
    if broken or short or "PytorchStreamReader" in str(error):
        return TRUNCATED
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(line.strip() for line in lines) if lines[0].endswith(":") else lines[0]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the model libraries' notes, warnings and bars off the screen: faults are ours to report."""
    loaded = (sys.modules.get(f"{library}.utils.logging") for library in ("transformers", "diffusers"))
    libraries: list[Any] = [library for library in loaded if library]
    levels = [library.get_verbosity() for library in libraries]
    bars = [library.is_progress_bar_enabled() for library in libraries]
    for library in libraries:
        library.set_verbosity(logging.CRITICAL)
        library.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for library, level, bar in zip(libraries, levels, bars, strict=True):
            library.set_verbosity(level)
            if bar:
                library.enable_progress_bar()


def write_tensors(path: Path, weights: Mapping[str, Tensor]) -> None:
    """A safetensors file of these weights; those that share memory are written each by itself."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """sha256 over names, shapes, types and bytes of `weights`, in name order."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tuple(tensor.shape)}|{tensor.dtype}|".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def tensor_digest(tensor: Tensor) -> str:
    """sha256 over shape, type and bytes."""
    return weights_digest({"": tensor})


def content_digest(digests: Iterable[str]) -> str:
    """sha256 over the sorted digests of tensors, each once: that of a model, whatever its tensors are called."""
    return sha256_of_bytes("\n".join(sorted(set(digests))).encode())


def with_product(weight: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """`weight` with the product of low-rank factors added; a: `[rank, ...]`, b: `[..., rank]`, in the weight's layout.

    Added up rank by rank in double precision: the same to the bit on every machine, which no matrix product promises.
    """
    left, right = b.double().flatten(1), a.double().flatten(1)
    total = weight.detach().cpu().double().reshape(len(left), right.shape[1])
    for rank in range(len(right)):
        total = total + left[:, rank, None] * right[rank]
    return total.to(weight.dtype).view(weight.shape).to(weight.device)


def files_of_weights(folder: Path) -> list[Path]:
    """The safetensors files of a saved model, those of its parts where `model_index.json` names parts.

    What lies beside parts is left out: low-rank factors, which are in the weights already.
    """
    index = folder / "model_index.json"
    if not index.is_file():
        return sorted(folder.glob("*.safetensors"))
    return [
        file for part in sorted(read_object(index)) for file in sorted((folder / part).glob("*.safetensors"))
    ]


def stored_digest(place: Path) -> str | None:
    """`content_digest` of a model as its file lies there, or the files of its folder; None where none can be read.

    No family is asked, so it holds whatever libraries are installed.
    """
    try:
        files = [place] if place.is_file() else files_of_weights(place)
        digests = [tensor_digest(value) for file in files for value in read_weights(file).tensors.values()]
    except InputError:
        return None
    return content_digest(digests) if digests else None


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Open the model at `path` with a library inside the block: quietly, and with its errors as one `InputError`.

    The global random state is left as it was.
    """
    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            yield
    except UNREADABLE as error:
        raise InputError(f"the model at {path} cannot be read: {why_unreadable(error)}") from None


def pretrained(
    kind: Any,
    path: str,
    revision: str | None,
    variant: str | None = None,
    fit: Callable[..., None] = check_fit,
    **options: Any,
) -> Any:
    """A network of transformers or diffusers from a folder or the hub, with its stored weights.

    kind: the library's class; variant: as in `stored_form`; options: what its `from_pretrained` takes besides; fit: what
    refuses weights that do not fit. Raises `InputError`.
    """
    if form := stored_form(Path(path) / (options.get("subfolder") or ""), variant):
        variant = form.variant
    with reading(path):
        network, report = kind.from_pretrained(
            source_of(path),
            revision=revision or "main",
            variant=variant,
            local_files_only=Path(path).is_dir(),
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **options,
        )
    fit(path, *(list(report[f"{fault}_keys"]) for fault in ("missing", "unexpected", "mismatched")))
    return network
