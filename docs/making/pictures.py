"""How every picture of the docs is drawn and written, so that the same figures give the same file."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL.Image import Image

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def panels(columns: int, width: float, height: float, **options: bool) -> tuple[Figure, list[plt.Axes]]:
    """A figure of so many panels side by side, in inches."""
    style = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "efface"}
    plt.rcParams.update(style)
    figure, axes = plt.subplots(
        1, columns, figsize=(width, height), layout="constrained", squeeze=False, **options
    )
    return figure, list(axes[0])


def save(picture: Figure | Image, path: Path) -> None:
    """Write a picture in the format of its name."""
    if isinstance(picture, Figure):
        picture.savefig(path, metadata={"Date": None})
        plt.close(picture)
    else:
        picture.save(path, quality=85, optimize=path.suffix == ".png")
