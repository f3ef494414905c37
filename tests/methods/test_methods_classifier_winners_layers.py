"""What the competition's winners that draw whole layers anew, prune or transpose change, and their losses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from efface.classifiers.classifier import Classifier
from efface.classifiers.committee import Committee
from efface.classifiers.own_networks import Mlp, ResNet
from efface.errors import InputError
from efface.methods.classifier.amnesiacs import Amnesiacs
from efface.methods.classifier.base import unlearn_classifier
from efface.methods.classifier.ct import Ct
from efface.methods.classifier.forget_cycles import ForgetCycles
from efface.methods.classifier.random_mask import RandomMask
from efface.methods.classifier.sebastian import Sebastian, quantise
from efface.methods.classifier.sun import Sun
from efface.training.classification import Work
from efface.training.passes import Pass
from support.winner_cases import (
    BY_TYPE,
    CLASSES,
    SIDE,
    SIZES,
    Tiny,
    case,
    changed,
    classifier,
    edited,
    facts,
    moved,
    rates,
    sets,
    training,
    weights,
    whole,
    work,
)

# --- sebastian


def test_sebastian_keeps_the_largest_values_of_all_layers_together():
    model = classifier()
    with torch.no_grad():
        model.network.conv1.bias[1] = 9.0
        model.network.fc.bias[2] = -8.0
        model.network.conv2.weight[0, 0, 1, 1] = 7.0
    before = weights(model)
    total = sum(value.numel() for name, value in before.items() if name not in BY_TYPE)
    share = (total - 3) / total
    done = edited(Sebastian(share=share).prune, model)
    after = weights(done.model)
    assert all(after[name].equal(before[name]) for name in BY_TYPE)
    assert after["conv1.bias"].tolist() == [0, 9, 0, 0]
    assert after["fc.bias"].tolist() == [0, 0, -8]
    assert not after["conv2.bias"].any()
    kept = torch.zeros_like(before["conv2.weight"], dtype=torch.bool)
    kept[0, 0, 1, 1] = True
    assert torch.equal(after["conv2.weight"] == before["conv2.weight"], kept)
    bounds = {"conv1.weight": 9, "conv2.weight": 36, "downsample.0.weight": 4, "fc.weight": 6}
    for name, fan_in in bounds.items():
        drawn = after[name][~kept] if name == "conv2.weight" else after[name]
        assert 0.5 < drawn.abs().max() * math.sqrt(fan_in) <= 1


def test_sebastian_prunes_exactly_99_percent():
    model = classifier(Tiny(width=64))
    before, after = weights(model), weights(edited(Sebastian().prune, model).model)
    total = sum(value.numel() for name, value in before.items() if name not in BY_TYPE)
    unchanged = sum(int((before[name] == after[name]).sum()) for name in before if name not in BY_TYPE)
    assert unchanged == total - round(0.99 * total)


def test_sebastian_learns_labels_and_the_entropy_of_the_original():
    done, batches = case()
    with torch.no_grad():
        Sebastian().prune(done)
    moved(done.model)
    batch = batches["retain"]
    labels = sets()["retain"].labels
    counts = torch.tensor([(labels == one).sum() for one in range(CLASSES)]).double()
    logits, wanted = done.model(batch.images), done.original_model(batch.images)
    entropies = [torch.distributions.Categorical(logits=one).entropy() for one in (logits, wanted)]
    expected = nn.functional.cross_entropy(logits, batch.labels, weight=(counts**-0.1).float())
    expected = expected + nn.functional.mse_loss(*entropies)
    assert nn.functional.mse_loss(*entropies) > 1e-3
    assert Sebastian().loss(done, batches).item() == pytest.approx(expected.item(), rel=1e-4)


def test_sebastian_trains_for_a_broken_number_of_epochs():
    passes = Sebastian(batch_size=3).passes(facts(classifier()))
    assert [one.name for one in passes] == ["prune", "retain", "round"]
    assert isinstance(passes[1], Pass)
    assert passes[1].steps(SIZES) == 33
    assert [one.name for one in Sebastian(quantise=False).passes(facts(classifier()))] == ["prune", "retain"]


def test_rounding_leaves_values_of_16_bits_and_none_infinite():
    model = classifier()
    with torch.no_grad():
        model.network.bn1.running_var[0] = 1e6
        model.network.fc.bias[0] = -1e6
    done = edited(quantise, model)
    assert done.model.network.bn1.running_var[0] == 65504
    assert done.model.network.fc.bias[0] == -65504
    assert changed(done.model) >= {"conv1.weight", "fc.weight"}
    for name, value in done.model.network.state_dict().items():
        if value.is_floating_point():
            assert value.dtype == torch.float32
            assert value.equal(value.half().float()), name


# --- ct


def test_ct_makes_of_a_transposed_picture_what_the_original_made_of_the_picture():
    done = edited(Ct().transpose)
    assert changed(done.model) == {"conv1.weight", "conv2.weight"}
    images = whole(done, "retain").images
    with torch.no_grad():
        assert torch.allclose(done.model(images.transpose(2, 3)), classifier()(images), atol=1e-5)
        assert not torch.allclose(done.model(images), classifier()(images), atol=1e-3)
    assert rates(Ct()) == pytest.approx([1e-3, 0.75e-3, 0.25e-3])


def test_ct_leaves_kernels_that_are_not_square():
    layers = (nn.Conv2d(1, 2, (3, 1)), nn.Conv2d(2, 2, 3), nn.Flatten(), nn.Linear(48, CLASSES))
    model = classifier(nn.Sequential(*layers))
    assert changed(edited(Ct().transpose, model).model, model) == {"1.weight"}


def test_ct_refuses_a_network_in_which_it_would_change_nothing():
    model = classifier(nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(128, CLASSES)))
    with pytest.raises(InputError, match="ct: no convolution has a square kernel above 1x1"):
        edited(Ct().transpose, model)


# --- amnesiacs


def test_amnesiacs_draws_stem_and_head_anew():
    done = edited(Amnesiacs().draw_anew)
    assert changed(done.model) == {"conv1.weight", "conv1.bias", "fc.weight", "fc.bias"}
    model = classifier(Mlp(1, SIDE, CLASSES, 5))
    hidden = edited(Amnesiacs().draw_anew, model).model
    assert changed(hidden, model) == {"hidden1.weight", "hidden1.bias", "head.weight", "head.bias"}


def softened(logits: Tensor, wanted: Tensor) -> dict[str, float]:
    """Terms of distillation at a temperature of 5, with the library's functions."""
    logs, targets = (logits / 5).log_softmax(1), (wanted / 5).log_softmax(1)
    return {
        "forward": nn.functional.kl_div(logs, targets, reduction="batchmean", log_target=True).item(),
        "backward": nn.functional.kl_div(targets, logs, reduction="batchmean", log_target=True).item(),
        "soft": nn.functional.cross_entropy(logits / 5, targets.exp()).item(),
    }


