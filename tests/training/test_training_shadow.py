"""The shadow beside the teacher, and the way back to the original."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from efface.generators.base import Generator
from efface.generators.mae.generator import MaeGenerator
from support.tiny_models import changed, pictures, tiny, view, weights_of

# the shadow and the way back


def moved(generator: Generator, by: float) -> None:
    """Every weight, those that no method trains as well."""
    with torch.no_grad():
        for parameter in generator.network.parameters():
            parameter.add_(by)


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
@pytest.mark.parametrize("trained", ["encoder", "all"])
def test_the_originals_weights_come_back_bit_for_bit(trained: Any, precision: torch.dtype | None) -> None:
    generator = tiny()
    moved(generator, 1 / 3)  # numbers that bf16 cannot hold
    before, seen = weights_of(generator), view(generator, pictures(2))
    generator.keep_teacher(trained, precision)
    generator.keep_original()
    with generator.teacher(), torch.autocast("cpu", torch.bfloat16, enabled=precision is not None):
        taught = generator.encode(seen)
    moved(generator, 0.1)
    generator.return_to_teacher()
    assert changed(before, weights_of(generator)) == set()
    with generator.teacher(), torch.autocast("cpu", torch.bfloat16, enabled=precision is not None):
        again = generator.encode(seen)
    assert all(torch.equal(one, other) for one, other in zip(taught, again, strict=True))


def test_a_teacher_in_full_precision_is_enough_for_what_is_trained() -> None:
    generator = tiny()
    before = weights_of(generator)
    generator.keep_teacher("all")
    with torch.no_grad():
        for parameter in generator.trained_parameters("all").values():
            parameter.add_(0.1)
    generator.return_to_teacher()
    assert changed(before, weights_of(generator)) == set()


def test_there_is_no_way_back_without_the_original() -> None:
    generator = tiny()
    with pytest.raises(RuntimeError, match="no teacher is kept to return to"):
        generator.return_to_teacher()
    generator.keep_teacher("all", torch.bfloat16)
    with pytest.raises(RuntimeError, match=r"does not hold .* as it was: call keep_original"):
        generator.return_to_teacher()
    generator.keep_original()
    generator.drop_teacher()
    with pytest.raises(RuntimeError, match="no teacher"):
        generator.return_to_teacher()


def other_weights() -> MaeGenerator:
    """A generator with its original kept, whose shadow differs from it in every weight."""
    generator = tiny(hidden_dropout_prob=0.1)
    generator.keep_teacher("all")
    generator.keep_original()
    moved(generator, 0.1)
    generator.keep_shadow()
    generator.return_to_teacher()
    return generator.train()


def test_the_shadow_answers_in_the_block_alone_frozen_and_in_evaluation_mode() -> None:
    generator, shifted = other_weights(), tiny()
    moved(shifted, 0.1)
    seen = view(generator, pictures(2))
    with generator.shadow():
        shadow = generator.encode(seen)
        assert not generator.active.training
        with generator.teacher():
            taught = generator.encode(seen)
        assert torch.equal(generator.encode(seen)[0], shadow[0]), "the inner block ends, the outer goes on"
    assert generator.active is generator.network
    assert not shadow[0].requires_grad
    with torch.no_grad():
        assert torch.equal(shadow[0], shifted.encode(seen)[0])
        assert torch.equal(taught[0], tiny().encode(seen)[0])


def test_the_shadow_is_no_part_of_the_model() -> None:
    generator = other_weights()
    assert set(generator.state_dict()) == {f"network.{name}" for name in tiny().network.state_dict()}
    assert generator.weights_digest() == tiny().weights_digest()
    generator.drop_shadow()
    with pytest.raises(RuntimeError, match="no shadow is kept"), generator.shadow():
        pass
    assert generator.shadow_state() == {}


def test_a_loaded_shadow_answers_as_the_one_that_was_saved() -> None:
    generator = other_weights()
    other = tiny()
    before = weights_of(other)
    other.load_shadow(generator.shadow_state())
    seen = view(generator, pictures(2))
    with generator.shadow(), other.shadow():
        assert torch.equal(generator.encode(seen)[0], other.encode(seen)[0])
    assert changed(before, weights_of(other)) == set()
    other.load_shadow({})
    with pytest.raises(RuntimeError, match="no shadow"), other.shadow():
        pass


def test_a_shadow_shares_what_it_has_in_common_with_the_original() -> None:
    generator = tiny()
    generator.keep_teacher("all")
    generator.keep_original()
    with torch.no_grad():
        for parameter in generator.trained_parameters("all").values():
            parameter.add_(0.1)
    generator.keep_shadow()
    frozen = set(generator.network.state_dict()) - set(generator.trained_parameters("all"))
    assert frozen
    assert set(generator.shadow_state()) == set(generator.trained_parameters("all"))
