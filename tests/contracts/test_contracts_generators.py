"""Every generator with every corruption that it takes: shapes, values, known pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from efface.corruptions import CORRUPTIONS, parse_corruption, touched_patches
from efface.errors import InputError
from efface.generators import load_generator
from efface.generators.base import Generator, Moments
from efface.generators.registry import FAMILIES
from support.families import MODELS, TEXTS, Case, cases, one_of_each_kind, takes
from support.tiny_models import draws, pictures

MOMENTS = Moments(torch.tensor([0.2, 0.5, 0.8]), torch.tensor([0.3, 0.1, 0.02]))
COUNT = 3
CASES = cases()

every_case = pytest.mark.parametrize("case", CASES, ids=str)


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


@every_case
def test_views_hold_what_was_asked_for(case: Case) -> None:
    generator, corruption = case.make(), case.corruption
    images = pictures(COUNT, size=generator.image_size)
    seen = generator.view(images, corruption, draws(COUNT))
    assert len(seen) == COUNT
    assert torch.equal(seen.images, images)
    applied = corruption.apply(images, generator.grid, draws(COUNT))
    assert torch.equal(seen.corrupted.known, applied.known)
    assert torch.equal(seen_by(generator, case).corrupted.known, applied.known)
    moved = seen_by(generator, case, visit=1)
    assert torch.equal(applied.known, moved.corrupted.known) != corruption.is_random


@one_case_of_each_kind(0)
def test_features_predictions_and_losses_have_their_shapes(case: Case) -> None:
    generator = case.make().eval()
    seen = seen_by(generator, case)
    with torch.no_grad():
        features = generator.encode(seen)
        prediction = generator.decode(features, seen)
    assert isinstance(features, tuple)
    assert all(len(feature) == COUNT and feature.isfinite().all() for feature in features)
    target = generator.task_target(seen)
    assert len(prediction) == len(target) == COUNT
    assert target.shape == generator.noise_target(seen, "uniform", MOMENTS).shape
    if target.is_floating_point():
        assert prediction.shape == target.shape
        assert generator.prediction_loss(target, target, seen).tolist() == [0.0] * COUNT
    losses = generator.prediction_loss(prediction, target, seen)
    assert losses.shape == (COUNT,)
    assert losses.isfinite().all()
    assert (losses > 0).all()
    # a prediction may be a target too, as when outputs are distilled; none is nearer to it than itself
    own = generator.prediction_loss(prediction, prediction, seen)
    other = generator.prediction_loss(prediction.roll(1, 0), prediction, seen)
    assert (own <= other + 1e-6).all()
    assert torch.equal(generator.predict(seen), prediction)
    assert torch.allclose(generator.task_loss(seen), losses)


@one_case_of_each_kind(1)
def test_restoring_keeps_known_pixels_and_stays_a_picture(case: Case) -> None:
    generator = case.make().eval()
    seen = seen_by(generator, case)
    restored = generator.restore(seen, case.sampler)
    assert restored.shape == seen.images.shape
    assert not restored.requires_grad
    known = seen.corrupted.known.expand_as(seen.images)
    assert torch.equal(restored[known], seen.images[known])
    assert restored.min() >= 0
    assert restored.max() <= 1
    # a random network saturates, and where the truth is black or white too, that is no difference
    grey = ~known & (seen.images > 0) & (seen.images < 1)
    assert (restored[grey] != seen.images[grey]).float().mean() > 0.9
    assert torch.equal(generator.restore(seen, case.sampler), restored), "draws are keyed by image"


@pytest.mark.parametrize("case", [case for case in CASES if case.make().family == "mae"], ids=str)
def test_a_masked_autoencoder_sees_no_patch_that_is_touched(case: Case) -> None:
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
    generator = case.make().eval()
    images = pictures(COUNT, size=generator.image_size)
    seen = generator.view(images, case.corruption, draws(COUNT))
    if not case.corruption.hides:
        return
    swapped = torch.where(seen.corrupted.known, images, 1 - images)
    restored = generator.restore(generator.view(swapped, case.corruption, draws(COUNT)), case.sampler)
    hidden = ~seen.corrupted.known.expand_as(images)
    assert torch.equal(restored[hidden], generator.restore(seen, case.sampler)[hidden])


@one_case_of_each_kind(3)
def test_student_and_teacher_agree_on_every_view(case: Case) -> None:
    generator = case.make().eval()
    seen = seen_by(generator, case)
    generator.keep_teacher()
    noisy = generator.noise_view(seen, "standard-normal", MOMENTS)
    for at in (seen, noisy):
        with torch.no_grad():
            student = generator.encode(at)
        with generator.teacher():
            taught = generator.encode(at)
        assert all(torch.equal(one, other) for one, other in zip(student, taught, strict=True))


@one_case_of_each_kind(4)
def test_noise_views_differ_in_what_the_encoder_sees_and_in_nothing_else(case: Case) -> None:
    generator = case.make().eval()
    seen = seen_by(generator, case)
    with torch.no_grad():
        own = generator.encode(seen)
        for kind in ("standard-normal", "moment-matched", "uniform", "constant"):
            noisy = generator.noise_view(seen, kind, MOMENTS)
            assert torch.equal(noisy.images, seen.images)
            assert torch.equal(noisy.corrupted.known, seen.corrupted.known)
            assert noisy.draws == seen.draws
            features = generator.encode(noisy)
            assert any(not torch.equal(one, other) for one, other in zip(own, features, strict=True)), kind
            again = generator.encode(generator.noise_view(seen, kind, MOMENTS))
            assert all(torch.equal(one, other) for one, other in zip(features, again, strict=True)), kind


@one_case_of_each_kind(5)
def test_a_joined_view_is_both_views_one_after_the_other(case: Case) -> None:
    generator = case.make().eval()
    images = pictures(COUNT, size=generator.image_size)
    parts = [
        generator.view(images[:1], case.corruption, draws(1)),
        generator.view(images[1:], case.corruption, draws(COUNT - 1, first=1)),
    ]
    with torch.no_grad():
        both = generator.encode(parts[0].join(parts[1]))
        apart = [generator.encode(part) for part in parts]
    for joined, *split in zip(both, *apart, strict=True):
        assert torch.allclose(joined, torch.cat(split), rtol=1e-3, atol=1e-4 * float(joined.abs().max()))


@pytest.mark.parametrize("name", MODELS)
def test_parameters_belong_to_encoder_decoder_or_first_stage_alone(name: str) -> None:
    generator = MODELS[name]()
    groups = [
        set(generator.encoder_parameters()),
        set(generator.decoder_parameters()),
        set(generator.first_stage_parameters()),
    ]
    assert groups[0]
    assert groups[1]
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert set.union(*groups) <= set(dict(generator.network.named_parameters()))
    digest = generator.first_stage_digest()
    assert (digest is None) == (not groups[2])
    codes = generator.codes(pictures(2, size=generator.image_size))
    assert (codes is None) == (not groups[2])


@pytest.mark.parametrize("name", [name for name, make in MODELS.items() if make().first_stage_parameters()])
def test_views_made_from_kept_codes_are_the_same(name: str) -> None:
    generator = MODELS[name]().eval()
    images = pictures(COUNT, size=generator.image_size)
    codes = generator.codes(images)
    for case in (case for case in one_of_each_kind(CASES, 6) if case.name == name):
        given = generator.view(images, case.corruption, draws(COUNT), codes=codes)
        with torch.no_grad():
            for one, other in zip(
                generator.encode(given), generator.encode(seen_by(generator, case)), strict=True
            ):
                assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_restoring_takes_the_models_own_sampler_where_none_is_named(name: str) -> None:
    generator = MODELS[name]().eval()
    seen = seen_by(generator, next(case for case in CASES if case.name == name))
    restored = generator.restore(seen)
    assert torch.equal(restored, generator.restore(seen, generator.sampler_name(None)))
    known = seen.corrupted.known.expand_as(seen.images)
    assert torch.equal(restored[known], seen.images[known])


@pytest.mark.parametrize("name", MODELS)
def test_samplers_are_named_and_unknown_ones_refused(name: str) -> None:
    generator = MODELS[name]()
    own = generator.sampler_name(None)
    assert own is None or generator.sampler_name(own) == own
    with pytest.raises(InputError, match="sampler 'no-such'"):
        generator.sampler_name("no-such")


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_model_remembers_what_it_was_trained_with(name: str, tmp_path: Path) -> None:
    generator = MODELS[name]()
    usual = generator.training_corruption
    generator.save(tmp_path / "usual")
    assert load_generator(str(tmp_path / "usual")).training_corruption == usual
    generator.trained_with = parse_corruption("centre:0.25" if generator.takes_holes else "jpeg:20")
    generator.save(tmp_path / "other")
    assert load_generator(str(tmp_path / "other")).training_corruption == generator.trained_with
