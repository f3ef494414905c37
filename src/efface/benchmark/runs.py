"""One run of a pool: an original trained, a model retrained without the forget images, or one that unlearned them.

A run is a function of its task, its kind, its seed and its method alone; what is kept of it is one file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, Self, TypeVar

import numpy as np

from efface.files import canonical_json, replacing, sha256_of_json
from efface.methods.registry import CLASSIFIER_METHODS, GENERATOR_METHODS
from efface.randomness import key

if TYPE_CHECKING:
    from torch import nn

Kept = TypeVar("Kept")
Kind = Literal["original", "retrained", "unlearned"]
Purpose = Literal["score", "tuning"]


@dataclass(frozen=True)
class Run:
    """Which run it is.

    method: of an unlearned model, the method's section (name and settings) as canonical JSON; start: the seed of the
    original that it started from. purpose: whether it forgets the scored forget set, or the one for tuning. version:
    the distribution that provides the method and its version, empty for methods of efface.
    """

    kind: Kind
    seed: int
    method: str = ""
    start: int = -1
    purpose: Purpose = "score"
    version: str = ""

    @classmethod
    def unlearned(cls, method: dict[str, Any], start: int, seed: int, purpose: Purpose = "score") -> Run:
        """The run of a method's section from the original of seed `start`."""
        return cls("unlearned", seed, canonical_json(method), start, purpose, provider(str(method["name"])))

    @property
    def section(self) -> dict[str, Any]:
        """The method's section."""
        section: dict[str, Any] = json.loads(self.method)
        return section

    @property
    def name(self) -> str:
        """Where it lies in a pool, without an ending."""
        place = f"{self.purpose}/{self.kind}"
        if self.kind == "unlearned":
            section = self.section
            # another version of the package that provides a method is another method
            digest = sha256_of_json([section, self.version] if self.version else section)
            place += f"/{section['name']}-{digest[:10]}/from-{self.start}"
        return f"{place}/{self.seed}"

    @property
    def key(self) -> int:
        """The seed of every draw in the run."""
        return key("run", self.kind, self.method, self.start, self.purpose, self.seed)


@dataclass(frozen=True)
class Job:
    """A run to be carried out, with all that a worker on another machine must know.

    limit: seconds after which unlearning stops where it is. keep_weights: whether they are kept of runs that are not
    originals; those are always kept, for others start from them.
    """

    folder: str
    task: str
    run: Run
    limit: float | None = None
    keep_weights: bool = False


@dataclass(frozen=True)
class Spent:
    """What a run took: seconds of training or unlearning alone; optimizer steps; cut: whether the limit stopped it."""

    seconds: float
    steps: int
    cut: bool


class PoolTask(Protocol):
    """What runs are runs of: settings that name images, a model, and how it is trained."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values."""
        ...

    def with_whole_path(self) -> Self:
        """The same with its files from the root, for processes that stand in another folder."""
        ...


@dataclass(frozen=True)
class Trade(Generic[Kept]):
    """How the runs of one kind of task are carried out: of classifiers, of generators.

    contents: a digest of the images of a task. carry_out: a function of a module, that writes a run's file. read: what
    it wrote. forget_images: drops what this process keeps of images, for files may have changed.
    """

    contents: Callable[[Any], str]
    carry_out: Callable[[Job], None]
    read: Callable[[Path], Kept]
    forget_images: Callable[[], None]


def read_spent(path: Path) -> Spent:
    """The same without its arrays."""
    with np.load(path, allow_pickle=False) as arrays:
        return spent_of(arrays)


def spent_of(arrays: Mapping[str, Any]) -> Spent:
    """What the arrays of a run's file say that it took."""
    return Spent(float(arrays["seconds"]), int(arrays["steps"]), bool(arrays["cut"]))


def write_weights(network: nn.Module, path: Path) -> None:
    """Write the weights of a run's model, at once."""
    from safetensors.torch import save

    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    with replacing(path) as temporary:
        temporary.write_bytes(save(weights))


def weights_at(path: Path) -> dict[str, Any]:
    """What `write_weights` wrote; the last ones read are kept in memory."""
    facts = path.stat()
    return _read_weights(path, facts.st_mtime_ns, facts.st_size)


def provider(name: str) -> str:
    """Distribution and version that a method comes with; empty for methods of efface and unknown ones."""
    return ", ".join(filter(None, (m.distribution(name) for m in (GENERATOR_METHODS, CLASSIFIER_METHODS))))


@lru_cache(maxsize=8)
def _read_weights(path: Path, changed: int, size: int) -> dict[str, Any]:
    """The weights of a file as it was at a time and size: an original may be made again at the same place."""
    from safetensors.torch import load_file

    return load_file(path)
