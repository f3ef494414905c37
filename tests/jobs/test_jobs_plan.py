"""Planning: everything that is wrong or risky at once, what it would cost, and nothing written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import efface
from efface.errors import InputError
from efface.generators.palette.generator import PaletteGenerator
from efface.generators.sampling import steps_of
from efface.images.cache import PixelCache
from efface.training.loop import Trainer
from support.families import untrained
from support.palette_models import palette
from support.run_making import SHORT, make_model, save_photo, with_note

SMALL = {"training": SHORT["training"]}


def names_below(*folders: Path) -> set[str]:
    return {str(path) for folder in folders for path in folder.rglob("*")}


def test_all_faults_are_found_at_once(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "forget.txt").write_text("cats/cats-0.png\ncats/cats-9.png\ndogs/dgs-1.png\n")
    faults = efface.plan(
        tmp_path / "absent",
        forget=tmp_path / "forget.txt",
        images=photos,
        retrained=tmp_path / "gone",
        training={"batch_size": 5},
        evaluation={"extractor": "clip"},
    ).faults
    together = "\n".join(faults)
    for part in (
        "no model at " + str(tmp_path / "absent"),
        "no model at " + str(tmp_path / "gone"),
        "forget.txt line 2",
        "forget.txt line 3",
        "a batch of 5 does not divide evenly over 2 streams",
        "feature extractor 'clip'",
    ):
        assert part in together, part
    assert len(faults) == 6


def test_a_corruption_out_of_range_is_found_beside_missing_entries(
    tiny: Path, photos: Path, tmp_path: Path
) -> None:
    found = efface.plan(
        tiny,
        forget=[photos / "cats", "label:horses"],
        images=photos,
        corruption="centre:0.9",
        training={"batch_size": 3, "corruption": "random:1"},
    )
    assert [fault.split(":")[0].split(";")[0] for fault in found.faults] == [
        "training.batch_size",
        "corruption 'centre",
        "corruption 'random",
        "forget label",
    ]
    assert "centre:F with F from" in found.faults[1]
    assert found.estimate is None


def test_an_unknown_training_corruption_is_a_fault(tiny: Path, photos: Path) -> None:
    found = efface.plan(tiny, forget="label:cats", images=photos, training={"corruption": "center:0.5"})
    assert [fault[:45] for fault in found.faults] == ["unknown corruption 'center'; did you mean 'ce"]


def test_an_estimate_has_positive_numbers(tiny: Path, photos: Path) -> None:
    found = efface.plan(tiny, forget="label:cats", images=photos, **SMALL)
    assert found.faults == []
    estimate = found.estimate
    assert estimate is not None
    assert estimate.steps == 6
    assert 0 < estimate.seconds_per_step < 10
    assert estimate.training_seconds == pytest.approx(6 * estimate.seconds_per_step)
    assert estimate.evaluation_seconds > 0
    assert estimate.peak_memory_bytes > 50 << 20
    weights = found.model.parameters * 4
    # the parameters of the model and its fixed position embeddings are all that is kept
    assert estimate.disk_kept_bytes == weights
    # at least the pixels of ten photos at short side 37, two checkpoints and the models
    assert estimate.disk_bytes > 10 * 37 * 37 * 3 + 2 * weights
    assert found.sets == {"forget": 3, "retain": 7, "neutral": 0}
    assert found.changes.trains == "encoder"
    assert found.changes.tensors == 21
    assert 0 < found.changes.share < 1


def test_an_evaluation_is_priced_by_a_few_steps_of_its_sampler(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    palette(channel_multipliers=(1,), attention_levels=()).save(tmp_path / "model")
    calls: list[int] = []
    real = PaletteGenerator._predictor

    def counting(self: PaletteGenerator, *told: Any) -> Callable[[Tensor, int], Tensor]:
        predict = real(self, *told)

        def counted(noisy: Tensor, step: int) -> Tensor:
            calls.append(len(noisy))
            return predict(noisy, step)

        return counted

    monkeypatch.setattr(PaletteGenerator, "_predictor", counting)

    def seconds(sampler: str) -> float:
        evaluation = {"sampler": sampler, "samples": 1}
        found = efface.plan(
            tmp_path / "model", forget="label:cats", images=photos, evaluation=evaluation, **SMALL
        )
        assert found.faults == []
        assert found.estimate is not None
        return found.estimate.evaluation_seconds

    whole = seconds("ddpm:8")
    # one step of an image of forget and retain, twice, and of a batch of each; then 1 + 3 by which a further step is timed
    counts = [1] * 4 + [3, 7] + [7] * 4
    assert calls == counts
    calls.clear()
    long = seconds("ancestral:1000")
    assert calls == counts
    assert long > 10 * whole


def test_where_one_answer_is_slow_the_others_are_priced_by_it(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    palette(channel_multipliers=(1,), attention_levels=()).save(tmp_path / "model")
    sizes: list[int] = []
    real = PaletteGenerator.restore

    def noting(self: PaletteGenerator, view: Any, sampler: str | None = None) -> Tensor:
        sizes.append(len(view))
        return real(self, view, sampler)

    monkeypatch.setattr(PaletteGenerator, "restore", noting)
    monkeypatch.setattr("efface.jobs.generator_plan.PATIENCE", 0.0)
    found = efface.plan(tmp_path / "model", forget="label:cats", images=photos, **SMALL)
    assert found.faults == []
    assert sizes == [1] * 6


@pytest.mark.parametrize(
    ("family", "sampler"),
    [("mage", "confidence:1000,6,0"), ("mage", "maskgit:1000,6"), ("latent-inpainting", "ddim:1000")],
)
def test_no_sampler_runs_whole_in_a_plan(
    family: str, sampler: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = untrained(family)
    model.save(tmp_path / "model")
    run: list[str | None] = []
    real = type(model).restore

    def noting(self: Any, view: Any, sampler: str | None = None) -> Tensor:
        run.append(sampler)
        return real(self, view, sampler)

    monkeypatch.setattr(type(model), "restore", noting)
    chosen: dict[str, Any] = {"evaluation": {"sampler": sampler, "samples": 1}, **SMALL}
    found = efface.plan(tmp_path / "model", forget="label:cats", images=photos, **chosen)
    assert found.faults == []
    assert [steps_of(one) for one in run] == [1] * 7 + [3]
    assert {one and one.partition(",")[2] for one in run} == {sampler.partition(",")[2]}


@pytest.mark.parametrize(("budget", "steps"), [("17steps", 17), ("0.001s", 1)])
def test_a_budget_decides_the_steps(tiny: Path, photos: Path, budget: str, steps: int) -> None:
    estimate = efface.plan(tiny, forget="label:cats", images=photos, budget=budget, **SMALL).estimate
    assert estimate is not None
    assert estimate.steps == steps


def test_risks_name_what_will_not_be_known(tiny: Path, photos: Path) -> None:
    risks = "\n".join(efface.plan(tiny, forget="label:cats", images=photos, **SMALL).risks)
    for part in (
        "no neutral set",
        "no retrained model (--retrained)",
        "forget has 3 images: no interval can be given below 5",
    ):
        assert part in risks
    assert "no retain set" not in risks


def test_crops_of_the_training_that_are_unknown_or_others_than_those_asked_for_are_risks(
    tiny: Path, photos: Path, tmp_path: Path
) -> None:
    unknown = efface.plan(tiny, forget="label:cats", images=photos, **SMALL)
    assert any(
        "does not say with which crops it was trained, so views cover 0.2 to 1" in risk
        for risk in unknown.risks
    )
    assert any(
        "trains on crops of 0.2 to 1 of an image's area, half of them mirrored; the model does not say which it learnt"
        in note
        for note in unknown.notes
    )
    near = with_note(tiny, tmp_path / "near", scale=[0.9, 1.0], flip=True)
    other = make_model(tmp_path / "other", seed=1)
    whole = with_note(other, tmp_path / "whole", scale=[1.0, 1.0], flip=False)
    found = efface.plan(
        near,
        forget="label:cats",
        images=photos,
        retrained=whole,
        evaluation={"crop_scale": [0.2, 1.0]},
        **SMALL,
    )
    together = "\n".join(found.risks)
    for part in (
        "views cover 0.2 to 1 of an image's area, and the model was trained on 0.9 to 1",
        "trained on crops of 1 of an image's area, none mirrored, the original on crops of 0.9 to 1 of an image's area, "
        "half of them mirrored",
    ):
        assert part in together, part
    learnt = "unlearning trains on crops of 0.9 to 1 of an image's area, half of them mirrored, which the model learnt"
    assert learnt in found.notes
    same = efface.plan(near, forget="label:cats", images=photos, **SMALL)
    assert not [risk for risk in same.risks if "views" in risk or "crops" in risk]


def test_risks_that_are_provided_for_are_not_named(tiny: Path, photos: Path, tmp_path: Path) -> None:
    reference = make_model(tmp_path / "reference", seed=1)
    found = efface.plan(
        tiny, forget="label:dogs", neutral="label:birds", images=photos, retrained=reference, **SMALL
    )
    assert found.faults == []
    together = "\n".join(found.risks)
    assert "no neutral set" not in together
    assert "no retrained model" not in together
    assert "62% of the images are to be forgotten" in together


def test_nothing_is_written(
    tiny: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    here = tmp_path / "here"
    for folder in (scratch, here):
        folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.chdir(here)
    before = names_below(tmp_path, tiny, photos)
    weights = (tiny / "model.safetensors").read_bytes()
    assert efface.plan(tiny, forget="label:cats", images=photos, **SMALL).faults == []
    assert names_below(tmp_path, tiny, photos) == before
    assert os.listdir(scratch) == []
    assert (tiny / "model.safetensors").read_bytes() == weights


def test_plan_and_unlearning_refuse_the_same(tiny: Path, photos: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for number in range(3):
        save_photo(data / "keep" / f"{number}.png", number)
    save_photo(data / "drop" / "copy.png", 0)
    found = efface.plan(tiny, forget=data / "drop", retain=data / "keep", **SMALL)
    with pytest.raises(InputError) as caught:
        efface.unlearn(tiny, forget=data / "drop", retain=data / "keep", out=tmp_path / "run", **SHORT)
    assert found.faults == list(caught.value.problems)


def test_a_plan_keeps_pixels_in_memory_or_in_a_folder_that_goes(
    tiny: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    chosen = {"forget": photos / "cats", "retain": photos / "dogs", **SMALL}
    made: list[Path | None] = []
    real = PixelCache.__init__

    def noting(cache: PixelCache, folder: Path | None, *more: object) -> None:
        made.append(folder)
        real(cache, folder, *more)

    monkeypatch.setattr(PixelCache, "__init__", noting)
    estimates = [efface.plan(tiny, **chosen).estimate]
    monkeypatch.setattr("efface.jobs.sets.IN_MEMORY", 0)
    estimates += [efface.plan(tiny, **chosen).estimate]
    assert [folder and folder.parent for folder in made] == [None, tmp_path]
    assert all(estimates)
    assert names_below(tmp_path) == set()


def test_slow_steps_are_priced_by_steps_of_few_images(
    tiny: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def slow(trainer: Trainer, count: int) -> float:
        sizes.append(trainer.settings.batch_size)
        return 0.5 * trainer.settings.batch_size

    monkeypatch.setattr(Trainer, "time_steps", slow)
    training = {**SHORT["training"], "batch_size": 64}
    found = efface.plan(tiny, images=photos, forget="label:cats", **{**SHORT, "training": training})
    assert found.estimate is not None
    assert (sizes, found.estimate.seconds_per_step) == ([2], 32.0)
    assert any("a step of 64 images takes about 32 s here, by steps of 2" in note for note in found.notes)
