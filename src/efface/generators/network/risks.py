"""Is the network being shown what it was trained on? Its answers to real images in its value range, and in others."""

from __future__ import annotations

import torch
from torch import Tensor

from efface.generators.network.family import Use
from efface.generators.network.generator import NetworkGenerator
from efface.randomness import Draws
from efface.wording import figure

RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
CLEARLY_BETTER = 0.5
"""The share of the present error below which another value range is named."""


def risks(generator: NetworkGenerator, images: Tensor) -> list[str]:
    """Whether another value range fits `images` `[B, 3, H, W]` better, under the corruption of the network's training."""
    if (
        generator.training_corruption.hides
        or generator.use.mean is not None
        or generator.use.output_range is not None
    ):
        return []
    present = generator.use.value_range
    errors = {reading: _error(generator, images, reading) for reading in dict.fromkeys((present, *RANGES))}
    best = min(errors, key=lambda reading: errors[reading])
    if errors[best] >= CLEARLY_BETTER * errors[present]:
        return []
    return [
        f"with pixels in {list(present)} the network's answers err by {figure(errors[present])} (mean square), in "
        f"{list(best)} by {figure(errors[best])}: it was probably trained so (model.value_range)"
    ]


@torch.no_grad()
def _error(generator: NetworkGenerator, images: Tensor, value_range: tuple[float, float]) -> float:
    """The mean square error of the answers with black and white at these values."""
    use: Use = generator.use
    generator.use = use.model_copy(update={"value_range": value_range})
    try:
        draws = Draws(0, tuple(str(number) for number in range(len(images))), (0,) * len(images))
        view = generator.view(images, generator.training_corruption, draws)
        return float((generator.restore(view) - view.images).square().mean())
    finally:
        generator.use = use
