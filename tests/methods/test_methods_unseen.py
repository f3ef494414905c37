"""`unseen`, against computations of its own, and the shadow's way through a run."""

from __future__ import annotations

import copy
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from efface.errors import InputError, Stopped
from efface.generators.base import Generator, View
from efface.generators.mae.generator import MaeGenerator
from efface.methods import read_method
from efface.methods.generator.blank import bland_picture
from efface.methods.generator.unseen import Unseen
from efface.progress import Progress
from efface.training.data import Data
from efface.training.phases import Batch, EditPhase, Training
from support.families import MODELS
from support.target_cases import FORGET, HOLE, SIZE, Case, check, in_the_hole, mean_square, moved
from support.tiny_models import changed, draws, settings, tiny, trainer, weights_of

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
        assert (last.streams, last.needs_teacher) == (("retain", "forget"), True)
        if stand_in == "scratch":
            shadow = phases[1]
            assert isinstance(shadow, Training)
            assert shadow.settings is not None
            assert (shadow.streams, shadow.share) == (("retain",), 0.5)
            assert shadow.settings.steps == 7


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
    assert isinstance(edit, EditPhase)
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
    assert isinstance(edit, EditPhase)
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

    expected = weights_of(run(None))
    stops = [("train shadow", 2), ("unlearn", 1), ("unlearn", 3)]
    for phase, step in stops[chosen["stand_in"] == "early" :]:
        with pytest.raises(Stopped):
            run(tmp_path / "run", StopIn(phase, step))
        torch.manual_seed(99)
    assert changed(expected, weights_of(run(tmp_path / "run"))) == set()
