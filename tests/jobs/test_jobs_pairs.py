"""Translation between pairs, from end to end: what is shown in each image's place, and that nothing names it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor

import efface
from efface.corruptions import parse_corruption
from efface.corruptions.base import Corruption
from efface.errors import InputError, RunRefused
from efface.evaluation.answers import view_batches
from efface.evaluation.settings import EvaluationSettings
from efface.generators.base import Generator, View
from efface.generators.palette.generator import PaletteGenerator
from efface.images.cache import PixelCache
from efface.images.pairs import open_pairs
from efface.images.sources import open_images
from efface.jobs import generator
from efface.jobs.run import RunResult
from efface.randomness import Draws
from efface.runs.erasing import working_files
from efface.runs.verification import verify
from efface.training.data import Streams
from efface.training.settings import TrainingSettings
from support.family_runs import ARCHITECTURES, FEW, UNLEARNING, trained
from support.run_making import texts_of

SECRET = "drawn-by-hand-9f3"
EVALUATION = {"resamples": 200, "sampler": "ddim:2", "samples": 2}
CATS: dict[str, Any] = {"forget": "label:cats", "neutral": "label:birds", "evaluation": EVALUATION}


def drawn(photos: Path, folder: Path, grow: float = 1.5) -> Path:
    """A grey negative of each photo, of another size but the same proportions."""
    for file in sorted(photos.rglob("*.png")):
        target = folder / file.relative_to(photos)
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(file) as image:
            size = round(image.width * grow), round(image.height * grow)
            ImageOps.invert(image.convert("L")).resize(size).save(target)
    return folder


@pytest.fixture(scope="session")
def drawings(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn(photos, tmp_path_factory.mktemp("pairs") / SECRET)


@pytest.fixture(scope="session")
def model(photos: Path, drawings: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A pixel diffusion model that was trained to turn drawings into photos."""
    out = tmp_path_factory.mktemp("paired") / "original"
    return trained(photos, out, "palette", training={**FEW, "corruption": f"paired:{drawings}"})


@pytest.fixture(scope="session")
def run(
    model: RunResult, photos: Path, drawings: Path, tmp_path_factory: pytest.TempPathFactory
) -> RunResult:
    out = tmp_path_factory.mktemp("paired") / "unlearned"
    corruption = f"paired:{drawings}"
    return efface.unlearn(
        model.model, images=photos, corruption=corruption, out=out, training=UNLEARNING, **CATS
    )


