"""What a run changed in a model, as one file to ship in place of the whole: `delta.safetensors`.

It holds the new value of every tensor that the base does not have, bit for bit, and names the base's own tensor for every
other, whatever that is called there and in whichever file it lies. So no family and no library of models is asked. What
comes out of base and delta are the very files of the run, which their digests show.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from pydantic import Field
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from efface.documents import Described, parse_json
from efface.errors import InputError, Mismatch, RunRefused
from efface.files import no_such, refuse_absent, replacing, sha256_of_file
from efface.runs.digests import file_digests
from efface.runs.erasing import put_in_place, remove_folder
from efface.runs.folder import open_run
from efface.runs.record import Record, read_record
from efface.runs.seal import leaves_the_run
from efface.runs.verification import compare_weights
from efface.settings import validated
from efface.weights import (
    UNREADABLE,
    content_digest,
    files_of_weights,
    read_tensors,
    tensor_digest,
    why_unreadable,
    with_product,
)

NAME: Final = "delta.safetensors"
KEY = "efface_delta"
CARD = "README.md"
SUFFIX = ".safetensors"
HEADER = "the header"
"""What a file of weights holds before its tensors, as a tensor of bytes in the delta."""


class DeltaFacts(Described):
    """What stands in the header of a delta."""

    schema_name: Literal["efface-delta/1"] = Field("efface-delta/1", alias="schema", description="what it is")
    base: str = Field(description="digest of the base's tensors, without their names")
    weights: str = Field(description="digest of the weights that come out, as in the record")
    record: str = Field(description="digest of the run's record")
    files: dict[str, str] = Field(description="digest of every file that comes out, by name")
    kept: dict[str, str] = Field(description="digest of every tensor that is the base's, by FILE#NAME")
    low_rank: dict[str, str] = Field(
        description="digest of every tensor of the base to which the product of low-rank factors is added, by FILE#NAME"
    )


@dataclass(frozen=True)
class Delta:
    """A delta that was written or read: where it lies, what its header says, and how many tensors are new."""

    path: Path
    facts: DeltaFacts
    changed: int

    @property
    def files(self) -> list[Path]:
        """The files that were written."""
        return [self.path] if self.path.is_file() else [self.path / name for name in self.facts.files]

    @property
    def tensors(self) -> int:
        """How many tensors come out."""
        return self.changed + len(self.facts.kept) + len(self.facts.low_rank)


def write_delta(run: Path, base: Path | None = None, out: Path | None = None) -> Delta:
    """Write what the model of `run` has that the one with which it began does not.

    base: where that model lies now, a folder or a file; without, where the config says. out: `delta.safetensors` in the run
    unless given. Raises `InputError` where it is another model, and `Mismatch` where `model/` is not what the run wrote.
    """
    record, model, out = read_record(run), run / "model", out or run / NAME
    if record.model.after is None:
        raise InputError(f"{run} made no model, so there is no delta")
    base = _base_of(run, record, base)
    files = record.model.after.files
    if file_digests(model, files) != files:
        raise Mismatch(f"{model} is not what the run wrote: `efface verify {run}` says what differs")
    files = {**files, **file_digests(model, [CARD])}
    known, factors = _Base(base), _Factors(_beside_parts(model, files))
    kept, low_rank, new = dict[str, str](), dict[str, str](), dict[str, Tensor]()
    for name in files:
        if not name.endswith(SUFFIX):
            new[name] = _bytes((model / name).read_bytes())
            continue
        new[f"{name}#{HEADER}"] = _bytes(_header(model / name))
        for tensor_name, tensor in read_tensors(model / name).items():
            digest, place = tensor_digest(tensor), f"{name}#{tensor_name}"
            before = known.named(name, tensor_name)
            if digest in known:
                kept[place] = digest
            elif before and _is(digest, factors.added(place, known.tensor(before))):
                low_rank[place] = before
            else:
                new[place] = tensor.contiguous()
    facts = DeltaFacts(
        base=known.digest, weights=record.model.after.weights, record=record.digest, files=files, kept=kept,
        low_rank=low_rank,
    )  # fmt: skip
    with replacing(out) as temporary:
        save_file(new, temporary, metadata={"format": "pt", KEY: json.dumps(facts.as_dict())})
    return Delta(out, facts, sum(map(_is_weight, new)))


def apply_delta(base: Path, delta: Path, out: Path) -> Delta:
    """Write into the folder `out` the model that the delta makes of the one at `base`.

    Raises `InputError` where the base is another one or the delta cannot be read, `Mismatch` where what comes out is not
    what the delta says, and `RunRefused` where `out` is not free; nothing is left in `out` then.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunRefused(f"{out} is not empty: choose another --out folder")
    facts, new = read_delta(delta)
    known = _Base(base)
    if known.digest != facts.base:
        raise InputError(
            f"{base} is not the model that {delta} was made from: the digest of its tensors is {known.digest[:16]}..., and "
            f"{facts.base[:16]}... is wanted"
        )
    factors = _Factors((place.partition("#")[2], new[place]) for place in new if ".lora_" in place)
    temporary = out.with_name(f".{out.name}.tmp")
    remove_folder(temporary)
    try:
        for name, digest in facts.files.items():
            place = temporary / name
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                with open(place, "wb") as file:
                    file.writelines(_parts(name, new, known, facts, factors))
            except (KeyError, ValueError) as error:
                raise Mismatch(f"{delta} was changed or damaged: it lacks {error}") from None
            if sha256_of_file(place) != digest:
                raise Mismatch(f"{name}: not what {delta} says comes out. The delta was changed or damaged")
        put_in_place(temporary, out)
    finally:
        remove_folder(temporary)
    return Delta(out, facts, sum(map(_is_weight, new)))


