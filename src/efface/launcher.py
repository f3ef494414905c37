"""What a launcher of several processes (torchrun, mpirun, srun) leaves in the environment, and what of it means nothing."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

NEEDED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun gives each of its processes: only all of them together mean several processes."""
OTHERS = tuple(
    f"{launcher}_{name}"
    for launcher, names in {
        "PMI": ("RANK", "SIZE"),
        "OMPI_COMM_WORLD": ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE"),
        "MV2_COMM_WORLD": ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE"),
    }.items()
    for name in names
)
"""What libraries would take for the same where those are missing."""


def drop_leftovers(environment: MutableMapping[str, str] = os.environ) -> str | None:
    """Take out of `environment` what no launcher of this process has set; returns a sentence for people, if one is due."""
    there = [name for name in NEEDED if name in environment]
    numbers = [environment.get(name, "") for name in NEEDED[:3]]
    if len(there) == len(NEEDED) and all(number.isdecimal() for number in numbers):
        rank, local, count = map(int, numbers)
        if max(rank, local) < count:
            if count == 1 or "TORCHELASTIC_RUN_ID" in environment:
                return None
            return (
                f"process {rank} of {count}, as RANK and WORLD_SIZE say: the others are waited for at "
                f"{environment['MASTER_ADDR']}:{environment['MASTER_PORT']}. If nothing else was started, stop this and "
                "unset WORLD_SIZE"
            )
    telling = [name for name in there if not name.startswith("MASTER")]
    left = [*telling, *(name for name in OTHERS if name in environment)]
    for name in left:
        del environment[name]
    if not telling:
        return None
    return f"{', '.join(telling)} {'is' if len(telling) == 1 else 'are'} set, but no launcher started this process: ignored"


def launched(environment: MutableMapping[str, str] = os.environ) -> int:
    """How many processes a launcher has started, this one among them; 1 without a launcher."""
    drop_leftovers(environment)
    return int(environment.get("WORLD_SIZE", "1"))