class Seen:
    """Every view that any generator makes while this stands."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.views: list[View] = []
        make = PaletteGenerator.view

        def view(generator: Any, images: Tensor, corruption: Corruption, draws: Draws, **rest: Any) -> View:
            made = make(generator, images, corruption, draws, **rest)
            self.views.append(made)
            return made

        monkeypatch.setattr(PaletteGenerator, "view", view)

    def __iter__(self) -> Iterator[View]:
        return iter(self.views)


def test_a_run_with_pairs_ends_well(run: RunResult, model: RunResult) -> None:
    for result in (model, run):
        assert {check.outcome for check in verify(result.run)} == {"matches"}
        assert working_files(result.run) == [], "what stands for forgotten images is purged with them"
    assert {row.corruption for row in run.rows} == {f"paired:{SECRET}"}
    errors = {row.model: row.value for row in run.rows if (row.set, row.metric) == ("forget", "hole_mse")}
    assert None not in errors.values()
    assert errors["original"] != errors["unlearned"]


def test_no_place_of_the_pairs_is_handed_out(run: RunResult, model: RunResult, drawings: Path) -> None:
    texts = {**texts_of(run.run), "record of training": (model.run / "record.json").read_text()}
    for name, text in texts.items():
        assert str(drawings) not in text, name
        assert str(drawings.parent) not in text, name
    assert model.record.training.settings.corruption == f"paired:{SECRET}"
    assert run.record.corruption == f"paired:{SECRET}"


def test_a_first_stage_hands_out_no_place_either(photos: Path, drawings: Path, tmp_path: Path) -> None:
    result = trained(
        photos, tmp_path / "run", "latent-inpainting", training={**FEW, "corruption": f"paired:{drawings}"},
        architecture={**ARCHITECTURES["latent-inpainting"], "kind": "instruct"},
    )  # fmt: skip
    assert result.record.training.settings.corruption == f"paired:{SECRET}"
    assert str(drawings.parent) not in (result.run / "record.json").read_text()
    assert verify(result.run)[0].passed


def test_the_other_pictures_decide_what_is_learnt(
    run: RunResult, model: RunResult, photos: Path, drawings: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(photos, other)
    result = efface.unlearn(
        model.model, images=photos, corruption=f"paired:{other}", out=tmp_path / "run", training=UNLEARNING,
        **CATS,
    )  # fmt: skip
    assert result.record.model.after.weights != run.record.model.after.weights
    assert result.rows != run.rows


# crops are aligned


@pytest.mark.parametrize("crops", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_a_condition_that_equals_the_image_has_its_crop_in_training_and_in_evaluation(
    model: RunResult, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crops: int
) -> None:
    same = shutil.copytree(photos, tmp_path / "same")
    for file in same.rglob("*.png"):
        # the same pixels in other bytes, so that the two have unlike ids
        with Image.open(file) as image:
            image.load()
            image.save(file, compress_level=1)
        assert file.read_bytes() != (photos / file.relative_to(same)).read_bytes()
    seen = Seen(monkeypatch)
    efface.unlearn(
        model.model, images=photos, corruption=f"paired:{same}", out=tmp_path / "run", training=UNLEARNING,
        **{**CATS, "evaluation": {**EVALUATION, "crops_per_image": crops}},
    )  # fmt: skip
    training = [view for view in seen if len(view) == 2 and max(view.draws.visits) <= 1]
    assert training
    assert sum(len(view) for view in seen) >= UNLEARNING["steps"] * 4 + 2 * 10 * crops
    for view in seen:
        if view.corrupted.known.any():
            continue  # the hole in which a model's health is looked at
        assert torch.equal(view.corrupted.condition, view.images)


def test_crops_of_a_larger_negative_show_the_same_place(photos: Path, drawings: Path, tmp_path: Path) -> None:
    """A negative of the condition is the grey image, but for the resampling: not so from another place."""
    images = open_images(photos)
    cache = PixelCache(tmp_path / "cache", 37)
    cache.add(images)
    pairs = open_pairs(drawings, images, cache)
    settings = TrainingSettings(batch_size=10, crop_scale=(0.3, 1.0), threads=1)
    for batch in Streams({"all": images}, cache, 32, settings, seed=0, pairs=pairs).steps(0, 4):
        crops = batch["all"]
        assert crops.conditions is not None
        assert negative_error(crops.images, crops.conditions) < 6
        assert negative_error(crops.images, crops.conditions.roll(1, dims=0)) > 20
    for crops in view_batches(images, cache, 32, EvaluationSettings(crops_per_image=3), pairs):
        assert crops.conditions is not None
        assert negative_error(crops.images, crops.conditions) < 6


def negative_error(images: Tensor, conditions: Tensor) -> float:
    """Mean difference in grey levels between images and the negatives of their conditions."""
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    grey = (images.float() * weights).sum(dim=1)
    return float((grey - (255 - conditions.float().mean(dim=1))).abs().mean())


# refused before anything changes


def test_a_continued_run_refuses_other_pairs(
    model: RunResult, photos: Path, drawings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crash(Exception):
        pass

    def crash(*_: Any) -> None:
        raise Crash

    mine = tmp_path / "drawings"
    shutil.copytree(drawings, mine)

    def run() -> RunResult:
        return efface.unlearn(
            model.model,
            images=photos,
            corruption=f"paired:{mine}",
            out=tmp_path / "run",
            training=UNLEARNING,
            **CATS,
        )

    with monkeypatch.context() as patched:
        patched.setattr(generator, "save_model", crash)
        with pytest.raises(Crash):
            run()
    one = sorted(mine.rglob("*.png"))[0]
    before = one.read_bytes()
    with Image.open(one) as image:
        ImageOps.mirror(image).save(one)
    with pytest.raises(RunRefused, match="the pairs are no longer those with which this run began"):
        run()
    one.write_bytes(before)
    assert {check.outcome for check in verify(run().run)} == {"matches"}


def test_missing_pairs_are_refused_before_anything_changes(
    model: RunResult, photos: Path, drawings: Path, tmp_path: Path
) -> None:
    some = shutil.copytree(drawings, tmp_path / "some")
    for gone in ("cats/cats-1.png", "birds/birds-0.png"):
        (some / gone).unlink()
    corruption, out = f"paired:{some}", tmp_path / "run"
    with pytest.raises(InputError, match=r"images have no file of their name \(2\)") as caught:
        efface.unlearn(
            model.model, images=photos, corruption=corruption, out=out, training=UNLEARNING, **CATS
        )
    assert "cats-1.png" in str(caught.value)
    with pytest.raises(InputError, match=r"images have no file of their name \(2\)"):
        efface.evaluate(model.model, images=photos, corruption=corruption, out=out, **CATS)
    found = efface.plan(model.model, images=photos, corruption=corruption, training=UNLEARNING, **CATS)
    assert any("have no file of their name" in fault for fault in found.faults)
    (some / "dogs" / "dogs-2.png").unlink()
    with pytest.raises(InputError, match=r"images have no file of their name \(2\)"):
        trained(photos, out, "palette", training={**FEW, "corruption": corruption})
    assert not out.exists()


def test_training_asks_no_pairs_for_what_it_leaves_out(photos: Path, drawings: Path, tmp_path: Path) -> None:
    some = shutil.copytree(drawings, tmp_path / "some")
    shutil.rmtree(some / "cats")
    settings = {**FEW, "corruption": f"paired:{some}"}
    record = trained(photos, tmp_path / "run", "palette", without="label:cats", training=settings).record
    assert record.images.sets["retain"].count == 5


def test_unlearning_may_train_with_pairs_and_be_measured_with_a_hole(
    model: RunResult, photos: Path, drawings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = {**UNLEARNING, "corruption": f"paired:{drawings}"}
    seen = Seen(monkeypatch)
    result = efface.unlearn(model.model, images=photos, training=training, out=tmp_path / "run", **CATS)
    assert {row.corruption for row in result.rows} == {"centre:0.5"}
    assert result.record.training.settings.corruption == f"paired:{SECRET}"
    assert str(drawings.parent) not in (result.run / "record.json").read_text()
    assert sum(len(view) for view in seen if not view.corrupted.known.any()) == FEW["steps"] * 4


def test_a_plan_of_training_with_pairs_is_timed(model: RunResult, photos: Path, drawings: Path) -> None:
    training = {**UNLEARNING, "corruption": f"paired:{drawings}"}
    found = efface.plan(model.model, images=photos, training=training, **CATS)
    assert found.faults == []
    assert found.estimate is not None


def test_a_folder_of_pairs_that_is_not_there_is_one_of_the_faults(
    model: RunResult, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        efface.unlearn(
            model.model, images=photos, corruption=f"paired:{tmp_path / 'absent'}", out=tmp_path / "run",
            training={**UNLEARNING, "batch_size": 3}, **CATS,
        )  # fmt: skip
    assert len(caught.value.problems) == 2
    assert "there is no such folder or manifest" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_family_that_only_fills_holes_is_shown_no_pairs(
    photos: Path, drawings: Path, tmp_path: Path
) -> None:
    for family in ("mae", "mage"):
        with pytest.raises(InputError, match=f"this {family} model only restores hidden ones"):
            trained(photos, tmp_path / "run", family, training={**FEW, "corruption": f"paired:{drawings}"})
    assert not (tmp_path / "run").exists()


def test_a_first_stage_has_no_corruption_of_its_own(photos: Path, drawings: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"first_stage\.corruption: a tokenizer or VAE sees whole pictures"):
        trained(photos, tmp_path / "run", "mage", first_stage={**FEW, "corruption": f"paired:{drawings}"})
    assert not (tmp_path / "run").exists()
    assert isinstance(parse_corruption(f"paired:{drawings}"), Corruption)


def shown(generator: Generator, view: View) -> Tensor:
    with torch.inference_mode():
        return generator.restore(view, "ddim:2")


def test_restoring_depends_on_what_is_shown_and_on_nothing_hidden(model: RunResult) -> None:
    generator = model.generator()
    rng = torch.Generator().manual_seed(1)
    images, other, condition = (torch.rand(1, 3, 32, 32, generator=rng) for _ in range(3))
    with torch.no_grad():
        for parameter in generator.network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=rng), alpha=0.05)
    draws, paired = Draws(0, ("a",), (0,)), parse_corruption("paired:x")
    views = [
        generator.view(picture, paired, draws, condition=seen)
        for picture, seen in ((images, condition), (other, condition), (images, other))
    ]
    first, same, unlike = (shown(generator, view) for view in views)
    assert torch.equal(first, same)
    assert not torch.equal(first, unlike)
