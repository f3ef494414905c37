"""The tokenizer's own training, fresh weights, and what the checks say of a model."""

from __future__ import annotations

import math

import pytest
import torch

from efface.generators.mage.generator import MageGenerator
from efface.generators.mage.risks import prediction_surprise, reconstruction_explained
from efface.generators.mage.tokenizer import Codebook, code_entropy, first_stage_loss
from efface.generators.registry import risks_of
from support.mage_models import CODES, tiny_mage, view_of
from support.tiny_models import changed, pictures, weights_of


def trained(steps: int) -> MageGenerator:
    """A tokenizer that has seen four pictures `steps` times."""
    generator = tiny_mage()
    generator.set_trained("first-stage")
    optimizer = torch.optim.AdamW(generator.first_stage_parameters().values(), lr=5e-3, weight_decay=0.0)
    seen = view_of(generator, pictures(4))
    for _ in range(steps):
        optimizer.zero_grad()
        generator.first_stage_loss(seen).mean().backward()
        optimizer.step()
    return generator.eval()


def test_its_loss_trains_the_tokenizer_whole_and_nothing_else() -> None:
    generator = tiny_mage()
    losses = generator.first_stage_loss(view_of(generator, pictures(3)))
    assert losses.shape == (3,)
    losses.mean().backward()
    moved = {
        name
        for name, parameter in generator.network.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0
    }
    assert moved == set(generator.first_stage_parameters())


def test_training_makes_pictures_better_and_uses_the_codebook() -> None:
    before, after = tiny_mage(), trained(40)
    assert reconstruction_explained(before, pictures(4)) < 0.1
    assert reconstruction_explained(after, pictures(4)) > 0.4
    assert len(after.tokens(pictures(4)).unique()) > CODES // 2


def test_a_code_is_the_nearest_one() -> None:
    codebook = Codebook(5, 3)
    rng = torch.Generator().manual_seed(0)
    codebook.weight.data = torch.randn(5, 3, generator=rng)
    vectors = torch.randn(20, 3, generator=rng)
    torch.testing.assert_close(codebook.distances(vectors), torch.cdist(vectors, codebook.weight).square())
    with torch.autocast("cpu", torch.bfloat16):
        distances = codebook.distances(vectors.bfloat16())
    assert distances.dtype == torch.float32


def test_entropy_is_low_where_choices_are_clear_and_even() -> None:
    clear = 1 - torch.eye(4)
    even = clear.expand(2, 4, 4) * 100
    assert code_entropy(even, 1.0).tolist() == pytest.approx([-math.log(4)] * 2, abs=1e-5)
    one_code = (torch.arange(4) > 0).float().expand(2, 4, 4) * 100
    assert code_entropy(one_code, 1.0).tolist() == pytest.approx([0, 0], abs=1e-5)
    undecided = torch.zeros(2, 4, 4)
    assert code_entropy(undecided, 1.0).tolist() == pytest.approx([0, 0], abs=1e-5)


def test_a_perfect_tokenizer_has_no_loss_but_that_of_its_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tiny_mage().network.tokenizer
    images = pictures(2)
    monkeypatch.setattr("efface.generators.mage.tokenizer.ENTROPY", 0.0)
    monkeypatch.setattr(tokenizer.decoder, "forward", lambda _: images)
    vectors = tokenizer.encoder(images).flatten(2).transpose(1, 2)
    apart = vectors - tokenizer.codebook(tokenizer.tokens(images))
    expected = 1.25 * apart.square().mean(dim=(1, 2))
    torch.testing.assert_close(first_stage_loss(tokenizer, images), expected)
    monkeypatch.setattr(tokenizer.decoder, "forward", lambda _: images + 0.5)
    # a shift of all pixels is no edge: |0.5| + 0.5^2
    torch.testing.assert_close(first_stage_loss(tokenizer, images), expected + 0.75)


# fresh weights


def test_fresh_weights_replace_everything_or_all_but_the_first_stage() -> None:
    generator = tiny_mage()
    before = weights_of(generator)
    generator.reinitialise(1, keep_first_stage=True)
    different = changed(before, weights_of(generator))
    assert different
    assert not any(name.startswith("tokenizer.") for name in different)
    generator.reinitialise(1)
    assert any(name.startswith("tokenizer.") for name in changed(before, weights_of(generator)))
    assert generator.weights_digest() == tiny_mage(seed=1).weights_digest()
    generator.reinitialise(0)
    assert changed(before, weights_of(generator)) == set()


def test_fresh_weights_leave_the_global_random_state_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    tiny_mage().reinitialise(3)
    assert torch.equal(torch.rand(1), expected)


# checks


def test_an_untrained_model_is_told_on_twice() -> None:
    generator = tiny_mage().train()
    found = risks_of(generator, pictures(8))
    assert len(found) == 2
    assert "the tokenizer gives back only" in found[0]
    assert "no better than by how often each occurs" in found[1]
    assert generator.training, "the mode is left as it was"


def test_a_good_model_is_not_told_on(monkeypatch: pytest.MonkeyPatch) -> None:
    generator, images = tiny_mage(), pictures(8)
    monkeypatch.setattr(generator, "pictures", lambda _: images * 0.9)
    monkeypatch.setattr(
        generator, "predict", lambda view: 5.0 * torch.nn.functional.one_hot(view.tokens, CODES).float()
    )
    assert risks_of(generator, images) == []


def test_surprise_is_measured_on_hidden_tokens() -> None:
    generator = tiny_mage()
    generator.network.decoder.head.dense.weight.data.zero_()
    generator.network.decoder.head.dense.bias.data.zero_()
    model, frequency = prediction_surprise(generator, pictures(8))
    assert model == pytest.approx(math.log(CODES)), "a model without opinion"
    assert 0 < frequency < math.log(CODES) + 0.5
