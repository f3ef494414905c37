"""What methods do with the base from which a model was trained on, against computations of their own."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import efface.testing.models as made
from efface.classifiers.classifier import Classifier
from efface.classifiers.heads import for_classes
from efface.errors import InputError
from efface.jobs.kinds import read_config
from efface.methods import read_method
from efface.methods.base import phases_of
from efface.methods.classifier.bad_teacher import ANSWERS, TAUGHT, BadTeacher
from efface.methods.classifier.base import unlearn_classifier
from efface.methods.classifier.retrain import RetrainClassifier
from efface.methods.generator.early import keep_as_shadow
from efface.training.classification import Work
from efface.training.data import Data
from efface.training.passes import Facts, Pass
from support.target_cases import Case, check, in_the_hole, mean_square, moved
from support.tiny_models import changed, settings, tiny, trainer, weights_of


def based(case: Case) -> Any:
    """A base of the case's model, kept as its shadow; the student's weights stay. Returns the base's network."""
    base = copy.deepcopy(case.generator)
    moved(base, 0.1, seed=5)
    student = copy.deepcopy(case.generator.network.state_dict())
    case.generator.network.load_state_dict(case.original.state_dict())
    keep_as_shadow(base).apply(case.generator, 0)
    assert changed(weights_of(case.generator), case.original.state_dict()) == set()
    case.generator.network.load_state_dict(student)
    return base.network


# generators


def test_encoder_noise_draws_to_the_features_of_the_image_in_the_base() -> None:
    case = Case()
    base, student = based(case), case.generator.network
    kept = mean_square(*(case.features(n, case.retain) for n in (student, case.original))).mean()
    drawn = mean_square(*(case.features(n, case.forget) for n in (student, base))).mean()
    check(case.loss("encoder-noise", target="base", alpha=0.3), kept, drawn, 0.3)


def test_its_gradient_is_that_of_both_squares() -> None:
    case = Case()
    base, generator = based(case), case.generator
    retain, forget = case.batch.views["retain"], case.batch.views["forget"]
    weights = list(generator.encoder_parameters().values())

    def features(network: Any, view: Any) -> torch.Tensor:
        acting = copy.deepcopy(generator)
        acting.network = network
        with torch.no_grad():
            (one,) = acting.encode(view)
        return one

    (seen,), (lost,) = generator.encode(retain), generator.encode(forget)
    apart = seen - features(case.original, retain), lost - features(base, forget)
    by_hand = [2 * one.detach() / one.numel() for one in apart]
    expected = torch.autograd.grad([seen, lost], weights, [by_hand[0], 0.3 * by_hand[1]], allow_unused=True)
    loss = case.loss("encoder-noise", target="base", alpha=0.3).total
    for one, two in zip(torch.autograd.grad(loss, weights, allow_unused=True), expected, strict=True):
        assert (one is None) == (two is None)
        assert one is None or torch.allclose(one, two, rtol=1e-4, atol=1e-7)


def test_unseen_draws_to_the_bases_answers() -> None:
    case = Case()
    base, student = based(case), case.generator.network
    kept = in_the_hole(*(case.prediction(n, case.retain) for n in (student, case.original))).mean()
    drawn = in_the_hole(*(case.prediction(n, case.forget) for n in (student, base))).mean()
    check(case.loss("unseen", stand_in="base", alpha=0.3), kept, drawn, 0.3)


def test_retraining_from_a_base_is_fine_tuning_it(data: Data) -> None:
    base, original = tiny(seed=5), tiny()
    retrain = phases_of(read_method({"name": "retrain"}), base)
    trainer(original, retrain, data, asked=settings(steps=4)).run()
    tuned = tiny(seed=5)
    trainer(tuned, read_method({"name": "fine-tune"}).phases(), data, asked=settings(steps=4)).run()
    assert changed(weights_of(tuned), weights_of(original)) == set()
    assert changed(weights_of(tiny(seed=5)), weights_of(base)) == set(), "the base is left as it is"


