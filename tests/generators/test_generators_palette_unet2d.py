"""diffusers' own UNet2DModel with six input channels, taken as a pixel diffusion model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

from efface.errors import InputError
from efface.generators.base import PixelMoments
from efface.generators.palette.checkpoint import load
from efface.generators.palette.family import recognises
from efface.generators.palette.generator import PaletteGenerator, PaletteView
from efface.generators.registry import risks_of
from efface.model_files import Contents
from support.palette_models import SIDE, opened, settings, unet2d
from support.tiny_models import pictures, view

STEPS = 25
MOMENTS = PixelMoments(torch.full((3,), 0.5), torch.full((3,), 0.2))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    unet2d().save_pretrained(tmp_path)
    DDPMScheduler(num_train_timesteps=STEPS, beta_start=1e-3, beta_end=0.3).save_pretrained(tmp_path)
    return tmp_path


def at(generator: PaletteGenerator) -> PaletteView:
    seen = view(generator, pictures(3, size=SIDE))
    assert isinstance(seen, PaletteView)
    return seen


def test_its_two_halves_are_the_whole_network(folder: Path) -> None:
    generator = opened(folder)
    seen = at(generator)
    with torch.no_grad():
        whole = UNet2DModel.from_pretrained(folder)(seen.inputs, seen.level).sample
        features = generator.encode(seen)
        torch.testing.assert_close(generator.decode(features, seen), whole)
    assert len(features) == 5
    names = dict(generator.network.named_parameters())
    assert generator.encoder_parameters().keys() | generator.decoder_parameters().keys() == names.keys()
    assert {name.split(".")[0] for name in generator.encoder_parameters()} == {
        "conv_in",
        "down_blocks",
        "mid_block",
    }


def test_a_grey_network_is_shown_brightness_and_restores_it(tmp_path: Path) -> None:
    unet2d(in_channels=2, out_channels=1).save_pretrained(tmp_path)
    DDPMScheduler(num_train_timesteps=STEPS, beta_start=1e-3, beta_end=0.3).save_pretrained(tmp_path)
    generator, images = opened(tmp_path), pictures(3, size=SIDE)
    seen = at(generator)
    grey = (images * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    assert torch.allclose(seen.images, grey.expand(-1, 3, -1, -1), atol=1e-6)
    assert seen.inputs.shape == (3, 2, SIDE, SIDE)
    restored = generator.restore(seen, "ddim:3")
    assert torch.equal(restored[:, 0], restored[:, 2])
    known = seen.corrupted.known.expand_as(restored)
    assert torch.equal(restored[known], seen.images[known])
    for kind in ("standard-normal", "moment-matched"):
        other = generator.noise_view(seen, kind, MOMENTS)
        assert generator.noise_target(seen, kind, MOMENTS).shape == generator.task_target(other).shape
        generator.task_loss(other).sum().backward()
    risks_of(generator, images)
    assert generator.describe()["channels"] == 1
    generator.save_pretrained(tmp_path / "saved")
    assert torch.equal(opened(tmp_path / "saved").restore(seen, "ddim:3"), restored)


def test_levels_are_the_timesteps_of_its_scheduler(folder: Path) -> None:
    generator = opened(folder)
    scheduler = DDPMScheduler.from_pretrained(folder)
    seen = at(generator)
    assert torch.equal(seen.level, seen.level.round())
    expected = scheduler.add_noise(seen.images * 2 - 1, seen.noise, seen.level.long())
    hole = seen.hole.expand_as(seen.images)
    torch.testing.assert_close(seen.noisy[hole], expected[hole], atol=1e-5, rtol=0)
    assert generator.sampler_name("ancestral") == f"ancestral:{STEPS}"


@pytest.mark.parametrize("sampler", ["ddpm:3", "ddim:3", "ancestral:3"])
def test_it_restores(folder: Path, sampler: str) -> None:
    generator = opened(folder)
    seen = at(generator)
    restored = generator.restore(seen, sampler)
    known = seen.corrupted.known.expand_as(restored)
    assert torch.equal(restored[known], seen.images[known])
    assert torch.equal(generator.restore(seen, sampler), restored)


def test_the_ancestral_sampler_is_diffusers_own(folder: Path) -> None:
    """With the same noise, step by step; a mask that is all hole, so that nothing is put back."""
    generator = opened(folder)
    seen = view(generator, pictures(2, size=SIDE), "colour")
    scheduler = DDPMScheduler.from_pretrained(folder, clip_sample=True, variance_type="fixed_small")
    shape = tuple(seen.images.shape[1:])
    noisy = seen.draws.normal("restoration", shape, "cpu")
    with torch.no_grad():
        for number, step in enumerate(range(STEPS - 1, -1, -1)):
            level = torch.full((2,), float(step))
            output = generator.network(torch.cat([seen.condition, noisy], dim=1), level).sample
            mean = scheduler.step(output, step, noisy, generator=torch.Generator().manual_seed(0))
            drawn = torch.randn(noisy.shape, generator=torch.Generator().manual_seed(0))
            spread = scheduler._get_variance(step) ** 0.5 if step else 0.0
            noise = seen.draws.normal(f"restoration step {number}", shape, "cpu")
            noisy = mean.prev_sample + spread * (noise - drawn)
    torch.testing.assert_close(
        generator.restore(seen, "ancestral"), ((noisy + 1) / 2).clamp(0, 1), atol=1e-4, rtol=0
    )


def test_it_is_saved_as_diffusers_opens_it(folder: Path, tmp_path: Path) -> None:
    generator = opened(folder)
    generator.save_pretrained(tmp_path / "saved")
    plain = UNet2DModel.from_pretrained(tmp_path / "saved")
    scheduler = DDPMScheduler.from_pretrained(tmp_path / "saved")
    assert scheduler.config["num_train_timesteps"] == STEPS
    seen = at(generator)
    with torch.no_grad():
        torch.testing.assert_close(plain(seen.inputs, seen.level).sample, generator.predict(seen))
    again = opened(tmp_path / "saved")
    assert again.weights_digest() == generator.weights_digest()
    assert again.schedules == generator.schedules
    json.dumps(again.describe())


def test_a_whole_pipeline_is_taken_too(tmp_path: Path) -> None:
    DDPMPipeline(unet2d(), DDPMScheduler(num_train_timesteps=50)).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "model_index.json").read_text())
    assert recognises(Contents(config=config))
    assert opened(tmp_path).schedules.train.steps == 50


def test_a_teacher_of_its_encoder_shares_the_decoder(folder: Path) -> None:
    generator = opened(folder)
    generator.set_trained("encoder")
    generator.keep_teacher("encoder")
    seen = at(generator)
    noisy = generator.noise_view(seen, "standard-normal", MOMENTS)
    with generator.teacher():
        targets = generator.encode(noisy)
    loss = sum(
        (one - other).square().mean() for one, other in zip(generator.encode(seen), targets, strict=True)
    )
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    reached = {name for name, p in generator.network.named_parameters() if p.grad is not None}
    assert reached == generator.encoder_parameters().keys()


def test_a_schedule_that_is_not_there_is_assumed_and_said(tmp_path: Path) -> None:
    unet2d().save_pretrained(tmp_path)
    generator = opened(tmp_path)
    assert generator.schedules.train.steps == 1000
    assert any("assumed" in sentence for sentence in risks_of(generator, pictures(2, size=SIDE)))
    assert opened(tmp_path, train_noise_steps=7).describe()["origin"]["schedule"] == "settings"
    with pytest.raises(InputError, match="test_noise_steps"):
        opened(tmp_path, test_noise_steps=7)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"in_channels": 3}, "must take 6"),
        ({"out_channels": 6}, "gives 6"),
        (
            {"in_channels": 8, "out_channels": 4},
            r"Pictures with transparency \(RGBA\) are read as colour alone",
        ),
        ({"time_embedding_type": "fourier"}, "'fourier'"),
        ({"num_class_embeds": 4}, "classes"),
        ({"mid_block_type": None}, "no middle block"),
    ],
    ids=str,
)
def test_other_networks_are_refused_by_name(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    unet2d(**changes).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=said):
        opened(tmp_path)


def test_a_network_that_does_not_say_its_size_is_asked_for_it(tmp_path: Path) -> None:
    unet2d(sample_size=None).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"--set model\.image_size=N"):
        load(settings(tmp_path, image_size=None))
    assert opened(tmp_path).image_size == SIDE


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prediction_type": "v_prediction"}, "'v_prediction'"),
        ({"trained_betas": [0.1, 0.2]}, "its own betas"),
        ({"rescale_betas_zero_snr": True}, "pure noise"),
    ],
    ids=str,
)
def test_schedules_that_do_not_fit_are_refused(changes: dict[str, Any], said: str, folder: Path) -> None:
    path = folder / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(InputError, match=said):
        opened(folder)
