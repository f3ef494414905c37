"""Passes are carried out as laid down: repeatable, resumable to the bit, and within their limit."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import efface.training.classification as loop
from efface.classifiers.classifier import Classifier
from efface.errors import InputError, Stopped
from efface.images.labelled import LabelledImages
from efface.training.classification import Labelled, Work, run_passes
from efface.training.losses import cross_entropy
from efface.training.passes import (
    Cost,
    Edit,
    Facts,
    Optimiser,
    Pass,
    constant,
    cosine,
    cost_of,
    spans,
    training_pass,
)
from efface.training.settings import Recipe


def images(count: int, seed: int = 0) -> LabelledImages:
    draws = np.random.default_rng(seed)
    labels = draws.integers(3, size=count)
    pixels = draws.integers(0, 60, size=(count, 1, 8, 8), dtype=np.uint8)
    pixels += (labels * 80).astype(np.uint8)[:, None, None, None]
    return LabelledImages(pixels, labels.astype(np.int64), tuple(f"{seed}-{n}" for n in range(count)))


def classifier(seed: int = 0) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
            nn.Sequential(nn.Dropout(0.2), nn.Flatten(), nn.Linear(144, 8), nn.ReLU()),
            nn.Linear(8, 3),
        )
    return Classifier(network, classes=("a", "b", "c"), image_size=8, channels=1)


SETS = {"forget": images(9, 1), "retain": images(33, 2), "validation": images(10, 3)}


def facts(seed: int = 0, **recipe: Any) -> Facts:
    sizes = {name: len(one) for name, one in SETS.items()}
    return Facts(sizes, 3, ("0", "1", "2"), Recipe(**{"epochs": 2, "batch_size": 8, **recipe}), seed)


def retain_loss(work: Work, batches: Mapping[str, Labelled]) -> Tensor:
    return cross_entropy(work.model(batches["retain"].images), batches["retain"].labels)


def plain(**changes: Any) -> Pass:
    return Pass(**{"name": "retain", "loss": retain_loss, "streams": {"retain": 8}, "optimiser": Optimiser(0.05),
                   **changes})  # fmt: skip


def weights(model: Classifier) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.network.state_dict().items()}


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_a_single_image_left_over_joins_the_batch_before_it() -> None:
    assert spans(33, 8)[-1] == (24, 33)
    assert spans(34, 8)[-1] == (32, 34)
    assert spans(1, 8) == [(0, 1)]


def test_the_cost_is_known_before_the_run() -> None:
    sizes = {name: len(one) for name, one in SETS.items()}
    two = Pass("both", retain_loss, {"forget": 4, "retain": 8}, Optimiser(0.1), epochs=3)
    # forget: batches of 4 and 5, three epochs: 6 steps; retain: 4 batches (8, 8, 8, 9), then 8 and 8 again
    assert cost_of([two], sizes) == Cost(6, 27 + 33 + 16)
    assert cost_of([plain(epochs=3.2)], sizes).steps == int(3.2 * 4)
    assert cost_of([plain(preparation=True), Edit("nothing", lambda work: None)], sizes) == Cost(0, 0)


def test_what_is_done_is_what_the_cost_says() -> None:
    passes = [plain(epochs=1.5), plain(streams={"forget": 4, "retain": 4})]
    sizes = {name: len(one) for name, one in SETS.items()}
    assert run_passes(classifier(), passes, SETS, facts()).steps == cost_of(passes, sizes).steps


def test_a_pass_is_sgd_by_hand() -> None:
    model, other = classifier(), classifier()
    seen: list[Labelled] = []

    def loss(work: Work, batches: Mapping[str, Labelled]) -> Tensor:
        seen.append(batches["retain"])
        return cross_entropy(work.model(batches["retain"].images), batches["retain"].labels)

    run_passes(model, [plain(loss=loss, mode="eval", schedule=cosine())], SETS, facts())
    optimizer = torch.optim.SGD(other.network.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    other.eval()
    for step, batch in enumerate(seen):
        optimizer.param_groups[0]["lr"] = 0.05 * 0.5 * (1 + math.cos(math.pi * step / 4))
        optimizer.zero_grad()
        nn.functional.cross_entropy(other(batch.images), batch.labels).backward()
        optimizer.step()
    for name, tensor in weights(model).items():
        torch.testing.assert_close(tensor, weights(other)[name])
    assert sorted(torch.cat([batch.places for batch in seen]).tolist()) == list(range(33))


def test_epochs_differ_in_order_and_followers_start_again() -> None:
    seen: dict[str, list[int]] = {"forget": [], "retain": []}

    def loss(work: Work, batches: Mapping[str, Labelled]) -> Tensor:
        for name, batch in batches.items():
            seen[name] += batch.places.tolist()
        return retain_loss(work, batches)

    run_passes(classifier(), [plain(loss=loss, streams={"retain": 8, "forget": 3}, epochs=2)], SETS, facts())
    assert sorted(seen["retain"][:33]) == sorted(seen["retain"][33:]) == list(range(33))
    assert seen["retain"][:33] != seen["retain"][33:]
    assert len(seen["forget"]) == 24
    assert sorted(seen["forget"][:9]) == sorted(seen["forget"][9:18]) == list(range(9))


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    models = [classifier() for _ in range(3)]
    for model, seed in zip(models, (5, 5, 6), strict=True):
        run_passes(model, [plain()], SETS, facts(seed))
    assert equal(weights(models[0]), weights(models[1]))
    assert not equal(weights(models[0]), weights(models[2]))


def test_the_global_random_state_stays_as_it_was() -> None:
    before = torch.get_rng_state()
    run_passes(classifier(), [Edit("noise", lambda work: torch.rand(3)), plain()], SETS, facts())
    assert torch.equal(torch.get_rng_state(), before)


def test_only_the_chosen_weights_move_even_with_weight_decay() -> None:
    model = classifier()
    before = weights(model)
    last = plain(trained=lambda classifier: classifier.parameters_of(("2",)))
    run_passes(
        model,
        [plain(epochs=1), Edit("mark", lambda work: before.update(weights(model))), last],
        SETS,
        facts(),
    )
    after = weights(model)
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert {"2.weight", "2.bias"} <= moved
    assert {name for name in moved if not name.startswith("2.")} == {
        "0.1.running_mean", "0.1.running_var", "0.1.num_batches_tracked"}  # fmt: skip


def test_in_evaluation_mode_statistics_stay() -> None:
    model = classifier()
    before = weights(model)
    run_passes(model, [plain(mode="eval")], SETS, facts())
    assert torch.equal(weights(model)["0.1.running_mean"], before["0.1.running_mean"])


def test_passes_of_one_optimiser_share_its_momentum() -> None:
    one, two, fresh = classifier(), classifier(), classifier()
    run_passes(one, [plain(), plain()], SETS, facts())
    run_passes(two, [plain(), plain(optimiser=Optimiser(0.05, name="main"))], SETS, facts())
    run_passes(fresh, [plain(), plain(optimiser=Optimiser(0.05, name="another"))], SETS, facts())
    assert equal(weights(one), weights(two))
    assert not equal(weights(one), weights(fresh))


def test_a_cosine_may_be_shared_by_several_passes() -> None:
    whole = cosine(0.1)
    halves = [cosine(0.1, part, 2) for part in (0, 1)]
    assert [halves[0](0.0), halves[0](0.5), halves[1](0.5)] == pytest.approx(
        [whole(0), whole(0.25), whole(0.75)]
    )
    assert constant(0.7) == 1


def test_hooks_see_the_gradient_and_the_step() -> None:
    model = classifier()
    before = weights(model)

    def stop_gradient(work: Work) -> None:
        for parameter in work.model.network.parameters():
            assert parameter.grad is not None
            parameter.grad.zero_()

    def put_back(work: Work) -> None:
        work.model.network.get_parameter("2.bias").fill_(7.0)

    still = Optimiser(0.05, weight_decay=0.0)
    run_passes(
        model,
        [plain(optimiser=still, before_step=stop_gradient, after_step=put_back, mode="eval")],
        SETS,
        facts(),
    )
    after = weights(model)
    assert after.pop("2.bias").tolist() == [7.0, 7.0, 7.0]
    assert all(torch.equal(after[name], before[name]) for name in after)


class Killed(Exception):
    pass


@pytest.mark.parametrize("at", [1, 5, 9])
def test_a_killed_run_goes_on_to_the_very_same_weights(at: int, tmp_path: Path, monkeypatch: Any) -> None:
    def remember(work: Work) -> None:
        work.memory["mark"] = work.model.network.get_parameter("2.bias").clone()

    def loss(work: Work, batches: Mapping[str, Labelled]) -> Tensor:
        return (
            retain_loss(work, batches)
            + (work.memory["mark"] ** 2).sum() * work.model.network.get_parameter("2.bias").sum()
        )

    passes = [plain(), Edit("remember", remember), plain(loss=loss, epochs=2)]
    whole, model = classifier(), classifier()
    run_passes(whole, passes, SETS, facts())

    steps = 0

    def counting(work: Work, batches: Mapping[str, Labelled], inner: Any) -> Tensor:
        nonlocal steps
        steps += 1
        if steps == at + 1:
            raise Killed
        return inner(work, batches)

    def dying(one: Edit | Pass) -> Edit | Pass:
        if isinstance(one, Edit):
            return one
        return dataclasses.replace(one, loss=lambda work, batches: counting(work, batches, one.loss))

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(Killed):
        run_passes(model, [dying(one) for one in passes], SETS, facts(), folder=tmp_path, digest="x")
    again = classifier()
    report = run_passes(again, passes, SETS, facts(), folder=tmp_path, digest="x")
    assert report.resumed_from == at
    assert report.steps == 12
    assert equal(weights(whole), weights(again))
    with pytest.raises(InputError, match="belongs to another config"):
        run_passes(classifier(), passes, SETS, facts(), folder=tmp_path, digest="y")
    (tmp_path / loop.CHECKPOINT).write_bytes(b"torn")
    with pytest.raises(InputError, match="damaged"):
        run_passes(classifier(), passes, SETS, facts(), folder=tmp_path, digest="x")


def test_the_limit_stops_it_where_it_is_and_leaves_preparation_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def slowly(work: Work) -> None:
        nonlocal now
        now += 0.02

    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: now, monotonic=time.monotonic))
    passes = [plain(preparation=True, after_step=slowly), plain(after_step=slowly), plain()]
    report = run_passes(classifier(), passes, SETS, facts(), limit=0.03)
    assert report.cut
    assert (report.preparation_steps, report.steps) == (4, 2)
    assert not report.finished
    assert (report.preparation_seconds, report.seconds) == pytest.approx((0.08, 0.04))
    assert not run_passes(classifier(), [plain()], SETS, facts(), limit=60).cut


def test_a_step_that_is_the_last_finishes_what_is_cut() -> None:
    slow = plain(after_step=lambda work: time.sleep(0.02), epochs=0.25)
    report = run_passes(classifier(), [slow], SETS, facts(), limit=0.01)
    assert (report.steps, report.cut, report.finished) == (1, True, True)


def endless(work: Work) -> None:
    """An edit that changes the weights at its end, in a day."""
    for _ in range(86400):
        work.check_time()
        time.sleep(0.005)
    work.model.network.get_parameter("2.bias").fill_(7.0)


def looking(work: Work) -> None:
    """The same, and it asks for batches instead."""
    for _ in range(86400):
        work.batch("retain", np.arange(4))
        time.sleep(0.005)
    work.model.network.get_parameter("2.bias").fill_(7.0)


@pytest.mark.parametrize("edit", [endless, looking])
def test_the_limit_ends_an_edit_and_leaves_the_model_as_it_was_before_it(edit: Any) -> None:
    before, model = weights(classifier()), classifier()
    report = run_passes(model, [Edit("long", edit), plain()], SETS, facts(), limit=0.03)
    assert (report.steps, report.cut, report.finished) == (0, True, False)
    assert 0.03 <= report.seconds < 1
    assert equal(weights(model), before)


def test_an_edit_that_took_too_long_is_said_to_be_cut_and_nothing_follows_it() -> None:
    def slow(work: Work) -> None:
        time.sleep(0.02)
        work.model.network.get_parameter("2.bias").fill_(7.0)

    model = classifier()
    report = run_passes(model, [Edit("slow", slow), plain()], SETS, facts(), limit=0.01)
    assert (report.steps, report.cut, report.finished) == (0, True, False)
    assert model.network.get_parameter("2.bias").tolist() == [7.0, 7.0, 7.0]
    alone = run_passes(classifier(), [Edit("slow", slow)], SETS, facts(), limit=0.01)
    assert (alone.cut, alone.finished) == (True, True)
    before_the_request = Edit("slow", slow, preparation=True)
    assert not run_passes(classifier(), [before_the_request], SETS, facts(), limit=0.01).cut


def test_a_preparation_pass_that_was_killed_keeps_its_steps_and_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = 0

    def slow(work: Work) -> None:
        nonlocal slept
        slept += 1
        if slept == 4:
            raise Killed
        time.sleep(0.02)

    passes = [plain(preparation=True, epochs=2, after_step=slow), plain()]
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(Killed):
        run_passes(classifier(), passes, SETS, facts(), folder=tmp_path, digest="x")
    passes = [plain(preparation=True, epochs=2), plain()]
    report = run_passes(classifier(), passes, SETS, facts(), folder=tmp_path, digest="x")
    assert (report.resumed_from, report.preparation_steps, report.steps) == (3, 8, 4)
    assert report.preparation_seconds > 3 * 0.02
    assert report.seconds < report.preparation_seconds


def pixelwise() -> Classifier:
    """A network whose batch normalisation sees one value for each image and channel."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Sequential(nn.Conv2d(1, 4, 8, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
            nn.Sequential(nn.Dropout(0.2), nn.Flatten(), nn.Linear(4, 3)),
        )
    return Classifier(network, classes=("a", "b", "c"), image_size=8, channels=1, blocks=("0", "1"))


