"""Kept codes: computed once for each crop, the same as those computed in the step, gone on with after a stop."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from efface.corruptions import Corruption
from efface.errors import Stopped
from efface.generators.base import Generator
from efface.progress import Progress
from efface.training import codes as module
from efface.training import step
from efface.training.codes import Codes, keep_codes
from efface.training.data import Cropper, Data
from efface.training.phases import CENTRE
from efface.training.settings import TrainingSettings
from support.family_training import WITH_FIRST_STAGE, fresh, phases_of
from support.tiny_models import SIZE, changed, settings, trainer, weights_of
from support.two_processes import descent

IMAGES, CROPS, STEPS = 12, 3, 4


class Crash(BaseException):
    """Ends a run as a power cut does."""


@pytest.fixture(params=WITH_FIRST_STAGE)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several batches of codes, each of them noted."""
    monkeypatch.setattr(module, "BATCH", 5)
    monkeypatch.setattr(module, "FLUSH_EVERY", 1)


class Counted:
    """How many pictures a first stage was shown; after `limit` of them the power is cut."""

    def __init__(self, generator: Generator, limit: int | None = None) -> None:
        self.count, self.limit, self._codes = 0, limit, generator.codes
        generator.codes = self  # type: ignore[method-assign]

    def __call__(self, images: Tensor, corruption: Corruption) -> Tensor | None:
        if self.limit is not None and self.count >= self.limit:
            raise Crash
        self.count += len(images)
        return self._codes(images, corruption)


def asked(**changes: Any) -> TrainingSettings:
    return settings(steps=STEPS, crops_per_image=CROPS, **changes)


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def all_ids(data: Data) -> list[str]:
    return [id_ for images in data.sets.values() for id_ in images.ids]


def kept(generator: Generator, data: Data, folder: Path, seed: int = 0, **changes: Any) -> Codes:
    cropper = Cropper(data.cache, SIZE, asked(**changes), seed)
    found = keep_codes(generator, all_ids(data), cropper, CENTRE, folder, Progress())
    assert found is not None
    return found


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


# the codes of the crops that are trained on


def test_each_code_is_that_of_its_image_and_crop(family: str, data: Data, tmp_path: Path) -> None:
    generator = fresh(family)
    codes = kept(generator, data, tmp_path)
    cropper = Cropper(data.cache, SIZE, asked(), 0)
    seen = set()
    for id_ in all_ids(data):
        for crop in range(CROPS):
            pixels = torch.from_numpy(cropper.crop(id_, crop)).float().div(255).unsqueeze(0)
            expected = generator.codes(pixels, CENTRE)
            assert expected is not None
            found = torch.from_numpy(np.array(codes.read(id_, crop)))
            assert torch.allclose(found.to(expected.dtype), expected[0], rtol=1e-4, atol=1e-5)
            seen.add(found.numpy().tobytes())
    assert len(seen) > IMAGES * CROPS / 2, "unlike crops have unlike codes"


def test_with_k_crops_an_image_visit_k_sees_the_first_again(data: Data) -> None:
    cropper = Cropper(data.cache, SIZE, asked(), 0)
    id_ = all_ids(data)[0]
    assert (cropper.crop(id_, CROPS) == cropper.crop(id_, 0)).all()
    assert len({cropper.crop(id_, visit).tobytes() for visit in range(2 * CROPS)}) == CROPS
    endless = Cropper(data.cache, SIZE, settings(), 0)
    assert len({endless.crop(id_, visit).tobytes() for visit in range(2 * CROPS)}) == 2 * CROPS


