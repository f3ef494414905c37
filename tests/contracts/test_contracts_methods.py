"""What every registered method keeps to, whoever wrote it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from efface.errors import InputError
from efface.files import sha256_of_file
from efface.generators.base import Moments
from efface.generators.mae.generator import MaeGenerator
from efface.methods import GENERATOR_METHODS, read_method
from efface.progress import Progress
from efface.training.data import Data
from efface.training.phases import Batch, Edit, Training
from efface.training.settings import TrainingSettings
from support.tiny_models import (
    changed,
    draws,
    pictures,
    settings,
    tiny,
    trainer,
    training_data,
    view,
    weights_of,
)

NAMES = list(GENERATOR_METHODS.built_in)
MOMENTS = Moments(torch.tensor([0.2, 0.5, 0.8]), torch.tensor([0.3, 0.1, 0.02]))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return training_data(tmp_path_factory.mktemp("images"))


def unlearn(
    name: str, data: Data, seed: int = 0, steps: int = 4, generator: MaeGenerator | None = None
) -> Any:
    generator = generator or tiny()
    asked = settings(steps=steps)
    trainer(generator, read_method({"name": name}).phases(), data, seed, asked=asked).run()
    return generator


# settings and traits


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_documented_and_defaults_read_back(name: str) -> None:
    kind = GENERATOR_METHODS.built_in[name]
    for field, info in kind.model_fields.items():
        assert info.description, f"{field} has no description"
        assert not info.is_required(), f"{field} has no default"
    method = read_method({"name": name})
    assert type(method) is kind
    assert read_method({"name": name, **method.as_dict()}) == method


@pytest.mark.parametrize("name", NAMES)
def test_unknown_settings_are_refused_with_the_nearest_name(name: str) -> None:
    fields = list(GENERATOR_METHODS.built_in[name].model_fields)
    for field in fields:
        with pytest.raises(InputError, match=f"did you mean '{field}'"):
            read_method({"name": name, f"{field}x": 1})
    with pytest.raises(
        InputError, match="unknown setting 'zzzzzz'. Valid: " + (", ".join(sorted(fields)) or "none")
    ):
        read_method({"name": name, "zzzzzz": 1})


@pytest.mark.parametrize("name", NAMES)
def test_traits_agree_with_the_phases(name: str) -> None:
    kind = GENERATOR_METHODS.built_in[name]
    assert (kind.name, bool(kind.summary), bool(kind.source), bool(kind.deviations)) == (
        name,
        True,
        True,
        True,
    )
    phases = read_method({"name": name}).phases()
    training = [phase for phase in phases if isinstance(phase, Training)]
    streams = {stream for phase in training for stream in phase.streams}
    assert streams <= {"retain", "forget"}
    assert kind.needs_retain == ("retain" in streams)
    assert kind.needs_forget == ("forget" in streams)
    # a first stage is trained only where everything is made anew
    anew = {"first-stage"} if kind.claim == "exact" else set()
    assert {phase.trained for phase in training} - anew == {kind.trains}
    assert len({phase.name for phase in phases}) == len(phases)
    if kind.claim == "exact":
        assert isinstance(phases[0], Edit)
        assert streams == {"retain"}


@pytest.mark.parametrize("name", NAMES)
def test_recommended_training_settings_are_valid_and_give_way_to_the_users(name: str) -> None:
    kind = GENERATOR_METHODS.built_in[name]
    recommended = kind.training_settings({})
    assert recommended == TrainingSettings(**kind.recommended)
    assert kind.training_settings({"steps": 7}).steps == 7
    assert kind.training_settings({"steps": 7}).learning_rate == recommended.learning_rate


# the loss


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("corruption", ["centre:0.5", "random:0.75"])
def test_the_loss_is_a_finite_scalar_with_gradients_on_the_declared_weights_only(
    name: str, corruption: str
) -> None:
    for phase in read_method({"name": name}).phases():
        if isinstance(phase, Edit) or not tiny().trained_parameters(phase.trained):
            continue
        generator = tiny().train()
        generator.set_trained(phase.trained)
        if phase.needs_teacher:
            generator.keep_teacher(phase.trained)
        all_views = {
            "retain": view(generator, pictures(3, seed=1), corruption),
            "forget": view(generator, pictures(3, seed=2), corruption, first=100),
        }
        loss = phase.loss(generator, Batch({stream: all_views[stream] for stream in phase.streams}, MOMENTS))
        assert loss.total.shape == ()
        assert loss.total.isfinite()
        assert set(loss.parts) == set(phase.streams)
        assert all(
            part.shape == () and part.isfinite() and not part.requires_grad for part in loss.parts.values()
        )
        loss.total.backward()
        reached = {n for n, weight in generator.network.named_parameters() if weight.grad is not None}
        assert reached == set(generator.trained_parameters(phase.trained))
        assert all(p.grad.isfinite().all() for p in generator.network.parameters() if p.grad is not None)
        assert generator.active is generator.network


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_does_not_change_its_batch(name: str) -> None:
    generator = tiny()
    generator.keep_teacher("all")
    views = {
        "retain": view(generator, pictures(3, seed=1)),
        "forget": view(generator, pictures(2, seed=2), first=9),
    }
    before = {
        key: (seen.images.clone(), seen.inputs.clone(), seen.hidden.clone()) for key, seen in views.items()
    }
    for phase in read_method({"name": name}).phases():
        if isinstance(phase, Training) and generator.trained_parameters(phase.trained):
            batch = Batch({stream: views[stream] for stream in phase.streams}, MOMENTS)
            one, again = phase.loss(generator, batch), phase.loss(generator, batch)
            assert torch.equal(one.total, again.total), (
                "draws are keyed by image, not by how often they are taken"
            )
    for key, seen in views.items():
        assert all(
            torch.equal(a, b)
            for a, b in zip(before[key], (seen.images, seen.inputs, seen.hidden), strict=True)
        )


# training


@pytest.mark.parametrize("name", NAMES)
def test_training_changes_the_declared_weights_and_nothing_else(name: str, data: Data) -> None:
    generator = tiny()
    before = weights_of(generator)
    trained = GENERATOR_METHODS.built_in[name].trains
    expected = set(generator.trained_parameters(trained))
    unlearn(name, data, generator=generator)
    after = weights_of(generator)
    assert changed(before, after) == expected
    if trained == "encoder":
        assert not any(key.startswith("decoder.") for key in changed(before, after))
    assert all(tensor.isfinite().all() for tensor in after.values())


@pytest.mark.parametrize("name", NAMES)
def test_training_leaves_global_random_states_and_images_alone(name: str, data: Data, tmp_path: Path) -> None:
    random.seed(3)
    np.random.seed(3)
    torch.manual_seed(3)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    files = {item.path: sha256_of_file(Path(item.source.where)) for item in data.sets["forget"]}
    pixels = {id_: data.cache.read(id_).copy() for images in data.sets.values() for id_ in images.ids}
    unlearn(name, data)
    assert states[0] == random.getstate()
    assert states[1] == np.random.get_state()[1].tolist()
    assert torch.equal(states[2], torch.get_rng_state())
    assert files == {item.path: sha256_of_file(Path(item.source.where)) for item in data.sets["forget"]}
    assert all(np.array_equal(data.cache.read(id_), stored) for id_, stored in pixels.items())


@pytest.mark.parametrize("name", NAMES)
def test_a_run_repeats_with_its_seed_and_differs_with_another(name: str, data: Data) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(1)
    one = unlearn(name, data, seed=1).weights_digest()
    torch.manual_seed(2)
    assert unlearn(name, data, seed=1).weights_digest() == one
    assert (unlearn(name, data, seed=2).weights_digest() == one) == GENERATOR_METHODS.built_in[
        name
    ].deterministic


# what encoder-noise costs


class Calls:
    """Which parts of student and teacher run, and what the encoders are fed."""

    def __init__(self, generator: MaeGenerator) -> None:
        self.student = generator.network.vit
        self.made: list[str] = []
        self.fed: list[tuple[str, Tensor, Tensor]] = []
        # hooks are copied along with the network when the teacher is made
        generator.network.vit.register_forward_pre_hook(self._encoder, with_kwargs=True)
        generator.network.decoder.register_forward_pre_hook(self._decoder)

    def __deepcopy__(self, memo: dict) -> Calls:
        return self

    def _encoder(self, module: nn.Module, inputs: tuple, options: dict) -> None:
        who = "student" if module is self.student else "teacher"
        self.made.append(who)
        self.fed.append((who, inputs[0].clone(), options["noise"].clone()))

    def _decoder(self, *_: Any) -> None:
        self.made.append("decoder")


def test_encoder_noise_runs_each_encoder_once_a_step_and_no_decoder(data: Data) -> None:
    generator = tiny()
    calls = Calls(generator)
    unlearn("encoder-noise", data, steps=3, generator=generator)
    assert calls.made == ["teacher", "student"] * 3


@pytest.mark.parametrize(
    ("name", "retain_rows"), [("encoder-noise", 2), ("random-encoder", 2), ("retain-label", 2)]
)
def test_student_and_teacher_see_the_very_same_view(name: str, retain_rows: int, data: Data) -> None:
    generator = tiny()
    calls = Calls(generator)
    asked = settings(steps=2, corruption="random:0.5")
    trainer(generator, read_method({"name": name}).phases(), data, asked=asked).run()
    for (_, taught, taught_order), (_, seen, order) in zip(calls.fed[::2], calls.fed[1::2], strict=True):
        assert torch.equal(taught[:retain_rows], seen[:retain_rows]), "retain images"
        assert torch.equal(taught_order, order[: len(taught_order)]), "which patches are hidden"
        assert not torch.equal(order[0], order[1])
        if name == "encoder-noise":
            assert len(taught) == len(seen) == 4
            assert not torch.equal(taught[2:], seen[2:]), "noise in place of forget images"
            assert abs(float(taught[2:].mean())) < 0.1


def test_alpha_moves_encoder_noise_between_holding_and_letting_go(data: Data) -> None:
    parts: dict[float, dict[str, float]] = {}

    class Last(Progress):
        def log(self, event: str, **values: Any) -> None:
            if event == "step":
                parts[alpha] = values

    for alpha in (0.0, 0.25, 4.0):
        method = read_method({"name": "encoder-noise", "alpha": alpha})
        asked = settings(steps=60, learning_rate=3e-3)
        trainer(tiny(), method.phases(), data, asked=asked, progress=Last()).run()
    forget = [parts[alpha]["forget"] for alpha in (0.0, 0.25, 4.0)]
    retain = [parts[alpha]["retain"] for alpha in (0.0, 0.25, 4.0)]
    assert forget == sorted(forget, reverse=True)
    assert retain == sorted(retain)
    assert forget[2] < 0.8 * forget[0]


def test_draws_of_a_batch_are_those_of_its_images() -> None:
    one = draws(2).join(draws(1, first=7))
    assert one.ids == ("image 0", "image 1", "image 7")
    with pytest.raises(ValueError, match="seeds 0 and 1"):
        draws(1).join(draws(1, seed=1))