def read_delta(delta: Path) -> tuple[DeltaFacts, dict[str, Tensor]]:
    """What a delta says of itself, and what it holds, by FILE or FILE#NAME; raises `InputError` where it is none."""
    refuse_absent(delta, "delta")
    if not delta.is_file():
        raise InputError(f"{delta} is a folder: a delta is one file, {NAME}")
    try:
        with safe_open(delta, "pt") as file:
            text = (file.metadata() or {}).get(KEY)
        new = load_file(delta)
    except UNREADABLE as error:
        raise InputError(f"{delta} is not readable: {why_unreadable(error)}") from None
    values = parse_json(text, str(delta)) if text else None
    if not isinstance(values, dict):
        raise InputError(f"{delta} is no delta of efface: its header does not say so")
    facts = validated(DeltaFacts, values, f"{delta} is damaged")
    if outside := [name for name in facts.files if leaves_the_run(name)]:
        raise InputError(
            f"{delta} would write outside of the folder: {', '.join(outside)}. Nothing was written"
        )
    return facts, new


def _base_of(run: Path, record: Record, base: Path | None) -> Path:
    """Where the model lies with which a run began; raises `InputError` where it is another one."""
    section, facts = ("model", record.model.before) if record.model.before else ("base", record.model.base)
    if facts is None:
        raise InputError(f"{run} began with fresh weights: there is no base that its model could differ from")
    named = open_run(run).get(section)
    named = dict(named) if isinstance(named, dict) else {}
    place = base or Path(str(named.get("path")))
    if not place.exists():
        raise InputError(f"no base at {place}: {no_such(place)} Say with --base where it lies")
    named["path"] = str(place)
    check = compare_weights("the base", named, facts.weights, facts.tensors, record.model_kind)
    if check.outcome != "matches":
        raise InputError(f"{place} cannot be taken for the model with which {run} began: {check.detail}")
    return place


