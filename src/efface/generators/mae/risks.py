"""Is the model being shown what it was trained on? A measurement on real images.

A masked autoencoder does not say whether it predicts plain or normalised patches, nor which channel
statistics its input had. Read wrongly it still runs, and gives poor pictures. Here the share of the hidden
patches' variance that the model explains is compared under every reading.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from efface.corruptions import Corruption
from efface.corruptions.patches import RandomPatches
from efface.generators.mae.generator import IMAGENET_MEAN, IMAGENET_STD, MaeGenerator, MaeView, rounded
from efface.generators.mae.patches import normalised
from efface.randomness import Draws

HALVES = (0.5, 0.5, 0.5)
READINGS = {
    "ImageNet mean and std": (IMAGENET_MEAN, IMAGENET_STD),
    "mean 0.5, std 0.5": (HALVES, HALVES),
    "plain [0, 1] values": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
CLEARLY_BETTER = 0.1
TOO_WEAK = 0.02
FEW_HIDDEN = 0.25


@dataclass(frozen=True)
class Reading:
    """One way to read a model, and the share of hidden variance that it then explains (at most 1)."""

    statistics: str
    norm_pix_loss: bool
    explained: float

    def __str__(self) -> str:
        patches = "normalised" if self.norm_pix_loss else "plain"
        return f"{self.statistics}, {patches} patches"


def risks(generator: MaeGenerator, images: Tensor) -> list[str]:
    """Sentences about readings that fit `images` `[B, 3, H, W]` clearly better than the present one."""
    readings = compare_readings(generator, images)
    present, best = readings[0], max(readings, key=lambda reading: reading.explained)
    if best.explained < TOO_WEAK:
        return [
            "the model explains almost nothing of what is hidden from it, under any reading of its input "
            f"({best.explained:.0%} of the variance at best): it may be untrained, or its weights damaged"
        ]
    if best.explained - present.explained < CLEARLY_BETTER:
        return []
    advice = []
    if best.norm_pix_loss != present.norm_pix_loss:
        value = str(best.norm_pix_loss).lower()
        advice.append(f"--set model.norm_pix_loss={value}")
    if best.statistics != present.statistics:
        mean, std = READINGS[best.statistics]
        advice.append(f"--set model.image_mean='{list(mean)}' --set model.image_std='{list(std)}'")
    return [
        f"the model is read as: {present}; it then explains {present.explained:.0%} of the hidden variance. Read as: "
        f"{best}, it explains {best.explained:.0%}. It was probably trained so: give {' '.join(advice)}"
    ]


def compare_readings(generator: MaeGenerator, images: Tensor) -> list[Reading]:
    """The share of hidden variance explained under every reading, the present one first."""
    mean, std = tuple(rounded(generator.mean)), tuple(rounded(generator.std))
    name = next(
        (name for name, values in READINGS.items() if values == (mean, std)), f"mean {mean}, std {std}"
    )
    norm_pix_loss = bool(generator.config.norm_pix_loss)
    candidates = {(name, norm_pix_loss): (mean, std)}
    for other, statistics in READINGS.items():
        for normalises in (norm_pix_loss, not norm_pix_loss):
            candidates.setdefault((other, normalises), statistics)
        candidates.setdefault((name, not norm_pix_loss), (mean, std))
    return [
        Reading(label, normalises, _explained(generator, images, *statistics, normalises))
        for (label, normalises), statistics in candidates.items()
    ]


def _masks(generator: MaeGenerator) -> Corruption:
    """The masks of the model's own training; of random patches so few that every sound model explains much."""
    own = generator.training_corruption
    return RandomPatches(FEW_HIDDEN) if isinstance(own, RandomPatches) else own


@torch.inference_mode()
def _explained(
    generator: MaeGenerator,
    images: Tensor,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    normalises: bool,
) -> float:
    """1 - error / variance of the hidden patches, in the value space of the reading.

    The variance is taken about each image's mean over its visible patches, which is what a model that has
    learnt nothing but brightness would predict; for normalised patches it is about zero.
    """
    generator.eval()
    reading = MaeGenerator(generator.network, mean, std).to(generator.device)  # type: ignore[arg-type]
    draws = Draws(0, tuple(str(number) for number in range(len(images))), (0,) * len(images))
    view = reading.view(images, _masks(generator), draws)
    assert isinstance(view, MaeView)
    patches = reading.network.patchify(view.inputs)
    prediction = reading.predict(view).float()
    target = normalised(patches) if normalises else patches
    hidden = view.hidden.unsqueeze(-1)
    if normalises:
        baseline = torch.zeros_like(target)
    else:
        visible = (~view.hidden).float().unsqueeze(-1)
        colours = patches.unflatten(-1, (-1, generator.channels))
        context = (colours.mean(dim=2) * visible).sum(dim=1) / visible.sum(dim=1)
        baseline = context[:, None, None, :].expand_as(colours).flatten(2)
    error = ((prediction - target).square() * hidden).sum()
    variance = ((target - baseline).square() * hidden).sum()
    return float(1 - error / variance.clamp(min=1e-12))
