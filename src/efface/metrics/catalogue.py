"""All metrics by name, of generators and of classifiers. Imports no torch."""

from __future__ import annotations

from efface.metrics.base import ClassifierMetric, ImageMetric, Metric, ModelKind, SetMetric, Yardstick
from efface.plugins import Registry

HOLE_ERROR = "hole_mse"
"""What a restored picture is first judged by, and forgetting with it."""
MEAN_ERROR = "mean_hole_mse"
"""The same of the mean of many answers, without the spread between them: what a fill, or a model of one answer, is to be
compared with."""
INCEPTION = "inception-torchscript"
# sha256 of inception-2015-12-05.pt as NVIDIA publishes it with StyleGAN2-ADA.
PUBLISHED_INCEPTION = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"

METRICS: Registry[type[Metric]] = Registry(
    "metric",
    "efface.metrics",
    Metric,
    (
        "efface.metrics.image_error:HoleMse",
        "efface.metrics.image_error:MeanHoleMse",
        "efface.metrics.image_error:HoleSpread",
        "efface.metrics.image_error:HolePsnr",
        "efface.metrics.image_error:Ssim",
        "efface.metrics.image_error:FeatureCosine",
        "efface.metrics.frechet:FrechetDistance",
        "efface.metrics.kernel:KernelDistance",
        "efface.metrics.inception_score:InceptionScore",
        "efface.forgetting.outputs:Accuracy",
        "efface.forgetting.outputs:CrossEntropy",
        "efface.forgetting.confidence:Confidence",
        "efface.forgetting.likelihood_attacks:MembershipAuc",
        "efface.forgetting.membership:SvcMembership",
        "efface.forgetting.outputs:ActivationDistance",
        "efface.forgetting.outputs:PredictionAgreement",
    ),
)


def metrics_of(kind: ModelKind) -> dict[str, type[Metric]]:
    """The metrics that models of that kind have, by name."""
    return {name: metric for name, metric in METRICS.items() if metric.of == kind}


def image_metrics() -> list[type[ImageMetric]]:
    """Those with a value for each restored picture."""
    return [metric for metric in METRICS.values() if issubclass(metric, ImageMetric)]


def set_metrics() -> list[type[SetMetric]]:
    """Those of a whole set of restored pictures."""
    return [metric for metric in METRICS.values() if issubclass(metric, SetMetric)]


def classifier_metrics() -> list[type[ClassifierMetric]]:
    """Those with a value for each image that is classified."""
    return [metric for metric in METRICS.values() if issubclass(metric, ClassifierMetric)]


def yardsticks() -> list[tuple[type[Metric], Yardstick]]:
    """The metrics that a page can speak by, best first."""
    return [(metric, metric.yardstick) for metric in METRICS.values() if metric.yardstick]


def distance_title(name: str, extractor: str, digest: str = "") -> str:
    """The heading under which a distribution distance, or an Inception score, may be printed.

    Only a Fréchet (kernel) distance on the published Inception network, recognised by the file's
    sha256, is called FID (KID), and only a score on it stands alone. Every other one carries the name of its extractor.

    >>> distance_title("frechet_distance", "filter-bank-64")
    'Fréchet distance (filter-bank-64)'
    """
    metric = METRICS.named(name)
    if metric.published and extractor == INCEPTION and digest == PUBLISHED_INCEPTION:
        return metric.published
    return f"{metric.title} ({extractor})"
