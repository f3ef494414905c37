"""Targets other than noise, against computations of their own on the networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from efface.corruptions import parse_corruption
from efface.corruptions.base import HIDDEN_GREY
from efface.methods import read_method
from efface.methods.generator.blank import bland_picture
from efface.methods.generator.further_views import further_view, shown
from efface.methods.generator.level import off_level
from efface.methods.generator.neighbour import Neighbour, visible_difference
from efface.progress import Progress
from efface.training.data import Data
from efface.training.phases import Batch
from support.families import MODELS
from support.target_cases import (
    CENTRE,
    FORGET,
    HOLE,
    MOMENTS,
    RETAIN,
    SIZE,
    Case,
    check,
    held,
    in_the_hole,
    mean_square,
    moved,
)
from support.tiny_models import draws, pictures, settings, tiny, trainer, view

# further views


@pytest.mark.parametrize("family", MODELS)
def test_a_further_view_is_the_view_of_the_other_pixels_with_the_same_mask_and_draws(family: str) -> None:
    generator = MODELS[family]()
    hole = "brush:0.2,0.4" if family in ("mage", "palette", "latent-inpainting") else "random:0.5"
    corruption = parse_corruption(hole if generator.takes_holes else "colour")
    keyed = draws(2)
    one = generator.view(pictures(2, seed=1), corruption, keyed)
    other = generator.view(pictures(2, seed=2), corruption, keyed)
    kept = one.images.clone(), one.corrupted.condition.clone()
    made = further_view(generator, corruption, one, other.images, other.corrupted.condition)
    assert torch.equal(made.corrupted.condition, other.corrupted.condition)
    assert torch.equal(made.corrupted.known, one.corrupted.known)
    assert torch.equal(one.images, kept[0])
    assert torch.equal(one.corrupted.condition, kept[1])
    with torch.no_grad():
        features = [generator.encode(seen) for seen in (made, other, one)]
    assert all(torch.equal(a, b) for a, b in zip(features[0], features[1], strict=True))
    assert not torch.equal(features[0][0], features[2][0])


def test_what_is_shown_is_the_known_part_or_the_whole_condition() -> None:
    images = pictures(2, seed=1)
    of_hole = tiny().view(images, CENTRE, draws(2))
    seen, visible = shown(of_hole)
    assert torch.equal(visible, ~HOLE.expand(2, 1, -1, -1))
    assert torch.equal(seen.masked_select(visible), images.masked_select(visible))
    assert bool((seen.masked_select(~visible) == HIDDEN_GREY).all())
    whole = MODELS["palette"]().view(images, parse_corruption("colour"), draws(2))
    seen, visible = shown(whole)
    assert torch.equal(seen, whole.corrupted.condition)
    assert bool(visible.all())


# blank


def test_a_flat_picture_has_the_mean_colour_of_what_is_visible() -> None:
    picture = torch.tensor([[[[0.2, 0.4], [0.9, 1.0]]] * 3])
    visible = torch.tensor([[[[True, True], [False, False]]]])
    flat = bland_picture(picture, visible, "flat", 0.1)
    assert flat.flatten().tolist() == pytest.approx([0.3] * 12)


def test_a_blurred_picture_is_made_of_the_filled_one_and_tells_nothing_of_the_hole() -> None:
    images = pictures(2, seed=1)
    visible = ~HOLE.expand(2, 1, -1, -1)
    blurred = bland_picture(images, visible, "blurred", 0.1)
    expected = images.double().numpy().copy()
    for image in expected:
        for channel in image:
            channel[HOLE.numpy()] = channel[~HOLE.numpy()].mean()
            channel[:] = gaussian_filter(channel, 3.2, mode="nearest", truncate=3)
    assert blurred.numpy() == pytest.approx(expected, abs=1e-6)
    for bland in ("blurred", "flat"):
        others = images.where(visible, pictures(2, seed=9))
        one, other = (bland_picture(each, visible, bland, 0.1) for each in (images, others))  # type: ignore[arg-type]
        assert torch.equal(one, other)


@pytest.mark.parametrize("bland", ["blurred", "flat"])
def test_blank(bland: str) -> None:
    case = Case()
    picture = bland_picture(case.forget, ~HOLE.expand(FORGET, 1, -1, -1), bland, 0.1)  # type: ignore[arg-type]
    targets = case.features(case.original, picture)
    drawn = mean_square(case.features(case.generator.network, case.forget), targets).mean()
    check(case.loss("blank", bland=bland, alpha=0.3), held(case), drawn, 0.3)


def test_blank_under_the_noise_of_a_diffusion_model() -> None:
    case = Case("palette")
    forget = case.batch.views["forget"]
    picture = bland_picture(case.forget, ~HOLE.expand(FORGET, 1, -1, -1), "flat", 0.1) * 2 - 1
    gamma = forget.gamma.view(-1, 1, 1, 1)
    condition = picture.where(~HOLE, forget.condition)  # the hole's filling is noise, whatever the picture
    noisy = picture.where(~HOLE, gamma.sqrt() * picture + (1 - gamma).sqrt() * forget.noise)
    down = case.generator.down
    with torch.no_grad():
        targets = down(case.original, torch.cat([condition, noisy], dim=1), forget.level)
        features = down(case.generator.network, forget.inputs, forget.level)
    expected = sum(
        (one - other).square().flatten(1).mean(dim=1) for one, other in zip(features, targets, strict=True)
    )
    assert float(case.loss("blank", bland="flat").parts["forget"]) == pytest.approx(
        float(expected.mean()), rel=1e-4
    )


# neighbour


def test_visible_difference_is_that_of_cell_means_over_visible_pixels() -> None:
    mine, others = pictures(2, seed=1), pictures(3, seed=2)
    visible = torch.rand(2, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) < 0.4
    visible[0, 0, :4, :4] = False  # one cell shows nothing
    expected = np.zeros((2, 3))
    for f in range(2):
        seen = visible[f, 0].numpy()
        for r in range(3):
            total = 0.0
            for row, column in np.ndindex(8, 8):
                cell = np.s_[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
                if seen[cell].any():
                    a, b = (image.numpy()[:, *cell][:, seen[cell]] for image in (mine[f], others[r]))
                    total += ((a.mean(axis=1) - b.mean(axis=1)) ** 2).sum() * seen[cell].sum()
            expected[f, r] = total / (3 * seen.sum())
    assert visible_difference(mine, visible, others).numpy() == pytest.approx(expected, rel=1e-4)


def test_weights_of_neighbours_by_hand() -> None:
    method = read_method({"name": "neighbour", "neighbours": 2, "temperature": 0.5})
    assert isinstance(method, Neighbour)
    places, weights = method.nearest(torch.tensor([[0.9, 0.5, 0.0], [0.1, 0.1, 7.0]]))
    assert places[0].tolist() == [2, 1]
    e = float(np.exp(-1))
    assert weights[0].tolist() == pytest.approx([1 / (1 + e), e / (1 + e)])
    assert set(places[1].tolist()) == {0, 1}
    assert weights[1].tolist() == pytest.approx([0.5, 0.5])
    assert method.nearest(torch.tensor([[0.3]]))[1].tolist() == [[1.0]]


def test_neighbour_pools_the_features_of_the_nearest_under_the_forget_images_mask() -> None:
    case = Case()
    case.batch = Batch(
        {**case.batch.views, "retain": view(case.generator, case.retain, "rectangle:0,0,0.5,0.5")},
        MOMENTS,
        corruption=CENTRE,
    )
    differences = visible_difference(case.forget, ~HOLE.expand(FORGET, 1, -1, -1), case.retain).numpy()
    each = case.features(case.original, case.retain)  # under the centre hole
    expected = np.zeros_like(each[:FORGET])
    for number, row in enumerate(differences.astype(float)):
        nearest = np.argsort(row)[:2]
        weights = np.exp(-row[nearest] / 0.02)
        expected[number] = np.tensordot(weights / weights.sum(), each[nearest], axes=1)
    drawn = mean_square(case.features(case.generator.network, case.forget), expected).mean()
    with torch.no_grad():
        seen = case.batch.views["retain"]
        student = case.generator.encode(seen)[0]
        with case.generator.teacher():
            kept = (student - case.generator.encode(seen)[0]).square().mean()
    check(case.loss("neighbour", temperature=0.02, alpha=0.3), float(kept), drawn, 0.3)


@pytest.mark.parametrize("family", ["mae", "mage", "palette", "latent-inpainting"])
def test_a_retain_image_that_looks_the_same_in_what_is_visible_is_the_neighbour(family: str) -> None:
    case = Case(family)
    twin = case.forget[1].where(~HOLE, 1 - case.forget[1])
    seen = case.generator.view(torch.stack([case.retain[0], twin, case.retain[2]]), CENTRE, draws(RETAIN))
    case.batch = Batch({**case.batch.views, "retain": seen}, MOMENTS, corruption=CENTRE)
    part = case.loss("neighbour", neighbours=1).parts["forget"]
    differences = visible_difference(case.forget, ~HOLE.expand(FORGET, 1, -1, -1), seen.images)
    assert int(differences[1].argmin()) == 1
    assert float(differences[1, 1]) < 1e-10
    wanted = seen.images[differences.argmin(dim=1)]
    with torch.no_grad(), case.generator.teacher():
        targets = case.generator.encode(case.generator.view(wanted, CENTRE, draws(FORGET, first=100)))
    with torch.no_grad():
        features = case.generator.encode(case.batch.views["forget"])
    expected = sum((a - b).square().flatten(1).mean(dim=1) for a, b in zip(features, targets, strict=True))
    assert float(part) == pytest.approx(float(expected.mean()), rel=1e-4)


def test_neighbour_asks_for_no_more_than_the_batch_holds() -> None:
    one, other = Case().loss("neighbour", neighbours=3), Case().loss("neighbour", neighbours=50)
    assert float(one.total.detach()) == float(other.total.detach())


# level


@pytest.mark.parametrize("family", ["mae", "mage", "palette"])
def test_at_ratio_one_the_original_has_nothing_to_change(family: str) -> None:
    case = Case(family, distance=0)
    case.generator.set_trained("encoder")
    loss = case.loss("level", ratio=1.0)
    assert float(loss.total.detach()) == 0
    loss.total.backward()
    gradients = [p.grad for p in case.generator.encoder_parameters().values() if p.grad is not None]
    assert gradients
    assert all(float(gradient.abs().max()) == 0 for gradient in gradients)


def test_level_is_the_squared_log_of_what_is_missing() -> None:
    case = Case()
    inputs = (case.forget - case.generator.mean) / case.generator.std
    blocks = inputs.double().numpy().reshape(FORGET, 3, 4, 8, 4, 8)
    target = blocks.transpose(0, 2, 4, 3, 5, 1).reshape(FORGET, 16, -1)
    now, before = (
        in_the_hole(case.prediction(network, case.forget), target)
        for network in (case.generator.network, case.original)
    )
    expected = (np.log(now / before / 1.45) ** 2).mean()
    check(case.loss("level", alpha=0.3), held(case), expected, 0.3)


def test_off_level_by_hand() -> None:
    e = float(np.e)
    errors = torch.tensor([2.0, 2.0 * e, 2.0 / e**2, 0.0])
    original = torch.tensor([1.0, 1.0, 1.0, 0.0])
    assert off_level(errors, original, 2.0).tolist() == pytest.approx([0, 1, 4, 0], abs=1e-6)


@pytest.mark.parametrize(("ratio", "sign"), [(2.0, 1), (0.5, -1)])
def test_level_pushes_the_error_up_or_down_to_its_level(ratio: float, sign: int) -> None:
    case = Case(distance=0)
    case.generator.set_trained("encoder")
    forget = case.batch.views["forget"]
    before = case.generator.task_loss(forget).mean().item()
    case.loss("level", ratio=ratio).total.backward()
    with torch.no_grad():
        for parameter in case.generator.encoder_parameters().values():
            parameter.sub_(parameter.grad, alpha=1e-4)
    assert sign * (case.generator.task_loss(forget).mean().item() - before) > 0


def test_training_comes_to_the_level_and_stays(data: Data) -> None:
    parts: list[float] = []

    class Parts(Progress):
        def log(self, event: str, **values: Any) -> None:
            if event == "step":
                parts.append(values["forget"])

    method = read_method({"name": "level", "ratio": 1.2, "alpha": 10})
    asked = settings(steps=60, learning_rate=3e-3, crop_scale=(1.0, 1.0), flip=False)
    generator = tiny()
    moved(generator, 0.2)
    trainer(generator, method.phases(), data, asked=asked, progress=Parts()).run()
    assert parts[0] == pytest.approx(np.log(1.2) ** 2, rel=0.1)
    assert np.mean(parts[-10:]) < 0.1 * parts[0]
