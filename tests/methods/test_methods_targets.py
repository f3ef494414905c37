"""Targets other than noise, against computations of their own on the networks, and the shadow's way through a run."""

from __future__ import annotations

import copy
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import MODELS
from scipy.ndimage import gaussian_filter
from tiny_models import changed, draws, pictures, settings, tiny, trainer, training_data, view, weights_of
from torch import Tensor

from efface.corruptions import parse_corruption
from efface.corruptions.base import HIDDEN_GREY
from efface.errors import InputError, Stopped
from efface.generators.base import Generator, Moments, View
from efface.generators.mae.generator import MaeGenerator
from efface.methods import read_method
from efface.methods.generator.blank import bland_picture
from efface.methods.generator.further_views import further_view, shown
from efface.methods.generator.level import off_level
from efface.methods.generator.neighbour import Neighbour, visible_difference
from efface.methods.generator.unseen import Unseen
from efface.progress import Progress
from efface.training.data import Data
from efface.training.phases import Batch, Edit, Training

RETAIN, FORGET, SIZE = 3, 2, 32
MOMENTS = Moments(torch.tensor([0.2, 0.5, 0.8]), torch.tensor([0.3, 0.1, 0.02]))
CENTRE = parse_corruption("centre:0.5")
HOLE = torch.zeros(SIZE, SIZE, dtype=torch.bool)
HOLE[8:24, 8:24] = True
HIDDEN_PATCHES = HOLE[::8, ::8].flatten()


def moved(generator: Generator, distance: float, seed: int = 3) -> None:
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in generator.trained_parameters("all").values():
            parameter.add_(torch.randn(parameter.shape, generator=rng), alpha=distance)


class Case:
    """A student that has moved away from its teacher, and one batch, of any family."""

    def __init__(self, family: str = "mae", distance: float = 0.05) -> None:
        self.generator: Any = MODELS[family]()
        if family == "mae":
            moved(self.generator, 0.2)  # fresh weights give nearly the same output to all images
        self.original = copy.deepcopy(self.generator.network)
        self.generator.keep_teacher("all")
        moved(self.generator, distance, seed=4)
        corruption = CENTRE if self.generator.takes_holes else parse_corruption("colour")
        self.retain, self.forget = pictures(RETAIN, seed=1), pictures(FORGET, seed=2)
        views = {
            "retain": self.generator.view(self.retain, corruption, draws(RETAIN)),
            "forget": self.generator.view(self.forget, corruption, draws(FORGET, first=100)),
        }
        self.batch = Batch(views, MOMENTS, corruption=corruption)

    def loss(self, name: str, **chosen: Any) -> Any:
        method: Any = read_method({"name": name, **chosen})
        return method.loss(self.generator, self.batch)

    def features(self, network: Any, images: Tensor) -> np.ndarray:
        return plain(network, (images - self.generator.mean) / self.generator.std)[0]

    def prediction(self, network: Any, images: Tensor) -> np.ndarray:
        return plain(network, (images - self.generator.mean) / self.generator.std)[1]


