"""Probes that train or change classifiers: what was only hidden comes back, what was never known does not."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from efface.classifiers.classifier import Classifier
from efface.errors import InputError
from efface.images.labelled import LabelledImages
from efface.probes.after_handling import AfterHandling, prune
from efface.probes.findings import Findings
from efface.probes.relearning import Relearning
from efface.training.settings import Recipe
from support.labelled_subjects import (
    CLASSES,
    RECIPE,
    LabelledWorld,
    classifier,
    labelled_subject,
    labelled_world,
)
from support.trained_subjects import digests, figure

RELEARNING = Relearning(steps=32, shots=4)


@pytest.fixture(scope="module")
def made() -> LabelledWorld:
    return labelled_world(forget=16)


@cache
def relearned(unlearned: str) -> Findings:
    made = labelled_world(forget=16)
    other = made.retrained(seed=1) if unlearned == "second" else getattr(made, unlearned)()
    return RELEARNING.ask(made.subject({"unlearned": other, "retrained": made.retrained()}))


def test_what_was_only_hidden_comes_back_by_training_on_retain_images() -> None:
    findings = relearned("hushed")
    assert figure(findings, "relearning-retain").difference_low > 3
    assert figure(findings, "relearning-retain").unit == "nats"
    assert figure(findings, "relearning-retain-accuracy").difference_low > 0.2
    curves = {(curve.figure, curve.model): curve for curve in findings.curves}
    odds, accuracy = (curves[f"relearning-retain{suffix}", "unlearned"] for suffix in ("", "-accuracy"))
    assert odds.x == (0, 1, 2, 4, 8, 16, 32)
    # it begins as one that knows little, and ends with odds of 100 to 1 on the right class
    assert odds.y[0] > 1
    assert odds.y[-1] < 0.05
    assert accuracy.y[0] < 0.5
    assert accuracy.y[-1] == 1.0
    assert max(curves["relearning-retain-accuracy", "retrained"].y) < 0.5


def test_a_model_that_did_not_forget_leads_at_once() -> None:
    findings = relearned("original")
    for name in ("relearning-retain", "relearning-few"):
        assert figure(findings, name).difference_low > 3
        assert figure(findings, f"{name}-accuracy").difference_low > 0.3


def test_a_second_retraining_does_not_lead() -> None:
    findings = relearned("second")
    for name in ("relearning-retain", "relearning-few"):
        assert abs(figure(findings, name).difference) < 0.1
        assert figure(findings, name, "retrained").value == 0
        assert figure(findings, f"{name}-accuracy").difference < 0.1


def test_noise_in_the_place_of_what_was_stored_does_not_come_back() -> None:
    finding = figure(relearned("noisy"), "relearning-retain")
    assert finding.difference < 1
    assert finding.difference_low < 0


def test_without_a_retrained_model_there_are_curves_and_a_reason(made: LabelledWorld) -> None:
    findings = Relearning(steps=1).ask(made.subject({"original": made.original()}))
    assert {finding.figure for finding in findings.figures} == set(Relearning.figures["classifier"])
    assert all("no retrained model" in finding.note for finding in findings.figures)
    assert len(findings.curves) == 4


def test_training_goes_by_the_recipe_leaves_the_rest_alone_and_repeats_itself(made: LabelledWorld) -> None:
    subject = made.subject({"original": made.original()})
    before, state = digests(subject), torch.get_rng_state()
    first, second, slower = (subject.copy_of(subject.models["original"]) for _ in range(3))
    seen: list[tuple[bool, float]] = []

    def measure() -> None:
        seen.append(
            (first.training, float(np.mean(list(subject.errors(first, made.sets["forget"]).values()))))
        )

    subject.train(first, made.sets["retain"], "some", steps=5, after=(0, 2, 5), measure=measure)
    torch.rand(3)
    subject.train(second, made.sets["retain"], "some", steps=5)
    subject.train(slower, made.sets["retain"], "some", steps=5, learning_rate=1e-5)
    assert digests(subject) == before
    assert first.weights_digest() == second.weights_digest() != slower.weights_digest()
    assert [training for training, _ in seen] == [False, False]
    assert not first.training
    torch.set_rng_state(state)


def test_an_infinite_loss_costs_the_answer(made: LabelledWorld) -> None:
    subject = made.subject({"original": made.original()}, recipe=Recipe(learning_rate=1e30, optimizer="sgd"))
    with pytest.raises(InputError, match="not finite"):
        subject.train(subject.copy_of(made.original()), made.sets["retain"], "some", steps=20)


def test_the_digest_follows_what_an_answer_follows_from(made: LabelledWorld) -> None:
    models = {"original": made.original()}
    digest = made.subject(models).digest()
    assert made.subject(models).digest() == digest
    fewer = {**made.sets, "forget": made.sets["forget"].subset(range(3))}
    others: list[dict[str, Any]] = [{"seed": 1}, {"recipe": Recipe()}, {"sets": fewer}]
    assert digest not in {made.subject(models, **changed).digest() for changed in others}
    assert made.subject({"original": made.hushed()}).digest() != digest


class Guarded(nn.Module):
    """Odds of e to `1 - gain (weight - 1)` for the class that the first pixel names: one weight decides."""

    def __init__(self, weights: list[float], gain: float, plain: float = 1.0) -> None:
        super().__init__()
        self.head = nn.Linear(len(weights), 1, bias=False)
        self.gain, self.plain = gain, plain
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([weights]))

    def forward(self, images: Tensor) -> Tensor:
        named = nn.functional.one_hot(((images[:, 0, 0, 0] + 0.5) * 255).round().long(), 2).float()
        return named * (1 - self.gain * (self.head.weight[0, -1] - self.plain))


def guarded(weights: list[float], gain: float, plain: float = 1.0) -> Classifier:
    return classifier(Guarded(weights, gain, plain), classes=("no", "yes"), image_size=1)


@pytest.mark.parametrize(
    ("name", "weights", "plain", "gain"),
    [
        # 1 + 2^-9 is nearer to 1 than to the next number of 8 binary digits
        ("after-bf16", [1.0, 1 + 2**-9], 1.0, 2 * 2**9),
        # the step is 127 / 127 = 1, so that 1.4 becomes 1
        ("after-int8", [127.0, 1.4], 1.0, 5.0),
        # the smaller of two weights is half of them
        ("after-pruning", [1.0, 0.25], 0.0, 8.0),
    ],
)
def test_forgetting_that_is_finer_than_the_handling_is_undone_by_it(
    name: str, weights: list[float], plain: float, gain: float
) -> None:
    labels = [0, 1] * 5
    images = LabelledImages(
        np.array(labels, np.uint8)[:, None, None, None], np.array(labels), tuple("abcdefghij")
    )
    models = {
        "unlearned": guarded(weights, gain, plain),
        "retrained": guarded([weights[0], plain], gain, plain),
    }
    findings = AfterHandling(steps=1, pruned=0.5).ask(labelled_subject(models, {"forget": images}))
    # log odds of -1 before, of 1 after
    assert figure(findings, name).value == pytest.approx(2, abs=1e-2)
    assert figure(findings, name, "retrained").value == pytest.approx(0, abs=1e-2)
    accuracy = figure(findings, f"{name}-accuracy")
    assert (accuracy.value, accuracy.difference) == (1.0, 1.0)
    # ten of ten: the exact interval reaches to 69 %
    assert accuracy.low == pytest.approx(0.025**0.1)
    assert accuracy.note == "after it, right for 100%, the retrained model for 100%"
    assert figure(findings, "after-finetune").note == "not measurable: there are no neutral images"


def test_pruning_sets_the_smallest_weights_of_each_layer_to_zero(made: LabelledWorld) -> None:
    model = made.original()
    with torch.no_grad():
        model.network.head.weight[:] = torch.arange(1.0, model.network.head.weight.numel() + 1).view(
            len(CLASSES), -1
        )
    places = model.network.places.weight.clone()
    prune(model, 0.25)
    count = model.network.head.weight.numel() // 4
    assert not model.network.head.weight.flatten()[:count].any()
    assert model.network.head.weight.flatten()[count:].all()
    assert int((model.network.places.weight == 0).sum()) == int(0.25 * places.numel())


def test_further_training_brings_back_what_was_only_hidden(made: LabelledWorld) -> None:
    def after(unlearned: Classifier) -> Findings:
        sets = {"forget": made.sets["forget"], "neutral": made.sets["retain"]}
        models = {"unlearned": unlearned, "retrained": made.retrained()}
        return AfterHandling(steps=32).ask(made.subject(models, sets=sets, recipe=RECIPE))

    hidden, never = after(made.hushed()), after(made.retrained(seed=1))
    assert figure(hidden, "after-finetune").difference_low > 1
    assert figure(hidden, "after-finetune-accuracy").difference > 0.3
    assert float(figure(hidden, "after-finetune").note.split()[2]) < 0.1
    assert abs(figure(never, "after-finetune").difference) < 0.1
    assert {finding.figure for finding in never.figures} == set(AfterHandling.figures["classifier"])
