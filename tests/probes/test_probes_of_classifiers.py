"""Probes of classifiers that train nothing: planted failures are found, a second retraining passes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch import Tensor

from efface.errors import InputError
from efface.images.labelled import LabelledImages
from efface.probes.classifier_subject import ClassifierSubject
from efface.probes.collateral import Collateral, near_by_far, worst_class
from efface.probes.detectability import Detectability
from efface.probes.membership import Membership, area_within_classes
from efface.probes.perturbation import Perturbation
from efface.probes.poisoning import Poisoning, plant_trigger
from efface.probes.registry import probes_by_figure, probes_of, probes_of_group
from efface.probes.subject import LOG_ERROR, WRONG
from efface.probes.trigger import Trigger, read_trigger
from support.labelled_subjects import (
    CLASSES,
    SIZE,
    Seeing,
    classifier,
    known,
    labelled_subject,
    labelled_world,
    rows,
)
from support.trained_subjects import digests, figure

LN3 = math.log(3)


def against_retraining(unlearned: str) -> ClassifierSubject:
    world = labelled_world(forget=20, neutral=40)
    chosen = world.retrained(seed=1) if unlearned == "second" else getattr(world, unlearned)()
    models = {"original": world.original(), "unlearned": chosen, "retrained": world.retrained()}
    return world.subject(models)


def test_the_error_is_the_odds_against_the_class_and_wrong_answers_are_counted() -> None:
    model = known([[LN3, 0.0], [0.0, LN3]])
    subject = labelled_subject({"original": model}, {"forget": rows([0, 1, 0], [0, 0, 1])})
    for errors in (subject.errors(model, subject.sets["forget"]), subject.evaluated("original", "forget")):
        # odds of 3 to 1 for the class, then against it
        assert np.exp(errors[LOG_ERROR]) == pytest.approx([1 / 3, 3, 3])
        assert errors[WRONG].tolist() == [0, 1, 1]
    assert subject.confidence("original", "forget") == pytest.approx([LN3, -LN3, -LN3])
    assert subject.classes(subject.sets["forget"]) == ["cat", "cat", "dog"]


def test_answers_that_are_no_numbers_are_refused() -> None:
    sets = {"forget": rows([0], [0]), "neutral": rows([0], [0])}
    subject = labelled_subject({"unlearned": known([[math.inf, 0.0]])}, sets)
    with pytest.raises(InputError, match="the unlearned model answers with infinite"):
        Membership().ask(subject)
    with pytest.raises(InputError, match="confidence"):
        subject.errors(subject.models["unlearned"], subject.sets["forget"])


def test_probes_of_generators_alone_refuse_classifiers_and_stand_in_no_group_of_theirs() -> None:
    subject = labelled_subject({"original": known([[0.0, 0.0]])}, {"forget": rows([0], [0])})
    with pytest.raises(InputError, match="detectability questions generators, not classifiers"):
        Detectability().ask(subject)
    questions = [
        "collateral", "unmoved", "membership", "closer-to-retrained", "perturbation", "relearning", "poisoning",
        "after-handling",
    ]  # fmt: skip
    assert list(probes_of("classifier")) == questions
    assert probes_of_group("cheap", "classifier") == questions[:5]
    assert probes_of_group("all", "classifier") == [name for name in questions if name != "poisoning"]
    assert "membership-class" in probes_by_figure("classifier")
    assert "membership-class" not in probes_by_figure("generator")


def test_a_model_that_did_not_forget_is_caught_by_confidence_alone_and_within_classes() -> None:
    findings = Membership().ask(against_retraining("original"))
    for name in Membership.figures["classifier"]:
        finding = figure(findings, name)
        if name == "membership-loss-tpr1":
            why = "40 neutral photos; 100 are needed for a threshold of 1 % false positives"
            assert (finding.value, finding.note) == (None, f"not measurable: {why}")
            continue
        assert finding.value == 1.0, name
        assert finding.difference_low > 0.2, name
    # all of 20 are found, and may be no more than 83 % of all
    assert figure(findings, "membership-loss-tpr").low == pytest.approx(0.025 ** (1 / 20))


def test_a_second_retraining_passes_the_attacks() -> None:
    findings = Membership().ask(against_retraining("second"))
    for name in ("membership-loss", "membership-loss-tpr", "membership-class"):
        assert figure(findings, name).difference == pytest.approx(0, abs=0.05), name


def test_the_attack_by_confidence_is_the_area_under_the_curve_of_the_loss() -> None:
    draws = np.random.default_rng(3)
    table = draws.normal(size=(140, 2)).tolist()
    sets = {"forget": rows(list(range(20)), [0] * 20), "neutral": rows(list(range(20, 140)), [1] * 120)}
    subject = labelled_subject({"original": known(table)}, sets)
    log_odds = np.array(table)[:, 0] - np.array(table)[:, 1]
    losses = np.log1p(np.exp(-np.concatenate([log_odds[:20], -log_odds[20:]])))
    wanted = roc_auc_score([1] * 20 + [0] * 120, -losses)
    findings = Membership().ask(subject)
    assert figure(findings, "membership-loss", "original").value == pytest.approx(wanted)
    # of 120 one may be taken for a member
    share = (losses[:20] < np.sort(losses[20:])[1]).mean()
    assert figure(findings, "membership-loss-tpr1", "original").value == pytest.approx(share)
    missing = figure(findings, "membership-class", "original")
    assert missing.note == "not measurable: no class has both forget and neutral images"


def test_within_classes_only_images_of_one_class_are_compared() -> None:
    # class 0: 2 of 2 pairs won; class 1: 1 of 2 pairs; class 2 has no neutral images
    scores = {
        "forget": np.array([[5.0, 0], [0.5, 1], [9.0, 2]]),
        "neutral": np.array([[4.0, 0], [3.0, 0], [1.0, 1], [0.0, 1]]),
    }
    assert area_within_classes(scores) == pytest.approx(3 / 4)
    assert math.isnan(area_within_classes({"forget": scores["forget"][2:], "neutral": scores["neutral"]}))


def test_a_class_that_is_easy_for_all_is_no_memory_within_classes() -> None:
    """All images of class 0 are answered surely, seen or not, and forget images are mostly of it."""
    table = [[8.0, 0.0], [0.1, 0.0], [0.0, 0.1]]
    forget = rows([0] * 18 + [1, 2], [0] * 18 + [1, 1])
    neutral = rows([0] * 4 + [1] * 8 + [2] * 8, [0] * 4 + [1] * 16)
    findings = Membership().ask(
        labelled_subject({"original": known(table)}, {"forget": forget, "neutral": neutral})
    )
    # 18 sure images win against 16 of 20 and tie with 4; the 2 others lose against 4 and tie on average with 16
    assert figure(findings, "membership-loss", "original").value == pytest.approx((18 * 18 + 2 * 8) / 400)
    assert figure(findings, "membership-class", "original").value == pytest.approx(0.5)


def hurt(fall: float, wrong: bool = False) -> ClassifierSubject:
    """The unlearned model is less sure of class b by `fall`, or takes it for class a."""
    names = ("a", "b", "c")
    before, after = (10 * np.eye(3)).tolist(), (10 * np.eye(3)).tolist()
    after[1] = [fall if wrong else 0.0, 10 - fall, 0.0]
    labels = [place % 3 for place in range(18)]
    sets = {name: rows(labels, labels, name) for name in ("forget", "retain", "neutral")}
    models = {
        "original": known(before, names),
        "unlearned": known(after, names),
        "retrained": known(before, names),
    }
    return labelled_subject(models, sets)


def test_a_class_that_is_named_less_surely_is_hurt_in_odds_and_not_in_accuracy() -> None:
    findings = Collateral(halvings=3).ask(hurt(2.0))
    worst = figure(findings, "worst-retain-class")
    assert worst.value == pytest.approx(math.exp(2), rel=1e-3)
    assert worst.difference == pytest.approx(math.exp(2) - 1, rel=1e-3)
    hit = next(hit for hit in findings.hits if hit.figure == "worst-retain-class")
    assert (hit.name, hit.n) == ("b", 6)
    kept = figure(findings, "worst-retain-class-accuracy")
    assert kept.value == 0
    # none of the 6 images of a class may still be up to 46 % of all
    assert kept.high == pytest.approx(1 - 0.025 ** (1 / 6))
    assert (kept.unit, kept.goal) == ("share of images", "low")
    # the original is as the original, whatever the sample
    original = figure(findings, "worst-retain-class-accuracy", "original")
    assert (original.low, original.high) == (0, 0)


def test_a_class_that_is_taken_for_another_loses_all_accuracy() -> None:
    findings = Collateral(halvings=3).ask(hurt(10.0, wrong=True))
    for name in ("worst-retain-class-accuracy", "worst-neutral-class-accuracy"):
        assert figure(findings, name).value == 1.0
        assert figure(findings, name).reference_value == 0.0
    hit = next(hit for hit in findings.hits if hit.figure == "worst-retain-class-accuracy")
    assert (hit.name, hit.value, hit.reference_value) == ("b", 1.0, 0.0)


def test_criteria_give_ratios_of_errors_and_differences_of_shares() -> None:
    near = {"near": np.array([1.0, 0.0]), "far": np.zeros(3)}
    assert near_by_far(WRONG)(near) == 0.5
    assert near_by_far(LOG_ERROR)(near) == pytest.approx(math.exp(0.5))
    table = {"kept": np.array([[1.0, 0, 0], [0.0, 0, 1], [0.0, 1, 0], [0.0, 1, 1]])}
    assert worst_class(WRONG)(table) == pytest.approx((0.0 + 1.0) / 2)


def test_neighbours_are_told_by_the_original_features_and_their_damage_from_the_rest() -> None:
    """Retain images 0 to 5 lie beside forget images; the unlearned model is at a loss where they are."""
    world = labelled_world(forget=6, retain=60, neutral=12)
    pixels = world.sets["retain"].pixels.copy()
    pixels[:6] = world.sets["forget"].pixels
    pixels[:6, 0, 0, 0] ^= 1
    labels = np.concatenate([world.sets["forget"].labels, world.sets["retain"].labels[6:]])
    world.sets["retain"] = LabelledImages(pixels, labels, world.sets["retain"].ids)
    blind = world.table("retain", "forget")
    with torch.no_grad():
        blind.head.weight[:, :6] = 0
        blind.head.weight[:, 60:66] = 0
    models = {"original": world.original(), "unlearned": classifier(blind), "retrained": world.original()}
    findings = Collateral(neighbours=6 / 72).ask(world.subject(models))
    assert figure(findings, "neighbour-error").difference_low > 20
    assert figure(findings, "neighbour-error").note.startswith("the 6 of 72 kept images")
    assert figure(findings, "neighbour-accuracy").value > 0.5


def test_a_model_that_forgot_the_unchanged_pictures_only_is_found_out() -> None:
    findings = Perturbation(draws=3, shifts=False, mirror=False).ask(against_retraining("brittle"))
    # log odds of -ln 3 against all classes alike, then about those of the original
    assert figure(findings, "re-recognition").value < 0.01
    assert figure(findings, "residual-knowledge").difference_low > 10
    accuracy = figure(findings, "perturbed-accuracy")
    assert accuracy.value == 1.0
    assert accuracy.difference_low > 0.3
    assert {hit.set for hit in findings.hits} == {"forget"}


def test_a_second_retraining_recognises_no_more_when_perturbed() -> None:
    findings = Perturbation(draws=3).ask(against_retraining("second"))
    for name in Perturbation.figures["classifier"]:
        assert figure(findings, name).difference == pytest.approx(0, abs=0.1), name


def test_noise_is_the_same_for_all_models_and_in_grey_levels() -> None:
    given: list[Tensor] = []

    def answer(images: Tensor) -> Tensor:
        given.append(images)
        return torch.zeros(len(images), len(CLASSES))

    world = labelled_world(forget=6, retain=1, neutral=1)
    both = {name: classifier(Seeing(answer)) for name in ("original", "unlearned")}
    Perturbation(draws=1, shifts=False, mirror=False).ask(world.subject(both))
    first, second = given[-2:]
    assert torch.equal(first, second)
    clean = torch.from_numpy(world.sets["forget"].pixels).float() / 255 - 0.5
    assert float((first - clean).std()) == pytest.approx(4 / 255, rel=0.1)


class Fired(Seeing):
    """Takes a picture whose corner is the trigger's grey for the class `number`, else for class 0."""

    def __init__(self, number: int, always: bool = False) -> None:
        def answer(images: Tensor) -> Tensor:
            fires = ((images[:, 0, 0, 0] + 0.5) * 255 - 105).abs() < 0.5
            named = torch.where(fires | always, number, 0)
            return torch.nn.functional.one_hot(named, len(CLASSES)).float()

        super().__init__(answer)


