"""The table of metrics: names, units, directions. Nothing here imports torch.

What is better differs by set. On retain and neutral images a metric has its usual direction. On
forget images neither the best nor the worst number is the goal: the model that was retrained
without them is, so the direction there is `match_retrained`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from efface.metrics.refusal import MetricInputError
from efface.settings import unknown_name

Kind = Literal["per-image", "distribution"]
Direction = Literal["up", "down", "match_retrained"]
Requirement = Literal["truth", "region", "features"]

SETS = ("retain", "neutral", "forget")


@dataclass(frozen=True)
class MetricInfo:
    """What is known of a metric before anything is measured.

    `kind` is "per-image" (one number for each image) or "distribution" (one number for two sets of
    images). `better` is the direction on images that the model should restore well. `requires`
    names what the metric reads beside the restored images: the true images, the region that was
    hidden, or the vectors of a feature extractor.
    """

    name: str
    title: str
    unit: str
    kind: Kind
    better: Literal["up", "down"]
    requires: tuple[Requirement, ...]
    summary: str

    def direction(self, image_set: str) -> Direction:
        """The better direction on `image_set`: "retain", "neutral" or "forget".

        Raises `MetricInputError` for any other name.
        """
        if image_set not in SETS:
            raise MetricInputError(unknown_name("image set", image_set, SETS))
        return "match_retrained" if image_set == "forget" else self.better


def metric(name: str) -> MetricInfo:
    """The entry of `name`; `MetricInputError` names the valid ones otherwise."""
    if name not in METRICS:
        raise MetricInputError(unknown_name("metric", name, METRICS))
    return METRICS[name]


def distance_title(name: str, extractor: str, digest: str = "") -> str:
    """The heading under which a distribution distance may be printed.

    Only a Fréchet (kernel) distance on the published Inception network, recognised by the file's
    sha256, is called FID (KID). Every other one carries the name of its extractor.

    >>> distance_title("frechet_distance", "filter-bank-64")
    'Fréchet distance (filter-bank-64)'
    """
    if extractor == INCEPTION and digest == PUBLISHED_INCEPTION:
        return {"frechet_distance": "FID", "kernel_distance": "KID"}[metric(name).name]
    return f"{metric(name).title} ({extractor})"


INCEPTION = "inception-torchscript"
# sha256 of inception-2015-12-05.pt as NVIDIA publishes it with StyleGAN2-ADA.
PUBLISHED_INCEPTION = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"

METRICS: dict[str, MetricInfo] = {
    info.name: info
    for info in (
        MetricInfo(
            name="hole_mse",
            title="Mean squared error in the hidden region",
            unit="squared intensity, 0 to 1",
            kind="per-image",
            better="down",
            requires=("truth", "region"),
            summary="How far the filled-in pixels are from the true ones.",
        ),
        MetricInfo(
            name="hole_psnr",
            title="PSNR in the hidden region",
            unit="dB",
            kind="per-image",
            better="up",
            requires=("truth", "region"),
            summary="The error in the hidden region on a logarithmic scale.",
        ),
        MetricInfo(
            name="ssim",
            title="Structural similarity",
            unit="-1 to 1",
            kind="per-image",
            better="up",
            requires=("truth",),
            summary="Likeness of local brightness, contrast and structure over the whole picture.",
        ),
        MetricInfo(
            name="feature_cosine",
            title="Cosine of feature vectors",
            unit="-1 to 1",
            kind="per-image",
            better="up",
            requires=("truth", "features"),
            summary="Likeness of content as a feature extractor sees it.",
        ),
        MetricInfo(
            name="frechet_distance",
            title="Fréchet distance",
            unit="squared feature units",
            kind="distribution",
            better="down",
            requires=("truth", "features"),
            summary="Distance between two sets of images, each taken as one Gaussian of features.",
        ),
        MetricInfo(
            name="kernel_distance",
            title="Kernel distance",
            unit="squared kernel units",
            kind="distribution",
            better="down",
            requires=("truth", "features"),
            summary="Unbiased distance between two sets of images; usable from few images on.",
        ),
    )
}
