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
ModelKind = Literal["generator", "classifier"]
Direction = Literal["up", "down", "match_retrained"]
Requirement = Literal["truth", "region", "features", "probabilities", "labels", "neutral", "retrained"]

SETS = ("retain", "neutral", "forget")


@dataclass(frozen=True)
class MetricInfo:
    """What is known of a metric before anything is measured.

    `kind` is "per-image" (one number for each image) or "distribution" (one number for two sets of
    images). `better` is the direction on images that the model should treat well; of an attack, that of a
    model that still knows the images. `requires` names what the metric reads beside the restored images: the
    true images, the region that was hidden, the vectors of a feature extractor, or the class probabilities of an
    extractor that classifies; beside a classifier's answers: labels, neutral images, or the retrained model's
    answers, of which it then is a distance and has the same direction on every set. `of` is the kind of models that
    have the metric.
    """

    name: str
    title: str
    unit: str
    kind: Kind
    better: Literal["up", "down"]
    requires: tuple[Requirement, ...]
    summary: str
    of: ModelKind = "generator"

    def direction(self, image_set: str) -> Direction:
        """The better direction on `image_set`: "retain", "neutral" or "forget".

        Raises `MetricInputError` for any other name.
        """
        if image_set not in SETS:
            raise MetricInputError(unknown_name("image set", image_set, SETS))
        matched = image_set == "forget" and "retrained" not in self.requires
        return "match_retrained" if matched else self.better


def metric(name: str) -> MetricInfo:
    """The entry of `name`; `MetricInputError` names the valid ones otherwise."""
    if name not in ALL_METRICS:
        raise MetricInputError(unknown_name("metric", name, ALL_METRICS))
    return ALL_METRICS[name]


def distance_title(name: str, extractor: str, digest: str = "") -> str:
    """The heading under which a distribution distance, or an Inception score, may be printed.

    Only a Fréchet (kernel) distance on the published Inception network, recognised by the file's
    sha256, is called FID (KID), and only a score on it stands alone. Every other one carries the name of its extractor.

    >>> distance_title("frechet_distance", "filter-bank-64")
    'Fréchet distance (filter-bank-64)'
    """
    if extractor == INCEPTION and digest == PUBLISHED_INCEPTION:
        published = {
            "frechet_distance": "FID",
            "kernel_distance": "KID",
            "inception_score": "Inception score",
        }
        return published[metric(name).name]
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
            summary="Likeness of content as a feature extractor sees it; with CLIP, the papers' CLIP distance.",
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
"""Of generators, with any extractor."""

PROBABILITY_METRICS: dict[str, MetricInfo] = {
    "inception_score": MetricInfo(
        name="inception_score",
        title="Inception score",
        unit="1 to the number of classes",
        kind="distribution",
        better="up",
        requires=("features", "probabilities"),
        summary="Are outputs taken for one class each, and for many together? Never compared with the true images.",
    )
}
"""Of generators, with an extractor that has `probabilities`: it is a classifier, which most are not."""

CLASSIFIER_METRICS: dict[str, MetricInfo] = {
    info.name: info
    for info in (
        MetricInfo(
            name="accuracy",
            title="Accuracy",
            unit="share of images, 0 to 1",
            kind="per-image",
            better="up",
            requires=("labels",),
            summary="Share of images whose label is the most likely class.",
            of="classifier",
        ),
        MetricInfo(
            name="cross_entropy",
            title="Cross-entropy",
            unit="nats, from 0",
            kind="per-image",
            better="down",
            requires=("labels",),
            summary="How unlikely the true class was thought to be.",
            of="classifier",
        ),
        MetricInfo(
            name="confidence",
            title="Logit-scaled confidence",
            unit="log-odds",
            kind="per-image",
            better="up",
            requires=("labels",),
            summary="Log-odds of the true class against all others.",
            of="classifier",
        ),
        MetricInfo(
            name="membership_auc",
            title="Membership attack by a threshold (AUC)",
            unit="0 to 1; 0.5 is a coin",
            kind="per-image",
            better="up",
            requires=("labels", "neutral"),
            summary="Chance that the model is surer of a forget image than of a neutral one.",
            of="classifier",
        ),
        MetricInfo(
            name="svc_membership",
            title="Membership attack by a trained classifier",
            unit="share called non-members, 0 to 1",
            kind="distribution",
            better="down",
            requires=("labels", "neutral"),
            summary="Share of forget images that look unseen to an attack trained on retain and neutral images.",
            of="classifier",
        ),
        MetricInfo(
            name="activation_distance",
            title="Distance of the probabilities from the retrained model's",
            unit="0 to 1.41",
            kind="per-image",
            better="down",
            requires=("retrained",),
            summary="Euclidean distance of two models' class probabilities.",
            of="classifier",
        ),
        MetricInfo(
            name="prediction_agreement",
            title="Agreement with the retrained model",
            unit="share of images, 0 to 1",
            kind="per-image",
            better="up",
            requires=("retrained",),
            summary="Share of images on which both models answer with one class.",
            of="classifier",
        ),
    )
}

ALL_METRICS: dict[str, MetricInfo] = {**METRICS, **PROBABILITY_METRICS, **CLASSIFIER_METRICS}