def test_a_single_image_is_normalised_by_running_statistics_and_all_else_trains() -> None:
    sets = {**SETS, "forget": images(1, 1)}
    modes: list[tuple[bool, bool]] = []

    def loss(work: Work, batches: Mapping[str, Labelled]) -> Tensor:
        norm, dropout = work.model.network.get_submodule("0.1"), work.model.network.get_submodule("1.0")
        modes.append((norm.training, dropout.training))
        (batch,) = batches.values()
        return cross_entropy(work.model(batch.images), batch.labels)

    model, before = pixelwise(), weights(pixelwise())
    one = facts()
    alone = plain(loss=loss, streams={"forget": 8})
    run_passes(model, [alone], sets, one)
    after = weights(model)
    assert modes == [(False, True)]
    statistics = ("0.1.running_mean", "0.1.running_var", "0.1.num_batches_tracked")
    assert all(torch.equal(before[name], after[name]) for name in statistics)
    assert not torch.equal(before["0.0.weight"], after["0.0.weight"])
    run_passes(model, [alone, plain(loss=loss)], sets, one)
    assert modes[2:] == [(True, True)] * 4
    assert model.network.get_buffer("0.1.num_batches_tracked") == 4


def test_classes_are_counted_among_all_training_images_where_they_are_not_divided() -> None:
    counted = Work(classifier(), {"train": SETS["retain"]}, facts()).class_counts()
    assert counted.tolist() == np.bincount(SETS["retain"].labels, minlength=3).tolist()
    everything = {**SETS, "train": SETS["forget"].join(SETS["retain"])}
    assert Work(classifier(), everything, facts()).class_counts().sum() == 42
    with pytest.raises(InputError, match="no set forget, retain or train"):
        Work(classifier(), {"shard": SETS["retain"]}, facts()).class_counts()


