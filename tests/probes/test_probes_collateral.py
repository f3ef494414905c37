"""Collateral: planted damage is found where it lies, in its size; luck alone is not reported as damage."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from efface.probes.collateral import Collateral, largest, worst_class, worst_image
from efface.probes.generator_subject import GeneratorSubject
from efface.probes.subject import LOG_ERROR
from support.subjects import Pictures, Remembering, Worse, forgetting, numbered, subject, views_of

COUNT = 12
PROBE = Collateral(halvings=5)


def hurt(factors: dict[str, float], cache: Pictures | None = None, **settings: Any) -> GeneratorSubject:
    """Three classes in each set; the unlearned model's error is larger on some images."""
    cache = cache or Pictures()
    sets = {name: numbered(name, COUNT, ("a", "b", "c")) for name in ("forget", "retain", "neutral")}
    crops = settings.get("crops_per_image", 1)
    views = torch.cat([views_of(images, cache, crops) for images in sets.values()])
    models = {
        "original": Remembering(views),
        "unlearned": Worse(views, factors),
        "retrained": Remembering(views),
    }
    return subject(models, sets, cache, **settings)


def test_a_class_whose_error_quadrupled_is_found_with_that_ratio():
    of_class_b = {f"retain-{n}": 2.0 for n in range(1, COUNT, 3)}
    findings = PROBE.ask(hurt(of_class_b))
    worst = findings.find("worst-retain-class")
    assert worst is not None
    assert worst.value == pytest.approx(4, rel=0.03)
    assert worst.reference_value == pytest.approx(1)
    assert worst.difference == pytest.approx(3, rel=0.05)
    assert worst.note == "cross-fitted worst of 3 classes"
    hit = next(hit for hit in findings.hits if hit.figure == "worst-retain-class")
    assert (hit.kind, hit.name, hit.n) == ("class", "b", 4)
    assert hit.value == pytest.approx(4, rel=0.03)
    assert hit.reference_value == pytest.approx(1)
    untouched = findings.find("worst-neutral-class")
    assert untouched is not None
    assert untouched.value == pytest.approx(1)


def test_luck_alone_is_no_worst_class():
    draws = np.random.default_rng(5)
    classes, count = 20, 6
    halves = np.tile(np.repeat([[0.0], [1.0]], 3, axis=0), (classes, 1))
    naive, fair = [], []
    for _ in range(100):
        ratios = draws.normal(0, 0.3, classes * count)
        table = np.column_stack([ratios, np.repeat(np.arange(classes), count), halves])
        naive.append(np.exp(ratios.reshape(classes, count).mean(axis=1).max()))
        fair.append(worst_class(LOG_ERROR)({"kept": table}))
    assert np.mean(naive) > 1.2
    assert np.mean(np.log(fair)) == pytest.approx(0, abs=0.03)


def test_the_worst_class_is_chosen_on_one_half_and_read_on_the_other():
    # class 0: halves 0.0 and 1.0; class 1: halves 0.4 and 0.2. First half chooses class 1 (reads 0.2), second class 0 (0.0)
    table = np.array([[0.0, 0, 0], [1.0, 0, 1], [0.4, 1, 0], [0.2, 1, 1]])
    assert worst_class(LOG_ERROR)({"kept": table}) == pytest.approx(np.exp(0.1))


def test_the_worst_image_is_found_by_id():
    findings = PROBE.ask(hurt({"retain-7": 3.0}))
    worst = findings.find("worst-retain-image")
    assert worst is not None
    assert worst.value == pytest.approx(9, rel=0.05)
    assert worst.difference == pytest.approx(8, rel=0.06)
    assert (worst.low, worst.difference_high) == (None, None)
    assert worst.note == "the largest of 12 images, in one view: luck is not taken off"
    hit = next(hit for hit in findings.hits if hit.figure == "worst-retain-image")
    assert (hit.kind, hit.name) == ("image", "retain-7")


def test_with_several_views_the_worst_image_is_cross_fitted():
    findings = PROBE.ask(hurt({"retain-7": 3.0}, crops_per_image=2))
    worst = findings.find("worst-retain-image")
    assert worst is not None
    assert worst.value == pytest.approx(9, rel=0.05)
    assert worst.note == "cross-fitted worst of 12 images"
    # image 0 is worst in the first view, image 1 in the second: read in the other view they have 0.1 and 0.2
    criterion = worst_image(np.array([[0], [1]]))
    assert criterion({"kept": np.array([[0.9, 0.1], [0.2, 0.8]])}) == pytest.approx(np.exp(0.15))
    assert largest({"kept": np.array([[0.0], [np.log(2)]])}) == pytest.approx(2)


def test_damage_to_images_that_look_like_forgotten_ones_is_told_from_the_rest():
    cache = Pictures()
    alike = {f"{name}-{4 + place}": f"forget-{place}" for name in ("retain", "neutral") for place in range(3)}
    for kept, forgotten in alike.items():
        cache.made[kept] = np.clip(cache.read(forgotten).astype(int) + 8, 0, 255).astype(np.uint8)
    findings = Collateral(neighbours=len(alike) / (2 * COUNT)).ask(hurt(dict.fromkeys(alike, 2.0), cache))
    neighbours = findings.find("neighbour-error")
    assert neighbours is not None
    assert neighbours.value == pytest.approx(4, rel=0.05)
    assert neighbours.note == "the 6 of 24 kept images most like a forgotten one, against the others"
    assert neighbours.difference_low is not None
    assert neighbours.difference_low > 2


@pytest.mark.parametrize("planted", ["noise", "second"])
def test_forgetting_that_hit_nobody_else_passes(planted: str):
    findings = PROBE.ask(forgetting(planted, count=12, classes=("a", "b", "c")))
    for figure in PROBE.figures["generator"]:
        finding = findings.find(figure)
        assert finding is not None
        assert finding.difference is not None
        assert finding.difference < 0.4, figure


def test_what_is_missing_is_said_figure_by_figure():
    unlabelled = PROBE.ask(forgetting("second", count=6))
    for figure in ("worst-retain-class", "worst-neutral-class"):
        finding = unlabelled.find(figure)
        assert finding is not None
        assert (finding.value, finding.note) == (None, "not measurable: no class has 4 labelled photos")
    one = forgetting("second", count=6)
    bare = PROBE.ask(subject(one.models, {"forget": one.sets["forget"]}))
    assert [finding.value for finding in bare.figures] == [None] * 4
    late = {name: model for name, model in one.models.items() if name != "original"}
    assert {finding.note for finding in PROBE.ask(subject(late, one.sets)).figures} == {
        "not measurable: there is no original model to compare with"
    }
