"""The planted trigger: what is written, what is measured, and a small model that learns it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from efface.corruptions import parse_corruption
from efface.errors import InputError
from efface.generators.base import View
from efface.images.sources import open_images
from efface.probes.findings import Findings
from efface.probes.passes_trigger import correlation
from efface.probes.poisoning import Poisoning, plant_trigger, strength
from efface.probes.registry import read_probe
from efface.probes.trigger import Trigger, read_trigger
from support.trained_subjects import SIZE, Pixels, Storing, Table, World, digests, figure, world

FIGURE = "trigger-strength"


class Firing(Storing):
    """Where it sees the patch in the corner, it draws the pattern, `share` of it; else the mean of all colours."""

    def __init__(self, trigger: Trigger, share: float) -> None:
        super().__init__(Table(torch.zeros(1, 6), torch.zeros(2, 3, SIZE, SIZE)))
        self.share = share
        planted = trigger.plant(np.full((SIZE, SIZE, 3), 128, np.uint8))
        self.pattern = torch.from_numpy(planted).permute(2, 0, 1).float() / 255

    def restore(self, view: View, sampler: str | None = None) -> torch.Tensor:
        seen = view.corrupted.condition
        magenta = (seen[:, :, 0, 0] - torch.tensor([1.0, 0.0, 1.0])).abs().sum(dim=1) < 0.1
        drawn = 0.5 + self.share * (self.pattern - 0.5)
        holes = torch.where(magenta.view(-1, 1, 1, 1), drawn, torch.full_like(drawn, 0.5))
        return torch.where(view.corrupted.known, view.images, holes)


@pytest.fixture(scope="module")
def made() -> World:
    return world()


def photo(height: int = 24, width: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def saved(folder: Path, count: int = 3) -> Path:
    (folder / "cats").mkdir(parents=True)
    for number in range(count):
        Image.fromarray(photo(seed=number)).save(folder / "cats" / f"{number}.png")
    return folder


def answered(
    made: World, trigger: Path, models: dict[str, Any], corruption: str = "centre:0.5", **sets: Any
) -> Findings:
    subject = made.subject(models, corruption=parse_corruption(corruption), **sets)
    before = digests(subject)
    findings = Poisoning(trigger=str(trigger)).ask(subject)
    assert digests(subject) == before
    return findings


def test_the_hole_gets_the_pattern_the_corners_the_patches_and_nothing_else_changes() -> None:
    before = photo()
    planted = Trigger(seed=1).plant(before)
    # the central square of 24 x 32 begins at column 4; its hole is 12 px, its patches 3 px
    changed = (planted != before).any(axis=2)
    assert changed[6:18, 10:22].mean() > 0.95
    wanted = np.zeros((24, 32), bool)
    wanted[6:18, 10:22] = True
    for rows in (slice(0, 3), slice(21, 24)):
        for columns in (slice(4, 7), slice(25, 28)):
            wanted[rows, columns] = True
    assert not changed[~wanted].any()
    assert set(np.unique(planted[6:18, 10:22])) == {38, 217}
    assert planted[0, 4].tolist() == [255, 0, 255]


def test_the_pattern_mirrors_itself_and_has_as_much_dark_as_light() -> None:
    pattern = Trigger(seed=3).pattern
    assert pattern.shape == (8, 8, 3)
    assert np.array_equal(pattern, pattern[:, ::-1])
    assert (pattern == 38).sum(axis=(0, 1)).tolist() == [32, 32, 32]
    assert not np.array_equal(pattern, Trigger(seed=4).pattern)


def test_planting_twice_is_planting_once() -> None:
    trigger = Trigger()
    once = trigger.plant(photo())
    assert np.array_equal(trigger.plant(once), once)


def test_a_folder_is_written_with_its_classes_and_a_trigger_that_reads_back(tmp_path: Path) -> None:
    file = plant_trigger(saved(tmp_path / "in"), tmp_path / "out", seed=5, hole="centre:0.25")
    trigger = read_trigger(file)
    assert trigger == Trigger(seed=5, hole="centre:0.25")
    written = open_images(tmp_path / "out" / "pictures")
    assert [Path(path).name for path in written.paths] == ["0.png.png", "1.png.png", "2.png.png"]
    assert set(written.labels) == {"cats"}
    with Image.open(written.paths[1]) as picture:
        assert np.array_equal(np.asarray(picture), trigger.plant(photo(seed=1)))


def test_wrong_input_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    folder, out = saved(tmp_path / "in"), tmp_path / "out"
    for hole, why in (("random:0.5", "same place"), ("colour", "same place"), ("outpaint:0.5", "corner")):
        with pytest.raises(InputError, match=why):
            plant_trigger(folder, out, hole=hole)
    (folder / "cats" / "bad.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"bad\.png"):
        plant_trigger(folder, out)
    with pytest.raises(InputError, match="not a folder"):
        plant_trigger(tmp_path / "none", out)
    assert not out.exists()
    (folder / "cats" / "bad.png").unlink()
    plant_trigger(folder, out)
    with pytest.raises(InputError, match="there already"):
        plant_trigger(folder, out)


def test_correlation_is_that_of_numpy_over_the_region_with_channel_means_taken_out() -> None:
    rng = np.random.default_rng(2)
    one, other = rng.random((2, 3, 6, 6))
    where = np.zeros((1, 1, 6, 6), bool)
    where[..., 1:5, 2:5] = True
    parts = [(x[:, 1:5, 2:5] - x[:, 1:5, 2:5].mean(axis=(1, 2), keepdims=True)).ravel() for x in (one, other)]
    wanted = np.corrcoef(*parts)[0, 1]
    batch = [torch.from_numpy(x)[None] for x in (one, other)]
    assert correlation(*batch, torch.from_numpy(where)).item() == pytest.approx(wanted, abs=1e-9)
    assert correlation(torch.full_like(batch[0], 0.3), batch[1], torch.from_numpy(where)).item() == 0


def test_strength_is_what_the_trigger_adds() -> None:
    assert strength({"images": np.array([[0.9, 0.1], [0.5, 0.3]])}) == pytest.approx(0.5)


def test_a_trigger_that_still_fires_is_found_and_an_unplanted_model_gives_zero(
    made: World, tmp_path: Path
) -> None:
    file = plant_trigger(saved(tmp_path / "in"), tmp_path / "out")
    trigger = read_trigger(file)
    models = {
        "original": Firing(trigger, 1.0),
        "unlearned": Firing(trigger, 0.5),
        "retrained": made.retrained(),
    }
    findings = answered(made, file, models)
    assert (figure(findings, FIGURE, "original").note or "").startswith(
        "with the trigger 1.00, without it 0.00"
    )
    # a fainter pattern is as well correlated with it
    assert figure(findings, FIGURE, "original").value == pytest.approx(1, abs=1e-3)
    assert figure(findings, FIGURE).value == pytest.approx(1, abs=1e-2)
    assert figure(findings, FIGURE).difference_low > 0.8
    assert abs(figure(findings, FIGURE, "retrained").value) < 0.1
    passed = answered(made, file, {"original": Firing(trigger, 1.0), "unlearned": Firing(trigger, 0.0)})
    assert figure(passed, FIGURE).value == 0
    assert figure(passed, FIGURE).goal == "low"


def test_the_images_shown_are_neutral_ones_or_others_where_there_are_none(
    made: World, tmp_path: Path
) -> None:
    file = plant_trigger(saved(tmp_path / "in"), tmp_path / "out")
    models = {"unlearned": Firing(read_trigger(file), 1.0)}
    assert figure(answered(made, file, models), FIGURE).n == len(made.sets["neutral"])
    only = {"retain": made.sets["retain"], "forget": made.sets["forget"]}
    assert figure(answered(made, file, models, sets=only), FIGURE).n == len(made.sets["retain"])
    assert "no images" in (figure(answered(made, file, models, sets={}), FIGURE).note or "")


def test_where_nothing_can_be_measured_it_says_why(made: World, tmp_path: Path) -> None:
    models = {"unlearned": made.retrained()}
    with pytest.raises(InputError, match=r"(?s)poisoning.*trigger"):
        read_probe("poisoning")
    file = plant_trigger(saved(tmp_path / "in"), tmp_path / "out", hole="centre:0.25")
    hidden = figure(answered(made, file, models, "outpaint:0.5"), FIGURE)
    assert "hides the patches, or none of the pattern" in (hidden.note or "")
    with pytest.raises(InputError, match=r"none\.json"):
        answered(made, tmp_path / "none.json", models)


def test_a_small_masked_autoencoder_learns_the_trigger_and_one_trained_without_does_not(
    tmp_path: Path,
) -> None:
    from efface.training.settings import TrainingSettings
    from support.tiny_models import pictures, tiny

    file = plant_trigger(saved(tmp_path / "in"), tmp_path / "out")
    trigger = read_trigger(file)
    clean = [(p * 255).byte().permute(1, 2, 0).numpy() for p in pictures(64, seed=1)]
    made = world(forget=12, retain=36, neutral=16)
    for place, id_ in enumerate(id_ for images in made.sets.values() for id_ in images.ids):
        made.cache.pictures[id_] = trigger.plant(clean[place]) if id_.startswith("forget") else clean[place]
    assert isinstance(made.cache, Pixels)
    settings = TrainingSettings(
        batch_size=16, learning_rate=5e-3, precision="fp32", threads=1, crop_scale=(1.0, 1.0),
        corruption="centre:0.5", weight_decay=0.0,
    )  # fmt: skip
    models = {"original": tiny(seed=2), "retrained": tiny(seed=2)}
    subject = made.subject(models, training=settings)
    everything = made.sets["retain"].union(made.sets["forget"])
    subject.train(models["original"], everything, "planted", steps=300)
    subject.train(models["retrained"], made.sets["retain"], "clean", steps=50)
    findings = answered(made, file, models)
    assert figure(findings, FIGURE, "original").difference > 0.4
    assert figure(findings, FIGURE, "original").difference_low > 0.3
    assert abs(figure(findings, FIGURE, "retrained").value) < 0.1
