"""`hole_mae`: mean absolute error of the restored pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from efface.metrics.base import Better, ImageMetric, Need, Restored

if TYPE_CHECKING:
    from torch import Tensor


class HoleMae(ImageMetric):
    """Mean absolute error over the restored pixels, those of the hole or all, and the three channels."""

    name: ClassVar[str] = "hole_mae"
    short: ClassVar[str] = "mae"
    title: ClassVar[str] = "Mean absolute error of the restored pixels"
    label: ClassVar[str] = "MAE"
    phrase: ClassVar[str] = "absolute error of the restored pixels"
    summary: ClassVar[str] = (
        "How far the restored pixels are from the true ones, without weight on large errors."
    )
    unit: ClassVar[str] = "intensity, 0 to 1"
    least: ClassVar[float] = 0.0
    most: ClassVar[float] = 1.0
    better: ClassVar[Better] = "down"
    requires: ClassVar[tuple[Need, ...]] = ("truth", "region")
    ratio: ClassVar[bool] = True

    def compute(self, restored: Restored) -> Tensor:
        apart = (restored.pictures.float() - restored.truth.float()).abs() * restored.region
        return apart.flatten(1).sum(dim=1) / (3 * restored.region.flatten(1).sum(dim=1))
