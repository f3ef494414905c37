"""A token model behind the generator's contract."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from efface.corruptions import parse_corruption
from efface.corruptions.base import mean_fill
from efface.corruptions.patches import MaskRates
from efface.generators.base import PixelMoments
from efface.generators.mage.generator import MageGenerator
from efface.jobs.generator_plan import _first_stage_price
from efface.methods import GENERATOR_METHODS
from efface.methods.base import OneLossMethod
from efface.training.phases import Batch
from support.mage_models import CODES, GRID, RATES, SIZE, lively, tiny_mage, view_of
from support.tiny_models import draws, pictures


def seeing(**changes: Any) -> MageGenerator:
    """A model with so many codes that a token tells of all that its tokenizer sees."""
    generator = tiny_mage(codebook_size=256, vocabulary_size=258, class_token=256, mask_token=257, **changes)
    torch.nn.init.normal_(
        generator.network.tokenizer.codebook.weight, generator=torch.Generator().manual_seed(1)
    )
    return generator


MOMENTS = PixelMoments(torch.tensor([0.2, 0.5, 0.8]), torch.tensor([0.3, 0.1, 0.02]))
NOISES = ["standard-normal", "moment-matched", "uniform", "constant"]
ONE_LOSS = [name for name, method in GENERATOR_METHODS.built_in.items() if issubclass(method, OneLossMethod)]


# views


def test_the_sizes_are_those_of_the_tokens() -> None:
    generator = tiny_mage()
    assert (generator.image_size, generator.grid) == (SIZE, GRID)
    assert generator.training_corruption == MaskRates(0.5, 1.0)
    assert generator.tokens(pictures(2)).shape == (2, GRID**2)


def test_a_hole_hides_every_token_that_it_touches_and_no_other() -> None:
    seen = view_of(tiny_mage(), pictures(2), "rectangle:0.125,0.125,0.25,0.125")  # 4 to 12 px and 4 to 8 px
    assert seen.hidden[0].view(GRID, GRID).nonzero().tolist() == [[0, 0], [1, 0]]
    assert int(seen.corrupted.region[0].sum()) == 8 * 4


def test_only_the_tokens_of_a_mask_rate_are_left_out_of_the_encoder() -> None:
    generator, images = tiny_mage(), pictures(6)
    whole = view_of(generator, images, "centre:0.5")
    assert whole.kept.tolist() == [list(range(1 + GRID**2))] * 6
    seen = view_of(generator, images, RATES)
    assert len(set(seen.hidden.sum(dim=1).tolist())) > 1, "images differ in how much is hidden"
    assert seen.kept.shape == (6, 1 + GRID**2 // 2)
    for kept, hidden in zip(seen.kept, seen.hidden, strict=True):
        assert kept[0] == 0
        left_out = sorted(set(range(GRID**2)) - {place - 1 for place in kept.tolist()})
        assert hidden[left_out].all(), "what is seen is never left out"
    assert generator.encode(seen)[0].shape == (6, 1 + GRID**2 // 2, 32)
    assert generator.encode(whole)[0].shape == (6, 1 + GRID**2, 32)


def test_what_is_left_out_belongs_to_image_id_and_visit() -> None:
    generator, images = tiny_mage(), pictures(3)
    together = view_of(generator, images, RATES).kept
    assert torch.equal(together[1:2], view_of(generator, images[1:2], RATES, first=1).kept)
    assert torch.equal(together, view_of(generator, images.flip(0), RATES).kept)
    assert not torch.equal(together, view_of(generator, images, RATES, visit=1).kept)
    assert not torch.equal(together, view_of(generator, images, RATES, seed=1).kept)


def test_kept_codes_give_the_same_view_as_computing_them() -> None:
    generator, images = tiny_mage(), pictures(3)
    for corruption in (RATES, parse_corruption("centre:0.5"), parse_corruption("box:0.2,0.4")):
        kept = generator.codes(images, corruption).int()
        one = view_of(generator, images, corruption)
        other = generator.view(images, corruption, draws(3), codes=kept)
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.tokens, other.tokens)
        assert other.inputs.dtype == torch.int64
        with torch.no_grad():
            assert torch.equal(generator.task_loss(one), generator.task_loss(other))


# what visible tokens hold


HOLES = ["centre:0.5", "outpaint:0.5", "box:0.2,0.4", "random:0.5"]


@pytest.mark.parametrize("corruption", HOLES)
def test_under_a_hole_the_network_is_fed_tokens_of_the_filled_picture(corruption: str) -> None:
    generator, images = seeing(), pictures(4)
    view = view_of(generator, images, corruption)
    filled = mean_fill(images, view.corrupted.known)
    assert torch.equal(view.inputs, generator.tokens(filled))
    assert torch.equal(view.tokens, generator.tokens(images)), "targets are those of the true picture"
    assert not torch.equal(view.inputs[~view.hidden], view.tokens[~view.hidden])
    hidden = ~view.corrupted.known
    other = view_of(generator, torch.where(hidden, 1 - images, images), corruption)
    with torch.no_grad():
        assert torch.equal(generator.predict(other), generator.predict(view)), "no hidden pixel is seen"


@pytest.mark.parametrize("leaky", [True, False])
def test_the_models_own_masks_show_tokens_of_the_whole_picture_unless_it_says_otherwise(leaky: bool) -> None:
    generator, images = seeing(leaky=leaky), pictures(4)
    view = view_of(generator, images, RATES)
    assert torch.equal(view.inputs, view.tokens) == leaky
    if not leaky:
        assert torch.equal(view.inputs, generator.tokens(mean_fill(images, view.corrupted.known)))
    assert generator.codes(images, RATES).shape[1] == 1, "a hole that changes at every visit is not kept"
    assert generator.codes_change(RATES) != leaky
    assert generator.describe()["leaky"] == leaky


def test_codes_of_a_hole_that_stays_are_kept_and_of_one_that_changes_are_not() -> None:
    generator, images = seeing(), pictures(2)
    fixed, box = parse_corruption("centre:0.5"), parse_corruption("box:0.2,0.4")
    view = view_of(generator, images, fixed)
    assert torch.equal(generator.codes(images, fixed), torch.stack([view.tokens, view.inputs], dim=1))
    assert not generator.codes_change(fixed)
    assert torch.equal(generator.codes(images, box), generator.tokens(images).unsqueeze(1))
    assert generator.codes_change(box)


def test_a_restored_whole_picture_view_looks_at_its_tokens_and_widens_no_hole() -> None:
    generator, images = lively(seeing()), pictures(3)
    view = view_of(generator, images, "centre:0.5")
    whole = generator.whole_picture_view(view)
    assert torch.equal(whole.inputs, whole.tokens)
    hidden = ~view.corrupted.known
    other = view_of(generator, torch.where(hidden, 1 - images, images), "centre:0.5")
    assert torch.equal(
        generator.restore(other)[hidden.expand_as(images)], generator.restore(view)[hidden.expand_as(images)]
    )
    told = (
        generator.restore(whole, "greedy:1,1"),
        generator.restore(generator.whole_picture_view(other), "greedy:1,1"),
    )
    assert not torch.equal(*told)
    assert torch.equal(generator.restore(whole, "greedy:1,0"), told[0])


def test_the_share_of_visible_tokens_that_see_hidden_pixels_is_told() -> None:
    generator, images = seeing(), pictures(8)
    view = view_of(generator, images, "centre:0.5")
    expected = float((view.inputs != view.tokens)[~view.hidden].float().mean())
    assert 0.05 < generator.seeping(images, parse_corruption("centre:0.5")) == pytest.approx(expected)
    (told,) = generator.view_risks(images, parse_corruption("centre:0.5"))
    assert told.startswith(f"{expected:.0%} of the tokens that centre:0.5 leaves visible change")
    assert "asked about other tokens than it learnt from" in told
    generator.config.leaky = False
    assert "asked about other tokens" not in generator.view_risks(images, parse_corruption("centre:0.5"))[0]
    blind = tiny_mage(tokenizer_patch=8, tokenizer_multipliers=[1])
    for module in blind.network.tokenizer.encoder.modules():
        if isinstance(module, torch.nn.Conv2d) and module.kernel_size == (3, 3):
            module.weight.data[:, :, [0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 2, 0, 1, 2]] = 0
        if isinstance(module, torch.nn.GroupNorm):
            module.forward = lambda values: values  # type: ignore[method-assign]
    assert blind.view_risks(images, parse_corruption("centre:0.5")) == []


def test_tokens_are_the_same_under_the_autocast_of_training() -> None:
    generator, images = tiny_mage(), pictures(6)
    plain = generator.tokens(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(generator.tokens(images), plain)


def test_joined_views_are_encoded_as_the_views_apart() -> None:
    generator = lively(tiny_mage())
    one = view_of(generator, pictures(2), RATES)
    other = view_of(generator, pictures(3, seed=5), RATES, first=7)
    with torch.no_grad():
        apart = torch.cat([generator.predict(one), generator.predict(other)])
        torch.testing.assert_close(generator.predict(one.join(other)), apart)


def test_a_plan_prices_a_tokenizer_that_every_step_runs() -> None:
    (note,) = _first_stage_price(tiny_mage(leaky=False), pictures(4), RATES, 64)
    assert "under mask-rates:0.5,1 passes the first stage at every step" in note
    assert _first_stage_price(tiny_mage(), pictures(4), RATES, 64) == []


# encoder and decoder


def test_hidden_tokens_are_not_looked_at_and_visible_ones_are() -> None:
    generator = lively(tiny_mage())
    for corruption in ("centre:0.5", RATES):
        seen = view_of(generator, pictures(3), corruption)
        other = (seen.inputs + 1) % CODES
        with torch.no_grad():
            features = generator.encode(seen)[0]
            hidden = torch.where(seen.hidden, other, seen.inputs)
            visible = torch.where(seen.hidden, seen.inputs, other)
            replaced = [type(seen)(**{**vars(seen), "inputs": inputs}) for inputs in (hidden, visible)]
            assert torch.equal(generator.encode(replaced[0])[0], features)
            assert not torch.equal(generator.encode(replaced[1])[0], features)


def test_encoding_runs_no_decoder_and_decoding_no_encoder() -> None:
    generator = tiny_mage()
    seen = view_of(generator, pictures(2))

    def refuse(*_: object) -> None:
        raise AssertionError("it ran")

    handle = generator.network.decoder.register_forward_pre_hook(refuse)
    features = generator.encode(seen)
    handle.remove()
    generator.network.encoder.register_forward_pre_hook(refuse)
    assert generator.decode(features, seen).shape == (2, GRID**2, CODES)


def test_the_decoder_reads_features_of_visible_tokens_and_of_the_class_token_only() -> None:
    generator = lively(tiny_mage())
    seen = view_of(generator, pictures(2))
    with torch.no_grad():
        (features,) = generator.encode(seen)
        altered = features.clone()
        altered[:, 1:][seen.hidden] += 1.0
        prediction = generator.decode((features,), seen)
        assert torch.equal(generator.decode((altered,), seen), prediction)
        altered[:, 0] += 1.0
        assert not torch.equal(generator.decode((altered,), seen), prediction)


def test_dropout_is_active_in_training_only() -> None:
    generator = lively(tiny_mage())
    generator.keep_teacher("encoder")
    seen = view_of(generator, pictures(2))
    with torch.no_grad():
        assert torch.equal(generator.encode(seen)[0], generator.encode(seen)[0])
        generator.train()
        assert not torch.equal(generator.encode(seen)[0], generator.encode(seen)[0])
    with generator.teacher():
        assert torch.equal(generator.encode(seen)[0], generator.encode(seen)[0])


def test_a_teacher_kept_in_half_precision_gives_the_autocasts_numbers() -> None:
    generator = lively(tiny_mage())
    generator.keep_teacher("all", torch.bfloat16)
    seen = view_of(generator, pictures(2), RATES)
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            student = generator.predict(seen)
        with generator.teacher():
            assert torch.equal(generator.predict(seen), student)
    assert generator.prediction_loss(student, seen.tokens, seen).dtype == torch.float32


# the decoder that stays


@pytest.mark.parametrize("tied", [False, True])
def test_training_the_encoder_changes_the_decoders_scores_only_where_the_table_is_tied(tied: bool) -> None:
    generator = lively(tiny_mage(tied=tied)).train()
    seen = view_of(generator, pictures(4), RATES)
    with torch.no_grad():
        features = (torch.randn(4, seen.kept.shape[1], 32, generator=torch.Generator().manual_seed(1)),)
        before = generator.decode(features, seen)
    generator.set_trained("encoder")
    optimizer = torch.optim.AdamW(generator.encoder_parameters().values(), lr=1e-2)
    generator.encode(seen)[0].square().mean().backward()
    optimizer.step()
    with torch.no_grad():
        assert torch.equal(generator.decode(features, seen), before) != tied


def test_untied_the_output_table_is_the_decoders_and_learns_with_it() -> None:
    generator = tiny_mage()
    assert "decoder.head.table" in generator.decoder_parameters()
    generator.task_loss(view_of(generator, pictures(2))).sum().backward()
    table = generator.network.decoder.head.table
    assert table is not None
    assert table.grad is not None
    assert table.grad[:CODES].abs().sum() > 0
    assert "decoder.head.table" not in tiny_mage(tied=True).decoder_parameters()


def test_tied_the_table_is_read_without_a_gradient_as_released() -> None:
    generator = lively(tiny_mage(tied=True))
    seen = view_of(generator, pictures(2))
    features = tuple(feature.detach() for feature in generator.encode(seen))
    generator.decode(features, seen).sum().backward()
    assert generator.network.encoder.embedding.tokens.weight.grad is None


def test_every_weight_belongs_to_one_group() -> None:
    generator = tiny_mage()
    groups = [
        set(names)
        for names in (
            generator.encoder_parameters(),
            generator.decoder_parameters(),
            generator.first_stage_parameters(),
        )
    ]
    assert set.union(*groups) == {name for name, _ in generator.network.named_parameters()}
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert set(generator.trained_parameters("all")) == groups[0] | groups[1]


# the loss


def scores_for(tokens: Tensor, height: float) -> Tensor:
    return torch.nn.functional.one_hot(tokens, CODES).float() * height


def test_the_loss_of_tokens_is_smoothed_cross_entropy_over_hidden_tokens() -> None:
    generator = tiny_mage()
    seen = view_of(generator, pictures(2))
    # one score of 3 and fifteen of 0: -log p by hand
    scores = scores_for(seen.tokens, 3.0)
    log_sum = math.log(math.exp(3.0) + CODES - 1)
    right, wrong = log_sum - 3.0, log_sum
    expected = 0.9 * right + 0.1 * (right + (CODES - 1) * wrong) / CODES
    assert generator.prediction_loss(scores, seen.tokens, seen).tolist() == pytest.approx([expected] * 2)
    altered = scores.clone()
    altered[~seen.hidden] = 50.0 * torch.rand(altered[~seen.hidden].shape)
    assert generator.prediction_loss(altered, seen.tokens, seen).tolist() == pytest.approx([expected] * 2)
    target = seen.tokens.clone()
    place = int(seen.hidden[0].nonzero()[0])
    target[0, place] = (target[0, place] + 1) % CODES
    one_of_four = 0.9 * (wrong - right) / 4
    assert generator.prediction_loss(scores, target, seen).tolist() == pytest.approx(
        [expected + one_of_four, expected]
    )


def test_the_loss_towards_scores_is_the_divergence_of_their_probabilities() -> None:
    generator = tiny_mage()
    seen = view_of(generator, pictures(2))
    rng = torch.Generator().manual_seed(0)
    wanted, given = (torch.randn(2, GRID**2, CODES, generator=rng) for _ in range(2))
    p, q = wanted.softmax(dim=-1).double(), given.softmax(dim=-1).double()
    by_hand = (p * (p / q).log()).sum(dim=-1)
    expected = [float(by_hand[row][seen.hidden[row]].mean()) for row in range(2)]
    assert generator.prediction_loss(given, wanted, seen).tolist() == pytest.approx(expected, rel=1e-5)
    same = generator.prediction_loss(wanted + 4.0, wanted, seen)
    assert same.tolist() == pytest.approx([0.0, 0.0], abs=1e-6), "a shift of all scores changes nothing"


def test_the_target_is_the_views_own_tokens_to_write_into() -> None:
    generator = tiny_mage()
    seen = view_of(generator, pictures(2))
    target = generator.task_target(seen)
    assert torch.equal(target, generator.tokens(pictures(2)))
    target.zero_()
    assert torch.equal(seen.tokens, generator.tokens(pictures(2)))


# noise


@pytest.mark.parametrize("kind", NOISES)
def test_noise_changes_nothing_but_the_tokens_that_are_fed(kind: str) -> None:
    generator = tiny_mage()
    seen = view_of(generator, pictures(2), RATES)
    noisy = generator.noise_view(seen, kind, MOMENTS)
    assert not torch.equal(noisy.inputs, seen.inputs)
    for name in ("images", "tokens", "hidden", "kept"):
        assert torch.equal(getattr(noisy, name), getattr(seen, name))
    assert noisy.corrupted is seen.corrupted
    assert noisy.draws == seen.draws
    assert torch.equal(generator.noise_target(seen, kind, MOMENTS), noisy.inputs)


def test_noise_pictures_have_the_moments_of_their_kind() -> None:
    generator = tiny_mage()
    shown: list[Tensor] = []
    plain = generator._noise.tokenize
    generator._noise.tokenize = lambda images: (shown.append(images), plain(images))[1]
    for kind in NOISES:
        generator.noise_view(view_of(generator, pictures(12)), kind, MOMENTS)
    normal, matched, uniform, constant = shown
    assert abs(float(normal.mean())) < 0.03
    assert abs(float(normal.std()) - 1) < 0.03
    assert normal.abs().max() > 3, "N(0, I) is not clamped"
    assert matched[:, 1].mean() == pytest.approx(0.5, abs=0.01)
    assert matched[:, 1].std() == pytest.approx(0.1, rel=0.05)
    assert matched.min() == 0
    assert abs(float(uniform.mean()) - 0.5) < 0.02
    assert 0 <= float(uniform.min()) < float(uniform.max()) <= 1
    assert len(constant) == 1
    assert constant[0, :, 0, 0].tolist() == pytest.approx([0.2, 0.5, 0.8])


@pytest.mark.parametrize("kind", ["standard-normal", "moment-matched", "uniform"])
def test_noise_belongs_to_image_id_and_visit(kind: str) -> None:
    generator, images = tiny_mage(), pictures(3)

    def tokens(images: Tensor, **at: int) -> Tensor:
        return generator.noise_view(view_of(generator, images, **at), kind, MOMENTS).inputs

    together = tokens(images)
    assert torch.equal(together, tokens(images.flip(0)))
    assert torch.equal(together[1:2], tokens(images[1:2], first=1))
    assert not torch.equal(together[0], together[1])
    assert not torch.equal(together, tokens(images, visit=1))
    assert not torch.equal(together, tokens(images, seed=1))


def test_a_noise_picture_is_tokenized_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator, made = tiny_mage(), []
    plain = generator._noise.tokenize
    monkeypatch.setattr(
        generator._noise, "tokenize", lambda images: (made.append(len(images)), plain(images))[1]
    )
    seen = view_of(generator, pictures(5))
    first = generator.noise_view(seen, "uniform", MOMENTS).inputs
    assert sum(made) == 5
    assert torch.equal(generator.noise_view(seen, "uniform", MOMENTS).inputs, first)
    assert sum(made) == 5
    images = pictures(32)
    for visit in range(1, 12):
        generator.noise_view(view_of(generator, images, visit=visit), "uniform", MOMENTS)
    all_made = sum(made)
    assert 5 < all_made <= 256, "there are no more noise pictures than that, for 357 asked for"
    generator.set_trained("encoder")
    generator.noise_view(seen, "uniform", MOMENTS)
    assert sum(made) == all_made + 5, "they are made anew where the tokenizer may have changed"


def test_noise_pictures_are_no_part_of_the_weights() -> None:
    generator = tiny_mage()
    names, digest = set(generator.state_dict()), generator.weights_digest()
    generator.noise_view(view_of(generator, pictures(5)), "uniform", MOMENTS)
    assert set(generator.state_dict()) == names
    assert generator.weights_digest() == digest


# methods


@pytest.mark.parametrize("name", ONE_LOSS)
def test_every_method_trains_its_weights_and_no_others_at_drawn_mask_rates(name: str) -> None:
    generator = lively(tiny_mage()).train()
    method = GENERATOR_METHODS.built_in[name]()
    assert isinstance(method, OneLossMethod)
    generator.set_trained(method.trains)
    generator.keep_teacher(method.trains)
    views = {
        "retain": view_of(generator, pictures(3, seed=1), RATES),
        "forget": view_of(generator, pictures(2, seed=2), RATES, first=100),
    }
    batch = Batch({stream: views[stream] for stream in method.streams}, MOMENTS, corruption=RATES)
    loss = method.loss(generator, batch)
    assert loss.total.isfinite()
    loss.total.backward()
    wanted = set(generator.trained_parameters(method.trains))
    moved = {
        name
        for name, parameter in generator.network.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0
    }
    assert moved == wanted


def test_a_student_that_is_the_teacher_has_no_retain_loss_to_distil() -> None:
    generator = lively(tiny_mage())
    generator.keep_teacher("all")
    views = {"retain": view_of(generator, pictures(2)), "forget": view_of(generator, pictures(2), first=9)}
    method = GENERATOR_METHODS.built_in["retain-label"]()
    assert isinstance(method, OneLossMethod)
    assert float(method.loss(generator, Batch(views, MOMENTS)).parts["retain"]) == pytest.approx(0, abs=1e-6)


def test_a_generator_says_what_it_is() -> None:
    generator = tiny_mage(seed=4)
    told = generator.describe()
    assert told["family"] == "mage"
    assert told["tokens"] == GRID**2
    assert told["codebook_size"] == CODES
    assert told["tied"] is False
    assert told["parameters"] == sum(p.numel() for p in generator.network.parameters())
    assert told["first_stage"]["kind"] == "VQ-GAN tokenizer"
    assert told["first_stage"]["weights"] == generator.first_stage_digest()
    assert told["origin"] == {"kind": "new", "seed": 4}
    assert isinstance(generator, MageGenerator)
