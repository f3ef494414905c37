"""Every generator with every corruption that it takes: shapes, values, known pixels."""

from __future__ import annotations

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
CASES = cases()


def one_case_of_each_kind(number: int) -> pytest.MarkDecorator:
    """Tests that a corruption enters by its mask and its condition alone: no product of all with all."""
    return pytest.mark.parametrize("case", one_of_each_kind(CASES, number), ids=str)


def seen_by(generator: Generator, case: Case, visit: int = 0) -> Any:
    images = pictures(COUNT, size=generator.image_size)
    return generator.view(images, case.corruption, draws(COUNT, visit=visit))


def test_every_family_and_corruption_is_here() -> None:
    assert {make().family for make in MODELS.values()} == set(FAMILIES)
    assert {parse_corruption(text).name for text in TEXTS} == set(CORRUPTIONS) - {"paired"}
    # no corruption without a model that takes it, no model that takes none
    assert {case.corruption.name for case in CASES} == set(CORRUPTIONS) - {"paired"}
    assert {case.name for case in CASES} == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_what_a_family_does_not_take_is_refused_with_a_reason(name: str) -> None:
    generator = MODELS[name]()
    for corruption in map(parse_corruption, TEXTS):
        if not takes(generator, corruption):
            with pytest.raises(InputError, match=r"^corruption '.*(cuts a hole|hides|leaves)"):
                generator.check_corruption(corruption)


def test_views_hold_what_was_asked_for_under_every_corruption() -> None:
    corruptions: dict[str, Case] = {}
    for case in CASES:
        corruptions.setdefault(str(case.corruption), case)
    for case in {*corruptions.values(), *one_of_each_kind(CASES, 7)}:
        contract.views_hold_what_was_asked_for(case.make, case.corruption)


@one_case_of_each_kind(0)
def test_features_predictions_and_losses_have_their_shapes(case: Case) -> None:
    contract.features_predictions_and_losses_have_their_shapes(case.make, case.corruption)


@one_case_of_each_kind(1)
def test_restoring_keeps_known_pixels_and_stays_a_picture(case: Case) -> None:
    contract.restoring_keeps_known_pixels(case.make, case.corruption, case.sampler)


@pytest.mark.parametrize("case", [case for case in CASES if case.name in ("mae", "mae, fine grid")], ids=str)
def test_a_masked_autoencoder_sees_no_patch_that_is_touched(case: Case) -> None:
    """Normalised patches are a matter of its target."""
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


@one_case_of_each_kind(2)
def test_restoring_does_not_look_at_what_is_hidden(case: Case) -> None:
    contract.restoring_does_not_look_at_what_is_hidden(case.make, case.corruption, case.sampler)


@one_case_of_each_kind(3)
def test_student_and_teacher_agree_on_every_view(case: Case) -> None:
    contract.student_and_teacher_agree(case.make, case.corruption)


@one_case_of_each_kind(4)
def test_noise_views_differ_in_what_the_encoder_sees_and_in_nothing_else(case: Case) -> None:
    contract.noise_views_differ_in_what_is_seen_alone(case.make, case.corruption)


@one_case_of_each_kind(5)
def test_a_joined_view_is_both_views_one_after_the_other(case: Case) -> None:
    contract.joined_views_are_both(case.make, case.corruption)


@pytest.mark.parametrize("name", MODELS)
def test_parameters_belong_to_encoder_decoder_or_first_stage_alone(name: str) -> None:
    contract.parameters_belong_to_one_part(MODELS[name])


@pytest.mark.parametrize("name", [name for name, make in MODELS.items() if make().first_stage_parameters()])
def test_views_made_from_kept_codes_are_the_same(name: str) -> None:
    for case in (case for case in one_of_each_kind(CASES, 6) if case.name == name):
        contract.kept_codes_give_the_same_view(case.make, case.corruption)


@pytest.mark.parametrize("name", MODELS)
def test_samplers_are_named_its_own_is_the_default_and_unknown_ones_are_refused(name: str) -> None:
    contract.samplers_are_named(MODELS[name], [case.corruption for case in CASES if case.name == name])


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_model_remembers_what_it_was_trained_with(name: str) -> None:
    other = "centre:0.25" if MODELS[name]().takes_holes else "jpeg:20"
    contract.a_saved_model_opens_as_it_was(MODELS[name], [parse_corruption(other)])
