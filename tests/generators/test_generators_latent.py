"""Latent diffusion: what its UNet is shown, which half runs, what noise replaces, and what training leaves alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from efface.corruptions import parse_corruption
from efface.errors import InputError
from efface.generators.base import PixelMoments
from efface.generators.latent import halves
from efface.generators.latent.checkpoint import load, new
from efface.generators.latent.family import SIZES, LatentArchitecture, LatentSettings
from efface.generators.latent.generator import LatentGenerator, LatentView
from efface.generators.registry import risks_of
from efface.methods import read_method
from efface.training.phases import Batch, Training
from support.latent_pipelines import FIRST, GRID, SECOND, SIZE, saved, unet
from support.tiny_models import changed, draws, pictures, weights_of

MOMENTS = PixelMoments(torch.tensor([0.2, 0.5, 0.8]), torch.tensor([0.3, 0.1, 0.02]))
KINDS = ("standard-normal", "moment-matched", "uniform", "constant")
HOLE, CONDITION = "centre:0.5", "colour"
COUNT = 3


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("pipelines")
    return {
        "inpainting": saved(place / "inpainting"),
        "velocity": saved(place / "velocity", velocity=True, text=False, **SECOND),
        "instruct": saved(place / "instruct", channels=8),
    }


def opened(folder: Path, **options: Any) -> LatentGenerator:
    return load(LatentSettings(path=str(folder), **options))


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> dict[str, LatentGenerator]:
    """One model of each sort; tests that change weights open their own."""
    return {name: opened(folder) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def inpainting(models: dict[str, LatentGenerator]) -> LatentGenerator:
    return models["inpainting"]


def corruption_of(generator: LatentGenerator) -> str:
    return HOLE if generator.kind == "inpainting" else CONDITION


def seen(
    generator: LatentGenerator, images: Tensor | None = None, first: int = 0, **options: Any
) -> LatentView:
    """A view of made pictures."""
    images = pictures(COUNT) if images is None else images
    corruption = parse_corruption(options.pop("corruption", corruption_of(generator)))
    view = generator.view(images, corruption, draws(len(images), first=first), **options)
    assert isinstance(view, LatentView)
    return view


every_model = pytest.mark.parametrize("name", ["inpainting", "velocity", "instruct"])


# the two halves


@pytest.mark.parametrize("generation", [FIRST, SECOND], ids=["as SD 1.5", "as SD 2"])
@pytest.mark.parametrize("side", [8, 7])
def test_both_halves_together_are_the_networks_own_forward(generation: dict[str, Any], side: int) -> None:
    network = unet(**generation).eval()
    torch.manual_seed(0)
    inputs, context, timesteps = torch.randn(2, 9, side, side), torch.randn(2, 5, 16), torch.tensor([3, 900])
    with torch.no_grad():
        own = network(inputs, timesteps, encoder_hidden_states=context).sample
        ours = halves.up(network, halves.down(network, inputs, timesteps, context), timesteps, context)
    assert own.abs().max() > 0.1
    assert torch.allclose(ours, own, atol=1e-5)


@every_model
def test_predictions_are_those_of_the_library(models: dict[str, LatentGenerator], name: str) -> None:
    generator = models[name]
    view = seen(generator)
    inputs = torch.cat([view.noisy, view.shown], dim=1)
    context = generator.context.expand(COUNT, -1, -1)
    with torch.no_grad():
        own = generator.network.unet(inputs, view.timesteps, encoder_hidden_states=context).sample
        assert torch.allclose(generator.predict(view), own, atol=1e-5)


def test_encoding_never_runs_the_path_up(inpainting: LatentGenerator) -> None:
    view, network = seen(inpainting), inpainting.network.unet

    def refuse(*_: Any) -> None:
        raise AssertionError("the path up was run")

    hooks = [part.register_forward_pre_hook(refuse) for part in (*network.up_blocks, network.conv_out)]
    try:
        features = inpainting.encode(view)
        with pytest.raises(AssertionError, match="the path up was run"):
            inpainting.decode(features, view)
    finally:
        for hook in hooks:
            hook.remove()
    # one residual of the first convolution, two blocks of two, one of the halving between them, and the middle
    assert [tuple(feature.shape[1:]) for feature in features] == [
        *[(16, 8, 8)] * 3, (16, 4, 4), *[(32, 4, 4)] * 2, (32, 4, 4),
    ]  # fmt: skip


# views


def test_an_inpainting_unet_is_shown_the_mask_and_the_picture_with_its_hole(
    inpainting: LatentGenerator,
) -> None:
    images = pictures(COUNT)
    view = seen(inpainting, images, corruption="rectangle:0.1,0.1,0.5,0.25")
    hidden = (
        view.corrupted.region.reshape(COUNT, GRID, SIZE // GRID, GRID, SIZE // GRID).any(dim=4).any(dim=2)
    )
    assert torch.equal(view.region[:, 0] > 0, hidden), (
        "a latent with one hidden pixel under it counts as hidden"
    )
    assert torch.equal(view.shown[:, :1], view.region)
    masked = torch.where(view.corrupted.known, images * 2 - 1, torch.zeros(()))
    with torch.no_grad():
        vae = inpainting.network.vae
        latents = vae.encode(masked).latent_dist.mode() * vae.config.scaling_factor
    assert torch.allclose(view.shown[:, 1:], latents, atol=1e-5)


def test_an_instruct_unet_is_shown_unscaled_latents_of_the_other_picture(
    models: dict[str, LatentGenerator],
) -> None:
    generator = models["instruct"]
    view = seen(generator)
    assert not torch.allclose(view.corrupted.condition, view.images)
    with torch.no_grad():
        latents = generator.network.vae.encode(view.corrupted.condition * 2 - 1).latent_dist.mode()
    assert torch.allclose(view.shown, latents, atol=1e-5)
    assert view.region.min() == 1


@every_model
def test_latents_are_noised_by_the_models_own_schedule(models: dict[str, LatentGenerator], name: str) -> None:
    generator = models[name]
    view = seen(generator)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    share = torch.cumprod(1 - betas, 0)[view.timesteps].view(-1, 1, 1, 1)
    assert torch.allclose(
        view.noisy.double(), share.sqrt() * view.latents + (1 - share).sqrt() * view.noise, atol=1e-4
    )
    assert len(set(view.timesteps.tolist())) == COUNT
    assert torch.allclose(view.latents, generator.codes(view.images, generator.training_corruption))
    velocity = share.sqrt() * view.noise - (1 - share).sqrt() * view.latents
    target = generator.task_target(view)
    assert torch.allclose(target.double(), velocity if name == "velocity" else view.noise.double(), atol=1e-4)
    target.zero_()
    assert generator.task_target(view).abs().max() > 0, "a target is a tensor of its own"


@every_model
def test_draws_are_keyed_by_image_and_views_join(models: dict[str, LatentGenerator], name: str) -> None:
    generator, images = models[name], pictures(COUNT)
    whole = seen(generator, images)
    parts = seen(generator, images[:1]).join(seen(generator, images[1:], first=1))
    for field in ("noise", "timesteps", "region"):
        assert torch.equal(getattr(parts, field), getattr(whole, field))
    for field in ("latents", "noisy", "shown"):
        assert torch.allclose(getattr(parts, field), getattr(whole, field), atol=1e-5)
    visited = generator.view(images, parse_corruption(corruption_of(generator)), draws(COUNT, visit=1))
    assert isinstance(visited, LatentView)
    assert not torch.equal(visited.noise, whole.noise)
    assert not torch.equal(visited.timesteps, whole.timesteps)


def test_kept_codes_give_the_same_view(inpainting: LatentGenerator) -> None:
    images = pictures(COUNT)
    kept = seen(inpainting, images, codes=inpainting.codes(images, parse_corruption(HOLE)))
    assert torch.equal(kept.noisy, seen(inpainting, images).noisy)
    other = torch.zeros(COUNT, 4, GRID, GRID)
    assert torch.equal(seen(inpainting, images, codes=other).latents, other)


# noise


@pytest.mark.parametrize("kind", KINDS)
@every_model
def test_noise_replaces_the_hole_alone(models: dict[str, LatentGenerator], name: str, kind: Any) -> None:
    generator = models[name]
    view = seen(generator)
    noisy = generator.noise_view(view, kind, MOMENTS)
    assert isinstance(noisy, LatentView)
    hidden = (view.region > 0).expand_as(view.noisy)
    assert torch.equal(noisy.noisy[~hidden], view.noisy[~hidden])
    assert (noisy.noisy[hidden] != view.noisy[hidden]).float().mean() > 0.99
    for field in ("shown", "timesteps", "noise", "latents", "images"):
        assert torch.equal(getattr(noisy, field), getattr(view, field))


@every_model
def test_noise_in_the_hole_does_not_depend_on_what_was_there(
    models: dict[str, LatentGenerator], name: str
) -> None:
    generator, images = models[name], pictures(COUNT)
    view = seen(generator, images)
    other = seen(generator, torch.where(view.corrupted.known, images, 1 - images))
    hidden = (view.region > 0).expand_as(view.noisy)
    for kind in KINDS:
        one = generator.noise_view(view, kind, MOMENTS)  # type: ignore[arg-type]
        two = generator.noise_view(other, kind, MOMENTS)  # type: ignore[arg-type]
        assert torch.equal(one.noisy[hidden], two.noisy[hidden])  # type: ignore[attr-defined]
        assert torch.equal(
            generator.noise_target(view, kind, MOMENTS),  # type: ignore[arg-type]
            generator.noise_target(other, kind, MOMENTS),  # type: ignore[arg-type]
        )


def test_standard_normal_noise_has_unit_variance_at_every_timestep(inpainting: LatentGenerator) -> None:
    images = pictures(40)
    view = seen(inpainting, images)
    noisy = inpainting.noise_view(view, "standard-normal", MOMENTS)
    assert isinstance(noisy, LatentView)
    inside = noisy.noisy[(view.region > 0).expand_as(view.noisy)]
    # 40 x 4 x 16 values: three standard errors of mean and deviation are 0.06 and 0.042
    assert float(inside.mean()) == pytest.approx(0, abs=0.06)
    assert float(inside.std()) == pytest.approx(1, abs=0.045)
    target = inpainting.noise_target(view, "uniform", MOMENTS)
    assert float(target.std()) == pytest.approx(1, abs=0.03)
    correlation = (target * view.noise).mean()
    assert float(correlation) == pytest.approx(0, abs=0.03), (
        "the noise target has nothing to do with the input"
    )


# losses


def test_the_loss_is_taken_over_the_hole(inpainting: LatentGenerator) -> None:
    view = seen(inpainting)
    target = inpainting.task_target(view)
    outside = target + 5 * (1 - view.region)
    assert inpainting.prediction_loss(outside, target, view).tolist() == [0.0] * COUNT
    # by hand: an error of 2 in one of four channels, on every hidden latent
    error = torch.zeros_like(target)
    error[:, 0] = 2
    assert inpainting.prediction_loss(target + error, target, view).tolist() == [1.0] * COUNT


def test_an_instruct_models_loss_is_taken_over_all(models: dict[str, LatentGenerator]) -> None:
    generator = models["instruct"]
    view = seen(generator)
    target = generator.task_target(view)
    error = torch.zeros_like(target)
    error[..., 0, 0] = 8
    assert generator.prediction_loss(target + error, target, view).tolist() == [1.0] * COUNT


@pytest.mark.parametrize("method", ["encoder-noise", "noisy-label"])
@pytest.mark.parametrize("name", ["inpainting", "velocity", "instruct"])
def test_a_method_for_the_encoder_and_one_for_all_move_what_they_say_and_nothing_else(
    folders: dict[str, Path], name: str, method: str
) -> None:
    generator = opened(folders[name])
    before = weights_of(generator)  # type: ignore[arg-type]
    chosen = read_method({"name": method})
    phase = next(
        phase for phase in chosen.phases() if isinstance(phase, Training) and phase.trained != "first-stage"
    )
    if phase.needs_teacher:
        generator.keep_teacher(phase.trained)
    generator.set_trained(phase.trained)
    parameters = generator.trained_parameters(phase.trained)
    optimizer = torch.optim.SGD(parameters.values(), lr=0.1)
    views = {
        stream: seen(generator, pictures(2, seed=number), first=9 * number)
        for number, stream in enumerate(phase.streams)
    }
    for _ in range(2):
        loss = phase.loss(generator, Batch(views, MOMENTS))
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    moved = changed(before, generator.network.state_dict())
    assert moved
    assert moved <= set(parameters)
    assert len(moved) > 0.8 * len(parameters)
    if chosen.trains == "encoder":
        still = ("vae.", "text_encoder.", "unet.up_blocks.", "unet.time_embedding.", "unet.conv_out.")
        assert not [key for key in moved if key.startswith(still)]


def test_every_block_of_student_and_teacher_is_compiled(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = opened(folders["inpainting"])
    generator.keep_teacher("encoder")
    compiled: list[Any] = []

    def note(module: torch.nn.Module) -> None:
        compiled.append(module)

    monkeypatch.setattr(torch.nn.Module, "compile", note)
    generator.compile_network()
    expected: list[Any] = []
    for network in (generator.network.unet, *(network.unet for network in generator._teacher)):
        expected += [*network.down_blocks, network.mid_block, *network.up_blocks]
    assert len(expected) == 10
    assert [id(module) for module in compiled] == [id(module) for module in expected]


# the teacher, training from scratch


def test_the_teacher_shares_what_is_not_trained(folders: dict[str, Path]) -> None:
    generator = opened(folders["inpainting"])
    generator.keep_teacher("encoder")
    with generator.teacher():
        taught = dict(generator.active.named_parameters())
    trained = generator.encoder_parameters()
    for name, parameter in generator.network.named_parameters():
        assert (taught[name].data_ptr() == parameter.data_ptr()) == (name not in trained), name


def test_parameters_are_split_without_remainder(inpainting: LatentGenerator) -> None:
    encoder, decoder = inpainting.encoder_parameters(), inpainting.decoder_parameters()
    stage = inpainting.first_stage_parameters()
    text = {name for name, _ in inpainting.network.named_parameters() if name.startswith("text_encoder.")}
    assert not set(encoder) & set(decoder)
    assert set(encoder) | set(decoder) | set(stage) | text == set(dict(inpainting.network.named_parameters()))
    assert {name.split(".")[1] for name in encoder} == {"conv_in", "down_blocks", "mid_block"}
    assert {name.split(".")[1] for name in decoder} == {
        "time_embedding", "up_blocks", "conv_norm_out", "conv_out",
    }  # fmt: skip


def test_a_first_stage_learns_to_give_pictures_back_and_keeps_its_scale() -> None:
    generator = new(LatentArchitecture(image_size=32, vae_channels=(16, 16, 16)), seed=0)
    view = seen(generator, pictures(8))
    parameters = generator.trained_parameters("first-stage")
    optimizer = torch.optim.Adam(parameters.values(), lr=3e-3)
    before, digest = weights_of(generator), generator.first_stage_digest()  # type: ignore[arg-type]
    losses = []
    for _ in range(12):
        loss = generator.first_stage_loss(view)
        assert loss.shape == (8,)
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
        losses.append(float(loss.detach().mean()))
    assert losses[-1] < 0.7 * losses[0]
    moved = changed(before, generator.network.state_dict())
    assert moved == set(parameters)
    assert generator.first_stage_digest() != digest


def test_new_models_follow_their_seed_and_leave_the_random_state_alone() -> None:
    shape = LatentArchitecture(kind="instruct", prediction_type="v_prediction")
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second, other = new(shape, 1), new(shape, 1), new(shape, 2)
    assert torch.equal(torch.rand(1), expected)
    assert first.weights_digest() == second.weights_digest() != other.weights_digest()
    assert (first.kind, first.image_size, first.grid, first.predicts_velocity) == ("instruct", 64, 16, True)
    assert first.describe()["prompt_embedding"].startswith("zeros")


@pytest.mark.parametrize("size", list(SIZES))
def test_every_size_can_be_built(size: str) -> None:
    generator = new(LatentArchitecture(**SIZES[size]), 0)
    view = seen(generator, pictures(1, size=generator.image_size))
    assert generator.restore(view, "ddim:1").shape == view.images.shape


def test_an_architecture_that_does_not_fit_together_is_refused_with_all_its_faults() -> None:
    with pytest.raises(InputError) as refused:
        new(LatentArchitecture(image_size=30, vae_channels=(12, 16), unet_channels=(16, 24), head_dim=16), 0)
    assert len(refused.value.problems) == 3
    assert "multiple of 4" in str(refused.value)
    assert "multiples of 8, not 12" in str(refused.value)
    assert "does not divide unet_channels 24" in str(refused.value)


def test_reinitialising_keeps_the_first_stage_if_asked(folders: dict[str, Path]) -> None:
    generator = opened(folders["inpainting"], prompt="a cat")
    before, context = weights_of(generator), generator.context.clone()  # type: ignore[arg-type]
    generator.reinitialise(3, keep_first_stage=True)
    moved = changed(before, generator.network.state_dict())
    assert moved
    assert all(name.startswith("unet.") for name in moved)
    assert torch.equal(generator.context, context)
    stage = generator.first_stage_digest()
    generator.reinitialise(3)
    assert generator.first_stage_digest() != stage
    assert not torch.allclose(generator.context, context)
    assert generator.network.scaling == 1.0
    digest = generator.weights_digest()
    generator.reinitialise(3)
    assert generator.weights_digest() == digest


# restoring


@every_model
def test_restoring_keeps_known_pixels_and_ignores_hidden_ones(
    models: dict[str, LatentGenerator], name: str
) -> None:
    generator, images = models[name], pictures(COUNT)
    view = seen(generator, images)
    restored = generator.restore(view, "ddim:2")
    known = view.corrupted.known.expand_as(images)
    assert torch.equal(restored[known], images[known])
    assert (restored[~known] != images[~known]).float().mean() > 0.9
    assert not restored.requires_grad
    assert restored.min() >= 0
    assert restored.max() <= 1
    if generator.kind == "inpainting":
        swapped = seen(generator, torch.where(view.corrupted.known, images, 1 - images))
        assert torch.equal(generator.restore(swapped, "ddim:2")[~known], restored[~known])
    generator.keep_teacher("encoder")
    with generator.teacher():
        assert torch.equal(generator.restore(view, "ddim:2"), restored)
    generator.drop_teacher()


def test_samplers_are_named_and_others_refused(inpainting: LatentGenerator) -> None:
    assert inpainting.sampler_name(None) == "dpm-solver++:20"
    assert inpainting.sampler_name("ddim") == "ddim:50"
    assert inpainting.sampler_name("ddim:7") == "ddim:7"
    with pytest.raises(InputError, match="ddim"):
        inpainting.sampler_name("euler")
    with pytest.raises(InputError, match="1 to 1000"):
        inpainting.sampler_name("ddim:1001")


def test_holes_and_conditions_are_for_different_models(models: dict[str, LatentGenerator]) -> None:
    for generator in models.values():
        generator.check_corruption(generator.training_corruption)
        generator.check_corruption(parse_corruption(corruption_of(generator)))
    with pytest.raises(InputError, match="cuts a hole"):
        models["instruct"].check_corruption(parse_corruption(HOLE))
    with pytest.raises(InputError, match="hides no pixels"):
        models["inpainting"].check_corruption(parse_corruption(CONDITION))


# risks


def test_an_untrained_model_is_said_to_be_one(inpainting: LatentGenerator) -> None:
    found = " ".join(risks_of(inpainting, pictures(4)))
    assert "dB PSNR" in found
    assert "of what predicting zeros would give" in found


def test_a_model_that_predicts_and_a_vae_that_reconstructs_are_not_complained_of(
    inpainting: LatentGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pictures(4)
    monkeypatch.setattr(inpainting, "predict", lambda view: 0.9 * inpainting.task_target(view))
    monkeypatch.setattr(inpainting.network, "pictures", lambda latents: (images + 0.05).clamp(0, 1))
    assert risks_of(inpainting, images) == []
