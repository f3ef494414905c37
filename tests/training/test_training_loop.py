"""The loop does what a plain PyTorch loop does, stops before it spoils anything, and runs on many processes."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from efface.corruptions import parse_corruption
from efface.errors import Stopped
from efface.generators.base import Generator
from efface.methods import read_method
from efface.progress import Progress
from efface.training.checkpoint import load_checkpoint
from efface.training.data import Data, Streams
from efface.training.phases import Batch, Loss, Training
from efface.training.settings import TrainingSettings
from efface.training.step import training_corruption
from support.stopping import StopAt
from support.tiny_models import SIZE, changed, settings, tiny, trainer, weights_of

NO_GRADIENT = "k_proj.bias"
"""Attention does not depend on the bias of its keys: what Adam moves there is rounding error alone."""


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Over all weights that have a gradient."""
    return max(float((one[name] - other[name]).abs().max()) for name in one if not name.endswith(NO_GRADIENT))


# against a plain loop


def by_hand(data: Data, chosen: TrainingSettings, alpha: float) -> dict[str, Tensor]:
    """encoder-noise in plain PyTorch on the library's own network, from the same batches."""
    generator = tiny()
    network, teacher = generator.network, copy.deepcopy(generator.network).eval()
    network.train()
    encoder = {n: p for n, p in network.vit.named_parameters() if "position" not in n}
    spared = [p for n, p in encoder.items() if p.ndim == 1 or n.endswith("cls_token")]
    decayed = [p for n, p in encoder.items() if p.ndim > 1 and not n.endswith("cls_token")]
    groups = [
        {"params": decayed, "weight_decay": chosen.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=chosen.betas, foreach=False)
    streams = Streams(data.sets, data.cache, SIZE, chosen, seed=0)
    warm = round(chosen.warmup * chosen.steps)

    def features(model: Any, inputs: Tensor, hidden: Tensor) -> Tensor:
        model.vit.config.mask_ratio = 0.25  # a hole of 4 of 16 patches
        return model.vit(inputs, noise=hidden.double()).last_hidden_state

    hidden = torch.zeros(chosen.batch_size, 4, 4)
    hidden[:, 1:3, 1:3] = 1
    # ties are ordered by place: visible patches first, each in raster order
    hidden = hidden.flatten(1) + torch.arange(16) / 100
    for step, batch in enumerate(streams.steps(0, chosen.steps)):
        retain, forget, drawn = batch["retain"].images, batch["forget"].images, batch["forget"].draws
        retain, forget = ((pixels / 255 - generator.mean) / generator.std for pixels in (retain, forget))
        noise = drawn.normal("noise", (3, SIZE, SIZE), "cpu")
        with torch.no_grad():
            kept, drawn_to = features(teacher, torch.cat([retain, noise]), hidden).chunk(2)
        seen_retain, seen_forget = features(network, torch.cat([retain, forget]), hidden).chunk(2)
        held, lost = (seen_retain - kept).pow(2).mean(), (seen_forget - drawn_to).pow(2).mean()
        optimizer.zero_grad()
        (held + alpha * lost).backward()
        torch.nn.utils.clip_grad_norm_(encoder.values(), chosen.clip or math.inf)
        if step < warm:
            rate = chosen.learning_rate * (step + 1) / (warm + 1)
        else:
            share = (step - warm) / (chosen.steps - warm)
            rate = chosen.learning_rate * (1 + math.cos(math.pi * share)) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
    return weights_of(generator)


@pytest.mark.parametrize("clip", [3.0, 0.05, None])
def test_encoder_noise_equals_a_plain_pytorch_loop(clip: float | None, data: Data) -> None:
    chosen = settings(steps=10, batch_size=4, warmup=0.2, clip=clip, weight_decay=0.1)
    generator = tiny()
    before = weights_of(generator)
    trainer(
        generator, read_method({"name": "encoder-noise", "alpha": 0.4}).phases(), data, asked=chosen
    ).run()
    expected = by_hand(data, chosen, alpha=0.4)
    assert largest_difference(weights_of(generator), expected) < 1e-6
    assert largest_difference(weights_of(generator), before) > 1e-3


# a loss that is not finite


def spoilt(at: int, how: str) -> Training:
    """encoder-noise whose loss, or its gradient alone, is not a number at call `at`."""
    method = read_method({"name": "encoder-noise"})
    calls = []

    def loss(student: Generator, batch: Batch) -> Loss:
        calls.append(1)
        good = method.loss(student, batch)  # type: ignore[attr-defined]
        if len(calls) != at:
            return good
        if how == "loss":
            return Loss(good.total * math.nan, good.parts)
        if how == "infinite":
            return Loss(good.total + math.inf, good.parts)
        # the root of zero is zero, its slope is not finite
        return Loss(good.total + (good.total * 0).sqrt(), good.parts)

    return Training("unlearn", loss, ("retain", "forget"), "encoder", needs_teacher=True)


@pytest.mark.parametrize("how", ["loss", "infinite", "gradient"])
def test_a_loss_that_is_not_finite_stops_with_the_last_good_weights(
    how: str, data: Data, tmp_path: Path
) -> None:
    generator, good = tiny(), tiny()
    with pytest.raises(Stopped, match="not finite at step 5") as stop:
        trainer(generator, [spoilt(5, how)], data, folder=tmp_path, config_digest="c").run()
    assert f"The last good weights are in {tmp_path}" in str(stop.value)
    assert "learning_rate" in str(stop.value)
    with pytest.raises(Stopped):
        trainer(good, [spoilt(0, how)], data, progress=StopAt(4)).run()
    assert changed(weights_of(good), weights_of(generator)) == set(), "step 5 was not taken"
    checkpoint = load_checkpoint(tmp_path, "c")
    assert checkpoint is not None
    assert checkpoint.step == 3
    assert all(weight.isfinite().all() for weight in checkpoint.weights.values())


def test_the_log_says_where_the_loss_ceased_to_be_finite(data: Data) -> None:
    progress = StopAt(0)
    with pytest.raises(Stopped):
        trainer(tiny(), [spoilt(3, "loss")], data, progress=progress).run()
    assert progress.events[-1] == ("non-finite", {"phase": "unlearn", "step": 3})


# what a run reports


def test_the_log_holds_every_step_with_its_numbers(data: Data, tmp_path: Path) -> None:
    chosen = settings(steps=7, log_every=3)
    trainer(
        tiny(), read_method({"name": "encoder-noise", "alpha": 0.5}).phases(), data, asked=chosen,
        progress=Progress(tmp_path / "log.jsonl"),
    ).run()  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["phase", "step", "step", "step"]
    steps = lines[1:]
    assert [line["step"] for line in steps] == [3, 6, 7]
    for line in steps:
        assert line["loss"] == pytest.approx(line["retain"] + 0.5 * line["forget"], rel=1e-5)
        assert line["gradient_norm"] > 0
        assert line["learning_rate"] > 0
        assert line["steps"] == 7
    assert steps[0]["learning_rate"] > steps[2]["learning_rate"]
    assert steps[0]["seconds"] <= steps[1]["seconds"] <= steps[2]["seconds"]


def test_the_report_counts_steps_time_and_precision(data: Data) -> None:
    report = trainer(tiny(), read_method({"name": "retrain"}).phases(), data).run()
    assert (report.steps, report.precision, report.processes, report.resumed_from) == (8, "fp32", 1, None)
    assert report.seconds_per_step == pytest.approx(report.seconds / 8)
    assert 0 < report.seconds < 60


def test_a_trained_model_is_ready_for_use(data: Data) -> None:
    generator = tiny()
    trainer(generator, read_method({"name": "encoder-noise"}).phases(), data).run()
    assert not generator.training
    with pytest.raises(RuntimeError, match="keep_teacher"), generator.teacher():
        pass
    trainable = {name for name, weight in generator.network.named_parameters() if weight.requires_grad}
    assert trainable == set(generator.trained_parameters("all"))


def test_training_hides_what_the_models_own_training_hid_unless_the_settings_say_otherwise() -> None:
    generator = tiny(mask_ratio=0.6)
    assert str(training_corruption(generator, TrainingSettings())) == "random:0.6"
    generator.trained_with = parse_corruption("centre:0.25")
    assert str(training_corruption(generator, TrainingSettings())) == "centre:0.25"
    assert str(training_corruption(generator, settings(corruption="outpaint:0.25"))) == "outpaint:0.25"


# precision


def test_bf16_trains_weights_that_stay_in_float32(data: Data) -> None:
    results = {}
    for precision in ("fp32", "bf16"):
        generator = tiny()
        report = trainer(
            generator, read_method({"name": "max-loss"}).phases(), data, asked=settings(precision=precision)
        ).run()
        assert report.precision == precision
        results[precision] = weights_of(generator)
    before = weights_of(tiny())
    for weights in results.values():
        assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
        assert all(tensor.isfinite().all() for tensor in weights.values())
        assert changed(before, weights) == set(tiny().trained_parameters("all"))
    apart = largest_difference(results["fp32"], results["bf16"])
    assert 1e-6 < apart < 8e-3, "they differ by rounding, not by more than 8 steps of 1e-3 can"