def test_amnesiacs_follows_the_original_on_validation_and_retain_images():
    done, batches = case()
    terms, hard = {}, 0.0
    for name in ("validation", "retain"):
        logits, wanted = (one(batches[name].images) for one in (done.model, done.original_model))
        terms[name] = softened(logits, wanted)
        hard = nn.functional.cross_entropy(logits, batches[name].labels).item()
    method, symmetric = Amnesiacs(), Amnesiacs(distillation="symmetric")
    retain = terms["retain"]
    assert abs(retain["forward"] - retain["backward"]) > 1e-4
    assert method.warm_up_loss(done, batches).item() == pytest.approx(
        terms["validation"]["forward"], rel=1e-4
    )
    assert method.loss(done, batches).item() == pytest.approx(
        hard + retain["soft"] + retain["forward"], rel=1e-4
    )
    assert symmetric.loss(done, batches).item() == pytest.approx(
        hard + retain["backward"] + retain["forward"], rel=1e-4
    )


def test_amnesiacs_warms_up_on_validation_images_at_a_rate_of_its_own():
    passes = training(Amnesiacs())
    assert [list(one.streams) for one in passes] == [["validation"], ["retain"], ["retain"], ["retain"]]
    assert passes[0].epochs == 3
    assert rates(Amnesiacs()) == pytest.approx([9e-4, 1e-3, 0.75e-3, 0.25e-3])
    given = {name: one for name, one in sets().items() if name != "validation"}
    with pytest.raises(InputError, match="validation: no images"):
        unlearn_classifier(classifier(), Amnesiacs(), given, facts(classifier()))


# --- sun


def test_sun_draws_the_head_anew():
    assert changed(edited(Sun().draw_anew).model) == {"fc.weight", "fc.bias"}


def test_sun_trains_what_was_drawn_and_the_normalisation_alone():
    method = Sun(noised_epochs=1, plain_epochs=0, learning_rate=0.1)
    after, _ = unlearn_classifier(classifier(), method, sets(), facts(classifier()))
    drawn = set(method.drawn(classifier(), 0, 0))
    assert len(drawn) == 3  # half of the seven tensors of convolutions and head
    assert changed(after) == drawn | BY_TYPE | {"fc.weight", "fc.bias"}


def test_sun_gives_noise_to_a_tensor_once_at_most_and_never_to_those_of_the_first_epoch():
    method = Sun(tensors=2, noised_share=1.0)
    model = classifier()
    drawn = [set(method.drawn(model, 0, epoch)) for epoch in range(5)]
    for epoch in range(1, 5):
        noised = changed(edited(lambda one, at=epoch: method.disturb(one, at), model).model)
        assert noised == drawn[epoch] - set.union(*drawn[:epoch])
    assert any(drawn[epoch] - set.union(*drawn[:epoch]) for epoch in range(1, 5))


