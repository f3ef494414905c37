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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from efface.documents import read_object
from efface.errors import Faults, InputError
from efface.files import replacing, sha256_of_bytes
from efface.wording import several

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
WRAPPERS = ("model", "state_dict")
"""Entries under which training scripts keep a state dict among other things."""


def read_pickle(path: Path, mapped: bool = False) -> Any:
    """A `.pth` file, tensors and plain values only; raises `InputError` if it carries code.

    `argparse.Namespace`, in which training scripts keep their options, is admitted: it only holds values.
    With `mapped`, tensors stay on disk until they are read, where the file's format allows it.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            if mapped and zipped(path):
                return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            return torch.load(path, map_location="cpu", weights_only=True)
    except (*UNREADABLE, LookupError, AttributeError) as error:
        raise InputError(f"{path} is not a readable checkpoint: {why_unreadable(error)}") from None


def state_dict(content: Any) -> dict[str, torch.Tensor]:
    """The dense tensors by name in what a `.pth` file held; empty if there is no state dict in it."""
    for name in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping):
        return {}
    return {
        str(name): value
        for name, value in content.items()
        if isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_quantized
    }


def tensor_names(path: Path) -> frozenset[str]:
    """Names of the tensors in a `.pth` or `.safetensors` file; raises `InputError` if it cannot be read."""
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, "pt") as file:
                return frozenset(file.keys())
        except UNREADABLE as error:
            raise InputError(f"{path} is not a readable file of weights: {why_unreadable(error)}") from None
    return frozenset(state_dict(read_pickle(path, mapped=True)))


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
            faults.add(f"{name}: stored as {tuple(stored)}, the config asks for {tuple(wanted)}")


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
            "Ask its maker for a safetensors file, or for the bare state dict"
        )
    broken = isinstance(error, (pickle.UnpicklingError, EOFError, LookupError, AttributeError))
    # torch seeks before the start of a file that was cut short
    short = isinstance(error, OSError) and error.errno == errno.EINVAL
    if broken or short or "PytorchStreamReader" in str(error):
        return "it is truncated, or no file of weights at all"
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


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors by name in a `.safetensors` file or a pickled state dict; raises `InputError` if unreadable."""
    if path.suffix != ".safetensors":
        return state_dict(read_pickle(path))
    try:
        return load_file(path)
    except UNREADABLE as error:
        raise InputError(f"{path} is not a readable file of weights: {why_unreadable(error)}") from None


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
        digests = [tensor_digest(tensor) for file in files for tensor in read_tensors(file).values()]
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
    kind: Any, path: str, revision: str | None, fit: Callable[..., None] = check_fit, **options: Any
) -> Any:
    """A network of transformers or diffusers from a folder or hub id, with its stored weights.

    kind: the library's class; options: what its `from_pretrained` takes besides; fit: what refuses weights that do not
    fit. Raises `InputError`.
    """
    with reading(path):
        network, report = kind.from_pretrained(
            path,
            revision=revision or "main",
            local_files_only=Path(path).is_dir(),
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **options,
        )
    fit(path, *(list(report[f"{fault}_keys"]) for fault in ("missing", "unexpected", "mismatched")))
    return network
