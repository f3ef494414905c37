"""What published code computed, in `tests/published`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parents[1] / "published"


def arrays(name: str) -> dict[str, np.ndarray]:
    """All arrays of a file by name."""
    with np.load(FOLDER / name, allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files}
