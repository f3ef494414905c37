"""After handling: what conversion, rounding, merging or further training brings back is seen."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import nn

from efface.generators.base import View
from efface.probes.after_handling import AfterHandling, merge_factors, round_to_bf16, round_to_int8
from efface.probes.findings import Findings
from support.trained_subjects import Storing as Base
from support.trained_subjects import World, digests, figure, world

PROBE = AfterHandling(steps=12, learning_rate=0.005)


class Guarded(Base):
    """Gives the true hole, off by 0.1 and by what one weight adds: `gain` times its distance to 1."""

    def __init__(self, weight: float, gain: float, largest: float = 1.0) -> None:
        super().__init__(nn.Linear(2, 1))  # type: ignore[arg-type]
        self.gain = gain
        with torch.no_grad():
            self.network.weight.copy_(torch.tensor([[largest, weight]]))

    def restore(self, view: View, sampler: str | None = None) -> torch.Tensor:
        off = 0.1 + self.gain * (self.network.weight[0, 1].item() - 1)
        # towards grey, so that no value leaves 0 to 1
        return torch.where(view.corrupted.known, view.images, view.images + off * (0.5 - view.images).sign())

    def task_loss(self, view: View) -> torch.Tensor:
        """Nothing to learn."""
        return self.network.weight.sum() * torch.zeros(len(view))


@pytest.fixture(scope="module")
def made() -> World:
    return world()


@cache
def fine_tuned(unlearned: str) -> Findings:
    """With stored images as the new data, on which an encoder is repaired."""
    made = world()
    other = made.retrained(seed=1) if unlearned == "retrained" else getattr(made, unlearned)()
    sets = {"forget": made.sets["forget"], "neutral": made.sets["retain"]}
    models = {"original": made.original(), "unlearned": other, "retrained": made.retrained()}
    return PROBE.ask(made.subject(models, sets=sets))


def test_forgetting_that_is_finer_than_bf16_is_undone_by_it(made: World) -> None:
    # 1 + 2^-9 is nearer to 1 than to the next number of 8 binary digits, 1 + 2^-7
    hidden, plain = Guarded(1 + 2**-9, gain=0.2 * 2**9), Guarded(1.0, gain=0.2 * 2**9)
    findings = AfterHandling(steps=1).ask(made.subject({"unlearned": hidden, "retrained": plain}))
    # (0.1 + 0.2)^2 before, 0.1^2 after
    assert figure(findings, "after-bf16").value == pytest.approx(2 * torch.tensor(3.0).log().item(), abs=1e-4)
    assert figure(findings, "after-bf16").difference_low == pytest.approx(2.1972, abs=1e-3)
    assert figure(findings, "after-bf16", "retrained").value == pytest.approx(0, abs=1e-6)


def test_forgetting_that_is_finer_than_8_bits_is_undone_by_them(made: World) -> None:
    # the step is 127 / 127 = 1, so that 1.4 becomes 1
    hidden, plain = (Guarded(weight, gain=0.5, largest=127.0) for weight in (1.4, 1.0))
    findings = AfterHandling(steps=1).ask(made.subject({"unlearned": hidden, "retrained": plain}))
    assert figure(findings, "after-int8").value == pytest.approx(2 * torch.tensor(3.0).log().item(), abs=1e-4)
    assert figure(findings, "after-int8").goal == "low"
    assert figure(findings, "after-int8", "retrained").value == pytest.approx(0, abs=1e-6)


def test_weights_are_rounded_by_output_channel_to_127_steps(made: World) -> None:
    model = made.original()
    weight = torch.zeros_like(model.network.encoder.weight)
    weight[0, :4] = torch.tensor([12.7, -0.26, 0.04, -12.7])
    weight[1, :3] = torch.tensor([1.27, 0.014, 0.016])
    with torch.no_grad():
        model.network.encoder.weight.copy_(weight)
    bias, table = model.network.encoder.bias.clone(), model.network.pictures.clone()
    round_to_int8(model)
    torch.testing.assert_close(model.network.encoder.weight[0, :4], torch.tensor([12.7, -0.3, 0.0, -12.7]))
    torch.testing.assert_close(model.network.encoder.weight[1, :3], torch.tensor([1.27, 0.01, 0.02]))
    assert not model.network.encoder.weight[2:].any()
    assert torch.equal(model.network.encoder.bias, bias)
    assert torch.equal(model.network.pictures, table)


def test_rounding_to_bf16_keeps_the_type(made: World) -> None:
    model = made.original()
    wanted = model.network.pictures.detach().bfloat16().float()
    round_to_bf16(model)
    assert model.network.pictures.dtype == torch.float32
    assert torch.equal(model.network.pictures, wanted)


def test_further_training_brings_back_what_was_only_hidden() -> None:
    finding = figure(fine_tuned("hushed"), "after-finetune")
    assert finding.difference > 1.5
    assert finding.difference_low > 1
    # it ends where the original is, far below a model that never knew the images
    assert float((finding.note or "").split()[2]) < 0.2


@pytest.mark.parametrize("unlearned", ["retrained", "noisy"])
def test_nothing_brings_back_what_a_model_does_not_hold(unlearned: str) -> None:
    findings = fine_tuned(unlearned)
    for name in ("after-bf16", "after-int8"):
        assert abs(figure(findings, name).difference) < 0.02, name
    finding = figure(findings, "after-finetune")
    # noise is repaired a little, and still no better than never having known
    assert finding.difference < (0.05 if unlearned == "retrained" else 0.4)
    assert float((finding.note or "").split()[2]) > 0.9


def test_a_model_that_did_not_forget_shows_it_in_the_note() -> None:
    findings = fine_tuned("original")
    assert figure(findings, "after-int8").value == pytest.approx(0, abs=0.01)
    assert float((figure(findings, "after-int8").note or "").split()[2]) < 0.1


def test_models_keep_their_weights_and_missing_parts_are_named(made: World) -> None:
    models = {"original": made.original(), "unlearned": made.hushed()}
    subject = made.subject(models, sets={"forget": made.sets["forget"]})
    before = digests(subject)
    findings = PROBE.ask(subject)
    assert digests(subject) == before
    assert figure(findings, "after-finetune").note == "not measurable: there are no neutral images"
    assert figure(findings, "after-merge").note == "not measurable: no model has low-rank factors"
    assert figure(findings, "after-bf16").reference == "original"
    assert {finding.figure for finding in PROBE.ask(made.subject(models, sets={})).figures} == set(
        PROBE.figures["generator"]
    )


def test_merged_factors_answer_as_unmerged_ones() -> None:
    pytest.importorskip("peft")
    from efface.corruptions import parse_corruption
    from efface.generators.latent.generator import LatentGenerator
    from support.family_training import fresh
    from support.tiny_models import draws, pictures

    plain = fresh("latent-inpainting")
    model = LatentGenerator(plain.network, replace(plain.pipeline, lora_rank=2)).eval()
    moved = {name: p for name, p in model.encoder_parameters().items() if "lora_B" in name}
    assert moved
    with torch.no_grad():
        for parameter in moved.values():
            parameter.fill_(0.05)
    view = model.view(pictures(2), parse_corruption("centre:0.5"), draws(2))
    merged = world(retain=1).subject({}).copy_of(model)
    merge_factors(merged)
    with torch.no_grad():
        unmerged, after = model.predict(view), merged.predict(view)
    torch.testing.assert_close(after, unmerged, atol=1e-5, rtol=1e-4)
    weights = merged.network.state_dict()
    changed = [n for n, t in model.network.state_dict().items() if not torch.equal(t, weights[n])]
    assert changed
    assert all(name.endswith("base_layer.weight") for name in changed)
