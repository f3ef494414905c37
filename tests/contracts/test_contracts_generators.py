"""Every generator with every corruption that it takes: shapes, values, known pixels."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch

from efface.corruptions import CORRUPTIONS, parse_corruption, touched_patches
from efface.errors import InputError
from efface.generators.base import Generator, PixelMoments
from efface.generators.registry import FAMILIES
from efface.testing import generators as contract
from support.families import MODELS, TEXTS, Case, cases, one_of_each_kind, takes
from support.tiny_models import draws, pictures

MOMENTS = PixelMoments(torch.tensor([0.2, 0.5, 0.8]), torch.tensor([0.3, 0.1, 0.02]))
COUNT = 3
WITH_FIRST_STAGE = ("mage", "latent-inpainting")
every_model = pytest.mark.parametrize("name", MODELS)


@cache
def all_cases() -> list[Case]:
    """Made when the first test asks for them: they need all models."""
    return cases()


def check_each_kind(name: str, number: int, check: Callable[[Case], None]) -> None:
    """Check a model with a corruption of each kind: it enters by its mask and its condition alone."""
    for case in one_of_each_kind(all_cases(), number):
        if case.name == name:
            try:
                check(case)
            except AssertionError as error:
                error.add_note(str(case))
                raise


def seen_by(generator: Generator, case: Case, visit: int = 0) -> Any:
    images = pictures(COUNT, size=generator.image_size)
    return generator.view(images, case.corruption, draws(COUNT, visit=visit))


def test_every_family_and_corruption_is_here() -> None:
    assert {make().family for make in MODELS.values()} == set(FAMILIES)
    assert {parse_corruption(text).name for text in TEXTS} == set(CORRUPTIONS) - {"paired"}
    # no corruption without a model that takes it, no model that takes none
    assert {case.corruption.name for case in all_cases()} == set(CORRUPTIONS) - {"paired"}
    assert {case.name for case in all_cases()} == set(MODELS)
    assert {name for name, make in MODELS.items() if make().first_stage_parameters()} == {
        name for name in MODELS if name.startswith(WITH_FIRST_STAGE)
    }


@every_model
def test_what_a_family_does_not_take_is_refused_with_a_reason(name: str) -> None:
    generator = MODELS[name]()
    for corruption in map(parse_corruption, TEXTS):
        if not takes(generator, corruption):
            with pytest.raises(InputError, match=r"^corruption '.*(cuts a hole|hides|leaves)"):
                generator.check_corruption(corruption)


def test_views_hold_what_was_asked_for_under_every_corruption() -> None:
    corruptions: dict[str, Case] = {}
    for case in all_cases():
        corruptions.setdefault(str(case.corruption), case)
    for case in {*corruptions.values(), *one_of_each_kind(all_cases(), 7)}:
        contract.views_hold_what_was_asked_for(case.make, case.corruption)


@every_model
def test_features_predictions_and_losses_have_their_shapes(name: str) -> None:
    check_each_kind(
        name,
        0,
        lambda case: contract.features_predictions_and_losses_have_their_shapes(case.make, case.corruption),
    )


@every_model
def test_restoring_keeps_known_pixels_and_stays_a_picture(name: str) -> None:
    check_each_kind(
        name, 1, lambda case: contract.restoring_keeps_known_pixels(case.make, case.corruption, case.sampler)
    )


@pytest.mark.parametrize("name", ["mae", "mae, fine grid"])
def test_a_masked_autoencoder_sees_no_patch_that_is_touched(name: str) -> None:
    """Normalised patches are a matter of its target."""
    for case in all_cases():
        if case.name == name:
            sees_no_patch_that_is_touched(case)


def sees_no_patch_that_is_touched(case: Case) -> None:
    generator = case.make().eval()
    seen = seen_by(generator, case)
    assert seen.inputs.shape == seen.images.shape
    touched = torch.from_numpy(touched_patches(seen.corrupted.region[:, 0].numpy(), generator.grid))
    patch = generator.image_size // generator.grid
    raster = touched.repeat_interleave(patch, 1).repeat_interleave(patch, 2).unsqueeze(1)
    swapped = torch.where(raster, 1 - seen.images, seen.images)
    other = generator.view(swapped, case.corruption, draws(COUNT))
    with torch.no_grad():
        for one, again in zip(generator.encode(seen), generator.encode(other), strict=True):
            assert torch.equal(one, again)


@every_model
def test_restoring_does_not_look_at_what_is_hidden(name: str) -> None:
    check_each_kind(
        name,
        2,
        lambda case: contract.restoring_does_not_look_at_what_is_hidden(
            case.make, case.corruption, case.sampler
        ),
    )


@every_model
def test_student_and_teacher_agree_on_every_view(name: str) -> None:
    check_each_kind(name, 3, lambda case: contract.student_and_teacher_agree(case.make, case.corruption))


@every_model
def test_noise_views_differ_in_what_the_encoder_sees_and_in_nothing_else(name: str) -> None:
    check_each_kind(
        name, 4, lambda case: contract.noise_views_differ_in_what_is_seen_alone(case.make, case.corruption)
    )


@every_model
def test_a_joined_view_is_both_views_one_after_the_other(name: str) -> None:
    check_each_kind(name, 5, lambda case: contract.joined_views_are_both(case.make, case.corruption))


@every_model
def test_parameters_belong_to_encoder_decoder_or_first_stage_alone(name: str) -> None:
    contract.parameters_belong_to_one_part(MODELS[name])


@pytest.mark.parametrize("name", [name for name in MODELS if name.startswith(WITH_FIRST_STAGE)])
def test_views_made_from_kept_codes_are_the_same(name: str) -> None:
    check_each_kind(name, 6, lambda case: contract.kept_codes_give_the_same_view(case.make, case.corruption))


@every_model
def test_samplers_are_named_its_own_is_the_default_and_unknown_ones_are_refused(name: str) -> None:
    contract.samplers_are_named(MODELS[name], [case.corruption for case in all_cases() if case.name == name])


@every_model
def test_a_saved_model_remembers_what_it_was_trained_with(name: str) -> None:
    other = "centre:0.25" if MODELS[name]().takes_holes else "jpeg:20"
    contract.a_saved_model_opens_as_it_was(MODELS[name], [parse_corruption(other)])