def test_a_loss_that_is_not_finite_stops_the_run_by_name() -> None:
    def loss(work: Work, batches: Mapping[str, Labelled]) -> Tensor:
        return retain_loss(work, batches) * float("nan")

    with pytest.raises(Stopped, match="upward: the loss is not finite at step 1"):
        run_passes(classifier(), [plain(loss=loss, name="upward")], SETS, facts())


def test_the_original_stays_what_it_was() -> None:
    model = classifier()
    before = model.copy().eval()
    seen: list[bool] = []

    def loss(work: Work, batches: Mapping[str, Labelled]) -> Tensor:
        batch = batches["retain"]
        expected = before(batch.images)
        seen.append(torch.allclose(work.original(batch.images), expected))
        seen.append(torch.allclose(work.original_logits("retain")[batch.places], expected, atol=1e-6))
        return retain_loss(work, batches)

    run_passes(model, [plain(loss=loss)], SETS, facts())
    assert len(seen) == 8
    assert all(seen)


def test_class_weights_are_one_by_the_number_of_training_images() -> None:
    work = Work(classifier(), SETS, facts())
    labels = np.concatenate([SETS["forget"].labels, SETS["retain"].labels])
    assert work.class_weights is not None
    assert work.class_weights.tolist() == pytest.approx([1 / (labels == c).sum() for c in range(3)])
    assert Work(classifier(), SETS, facts(class_weights=False)).class_weights is None


def test_training_by_the_recipe_learns() -> None:
    model = classifier()
    recipe = facts(epochs=15, learning_rate=1e-2)
    run_passes(model, [training_pass(recipe.recipe, "retain")], SETS, recipe)
    batch = Work(model, SETS, recipe).batch("retain", np.arange(33))
    assert (model(batch.images).argmax(1) == batch.labels).float().mean() > 0.9


def test_augmented_images_are_shifted_and_mirrored_copies() -> None:
    pixels = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8).repeat(200, 1, 1, 1) + 1
    torch.manual_seed(0)
    cut = loop._shifted(Labelled(pixels, torch.zeros(200), torch.arange(200))).images
    kinds = {tuple(image.flatten().tolist()) for image in cut}
    assert cut.shape == pixels.shape
    assert len(kinds) == 18  # three by three places, mirrored or not
    padded = torch.nn.functional.pad(pixels[:1], (1, 1, 1, 1))
    pieces = [padded[..., top : top + 8, left : left + 8] for top in range(3) for left in range(3)]
    assert kinds == {tuple(view.flatten().tolist()) for piece in pieces for view in (piece, piece.flip(-1))}