@pytest.mark.parametrize("method", ["encoder-noise", pytest.param("fine-tune", marks=pytest.mark.slow)])
def test_training_with_kept_codes_equals_training_that_computes_them_in_the_step(
    family: str, method: str, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a folder nothing is kept, and the same crops pass through the first stage at each step."""
    results = []
    if family != "mage":
        # AdamW makes a whole step of a gradient that is nothing but rounding
        monkeypatch.setattr(step, "optimizer", descent)
    for folder in (tmp_path, None):
        generator = fresh(family)
        before = weights_of(generator)
        trainer(generator, phases_of(method), data, asked=asked(learning_rate=1e-1), folder=folder).run()
        results.append(weights_of(generator))
    with_codes, without = results
    assert len(files(tmp_path / "codes")) == 2
    assert changed(before, with_codes)
    if family == "mage":
        assert changed(with_codes, without) == set()
    else:
        # latents of a batch of 16 and of a batch of 2 differ in their last bits
        assert largest_difference(with_codes, without) < 1e-5
        assert largest_difference(before, without) > 1e-3


def test_the_tokenizer_sees_every_crop_once_and_no_step_sees_it_again(
    family: str, data: Data, tmp_path: Path
) -> None:
    for folder in (tmp_path, None):
        generator = fresh(family)
        counted, given = Counted(generator), []
        plain = generator.make_view
        generator.make_view = lambda *all_, made=plain, to=given: (to.append(all_[4]), made(*all_))[1]  # type: ignore[method-assign,misc]
        trainer(generator, phases_of("fine-tune"), data, asked=asked(), folder=folder).run()
        assert counted.count == (len(data.sets["retain"]) * CROPS if folder else 0)
        assert len(given) == STEPS
        assert all((codes is not None) == bool(folder) for codes in given)


def test_codes_of_both_streams_are_kept(family: str, data: Data, tmp_path: Path) -> None:
    generator = fresh(family)
    counted = Counted(generator)
    trainer(generator, phases_of("encoder-noise"), data, asked=asked(), folder=tmp_path).run()
    # noise pictures are made by the first stage too, but only the token model's pass through `codes`
    assert IMAGES * CROPS <= counted.count <= IMAGES * CROPS + (STEPS * 2 if family == "mage" else 0)


def test_a_first_stage_that_is_being_trained_keeps_no_codes(family: str, data: Data, tmp_path: Path) -> None:
    """Only the phase behind it does, with the codes of the trained one."""
    generator = fresh(family)
    stage, main = phases_of("scratch")
    chosen = settings(steps=2, crops_per_image=2)
    trainer(generator, [stage], data, asked=chosen, folder=tmp_path / "stage").run()
    assert not (tmp_path / "stage" / "codes").exists()
    generator = fresh(family)
    trainer(generator, [stage, main], data, asked=chosen, folder=tmp_path / "both").run()
    assert len(files(tmp_path / "both" / "codes")) == 2
    cropper = Cropper(data.cache, SIZE, chosen, 0)
    counted = Counted(generator)
    folder, ids = tmp_path / "both" / "codes", data.sets["retain"].ids
    again = keep_codes(generator, ids, cropper, CENTRE, folder, Progress())
    assert again is not None
    assert counted.count == 0, "they are those of the trained first stage"


# what decides which codes are kept


def test_codes_are_computed_anew_for_other_crops_images_seeds_and_first_stages(
    data: Data, tmp_path: Path
) -> None:
    generator = fresh("mage")
    kept(generator, data, tmp_path)
    counted = Counted(generator)
    kept(generator, data, tmp_path)
    assert counted.count == 0
    for change in ({"seed": 1}, {"crop_scale": (0.5, 1.0)}, {"flip": False}):
        kept(generator, data, tmp_path, **change)
    assert counted.count == 3 * IMAGES * CROPS
    cropper = Cropper(data.cache, SIZE, asked(), 0)
    keep_codes(generator, all_ids(data)[:2], cropper, CENTRE, tmp_path, Progress())
    assert counted.count == 3 * IMAGES * CROPS + 2 * CROPS
    with torch.no_grad():
        next(iter(generator.first_stage_parameters().values())).add_(0.1)
    kept(generator, data, tmp_path)
    assert counted.count == 4 * IMAGES * CROPS + 2 * CROPS
    assert len(files(tmp_path)) == 2 * 6


@pytest.mark.parametrize(
    "damage",
    [
        lambda file, note: file.write_bytes(file.read_bytes()[:-3] + b"\x07" + file.read_bytes()[-2:]),
        lambda file, note: os.truncate(file, file.stat().st_size // 2),
        lambda file, note: file.write_bytes(b"\xff" * file.stat().st_size),
        lambda file, note: file.unlink(),
        lambda file, note: note.unlink(),
        lambda file, note: note.write_text("{"),
        lambda file, note: note.write_text('{"done": 10000, "check": 0}'),
        lambda file, note: note.write_text('{"done": "all", "check": null}'),
    ],
    ids=["a byte", "half a file", "all", "no file", "no note", "half a note", "too many", "no number"],
)
def test_codes_that_changed_on_disk_are_computed_anew(
    data: Data, tmp_path: Path, damage: Callable[[Path, Path], object]
) -> None:
    generator = fresh("mage")
    codes = kept(generator, data, tmp_path)
    expected = {id_: np.array(codes.read(id_, 0)) for id_ in all_ids(data)}
    file, note = sorted(tmp_path.iterdir(), key=lambda path: path.suffix == ".json")
    damage(file, note)
    counted = Counted(generator)
    codes = kept(generator, data, tmp_path)
    assert counted.count == IMAGES * CROPS
    assert all((codes.read(id_, 0) == values).all() for id_, values in expected.items())


def test_codes_in_memory_leave_nothing_on_disk(data: Data, tmp_path: Path) -> None:
    generator = fresh("mage")
    codes, there = kept(generator, data, tmp_path), files(tmp_path)
    cropper = Cropper(data.cache, SIZE, asked(), 0)
    in_memory = keep_codes(generator, all_ids(data), cropper, CENTRE, None, Progress())
    assert in_memory is not None
    assert all((in_memory.read(id_, 1) == codes.read(id_, 1)).all() for id_ in all_ids(data))
    assert files(tmp_path) == there


def test_the_rest_of_the_model_does_not_decide(data: Data, tmp_path: Path) -> None:
    generator = fresh("mage")
    kept(generator, data, tmp_path)
    with torch.no_grad():
        for parameter in generator.trained_parameters("all").values():
            parameter.add_(0.1)
    counted = Counted(generator)
    kept(generator, data, tmp_path)
    assert counted.count == 0


@pytest.mark.parametrize("name", ["mae", "palette"])
def test_nothing_is_kept_without_a_first_stage(name: str, data: Data, tmp_path: Path) -> None:
    trainer(fresh(name), phases_of("fine-tune"), data, asked=asked(), folder=tmp_path).run()
    assert files(tmp_path) == ["checkpoint.pt"]


def test_nothing_is_kept_where_every_visit_has_a_new_crop(family: str, data: Data, tmp_path: Path) -> None:
    trainer(fresh(family), phases_of("fine-tune"), data, asked=settings(steps=2), folder=tmp_path).run()
    assert files(tmp_path) == ["checkpoint.pt"]


# stopped in the middle


@pytest.mark.usefixtures("small_batches")
def test_after_a_crash_the_codes_go_on_where_they_stopped(family: str, data: Data, tmp_path: Path) -> None:
    whole = kept(fresh(family), data, tmp_path / "whole")
    generator = fresh(family)
    counted = Counted(generator, limit=15)
    with pytest.raises(Crash):
        kept(generator, data, tmp_path / "stopped")
    assert counted.count == 15
    note = json.loads(next((tmp_path / "stopped").glob("*.json")).read_text())
    assert note["done"] == 15
    again = fresh(family)
    counted = Counted(again)
    codes = kept(again, data, tmp_path / "stopped")
    assert counted.count == IMAGES * CROPS - 15
    assert np.array_equal(codes.values, whole.values)


@pytest.mark.usefixtures("small_batches")
def test_codes_that_were_not_noted_are_computed_again(data: Data, tmp_path: Path) -> None:
    """A file without a note may hold anything."""
    whole = kept(fresh("mage"), data, tmp_path)
    expected = np.array(whole.values)
    next(tmp_path.glob("*.json")).unlink()
    file = np.lib.format.open_memmap(next(tmp_path.glob("*.npy")), mode="r+")
    file[:] = 0
    file.flush()
    assert np.array_equal(kept(fresh("mage"), data, tmp_path).values, expected)


@pytest.mark.usefixtures("small_batches")
def test_a_run_that_died_among_its_codes_ends_with_the_same_weights(
    family: str, data: Data, tmp_path: Path
) -> None:
    whole, dying, resumed = fresh(family), fresh(family), fresh(family)
    trainer(whole, phases_of("fine-tune"), data, asked=asked(), folder=tmp_path / "whole").run()
    Counted(dying, limit=10)
    with pytest.raises(Crash):
        trainer(dying, phases_of("fine-tune"), data, asked=asked(), folder=tmp_path / "stopped").run()
    counted = Counted(resumed)
    trainer(resumed, phases_of("fine-tune"), data, asked=asked(), folder=tmp_path / "stopped").run()
    assert counted.count == len(data.sets["retain"]) * CROPS - 10
    assert changed(weights_of(whole), weights_of(resumed)) == set()


@pytest.mark.slow
def test_a_run_stopped_behind_its_codes_does_not_compute_them_again(
    family: str, data: Data, tmp_path: Path
) -> None:
    from support.stopping import StopAt

    with pytest.raises(Stopped):
        trainer(
            fresh(family), phases_of("fine-tune"), data, asked=asked(), folder=tmp_path, progress=StopAt(2)
        ).run()
    generator = fresh(family)
    counted = Counted(generator)
    trainer(generator, phases_of("fine-tune"), data, asked=asked(), folder=tmp_path).run()
    assert counted.count == 0
