"""Is the model being shown what it was trained on? A measurement on real images.

A denoiser does not say in which range its pixels were. At moderate noise its estimate is compared with the best that
needs no network: the linear estimate from the noisy pixel and the context's mean and variance.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from efface.generators.palette.generator import PaletteGenerator, PaletteView
from efface.randomness import Draws

MODERATE = 0.5
TOO_WEAK = 0.02
CLEARLY_BETTER = 0.1
READINGS = {"[-1, 1]": (2.0, -1.0), "[0, 1]": (1.0, 0.0)}
PRESENT = "[-1, 1]"


def risks(generator: PaletteGenerator, images: Tensor) -> list[str]:
    """What looked wrong when the model was opened, and how well its value range fits `images` `[B, 3, H, W]`."""
    return [*generator.warnings, *_of_value_range(generator, images)]


def _of_value_range(generator: PaletteGenerator, images: Tensor) -> list[str]:
    shares = {name: explained(generator, images, *reading) for name, reading in READINGS.items()}
    best = max(shares, key=lambda name: shares[name])
    if shares[best] < TOO_WEAK:
        return [
            "the model estimates the noise in a half noisy hole no better than a formula that looks at each pixel "
            f"alone ({shares[PRESENT]:.0%} of that error removed): it may be untrained, its weights damaged, or its "
            "noise schedule another"
        ]
    if shares[best] - shares[PRESENT] < CLEARLY_BETTER:
        return []
    return [
        f"the model is shown pixels in {PRESENT} and removes {shares[PRESENT]:.0%} of the simplest estimate's error; "
        f"shown pixels in {best} it removes {shares[best]:.0%}. It was probably trained so, which efface does not offer"
    ]


@torch.no_grad()
def explained(generator: PaletteGenerator, images: Tensor, scale: float, shift: float) -> float:
    """The share of the linear estimate's error that the network removes (at most 1), with pixels in another range.

    At share of signal g, with the clean pixel's mean m and variance v, the noise in y is best estimated from y alone
    as sqrt(1 - g) (y - sqrt(g) m) / (g v + 1 - g), which errs by g v / (g v + 1 - g).
    """
    draws = Draws(0, tuple(str(number) for number in range(len(images))), (0,) * len(images))
    view = generator.view(images, generator.training_corruption, draws)
    assert isinstance(view, PaletteView)
    clean = generator.toned(view.images) * scale + shift
    gamma, level = generator.level_near(MODERATE, len(images))
    signal, noise = gamma.view(-1, 1, 1, 1), view.noise
    noisy = signal.sqrt() * clean + (1 - signal).sqrt() * noise
    # noise in a hole is the same in every range; a degraded picture is a picture
    hides = generator.training_corruption.hides
    condition = torch.where(view.hole, view.condition, clean)
    if not hides:
        condition = generator.toned(view.corrupted.condition) * scale + shift
    view = replace(
        view, condition=condition, noisy=torch.where(view.hole, noisy, clean), gamma=gamma, level=level
    )
    error = generator.prediction_loss(generator.predict(view), noise, view).mean()
    context = (~view.hole if hides else view.hole).expand_as(clean)
    variance = torch.stack(
        [clean[:, channel][context[:, channel]].var() for channel in range(clean.shape[1])]
    ).mean()
    simplest = signal.mean() * variance / (signal.mean() * variance + 1 - signal.mean())
    return float(1 - error / simplest.clamp(min=1e-12))
