"""A pixel diffusion model behind the contract: views, noise, losses, restoration, and what is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DModel
from pydantic import ValidationError
from scipy import stats
from torch import Tensor, nn

from efface.corruptions import parse_corruption
from efface.corruptions.degradations import Colour
from efface.errors import InputError
from efface.generators.base import PixelMoments
from efface.generators.families import NoiseKind
from efface.generators.palette.checkpoint import new
from efface.generators.palette.family import SIZES, PaletteArchitecture
from efface.generators.palette.generator import PaletteGenerator, PaletteView
from efface.generators.palette.schedule import NoiseSchedule, Schedules
from efface.generators.registry import risks_of
from support.palette_models import SIDE, opened, palette
from support.tiny_models import pictures, view

MOMENTS = PixelMoments(torch.tensor([0.2, 0.5, 0.8]), torch.tensor([0.3, 0.1, 0.02]))
KINDS: list[NoiseKind] = ["standard-normal", "moment-matched", "uniform", "constant"]
HOLES = ["centre:0.5", "box-brush", "random:0.5"]
COUNT = 3


@pytest.fixture(scope="module")
def generator() -> PaletteGenerator:
    return palette()


def at(
    generator: PaletteGenerator, images: Tensor | None = None, corruption: str = "centre:0.5", **more: Any
) -> PaletteView:
    images = pictures(COUNT, size=SIDE) if images is None else images
    seen = view(generator, images, corruption, **more)
    assert isinstance(seen, PaletteView)
    return seen


# views


@pytest.mark.parametrize("corruption", HOLES)
def test_only_the_hole_is_noisy_and_the_condition_hides_it(
    generator: PaletteGenerator, corruption: str
) -> None:
    seen = at(generator, corruption=corruption)
    known = seen.corrupted.known.expand_as(seen.images)
    clean = seen.images * 2 - 1
    gamma = seen.gamma.view(-1, 1, 1, 1)
    expected = gamma.sqrt() * clean + (1 - gamma).sqrt() * seen.noise
    assert torch.equal(seen.condition[known], clean[known])
    assert torch.equal(seen.noisy[known], clean[known])
    assert torch.equal(seen.noisy[~known], expected[~known])
    assert torch.equal(seen.inputs, torch.cat([seen.condition, seen.noisy], dim=1))
    other = at(generator, 1 - pictures(COUNT, size=SIDE), corruption)
    assert torch.equal(other.condition[~known], seen.condition[~known]), (
        "the filling knows nothing of the image"
    )
    assert torch.equal(other.noise, seen.noise)


def test_the_filling_of_holes_is_standard_normal_and_not_the_diffusions_noise(
    generator: PaletteGenerator,
) -> None:
    seen = at(generator, pictures(40, size=SIDE))
    hole = seen.hole.expand_as(seen.images)
    filling, noise = seen.condition[hole], seen.noise[hole]
    assert stats.kstest(filling.numpy(), "norm").pvalue > 1e-3
    assert stats.kstest(noise.numpy(), "norm").pvalue > 1e-3
    assert abs(float(torch.corrcoef(torch.stack([filling, noise]))[0, 1])) < 0.05


@pytest.mark.parametrize("corruption", ["jpeg:10", "colour"])
def test_a_degraded_picture_is_the_condition_and_everything_is_restored(
    generator: PaletteGenerator, corruption: str
) -> None:
    degraded = parse_corruption(corruption)
    generator.check_corruption(degraded)
    seen = at(generator, corruption=corruption)
    assert torch.equal(seen.condition, seen.corrupted.condition * 2 - 1)
    assert seen.hole.all()
    images = pictures(COUNT, size=SIDE)
    restored = generator.restore(seen, "ddim:2")
    assert (restored != images).float().mean() > 0.9
    noisy = generator.noise_view(seen, "standard-normal", MOMENTS)
    assert isinstance(noisy, PaletteView)
    assert torch.equal(noisy.condition, seen.condition)


def test_draws_are_keyed_by_image_not_by_place_and_views_join(generator: PaletteGenerator) -> None:
    images = pictures(4, size=SIDE)
    whole = at(generator, images)
    parts = at(generator, images[:1]).join(at(generator, images[1:], first=1))
    for name in ("condition", "noisy", "noise", "gamma", "level", "hole", "images"):
        assert torch.equal(getattr(whole, name), getattr(parts, name)), name
    with torch.no_grad():
        torch.testing.assert_close(generator.predict(whole), generator.predict(parts))
    moved = at(generator, images, seed=1)
    assert not torch.equal(moved.gamma, whole.gamma)
    assert not torch.equal(moved.noise, whole.noise)


def test_noise_levels_lie_evenly_between_the_steps_of_the_schedule() -> None:
    schedule = NoiseSchedule(steps=50, start=1e-3, end=0.2)
    generator = PaletteGenerator(palette(image_size=8).network, Schedules(train=schedule))
    gamma = at(generator, torch.rand(1500, 3, 8, 8)).gamma.double().numpy()
    gammas = schedule.gammas()
    assert gammas[-1] <= gamma.min()
    assert gamma.max() <= gammas[0] + 1e-6
    # a step and a place between it and the one before: back on the axis of steps that is uniform
    place = 49 - torch.from_numpy(gammas[::-1].copy()).double().numpy().searchsorted(gamma)
    counts = [int((place == step).sum()) for step in range(49)]
    assert stats.chisquare(counts).pvalue > 1e-3


def test_views_are_told_the_level_itself(generator: PaletteGenerator) -> None:
    seen = at(generator)
    assert torch.equal(seen.level, seen.gamma)


# noise in the image's place


@pytest.mark.parametrize("kind", KINDS)
def test_a_noise_view_changes_the_hole_of_the_noisy_picture_alone(
    generator: PaletteGenerator, kind: NoiseKind
) -> None:
    seen = at(generator)
    noisy = generator.noise_view(seen, kind, MOMENTS)
    assert isinstance(noisy, PaletteView)
    known = seen.corrupted.known.expand_as(seen.images)
    assert torch.equal(noisy.noisy[known], seen.noisy[known])
    for name in ("condition", "noise", "gamma", "level", "images", "hole"):
        assert torch.equal(getattr(noisy, name), getattr(seen, name))
    other = generator.noise_view(at(generator, 1 - pictures(COUNT, size=SIDE)), kind, MOMENTS)
    assert isinstance(other, PaletteView)
    assert torch.equal(noisy.noisy[~known], other.noisy[~known]), "nothing of the hidden image is left"


def test_standard_normal_noise_is_the_views_own_noise_at_unit_strength(generator: PaletteGenerator) -> None:
    seen = at(generator)
    noisy = generator.noise_view(seen, "standard-normal", MOMENTS)
    assert isinstance(noisy, PaletteView)
    hole = seen.hole.expand_as(seen.images)
    assert torch.equal(noisy.noisy[hole], seen.noise[hole])


def test_other_noise_is_a_picture_under_the_same_noise_level(generator: PaletteGenerator) -> None:
    seen = at(generator)
    noisy = generator.noise_view(seen, "constant", MOMENTS)
    assert isinstance(noisy, PaletteView)
    gamma = seen.gamma.view(-1, 1, 1, 1)
    colour = (MOMENTS.mean * 2 - 1).view(1, 3, 1, 1)
    expected = gamma.sqrt() * colour + (1 - gamma).sqrt() * seen.noise
    hole = seen.hole.expand_as(seen.images)
    torch.testing.assert_close(noisy.noisy[hole], expected[hole])


@pytest.mark.parametrize("kind", KINDS)
def test_noise_targets_have_nothing_to_do_with_the_input(
    generator: PaletteGenerator, kind: NoiseKind
) -> None:
    seen = at(generator, pictures(30, size=SIDE))
    target = generator.noise_target(seen, kind, MOMENTS)
    assert target.shape == seen.images.shape
    if kind != "constant":
        both = torch.stack([target.flatten(), seen.noise.flatten()])
        assert abs(float(torch.corrcoef(both)[0, 1])) < 0.03


# losses


def test_the_loss_is_the_mean_square_over_each_images_hole(generator: PaletteGenerator) -> None:
    seen = at(generator, corruption="box-brush")
    target = generator.task_target(seen)
    off = torch.where(seen.hole, target + 2, target + 100)
    torch.testing.assert_close(generator.prediction_loss(off, target, seen), torch.full((COUNT,), 4.0))
    assert torch.equal(target, seen.noise)
    target.zero_()
    assert seen.noise.abs().max() > 0, "methods may write into the target"


# encoder and decoder


def test_a_teacher_in_bfloat16_agrees_under_autocast() -> None:
    generator = palette()
    seen = at(generator)
    generator.keep_teacher("encoder", torch.bfloat16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        student = generator.encode(seen)
        with generator.teacher():
            taught = generator.encode(seen)
    for one, other in zip(student, taught, strict=True):
        torch.testing.assert_close(one.float(), other.float(), atol=1e-2, rtol=1e-2)


def test_both_halves_are_compiled_for_student_and_teacher_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = palette()
    generator.keep_teacher("encoder")
    seen, names = at(generator), list(generator.network.state_dict())
    ran: list[nn.Module] = []

    def compiled(function: Any) -> Any:
        def run(network: nn.Module, *arguments: Any) -> Any:
            ran.append(network)
            return function(network, *arguments)

        return run

    monkeypatch.setattr(torch, "compile", compiled)
    generator.compile_network()
    with torch.no_grad():
        generator.predict(seen)
    with generator.teacher():
        teacher = generator.active
        generator.encode(seen)
    assert [id(network) for network in ran] == [id(generator.network)] * 2 + [id(teacher)]
    assert list(generator.network.state_dict()) == names


def test_encoder_and_decoder_share_the_weights_out_between_them(generator: PaletteGenerator) -> None:
    encoder, decoder = generator.encoder_parameters(), generator.decoder_parameters()
    assert not encoder.keys() & decoder.keys()
    assert encoder.keys() | decoder.keys() == dict(generator.network.named_parameters()).keys()
    assert {name.split(".")[0] for name in encoder} == {"conv_in", "down_blocks", "mid_block"}
    assert any(name.startswith("time_embedding") for name in decoder)


def test_a_step_of_the_encoder_leaves_the_decoder_the_same_function() -> None:
    generator = palette()
    seen = at(generator)
    with torch.no_grad():
        features = generator.encode(seen)
        before = generator.decode(features, seen)
        for parameter in generator.encoder_parameters().values():
            parameter.add_(0.01)
        assert torch.equal(generator.decode(features, seen), before)
        assert not torch.equal(generator.encode(seen)[1], features[1])


def test_encoding_never_runs_the_up_path_and_decoding_never_the_down_path(
    generator: PaletteGenerator,
) -> None:
    ran: list[str] = []
    network = generator.network
    handles = [
        module.register_forward_hook(lambda module, inputs, output, name=name: ran.append(name))
        for name, module in network.named_modules()
        if not list(module.children())
    ]
    seen = at(generator)
    with torch.no_grad():
        features = generator.encode(seen)
        encoded, ran[:] = {name.split(".")[0] for name in ran}, []
        generator.decode(features, seen)
    decoded = {name.split(".")[0] for name in ran}
    for handle in handles:
        handle.remove()
    level = {"time_proj", "time_embedding"}
    assert encoded == level | {"conv_in", "down_blocks", "mid_block"}
    assert decoded == level | {"up_blocks", "conv_norm_out", "conv_act", "conv_out"}


def test_features_are_every_map_of_the_down_path_and_the_middle(generator: PaletteGenerator) -> None:
    with torch.no_grad():
        features = generator.encode(at(generator))
    assert [tuple(feature.shape[1:]) for feature in features] == [
        (32, 16, 16), (32, 16, 16), (32, 8, 8), (64, 8, 8), (64, 8, 8),
    ]  # fmt: skip
    # one with the channels last, as the library's attention leaves it, would slow all layers behind it
    assert all(feature.is_contiguous() for feature in features)


# modes


def test_the_teacher_never_drops_out_while_the_student_trains() -> None:
    generator = palette(dropout=0.5)
    generator.keep_teacher("encoder")
    generator.train()
    seen = at(generator)
    with generator.teacher():
        first, second = generator.encode(seen), generator.encode(seen)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    student = generator.encode(seen)
    assert any(not torch.equal(one, other) for one, other in zip(student, first, strict=True))
    generator.eval()
    with torch.no_grad():
        assert all(torch.equal(one, other) for one, other in zip(generator.encode(seen), first, strict=True))


def test_restoring_in_training_mode_drops_nothing_and_leaves_the_mode() -> None:
    generator = palette(dropout=0.5)
    seen = at(generator)
    expected = generator.restore(seen, "ddim:3")
    generator.train()
    assert torch.equal(generator.restore(seen, "ddim:3"), expected)
    assert generator.network.training


# restoration


@pytest.mark.parametrize("sampler", ["ddpm:4", "ddim:4", "dpm-solver++:4", "ancestral:4"])
@pytest.mark.parametrize("corruption", HOLES)
def test_restoring_keeps_known_pixels_repeats_itself_and_sees_nothing_hidden(
    generator: PaletteGenerator, corruption: str, sampler: str
) -> None:
    images = pictures(COUNT, size=SIDE)
    seen = at(generator, images, corruption)
    restored = generator.restore(seen, sampler)
    known = seen.corrupted.known.expand_as(images)
    assert torch.equal(restored[known], images[known])
    assert restored.min() >= 0
    assert restored.max() <= 1
    assert not restored.requires_grad
    swapped = at(generator, torch.where(known, images, 1 - images), corruption)
    assert torch.equal(generator.restore(swapped, sampler)[~known], restored[~known])
    one = generator.restore(at(generator, images[1:2], corruption, first=1), sampler)
    torch.testing.assert_close(one[0], restored[1], atol=1e-5, rtol=0)
    assert not torch.equal(generator.restore(at(generator, images, corruption, seed=1), sampler), restored)


@pytest.mark.parametrize("sampler", ["ddpm:10", "ddim:10", "dpm-solver++:10", "ancestral:50"])
def test_a_network_that_knows_the_noise_restores_the_picture(sampler: str) -> None:
    generator = palette()
    images = pictures(COUNT, size=SIDE)
    clean = images * 2 - 1

    def up(network: Any, maps: tuple[Tensor, ...], level: Tensor) -> Tensor:
        gamma = level.view(-1, 1, 1, 1)
        return (maps[0] - gamma.sqrt() * clean) / (1 - gamma).sqrt()

    def down(network: Any, inputs: Tensor, level: Tensor) -> tuple[Tensor, ...]:
        return (inputs[:, 3:],)

    generator.down, generator.up = down, up
    torch.testing.assert_close(generator.restore(at(generator, images), sampler), images, atol=0.02, rtol=0)


def test_samplers_have_names_defaults_and_bounds(generator: PaletteGenerator) -> None:
    assert generator.sampler_name(None) == "ddpm:20"
    assert generator.sampler_name("ancestral") == "ancestral:2000"
    assert generator.sampler_name("dpm-solver++:7") == "dpm-solver++:7"
    with pytest.raises(InputError, match="ancestral"):
        generator.sampler_name("maskgit")
    with pytest.raises(InputError, match="1 to 2000"):
        generator.sampler_name("ddim:2001")


# sizes, saving


def test_blocks_of_the_grid_are_the_papers(generator: PaletteGenerator) -> None:
    assert generator.grid == 16
    assert palette(image_size=24).grid == 8
    hole = at(generator, corruption="centre:8x8b").hole
    assert int(hole[0].sum()) == (SIDE // 2) ** 2


def test_the_training_corruption_is_the_releases_box_and_brush(generator: PaletteGenerator) -> None:
    assert str(generator.training_corruption).startswith("box-brush")
    generator.check_corruption(generator.training_corruption)


def test_a_saved_model_is_complete(tmp_path: Path) -> None:
    made = PaletteGenerator(palette().network, Schedules(test=NoiseSchedule(steps=9, start=0.1, end=0.5)))
    made.save_pretrained(tmp_path)
    loaded = opened(tmp_path)
    assert loaded.weights_digest() == made.weights_digest()
    assert loaded.schedules == made.schedules
    assert loaded.describe()["origin"]["schedule"] == "file"
    seen = at(made)
    assert torch.equal(loaded.restore(seen, "ancestral"), made.restore(seen, "ancestral"))
    plain = UNet2DModel.from_pretrained(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(plain(seen.inputs, seen.level).sample, made.predict(seen))
    assert json.loads((tmp_path / "schedule.json").read_text())["level"] == "gamma"
    assert not (tmp_path / "scheduler_config.json").exists(), "a scheduler would tell it timesteps"
    loaded.save_pretrained(tmp_path / "again")
    assert str(tmp_path) not in (tmp_path / "again" / "config.json").read_text()
    changed = opened(tmp_path, train_noise_end=0.02, dropout=0.25)
    assert changed.schedules.train.end == 0.02
    assert changed.describe()["config"]["dropout"] == 0.25
    assert changed.describe()["origin"]["schedule"] == "settings"
    json.dumps(changed.describe())


def test_a_folder_with_faults_is_refused_with_all_of_them(tmp_path: Path) -> None:
    palette().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "block_out_channels": [32, 128]}))
    with pytest.raises(InputError, match=r"down_blocks\.1.*stored as"):
        opened(tmp_path)
    kinds = ["AttnDownBlock2D", "ResnetDownsampleBlock2D"]
    (tmp_path / "config.json").write_text(json.dumps({**config, "down_block_types": kinds}))
    with pytest.raises(InputError) as caught:
        opened(tmp_path)
    assert "missing: down_blocks.0.attentions.0" in str(caught.value)
    assert "not part of it: down_blocks.1.attentions.0" in str(caught.value)
    (tmp_path / "config.json").write_text(json.dumps({**config, "_class_name": "UNet2DConditionModel"}))
    with pytest.raises(
        InputError, match="holds a 'UNet2DConditionModel'; a pixel diffusion model is a UNet2DModel"
    ):
        opened(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "schedule.json").write_text('{"train": {"steps": 1}, "tests": {}}')
    with pytest.raises(InputError) as caught:
        opened(tmp_path)
    assert "train.steps" in str(caught.value)
    assert "tests" in str(caught.value)
    (tmp_path / "schedule.json").unlink()
    assert any("assumed" in sentence for sentence in risks_of(opened(tmp_path), pictures(2, size=SIDE)))
    with pytest.raises(InputError, match="17 px"):
        opened(tmp_path, image_size=17)


@pytest.mark.parametrize("size", SIZES)
def test_named_sizes_fit_together(size: str) -> None:
    assert PaletteArchitecture(**SIZES[size]).faults() == []


def test_the_faults_of_an_architecture_are_named_together() -> None:
    odd = PaletteArchitecture(
        image_size=34,
        inner_channels=48,
        channel_multipliers=(2, 2, 2),
        attention_levels=(7,),
        channels_per_head=36,
    )
    assert [fault.split()[0] for fault in odd.faults()] == [
        "image_size", "channel_multipliers", "inner_channels", "attention_levels", "the",
    ]  # fmt: skip
    with pytest.raises(ValidationError):
        PaletteArchitecture(channel_multipliers=())


def test_new_models_follow_their_seed_and_leave_the_random_state() -> None:
    state = torch.random.get_rng_state()
    shape = PaletteArchitecture(**SIZES["tiny"])
    one, same, other = new(shape, 0), new(shape, 0), new(shape, 1)
    assert one.weights_digest() == same.weights_digest() != other.weights_digest()
    other.reinitialise(0)
    assert other.weights_digest() == one.weights_digest()
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_fresh_model_predicts_zero_and_its_blocks_do_nothing() -> None:
    generator = new(PaletteArchitecture(**SIZES["tiny"]), 0)
    network: Any = generator.network
    seen = at(generator, pictures(COUNT, size=32))
    with torch.no_grad():
        assert torch.equal(generator.predict(seen), torch.zeros_like(seen.images))
        hidden = torch.randn(1, 64, 4, 4)
        assert torch.equal(network.mid_block.attentions[0](hidden), hidden)
        assert torch.equal(network.mid_block(hidden, torch.randn(1, 128)), hidden)


# risks


def test_an_untrained_model_is_suspected() -> None:
    sentences = risks_of(palette(), pictures(4, size=SIDE))
    assert len(sentences) == 1
    assert "may be untrained" in sentences[0]


@pytest.mark.parametrize("trained_with", [None, "centre:0.5", "colour"])
@pytest.mark.parametrize(("scale", "shift", "suspected"), [(2.0, -1.0, False), (1.0, 0.0, True)])
def test_a_model_of_another_value_range_is_suspected(
    scale: float, shift: float, suspected: bool, trained_with: str | None
) -> None:
    generator = palette()
    generator.trained_with = parse_corruption(trained_with) if trained_with else None
    images = pictures(4, size=SIDE)

    def up(network: Any, maps: tuple[Tensor, ...], level: Tensor) -> Tensor:
        """Knows every picture by heart, in its own range."""
        gamma = level.view(-1, 1, 1, 1)
        return (maps[0] - gamma.sqrt() * (images * scale + shift)) / (1 - gamma).sqrt()

    def down(network: Any, inputs: Tensor, level: Tensor) -> tuple[Tensor, ...]:
        if trained_with == "colour":
            told = Colour().degraded(images)
            known = torch.allclose(inputs[:, :3], told * scale + shift, atol=1e-5)
            return (inputs[:, 3:] if known else -inputs[:, 3:],)
        return (inputs[:, 3:],)

    generator.down, generator.up = down, up
    assert any("[0, 1]" in sentence for sentence in risks_of(generator, images)) == suspected
    assert len(risks_of(generator, images)) == suspected
