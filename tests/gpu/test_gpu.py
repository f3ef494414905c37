"""What must hold on a GPU as it does on a CPU: `pytest -m gpu tests/gpu`, or as a part of `benchmarks/gpu.py`."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import efface
from efface.corruptions import parse_corruption
from efface.errors import Stopped
from efface.generators.base import Generator
from efface.methods import read_method
from efface.runs.verification import verify
from efface.testing.models import tiny_classifier
from efface.training.data import Data
from efface.training.loop import TrainingReport
from support.families import MODELS, SAMPLERS
from support.run_making import make_model, make_photos
from support.stopping import StopAt
from support.tiny_models import changed, draws, pictures, settings, trainer, training_data, weights_of

pytestmark = pytest.mark.gpu
FAMILIES = sorted(SAMPLERS)
STEPS = 6


@pytest.fixture(scope="module")
def device() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("torch finds no GPU")
    return torch.device("cuda")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return training_data(tmp_path_factory.mktemp("images"))


def moved(value: Any, device: torch.device) -> Any:
    """A view with all its tensors on `device`."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: moved(getattr(value, one.name), device) for one in fields(value)})
    return value


def unlearned(
    generator: Generator, data: Data, folder: Path | None = None, stop: int = 0, **changes: Any
) -> TrainingReport:
    asked = settings(steps=STEPS, checkpoint_every=2, **{"precision": "bf16", **changes})
    phases = read_method({"name": "encoder-noise"}).phases()
    options: dict[str, Any] = {"folder": folder} if folder else {}
    return trainer(generator, phases, data, asked=asked, progress=StopAt(stop), **options).run()


@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_are_those_of_the_cpu(
    family: str, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    generator = MODELS[family]()
    view = generator.view(pictures(4), parse_corruption("centre:0.5"), draws(4))
    with torch.no_grad():
        expected = generator.predict(view)
        found = generator.to(device).predict(moved(view, device))
    assert found.device.type == device.type
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_unlearning_in_bf16_changes_the_encoder_alone(
    family: str, device: torch.device, data: Data
) -> None:
    generator = MODELS[family]()
    before = weights_of(generator)
    report = unlearned(generator, data)
    assert generator.device.type == device.type
    assert report.precision == "bf16"
    after = {name: tensor.cpu() for name, tensor in weights_of(generator).items()}
    assert all(bool(tensor.isfinite().all()) for tensor in after.values() if tensor.is_floating_point())
    assert changed(before, after)
    assert changed(before, after) <= set(generator.encoder_parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_resumed_run_equals_an_uninterrupted_one(
    family: str, device: torch.device, data: Data, tmp_path: Path
) -> None:
    straight = MODELS[family]()
    unlearned(straight, data)
    for stop in (2, 4):
        with pytest.raises(Stopped):
            unlearned(MODELS[family](), data, tmp_path, stop)
    resumed = MODELS[family]()
    assert unlearned(resumed, data, tmp_path).resumed_from == 4
    assert changed(weights_of(straight), weights_of(resumed)) == set()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("place", [0, 1])
def test_restoring_keeps_known_pixels(family: str, place: int, device: torch.device) -> None:
    generator = MODELS[family]().to(device)
    view = generator.view(pictures(3), parse_corruption("centre:0.5"), draws(3))
    restored = generator.restore(view, SAMPLERS[family][place])
    assert restored.device.type == device.type
    known = view.corrupted.known.expand_as(restored)
    assert torch.equal(restored[known], view.images[known])
    assert bool(((restored >= 0) & (restored <= 1)).all())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_teacher_in_bf16_answers_as_the_original_under_autocast(family: str, device: torch.device) -> None:
    generator = MODELS[family]().to(device).eval()
    view = generator.view(pictures(4), parse_corruption("centre:0.5"), draws(4))
    generator.keep_teacher("encoder", torch.bfloat16)
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
        expected = generator.encode(view)
        with generator.teacher():
            found = generator.encode(view)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine.float(), theirs.float(), rtol=0.02, atol=0.02)


def test_a_whole_run_of_a_generator(device: torch.device, tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos")
    result = efface.unlearn(
        make_model(tmp_path / "model"),
        images=photos,
        forget="label:cats",
        neutral="label:birds",
        out=tmp_path / "run",
        training={"steps": 4, "batch_size": 4},
        evaluation={"resamples": 200},
    )
    assert result.rows
    assert all(check.passed for check in verify(tmp_path / "run"))


def test_a_whole_run_of_a_classifier(device: torch.device, tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos")
    trained = efface.train(
        photos, classifier="small-conv", out=tmp_path / "original", recipe={"epochs": 1, "batch_size": 4}
    )
    assert trained
    result = efface.unlearn(
        tmp_path / "original" / "model",
        images=photos,
        forget="label:cats",
        out=tmp_path / "run",
        method={"name": "fine-tune", "epochs": 1},
    )
    assert result.rows
    assert all(check.passed for check in verify(tmp_path / "run"))


def test_a_classifier_answers_as_on_the_cpu(device: torch.device) -> None:
    classifier = tiny_classifier()
    shown = torch.randint(0, 256, (8, 1, 8, 8), generator=torch.Generator().manual_seed(0)).float()
    with torch.no_grad():
        expected = classifier(shown)
        found = classifier.to(device)(shown.to(device))
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-3)
