"""The baselines for classifiers: losses against plain torch, which weights move, and what is drawn."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from efface.classifiers.architecture import NetworkSettings
from efface.classifiers.classifier import Classifier
from efface.classifiers.networks import blocks_of, build
from efface.errors import InputError, Stopped
from efface.images.labelled import LabelledImages
from efface.methods.classifier.bad_teacher import ANSWERS, TAUGHT, BadTeacher
from efface.methods.classifier.base import ClassifierMethod, unlearn_classifier
from efface.methods.classifier.cf_k import CfK
from efface.methods.classifier.eu_k import EuK
from efface.methods.classifier.gradient_ascent import GradientAscentClassifier
from efface.methods.classifier.l1_sparse import L1Sparse
from efface.methods.classifier.neg_grad_plus import NegGradPlus
from efface.methods.classifier.random_labels import DRAWN, MIXED, RandomLabels
from efface.methods.classifier.salun import SalUn
from efface.methods.classifier.scrub import Scrub
from efface.randomness import numpy_draws
from efface.training.classification import Labelled, Work, run_passes
from efface.training.passes import Edit, Facts, Pass, cost_of
from efface.training.settings import Recipe

CLASSES, FORGET, RETAIN, VALIDATION = 4, 9, 20, 12
BLOCKS = ("block1", "block2", "block3", "head")


@cache
def images(name: str, count: int) -> LabelledImages:
    """Random 8 px greys, on which a class is a brightness."""
    rng = numpy_draws(0, "baselines", name)
    labels = rng.permutation(np.arange(count) % CLASSES)
    pixels = rng.integers(0, 100, (count, 1, 8, 8)) + 40 * labels[:, None, None, None]
    return LabelledImages(pixels.astype(np.uint8), labels, tuple(f"{name} {i}" for i in range(count)))


def sets() -> dict[str, LabelledImages]:
    return {
        "forget": images("forget", FORGET),
        "retain": images("retain", RETAIN),
        "validation": images("validation", VALIDATION),
    }


def classifier(seed: int = 0) -> Classifier:
    """A tiny convolutional network whose batch statistics and weights are not those of a fresh one."""
    settings = NetworkSettings(network="small-conv", classes=CLASSES, channels=1, image_size=8, width=2)
    network = build(settings, seed)
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in [*network.parameters(), *network.buffers()]:
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.rand(tensor.shape, generator=rng))
    names = tuple(f"class {i}" for i in range(CLASSES))
    return Classifier(network, classes=names, image_size=8, channels=1, blocks=blocks_of(network))


def facts(seed: int = 0, recipe: Recipe | None = None, **sizes: int) -> Facts:
    known = {"forget": FORGET, "retain": RETAIN, "validation": VALIDATION, **sizes}
    return Facts(known, CLASSES, BLOCKS, recipe or Recipe(), seed)


def work(method: ClassifierMethod, model: Classifier | None = None, **given: LabelledImages) -> Work:
    everything = {**sets(), **given}
    return Work(model or classifier(), {**everything, **method.own_sets(everything, facts())}, facts())


def run(method: ClassifierMethod, seed: int = 0, recipe: Recipe | None = None) -> Classifier:
    return unlearn_classifier(classifier(), method, sets(), facts(seed, recipe))[0]


def batches(of: Work, **places: list[int]) -> dict[str, Labelled]:
    return {name: of.batch(name, np.array(where)) for name, where in places.items()}


def only(passes: Any, kind: type) -> list[Any]:
    return [one for one in passes if isinstance(one, kind)]


def logits(model: Classifier, batch: Labelled) -> Tensor:
    """What the plain network answers to 0..1."""
    out: Tensor = model.network(batch.images.float() / 255)
    return out


def state(model: Classifier) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.network.state_dict().items()}


def changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


# gradient ascent and NegGrad+


def test_gradient_ascent_takes_the_step_that_plain_torch_takes() -> None:
    method = GradientAscentClassifier(epochs=1, learning_rate=0.5, weight_decay=0.1, batch_size=16)
    unlearned = run(method)
    model = classifier().train()
    every = work(method, model).batch("forget", np.arange(FORGET))
    functional.cross_entropy(logits(model, every), every.labels).backward()
    for name, parameter in model.network.named_parameters():
        assert parameter.grad is not None
        expected = parameter - 0.5 * (-parameter.grad + 0.1 * parameter)
        assert torch.allclose(unlearned.network.get_parameter(name), expected, rtol=1e-4, atol=1e-6), name


def test_gradient_ascent_costs_five_passes_over_the_forget_images() -> None:
    cost = cost_of(GradientAscentClassifier(batch_size=4).passes(facts()), facts().sizes)
    assert (cost.steps, cost.images) == (10, 45)  # batches of 4 and 5 in each epoch


@pytest.mark.parametrize("alpha", [0.95, 0.25])
def test_neg_grad_plus_weighs_retaining_against_forgetting(alpha: float) -> None:
    method = NegGradPlus(alpha=alpha)
    here = work(method, classifier().eval())
    given = batches(here, retain=[0, 3, 5, 7], forget=[2, 4])
    retain, forget = (functional.cross_entropy(logits(here.model, one), one.labels) for one in given.values())
    assert torch.isclose(method.loss(here, given), alpha * retain - (1 - alpha) * forget)


def test_neg_grad_plus_repeats_the_forget_images_beside_the_retain_images() -> None:
    cost = cost_of(NegGradPlus(epochs=1, batch_size=4).passes(facts()), facts().sizes)
    # five retain batches of 4, beside forget batches of 4, 5, 4, 5, 4
    assert (cost.steps, cost.images) == (5, 20 + 22)


def test_neg_grad_plus_in_evaluation_mode_leaves_batch_statistics_alone() -> None:
    statistics = {name for name, _ in classifier().network.named_buffers()}
    moved = changed(state(classifier()), state(run(NegGradPlus(epochs=1))))
    still = changed(state(classifier()), state(run(NegGradPlus(epochs=1, mode="eval"))))
    assert statistics <= moved
    assert still
    assert not statistics & still


# random labels


def drawn(seed: int = 0, epoch: int = 1, **settings: Any) -> Tensor:
    method = RandomLabels(**settings)
    many = images("many", 800)
    here = Work(classifier(), {**sets(), "forget": many}, facts(seed))
    method.draw(epoch, here)
    return here.memory[DRAWN]


def test_wrong_labels_are_never_the_true_ones_and_are_spread_evenly() -> None:
    true = torch.from_numpy(images("many", 800).labels)
    labels = drawn()
    assert not (labels == true).any()
    shifts = torch.bincount((labels - true) % CLASSES, minlength=CLASSES)
    assert shifts[0] == 0
    assert all(abs(int(count) - 800 / 3) < 60 for count in shifts[1:])


def test_any_labels_are_the_true_ones_as_often_as_chance_has_it() -> None:
    true = torch.from_numpy(images("many", 800).labels)
    assert abs(int((drawn(wrong=False) == true).sum()) - 200) < 50


def test_labels_depend_on_seed_and_epoch_alone() -> None:
    assert torch.equal(drawn(), drawn())
    assert not torch.equal(drawn(), drawn(seed=1))
    assert not torch.equal(drawn(), drawn(epoch=2))


def test_mixed_batches_have_drawn_labels_on_forget_images_and_true_ones_on_retain_images() -> None:
    method = RandomLabels()
    here = work(method, classifier().eval())
    retain = [int(label) for label in sets()["retain"].labels]
    last = (
        retain[0] + 1
    ) % CLASSES  # so that the first retain image cannot be taken for the last forget image
    here.memory[DRAWN] = torch.tensor([3, 2, 1, 0, 3, 2, 1, 0, last])
    given = batches(here, **{MIXED: [8, 0, 9, 28]})
    labels = torch.tensor([last, 3, retain[0], retain[19]])
    expected = functional.cross_entropy(logits(here.model, given[MIXED]), labels)
    [learn] = only(method.passes(facts()), Pass)[:1]
    assert torch.isclose(learn.loss(here, given), expected)


def test_labels_are_drawn_once_or_in_each_epoch_and_sets_mixed_or_in_turns() -> None:
    def names(**settings: Any) -> list[str]:
        return [one.name for one in RandomLabels(epochs=2, **settings).passes(facts())]

    assert names() == ["labels 1", f"{MIXED} 1", f"{MIXED} 2"]
    assert names(order="forget-first", redraw=True) == [
        "labels 1", "forget 1", "retain 1", "labels 2", "forget 2", "retain 2",
    ]  # fmt: skip
    assert RandomLabels(order="forget-first").own_sets(sets(), facts()) == {}


# the last k blocks


@pytest.mark.parametrize("method", [CfK(epochs=1, k=2), EuK(k=2, share=0.1)], ids=["cf-k", "eu-k"])
def test_only_the_last_blocks_move(method: ClassifierMethod) -> None:
    model, before = run(method), state(classifier())
    inside = {name for name in before if name.startswith(("block3.", "head."))}
    assert changed(before, state(model)) == inside


@pytest.mark.parametrize(
    "method",
    [CfK(epochs=1, k=2, statistics="follow"), EuK(k=2, share=0.1, statistics="follow")],
    ids=["cf-k", "eu-k"],
)
def test_statistics_of_the_first_blocks_follow_the_images_if_wanted(method: ClassifierMethod) -> None:
    model, before = run(method), state(classifier())
    first = {name for name in changed(before, state(model)) if name.startswith(("block1.", "block2."))}
    assert first == {
        f"block{i}.norm.{name}"
        for i in (1, 2)
        for name in ("running_mean", "running_var", "num_batches_tracked")
    }


@pytest.mark.parametrize("method", [CfK(k=5), EuK(k=5)], ids=["cf-k", "eu-k"])
def test_more_blocks_than_there_are_are_refused(method: ClassifierMethod) -> None:
    with pytest.raises(InputError, match="k is 5, but the classifier has 4 blocks"):
        method.passes(facts())


def test_eu_k_trains_fresh_blocks_by_the_recipe() -> None:
    recipe = Recipe(epochs=8, batch_size=5, learning_rate=0.25, weight_decay=0.125)
    renew, train = EuK(k=1, share=0.5).passes(facts(recipe=recipe))
    assert isinstance(renew, Edit)
    assert isinstance(train, Pass)
    assert (train.epochs, train.streams, train.optimiser.kind) == (4, {"retain": 5}, "adam")
    assert (train.optimiser.learning_rate, train.optimiser.weight_decay) == (0.25, 0.125)
    assert [train.schedule(share) for share in (0.0, 0.5)] == pytest.approx([1.0, 0.5])

    here = work(EuK())
    fresh = classifier()
    fresh.reinitialise(0, ("head",))
    with torch.no_grad():
        renew.apply(here)
    assert torch.equal(here.model.network.head.weight, fresh.network.head.weight)  # type: ignore[union-attr]
    assert changed(state(classifier()), state(here.model)) == {"head.weight", "head.bias"}

    given = batches(here, retain=[1, 2, 3, 8])
    counts = np.bincount(np.concatenate([sets()["retain"].labels, sets()["forget"].labels]))
    expected = functional.cross_entropy(
        logits(here.model.eval(), given["retain"]),
        given["retain"].labels,
        weight=torch.tensor(1 / counts, dtype=torch.float32),
    )
    assert torch.isclose(train.loss(here, given), expected)


# l1-sparse


def test_the_penalty_fades_linearly_and_is_none_in_the_free_epochs() -> None:
    method = L1Sparse(alpha=0.8, epochs=6, free_epochs=2)
    assert [method.penalty(epoch) for epoch in range(6)] == pytest.approx([0.8, 0.6, 0.4, 0.2, 0, 0])
    assert [L1Sparse(alpha=1.0, epochs=4).penalty(epoch) for epoch in range(4)] == [1, 0.75, 0.5, 0.25]


def test_the_penalty_counts_the_magnitudes_of_all_weights() -> None:
    method = L1Sparse(alpha=0.01, epochs=4)
    here = work(method, classifier().eval())
    given = batches(here, retain=[1, 2, 3])
    plain = functional.cross_entropy(logits(here.model, given["retain"]), given["retain"].labels)
    total = float(torch.cat([p.flatten() for p in here.model.network.parameters()]).abs().sum().detach())
    losses = [float(one.loss(here, given).detach()) for one in only(method.passes(facts()), Pass)]
    assert losses == pytest.approx(
        [float(plain.detach()) + alpha * total for alpha in (0.01, 0.0075, 0.005, 0.0025)]
    )


def test_no_epoch_with_a_penalty_is_refused() -> None:
    with pytest.raises(InputError, match="free_epochs: 3 leaves none of 3 epochs a penalty"):
        L1Sparse.read({"epochs": 3, "free_epochs": 3})


# SalUn


def test_the_mask_frees_exactly_the_share_with_the_largest_gradients() -> None:
    method = SalUn(share=0.3, batch_size=4)
    here = work(method)
    with torch.no_grad():
        method.choose(here)
    model = classifier().eval()
    every = here.batch("forget", np.arange(FORGET))
    functional.cross_entropy(logits(model, every), every.labels).backward()
    named = dict(model.network.named_parameters())
    sizes = torch.cat([p.grad.abs().flatten() for p in named.values() if p.grad is not None])
    free = torch.cat([here.memory[f"free {name}"].flatten() for name in named])
    assert int(free.sum()) == int(0.3 * sizes.numel())
    assert sizes[free].min() >= sizes[~free].max() - 1e-6
    assert all(parameter.grad is None for parameter in here.model.parameters())


def test_weights_that_are_not_free_stay_bit_for_bit_and_the_free_ones_move() -> None:
    method = SalUn(share=0.3, epochs=2, learning_rate=0.1, weight_decay=0.1, batch_size=4)
    here = work(method)
    with torch.no_grad():
        method.choose(here)
    before, after = classifier().network.state_dict(), run(method).network.state_dict()
    for name, _ in classifier().network.named_parameters():
        free = here.memory[f"free {name}"]
        assert torch.equal(before[name][~free], after[name][~free]), name
        assert (before[name][free] != after[name][free]).all(), name


def test_salun_draws_new_labels_in_each_epoch_before_the_forget_images() -> None:
    names = [one.name for one in SalUn(epochs=2).passes(facts())]
    assert names == ["mask", "labels 1", "forget 1", "retain 1", "labels 2", "forget 2", "retain 2"]


# the bad teacher


def test_the_sample_holds_all_forget_images_and_the_share_of_retain_images() -> None:
    taught = BadTeacher(retain_share=0.3).own_sets(sets(), facts())[TAUGHT]
    retain = sets()["retain"].ids
    assert taught.ids[:FORGET] == sets()["forget"].ids
    assert len(taught) == FORGET + 6
    assert len(set(taught.ids[FORGET:]) & set(retain)) == 6
    other = BadTeacher(retain_share=0.3).own_sets(sets(), facts(seed=1))[TAUGHT]
    assert set(other.ids) != set(taught.ids)


def test_forget_images_are_learnt_from_fresh_weights_and_retain_images_from_the_original() -> None:
    method = BadTeacher(batch_size=4)
    here = work(method)
    with torch.no_grad():
        method.ask(here)
    fresh, original = classifier(), classifier().eval()
    fresh.reinitialise(0)
    fresh.eval()
    every = here.batch(TAUGHT, np.arange(len(here.sets[TAUGHT])))
    teachers = torch.cat([logits(fresh, every)[:FORGET], logits(original, every)[FORGET:]]).detach()
    assert torch.allclose(here.memory[ANSWERS], teachers, atol=1e-5)
    assert not changed(state(classifier()), state(here.model))

    given = batches(here, **{TAUGHT: [0, 8, 9, 14]})
    rows = teachers[[0, 8, 9, 14]]
    answers = logits(here.model.eval(), given[TAUGHT])
    hot = replace_temperature(method, 2.0)
    for one, t in ((method, 1.0), (hot, 2.0)):
        expected = functional.kl_div(
            (answers / t).log_softmax(1), (rows / t).softmax(1), reduction="batchmean"
        )
        assert torch.isclose(one.loss(here, given), expected, atol=1e-6)
    assert method.loss(here, batches(here, **{TAUGHT: [10, 12]})).abs() < 1e-6


def replace_temperature(method: BadTeacher, temperature: float) -> BadTeacher:
    return method.model_copy(update={"temperature": temperature})


# SCRUB


def test_scrub_takes_turns_and_lowers_its_rate_after_the_named_epochs() -> None:
    passes = only(Scrub(epochs=7, forget_epochs=2).passes(facts()), Pass)
    assert [one.name for one in passes] == [
        "forget 1", "retain 1", "forget 2", "retain 2", "retain 3", "retain 4", "retain 5", "retain 6", "retain 7",
    ]  # fmt: skip
    rates = [one.schedule(0.5) for one in passes if one.name.startswith("retain")]
    assert rates == pytest.approx([1, 1, 1, 0.1, 0.1, 0.01, 0.01])
    assert {one.optimiser for one in passes} == {passes[0].optimiser}


def test_scrub_measures_its_distance_as_a_divergence_at_temperature() -> None:
    method = Scrub(gamma=0.7, alpha=0.3, temperature=2.0)
    here = work(method, classifier().eval())
    given = batches(here, retain=[1, 4, 6], forget=[0, 8])
    assert method.away(here, given).abs() < 1e-5  # it has not left the original yet
    with torch.no_grad():
        for parameter in here.model.parameters():
            parameter.mul_(0.5)
    original = classifier().eval()

    def distance(batch: Labelled) -> Tensor:
        target = (logits(original, batch) / 2).softmax(1)
        return 4 * functional.kl_div(
            (logits(here.model, batch) / 2).log_softmax(1), target, reduction="batchmean"
        )

    retain = given["retain"]
    plain = functional.cross_entropy(logits(here.model, retain), retain.labels)
    assert distance(given["forget"]) > 1e-3
    assert torch.isclose(method.away(here, given), -distance(given["forget"]), rtol=1e-4)
    assert torch.isclose(method.near(here, given), 0.7 * plain + 0.3 * distance(retain), rtol=1e-4)


def constant_answer(model: Classifier, label: int) -> None:
    with torch.no_grad():
        for name, parameter in model.network.named_parameters():
            parameter.zero_()
            if name == "head.bias":
                parameter[label] = 1.0


def test_rewinding_takes_the_first_epoch_whose_forget_error_is_closest_to_the_peers_error() -> None:
    """Epoch i answers class i - 1 always; the errors are counted by hand."""
    forget, validation = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 2]), np.array([0, 2, 2, 1, 3, 3, 3, 3])
    blank = {"forget": images("forget", 10), "validation": images("validation", 8)}
    given = {
        name: replace(blank[name], labels=labels)
        for name, labels in {"forget": forget, "validation": validation}.items()
    }
    method = Scrub(epochs=3, rewind=True)
    here = work(method, **given)
    edits = only(method.passes(facts()), Edit)
    assert [one.name for one in edits] == [
        "check validation images", "keep epoch 1", "keep epoch 2", "keep epoch 3", "rewind",
    ]  # fmt: skip
    with torch.no_grad():
        edits[0].apply(here)
        for label, edit in enumerate(edits[1:4]):
            constant_answer(here.model, label)
            edit.apply(here)
        # forget errors 6/10, 5/10, 9/10; the last model errs on 2 of the 4 validation images of classes 0, 1, 2
        edits[4].apply(here)
    assert [here.memory[f"error {epoch}"].item() for epoch in (1, 2, 3)] == [0.6, 0.5, 0.9]
    assert here.model.network.get_parameter("head.bias").tolist() == [0, 1, 0, 0]
    assert not [name for name in here.memory if name.startswith("epoch ")]


def test_rewinding_without_validation_images_is_refused() -> None:
    with pytest.raises(InputError, match="rewind needs validation images"):
        Scrub(rewind=True).passes(facts(validation=0))
    method = Scrub(rewind=True)
    labels = sets()["validation"].labels
    forget = sets()["forget"].subset(np.flatnonzero(sets()["forget"].labels == 2))
    here = work(method, forget=forget, validation=sets()["validation"].subset(np.flatnonzero(labels != 2)))
    with pytest.raises(InputError, match=r"validation images of the forgotten classes \(2\)"):
        only(method.passes(facts()), Edit)[0].apply(here)


# all that keep something in memory


@pytest.mark.parametrize(
    "method",
    [
        RandomLabels(epochs=2, batch_size=8, redraw=True),
        SalUn(epochs=2, batch_size=8),
        BadTeacher(epochs=3, batch_size=8),
        Scrub(epochs=2, retain_batch_size=8, forget_batch_size=8, rewind=True),
        EuK(k=1, share=0.1),
    ],
    ids=lambda method: method.name,
)
def test_a_stopped_run_goes_on_to_the_same_weights(method: ClassifierMethod, tmp_path: Path) -> None:
    everything = {**sets(), **method.own_sets(sets(), facts())}
    plan = method.passes(facts())
    place = next(i for i in reversed(range(len(plan))) if isinstance(plan[i], Pass))
    last = plan[place]
    assert isinstance(last, Pass)

    def interrupted(here: Work) -> None:
        if last.after_step:
            last.after_step(here)
        signal.raise_signal(signal.SIGINT)

    cut = [*plan[:place], replace(last, after_step=interrupted), *plan[place + 1 :]]
    with pytest.raises(Stopped, match="stopped by SIGINT"):
        run_passes(classifier(), cut, everything, facts(), folder=tmp_path)
    model = classifier()
    report = run_passes(model, plan, everything, facts(), folder=tmp_path)
    assert report.resumed_from
    assert not changed(state(run(method)), state(model))