def test_shrinking_goes_towards_the_base() -> None:
    base, original = tiny(seed=5), tiny()
    before, target = weights_of(original), weights_of(base)
    (edit, _) = phases_of(read_method({"name": "shrink-perturb", "keep": 0.4}), base)
    edit.apply(original, 0)  # type: ignore[union-attr]
    trained = original.trained_parameters("all")
    assert trained
    for name, weights in trained.items():
        expected = 0.4 * before[name].double() + 0.6 * target[name].double()
        assert torch.allclose(weights.double(), expected, atol=1e-6)


def test_only_the_encoder_moves_beside_a_base(data: Data) -> None:
    base, original = tiny(seed=5), tiny()
    before = weights_of(original)
    phases = phases_of(read_method({"name": "encoder-noise", "target": "base"}), base)
    trainer(original, phases, data, asked=settings(steps=3)).run()
    assert changed(before, weights_of(original)) == set(original.encoder_parameters())


# configs


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"method": {"name": "encoder-noise", "target": "base"}}, "base: encoder-noise asks it with these"),
        ({"method": {"name": "unseen", "stand_in": "base"}}, "base: unseen asks it with these settings"),
        ({"method": "max-loss", "base": "there"}, "base: max-loss makes no use of it with these settings"),
        ({"method": "encoder-noise", "base": "there"}, "base: encoder-noise makes no use of it"),
    ],
)
def test_a_base_is_named_where_it_is_of_use(chosen: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_config("unlearn", {"model": "here", "images": {"forget": ("x",), "images": "y"}, **chosen})


# classifiers


def work(method: BadTeacher, base: Classifier) -> Work:
    original = made.tiny_classifier()
    facts = Facts({}, 10, original.blocks, seed=1, base=base)
    return Work(original, {**made.DIGITS, **method.own_sets(made.DIGITS, facts)}, facts)


def stirred(seed: int = 9) -> Classifier:
    base = made.tiny_classifier()
    base.reinitialise(seed)
    return base.eval()


def test_bad_teacher_learns_forget_images_from_the_base() -> None:
    method, base = BadTeacher(teacher="base", batch_size=8), stirred()
    here = work(method, base)
    with torch.no_grad():
        method.ask(here)
        every = here.batch(TAUGHT, np.arange(len(here.sets[TAUGHT])))
        count = len(here.sets["forget"])
        teachers = torch.cat([base(every.images)[:count], here.original(every.images)[count:]])
    assert torch.allclose(here.memory[ANSWERS], teachers, atol=1e-5)
    answers = here.model.eval()(every.images)
    expected = functional.kl_div(answers.log_softmax(1), teachers.softmax(1), reduction="batchmean")
    assert torch.isclose(method.loss(here, {TAUGHT: every}), expected, atol=1e-6)


def test_retraining_a_classifier_from_a_base_is_training_it_on() -> None:
    base, original = stirred(), made.tiny_classifier()
    sets = {name: made.DIGITS[name] for name in ("forget", "retain")}
    facts = Facts({name: len(one) for name, one in sets.items()}, 10, original.blocks, made.RECIPE, 3, base)
    retrained, report = unlearn_classifier(original, RetrainClassifier(), sets, facts)
    (_, training) = RetrainClassifier().passes(facts)
    assert isinstance(training, Pass)
    by_itself, _ = unlearn_classifier(base, RetrainClassifier(), sets, facts)
    assert report.finished
    assert changed(weights_of(by_itself), weights_of(retrained)) == set()
    fresh, _ = unlearn_classifier(
        original, RetrainClassifier(), sets, Facts(facts.sizes, 10, original.blocks, made.RECIPE, 3)
    )
    assert changed(weights_of(fresh), weights_of(retrained))


def test_other_classes_get_a_fresh_head_by_seed_and_the_rest_stays() -> None:
    base = made.tiny_classifier()
    same = for_classes(base, ("3", "1"), 0)
    assert same.classes == base.classes
    assert changed(weights_of(base), weights_of(same)) == set()
    one, again, other = (for_classes(base, ("cat", "dog"), seed) for seed in (0, 0, 1))
    assert one.classes == ("cat", "dog")
    assert one(made.pictures(2, size=8)[:, :1]).shape == (2, 2)
    heads = set(one.parameters_of(one.blocks[-1:]))
    assert changed(weights_of(base), weights_of(one)) == heads
    assert changed(weights_of(one), weights_of(again)) == set()
    assert changed(weights_of(one), weights_of(other)) == heads
