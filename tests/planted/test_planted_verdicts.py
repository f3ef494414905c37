"""What the product says of planted failures: few seeds here, all of them with `make planted`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import planted
from making.pictures import RESULTS
from making.planted import WRONG, missed, share
from planting import classifiers, generators, trained
from planting.asking import ClassifierAsker, GeneratorAsker
from planting.bound import nothing_forgotten
from planting.worlds import ClassifierWorld, GeneratorWorld

QUICK = ("trigger", "these-pixels-only", "mirrored")
"""Failures among classifiers whose yes is followed by a probe here."""

WORDS = {
    "unchanged": {"no"},
    "noise": {"ruined"},
    "collapsed": {"ruined"},
    "decoder-kept": {"partly"},
    "near-copies": {"no", "partly"},
    "near-copies-in-both": {"cannot be told"},
    "reference-saw": {"cannot be told"},
    "everything-alike": {"partly", "ruined"},
    "half-kept": {"partly"},
    "answers-mixed": {"partly"},
    "other-images-forgotten": {"no", "partly"},
    "duplicated": {"cannot be told"},
    "retrained-again": {"yes"},
    "never-seen": {"cannot be told"},
}
"""What is said of generators at the first seed."""


def test_no_failure_of_a_generator_is_called_gone(generator_world: GeneratorWorld, tmp_path: Path):
    asks = GeneratorAsker(generator_world, tmp_path)
    words = {
        plant.name: asks.verdict(plant.make(generator_world)).word
        for plant in generators.PLANTS if plant.name in WORDS
    }  # fmt: skip
    assert {name: word for name, word in words.items() if word not in WORDS[name]} == {}


def test_no_failure_of_a_classifier_is_called_gone(classifier_world: ClassifierWorld, tmp_path: Path):
    asks = ClassifierAsker(classifier_world, tmp_path)
    rows = {
        plant.name: planted.row_of(plant, classifier_world, asks, follow=plant.name in QUICK)
        for plant in classifiers.PLANTS
    }
    wrong = [
        plant.name for plant in classifiers.PLANTS
        if not plant.gone and rows[plant.name]["word"] == "yes" and (plant.name in QUICK or not plant.probes)
    ]  # fmt: skip
    assert not wrong
    assert rows["trigger"]["alone"] == "yes"
    assert "trigger-strength" in rows["trigger"]["against"]
    assert rows["retrained-again"]["word"] == "yes"


def test_a_bound_on_weights_certifies_a_model_that_forgot_nothing():
    found = nothing_forgotten(0, epochs=1)
    assert found["certified"]
    assert found["distance"] < found["bound"]
    assert found["verdict"] in {"no", "cannot be told"}


@pytest.mark.parametrize("kind", ["generators", "classifiers"])
def test_failures_are_called_gone_at_most_as_often_as_may_be(kind: str):
    plants: dict[str, Any] = json.loads((RESULTS / "planted.json").read_text(encoding="utf-8"))[kind]
    assert {name for name, plant in plants.items() if missed(plant)} == set()
    # what no probe is made for is counted over all seeds
    alone = [plant for plant in plants.values() if not plant["gone"] and not plant["made_for_it"]]
    assert max(share(plant["alone"], "yes") for plant in alone) <= WRONG
    assert min(plant["seeds"] for plant in plants.values()) == planted.SEEDS


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["generators", "classifiers"])
def test_over_all_seeds_failures_are_called_gone_at_most_as_often_as_may_be(kind: str, tmp_path: Path):
    rows = planted.gathered([kind], planted.SEEDS, planted.ASKED, tmp_path)
    plants = planted.table(kind, rows, planted.ASKED)
    assert not [name for name, plant in plants.items() if missed(plant)]


def test_a_classifier_that_was_trained_by_steps_is_put_to_the_same_plants(tmp_path: Path):
    world = trained.TrainedClassifiers(0)
    asks = ClassifierAsker(world, tmp_path)
    plants = {plant.name: plant for plant in trained.PLANTS["trained-classifiers"][1]}
    assert asks.verdict(plants["unchanged"].make(world)).word == "no"
    assert asks.verdict(plants["collapsed"].make(world)).word == "ruined"
