"""What a corrupted batch holds, and that random patches hang on nothing but seed, visit and image."""

from __future__ import annotations

import pytest
import torch

from efface.corruptions import CORRUPTIONS, Corrupted, Hole, parse_corruption
from efface.randomness import Draws

HOLES = [kind for kind in CORRUPTIONS.values() if issubclass(kind, Hole)]
EVERY_HOLE = [kind.usage.split(" or ", maxsplit=1)[0] for kind in HOLES]
FIXED = [text for text, kind in zip(EVERY_HOLE, HOLES, strict=True) if not kind.is_random]
RANDOM = [text for text, kind in zip(EVERY_HOLE, HOLES, strict=True) if kind.is_random]
IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.4


def corrupted(
    text: str, images: torch.Tensor, ids: str, visits: int | list[int] = 0, seed: int = 0
) -> Corrupted:
    visit = [visits] * len(ids) if isinstance(visits, int) else visits
    return parse_corruption(text).apply(images, 4, Draws(seed, tuple(ids), tuple(visit)))


@pytest.mark.parametrize("text", EVERY_HOLE)
def test_known_pixels_are_the_originals_and_all_others_are_grey_and_compared(text: str) -> None:
    images = IMAGES.clone()
    result = corrupted(text, images, "abc")
    assert result.condition.shape == (3, 3, 32, 32)
    assert result.known.shape == result.region.shape == (3, 1, 32, 32)
    assert result.known.dtype == result.region.dtype == torch.bool
    assert torch.equal(result.region, ~result.known)
    assert result.known.flatten(1).any(dim=1).all()
    assert result.region.flatten(1).any(dim=1).all()
    known = result.known.expand_as(images)
    assert torch.equal(result.condition[known], images[known])
    assert (result.condition[~known] == 0.5).all()
    assert torch.equal(images, IMAGES), "the images themselves stay as they were"


@pytest.mark.parametrize("text", FIXED)
def test_fixed_holes_are_the_same_for_every_image_and_seed(text: str) -> None:
    one, other = corrupted(text, IMAGES, "abc"), corrupted(text, IMAGES, "xyz", visits=3, seed=9)
    assert torch.equal(one.known, other.known)
    assert torch.equal(one.known[0], one.known[2])


@pytest.mark.parametrize("text", RANDOM)
def test_random_holes_do_not_depend_on_the_batch_or_the_place_in_it(text: str) -> None:
    together = corrupted(text, IMAGES, "abc")
    backwards = corrupted(text, IMAGES.flip(0), "cba")
    alone = corrupted(text, IMAGES[1:2], "b")
    assert torch.equal(together.known, backwards.known.flip(0))
    assert torch.equal(together.known[1:2], alone.known)
    assert torch.equal(together.condition[1:2], alone.condition)


@pytest.mark.parametrize("text", RANDOM)
def test_random_holes_differ_between_images_visits_and_seeds(text: str) -> None:
    first = corrupted(text, IMAGES, "abc").known
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, corrupted(text, IMAGES, "abc", visits=1).known)
    assert not torch.equal(first, corrupted(text, IMAGES, "abc", seed=1).known)
    mixed = corrupted(text, IMAGES, "abc", visits=[0, 1, 0]).known
    assert torch.equal(mixed[[0, 2]], first[[0, 2]])
    assert not torch.equal(mixed[1], first[1])


@pytest.mark.parametrize("text", RANDOM)
def test_pixels_do_not_decide_the_mask(text: str) -> None:
    one, other = corrupted(text, IMAGES, "abc"), corrupted(text, 1 - IMAGES, "abc")
    assert torch.equal(one.known, other.known)


def test_holes_hide_and_conditions_do_not() -> None:
    hiding = {name for name, kind in CORRUPTIONS.items() if kind.hides}
    assert hiding == {kind.name for kind in HOLES}
    assert {name for name, kind in CORRUPTIONS.items() if kind.paired} == {"paired"}
