"""Every generator with every corruption: shapes, values, known pixels."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tiny_models import SIZE, draws, pictures, tiny

from efface.corruptions import CORRUPTIONS, parse_corruption, touched_patches
from efface.generators import FAMILIES
from efface.generators.base import Generator, Moments

GENERATORS: dict[str, Callable[[], Generator]] = {
    "mae": tiny,
    "mae, normalised patches": lambda: tiny(norm_pix_loss=True),
    "mae, fine grid": lambda: tiny(patch_size=4),
}
EVERY_KIND = [
    example for kind in CORRUPTIONS.values() for example in kind.usage.replace("8x8b", "2x2b").split(" or ")
]
MOMENTS = Moments(torch.tensor([0.2, 0.5, 0.8]), torch.tensor([0.3, 0.1, 0.02]))
COUNT = 3

TEXTS = [*EVERY_KIND, "random:0.01", "rectangle:0,0.9,0.1,0.1"]
every_case = pytest.mark.parametrize(
    ("make", "text"),
    [pytest.param(make, text, id=f"{name}; {text}") for name, make in GENERATORS.items() for text in TEXTS],
)


def test_every_family_and_corruption_is_here() -> None:
    assert {make().family for make in GENERATORS.values()} == set(FAMILIES)
    assert {parse_corruption(text).name for text in TEXTS} == set(CORRUPTIONS)


@every_case
def test_views_hold_what_was_asked_for(make: Callable[[], Generator], text: str) -> None:
    generator, corruption, images = make(), parse_corruption(text), pictures(COUNT)
    corruption.check(generator.image_size, generator.grid)
    seen = generator.view(images, corruption, draws(COUNT))
    assert len(seen) == COUNT
    assert torch.equal(seen.images, images)
    assert seen.inputs.shape == images.shape
    assert torch.equal(seen.corrupted.known, corruption.apply(images, generator.grid, draws(COUNT)).known)
    again = generator.view(images, corruption, draws(COUNT))
    assert torch.equal(seen.corrupted.known, again.corrupted.known)
    moved = generator.view(images, corruption, draws(COUNT, visit=1))
    assert torch.equal(seen.corrupted.known, moved.corrupted.known) != corruption.is_random


@every_case
def test_features_predictions_and_losses_have_their_shapes(make: Callable[[], Generator], text: str) -> None:
    generator, corruption = make().eval(), parse_corruption(text)
    seen = generator.view(pictures(COUNT), corruption, draws(COUNT))
    with torch.no_grad():
        features = generator.encode(seen)
        prediction = generator.decode(features, seen)
    assert isinstance(features, tuple)
    assert all(len(feature) == COUNT and feature.isfinite().all() for feature in features)
    assert prediction.shape == generator.task_target(seen).shape
    assert prediction.shape == generator.noise_target(seen, "uniform", MOMENTS).shape
    losses = generator.prediction_loss(prediction, generator.task_target(seen), seen)
    assert losses.shape == (COUNT,)
    assert losses.isfinite().all()
    assert (losses > 0).all()
    exact = generator.prediction_loss(generator.task_target(seen), generator.task_target(seen), seen)
    assert exact.tolist() == [0.0] * COUNT
    assert torch.equal(generator.predict(seen), prediction)


@every_case
def test_restoring_keeps_known_pixels_and_stays_a_picture(make: Callable[[], Generator], text: str) -> None:
    generator, images = make().eval(), pictures(COUNT)
    seen = generator.view(images, parse_corruption(text), draws(COUNT))
    restored = generator.restore(seen)
    assert restored.shape == (COUNT, 3, SIZE, SIZE)
    assert not restored.requires_grad
    known = seen.corrupted.known.expand_as(images)
    assert torch.equal(restored[known], images[known])
    assert restored.min() >= 0
    assert restored.max() <= 1
    assert (restored[~known] != images[~known]).float().mean() > 0.9


@every_case
def test_the_network_sees_no_patch_that_is_touched(make: Callable[[], Generator], text: str) -> None:
    generator = make().eval()
    images = pictures(COUNT)
    corruption = parse_corruption(text)
    seen = generator.view(images, corruption, draws(COUNT))
    touched = touched_patches(seen.corrupted.region[:, 0].numpy(), generator.grid)
    patch = SIZE // generator.grid
    raster = torch.from_numpy(touched).repeat_interleave(patch, 1).repeat_interleave(patch, 2).unsqueeze(1)
    swapped = torch.where(raster, 1 - images, images)
    with torch.no_grad():
        for one, other in zip(
            generator.encode(seen),
            generator.encode(generator.view(swapped, corruption, draws(COUNT))),
            strict=True,
        ):
            assert torch.equal(one, other)


@every_case
def test_student_and_teacher_agree_on_every_view(make: Callable[[], Generator], text: str) -> None:
    generator = make().eval()
    generator.keep_teacher()
    seen = generator.view(pictures(COUNT), parse_corruption(text), draws(COUNT))
    noisy = generator.noise_view(seen, "standard-normal", MOMENTS)
    for at in (seen, noisy):
        with torch.no_grad():
            student = generator.encode(at)
        with generator.teacher():
            taught = generator.encode(at)
        assert all(torch.equal(one, other) for one, other in zip(student, taught, strict=True))
