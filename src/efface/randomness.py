"""Random draws that are keyed, never taken from a position in a stream.

Every draw is named by what it is for: `(seed, purpose, step or epoch, image id)`. One process or
eight, interrupted or not, then see the same crops, masks and noise.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

Part = str | int


def key(*parts: Part) -> int:
    """A 63-bit integer that depends on every part and on their order.

    >>> key(0, "crop", 3, "ab") == key(0, "crop", 3, "ab")
    True
    >>> key(1, "2") == key("1", 2) or key("ab", "c") == key("a", "bc")
    False
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        text = f"{type(part).__name__}:{part}".encode("utf-8", "surrogateescape")
        digest.update(len(text).to_bytes(8, "little") + text)
    return int.from_bytes(digest.digest(), "little") >> 1


def numpy_draws(*parts: Part) -> np.random.Generator:
    """A NumPy generator for the draw named by `parts`."""
    return np.random.Generator(np.random.Philox(key(*parts)))


def torch_draws(*parts: Part, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator on `device` for the draw named by `parts`.

    The numbers differ between device types (CPU, CUDA), not between devices of one type.
    """
    import torch

    return torch.Generator(device=device).manual_seed(key(*parts))


@dataclass(frozen=True)
class Draws:
    """The random draws of one batch: each image has its own, keyed by its id and its visit.

    `visits[i]` counts how often the image with `ids[i]` has been shown before (its epoch), so two
    showings of one image differ while the place in a batch, the batch and the process do not matter.
    """

    seed: int
    ids: tuple[str, ...]
    visits: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, part: slice) -> Draws:
        return replace(self, ids=self.ids[part], visits=self.visits[part])

    def each(self, purpose: str) -> list[np.random.Generator]:
        """One NumPy generator per image."""
        return [numpy_draws(self.seed, purpose, visit, id_) for id_, visit in self._keys()]

    def normal(self, purpose: str, shape: tuple[int, ...], device: torch.device | str) -> torch.Tensor:
        """Standard normal draws `[B, *shape]`, float32, drawn on `device`."""
        import torch

        return torch.stack(
            [torch.randn(shape, generator=rng, device=device) for rng in self._torch(purpose, device)]
        )

    def uniform(self, purpose: str, shape: tuple[int, ...], device: torch.device | str) -> torch.Tensor:
        """Draws from U[0, 1), `[B, *shape]`, float32, drawn on `device`."""
        import torch

        return torch.stack(
            [torch.rand(shape, generator=rng, device=device) for rng in self._torch(purpose, device)]
        )

    def sample(self, number: int) -> Draws:
        """Those of another answer to the same view; the first, number 0, has these."""
        return self if number == 0 else replace(self, seed=key(self.seed, "sample", number))

    def join(self, other: Draws) -> Draws:
        """The draws of both batches, one after the other."""
        if self.seed != other.seed:
            raise ValueError(f"draws of seeds {self.seed} and {other.seed} cannot be joined")
        return Draws(self.seed, self.ids + other.ids, self.visits + other.visits)

    def _keys(self) -> list[tuple[str, int]]:
        return list(zip(self.ids, self.visits, strict=True))

    def _torch(self, purpose: str, device: torch.device | str) -> list[torch.Generator]:
        return [torch_draws(self.seed, purpose, visit, id_, device=device) for id_, visit in self._keys()]
