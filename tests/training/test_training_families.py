"""Every family is trained as the first one is: stopped or not, in one process or two, the same weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from efface.errors import Stopped
from efface.generators.base import Generator
from efface.generators.latent.generator import LatentGenerator
from efface.progress import Progress
from efface.training.data import Data
from efface.training.phases import Training
from support.family_training import FAMILIES, WITH_FIRST_STAGE, dropping, fresh, phases_of
from support.stopping import StopAt
from support.tiny_models import changed, settings, trainer, weights_of

STEPS = 3


class StopAtCount(Progress):
    """Sends this process a signal once so many steps are done, over all phases."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count, self.stop = count, StopAt(1)

    def log(self, event: str, **values: Any) -> None:
        self.count -= event == "step"
        if event == "step" and not self.count:
            self.stop.log(event, step=1)


def run(generator: Generator, data: Data, what: str, **options: Any) -> Any:
    asked = settings(steps=STEPS, crop_scale=(0.5, 1.0), **options.pop("settings", {}))
    options.setdefault("config_digest", "config")
    return trainer(generator, phases_of(what), data, asked=asked, **options).run()


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


# stopped and continued


@pytest.mark.parametrize(
    ("family", "crops"),
    [
        ("mae", None),
        ("mage", 2),
        ("palette", None),
        ("latent-inpainting", 2),
        *(
            pytest.param(*rest, marks=pytest.mark.slow)
            for rest in (("mae", 2), ("mage", None), ("palette", 2), ("latent-inpainting", None))
        ),
    ],
)
def test_a_stopped_run_ends_with_the_weights_of_the_uninterrupted(
    family: str, crops: int | None, data: Data, tmp_path: Path
) -> None:
    whole = dropping(family)
    before = weights_of(whole)
    chosen = {"settings": {"crops_per_image": crops}}
    run(whole, data, "encoder-noise", folder=tmp_path / "whole", **chosen)
    for stop in (1, 2):
        with pytest.raises(Stopped, match=f"after step {stop} of {STEPS}"):
            run(
                dropping(family), data, "encoder-noise", folder=tmp_path / "parts", progress=StopAt(stop), **chosen
            )  # fmt: skip
        torch.manual_seed(99)  # another process has another random state
    resumed = dropping(family)
    report = run(resumed, data, "encoder-noise", folder=tmp_path / "parts", **chosen)
    assert report.resumed_from == 2
    assert changed(weights_of(whole), weights_of(resumed)) == set()
    assert changed(before, weights_of(whole)) <= set(whole.encoder_parameters())
    assert changed(before, weights_of(whole))


@pytest.mark.parametrize(
    ("family", "what", "stop"),
    [
        ("mage", "scratch", 2),
        ("mage", "retrain", STEPS + 2),
        ("latent-inpainting", "scratch", STEPS + 2),
        *(
            pytest.param(*rest, marks=pytest.mark.slow)
            for rest in (
                ("mage", "scratch", STEPS + 2),
                ("mage", "retrain", 2),
                ("latent-inpainting", "scratch", 2),
                ("latent-inpainting", "retrain", 2),
                ("latent-inpainting", "retrain", STEPS + 2),
            )
        ),
    ],
)
def test_training_of_both_stages_continues_where_it_stopped(
    family: str, what: str, stop: int, data: Data, tmp_path: Path
) -> None:
    whole = dropping(family)
    before = weights_of(whole)
    expected = run(whole, data, what)
    with pytest.raises(Stopped, match=f"after step {(stop - 1) % STEPS + 1} of {STEPS}"):
        run(dropping(family), data, what, folder=tmp_path, progress=StopAtCount(stop))
    torch.manual_seed(99)
    resumed = dropping(family)
    report = run(resumed, data, what, folder=tmp_path)
    assert changed(weights_of(whole), weights_of(resumed)) == set()
    assert report.steps == expected.steps == 2 * STEPS, "the steps of both stages are counted"
    moved = changed(before, weights_of(whole))
    assert moved & set(whole.first_stage_parameters())
    assert moved & set(whole.decoder_parameters())


def with_text(folder: Path) -> LatentGenerator:
    """A pipeline with a text encoder, and a VAE whose latents are scaled."""
    from efface.generators.latent.checkpoint import load
    from efface.generators.latent.family import LatentSettings
    from support.latent_pipelines import saved

    if not (folder / "model").exists():
        saved(folder)
    generator = load(LatentSettings(path=str(folder / "model"), prompt="a cat"))
    assert generator.network.scaling != 1.0
    return generator


def test_what_training_anew_changes_beside_the_weights_is_changed_again_on_resuming(
    data: Data, tmp_path: Path
) -> None:
    """A new VAE has its latents unscaled, and a new text encoder gives the prompt another embedding."""
    whole = with_text(tmp_path)
    run(whole, data, "retrain")
    with pytest.raises(Stopped):
        run(with_text(tmp_path), data, "retrain", folder=tmp_path / "work", progress=StopAtCount(STEPS + 2))
    resumed = with_text(tmp_path)
    run(resumed, data, "retrain", folder=tmp_path / "work")
    assert resumed.network.scaling == whole.network.scaling == 1.0
    assert torch.equal(resumed.context, whole.context)
    assert changed(weights_of(whole), weights_of(resumed)) == set()


# which stage is trained when


@pytest.mark.parametrize("family", WITH_FIRST_STAGE)
def test_the_first_stage_is_trained_first_and_then_stays(family: str, data: Data) -> None:
    stages = [weights_of(fresh(family))]
    for count in (1, 2):
        generator = fresh(family)
        trainer(generator, phases_of("scratch")[:count], data, asked=settings(steps=2)).run()
        stages.append(weights_of(generator))
    first = set(generator.first_stage_parameters())
    assert changed(stages[0], stages[1]) <= first
    assert changed(stages[0], stages[1])
    assert changed(stages[1], stages[2])
    assert not changed(stages[1], stages[2]) & first


@pytest.mark.parametrize("family", ["mage", pytest.param("latent-inpainting", marks=pytest.mark.slow)])
def test_no_method_but_retraining_moves_the_first_stage(family: str, data: Data) -> None:
    from efface.methods import GENERATOR_METHODS

    for name in sorted(set(GENERATOR_METHODS.built_in) - {"retrain"}):
        generator = fresh(family)
        digest = generator.first_stage_digest()
        trainer(generator, phases_of(name), data, asked=settings(steps=1)).run()
        assert generator.first_stage_digest() == digest, name


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in WITH_FIRST_STAGE])
def test_a_family_without_a_first_stage_trains_in_one_phase(family: str, data: Data) -> None:
    assert run(fresh(family), data, "scratch").steps == STEPS


def test_each_stage_has_its_own_settings(data: Data) -> None:
    stage, main = phases_of("scratch")
    assert isinstance(stage, Training)
    progress = StopAt(0)
    own = [replace(stage, settings=settings(steps=2, learning_rate=5e-4)), main]
    trainer(fresh("mage"), own, data, asked=settings(steps=3, learning_rate=2e-3), progress=progress).run()
    steps = [values for event, values in progress.events if event == "step"]
    assert [(values["phase"], values["step"], values["steps"]) for values in steps] == [
        ("train first stage", 1, 2),
        ("train first stage", 2, 2),
        ("train", 1, 3),
        ("train", 2, 3),
        ("train", 3, 3),
    ]
    assert steps[0]["learning_rate"] == 5e-4
    assert steps[2]["learning_rate"] == 2e-3
