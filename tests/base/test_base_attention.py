"""Attention of transformers, and what feeds it: the same answers, quicker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import ViTMAEForPreTraining

from efface.attention import attended
from efface.generators.mae.generator import MaeGenerator
from efface.testing.models import draws, pictures, tiny_generator


def inputs(kind: torch.dtype) -> list[Tensor]:
    random = torch.Generator().manual_seed(0)
    return [torch.randn(2, 3, 9, 8, generator=random).to(kind).requires_grad_() for _ in range(3)]


@pytest.mark.parametrize(("kind", "tolerance"), [(torch.float32, 0.0), (torch.bfloat16, 0.02)])
def test_attention_and_its_gradient_are_those_of_torch(kind: torch.dtype, tolerance: float) -> None:
    mine, theirs = inputs(kind), [one.detach().double().requires_grad_() for one in inputs(kind)]
    found = attended(*mine)
    expected = functional.scaled_dot_product_attention(*theirs)
    if not tolerance:
        assert torch.equal(found, functional.scaled_dot_product_attention(*inputs(kind)))
    assert found.dtype == kind
    found.square().sum().backward()
    expected.square().sum().backward()
    limit = tolerance or 1e-5
    assert float((found.double() - expected).detach().norm() / expected.detach().norm()) < limit
    for one, other in zip(mine, theirs, strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert float((one.grad.double() - other.grad).norm() / other.grad.norm()) < limit


def test_a_masked_autoencoder_answers_as_the_plain_library(tmp_path: Path) -> None:
    generator = tiny_generator()
    generator.save_pretrained(tmp_path)
    assert "efface" not in json.loads((tmp_path / "config.json").read_text()).values()
    plain = ViTMAEForPreTraining.from_pretrained(tmp_path).eval()
    assert plain.config._attn_implementation == "sdpa"
    view = generator.view(pictures(3), generator.usual_corruption, draws(3))
    found = generator.encode(view)[0]
    # the ratio that is set for the view at hand
    plain.vit.config.mask_ratio = generator.network.vit.config.mask_ratio
    order = view.hidden.float() * 16 + torch.arange(16)
    assert torch.equal(found, plain.vit(view.inputs, noise=order).last_hidden_state)


def test_norms_cast_once_in_bf16_keep_less_and_give_the_same(tmp_path: Path) -> None:
    """Casting a norm's output before the layers that read it, not in each of them, changes no answer."""
    generator = tiny_generator()
    generator.save_pretrained(tmp_path)
    view = generator.view(pictures(3), generator.usual_corruption, draws(3))
    without = MaeGenerator(ViTMAEForPreTraining.from_pretrained(tmp_path)).eval()
    for module in without.modules():
        module._forward_hooks.clear()
    kept, answers = [], []
    for one in (generator, without):
        seen: dict[int, int] = {}

        def pack(tensor: Tensor, seen: dict[int, int] = seen) -> Tensor:
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with (
            torch.autocast("cpu", torch.bfloat16),
            torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        ):
            answers.append(one.encode(view)[0])
        kept.append(sum(seen.values()))
    assert torch.equal(*answers)
    assert kept[0] < kept[1]
