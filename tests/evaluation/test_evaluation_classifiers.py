"""Rows of classifiers from logits that are known: hand-worked figures, attacks, and what cannot be given."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from efface.classifiers.classifier import Classifier
from efface.evaluation.classifiers import evaluate_classifiers
from efface.evaluation.protocol import Evaluation
from efface.evaluation.results import ModelName, Row, SetName, find
from efface.evaluation.settings import ClassifierEvaluationSettings
from efface.images.labelled import LabelledImages
from efface.probes.findings import Findings
from efface.runs.requirements import judge
from support.labelled_subjects import known, rows

SETTINGS = ClassifierEvaluationSettings(resamples=200, batch_size=7)
LN3 = math.log(3)


def row(evaluation: Evaluation, model_name: str, set_name: str, metric: str) -> Row:
    found = find(evaluation.rows, model_name, set_name, metric)
    assert found is not None
    return found


def evaluated(
    models: Mapping[ModelName, Classifier], sets: Mapping[SetName, LabelledImages], **given: bool
) -> Evaluation:
    return evaluate_classifiers(models, sets, SETTINGS, **given)


def test_figures_are_those_worked_by_hand() -> None:
    """Odds of 3 to 1 for the right class, then for the wrong one."""
    model = known([[LN3, 0.0], [0.0, LN3]])
    result = evaluated({"original": model}, {"retain": rows([0, 1, 0, 0], [0, 0, 0, 1])})
    # right, wrong, right, wrong
    assert row(result, "original", "retain", "accuracy").value == 0.5
    right, wrong = -math.log(0.75), -math.log(0.25)
    assert row(result, "original", "retain", "cross_entropy").value == pytest.approx((right + wrong) / 2)
    assert row(result, "original", "retain", "confidence").value == pytest.approx(0.0, abs=1e-6)
    per_image = result.per_image["original", "retain"]["confidence"]
    assert per_image == pytest.approx([LN3, -LN3, LN3, -LN3])
    assert row(result, "original", "retain", "accuracy").note == "interval not available: fewer than 5 photos"


def test_distances_to_the_retrained_model_are_worked_by_hand() -> None:
    sure, torn = known([[LN3, 0.0], [0.0, LN3]]), known([[0.0, 0.0], [0.0, LN3]])
    sets: dict[SetName, LabelledImages] = {"forget": rows([0, 1], [0, 1])}
    result = evaluated({"original": sure, "unlearned": sure, "retrained": torn}, sets)
    # probabilities (0.75, 0.25) and (0.5, 0.5) on the first image, the same on the second
    distance = row(result, "unlearned", "forget", "activation_distance")
    assert distance.value == pytest.approx(math.sqrt(2) * 0.25 / 2)
    assert (distance.reference, distance.distance, distance.direction) == ("retrained", None, "down")
    assert row(result, "unlearned", "forget", "prediction_agreement").value == 1.0
    assert find(result.rows, "retrained", "forget", "activation_distance") is None
    gap = row(result, "unlearned", "forget", "cross_entropy")
    assert gap.distance == pytest.approx((math.log(0.5) - math.log(0.75)) / 2)
    assert gap.direction == "match_retrained"


def test_the_threshold_attack_is_the_area_under_the_curve() -> None:
    draws = np.random.default_rng(3)
    table = [[float(value), 0.0] for value in draws.normal(size=40)]
    members, others = list(range(15)), list(range(15, 40))
    sets: dict[SetName, LabelledImages] = {
        "forget": rows(members, [0] * 15),
        "neutral": rows(others, [0] * 25),
    }
    result = evaluated({"original": known(table)}, sets)
    confidence = np.array(table)[:, 0]
    expected = roc_auc_score([1] * 15 + [0] * 25, confidence)
    found = row(result, "original", "forget", "membership_auc")
    assert found.value == pytest.approx(expected)
    assert found.low is not None
    assert found.high is not None
    assert found.low < expected < found.high
    assert find(result.rows, "original", "retain", "membership_auc") is None


def test_the_trained_attack_tells_what_looks_seen() -> None:
    """Retain images are answered surely, neutral ones not; of four forget images one is answered as a neutral one."""
    table = [[6.0, 0.0], [0.5, 0.0]]
    sets: dict[SetName, LabelledImages] = {
        "forget": rows([0, 0, 0, 1], [0] * 4),
        "retain": rows([0] * 25, [0] * 25),
        "neutral": rows([1] * 20, [0] * 20),
    }
    result = evaluated({"original": known(table), "unlearned": known([[0.5, 0.0]] * 2)}, sets)
    assert row(result, "original", "forget", "svc_membership").value == 0.25
    assert (
        row(result, "original", "forget", "svc_membership").note
        == "a point value: the attack is trained once"
    )


def test_attacks_that_cannot_be_made_say_why() -> None:
    model = known([[LN3, 0.0]])
    few: dict[SetName, LabelledImages] = {
        name: rows([0] * 5, [0] * 5) for name in ("forget", "retain", "neutral")
    }  # type: ignore[misc]
    short = row(evaluated({"original": model}, few), "original", "forget", "svc_membership")
    assert (short.value, short.note) == (
        None, "not available: 5 retain and 5 neutral images, and 20 are needed"
    )  # fmt: skip
    proxies = evaluated({"original": model}, few, proxy_retain=True)
    assert "no member of the training is known" in str(
        row(proxies, "original", "forget", "svc_membership").note
    )
    del few["neutral"]
    alone = row(evaluated({"original": model}, few), "original", "forget", "membership_auc")
    assert (alone.value, alone.note) == (
        None, "not available: no neutral images, so there is nothing to tell forget images from"
    )  # fmt: skip
    quiet = evaluate_classifiers({"original": model}, few, SETTINGS.model_copy(update={"attacks": False}))
    assert not any("membership" in one.metric for one in quiet.rows)


def test_a_model_that_answers_with_infinities_has_rows_without_values() -> None:
    sound, wrecked = known([[LN3, 0.0]]), known([[math.inf, math.nan]])
    sets: dict[SetName, LabelledImages] = {
        name: rows([0] * 6, [0] * 6)
        for name in ("forget", "retain", "neutral")  # type: ignore[misc]
    }
    result = evaluated({"original": sound, "unlearned": wrecked, "retrained": sound}, sets)
    lost = [one for one in result.rows if one.model == "unlearned" and one.metric != "svc_membership"]
    assert len(lost) == 5 + 5 + 6
    assert all(one.value is None and "infinite or undefined" in str(one.note) for one in lost)
    assert row(result, "original", "forget", "accuracy").value == 1.0
    assert result.worst == []


def test_the_worst_hit_are_those_that_lost_most_with_classes_by_name() -> None:
    before = known([[2.0, 0.0], [0.0, 1.0]])
    after = known([[1.0, 0.0], [0.5, 0.0]])
    sets: dict[SetName, LabelledImages] = {"retain": rows([0, 1, 0, 1], [0, 1, 0, 1])}
    worst = evaluated({"original": before, "unlearned": after}, sets).worst
    told = [
        (entry.kind, entry.name, entry.metric, round(entry.original, 9), round(entry.unlearned, 9))
        for entry in worst
    ]
    assert told == [
        # the label's log-odds: 1 -> -0.5 of the second and fourth, 2 -> 1 of the others
        ("image", "i1", "confidence", 1.0, -0.5),
        ("image", "i3", "confidence", 1.0, -0.5),
        ("image", "i0", "confidence", 2.0, 1.0),
        ("image", "i2", "confidence", 2.0, 1.0),
        ("class", "dog", "error_rate", 0.0, 1.0),
    ]
    assert all(entry.ratio is None for entry in worst)


def test_requirements_of_a_classifier_are_judged() -> None:
    """Both models answer with the first class and are right on 18 of 20 images; the retrained one always."""
    sure, turned = known([[LN3, 0.0]] * 20), known([[LN3, 0.0]] * 10 + [[0.0, LN3]] * 10)
    given = {
        "retain": rows(list(range(20)), [0] * 18 + [1] * 2),
        "forget": rows(list(range(20)), [0] * 20),
    }
    evaluation = evaluated({"original": sure, "unlearned": sure, "retrained": turned}, given)
    texts = [
        "retain-accuracy>=0.9x",
        "forget-accuracy<=1.5x",
        "forget-agreement>=0.2",
        "forget-membership<=0.9",
    ]
    verdicts = judge(texts, "classifier", evaluation, given, Findings(), SETTINGS)
    assert [one.state for one in verdicts] == ["met", "not met", "met", "not measurable"]
    assert [one.value for one in verdicts] == [1, 2, 0.5, None]
    assert "over that of the original model" in verdicts[0].words
    assert "over that of the retrained model" in verdicts[1].words
    assert "no neutral images" in verdicts[3].words
