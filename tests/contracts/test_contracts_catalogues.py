"""What every metric, corruption and classifier keeps to."""

from __future__ import annotations

from functools import partial

import pytest

from efface.classifiers.architecture import NetworkSettings
from efface.classifiers.classifier import Classifier
from efface.classifiers.networks import build
from efface.corruptions import CORRUPTIONS, Corruption
from efface.metrics.base import Metric
from efface.metrics.catalogue import METRICS
from efface.testing import check_classifier, check_corruption, check_metric
from efface.testing.models import other_classifier

NETWORKS = {
    "small-conv": NetworkSettings(network="small-conv", classes=3, image_size=16, width=4),
    "mlp": NetworkSettings(network="mlp", classes=3, channels=1, image_size=8),
    "resnet18": NetworkSettings(network="resnet18", classes=3, image_size=32, stem="cifar"),
    "committee": NetworkSettings(
        network="small-conv", classes=3, image_size=16, width=4, committee=2, vote="mean"
    ),
}


def network(settings: NetworkSettings) -> Classifier:
    names = tuple(f"class {number}" for number in range(settings.classes))
    made = build(settings, seed=0)
    return Classifier(made, classes=names, image_size=settings.image_size, channels=settings.channels)


@pytest.mark.parametrize("metric", METRICS.built_in.values(), ids=lambda metric: metric.name)
def test_a_metric_keeps_its_contract(metric: type[Metric]) -> None:
    check_metric(metric)


@pytest.mark.parametrize("corruption", CORRUPTIONS.built_in.values(), ids=lambda corruption: corruption.name)
def test_a_corruption_keeps_its_contract(corruption: type[Corruption]) -> None:
    check_corruption(corruption)


@pytest.mark.parametrize("name", [*NETWORKS, "another make"])
def test_a_classifier_keeps_its_contract(name: str) -> None:
    check_classifier(partial(network, NETWORKS[name]) if name in NETWORKS else other_classifier)
