"""A model that is read wrongly is found out on real images, one that is read rightly is left in peace."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from efface.corruptions import parse_corruption
from efface.generators.mae.generator import IMAGENET_MEAN, IMAGENET_STD, MaeGenerator, MaeView
from efface.generators.mae.risks import HALVES, compare_readings
from efface.generators.registry import risks_of
from support.tiny_models import SIZE, draws, tiny

ZEROS, ONES = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def slopes(count: int, seed: int) -> Tensor:
    """Pictures of any brightness with a slight slope in each colour: quickly learnt."""
    rng = torch.Generator().manual_seed(seed)
    place = torch.linspace(-1, 1, SIZE)
    bright, across, down = (torch.rand(count, 3, 1, 1, generator=rng) for _ in range(3))
    slope = (across - 0.5) * place.view(1, 1, 1, -1) + (down - 0.5) * place.view(1, 1, -1, 1)
    return 0.2 + 0.6 * bright + 0.25 * slope


def trained(norm_pix_loss: bool, steps: int) -> MaeGenerator:
    """A tiny model trained on slopes, as it is read at its training: with ImageNet's statistics."""
    generator = tiny(norm_pix_loss=norm_pix_loss)
    generator.set_trained("all")
    optimizer = torch.optim.AdamW(generator.trained_parameters("all").values(), lr=3e-3)
    images = slopes(24 * 8, seed=1)
    for step in range(steps):
        first = 24 * (step % 8)
        batch = generator.view(
            images[first : first + 24], parse_corruption("random:0.25"), draws(24, visit=step)
        )
        optimizer.zero_grad()
        generator.task_loss(batch).mean().backward()
        optimizer.step()
    return generator.eval()


@pytest.fixture(scope="module")
def plain() -> MaeGenerator:
    return trained(False, 360)


@pytest.fixture(scope="module")
def normalised() -> MaeGenerator:
    return trained(True, 100)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return slopes(16, seed=9)


def read_as(
    generator: MaeGenerator, mean: tuple, std: tuple, norm_pix_loss: bool | None = None
) -> MaeGenerator:
    reading = MaeGenerator(generator.network, mean, std)
    if norm_pix_loss is not None:
        reading.config.norm_pix_loss = norm_pix_loss
    return reading


def test_the_right_reading_is_not_flagged(
    plain: MaeGenerator, normalised: MaeGenerator, images: Tensor
) -> None:
    assert risks_of(plain, images) == []
    assert risks_of(normalised, images) == []
    assert compare_readings(plain, images)[0].explained > 0.5


def test_a_model_is_asked_under_the_masks_of_its_own_training(
    images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator, centre = tiny(), parse_corruption("centre:0.5")
    learnt = torch.from_numpy(
        centre.apply(images, generator.grid, draws(len(images))).touched.reshape(len(images), -1)
    )

    def predict(self: MaeGenerator, view: MaeView) -> Tensor:
        """All there is to know of the centre, in ImageNet's statistics, and nothing of scattered patches."""
        target = generator.network.patchify((view.images - generator.mean) / generator.std)
        return target if torch.equal(view.hidden, learnt) else -target

    monkeypatch.setattr(MaeGenerator, "predict", predict)
    generator.trained_with = centre
    assert risks_of(generator, images) == []
    assert compare_readings(generator, images)[0].explained == 1
    generator.trained_with = None
    assert "may be untrained" in risks_of(generator, images)[0]


@pytest.mark.parametrize(("mean", "std", "name"), [(ZEROS, ONES, "plain"), (HALVES, HALVES, "mean 0.5")])
def test_wrong_channel_statistics_are_found_out(
    mean: tuple, std: tuple, name: str, plain: MaeGenerator, images: Tensor
) -> None:
    (risk,) = risks_of(read_as(plain, mean, std), images)
    assert f"the model is read as: {name}" in risk
    assert f"--set model.image_mean='{list(IMAGENET_MEAN)}'" in risk
    assert f"--set model.image_std='{list(IMAGENET_STD)}'" in risk
    assert "norm_pix_loss" not in risk


def test_statistics_of_no_known_reading_are_found_out_too(plain: MaeGenerator, images: Tensor) -> None:
    (risk,) = risks_of(read_as(plain, (0.1, 0.1, 0.1), (0.7, 0.7, 0.7)), images)
    assert "mean (0.1, 0.1, 0.1), std (0.7, 0.7, 0.7)" in risk


def test_a_wrong_norm_pix_loss_is_found_out_both_ways(
    plain: MaeGenerator, normalised: MaeGenerator, images: Tensor
) -> None:
    for generator, right in ((plain, False), (normalised, True)):
        try:
            (risk,) = risks_of(read_as(generator, IMAGENET_MEAN, IMAGENET_STD, not right), images)
        finally:
            generator.config.norm_pix_loss = right
        assert f"--set model.norm_pix_loss={str(right).lower()}" in risk


def test_every_reading_is_tried_once_and_the_present_one_first(plain: MaeGenerator, images: Tensor) -> None:
    names = [str(reading) for reading in compare_readings(plain, images)]
    assert len(names) == len(set(names)) == 6
    assert names[0] == "ImageNet mean and std, plain patches"
    other = [str(reading) for reading in compare_readings(read_as(plain, (0.1,) * 3, ONES), images)]
    assert len(other) == len(set(other)) == 8


@pytest.mark.parametrize("norm_pix_loss", [False, True])
def test_an_untrained_model_is_called_weak(norm_pix_loss: bool, images: Tensor) -> None:
    (risk,) = risks_of(tiny(norm_pix_loss=norm_pix_loss), images)
    assert "explains almost nothing" in risk
    assert "it may be untrained" in risk


def test_looking_for_risks_leaves_weights_and_mask_ratio_alone(plain: MaeGenerator, images: Tensor) -> None:
    digest, ratio = plain.weights_digest(), plain.mask_ratio
    risks_of(plain, images)
    assert plain.weights_digest() == digest
    assert plain.mask_ratio == ratio
    assert all(parameter.requires_grad for parameter in plain.encoder_parameters().values())
