"""Low-rank factors: what they train, the teacher without a copy, and three ways to keep them that are one model."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from efface.corruptions import parse_corruption
from efface.errors import InputError
from efface.generators.base import PixelMoments
from efface.generators.latent.checkpoint import load, new
from efface.generators.latent.family import FAMILY, LatentArchitecture, LatentSettings
from efface.generators.latent.generator import LatentGenerator, LatentView
from efface.methods import read_method
from efface.model_files import Contents
from efface.training.phases import Batch, Training
from support.latent_pipelines import saved
from support.tiny_models import changed, draws, pictures, weights_of

MOMENTS = PixelMoments(torch.tensor([0.2, 0.5, 0.8]), torch.tensor([0.3, 0.1, 0.02]))
COUNT, RANK = 2, 3
FILE = "pytorch_lora_weights.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("pipeline"))


def opened(folder: Path, **options: Any) -> LatentGenerator:
    return load(LatentSettings(path=str(folder), **options))


def view_of(generator: LatentGenerator, seed: int = 0) -> LatentView:
    view = generator.view(pictures(COUNT, seed), parse_corruption("centre:0.5"), draws(COUNT, first=9 * seed))
    assert isinstance(view, LatentView)
    return view


def unlearn(generator: LatentGenerator, method: str, steps: int = 2) -> dict[str, Tensor]:
    """A few large steps; the weights from before."""
    before = weights_of(generator)  # type: ignore[arg-type]
    phase = next(p for p in read_method({"name": method}).phases() if isinstance(p, Training))
    generator.keep_teacher(phase.trained)
    generator.set_trained(phase.trained)
    optimizer = torch.optim.Adam(generator.trained_parameters(phase.trained).values(), lr=0.03)
    views = {stream: view_of(generator, number) for number, stream in enumerate(phase.streams)}
    for _ in range(steps):
        loss = phase.loss(generator, Batch(views, MOMENTS))
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    return before


@pytest.fixture(scope="module")
def student(folder: Path) -> LatentGenerator:
    """A model whose factors have unlearned something; the scale is not 1."""
    generator = opened(folder, lora_rank=RANK, lora_alpha=4.5, prompt="a cat")
    unlearn(generator, "encoder-noise")
    generator.drop_teacher()
    return generator


def predicted(generator: LatentGenerator) -> Tensor:
    with torch.no_grad():
        return generator.predict(view_of(generator))


def plain(folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return DiffusionPipeline.from_pretrained(folder)


def predicted_by(pipe: Any, generator: LatentGenerator) -> Tensor:
    """The prediction of a plain pipeline's UNet for the same view."""
    view = view_of(generator)
    with torch.no_grad():
        inputs = torch.cat([view.noisy, view.shown], dim=1)
        context = generator.context.expand(COUNT, -1, -1)
        prediction: Tensor = pipe.unet(inputs, view.timesteps, encoder_hidden_states=context).sample
    return prediction


# training


def test_untrained_factors_change_nothing(folder: Path) -> None:
    base, adapted = opened(folder), opened(folder, lora_rank=RANK)
    assert torch.equal(predicted(base), predicted(adapted))
    assert base.weights_digest() == adapted.weights_digest()
    assert base.describe()["lora"] is None
    assert adapted.describe()["lora"] == {"rank": 3, "alpha": 3}
    again = opened(folder, lora_rank=RANK)
    assert not changed(weights_of(adapted), again.network.state_dict())  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["encoder-noise", "retain-label"])
def test_only_factors_are_trained(folder: Path, method: str) -> None:
    generator = opened(folder, lora_rank=RANK)
    generator.train()
    moved = changed(unlearn(generator, method), generator.network.state_dict())
    assert moved
    assert all(".lora_" in name for name in moved)
    below = {name.split(".")[1] for name in moved}
    assert below == {"down_blocks", "mid_block"} | ({"up_blocks"} if method == "retain-label" else set())
    trained = {name for name, p in generator.network.named_parameters() if p.requires_grad}
    assert moved == trained


def test_the_teacher_is_the_original_without_a_copy_of_any_weight(folder: Path) -> None:
    generator = opened(folder, lora_rank=RANK)
    original = predicted(opened(folder))
    unlearn(generator, "encoder-noise")
    assert not torch.allclose(predicted(generator), original, atol=1e-3)
    with generator.teacher():
        assert torch.equal(predicted(generator), original)
        taught = {id(parameter) for parameter in generator.active.parameters()}
    student = {id(p) for name, p in generator.network.named_parameters() if ".lora_" not in name}
    assert taught == student
    assert generator.network.unet.peft_config, "the student has kept its factors"