def plain(network: Any, inputs: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Features and prediction of the library's own masked autoencoder under the centre hole."""
    order = (HIDDEN_PATCHES.float() + torch.arange(16) / 100).expand(len(inputs), -1)
    network.config.mask_ratio = network.vit.config.mask_ratio = 0.25
    with torch.no_grad():
        out = network.vit(inputs, noise=order)
        logits = network.decoder(out.last_hidden_state, out.ids_restore).logits
    return out.last_hidden_state.double().numpy(), logits.double().numpy()


def mean_square(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return ((one - other) ** 2).reshape(len(one), -1).mean(axis=1)


def in_the_hole(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    hole = HIDDEN_PATCHES.numpy()
    return ((one - other)[:, hole] ** 2).mean(axis=(1, 2))


def check(loss: Any, retain: float, forget: float, alpha: float) -> None:
    assert float(loss.parts["retain"]) == pytest.approx(retain, rel=1e-4)
    assert float(loss.parts["forget"]) == pytest.approx(forget, rel=1e-4)
    assert float(loss.total.detach()) == pytest.approx(retain + alpha * forget, rel=1e-4)
    assert retain != pytest.approx(forget, rel=1e-2)


def held(case: Case) -> float:
    return float(
        mean_square(*(case.features(n, case.retain) for n in (case.generator.network, case.original))).mean()
    )


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
    down = case.generator.split.down
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


# unseen: the loss


def test_unseen_with_a_shadow_draws_predictions_to_the_shadows() -> None:
    case = Case()
    student = copy.deepcopy(case.generator.network)
    moved(case.generator, 0.1, seed=5)
    shadow = copy.deepcopy(case.generator.network)
    case.generator.keep_shadow()
    case.generator.network.load_state_dict(student.state_dict())
    kept = in_the_hole(*(case.prediction(n, case.retain) for n in (student, case.original))).mean()
    drawn = in_the_hole(*(case.prediction(n, case.forget) for n in (student, shadow))).mean()
    check(case.loss("unseen", stand_in="fine-tuned", alpha=0.3), kept, drawn, 0.3)
    features = mean_square(*(case.features(n, case.forget) for n in (student, shadow))).mean()
    check(case.loss("unseen", stand_in="fine-tuned", space="features", alpha=0.3), kept, features, 0.3)


@pytest.mark.parametrize("perturbation", ["noise", "blur", "mix"])
def test_unseen_asks_the_original_about_the_image_with_its_visible_part_changed(perturbation: str) -> None:
    case = Case()
    if perturbation == "noise":
        keyed = draws(FORGET, first=100)
        noise = [keyed.normal(f"perturbation {copy}", (3, SIZE, SIZE), "cpu") for copy in range(2)]
        changed_pictures = [(case.forget + 0.25 * each).clamp(0, 1) for each in noise]
    elif perturbation == "blur":
        changed_pictures = [bland_picture(case.forget, ~HOLE.expand(FORGET, 1, -1, -1), "blurred", 0.05)]
    else:
        changed_pictures = [(case.forget + case.retain[places]) / 2 for places in ([0, 1], [1, 2])]
    answer = case.prediction(case.generator.network, case.forget)
    drawn = [in_the_hole(answer, case.prediction(case.original, each)).mean() for each in changed_pictures]
    kept = in_the_hole(
        *(case.prediction(n, case.retain) for n in (case.generator.network, case.original))
    ).mean()
    check(case.loss("unseen", perturbation=perturbation, alpha=0.3), kept, float(np.mean(drawn)), 0.3)


@pytest.mark.parametrize("family", ["mae", "mage", "palette", "latent-inpainting"])
def test_what_is_hidden_is_not_perturbed_and_the_copies_differ(family: str) -> None:
    case = Case(family)
    method = read_method({"name": "unseen", "copies": 3})
    assert isinstance(method, Unseen)
    forget = case.batch.views["forget"]
    asked: list[View] = list(method._asked(case.generator, case.batch))
    assert len(asked) == 3
    for seen in asked:
        assert torch.equal(seen.images.masked_select(HOLE), forget.images.masked_select(HOLE))
        assert not torch.equal(seen.images, forget.images)
    assert not torch.equal(asked[0].images, asked[1].images)


def test_where_nothing_is_hidden_the_condition_is_perturbed_and_the_image_stays() -> None:
    case = Case("latent-inpainting, of pictures")
    method = read_method({"name": "unseen", "perturbation": "mix", "strength": 0.25, "copies": 1})
    assert isinstance(method, Unseen)
    (seen,) = method._asked(case.generator, case.batch)
    grey = [case.batch.views[stream].corrupted.condition for stream in ("forget", "retain")]
    assert torch.equal(seen.images, case.forget)
    assert torch.allclose(seen.corrupted.condition, 0.75 * grey[0] + 0.25 * grey[1][:FORGET], atol=1e-6)


def test_copies_have_the_gradient_of_the_mean_of_their_probabilities() -> None:
    case = Case("mage")
    method = read_method({"name": "unseen", "copies": 2, "alpha": 1.0})
    assert isinstance(method, Unseen)
    forget = case.batch.views["forget"]
    with torch.no_grad(), case.generator.teacher():
        answers = [case.generator.predict(seen) for seen in method._asked(case.generator, case.batch)]
    mean = (answers[0].softmax(dim=-1) + answers[1].softmax(dim=-1)).div(2).log()
    weights = list(case.generator.trained_parameters("all").values())

    def gradient(loss: Tensor) -> Tensor:
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)])

    def alone(alpha: float) -> Tensor:
        return gradient(replace_alpha(method, alpha).loss(case.generator, case.batch).total)

    expected = gradient(case.generator.prediction_loss(case.generator.predict(forget), mean, forget).mean())
    drawn = alone(1.0) - alone(0.0)
    assert torch.allclose(drawn, expected, atol=1e-4 * float(expected.abs().max()))


