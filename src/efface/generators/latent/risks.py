"""Does the model know pictures such as these? A measurement on real images.

Two things can be wrong without an error: a VAE that does not know this kind of picture bounds every restoration,
and a UNet that was not trained, or for another VAE, predicts no better than zeros would.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from efface.generators.base import View
from efface.generators.latent.generator import LatentGenerator
from efface.randomness import Draws

POOR_DECIBELS = 20.0
"""Released VAEs give 25 dB and more on photos; below 20 dB small things are no longer themselves."""
TRIVIAL_SHARE = 0.95


def risks(generator: LatentGenerator, images: Tensor) -> list[str]:
    """Sentences about what `images` `[B, 3, H, W]`, uint8 or float in [0, 1], show to be wrong."""
    found = []
    if (decibels := reconstruction(generator, images)) < POOR_DECIBELS:
        found.append(
            f"the VAE gives these images back at {decibels:.1f} dB PSNR only: no restoration can be better than that, "
            "and what is measured in it is partly the VAE's own error"
        )
    if (share := error_share(generator, images)) > TRIVIAL_SHARE:
        found.append(
            f"the UNet's error is {share:.0%} of what predicting zeros would give: it may be untrained, or made for "
            "another VAE, prediction type or noise schedule"
        )
    return found


def reconstruction(generator: LatentGenerator, images: Tensor) -> float:
    """PSNR in dB of images that went through the VAE and back, over all of them."""
    pictures = _view(generator, images).images
    network = generator.network
    error = (network.pictures(network.latents(pictures)) - pictures).square().mean()
    return -10 * math.log10(max(float(error), 1e-12))


def error_share(generator: LatentGenerator, images: Tensor) -> float:
    """The model's own training loss on images, divided by that of predicting zeros."""
    view = _view(generator, images)
    with torch.no_grad():
        target = generator.task_target(view)
        loss = generator.prediction_loss(generator.predict(view), target, view).sum()
        trivial = generator.prediction_loss(torch.zeros_like(target), target, view).sum()
    return float(loss / trivial.clamp(min=1e-12))


def _view(generator: LatentGenerator, images: Tensor) -> View:
    draws = Draws(0, tuple(str(number) for number in range(len(images))), (0,) * len(images))
    return generator.view(images, generator.training_corruption, draws)
