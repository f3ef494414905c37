"""Images of one size with class labels, all in memory or memory-mapped: what classifiers are trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from efface.errors import Faults


@dataclass(frozen=True)
class LabelledImages:
    """Pixels uint8 `[images, channels, height, width]`, labels int64 `[images]`, and an id for each image.

    Ids are unique; what is drawn for an image is keyed by its place in the set. Raises one `InputError` for all faults.
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    ids: tuple[str, ...]

    def __post_init__(self) -> None:
        with Faults("these images cannot be used with labels") as faults:
            if self.pixels.ndim != 4 or self.pixels.dtype != np.uint8:
                faults.add(
                    f"pixels: uint8 [images, channels, height, width] is needed, "
                    f"not {self.pixels.dtype} {list(self.pixels.shape)}"
                )
            if self.labels.shape != (len(self.ids),) or len(self.pixels) != len(self.ids):
                faults.add(f"images: {len(self.pixels)}, labels: {self.labels.size}, ids: {len(self.ids)}")
            if len(set(self.ids)) != len(self.ids):
                faults.add("ids: some stand there twice")
            if self.labels.size and self.labels.min() < 0:
                faults.add("labels: below 0")

    def __len__(self) -> int:
        return len(self.ids)

    def subset(self, places: npt.ArrayLike) -> LabelledImages:
        """The images at these places, in that order."""
        chosen = np.asarray(places, dtype=np.int64)
        return LabelledImages(
            self.pixels[chosen], self.labels[chosen], tuple(self.ids[place] for place in chosen)
        )

    def join(self, other: LabelledImages) -> LabelledImages:
        """Both sets, one after the other."""
        return LabelledImages(
            np.concatenate([self.pixels, other.pixels]),
            np.concatenate([self.labels, other.labels]),
            self.ids + other.ids,
        )
