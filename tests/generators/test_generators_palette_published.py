"""The losses of the paper's released code, and their gradients, from the same weights, pictures and noise.

The arrays were computed by the unmodified released code of Li et al. (ICLR 2024) on the checkpoint `palette.pth`;
`shared/data/published/README.md` says how. The formulas are written here from the definitions, so that the network
alone is in question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from efface.generators.palette.network import ENCODER, down, up
from efface.generators.palette.released import released_names
from support.palette_models import opened, released_tensors

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
RETAINED, FORGOTTEN = slice(0, 3), slice(3, 5)
LOSS, GRADIENT = 1e-5, 1e-4
"""Relative tolerances; of an array of gradients its norm counts."""


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    path = SHARED / "published" / "palette-losses.npz"
    if not path.exists():
        pytest.skip("the published arrays are not here")
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}


@pytest.fixture(scope="module")
def networks(arrays: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """Teacher and student; the student's weights are the checkpoint's, each scaled a little."""
    path = SHARED / "checkpoints" / "palette.pth"
    tensors = torch.load(path, weights_only=True)
    total = 0.0
    for name, tensor in tensors.items():
        if name.startswith("denoise_fn."):
            places = np.arange(tensor.numel(), dtype=np.float64).reshape(tensor.shape)
            scaled = tensor.numpy().astype(np.float64) * (1 + 0.05 * np.cos(0.7 * places))
            tensors[name] = torch.from_numpy(scaled.astype(np.float32))
            total += float(np.abs(tensors[name].numpy().astype(np.float64)).sum())
    assert total == pytest.approx(float(arrays["student_absolute_sum"]), rel=1e-6)
    student = tmp_path_factory.mktemp("student") / "student.pth"
    torch.save(tensors, student)
    teacher, pupil = (opened(file, image_size=32).network for file in (path, student))
    return teacher, pupil


class Batch:
    """Five pictures, three to retain and two to forget, with one kind of hole."""

    def __init__(self, arrays: dict[str, np.ndarray], hole: str) -> None:
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items() if array.dtype.kind == "f"}
        self.hole = torch.from_numpy(arrays[f"hole_{hole}"]).bool()
        self.noise = tensors["noise"]
        self.level = tensors["gamma"][:, 0].float()
        condition = tensors[f"condition_{hole}"]
        self.plain, self.replaced = (
            torch.cat([condition, tensors[f"noisy_{name}_{hole}"]], dim=1)
            for name in ("plain", "forget_replaced")
        )


def ours(teacher: nn.Module, student: nn.Module, batch: Batch) -> Tensor:
    targets = down(teacher, batch.replaced, batch.level)
    return _distances(down(student, batch.plain, batch.level), targets)


def random_encoder(teacher: nn.Module, student: nn.Module, batch: Batch) -> Tensor:
    draws = np.random.RandomState(11)
    targets = []
    for taught in down(teacher, batch.replaced, batch.level):
        noise = torch.from_numpy(draws.standard_normal(tuple(taught.shape)).astype(np.float32))
        random = noise * taught.std() + taught.mean()
        targets.append(torch.cat([taught[RETAINED], random[FORGOTTEN]]))
    return _distances(down(student, batch.plain, batch.level), targets)


def max_loss(teacher: nn.Module, student: nn.Module, batch: Batch) -> Tensor:
    errors = _in_hole(student, batch, batch.plain)
    return torch.cat([errors[RETAINED], -errors[FORGOTTEN]])


def noisy_label(teacher: nn.Module, student: nn.Module, batch: Batch) -> Tensor:
    return _in_hole(student, batch, batch.replaced)


def retain_label(teacher: nn.Module, student: nn.Module, batch: Batch) -> Tensor:
    taught = up(teacher, down(teacher, batch.plain, batch.level), batch.level)
    targets = torch.cat([taught[RETAINED], taught[:2]])
    predicted = up(student, down(student, batch.plain, batch.level), batch.level)
    return (predicted - targets).square().flatten(1).mean(dim=1)


def _distances(features: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    pairs = zip(features, targets, strict=True)
    return torch.stack([(one - other.detach()).square().flatten(1).mean(dim=1) for one, other in pairs]).sum(
        0
    )


def _in_hole(student: nn.Module, batch: Batch, inputs: Tensor) -> Tensor:
    """Squared error in the hole over the size of the whole picture, of each picture."""
    predicted = up(student, down(student, inputs, batch.level), batch.level)
    return ((predicted - batch.noise) * batch.hole).square().flatten(1).mean(dim=1)


METHODS: tuple[Callable[[nn.Module, nn.Module, Batch], Tensor], ...] = (
    ours, random_encoder, max_loss, noisy_label, retain_label,
)  # fmt: skip


@pytest.mark.parametrize("hole", ["equal", "unequal"])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_losses_and_gradients_are_the_published_ones(
    method: Callable[[nn.Module, nn.Module, Batch], Tensor],
    hole: str,
    arrays: dict[str, np.ndarray],
    networks: tuple[Any, Any],
) -> None:
    teacher, student = networks
    with torch.no_grad():
        each = method(teacher, student, Batch(arrays, hole))
    for alpha in (0.0, 0.1, 0.25, 1.0):
        # a released loss weighs by head count
        loss = float(each[RETAINED].sum() + alpha * each[FORGOTTEN].sum()) / 5
        published = float(arrays[f"loss_{hole}_{method.__name__}_{alpha:g}"])
        assert loss == pytest.approx(published, rel=LOSS), alpha
    each = method(teacher, student, Batch(arrays, hole))
    student.zero_grad()
    ((each[RETAINED].sum() + 0.25 * each[FORGOTTEN].sum()) / 5).backward()
    gradients = _gradients(student, encoder_alone=method in (ours, random_encoder))
    norms = arrays[f"gradient_norm_{hole}_{method.__name__}_0.25"]
    assert len(norms) == len(gradients) == 144
    for (name, gradient), norm in zip(gradients.items(), norms, strict=True):
        assert (gradient is None) == np.isnan(norm), name
        if gradient is not None and norm > 1e-5 * np.nanmax(norms):
            assert float(gradient.norm()) == pytest.approx(float(norm), rel=GRADIENT), name
    for name in ("input_blocks.0.0.weight", "middle_block.0.in_layers.2.bias", "out.2.weight"):
        published_array = arrays.get(f"gradient_{hole}_{method.__name__}_0.25_{name}")
        gradient = gradients[name]
        assert (published_array is None) == (gradient is None), name
        if published_array is not None and gradient is not None:
            off = np.linalg.norm(gradient.numpy() - published_array)
            assert off < GRADIENT * np.linalg.norm(published_array), name


def _gradients(network: Any, encoder_alone: bool) -> dict[str, Tensor | None]:
    """Under the released names, in the order of a released file; the release's encoder has the level's embedding, too."""
    reached = (*ENCODER, "time_embedding") if encoder_alone else ("",)
    parts = released_names(network)
    weights = {name: parameter.grad for name, parameter in network.named_parameters()}
    filled = {
        name: network.get_parameter(name) * 0 if gradient is None else gradient
        for name, gradient in weights.items()
    }
    joined = released_tensors(SimpleNamespace(state_dict=lambda: filled, config=network.config), parts)
    order = torch.load(SHARED / "checkpoints" / "palette.pth", weights_only=True)
    names = [name.removeprefix("denoise_fn.") for name in order if name.startswith("denoise_fn.")]
    return {
        name: joined[f"denoise_fn.{name}"] if parts[name][0].startswith(reached) else None for name in names
    }