def test_factors_cannot_make_a_model_anew(folder: Path) -> None:
    with pytest.raises(InputError, match=r"leave out model\.lora_rank"):
        opened(folder, lora_rank=RANK).reinitialise(0)


# keeping


def test_a_merged_folder_is_the_student_here_and_in_plain_diffusers(
    student: LatentGenerator, tmp_path: Path
) -> None:
    student.save_pretrained(tmp_path / "full")
    merged = opened(tmp_path / "full")
    assert merged.weights_digest() == student.weights_digest()
    assert not merged.adapted
    assert torch.allclose(predicted(merged), predicted(student), atol=1e-5)
    assert torch.allclose(predicted_by(plain(tmp_path / "full"), student), predicted(student), atol=1e-5)
    view = view_of(student)
    assert torch.allclose(
        student.restore(view, "ddim:2"), merged.restore(view_of(merged), "ddim:2"), atol=1e-5
    )
    assert student.adapted, "saving leaves the student as it was"


def test_the_factors_beside_it_make_the_base_the_student_in_plain_diffusers(
    student: LatentGenerator, folder: Path, tmp_path: Path
) -> None:
    student.save_pretrained(tmp_path / "full")
    pipe = plain(folder)
    assert not torch.allclose(predicted_by(pipe, student), predicted(student), atol=1e-3)
    pipe.load_lora_weights(tmp_path / "full" / "adapter")
    assert torch.allclose(predicted_by(pipe, student), predicted(student), atol=1e-5)
    with safe_open(tmp_path / "full" / "adapter" / FILE, "pt") as file:
        names = list(file.keys())
    assert names
    assert all(name.startswith(("unet.down_blocks.", "unet.mid_block.")) for name in names)


def test_factors_alone_open_as_the_student(student: LatentGenerator, folder: Path, tmp_path: Path) -> None:
    student.save_pretrained(tmp_path / "delta", kind="delta")
    assert sorted(path.name for path in (tmp_path / "delta").iterdir()) == ["config.json", FILE]
    again = opened(tmp_path / "delta")
    assert again.weights_digest() == student.weights_digest()
    assert again.pipeline.prompt == "a cat"
    assert FAMILY.recognises(Contents(json.loads((tmp_path / "delta" / "config.json").read_text())))
    pipe = plain(folder)
    pipe.load_lora_weights(tmp_path / "delta")
    assert torch.allclose(predicted_by(pipe, student), predicted(again), atol=1e-5)
    # once more on top: the factors of the first run are part of the original
    second = opened(tmp_path / "delta", lora_rank=2)
    unlearn(second, "encoder-noise", steps=1)
    with second.teacher():
        assert torch.equal(predicted(second), predicted(again))
    second.save_pretrained(tmp_path / "second", kind="delta")
    assert opened(tmp_path / "second").weights_digest() == second.weights_digest()


def test_factors_for_a_model_that_has_changed_are_refused(tmp_path: Path) -> None:
    base = saved(tmp_path / "base")
    student = opened(base, lora_rank=RANK)
    unlearn(student, "encoder-noise", steps=1)
    student.save_pretrained(tmp_path / "delta", kind="delta")
    weights = base / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["conv_in.bias"] = tensors["conv_in.bias"] + 1
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(InputError, match="are for a model whose weights are not those at"):
        opened(tmp_path / "delta")


def test_factors_that_do_not_fit_are_refused_with_all_faults(
    student: LatentGenerator, tmp_path: Path
) -> None:
    student.save_pretrained(tmp_path, kind="delta")
    tensors = load_file(tmp_path / FILE)
    some = next(iter(tensors)).removesuffix(".lora_A.weight")
    tensors[f"{some}.lora_A.weight"] = torch.zeros(RANK, 999)
    tensors["unet.nothing.lora_A.weight"] = torch.zeros(RANK, 4)
    tensors["unet.nothing.lora_B.weight"] = torch.zeros(4, RANK)
    save_file(tensors, tmp_path / FILE)
    with pytest.raises(InputError) as refused:
        opened(tmp_path)
    assert len(refused.value.problems) == 2
    assert "nothing: the model has no such module" in str(refused.value)
    assert "(3, 999)" in str(refused.value)


def test_only_factors_of_a_saved_model_can_be_kept_alone(folder: Path, tmp_path: Path) -> None:
    for generator in (opened(folder), new(LatentArchitecture(), 0)):
        with pytest.raises(InputError, match=r"set model\.lora_rank, or save the whole model"):
            generator.save_pretrained(tmp_path / "delta", kind="delta")
    assert not (tmp_path / "delta").exists()
