"""Draws are keyed by what they are for, so neither order, nor batch, nor process matters."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from efface.randomness import Draws, key, numpy_draws, torch_draws


def test_a_key_depends_on_every_part_on_types_and_on_order() -> None:
    parts = [(0, "a", 1), (1, "a", 0), (0, "a", 2), (0, "b", 1), ("0", "a", 1), (0, "a1"), (0, "a", "1")]
    keys = [key(*one) for one in parts]
    assert all(first != second for first, second in combinations(keys, 2))
    assert all(0 <= value < 2**63 for value in keys)
    assert key(0, "a", 1) == keys[0]


def test_names_that_are_not_utf8_have_keys() -> None:
    assert key("caf\udce9") != key("café")


def test_generators_repeat() -> None:
    assert np.array_equal(numpy_draws(3, "x").random(5), numpy_draws(3, "x").random(5))
    assert torch.equal(
        torch.rand(5, generator=torch_draws(3, "x")), torch.rand(5, generator=torch_draws(3, "x"))
    )


@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_an_image_has_the_same_draws_wherever_it_stands_in_a_batch(kind: str) -> None:
    together = getattr(Draws(7, ("a", "b", "c"), (0, 1, 2)), kind)("mask", (2, 3), "cpu")
    reordered = getattr(Draws(7, ("c", "a", "b"), (2, 0, 1)), kind)("mask", (2, 3), "cpu")
    alone = getattr(Draws(7, ("b",), (1,)), kind)("mask", (2, 3), "cpu")
    assert together.shape == (3, 2, 3)
    assert torch.equal(together[[2, 0, 1]], reordered)
    assert torch.equal(together[1:2], alone)


def test_another_visit_seed_or_purpose_is_another_draw() -> None:
    drawn = Draws(7, ("a",), (0,)).uniform("mask", (8,), "cpu")
    for other in (Draws(7, ("a",), (1,)), Draws(8, ("a",), (0,)), Draws(7, ("b",), (0,))):
        assert not torch.equal(drawn, other.uniform("mask", (8,), "cpu"))
    assert not torch.equal(drawn, Draws(7, ("a",), (0,)).uniform("noise", (8,), "cpu"))


def test_joined_draws_are_those_of_both_batches() -> None:
    first, second = Draws(7, ("a", "b"), (0, 0)), Draws(7, ("c",), (4,))
    joined = first.join(second)
    assert len(joined) == 3
    parts = [batch.normal("noise", (4,), "cpu") for batch in (first, second)]
    assert torch.equal(joined.normal("noise", (4,), "cpu"), torch.cat(parts))
    assert [rng.random() for rng in joined.each("x")][2] == second.each("x")[0].random()


def test_draws_of_two_seeds_are_not_joined() -> None:
    with pytest.raises(ValueError, match="seeds 1 and 2"):
        Draws(1, ("a",), (0,)).join(Draws(2, ("b",), (0,)))


def test_drawing_leaves_the_global_random_states_alone() -> None:
    before = torch.get_rng_state().clone(), np.random.get_state(legacy=False)["state"]["key"].copy()
    Draws(7, ("a",), (0,)).normal("noise", (4,), "cpu")
    Draws(7, ("a",), (0,)).each("noise")
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state(legacy=False)["state"]["key"])