def test_sun_gives_noise_to_the_share_of_the_tensors_drawn_first():
    method = Sun(noised_share=0.7)
    before = set(method.drawn(classifier(), 3, 0))
    order = method.drawn(classifier(), 3, 1)
    noised = changed(edited(lambda one: method.disturb(one, 1), seed=3).model)
    assert noised == set(order[:2]) - before  # int(0.7 * 3)


def test_the_noise_of_sun_has_its_deviation():
    model = classifier(Tiny(width=512))
    method = Sun(tensors=20, noised_share=1.0)
    name = "conv2.weight"
    seed = next(
        seed
        for seed in range(50)
        if name in set(method.drawn(model, seed, 1)) - set(method.drawn(model, seed, 0))
    )
    done = edited(lambda one: method.disturb(one, 1), model, seed)
    assert (weights(done.model)[name] - weights(model)[name]).std().item() == pytest.approx(0.04, rel=0.05)


@pytest.mark.parametrize(("normalisation", "others"), [("type", 22), ("name", 28)])
def test_sun_knows_the_normalisation_of_a_resnet_by_type_or_by_name(normalisation: Any, others: int):
    model = classifier(ResNet(CLASSES, 1))
    everything = Sun(normalisation=normalisation, tensors=100).trained(model, 0, 0)
    assert len(everything) == others // 2 + (62 - others)
    drawn = Sun(normalisation=normalisation).drawn(model, 0, 0)
    assert len(drawn) == 9
    assert not any(".bn" in name for name in drawn)


def test_sun_starts_each_epoch_with_a_fresh_optimizer_and_ends_faster():
    assert rates(Sun()) == pytest.approx([2e-4] * 8 + [1e-3])
    assert len({one.optimiser.name for one in training(Sun())}) == 9
    assert [one.trained is None for one in training(Sun())] == [False] * 5 + [True] * 4


@pytest.mark.parametrize("edit", [Sun().draw_anew, Amnesiacs().draw_anew], ids=["sun", "amnesiacs"])
def test_a_head_without_weights_is_refused(edit: Callable[[Work], None]):
    model = Classifier(
        Committee([Tiny(), Tiny()]),
        classes=tuple("abc"),
        image_size=SIDE,
        channels=1,
        blocks=("members.0", "members.1", "vote"),
    )
    with pytest.raises(InputError, match="this network's head, 'vote', has no weights"):
        edited(edit, model)


# --- forget


def test_forget_draws_a_growing_part_of_the_layers_anew():
    layers = [nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6)) for _ in range(8)]
    network = nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, 6), *layers, nn.Linear(6, CLASSES))
    model = classifier(network)
    for cycle, count in enumerate([1, 2, 3, 4]):
        done = edited(lambda one, at=cycle: ForgetCycles().forget(one, at), model)
        drawn = ForgetCycles().drawn(model, 0, cycle)
        assert len(set(drawn)) == count
        assert changed(done.model, model) == {
            f"{name}.{kind}" for name in drawn for kind in ("weight", "bias")
        }


def test_forget_remembers_the_original_under_the_same_noise():
    done = work(classifier())
    seen: list[Tensor] = []
    done.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    batches = {"retain": whole(done, "retain")}
    assert ForgetCycles().loss(done, batches, cycle=0).item() == 0
    noise = seen[0] - batches["retain"].images
    assert noise.std().item() == pytest.approx(0.05 * 255, rel=0.05)

    moved(done.model)
    found = ForgetCycles().loss(done, batches, cycle=0)
    assert seen[1].equal(seen[0])
    expected = nn.functional.mse_loss(done.model(seen[0]), done.original_model(seen[0]))
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    ForgetCycles().loss(done, batches, cycle=1)
    assert not seen[-1].equal(seen[0])


def test_forget_takes_one_epoch_a_cycle():
    passes = ForgetCycles(cycles=3).passes(facts(classifier()))
    assert [one.name.split()[0] for one in passes] == ["forget", "remember"] * 3
    assert {one.epochs for one in training(ForgetCycles())} == {1.0}


# --- random-mask


def test_random_mask_sets_an_exact_share_of_each_tensor_to_zero():
    done = edited(RandomMask().mask)
    before = weights(classifier())
    for name, after in weights(done.model).items():
        zero = after == 0
        if name in BY_TYPE:
            assert after.equal(before[name])
        else:
            assert zero.sum() == round(0.3 * after.numel())
            assert after[~zero].equal(before[name][~zero])
    assert changed(edited(RandomMask().mask, seed=1).model, done.model) >= {"conv2.weight"}
