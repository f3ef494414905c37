"""What a corrupted batch holds, and that random patches hang on nothing but seed, visit and image."""

from __future__ import annotations

import pytest
import torch

from efface.corruptions import CORRUPTIONS, Corrupted, parse_corruption
from efface.randomness import Draws

EVERY_KIND = [kind.usage.split(" or ", maxsplit=1)[0] for kind in CORRUPTIONS.values()]
IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.4


def corrupted(
    text: str, images: torch.Tensor, ids: str, visits: int | list[int] = 0, seed: int = 0
) -> Corrupted:
    visit = [visits] * len(ids) if isinstance(visits, int) else visits
    return parse_corruption(text).apply(images, 4, Draws(seed, tuple(ids), tuple(visit)))


@pytest.mark.parametrize("text", EVERY_KIND)
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


@pytest.mark.parametrize("text", [text for text in EVERY_KIND if not text.startswith("random")])
def test_fixed_holes_are_the_same_for_every_image_and_seed(text: str) -> None:
    one, other = corrupted(text, IMAGES, "abc"), corrupted(text, IMAGES, "xyz", visits=3, seed=9)
    assert torch.equal(one.known, other.known)
    assert torch.equal(one.known[0], one.known[2])


def test_random_patches_do_not_depend_on_the_batch_or_the_place_in_it() -> None:
    together = corrupted("random:0.5", IMAGES, "abc")
    backwards = corrupted("random:0.5", IMAGES.flip(0), "cba")
    alone = corrupted("random:0.5", IMAGES[1:2], "b")
    assert torch.equal(together.known, backwards.known.flip(0))
    assert torch.equal(together.known[1:2], alone.known)
    assert torch.equal(together.condition[1:2], alone.condition)


def test_random_patches_differ_between_images_visits_and_seeds() -> None:
    first = corrupted("random:0.5", IMAGES, "abc").known
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, corrupted("random:0.5", IMAGES, "abc", visits=1).known)
    assert not torch.equal(first, corrupted("random:0.5", IMAGES, "abc", seed=1).known)
    mixed = corrupted("random:0.5", IMAGES, "abc", visits=[0, 1, 0]).known
    assert torch.equal(mixed[[0, 2]], first[[0, 2]])
    assert not torch.equal(mixed[1], first[1])


def test_pixels_do_not_decide_the_mask() -> None:
    one, other = corrupted("random:0.75", IMAGES, "abc"), corrupted("random:0.75", 1 - IMAGES, "abc")
    assert torch.equal(one.known, other.known)
