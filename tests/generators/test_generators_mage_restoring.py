"""Filling in hidden tokens: what is seen, what is drawn, and how a sampler is named."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from efface.corruptions.base import mean_fill
from efface.corruptions.patches import MaskRates
from efface.errors import InputError
from efface.generators.mage.sampling import (
    TokenSampler,
    as_gumbel,
    complete,
    read_token_sampler,
    widened,
)
from support.mage_models import CODES, GRID, RATES, lively, tiny_mage, view_of
from support.tiny_models import pictures

HOLES = ["centre:0.3", "outpaint:0.5", "random:0.75", "rectangle:0,0,0.1,0.9", RATES]


# names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (None, "confidence:20,6"), ("confidence", "confidence:20,6"), ("confidence:8", "confidence:8,6"),
        ("confidence: 8, 4.50", "confidence:8,4.5"), ("confidence:8,0,2", "confidence:8,0,2"),
        ("confidence:20,6,1", "confidence:20,6"), ("greedy", "greedy:20"), ("greedy:1,0", "greedy:1,0"),
        ("maskgit", "maskgit:20,6"), ("maskgit:12,4.5,0", "maskgit:12,4.5,0"),
    ],
)  # fmt: skip
def test_a_sampler_has_one_name(text: str | None, name: str) -> None:
    assert tiny_mage().sampler_name(text) == name
    assert str(read_token_sampler(name)) == name


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ddim:20", "unknown sampler 'ddim'"), ("confidense", "did you mean 'confidence'"),
        ("confidence:0", "steps from 1 to 1000"), ("confidence:1001", "steps from 1 to 1000"),
        ("confidence:5,-1", "temperature 0 or more"), ("confidence:5,nan", "temperature 0 or more"),
        ("confidence:5,1,1,1", "write confidence:STEPS"), ("greedy:5,0.5", "whole tokens"),
    ],
)  # fmt: skip
def test_a_sampler_that_there_is_not_is_refused(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        tiny_mage().sampler_name(text)
    generator = tiny_mage()
    with pytest.raises(InputError, match=told):
        generator.restore(view_of(generator, pictures(1)), text)


# pictures


@pytest.mark.parametrize("sampler", ["confidence:3,6", "greedy:2", "maskgit:6"])
@pytest.mark.parametrize("corruption", HOLES, ids=str)
def test_known_pixels_stay_and_hidden_ones_are_not_looked_at(
    corruption: str | MaskRates, sampler: str
) -> None:
    generator, images = lively(tiny_mage()), pictures(3)
    seen = view_of(generator, images, corruption)
    restored = generator.restore(seen, sampler)
    known = seen.corrupted.known.expand_as(images)
    assert torch.equal(restored[known], images[known])
    assert restored.min() >= 0
    assert restored.max() <= 1
    assert not restored.requires_grad
    again = view_of(generator, torch.where(known, images, 1 - images), corruption)
    assert torch.equal(generator.restore(again, sampler), restored)


def test_restoring_uses_the_network_that_is_active() -> None:
    generator = tiny_mage()
    generator.keep_teacher("all")
    seen = view_of(generator, pictures(2), "outpaint:0.5")
    before = generator.restore(seen)
    lively(generator)
    assert not torch.equal(generator.restore(seen), before)
    with generator.teacher():
        assert torch.equal(generator.restore(seen), before)


def test_what_is_drawn_belongs_to_image_id_visit_and_seed() -> None:
    generator, images = lively(tiny_mage(), 0.05), pictures(3)

    def restored(images: Tensor, **at: int) -> Tensor:
        return generator.restore(view_of(generator, images, "outpaint:0.5", **at), "confidence:4,6")

    together = restored(images)
    assert torch.equal(together, restored(images))
    torch.testing.assert_close(together[1:2], restored(images[1:2], first=1))
    assert not torch.equal(together, restored(images, visit=1))
    assert not torch.equal(together, restored(images, seed=1))


def test_a_greedy_restoration_draws_nothing() -> None:
    generator, images = lively(tiny_mage()), pictures(2)
    one = generator.restore(view_of(generator, images), "greedy:3")
    assert torch.equal(one, generator.restore(view_of(generator, images, seed=5, visit=2), "greedy:3"))


def test_a_hole_is_filled_with_the_mean_colour_of_what_is_known() -> None:
    images = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    known = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    known[0, 0, 0, :2] = known[1, 0, 3] = True
    filled = mean_fill(images, known)
    assert torch.equal(filled[0, :, 0, :2], images[0, :, 0, :2])
    torch.testing.assert_close(filled[0, :, 2, 2], images[0, :, 0, :2].mean(dim=1))
    torch.testing.assert_close(filled[1, :, 0, 0], images[1, :, 3].mean(dim=1))


# tokens


def test_a_hole_is_made_wider_unless_too_little_would_be_seen() -> None:
    touched = np.zeros((2, 6, 6), dtype=bool)
    touched[0, 0, 1] = True
    touched[1, ::2, ::2] = True
    wide = widened(touched, 1)
    assert np.argwhere(wide[0]).tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert (wide[1] == touched[1]).all(), "every third of these tokens lies beside a hidden one"
    assert (widened(touched, 0) == touched).all()
    assert np.argwhere(widened(touched, 2)[0])[:, 0].max() == 2


class Record:
    """Scores that are the same for every call, and what they were asked."""

    def __init__(self, scores: Tensor) -> None:
        self.scores, self.hidden = scores, []

    def __call__(self, tokens: Tensor, hidden: Tensor) -> Tensor:
        self.hidden.append(hidden.clone())
        return self.scores


def filled_in(record: Record, unknown: np.ndarray, sampler: TokenSampler, seed: int = 0) -> Tensor:
    count, length = unknown.shape
    uniform = torch.rand(count, 2, sampler.steps, length, generator=torch.Generator().manual_seed(seed))
    gumbel = as_gumbel(uniform[:, 1])
    return complete(record, torch.full((count, length), -1), unknown, sampler, uniform[:, 0], gumbel)


def test_ever_fewer_tokens_stay_open_by_the_cosine_of_the_release() -> None:
    record = Record(torch.zeros(2, 64, CODES))
    unknown = np.zeros((2, 64), dtype=bool)
    unknown[0, :40] = unknown[1, :5] = True
    tokens = filled_in(record, unknown, TokenSampler(steps=8))
    expected = [40] + [math.floor(40 * math.cos(math.pi / 2 * (step + 1) / 8)) for step in range(7)]
    assert [int(hidden[0].sum()) for hidden in record.hidden] == expected
    assert [int(hidden[1].sum()) for hidden in record.hidden] == [5, 4, 3, 2, 1, 0, 0, 0]
    assert (tokens[0, :40] >= 0).all()
    assert (tokens[~torch.from_numpy(unknown)] == -1).all(), "known tokens stay"
    for before, after in zip(record.hidden, record.hidden[1:], strict=False):
        assert not (after & ~before).any(), "what was decided stays decided"


def test_the_released_schedule_skips_what_is_no_longer_hidden() -> None:
    record = Record(torch.zeros(3, 64, CODES))
    unknown = np.zeros((3, 64), dtype=bool)
    unknown[0, :40] = unknown[1, :5] = unknown[2, :1] = True
    tokens = filled_in(record, unknown, TokenSampler("maskgit", steps=8))
    shares = [math.cos(math.pi / 2 * (step + 1) / 8) for step in range(8)]
    assert 64 * shares[3] > 40 > 64 * shares[4], "four steps are skipped for the first picture"
    assert 64 * shares[6] > 5 > 64 * shares[7], "and seven for the second"
    assert [int(hidden[0].sum()) for hidden in record.hidden] == [
        40,
        *(int(64 * share) for share in shares[4:7]),
    ]
    assert [int(hidden[1].sum()) for hidden in record.hidden] == [5, 5, 5, 5]
    assert [int(hidden[2].sum()) for hidden in record.hidden] == [1, 1, 1, 1]
    assert (tokens[torch.from_numpy(unknown)] >= 0).all()
    assert (tokens[~torch.from_numpy(unknown)] == -1).all()


def test_without_noise_the_surest_tokens_stay_first() -> None:
    scores = torch.zeros(1, 8, CODES)
    scores[0, :, 3] = torch.tensor([1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.0])
    record = Record(scores)
    tokens = filled_in(record, np.ones((1, 8), dtype=bool), TokenSampler("greedy", steps=4, temperature=0.0))
    assert tokens.tolist() == [[3] * 8]
    order = [hidden[0].nonzero().flatten().tolist() for hidden in record.hidden]
    # 8 cos(pi/8), 8 cos(pi/4), 8 cos(3 pi/8) rounded down: 7, 5, 3
    assert order == [list(range(8)), [0, 2, 3, 4, 5, 6, 7], [0, 2, 4, 6, 7], [0, 2, 4]]


def test_tokens_are_drawn_with_their_probabilities() -> None:
    scores = torch.log(torch.tensor([0.7, 0.2, 0.1])).expand(1, 6000, 3)
    drawn = filled_in(Record(scores), np.ones((1, 6000), dtype=bool), TokenSampler(steps=1))
    shares = torch.bincount(drawn[0], minlength=3) / 6000
    # the standard error of the largest share is 0.006
    assert shares.tolist() == pytest.approx([0.7, 0.2, 0.1], abs=0.025)


def test_noise_in_the_choice_changes_the_order_and_not_the_count() -> None:
    scores = torch.zeros(1, GRID**2, CODES)
    scores[0, :, 0] = torch.linspace(1, 12, GRID**2)
    everything = np.ones((1, GRID**2), dtype=bool)
    sure, noisy = Record(scores), Record(scores)
    filled_in(sure, everything, TokenSampler(steps=4, temperature=0.0))
    filled_in(noisy, everything, TokenSampler(steps=4, temperature=50.0))
    assert [int(h.sum()) for h in sure.hidden] == [int(h.sum()) for h in noisy.hidden]
    assert not torch.equal(sure.hidden[1], noisy.hidden[1])
