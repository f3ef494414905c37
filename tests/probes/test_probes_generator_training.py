"""What the training probes share, on a real small masked autoencoder: nothing of the models themselves is changed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from efface.evaluation.protocol import evaluate
from efface.evaluation.settings import EvaluationSettings
from efface.metrics.extractors import load_extractor
from efface.probes.after_handling import AfterHandling
from efface.probes.base import Probe
from efface.probes.decoder_leftover import DecoderLeftover
from efface.probes.generator_subject import LEAST_ERROR
from efface.probes.relearning import Relearning
from support.tiny_models import tiny
from support.trained_subjects import World, digests, world


@pytest.fixture(scope="module")
def made() -> World:
    return world(forget=6, retain=8, neutral=6)


@pytest.mark.parametrize(
    "probe",
    [Relearning(steps=2), DecoderLeftover(steps=2), AfterHandling(steps=2)],
    ids=lambda probe: probe.name,
)
def test_a_masked_autoencoder_is_left_as_it_was_and_every_figure_is_given(made: World, probe: Probe) -> None:
    models = {"original": tiny(0), "unlearned": tiny(1), "retrained": tiny(2)}
    subject = made.subject(models)
    # as in a run, where the evaluation has used the models in inference mode before
    evaluate(models, made.sets, made.cache, subject.corruption, load_extractor("built-in"), subject.settings)
    before, state = digests(subject), torch.get_rng_state()
    findings = probe.ask(subject)
    assert digests(subject) == before
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(model.training for model in models.values())
    assert all(p.requires_grad for m in models.values() for p in m.trained_parameters("all").values())
    assert {finding.figure for finding in findings.figures} == set(probe.figures["generator"])
    measured = [finding for finding in findings.figures if finding.figure != "after-merge"]
    assert all(finding.value is not None for finding in measured)


def test_the_error_is_the_evaluations(made: World) -> None:
    model = tiny(0)
    subject = made.subject({"original": model})
    evaluated = evaluate(
        {"original": model}, made.sets, made.cache, subject.corruption, load_extractor("built-in"), subject.settings
    )  # fmt: skip
    wanted = np.log(evaluated.per_image["original", "forget"]["hole_mse"])
    assert subject.log_errors(model, made.sets["forget"]) == pytest.approx(wanted, rel=1e-6)


def test_views_are_averaged_before_the_logarithm_and_no_error_is_below_the_floor(made: World) -> None:
    two_views = made.subject({}, settings=EvaluationSettings(crops_per_image=2))
    values = two_views.logarithms(torch.tensor([1.0, 3.0, 0.0, 0.0]))
    assert values == pytest.approx([np.log(2), np.log(LEAST_ERROR)])


def test_models_are_trained_on_the_same_batches_whatever_came_before(made: World) -> None:
    subject = made.subject({"original": tiny(0)})
    first, second = (subject.copy_of(subject.models["original"]) for _ in range(2))
    subject.train(first, made.sets["retain"], "relearn", steps=2)
    torch.rand(3)
    subject.train(second, made.sets["retain"], "relearn", steps=2)
    assert first.weights_digest() == second.weights_digest()
    assert first.weights_digest() != subject.models["original"].weights_digest()


def test_some_are_drawn_by_the_seed_each_photo_once(made: World) -> None:
    images = made.sets["retain"].subset([0, 1, 1, 2, 3, 4, 5])
    subject = made.subject({})
    assert subject.some_of(images, 10, "a").ids == tuple(f"retain {n}" for n in range(6))
    assert len(subject.some_of(images, 3, "a")) == 3
    assert subject.some_of(images, 3, "a").ids == subject.some_of(images, 3, "a").ids
    drawn = {made.subject({}, seed=seed).some_of(images, 3, "a").ids for seed in range(5)}
    assert len(drawn) > 1
