"""Detectability: noise and memory are told, a second retraining is not."""

from __future__ import annotations

import numpy as np
import pytest

from efface.probes.detectability import Detectability, output_features
from support.subjects import forgetting, image_set, numbered, subject

PROBE = Detectability(permutations=99, repeats=2)


@pytest.mark.parametrize("planted", ["original", "noise"])
def test_memory_and_noise_are_both_told_from_neutral_images(planted: str):
    findings = PROBE.ask(forgetting(planted, count=16))
    area, kernel = findings.find("detectability"), findings.find("detectability-mmd")
    assert area is not None
    assert kernel is not None
    assert area.value == 1.0
    assert area.reference == "retrained"
    assert area.difference_low is not None
    assert area.difference_low > 0.05
    assert kernel.difference_low is not None
    assert kernel.difference_low > 0.05
    assert (kernel.note or "").startswith("permutation p = 0.01 (99 deals)")


def test_a_second_retraining_is_not_told():
    findings = PROBE.ask(forgetting("second", count=24))
    for figure in ("detectability", "detectability-mmd"):
        finding = findings.find(figure)
        assert finding is not None
        assert finding.difference_low is not None
        assert finding.difference_high is not None
        assert finding.difference_low <= 0 <= finding.difference_high
    area = findings.find("detectability")
    assert area is not None
    assert area.value == pytest.approx(0.5, abs=0.2)


def test_images_of_common_classes_are_compared_and_few_photos_are_said():
    one = forgetting("second", count=8, classes=("a", "b"))
    note = PROBE.ask(one).figures[0].note or ""
    assert "weighted class by class, 2 in common" in note
    assert "only 8 photos on a side" in note


def test_a_photo_that_stands_in_a_set_twice_counts_once():
    whole = forgetting("noise", count=6)
    doubled = subject(
        whole.models, {**whole.sets, "forget": image_set([*whole.sets["forget"].ids, "forget-2"])}
    )
    assert np.array_equal(
        output_features(doubled, "unlearned", "forget"), output_features(whole, "unlearned", "forget")
    )


def test_without_neutral_images_both_figures_say_why_there_is_none():
    one = forgetting("noise", count=4)
    bare = subject(one.models, {"forget": one.sets["forget"]})
    findings = PROBE.ask(bare).figures
    assert [finding.figure for finding in findings] == ["detectability", "detectability-mmd"]
    assert {finding.note for finding in findings} == {"not measurable: there are no neutral images"}


def test_a_single_forget_image_cannot_be_tested():
    one = forgetting("noise", count=6)
    single = subject(one.models, {**one.sets, "forget": numbered("forget", 1)})
    assert PROBE.ask(single).figures[0].note == "not measurable: fewer than 2 photos to compare on a side"
