"""What the competition's winners change in a classifier, and by how much, against formulas worked out on their own."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import nn

from efface.classifiers.own_networks import Mlp
from efface.errors import InputError
from efface.methods.classifier.amnesiacs import Amnesiacs
from efface.methods.classifier.base import ClassifierMethod, unlearn_classifier
from efface.methods.classifier.ct import Ct
from efface.methods.classifier.fanchuan import Fanchuan, uniform_loss
from efface.methods.classifier.forget_cycles import ForgetCycles
from efface.methods.classifier.kookmin import DRAWN, Kookmin, retain_less_forget
from efface.methods.classifier.layers import smallest
from efface.methods.classifier.random_mask import RandomMask
from efface.methods.classifier.sebastian import Sebastian
from efface.methods.classifier.seif import Seif
from efface.methods.classifier.sun import Sun
from efface.training.classification import Labelled
from efface.training.passes import Edit
from support.winner_cases import (
    CLASSES,
    CONVOLUTIONS,
    MAJORITY,
    SIDE,
    SIZES,
    Tiny,
    case,
    changed,
    classifier,
    edited,
    facts,
    rates,
    sets,
    training,
    weights,
    whole,
    work,
)

# --- fanchuan


def test_fanchuan_measures_the_divergence_of_the_uniform_prediction():
    done, batches = case()
    logs = done.model(batches["forget"].images).log_softmax(1)
    expected = nn.functional.kl_div(logs, torch.full_like(logs, 1 / CLASSES), reduction="batchmean")
    assert uniform_loss(done, batches).item() == pytest.approx(expected.item(), rel=1e-5)


def test_fanchuan_contrasts_all_pairs_and_moves_the_forget_side_alone():
    done, batches = case()
    forget, retain = (
        done.model(batches[name].images).double().detach().numpy() for name in ("forget", "retain")
    )
    similarities = forget @ retain.T / 1.15
    logs = similarities - np.log(np.exp(similarities).sum(1, keepdims=True))
    loss = Fanchuan().contrastive_loss(done, batches)
    assert loss.item() == pytest.approx(-logs.mean(), rel=1e-4)

    fixed = torch.tensor(retain).float()
    against_fixed = -(done.model(batches["forget"].images) @ fixed.T / 1.15).log_softmax(1).mean()
    head = done.model.head.weight
    assert torch.allclose(*(torch.autograd.grad(one, head)[0] for one in (loss, against_fixed)), atol=1e-6)


def test_fanchuan_has_one_cosine_over_all_contrastive_steps():
    method = Fanchuan(rounds=3, batch_size=4)
    expected = [1e-6 + (3e-4 - 1e-6) * (1 + math.cos(math.pi * step / 9)) / 2 for step in range(9)]
    passes = [one for one in training(method) if one.name.startswith("contrast")]
    assert [one.steps(SIZES) for one in passes] == [3, 3, 3]
    found = [one.optimiser.learning_rate * one.schedule(step / 3) for one in passes for step in range(3)]
    assert found == pytest.approx(expected, rel=1e-9)


def test_fanchuan_goes_on_with_three_optimizers_over_eight_rounds():
    passes = training(Fanchuan())
    assert [one.optimiser.name for one in passes] == ["uniform", *["contrast", "retain"] * 8]
    decays = {one.optimiser.name: one.optimiser.weight_decay for one in passes}
    assert decays == {"uniform": 0, "contrast": 0, "retain": 1e-2}
    assert {one.optimiser.learning_rate for one in passes[2::2]} == {4e-3}  # 1e-3 * 256 / 64
    assert list(passes[1].streams.items()) == [("forget", 64), ("retain", 256)]


# --- kookmin


def test_the_smallest_values_are_counted_exactly_and_ties_go_to_the_first():
    mask = smallest(torch.tensor([[2.0, 1.0, 1.0], [1.0, 0.5, 3.0]]), 0.5)
    assert mask.tolist() == [[False, True, True], [False, True, False]]


def test_kookmin_ranks_by_layer_or_globally():
    gradients = {"a": torch.tensor([-0.1, 0.2, 0.3, 0.4]), "b": torch.tensor([[5.0, -6.0], [7.0, 0.25]])}
    by_layer = Kookmin(share=0.5).masks(gradients)
    assert by_layer["a"].tolist() == [True, True, False, False]
    assert by_layer["b"].tolist() == [[True, False], [False, True]]
    together = Kookmin(share=0.5, ranking="global").masks(gradients)
    assert together["a"].tolist() == [True, True, True, False]
    assert together["b"].tolist() == [[False, False], [False, True]]


def test_kookmin_sums_gradients_of_retain_less_forget_batches():
    done = work(classifier(), retain=10)  # as many as forget images: all of them are used
    names = {name.removesuffix(".weight"): done.model.network.get_parameter(name) for name in CONVOLUTIONS}
    found = retain_less_forget(done, names, batch_size=10)
    copy = done.model.copy()
    losses = []
    for name in ("retain", "forget"):
        batch = done.batch(name, np.arange(10))
        losses.append(nn.functional.cross_entropy(copy(batch.images), batch.labels))
    (losses[0] - losses[1]).backward()
    for name, gradient in found.items():
        expected = copy.network.get_parameter(f"{name}.weight").grad
        assert expected.abs().max() > 1e-4
        assert torch.allclose(gradient, expected, atol=1e-6)

    halves = retain_less_forget(done, names, batch_size=5)  # two means of five are twice the mean of ten
    for name in names:
        assert torch.allclose(halves[name], 2 * found[name], atol=1e-5)


def test_kookmin_takes_as_many_retain_as_forget_images(monkeypatch):
    done = work(classifier())
    seen = []
    plain = done.batch
    monkeypatch.setattr(
        done, "batch", lambda name, places: (seen.append((name, list(places))), plain(name, places))[1]
    )
    names = {"conv1": done.model.network.conv1.weight}
    retain_less_forget(done, names, batch_size=64)
    assert [name for name, _ in seen] == ["forget", "retain"]
    assert sorted(seen[0][1]) == list(range(10))
    assert len(set(seen[1][1])) == 10
    assert max(seen[1][1]) > 10


def test_kookmin_draws_the_masked_convolution_weights_anew_and_nothing_else():
    done = edited(Kookmin().draw_anew)
    assert changed(done.model) == set(CONVOLUTIONS)
    for name in CONVOLUTIONS:
        before, after = weights(classifier())[name], weights(done.model)[name]
        mask = done.memory[DRAWN + name.removesuffix(".weight")]
        assert mask.sum() == round(0.3 * mask.numel())
        assert torch.equal(before != after, mask)


def test_kookmin_draws_with_the_spread_of_the_fan_out():
    wide = classifier(
        nn.Sequential(nn.Conv2d(1, 64, 5, padding=2), nn.Flatten(), nn.Linear(64 * SIDE**2, CLASSES))
    )
    done = edited(Kookmin(share=1.0).draw_anew, wide)
    kernel = weights(done.model)["0.weight"]
    assert kernel.std().item() == pytest.approx(math.sqrt(2 / (64 * 25)), rel=0.05)


def test_kookmin_slows_kept_convolution_weights_but_not_their_decay():
    method = Kookmin(epochs=1, batch_size=64, learning_rate=0.1, weight_decay=0.01)
    start = edited(method.draw_anew)
    batch = whole(start, "retain")
    copy = start.model.copy().train()
    nn.functional.cross_entropy(copy(batch.images), batch.labels).backward()
    expected = {}
    for name, parameter in copy.network.named_parameters():
        factor = torch.ones_like(parameter)
        if name in CONVOLUTIONS:
            factor = torch.where(start.memory[DRAWN + name.removesuffix(".weight")], 1.0, 0.1)
        expected[name] = parameter.detach() - 0.1 * (factor * parameter.grad + 0.01 * parameter.detach())

    found, report = unlearn_classifier(classifier(), method, sets(), facts(classifier()))
    assert report.steps == 1
    for name, value in weights(found).items():
        assert torch.allclose(value, expected[name], atol=1e-5), name


def test_kookmin_climbs_and_falls_by_the_epoch():
    assert rates(Kookmin()) == pytest.approx([1e-3 / 3, 2e-3 / 3, 1e-3, 2e-3 / 3, 1e-3 / 3])
    assert rates(Kookmin(epochs=4)) == pytest.approx([5e-4, 1e-3, 2e-3 / 3, 1e-3 / 3])


@pytest.mark.parametrize(
    "method", [Kookmin(epochs=1), Sun(noised_epochs=2, plain_epochs=1)], ids=lambda one: one.name
)
def test_the_mode_in_which_a_model_comes_makes_no_difference(method: ClassifierMethod):
    results = []
    for training_mode in (False, True):
        model = classifier().train(training_mode)
        results.append(unlearn_classifier(model, method, sets(), facts(model))[0].weights_digest())
    assert results[0] == results[1]


# --- seif


def test_seif_disturbs_the_stem_alone_with_the_published_deviations():
    wide = classifier(Tiny(width=256))
    first = edited(Seif().disturb, wide)
    assert changed(first.model, wide) == {"conv1.weight"}
    noise = weights(first.model)["conv1.weight"] - weights(wide)["conv1.weight"]
    assert noise.std().item() == pytest.approx(0.6, rel=0.05)

    late = edited(Seif().disturb_again, wide)
    assert changed(late.model, wide) == {"conv1.weight"}
    again = weights(late.model)["conv1.weight"] - weights(wide)["conv1.weight"]
    assert again.std().item() == pytest.approx(0.005, rel=0.05)
    assert not torch.allclose(again / 0.005, noise / 0.6, atol=0.1)


def test_seif_can_disturb_all_convolutions():
    assert changed(edited(Seif(noised="all").disturb).model) == set(CONVOLUTIONS)


def test_seif_weighs_a_batch_by_its_images_of_the_majority_class():
    done, _ = case()
    with torch.no_grad():
        Seif().disturb(done)
    labels = torch.tensor([0, MAJORITY, 2, MAJORITY, MAJORITY])
    batch = Labelled(done.batch("retain", np.arange(5)).images, labels, torch.arange(5))
    plain = nn.functional.cross_entropy(done.model(batch.images), labels)
    assert Seif().loss(done, {"retain": batch}).item() == pytest.approx(
        plain.item() * (3 + 2 * 0.05) / 5, rel=1e-5
    )


def test_seif_disturbs_again_before_the_last_epoch():
    names = [one.name for one in Seif().passes(facts(classifier()))]
    assert names == ["noise", "retain 1", "retain 2", "retain 3", "late noise", "retain 4"]
    half = math.sqrt(0.5)
    assert rates(Seif()) == pytest.approx(
        [7e-4 * value for value in (1, (1 + half) / 2, 0.5, (1 - half) / 2)]
    )


# --- all


@pytest.mark.parametrize("method", [Kookmin(), Seif(), Ct()], ids=lambda method: method.name)
def test_a_network_without_convolutions_is_refused_before_anything_changes(method: ClassifierMethod):
    model = classifier(Mlp(1, SIDE, CLASSES, 5))
    first = method.passes(facts(model))[0]
    assert isinstance(first, Edit)
    done = work(model.copy())
    with torch.no_grad(), pytest.raises(InputError, match=rf"^{method.name} .* this Mlp has none \(Conv2d\)"):
        first.apply(done)
    assert done.model.weights_digest() == model.weights_digest()


SHORT: Mapping[str, ClassifierMethod] = {
    "fanchuan": Fanchuan(rounds=1),
    "kookmin": Kookmin(epochs=1),
    "seif": Seif(epochs=2),
    "sebastian": Sebastian(epochs=1),
    "ct": Ct(epochs=1),
    "amnesiacs": Amnesiacs(warm_up_epochs=1, epochs=1),
    "sun": Sun(noised_epochs=2, plain_epochs=1),
    "forget": ForgetCycles(cycles=2),
    "random-mask": RandomMask(epochs=1),
}


@pytest.mark.parametrize("name", SHORT)
def test_a_winner_gives_another_model_for_another_seed_and_the_same_for_the_same(name: str):
    model = classifier()
    digests = [
        unlearn_classifier(model, SHORT[name], sets(), facts(model, seed))[0].weights_digest()
        for seed in (0, 1, 0)
    ]
    assert digests[0] == digests[2] != digests[1]
    assert SHORT[name].name == name
