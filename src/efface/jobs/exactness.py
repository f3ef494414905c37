"""`--exact`: a run that can be trained again to the same bits, on machines with the same packages and instructions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def exactly(wanted: bool) -> Iterator[None]:
    """One thread, deterministic algorithms and no kernels that are chosen by the machine, while the block runs.

    Does nothing unless `wanted`. The processor's instruction set still decides how torch sums: records name it.
    """
    if not wanted:
        yield
        return
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    own_kernels = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = own_kernels
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
