"""`sisa`: what it delivers has seen no forget image, and members that held none are as they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from efface.classifiers.classifier import Classifier
from efface.errors import InputError
from efface.images.labelled import LabelledImages
from efface.methods.classifier.base import unlearn_classifier, with_own_sets
from efface.methods.classifier.sisa import Sisa
from efface.training import classification
from efface.training.classification import Labelled, Work, run_passes
from efface.training.passes import Edit, Facts, Pass, cost_of
from efface.training.settings import Recipe

RECIPE = Recipe(epochs=3, batch_size=8, learning_rate=0.01)
Sets = dict[str, LabelledImages]


def images(count: int, name: str, seed: int = 0) -> LabelledImages:
    draws = np.random.default_rng(seed)
    labels = draws.integers(0, 3, count)
    pixels = np.clip(draws.normal(60 + 60 * labels[:, None, None, None], 25, (count, 1, 4, 4)), 0, 255)
    return LabelledImages(pixels.astype(np.uint8), labels, tuple(f"{name}{i}" for i in range(count)))


@pytest.fixture
def classifier() -> Classifier:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    return Classifier(network.eval(), classes=("a", "b", "c"), image_size=4, channels=1)


@pytest.fixture
def sets() -> Sets:
    return {"forget": images(2, "forgotten"), "retain": images(60, "kept", seed=1)}


def prepared(method: Sisa, sets: Sets, seed: int = 0) -> tuple[Sets, Facts]:
    return with_own_sets(method, sets, Facts({}, 3, ("0", "1", "4"), RECIPE, seed))


def unlearned(
    classifier: Classifier, method: Sisa, sets: Sets, limit: float | None = None, seed: int = 0
) -> Classifier:
    facts = Facts({}, 3, ("0", "1", "4"), RECIPE, seed)
    return unlearn_classifier(classifier, method, sets, facts, limit=limit)[0]


def before_deletion(classifier: Classifier, method: Sisa, sets: Sets) -> Classifier:
    everything, facts = prepared(method, sets)
    model = classifier.copy()
    run_passes(model, [one for one in method.passes(facts) if one.preparation], everything, facts)
    return model


def with_other_forget_images(sets: Sets) -> Sets:
    """The same ids, but pictures and labels that have nothing to do with them."""
    forget = sets["forget"]
    return {
        **sets,
        "forget": LabelledImages(255 - forget.pixels, (forget.labels + 1) % 3, forget.ids),
    }


def hit_members(own: Mapping[str, LabelledImages]) -> set[int]:
    return {int(name.split()[1]) for name in own if name.endswith("without forget")}


def members(model: Classifier) -> list[dict[str, Tensor]]:
    return [member.state_dict() for member in model.network.get_submodule("members")]


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


def test_each_image_has_one_shard_and_slices_only_grow(sets: Sets) -> None:
    own, _ = prepared(Sisa(shards=3, slices=2), sets)
    final = [set(own[f"shard {shard} slice 1"].ids) for shard in range(3)]
    assert sorted(id_ for one in final for id_ in one) == sorted(sets["retain"].ids + sets["forget"].ids)
    for shard in range(3):
        assert set(own[f"shard {shard} slice 0"].ids) < final[shard]


def test_a_retain_images_shard_depends_neither_on_order_nor_on_what_is_forgotten(sets: Sets) -> None:
    method = Sisa(shards=3, slices=2)
    own, _ = prepared(method, sets)
    turned = {name: one.subset(np.arange(len(one))[::-1]) for name, one in sets.items()}
    others, _ = prepared(method, {**turned, "forget": images(3, "other")})
    kept = set(sets["retain"].ids)
    for shard in range(3):
        for part in range(2):
            name = f"shard {shard} slice {part}"
            assert kept & set(own[name].ids) == kept & set(others[name].ids)
    elsewhere, _ = prepared(method, sets, seed=1)
    assert set(elsewhere["shard 0 slice 1"].ids) != set(own["shard 0 slice 1"].ids)


def test_the_sets_after_the_deletion_are_those_from_the_first_hit_slice_without_forget_images(
    sets: Sets,
) -> None:
    own, facts = prepared(Sisa(shards=3, slices=3), sets)
    forgotten = set(sets["forget"].ids)
    for shard in range(3):
        for part in range(3):
            name = f"shard {shard} slice {part}"
            held = bool(forgotten & set(own[name].ids))
            assert held == (f"{name} without forget" in own)
            if held:
                assert set(own[f"{name} without forget"].ids) == set(own[name].ids) - forgotten
    counted = [one for one in Sisa(shards=3, slices=3).passes(facts) if not one.preparation]
    streams = {stream for one in counted if isinstance(one, Pass) for stream in one.streams}
    assert streams == {name for name in own if name.endswith("without forget")}
    assert not forgotten & {id_ for stream in streams for id_ in own[stream].ids}


@pytest.mark.parametrize("slices", [1, 2])
def test_members_that_held_no_forget_image_stay_bit_for_bit(
    classifier: Classifier, sets: Sets, slices: int
) -> None:
    method = Sisa(shards=4, slices=slices)
    hit = hit_members(prepared(method, sets)[0])
    assert 0 < len(hit) < 4
    was, now = (
        members(before_deletion(classifier, method, sets)),
        members(unlearned(classifier, method, sets)),
    )
    for number in range(4):
        assert same(was[number], now[number]) == (number not in hit)


@pytest.mark.parametrize("limit", [None, 0.0])
def test_what_is_delivered_does_not_depend_on_the_forget_images_even_when_cut(
    classifier: Classifier, sets: Sets, limit: float | None
) -> None:
    method, others = Sisa(shards=3, slices=2), with_other_forget_images(sets)
    first, second = (unlearned(classifier, method, given, limit) for given in (sets, others))
    assert first.weights_digest() == second.weights_digest()
    was, other = (before_deletion(classifier, method, given).weights_digest() for given in (sets, others))
    assert was != other


def test_a_redone_member_goes_on_from_the_state_before_its_first_hit_slice(
    classifier: Classifier, sets: Sets
) -> None:
    method, seed = Sisa(shards=3, slices=3), 10
    everything, facts = prepared(method, sets, seed)
    passes = method.passes(facts)
    held = {name.removesuffix(" without forget") for name in everything if name.endswith("without forget")}
    assert held == {"shard 0 slice 1", "shard 0 slice 2", "shard 2 slice 2"}
    # the passes that saw a forget image never happen; numbers of the others stay, and with them their draws
    never = [Edit("nothing", lambda work: None) if one.name in held else one for one in passes]
    model = classifier.copy()
    run_passes(model, never, everything, facts)
    assert model.weights_digest() == unlearned(classifier, method, sets, seed=seed).weights_digest()


def test_a_killed_run_goes_on_where_it_stopped(
    classifier: Classifier, sets: Sets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classification, "CHECKPOINT_SECONDS", 0.0)
    method = Sisa(shards=3)
    everything, facts = prepared(method, sets)
    calls = 0

    def killed(one: Pass) -> Pass:
        def loss(work: Work, batches: Mapping[str, Labelled]) -> Tensor:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise KeyboardInterrupt
            return one.loss(work, batches)

        return replace(one, loss=loss)

    dying: Sequence[Edit | Pass] = [
        killed(one) if isinstance(one, Pass) and not one.preparation else one for one in method.passes(facts)
    ]
    with pytest.raises(KeyboardInterrupt):
        run_passes(classifier.copy(), dying, everything, facts, folder=tmp_path)
    model = classifier.copy()
    report = run_passes(model, method.passes(facts), everything, facts, folder=tmp_path)
    assert report.resumed_from
    assert model.weights_digest() == unlearned(classifier, method, sets).weights_digest()


def test_slices_share_the_recipes_epochs_by_the_published_rule(sets: Sets) -> None:
    for slices, epochs in ((1, 3.0), (2, 2.0), (5, 1.0)):
        method = Sisa(shards=1, slices=slices)
        training = [one for one in method.passes(prepared(method, sets)[1]) if isinstance(one, Pass)]
        assert [one.epochs for one in training] == pytest.approx([epochs] * len(training))
        assert len({one.optimiser.name for one in training}) == len(training)
        assert training[0].optimiser.learning_rate == 0.01


def test_only_what_follows_the_deletion_is_counted(sets: Sets) -> None:
    method = Sisa(shards=4)
    everything, facts = prepared(method, sets)
    redone = [one for name, one in everything.items() if name.endswith("without forget")]
    assert cost_of(method.passes(facts), facts.sizes).images == 3 * sum(len(one) for one in redone)


def test_class_weights_are_those_of_the_images_of_the_stage(classifier: Classifier, sets: Sets) -> None:
    method = Sisa(shards=2)
    everything, facts = prepared(method, sets)
    work = Work(classifier.copy(), everything, facts)
    method.assemble(work)
    for shard in range(2):
        counts = np.bincount(everything[f"shard {shard} slice 0"].labels, minlength=3)
        weights = work.memory[f"class weights, shard {shard} slice 0"]
        torch.testing.assert_close(weights, torch.from_numpy(1 / counts).float())


def test_votes_can_be_counted_instead(classifier: Classifier, sets: Sets) -> None:
    method = Sisa(shards=3, vote="argmax")
    shares = unlearned(classifier, method, sets)(torch.from_numpy(sets["retain"].pixels)).exp() * 3
    torch.testing.assert_close(shares, shares.round(), rtol=0, atol=1e-4)
    assert (
        members(unlearned(classifier, Sisa(shards=3), sets))[0].keys()
        == classifier.network.state_dict().keys()
    )


def test_too_many_shards_for_the_images_are_refused_by_name(sets: Sets) -> None:
    with pytest.raises(InputError, match=r"shard \d+ slice 0: [01] images; choose fewer shards"):
        prepared(Sisa(shards=50), sets)


def test_passes_without_the_sizes_of_its_own_sets_are_refused(sets: Sets) -> None:
    with pytest.raises(InputError, match="sizes of its own sets"):
        Sisa().passes(Facts({"forget": 2, "retain": 60}, 3, ("0",)))
