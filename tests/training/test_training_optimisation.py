"""Learning rate, budget, optimizer groups and precision, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from efface.errors import InputError
from efface.training import optimisation
from efface.training.optimisation import accelerator, chosen_precision, clipped, learning_rate, optimizer
from efface.training.settings import TrainingSettings, parse_budget
from support.tiny_models import settings, tiny


def test_the_learning_rate_by_hand() -> None:
    # 10 steps, 2 of them rising: thirds, then half a cosine over the 8 that are left
    chosen = settings(learning_rate=0.9, warmup=0.2)
    cosine = [0.45 * (1 + math.cos(math.pi * k / 8)) for k in range(8)]
    assert [learning_rate(chosen, step, 10) for step in range(10)] == pytest.approx([0.3, 0.6, *cosine])
    assert learning_rate(chosen, 6, 10) == pytest.approx(0.45)


def test_without_warm_up_the_first_step_has_the_peak_rate() -> None:
    chosen = settings(learning_rate=0.5, warmup=0.0)
    assert learning_rate(chosen, 0, 100) == 0.5
    assert learning_rate(chosen, 50, 100) == pytest.approx(0.25)
    assert learning_rate(chosen, 0, 1) == 0.5


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 50, 1000])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 0.99])
def test_no_step_is_wasted_at_rate_zero(steps: int, warmup: float) -> None:
    chosen = settings(learning_rate=1.0, warmup=warmup)
    rates = [learning_rate(chosen, step, steps) for step in range(steps)]
    assert min(rates) > 0
    assert max(rates) <= 1
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_a_constant_schedule_stays_at_the_peak_after_the_warm_up() -> None:
    chosen = settings(learning_rate=0.9, warmup=0.2, schedule="constant")
    assert [learning_rate(chosen, step, 10) for step in range(10)] == pytest.approx([0.3, 0.6, *[0.9] * 8])


def test_epochs_stand_in_the_place_of_steps() -> None:
    assert settings(steps=7, batch_size=16).steps_on(1000) == 7
    assert settings(steps=7, batch_size=16, epochs=2.5).steps_on(1000) == round(2.5 * 1000 / 16)
    assert settings(batch_size=96, epochs=0.01).steps_on(10) == 1


@pytest.mark.parametrize(
    ("text", "steps", "seconds"),
    [
        ("500steps", 500, None), ("1step", 1, None), (" 20 steps ", 20, None), ("3.0steps", 3, None),
        ("90s", None, 90.0), ("10m", None, 600.0), ("1.5h", None, 5400.0), ("0.5 s", None, 0.5),
    ],
)  # fmt: skip
def test_budgets(text: str, steps: int | None, seconds: float | None) -> None:
    budget = parse_budget(text)
    assert (budget.steps, budget.seconds) == (steps, seconds)


@pytest.mark.parametrize(
    "text", ["", "10", "10x", "0s", "0steps", "-5s", "1e3s", "1.5steps", "ten minutes", "m", "1d"]
)
def test_budgets_that_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=f"budget '{text}'"):
        parse_budget(text)


@pytest.mark.parametrize(
    "setting",
    [{"betas": (-0.1, 0.9)}, {"betas": (0.9, 1.0)}, {"crop_scale": (0.0, 1.0)}, {"crop_scale": (0.2, 1.5)}],
)
def test_settings_that_no_optimizer_or_crop_could_take_are_refused(setting: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(setting))):
        TrainingSettings.read(setting)


def test_decay_spares_biases_norms_and_tokens() -> None:
    generator = tiny()
    parameters = generator.trained_parameters("all")
    made = optimizer(parameters, settings(weight_decay=0.07, betas=(0.8, 0.9)))
    names = {id(parameter): name for name, parameter in parameters.items()}
    decayed, spared = ({names[id(p)] for p in group["params"]} for group in made.param_groups)
    assert [group["weight_decay"] for group in made.param_groups] == [0.07, 0.0]
    assert decayed | spared == set(parameters)
    assert spared == {
        name
        for name in parameters
        if name.endswith(".bias") or "norm" in name or name.endswith(("cls_token", "mask_token"))
    }
    assert "vit.embeddings.patch_embeddings.projection.weight" in decayed
    assert all(group["betas"] == (0.8, 0.9) for group in made.param_groups)


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_adam_adds_decay_to_the_gradient_and_adamw_takes_it_off_the_weights(kind: str) -> None:
    start, slope, decay, rate = 2.0, -3.0, 0.5, 0.1
    weight = torch.nn.Parameter(torch.full((1, 1), start))
    weight.grad = torch.full((1, 1), slope)
    optimizer({"w": weight}, settings(optimizer=kind, weight_decay=decay, learning_rate=rate)).step()
    # the first step of either is a whole rate against the sign of what it is given
    by_hand = {"adam": start + rate, "adamw": start * (1 - rate * decay) + rate}
    assert float(weight.detach()) == pytest.approx(by_hand[kind], rel=1e-5)


def test_auto_takes_bf16_only_where_the_hardware_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for has, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(optimisation, "has_bf16", lambda has=has: has)
        assert chosen_precision(settings(precision="auto")) == expected
        assert chosen_precision(settings(precision="fp32")) == "fp32"
        assert chosen_precision(settings(precision="bf16")) == "bf16"


def test_one_process_can_train_in_one_precision_after_the_other() -> None:
    seen = [
        accelerator(settings(precision=name)).mixed_precision for name in ("fp32", "bf16", "bf16", "fp32")
    ]
    assert seen == ["no", "bf16", "bf16", "no"]
    assert accelerator(settings()).device == torch.device("cpu") or torch.cuda.is_available()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"steps": 0}, "steps"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"clip": 0}, "clip"),
        ({"warmup": 1}, "warmup"),
        ({"learning_rat": 1}, "did you mean 'learning_rate'"),
        ({"learning_rate": float("nan")}, "learning_rate"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict, told: str) -> None:
    with pytest.raises(InputError, match=told):
        TrainingSettings.read(wrong)


@pytest.mark.parametrize("most", [None, 0.5, 2.0, 2.000001, 3.0])
def test_gradients_are_clipped_as_torch_clips_them(most: float | None) -> None:
    """The norm of both together is 2."""
    mine, theirs = (
        [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1)), nn.Parameter(torch.ones(1))]
        for _ in "ab"
    )
    for parameters in (mine, theirs):
        parameters[0].grad, parameters[1].grad = torch.tensor([1.2, 0.9]), torch.tensor([1.75**0.5])
    norm = clipped(mine, most)
    assert torch.equal(norm, nn.utils.clip_grad_norm_(theirs, float("inf") if most is None else most))
    assert norm.item() == pytest.approx(2)
    for one, other in zip(mine[:2], theirs[:2], strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.equal(one.grad, other.grad)
