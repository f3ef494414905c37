"""The paper's experiments at full size: their configs can be planned on data in the layout of the data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support import paper_sets
from support.published import FOLDER
from support.run_making import make_model

pytestmark = pytest.mark.slow
CONFIGS = Path(__file__).parents[2] / "benchmarks" / "configs" / "paper"
MODELS: dict[str, tuple[str, ...]] = {
    "mae-imagenet": ("model",),
    "mage-imagenet": (
        str(FOLDER / "mage.pth"), "--set", "model.heads=4", "--set", "model.decoder_heads=4",
    ),
    "palette-places": (
        str(FOLDER / "palette.pth"), "--set", "model.image_size=32", "--set", "evaluation.sampler=ddpm:2",
    ),
}  # fmt: skip
"""A small model in the layout of each config's, and what its file does not say."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Miniatures of both data sets, and a masked autoencoder as transformers saves it."""
    folder = tmp_path_factory.mktemp("data")
    for part, files in (("train", paper_sets.train_files), ("val", paper_sets.val_files)):
        paper_sets.in_folders(folder / "imagenet", part, files(paper_sets.WNIDS))
    paper_sets.places_256(
        folder / "places",
        paper_sets.train_files(paper_sets.SCENES, suffix="jpg"),
        paper_sets.val_files(paper_sets.SCENES, stem="Places365_val_", suffix="jpg"),
    )
    make_model(folder / "model")
    return folder


def test_every_config_has_its_model() -> None:
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_the_config_can_be_planned(name: str, data: Path, cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data)
    data_set = name.partition("-")[2]
    drawn = ("--rule", "random", "--classes", "2", "--neutral-classes", "2", "--subset")
    counts = ("--per-class", "4", "--val-per-class", "2", "--proxy-per-class", "4")
    split = cli("split", data_set, data_set, "--out", f"{data_set}.json", *drawn, *counts)
    assert split.code == 0, split.err
    few = ("--set", "training.batch_size=4")
    planned = cli("plan", *MODELS[name], "--config", CONFIGS / f"{name}.yaml", "--duplicates", "ignore", *few)
    assert planned.code == 0, planned.err
    assert "memory: " in planned.out
