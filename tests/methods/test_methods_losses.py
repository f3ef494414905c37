"""The loss of each method against a computation of its own on the library's plain network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from efface.corruptions import Corruption, parse_corruption
from efface.generators.mae.generator import MaeGenerator
from efface.methods import read_method
from efface.methods.base import feature_distance, weighted
from efface.randomness import key
from efface.training.phases import Batch, EditPhase, Training
from support.loss_cases import FORGET, HOLE, MOMENTS, Case, fed
from support.tiny_models import (
    GRID,
    PATCH,
    draws,
    pictures,
    settings,
    tiny,
    trainer,
    training_data,
    view,
)


def plain(network: Any, inputs: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Features and prediction of the library's own forward with the centre hole."""
    order = (HOLE.flatten().float() + torch.arange(16) / 100).expand(len(inputs), -1)
    network.config.mask_ratio = network.vit.config.mask_ratio = 0.25
    with torch.no_grad():
        out = network.vit(inputs, noise=order)
        logits = network.decoder(out.last_hidden_state, out.ids_restore).logits
    return out.last_hidden_state.double().numpy(), logits.double().numpy()


def patches(inputs: Tensor) -> np.ndarray:
    """[B, 16, 192], pixel by pixel with the channel last."""
    blocks = inputs.double().numpy().reshape(-1, 3, GRID, PATCH, GRID, PATCH)
    return blocks.transpose(0, 2, 4, 3, 5, 1).reshape(len(inputs), GRID * GRID, -1)


