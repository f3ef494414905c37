"""A masked autoencoder behind the generator's contract."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from efface.corruptions import parse_corruption
from efface.corruptions.patches import RandomPatches
from efface.errors import InputError
from efface.generators import load_generator
from efface.generators.base import PixelMoments, noise_pixels
from efface.generators.mae.generator import MaeGenerator, MaeView
from support.tiny_models import GRID, PATCH, SIZE, changed, draws, pictures, tiny, view, weights_of

MOMENTS = PixelMoments(torch.tensor([0.2, 0.5, 0.8]), torch.tensor([0.05, 0.1, 0.02]))
NOISES = ["standard-normal", "moment-matched", "uniform", "constant"]


def hidden_pixels(seen: MaeView) -> Tensor:
    """True where a pixel lies in a patch that the encoder does not see, `[B, 1, H, W]`."""
    raster = seen.hidden.view(-1, 1, GRID, GRID)
    return raster.repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3)


# views


def test_a_hole_is_widened_to_whole_patches_and_metrics_still_look_at_the_hole() -> None:
    seen = view(tiny(), pictures(2), "centre:0.3125")  # 10 px from pixel 11 on, in patches 1 and 2
    assert seen.hidden[0].view(GRID, GRID).nonzero().tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]
    assert seen.visible_count == 12
    assert int(seen.corrupted.region.sum()) == 2 * 10**2


def test_uint8_and_float_images_give_the_same_view() -> None:
    bytes_ = (pictures(2) * 255).round().byte()
    one, other = view(tiny(), bytes_), view(tiny(), bytes_.float() / 255)
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.inputs, other.inputs)


def test_inputs_are_images_with_mean_and_deviation_taken_out() -> None:
    generator = MaeGenerator(tiny().network, (0.1, 0.2, 0.3), (0.5, 0.25, 2.0))
    seen = view(generator, torch.full((1, 3, SIZE, SIZE), 0.6))
    assert seen.inputs[0, :, 0, 0].tolist() == pytest.approx([1.0, 1.6, 0.15])


@pytest.mark.parametrize(
    ("shape", "count"),
    [((2, 3, 16, 16), 2), ((2, 1, SIZE, SIZE), 2), ((3, SIZE, SIZE), 3), ((2, 3, SIZE, SIZE), 3)],
)
def test_a_batch_that_does_not_fit_is_refused(shape: tuple[int, ...], count: int) -> None:
    with pytest.raises(ValueError, match=r"is wanted|draws for"):
        tiny().view(torch.zeros(shape), parse_corruption("centre:0.5"), draws(count))


def test_joined_views_are_the_views_one_after_the_other() -> None:
    generator = tiny()
    one, other = view(generator, pictures(2)), view(generator, pictures(3, seed=5), first=7)
    both = one.join(other)
    assert len(both) == 5
    assert both.draws.ids == one.draws.ids + other.draws.ids
    for name in ("images", "inputs", "hidden"):
        assert torch.equal(getattr(both, name), torch.cat([getattr(one, name), getattr(other, name)]))
    assert torch.equal(both.corrupted.known[2:], other.corrupted.known)
    with torch.no_grad():
        apart = torch.cat([generator.encode(one)[0], generator.encode(other)[0]])
        torch.testing.assert_close(generator.encode(both)[0], apart)


def test_views_with_different_numbers_of_visible_patches_do_not_join() -> None:
    generator = tiny()
    with pytest.raises(ValueError, match="12 and 8"):
        view(generator, pictures(1)).join(view(generator, pictures(1), "extend-up:0.5"))


# encoding


def test_encoding_runs_no_decoder() -> None:
    generator = tiny()

    def refuse(*_: object) -> None:
        raise AssertionError("the decoder ran")

    handle = generator.network.decoder.register_forward_pre_hook(refuse)
    features = generator.encode(view(generator, pictures(2)))
    handle.remove()
    assert [tuple(feature.shape) for feature in features] == [(2, 12 + 1, 32)]


@pytest.mark.parametrize(
    ("corruption", "visible"), [("centre:0.5", 12), ("random:0.75", 4), ("outpaint:0.5", 4), ("extend-left:0.75", 4),
                                ("random:0.01", 15), ("random:0.9375", 1)]
)  # fmt: skip
def test_the_encoder_is_fed_visible_patches_and_the_class_token_only(corruption: str, visible: int) -> None:
    generator = tiny()
    lengths: list[int] = []
    generator.network.vit.layers[0].register_forward_pre_hook(
        lambda _, inputs: lengths.append(inputs[0].shape[1])
    )
    generator.encode(view(generator, pictures(2), corruption))
    assert lengths == [visible + 1]


@pytest.mark.parametrize("grid", [7, 14])
def test_the_count_of_visible_patches_is_exact_whatever_it_is(grid: int) -> None:
    """The library counts with int(N * (1 - ratio)), which rounding of the ratio would make one too few."""
    generator = tiny(
        image_size=2 * grid, patch_size=2, num_hidden_layers=1, hidden_size=8, intermediate_size=8
    )
    images, count = pictures(1, size=2 * grid), grid**2
    for visible in range(1, count):
        seen = generator.view(images, RandomPatches(1 - visible / count), draws(1))
        assert seen.visible_count == visible
        with torch.no_grad():
            assert generator.encode(seen)[0].shape == (1, visible + 1, 8)


@pytest.mark.parametrize("corruption", ["centre:0.3", "random:0.75", "extend-up:0.25"])
def test_features_do_not_depend_on_hidden_pixels(corruption: str) -> None:
    generator = tiny()
    images = pictures(2)
    seen = view(generator, images, corruption)
    swapped = torch.where(hidden_pixels(seen), 1 - images, images)
    assert not torch.equal(swapped, images)
    with torch.no_grad():
        (one,), (other,) = generator.encode(seen), generator.encode(view(generator, swapped, corruption))
        assert torch.equal(one, other)
        changed_outside = torch.where(hidden_pixels(seen), images, 1 - images)
        assert not torch.equal(one, generator.encode(view(generator, changed_outside, corruption))[0])


def test_an_image_is_encoded_alike_whatever_its_batch() -> None:
    generator = tiny()
    images = pictures(3)
    with torch.no_grad():
        (together,) = generator.encode(view(generator, images, "random:0.5"))
        (alone,) = generator.encode(view(generator, images[1:2], "random:0.5", first=1))
    torch.testing.assert_close(together[1:2], alone)


def test_hidden_patches_are_told_apart_by_their_place() -> None:
    """A fresh model has position embeddings: without them all hidden patches get one prediction."""
    generator = tiny()
    seen = view(generator, pictures(1))
    with torch.no_grad():
        patches = generator.predict(seen)[0][seen.hidden[0]]
    assert torch.pdist(patches).min() > 1e-3


# the loss


def test_the_loss_is_the_librarys_own() -> None:
    for normalises in (False, True):
        generator = tiny(norm_pix_loss=normalises, mask_ratio=0.5)
        seen = view(generator, pictures(3), "random:0.5")
        with torch.no_grad():
            ours = generator.task_loss(seen)
            theirs = generator.network(seen.inputs, noise=seen.hidden.float()).loss
        assert ours.shape == (3,)
        torch.testing.assert_close(ours.mean(), theirs)


def test_the_loss_of_an_image_is_the_mean_over_its_hidden_patches() -> None:
    generator = tiny()
    seen = view(generator, pictures(2))
    target = generator.task_target(seen)
    wrong = target.clone()
    hidden = seen.hidden[0].nonzero().flatten()
    wrong[0, hidden[0]] += 2.0  # an error of 4 in one of four hidden patches
    visible = (~seen.hidden[0]).nonzero().flatten()
    wrong[:, visible] += 100.0
    assert generator.prediction_loss(wrong, target, seen).tolist() == pytest.approx([1.0, 0.0])


# restoring


@pytest.mark.parametrize("normalises", [False, True])
@pytest.mark.parametrize("corruption", ["centre:0.3", "outpaint:0.5", "random:0.75", "rectangle:0,0,0.1,0.9"])
def test_restored_pictures_keep_known_pixels_bit_for_bit(corruption: str, normalises: bool) -> None:
    generator = tiny(norm_pix_loss=normalises)
    with torch.no_grad():
        generator.network.decoder.decoder_pred.weight.mul_(50)  # far outside of what a picture holds
    images = pictures(2)
    seen = view(generator, images, corruption)
    restored = generator.restore(seen)
    known = seen.corrupted.known.expand_as(images)
    assert torch.equal(restored[known], images[known])
    assert restored.min() >= 0
    assert restored.max() <= 1
    assert restored[~known].min() == 0
    assert restored[~known].max() == 1, "values were clamped, so the check above means something"
    assert not torch.equal(restored[~known], images[~known])


def test_a_perfect_prediction_restores_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures(2)
    for normalises in (False, True):
        generator = tiny(norm_pix_loss=normalises)
        seen = view(generator, images)
        monkeypatch.setattr(generator, "predict", generator.task_target)
        restored = generator.restore(seen, oracle=True) if normalises else generator.restore(seen)
        torch.testing.assert_close(restored, images, atol=2e-3, rtol=0)


def test_honest_restoration_does_not_see_the_hidden_pixels() -> None:
    generator = tiny(norm_pix_loss=True)
    images = pictures(2)
    seen = view(generator, images, "centre:0.3")
    other = torch.where(hidden_pixels(seen), images * 0.1, images)
    again = view(generator, other, "centre:0.3")
    region = seen.corrupted.region.expand_as(images)
    assert torch.equal(generator.restore(seen)[region], generator.restore(again)[region])
    informed = [generator.restore(at, oracle=True)[region] for at in (seen, again)]
    assert (informed[0] - informed[1]).abs().mean() > 0.05


# noise


def test_noise_of_each_kind_has_its_moments_and_range() -> None:
    generator = tiny()
    seen = view(generator, pictures(24))
    fed = {kind: generator.noise_view(seen, kind, MOMENTS) for kind in NOISES}
    normal = fed["standard-normal"].inputs
    assert abs(float(normal.mean())) < 0.02
    assert abs(float(normal.std()) - 1) < 0.02
    assert normal.abs().max() > 3

    def pixels(kind: str) -> Tensor:
        return fed[kind].inputs * generator.std + generator.mean

    matched = pixels("moment-matched")
    assert matched.mean(dim=(0, 2, 3)).tolist() == pytest.approx([0.2, 0.5, 0.8], abs=0.01)
    assert matched.std(dim=(0, 2, 3)).tolist() == pytest.approx([0.05, 0.1, 0.02], rel=0.03)
    uniform = pixels("uniform")
    assert abs(float(uniform.mean()) - 0.5) < 0.01
    assert abs(float(uniform.var()) - 1 / 12) < 0.005
    assert uniform.min() > -1e-5
    assert uniform.max() < 1 + 1e-5
    constant = pixels("constant")
    assert constant.std(dim=(0, 2, 3)).max() < 1e-6
    assert constant[0, :, 0, 0].tolist() == pytest.approx([0.2, 0.5, 0.8], abs=1e-6)


def test_moment_matched_noise_is_clamped_to_pictures() -> None:
    wide = PixelMoments(torch.full((3,), 0.5), torch.full((3,), 2.0))
    noise = noise_pixels(pictures(2), "moment-matched", wide, draws(2))
    assert noise.min() == 0
    assert noise.max() == 1


@pytest.mark.parametrize("kind", NOISES)
def test_noise_changes_nothing_but_the_inputs(kind: str) -> None:
    generator = tiny()
    seen = view(generator, pictures(2), "random:0.5")
    noisy = generator.noise_view(seen, kind, MOMENTS)
    assert not torch.equal(noisy.inputs, seen.inputs)
    assert torch.equal(noisy.images, seen.images)
    assert torch.equal(noisy.hidden, seen.hidden)
    assert noisy.corrupted is seen.corrupted
    assert noisy.draws == seen.draws


@pytest.mark.parametrize("kind", ["standard-normal", "moment-matched", "uniform"])
def test_noise_belongs_to_the_image_id_and_the_visit(kind: str) -> None:
    generator = tiny()

    def noise(images: Tensor, seed: int = 0, visit: int = 0, first: int = 0) -> Tensor:
        keyed = draws(len(images), seed, visit, first)
        seen = generator.view(images, parse_corruption("centre:0.5"), keyed)
        return generator.noise_view(seen, kind, MOMENTS).inputs

    images = pictures(3)
    together = noise(images)
    assert torch.equal(together, noise(images.flip(0)))
    assert torch.equal(together[1:2], noise(images[1:2], first=1))
    assert not torch.equal(together[0], together[1])
    assert not torch.equal(together, noise(images, visit=1))
    assert not torch.equal(together, noise(images, seed=1))


@pytest.mark.parametrize("kind", NOISES)
def test_the_noise_target_is_the_target_of_the_noise_picture(kind: str) -> None:
    for normalises in (False, True):
        generator = tiny(norm_pix_loss=normalises)
        seen = view(generator, pictures(2))
        noisy = generator.noise_view(seen, kind, MOMENTS)
        pixels = noisy.inputs * generator.std + generator.mean
        expected = generator.task_target(view(generator, pixels))
        torch.testing.assert_close(
            generator.noise_target(seen, kind, MOMENTS),
            expected,
            atol=2e-3 if normalises else 1e-5,
            rtol=1e-3,
        )


# the teacher


def test_the_teacher_gives_the_originals_output_after_the_student_changed() -> None:
    generator = tiny()
    seen = view(generator, pictures(2))
    with torch.no_grad():
        original = generator.predict(seen)
    generator.set_trained("encoder")
    generator.keep_teacher("encoder")
    with torch.no_grad():
        for parameter in generator.encoder_parameters().values():
            parameter.add_(0.1)
    with generator.teacher():
        assert torch.equal(generator.predict(seen), original)
        features = generator.encode(seen)
    assert not features[0].requires_grad
    assert not torch.equal(generator.predict(seen), original)
    assert generator.encode(seen)[0].requires_grad


def test_the_teacher_sees_the_same_patches_as_the_student_whatever_was_encoded_before() -> None:
    generator = tiny()
    generator.keep_teacher()
    narrow, wide = view(generator, pictures(2), "random:0.75"), view(generator, pictures(2), "random:0.25")
    with torch.no_grad():
        generator.encode(narrow)
        with generator.teacher():
            one = generator.predict(wide)
        assert torch.equal(one, generator.predict(wide))


def test_the_teacher_stays_in_evaluation_mode() -> None:
    generator = tiny(hidden_dropout_prob=0.5).train()
    generator.keep_teacher()
    seen = view(generator, pictures(2))
    with generator.teacher():
        assert not generator.active.training
        assert torch.equal(generator.encode(seen)[0], generator.encode(seen)[0])
    assert generator.active.training
    assert not torch.equal(generator.encode(seen)[0], generator.encode(seen)[0])


def test_untrained_weights_are_shared_with_the_teacher_and_trained_ones_copied() -> None:
    generator = tiny()
    generator.keep_teacher("encoder")
    student = {name: weight.data_ptr() for name, weight in generator.network.named_parameters()}
    with generator.teacher():
        teacher = {name: weight.data_ptr() for name, weight in generator.active.named_parameters()}
    copied = {name for name in student if student[name] != teacher[name]}
    assert copied == set(generator.encoder_parameters())


def test_a_teacher_kept_in_the_precision_of_autocast_gives_the_same_numbers() -> None:
    outputs = []
    for precision in (None, torch.bfloat16):
        generator = tiny()
        generator.keep_teacher("encoder", precision)
        with torch.autocast("cpu", torch.bfloat16), generator.teacher():
            outputs.append(generator.predict(view(generator, pictures(2))))
    assert torch.equal(*outputs)
    types = {weight.dtype for weight in generator.network.parameters()}
    assert types == {torch.float32}, "neither the student nor what it shares with the teacher is cast"


def test_the_student_does_not_hold_the_teacher_as_a_part() -> None:
    generator = tiny()
    names, count = set(generator.state_dict()), len(list(generator.parameters()))
    generator.keep_teacher()
    assert set(generator.state_dict()) == names
    assert len(list(generator.parameters())) == count


def test_without_a_teacher_nothing_is_taught() -> None:
    generator = tiny()
    generator.keep_teacher()
    generator.drop_teacher()
    with pytest.raises(RuntimeError, match="keep_teacher"), generator.teacher():
        pass


def test_the_student_is_active_again_after_an_error_in_the_teachers_block() -> None:
    generator = tiny()
    generator.keep_teacher()
    with pytest.raises(KeyError), generator.teacher():
        raise KeyError
    assert generator.active is generator.network
    assert generator.encode(view(generator, pictures(1)))[0].requires_grad


# weights


def test_encoder_and_decoder_share_nothing_and_leave_out_only_the_fixed_positions() -> None:
    generator = tiny()
    encoder, decoder = generator.encoder_parameters(), generator.decoder_parameters()
    assert not set(encoder) & set(decoder)
    every = set(dict(generator.network.named_parameters()))
    fixed = {"vit.embeddings.position_embeddings", "decoder.decoder_pos_embed"}
    assert set(encoder) | set(decoder) == every - fixed
    assert set(generator.trained_parameters("encoder")) == set(encoder)
    assert set(generator.trained_parameters("all")) == every - fixed


@pytest.mark.parametrize("trained", ["encoder", "all"])
def test_gradients_reach_what_is_trained_and_nothing_else(trained: str) -> None:
    generator = tiny()
    generator.set_trained(trained)
    generator.task_loss(view(generator, pictures(2))).mean().backward()
    reached = {name for name, weight in generator.network.named_parameters() if weight.grad is not None}
    assert reached == set(generator.trained_parameters(trained))


def test_the_digest_changes_with_any_weight() -> None:
    generator = tiny()
    digests = {generator.weights_digest()}
    weights = generator.network.state_dict()
    for tensor in weights.values():
        value = tensor.view(-1)[-1].clone()
        tensor.view(-1)[-1] = value + 1e-3
        digests.add(generator.weights_digest())
        tensor.view(-1)[-1] = value
    assert len(digests) == len(weights) + 1
    assert generator.weights_digest() in digests


def test_saving_and_loading_keeps_digest_config_and_pictures(tmp_path: Path) -> None:
    generator = tiny(mask_ratio=0.6, norm_pix_loss=True)
    seen = view(generator, pictures(2), "random:0.3")
    restored = generator.restore(seen)
    generator.save_pretrained(tmp_path)
    loaded = load_generator(str(tmp_path))
    assert isinstance(loaded, MaeGenerator)
    assert loaded.weights_digest() == generator.weights_digest()
    assert loaded.config.mask_ratio == loaded.mask_ratio == 0.6
    assert str(loaded.training_corruption) == "random:0.6"
    assert loaded.config.norm_pix_loss is True
    assert torch.equal(loaded.restore(seen), restored)


def test_saving_does_not_disturb_the_view_at_hand(tmp_path: Path) -> None:
    generator = tiny(mask_ratio=0.6)
    seen = view(generator, pictures(2), "random:0.3")
    generator.encode(seen)
    used = generator.config.mask_ratio
    generator.save_pretrained(tmp_path)
    assert generator.config.mask_ratio == used != 0.6


def test_a_new_model_hangs_on_its_seed_and_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(7)
    state = torch.get_rng_state()
    one, again, other = tiny(seed=1), tiny(seed=1), tiny(seed=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert one.weights_digest() == again.weights_digest() != other.weights_digest()


def test_reinitialised_weights_are_those_of_a_new_model(tmp_path: Path) -> None:
    generator = tiny(seed=1)
    generator.encode(view(generator, pictures(1), "random:0.3"))
    generator.save_pretrained(tmp_path)
    for model in (generator, load_generator(str(tmp_path))):
        state = torch.get_rng_state()
        before = weights_of(model)
        model.reinitialise(5)
        assert model.weights_digest() == tiny(seed=5).weights_digest()
        assert changed(before, weights_of(model)) >= {"vit.layers.0.mlp.fc1.weight", "decoder.mask_token"}
        assert torch.equal(torch.get_rng_state(), state)


def test_the_description_is_for_the_record() -> None:
    described = tiny().describe()
    assert described["family"] == "mae"
    assert (described["image_size"], described["patch_size"]) == (SIZE, PATCH)
    assert described["parameters"] == sum(weight.numel() for weight in tiny().network.parameters())
    assert described["origin"] == {"kind": "new", "seed": 0}


def test_holes_of_varying_size_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"'brush:.* hides \d+ to \d+ patches; a masked autoencoder needs the"
    ):
        tiny().check_corruption(parse_corruption("brush:0.1,0.5"))
