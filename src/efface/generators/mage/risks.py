"""Is the model being shown what it was trained on? Two measurements on real images.

A tokenizer that was trained on other values than [0, 1], or whose weights are damaged, gives back poor pictures; a
token model that does not belong to its tokenizer predicts no better than by how often each token occurs.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from efface.generators.mage.generator import MageGenerator, MageView
from efface.randomness import Draws

LEAST_EXPLAINED = 0.5


def risks(generator: MageGenerator, images: Tensor) -> list[str]:
    """Sentences about what looks wrong on `images`, uint8 or float in [0, 1], `[B, 3, H, W]`."""
    was_training = generator.training
    generator.eval()
    try:
        found = []
        explained = reconstruction_explained(generator, images)
        if explained < LEAST_EXPLAINED:
            found.append(
                f"the tokenizer gives back only {max(explained, 0):.0%} of these pictures' variance: it may be untrained, "
                "have been trained on pictures of another kind or range of values, or its weights are damaged"
            )
        model, frequency = prediction_surprise(generator, images)
        if model >= frequency:
            found.append(
                f"the model predicts hidden tokens no better than by how often each occurs ({model:.2f} against "
                f"{frequency:.2f} nats per token): it may be untrained, or not belong to this tokenizer"
            )
    finally:
        generator.train(was_training)
    return found


def reconstruction_explained(generator: MageGenerator, images: Tensor) -> float:
    """1 - error / variance of pictures that pass through the tokenizer and back; at most 1."""
    pixels = _view(generator, images).images
    error = (generator.pictures(generator.tokens(pixels)) - pixels).square().mean()
    variance = (pixels - pixels.mean(dim=(2, 3), keepdim=True)).square().mean()
    return float(1 - error / variance.clamp(min=1e-12))


def prediction_surprise(generator: MageGenerator, images: Tensor) -> tuple[float, float]:
    """Mean -log p of hidden tokens in nats, under the training's corruption: by the model, and by how often they occur.

    Frequencies are those of all tokens, each counted once more than it occurs (Laplace).
    """
    view = _view(generator, images)
    with torch.no_grad():
        scores = generator.predict(view).float()
    hidden, tokens = view.hidden, view.tokens
    by_model = functional.cross_entropy(scores[hidden], tokens[hidden])
    counts = torch.bincount(tokens.flatten(), minlength=generator.config.codebook_size).float() + 1
    return float(by_model), float(-(counts / counts.sum()).log()[tokens[hidden]].mean())


def _view(generator: MageGenerator, images: Tensor) -> MageView:
    draws = Draws(0, tuple(str(number) for number in range(len(images))), (0,) * len(images))
    view = generator.view(images, generator.training_corruption, draws)
    assert isinstance(view, MageView)
    return view