def in_the_hole(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Mean squared error of the hidden patches of each image."""
    hole = HOLE.flatten().numpy()
    return ((prediction - target)[:, hole] ** 2).mean(axis=(1, 2))


def distance(features: np.ndarray, targets: np.ndarray, norm: str) -> float:
    squares = ((features - targets) ** 2).reshape(len(features), -1)
    each = squares.mean(axis=1) if norm == "mse" else np.sqrt(squares.sum(axis=1))
    return float(each.mean())


def check(loss: Any, retain: float, forget: float, alpha: float) -> None:
    assert loss.total.shape == ()
    assert float(loss.parts["retain"]) == pytest.approx(retain, rel=1e-4)
    assert float(loss.parts["forget"]) == pytest.approx(forget, rel=1e-4)
    assert float(loss.total.detach()) == pytest.approx(retain + alpha * forget, rel=1e-4)
    assert retain != pytest.approx(forget, rel=1e-2)
    assert not any(part.requires_grad for part in loss.parts.values())


@pytest.mark.parametrize("norm", ["mse", "l2"])
@pytest.mark.parametrize(
    "noise", ["standard-normal", "moment-matched", "batch-matched", "uniform", "constant"]
)
def test_encoder_noise(noise: str, norm: str) -> None:
    case = Case()
    student, teacher = case.generator.network, case.original
    inputs = fed(case.generator, case.retain), fed(case.generator, case.forget)
    held = distance(plain(student, inputs[0])[0], plain(teacher, inputs[0])[0], norm)
    drawn = distance(plain(student, inputs[1])[0], plain(teacher, case.noise(noise))[0], norm)
    check(case.loss("encoder-noise", alpha=0.3, noise=noise, norm=norm), held, drawn, 0.3)


def test_before_the_first_step_nothing_is_to_be_done_for_retain_images() -> None:
    case = Case()
    case.generator.network.load_state_dict(case.original.state_dict())
    for name in ("encoder-noise", "random-encoder", "retain-label"):
        loss = case.loss(name)
        # the student's pass takes retain and forget images together, so its rounding may differ
        assert float(loss.parts["retain"]) < 1e-10
        assert float(loss.parts["forget"]) > 1e-3


def test_max_loss() -> None:
    case = Case()
    errors = []
    for images in (case.retain, case.forget):
        inputs = fed(case.generator, images)
        errors.append(in_the_hole(plain(case.generator.network, inputs)[1], patches(inputs)).mean())
    check(case.loss("max-loss", alpha=0.3), errors[0], -errors[1], 0.3)


@pytest.mark.parametrize("noise", ["standard-normal", "moment-matched"])
def test_fresh_noise(noise: str) -> None:
    case = Case()
    student = case.generator.network
    retain, forget = fed(case.generator, case.retain), fed(case.generator, case.forget)
    kept = in_the_hole(plain(student, retain)[1], patches(retain)).mean()
    noisy = in_the_hole(plain(student, forget)[1], patches(case.noise(noise))).mean()
    check(case.loss("fresh-noise", alpha=0.3, noise=noise), kept, noisy, 0.3)
    if noise == "standard-normal":
        check(case.loss("noisy-label", alpha=0.3), kept, noisy, 0.3)


@pytest.mark.parametrize(("retain", "forget"), [(3, 3), (3, 2), (2, 5), (1, 3)])
def test_retain_label_tiles_the_outputs_of_retain_images(retain: int, forget: int) -> None:
    case = Case(retain, forget)
    student = case.generator.network
    seen, lost = fed(case.generator, case.retain), fed(case.generator, case.forget)
    outputs = plain(case.original, seen)[1]
    tiled = np.stack([outputs[number % retain] for number in range(forget)])
    mine = plain(student, seen)[1], plain(student, lost)[1]
    hidden = in_the_hole(mine[0], outputs).mean(), in_the_hole(mine[1], tiled).mean()
    for name in ("retain-answer", "retain-label"):
        check(case.loss(name, alpha=0.3), *hidden, 0.3)


@pytest.mark.parametrize("norm", ["mse", "l2"])
def test_random_encoder(norm: str) -> None:
    case = Case()
    seen, lost = fed(case.generator, case.retain), fed(case.generator, case.forget)
    targets = plain(case.original, seen)[0]
    everything = np.concatenate([targets, plain(case.original, lost)[0]])
    normal = draws(FORGET, first=100).normal("features 0", targets.shape[1:], "cpu").double().numpy()
    gaussian = normal * everything.std(ddof=1) + everything.mean()
    held = distance(plain(case.generator.network, seen)[0], targets, norm)
    drawn = distance(plain(case.generator.network, lost)[0], gaussian, norm)
    check(case.loss("random-encoder", alpha=0.3, norm=norm), held, drawn, 0.3)


def test_the_released_sign_error_is_not_there() -> None:
    """Forget images do enter the forget term: other forget images give another value."""
    for name in ("retain-label", "random-encoder"):
        case = Case()
        one = case.loss(name).parts
        other_view = view(case.generator, pictures(FORGET, seed=9), first=100)
        case.batch = Batch({**case.batch.views, "forget": other_view}, MOMENTS)
        other = case.loss(name).parts
        assert float(one["forget"]) != pytest.approx(float(other["forget"]), rel=1e-4)
        assert float(one["retain"]) == pytest.approx(float(other["retain"]), rel=1e-5)


def test_moments_of_a_batch_are_one_mean_and_one_deviation_of_all_its_pixels() -> None:
    case = Case()
    pixels = torch.cat([case.retain, case.forget]).double().numpy()
    found = case.batch.moments_for("batch-matched")
    assert found.mean.tolist() == pytest.approx([pixels.mean()] * 3, rel=1e-5)
    assert found.std.tolist() == pytest.approx([pixels.std(ddof=1)] * 3, rel=1e-5)
    assert case.batch.moments_for("moment-matched") is MOMENTS


def test_gradient_ascent() -> None:
    case = Case()
    inputs = fed(case.generator, case.forget)
    error = in_the_hole(plain(case.generator.network, inputs)[1], patches(inputs)).mean()
    loss = case.loss("gradient-ascent")
    assert float(loss.total.detach()) == pytest.approx(-error, rel=1e-4)
    assert float(loss.parts["forget"]) == pytest.approx(error, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "chosen", "retain", "forget"),
    [
        ("max-loss", {"alpha": 1.0}, -1, 1),
        ("gradient-ascent", {}, 0, 1),
        ("noisy-label", {}, -1, 0),
        ("encoder-noise", {}, 0, 0),
    ],
)
def test_a_small_step_down_the_loss_moves_the_task_losses_as_meant(
    name: str, chosen: dict, retain: int, forget: int
) -> None:
    """The sign says whether a task loss must rise (1), fall (-1) or may do either (0)."""
    case = Case()
    before = [float(case.generator.task_loss(seen).mean().detach()) for seen in case.batch.views.values()]
    loss = case.loss(name, **chosen)
    total = float(loss.total.detach())
    loss.total.backward()
    with torch.no_grad():
        for parameter in case.generator.network.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad, alpha=1e-4)
    after = [float(case.generator.task_loss(seen).mean().detach()) for seen in case.batch.views.values()]
    assert float(case.loss(name, **chosen).total.detach()) < total
    for sign, old, new in zip((retain, forget), before, after, strict=True):
        assert sign * (new - old) >= 0
        assert new != old


def test_fine_tuning_and_retraining_use_the_models_own_loss_on_retain_images() -> None:
    case = Case()
    inputs = fed(case.generator, case.retain)
    error = in_the_hole(plain(case.generator.network, inputs)[1], patches(inputs)).mean()
    for name in ("fine-tune", "shrink-perturb", "retrain"):
        phase = read_method({"name": name}).phases()[-1]
        assert isinstance(phase, Training)
        assert phase.streams == ("retain",)
        loss = phase.loss(case.generator, Batch({"retain": case.batch.views["retain"]}, MOMENTS))
        assert float(loss.total.detach()) == pytest.approx(error, rel=1e-4)


def test_retrain_starts_from_the_weights_of_a_new_model() -> None:
    generator = tiny(seed=1)
    edit, *training = read_method({"name": "retrain"}).phases()
    assert isinstance(edit, EditPhase)
    assert all(isinstance(phase, Training) for phase in training)
    edit.apply(generator, 5)
    assert generator.weights_digest() == tiny(seed=5).weights_digest()


@pytest.mark.parametrize("keep", [0.0, 0.3, 1.0])
def test_shrink_perturb_interpolates_with_fresh_weights_which_no_retrained_model_has(keep: float) -> None:
    generator = tiny(seed=1)
    before = {name: one.detach().clone() for name, one in generator.trained_parameters("all").items()}
    edit, training = read_method({"name": "shrink-perturb", "keep": keep}).phases()
    assert isinstance(edit, EditPhase)
    assert isinstance(training, Training)
    edit.apply(generator, 5)
    fresh = tiny(seed=key("shrink-perturb", 5)).trained_parameters("all")
    assert generator.weights_digest() != tiny(seed=5).weights_digest()
    for name, one in generator.trained_parameters("all").items():
        assert torch.allclose(one, keep * before[name] + (1 - keep) * fresh[name], atol=1e-7)


@pytest.mark.parametrize("name", ["fine-tune", "shrink-perturb", "retrain", "encoder-noise", "max-loss"])
@pytest.mark.parametrize(("asked", "expected"), [("own-mask", "random:0.6"), ("centre:0.25", "centre:0.25")])
def test_every_method_trains_under_the_masks_that_the_settings_name(
    asked: str, expected: str, name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[str] = set()
    make = MaeGenerator.view

    def spied(self: MaeGenerator, images: Tensor, corruption: Corruption, keyed: Any, **more: Any) -> Any:
        seen.add(str(corruption))
        return make(self, images, corruption, keyed, **more)

    monkeypatch.setattr(MaeGenerator, "view", spied)
    method = read_method({"name": name})
    chosen = settings(steps=2, corruption=asked)
    trainer(tiny(mask_ratio=0.6), method.phases(), training_data(tmp_path), asked=chosen).run()
    assert seen == {expected}


# the pure functions


def test_feature_distance_by_hand() -> None:
    one, other = torch.zeros(2, 2, 2), torch.tensor([[[3.0, 0.0], [0.0, 4.0]], [[0.0] * 2] * 2])
    small, its_target = torch.ones(2, 1), torch.tensor([[3.0], [1.0]])
    assert feature_distance((one,), (other,), "mse").tolist() == [25 / 4, 0]
    assert feature_distance((one,), (other,), "l2").tolist() == [5, 0]
    both = (one, small), (other, its_target)
    assert feature_distance(*both, "mse").tolist() == [25 / 4 + 4, 0]
    assert feature_distance(*both, "l2").tolist() == [5 + 2, 0]
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        feature_distance((one, small), (other,), "mse")


def test_feature_distance_is_taken_in_float32() -> None:
    # in bf16 the square of 1.004 and the sum of many small parts would be lost
    one = torch.full((1, 4096), 1.0, dtype=torch.bfloat16)
    result = feature_distance((one,), (torch.full((1, 4096), 1.001),), "mse")
    assert result.dtype == torch.float32
    assert result.item() == pytest.approx(1e-6, rel=1e-2)


def test_weighted_by_hand() -> None:
    loss = weighted(torch.tensor(2.0, requires_grad=True), torch.tensor(3.0), 0.5)
    assert loss.total.item() == 3.5
    assert {name: part.item() for name, part in loss.parts.items()} == {"retain": 2.0, "forget": 3.0}
    assert loss.total.requires_grad
    assert not loss.parts["retain"].requires_grad


def test_alpha_zero_leaves_retaining_alone() -> None:
    case = Case()
    for name in ("encoder-noise", "max-loss", "noisy-label", "retain-label", "random-encoder"):
        loss = case.loss(name, alpha=0.0)
        assert float(loss.total.detach()) == float(loss.parts["retain"])


def test_the_hole_of_these_tests_is_the_corruptions() -> None:
    corrupted = parse_corruption("centre:0.5").apply(pictures(1), GRID, draws(1))
    blocks = corrupted.region[0, 0, ::PATCH, ::PATCH]
    assert torch.equal(blocks, HOLE)
