"""Random draws that are keyed, never taken from a position in a stream.

Every draw is named by what it is for: `(seed, purpose, step or epoch, image id)`. One process or
eight, interrupted or not, then see the same crops, masks and noise.
"""

from __future__ import annotations

import hashlib
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
