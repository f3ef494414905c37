"""What a benchmark's folder holds of images that are to be forgotten, and how it is removed: `efface purge`.

Weights of models, restored pictures in the files of runs, and what a kill left half-written. Figures stay, so the same
command still writes the same table. `pictures.html` and `pictures/`, which were asked for, are their owner's to remove.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from efface.benchmark.generators.runs import PICTURES
from efface.files import replacing
from efface.runs.erasing import Entry, entries_below, erase, is_half_written

POOLS = "pools"
"""The folder of a benchmark in which its pools lie, one for each task."""


@dataclass(frozen=True)
class PurgedBench:
    """How many files were overwritten and removed, and from how many restored pictures were taken out."""

    removed: int
    without_pictures: int


def is_benchmark(folder: Path) -> bool:
    """Whether this is the folder of a benchmark."""
    return (folder / POOLS).is_dir()


def purge_benchmark(out: Path) -> PurgedBench:
    """Remove weights, half-written files and restored pictures from a benchmark's folder. It must be held."""
    entries = list(entries_below(out))
    gone = [entry for entry in entries if entry.name.endswith(".safetensors") or is_half_written(entry.name)]
    erase(out, gone)
    runs = (entry for entry in entries if entry.name.startswith(f"{POOLS}/") and entry.name.endswith(".npz"))
    return PurgedBench(len(gone), sum(_take_out_pictures(out, run) for run in runs))


def _take_out_pictures(out: Path, run: Entry) -> bool:
    path = out / run.name
    with np.load(path, allow_pickle=False) as arrays:
        names = [name for name in arrays.files if name.endswith(f"|{PICTURES}") and len(arrays[name])]
        if not names:
            return False
        kept = {name: arrays[name][:0] if name in names else arrays[name] for name in arrays.files}
    with replacing(path) as temporary:
        with open(temporary, "wb") as file:
            np.savez(file, **kept)
            file.flush()
            os.fsync(file.fileno())
        # a kill between here and the renaming costs the run, not the secrecy
        erase(path.parent, [replace(run, name=path.name)])
    return True
