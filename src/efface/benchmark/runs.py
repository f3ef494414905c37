"""One run of a pool: an original trained, a model retrained without the forget images, or one that unlearned them.

A run is a function of its task, its kind, its seed and its method alone; what is kept of it is one file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import JsonValue

from efface.arrays import read_arrays
from efface.errors import EffaceError, InputError
from efface.files import canonical_json, replacing, sha256_of_bytes, sha256_of_json, write_json
from efface.images.datasets import Purpose
from efface.randomness import key

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor, nn

WEIGHTS = "weights"
"""The array of a run's file that holds the digest of its weights."""
PoolRunKind = Literal["original", "retrained", "unlearned"]
Section = Mapping[str, JsonValue]
"""A method as in a config file: its name and its settings."""


@dataclass(frozen=True)
class PoolRun:
    """Which run it is.

    method: of an unlearned model, the method's section (name and settings) as canonical JSON; start: the seed of the
    original that it started from. purpose: whether it forgets the scored forget set, or the one for tuning.
    """

    kind: PoolRunKind
    seed: int
    method: str = ""
    start: int = -1
    purpose: Purpose = "score"

    @classmethod
    def unlearned(cls, method: Section, start: int, seed: int, purpose: Purpose = "score") -> PoolRun:
        """The run of a method's section from the original of seed `start`."""
        return cls("unlearned", seed, canonical_json(dict(method)), start, purpose)

    @property
    def section(self) -> dict[str, JsonValue]:
        """The method's section."""
        section: dict[str, JsonValue] = json.loads(self.method)
        return section

    @property
    def family(self) -> str:
        """Where runs of its kind and method lie in a pool, whatever code decides them."""
        place = f"{self.purpose}/{self.kind}"
        if self.kind == "unlearned":
            place += f"/{self.section['name']}-{sha256_of_json(self.section)[:10]}"
        return place

    @property
    def key(self) -> int:
        """The seed of every draw in the run; settings do not count, so that another setting is no other chance."""
        name = str(self.section["name"]) if self.kind == "unlearned" else ""
        return key("run", self.kind, name, self.start, self.purpose, self.seed)


@dataclass(frozen=True)
class RunJob:
    """A run to be carried out, with all that a worker on another machine must know.

    place: the run's files, without an ending; start: the same of the original that it starts from. limit: seconds after
    which unlearning stops where it is. weights_only: of an original that was measured and lost
    its weights, to train it again for them.
    """

    place: Path
    start: Path
    task: str
    run: PoolRun
    limit: float | None = None
    weights_only: bool = False

    @property
    def weights(self) -> Path:
        """Where the weights of the run's model lie."""
        return self.place.with_suffix(".safetensors")

    def keep(self, arrays: Mapping[str, npt.ArrayLike], network: nn.Module) -> None:
        """Write what is kept of the run, at once; of originals their weights first, for others start from them.

        Raises `InputError` where an original that is trained again is not the one that was measured.
        """
        if self.run.kind == "original":
            data = _weights_of(network)
            arrays = {**arrays, WEIGHTS: sha256_of_bytes(data)}
            if self.weights_only:
                self._refuse_unlike(str(arrays[WEIGHTS]))
            with replacing(self.weights) as temporary:
                temporary.write_bytes(data)
        if self.weights_only:
            return
        self.place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.place.with_suffix(".npz")) as temporary, open(temporary, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    def _refuse_unlike(self, digest: str) -> None:
        with np.load(self.place.with_suffix(".npz"), allow_pickle=False) as arrays:
            measured = str(arrays[WEIGHTS])
        if measured != digest:
            raise InputError(
                f"the original of seed {self.run.seed} was trained again, and has other weights than the one that was "
                "measured: on a GPU, another machine or with other threads this is to be expected. Start in a new "
                "folder, with keep_weights: true where methods are to be added later"
            )

    def fail(self, error: EffaceError) -> None:
        """Keep why the run cannot be had: it would fail again."""
        write_json(self.place.with_suffix(".failed.json"), {"error": str(error)})


@dataclass(frozen=True)
class RunSpending:
    """What a run took: seconds of training or unlearning alone; optimizer steps; cut: whether the limit stopped it."""

    seconds: float
    steps: int
    cut: bool

    def arrays(self) -> dict[str, npt.ArrayLike]:
        """The arrays of a run's file that say so."""
        return {"seconds": self.seconds, "steps": self.steps, "cut": self.cut}

    @classmethod
    def of(cls, arrays: Mapping[str, Any]) -> RunSpending:
        """What the arrays of a run's file say."""
        return cls(float(arrays["seconds"]), int(arrays["steps"]), bool(arrays["cut"]))

    @classmethod
    def read(cls, path: Path) -> RunSpending:
        """The same without reading the other arrays."""
        return cls.of(read_arrays(path, ("seconds", "steps", "cut")))


def _weights_of(network: nn.Module) -> bytes:
    """The weights of a run's model, as a safetensors file."""
    from safetensors.torch import save

    return save({name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()})


def weights_at(path: Path) -> dict[str, Tensor]:
    """The weights that a run kept; the last ones read are kept in memory."""
    facts = path.stat()
    return _read_weights(path, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=8)
def _read_weights(path: Path, changed: int, size: int) -> dict[str, Tensor]:
    """The weights of a file as it was at a time and size: an original may be made again at the same place."""
    from safetensors.torch import load_file

    return load_file(path)
