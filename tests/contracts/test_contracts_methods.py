"""What every registered method keeps to, whoever wrote it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from efface.generators.mae.generator import MaeGenerator
from efface.methods import GENERATOR_METHODS, GeneratorMethod, read_method
from efface.progress import Progress
from efface.testing import check_method
from efface.training.data import Data
from support.tiny_models import (
    draws,
    settings,
    tiny,
    trainer,
    training_data,
)


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


@pytest.mark.parametrize("method", GENERATOR_METHODS.built_in.values(), ids=lambda method: method.name)
def test_a_method_keeps_its_contract(method: type[GeneratorMethod]) -> None:
    check_method(method)


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