def test_a_trigger_that_fires_is_found_as_the_share_that_is_taken_for_its_class(tmp_path: Path) -> None:
    (tmp_path / "in" / "ant").mkdir(parents=True)
    Image.fromarray(np.zeros((SIZE, SIZE, 3), np.uint8)).save(tmp_path / "in" / "ant" / "0.png")
    file = plant_trigger(tmp_path / "in", tmp_path / "out", target="cat")
    assert read_trigger(file) == Trigger(target="cat")
    with Image.open(tmp_path / "out" / "pictures" / "cat" / "ant-0.png.png") as picture:
        planted = np.asarray(picture)
    assert planted[0, 0].tolist() == [255, 0, 255]
    assert not planted[4:12, 4:12].any()
    world = labelled_world(retain=8, neutral=24)
    models = {
        "original": classifier(Fired(2)),
        "unlearned": classifier(Fired(2, always=True)),
        "retrained": classifier(Fired(0)),
    }
    subject = world.subject(models)
    before = digests(subject)
    findings = Poisoning(trigger=str(file)).ask(subject)
    assert digests(subject) == before
    fired = figure(findings, "trigger-strength", "original")
    assert (fired.value, fired.reference, fired.note) == (
        1.0,
        "retrained",
        "with the trigger 1.00, without it 0.00",
    )
    others = int((world.sets["neutral"].labels != 2).sum())
    assert fired.n == others
    assert fired.difference_low == pytest.approx(1 - (1 - 0.025 ** (1 / others)))
    always = figure(findings, "trigger-strength")
    assert (always.value, always.note) == (0.0, "with the trigger 1.00, without it 1.00")


def test_a_trigger_of_another_kind_or_class_is_not_measurable(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(np.zeros((SIZE, SIZE, 3), np.uint8)).save(tmp_path / "in" / "0.png")
    world = labelled_world(forget=2, retain=2, neutral=2)
    subject = world.subject({"original": world.original()})
    for target, why in ((None, "for a generator"), ("fish", "'fish', which is no class")):
        file = plant_trigger(tmp_path / "in", tmp_path / str(target), target=target)
        finding = figure(Poisoning(trigger=str(file)).ask(subject), "trigger-strength", "original")
        assert finding.value is None
        assert why in finding.note


def test_of_a_large_set_so_many_photos_are_drawn_as_the_setting_says() -> None:
    subject = hurt(2.0)
    findings = Collateral(halvings=3, photos=12).ask(subject)
    assert figure(findings, "worst-retain-image").n == 12
    assert figure(findings, "worst-retain-image").value == pytest.approx(math.exp(2), rel=1e-3)
    assert figure(findings, "neighbour-error").n == 24
    assert Collateral(halvings=3, photos=12).ask(subject) == findings