def replace_alpha(method: Unseen, alpha: float) -> Unseen:
    return method.model_copy(update={"alpha": alpha})


# unseen: settings and phases


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"stand_in": "early"}, "path, the model that did not see them"),
        ({"path": "somewhere"}, "path, the model that did not see them"),
        ({"stand_in": "scratch"}, "scratch needs the new network's own training settings"),
        ({"shadow": {"steps": 3}}, "no shadow is trained; leave it out"),
        ({"stand_in": "scratch", "shadow": {}, "space": "features"}, "take `space: prediction`"),
        ({"stand_in": "fine-tuned", "shadow": {"stepz": 3}}, "did you mean 'steps'"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(chosen: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_method({"name": "unseen", **chosen})


def test_the_phases_of_each_stand_in() -> None:
    named = {
        "perturbed": ["unlearn"],
        "fine-tuned": ["train shadow", "keep shadow", "unlearn"],
        "scratch": ["re-initialise", "train shadow", "keep shadow", "unlearn"],
        "early": ["open early model", "unlearn"],
    }
    more = {"scratch": {"shadow": {"steps": 7}, "shadow_share": 0.5}, "early": {"path": "there"}}
    for stand_in, names in named.items():
        phases = read_method({"name": "unseen", "stand_in": stand_in, **more.get(stand_in, {})}).phases()
        assert [phase.name for phase in phases] == names
        last = phases[-1]
        assert isinstance(last, Training)
        assert (last.streams, last.needs_teacher, last.corruption) == (("retain", "forget"), True, "asked")
        if stand_in == "scratch":
            shadow = phases[1]
            assert isinstance(shadow, Training)
            assert shadow.settings is not None
            assert (shadow.streams, shadow.corruption, shadow.share) == (("retain",), "own", 0.5)
            assert shadow.settings.steps == 7


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return training_data(tmp_path_factory.mktemp("images"))


def phases_with_a_witness(chosen: dict[str, Any], seen: dict[str, Any]) -> list[Any]:
    """The phases, with the student's and the shadow's weights noted when the last one begins."""
    *before, last = read_method({"name": "unseen", **chosen}).phases()
    assert isinstance(last, Training)
    loss = last.loss

    def noted(student: Generator, batch: Batch) -> Any:
        if not seen:
            seen["student"] = {n: t.clone() for n, t in student.network.state_dict().items()}
            with student.shadow():
                seen["shadow"] = {n: t.clone() for n, t in student.active.state_dict().items()}
        return loss(student, batch)

    return [*before, replace(last, loss=noted)]


@pytest.mark.parametrize(
    ("chosen", "alone"),
    [
        ({"stand_in": "fine-tuned"}, "fine-tune"),
        ({"stand_in": "scratch", "shadow": settings(steps=4).as_dict()}, "retrain"),
    ],
)
def test_the_shadow_is_what_its_training_alone_gives_and_the_original_comes_back(
    chosen: dict[str, Any], alone: str, data: Data
) -> None:
    seen: dict[str, Any] = {}
    generator = tiny()
    before = weights_of(generator)
    trainer(generator, phases_with_a_witness(chosen, seen), data, asked=settings(steps=4)).run()
    assert changed(before, seen["student"]) == set()
    other = tiny()
    trainer(other, read_method({"name": alone}).phases(), data, asked=settings(steps=4)).run()
    assert changed(weights_of(other), seen["shadow"]) == set()
    assert changed(before, seen["shadow"])
    assert changed(before, weights_of(generator)) == set(generator.trained_parameters("all"))


def test_an_early_model_answers_as_it_does_by_itself(tmp_path: Path) -> None:
    case, early = Case(), tiny(seed=7)
    moved(early, 0.3)
    early.save(tmp_path / "early")
    before = weights_of(case.generator)
    edit, last = read_method(
        {"name": "unseen", "stand_in": "early", "path": str(tmp_path / "early")}
    ).phases()
    assert isinstance(edit, Edit)
    assert isinstance(last, Training)
    original = Case(distance=0).generator
    original.keep_teacher("all")
    edit.apply(original, 0)
    assert changed(weights_of(Case(distance=0).generator), weights_of(original)) == set()
    with torch.no_grad():
        expected = early.predict(case.batch.views["forget"])
        with original.shadow():
            assert torch.equal(original.predict(case.batch.views["forget"]), expected)
    answer = original.predict(case.batch.views["forget"]).detach()
    drawn = in_the_hole(answer.double().numpy(), expected.double().numpy()).mean()
    loss = last.loss(original, case.batch)
    assert float(loss.parts["forget"]) == pytest.approx(drawn, rel=1e-4)
    assert changed(before, weights_of(case.generator)) == set()


def refusal(generator: Generator, folder: Path) -> str:
    generator.keep_teacher("all")
    before = weights_of(generator)  # type: ignore[arg-type]
    edit = read_method({"name": "unseen", "stand_in": "early", "path": str(folder)}).phases()[0]
    assert isinstance(edit, Edit)
    with pytest.raises(InputError) as caught:
        edit.apply(generator, 0)
    assert changed(before, weights_of(generator)) == set()  # type: ignore[arg-type]
    return str(caught.value)


def test_a_model_that_cannot_stand_in_is_refused_with_all_that_does_not_fit(tmp_path: Path) -> None:
    assert "no model at" in refusal(tiny(), tmp_path / "nowhere" / "at" / "all")
    MODELS["palette"]().save(tmp_path / "palette")
    assert "it is of the family palette, this model of mae" in refusal(tiny(), tmp_path / "palette")
    tiny(norm_pix_loss=True, num_hidden_layers=3).save(tmp_path / "deep")
    said = refusal(tiny(), tmp_path / "deep")
    assert "norm_pix_loss is True there and False here" in said
    assert "weights are missing or of another shape: vit." in said
    other: Any = MODELS["mage"]()
    with torch.no_grad():
        next(iter(other.first_stage_parameters().values())).add_(0.1)
    other.save(tmp_path / "tokens")
    assert "its first stage is another one" in refusal(MODELS["mage"](), tmp_path / "tokens")


class StopIn(Progress):
    """Sends this process a signal once a step of the phase of that name is done."""

    def __init__(self, phase: str, step: int) -> None:
        super().__init__()
        self.phase, self.step = phase, step

    def log(self, event: str, **values: Any) -> None:
        if event == "step" and (values["phase"], values["step"]) == (self.phase, self.step):
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    "chosen",
    [
        {"stand_in": "fine-tuned"},
        {"stand_in": "scratch", "shadow": settings(steps=4).as_dict()},
        {"stand_in": "early"},
    ],
    ids=lambda chosen: chosen["stand_in"],
)
def test_a_stopped_run_goes_on_to_the_same_weights(
    chosen: dict[str, Any], data: Data, tmp_path: Path
) -> None:
    if chosen["stand_in"] == "early":
        tiny(seed=7).save(tmp_path / "early")
        chosen = {**chosen, "path": str(tmp_path / "early")}

    def run(folder: Path | None, progress: Progress | None = None) -> MaeGenerator:
        generator = tiny(hidden_dropout_prob=0.1)
        phases = read_method({"name": "unseen", **chosen}).phases()
        options: dict[str, Any] = {"folder": folder, "config_digest": "config", "progress": progress}
        trainer(generator, phases, data, asked=settings(steps=4), **options).run()
        return generator

    torch.manual_seed(1)
    expected = weights_of(run(None))
    torch.manual_seed(1)
    stops = [("train shadow", 2), ("unlearn", 1), ("unlearn", 3)]
    for phase, step in stops[chosen["stand_in"] == "early" :]:
        with pytest.raises(Stopped):
            run(tmp_path / "run", StopIn(phase, step))
        torch.manual_seed(99)
    assert changed(expected, weights_of(run(tmp_path / "run"))) == set()