class _Base:
    """The tensors of a model by their digests, each read when it is wanted."""

    def __init__(self, place: Path) -> None:
        refuse_absent(place, "model")
        files = [place] if place.is_file() else files_of_weights(place) or sorted(place.glob("*.bin"))
        self._where: dict[str, tuple[Path, str]] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._read: tuple[Path, dict[str, Tensor]] | None = None
        for file in files:
            for name, tensor in read_tensors(file).items():
                digest = tensor_digest(tensor)
                self._where[digest] = file, name
                self._names[_part(file.relative_to(place).as_posix()), name] = digest
        if not self._where:
            raise InputError(f"{place} holds no weights: name the folder of a model, or its file of weights")

    def __contains__(self, digest: str) -> bool:
        return digest in self._where

    @property
    def digest(self) -> str:
        """That of all tensors, without their names."""
        return content_digest(self._where)

    def named(self, file: str, name: str) -> str | None:
        """The digest of the tensor of that name in the same part of the model."""
        return self._names.get((_part(file), name))

    def tensor(self, digest: str) -> Tensor:
        """The tensor with that digest; raises `KeyError`."""
        file, name = self._where[digest]
        if self._read is None or self._read[0] != file:
            self._read = file, read_tensors(file)
        return self._read[1][name]


class _Factors:
    """Low-rank factors beside the parts of a model, by the weight to which their product was added."""

    def __init__(self, tensors: Iterable[tuple[str, Tensor]]) -> None:
        self._tensors = dict(tensors)

    def added(self, place: str, weight: Tensor) -> Tensor | None:
        """The weight, of FILE#NAME, with the product of its factors; None where it has none."""
        file, _, name = place.partition("#")
        module = f"{_part(file)}.{name.removesuffix('.weight')}"
        halves = [self._tensors.get(f"{module}.lora_{half}.weight") for half in "AB"]
        if halves[0] is None or halves[1] is None:
            return None
        try:
            return with_product(weight, halves[0], halves[1])
        except RuntimeError:
            # factors of another shape
            return None


def _beside_parts(model: Path, files: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
    """The tensors by name in files of a model that hold none of its weights."""
    of_parts = files_of_weights(model)
    for file in files:
        if file.endswith(SUFFIX) and model / file not in of_parts:
            yield from read_tensors(model / file).items()


def _is(digest: str, tensor: Tensor | None) -> bool:
    return tensor is not None and tensor_digest(tensor) == digest


def _parts(
    name: str, new: Mapping[str, Tensor], known: _Base, facts: DeltaFacts, factors: _Factors
) -> Iterator[bytes]:
    """The bytes of a file, one tensor after the other; raises `KeyError` for what neither base nor delta has."""
    if not name.endswith(SUFFIX):
        yield _raw(new[name])
        return
    header = _raw(new[f"{name}#{HEADER}"])
    yield header
    for tensor_name in _order(header):
        place = f"{name}#{tensor_name}"
        if place in facts.kept:
            yield _raw(known.tensor(facts.kept[place]))
        elif (before := facts.low_rank.get(place)) is not None:
            added = factors.added(place, known.tensor(before))
            if added is None:
                raise KeyError(place)
            yield _raw(added)
        else:
            yield _raw(new[place])


def _part(file: str) -> str:
    """The part of a model in whose folder a file lies; empty for one that is not in parts."""
    return file.rpartition("/")[0]


def _header(path: Path) -> bytes:
    """All that stands before the tensors in a file of safetensors."""
    with open(path, "rb") as file:
        length = file.read(8)
        return length + file.read(int.from_bytes(length, "little"))


def _order(header: bytes) -> list[str]:
    """The names of the tensors in the order of their bytes."""
    entries = parse_json(header[8:], HEADER)
    assert isinstance(entries, dict)
    starts = {
        name: entry["data_offsets"][0]  # type: ignore[index]
        for name, entry in entries.items()
        if isinstance(entry, dict) and name != "__metadata__"
    }
    return sorted(starts, key=lambda name: (starts[name], name))


def _raw(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _bytes(data: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(data, np.uint8).copy())


def _is_weight(place: str) -> bool:
    """Whether a tensor of a delta is a weight, and no file or header."""
    return "#" in place and not place.endswith(f"#{HEADER}")
