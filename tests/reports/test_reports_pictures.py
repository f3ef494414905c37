"""Pictures of the sets: only in their own file, with a warning, and the same views as the figures."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from efface.corruptions import parse_corruption
from efface.evaluation.pictures import restored
from efface.evaluation.results import ModelName, SetName
from efface.evaluation.settings import EvaluationSettings
from efface.images.items import ImageSet
from efface.reports.pictures import write_pictures
from making.demo import picture_grid
from support.report_runs import Page
from support.report_stubs import SIDE, GreyFill, as_cache, as_generator, some_images

HOLE = parse_corruption("centre:0.5")
SETTINGS = EvaluationSettings(batch_size=3, crops_per_image=2)
IMAGES = some_images(5)


def models(*names: ModelName) -> dict[ModelName, GreyFill]:
    greys = {"original": 0.25, "unlearned": 0.5, "retrained": 0.75}
    return {name: GreyFill(greys[name]) for name in names}


def written(
    folder: Path, stubs: dict[ModelName, GreyFill], sets: dict[SetName, ImageSet], count: int
) -> Page:
    generators = {name: as_generator(stub) for name, stub in stubs.items()}
    parts = restored(generators, sets, as_cache(IMAGES), HOLE, SETTINGS, count)
    path = write_pictures(folder, parts, HOLE.label)
    assert path == folder / "pictures.html"
    page = Page(path.read_text(encoding="utf-8"))
    assert not page.faults
    return page


def centres(page: Page) -> list[int]:
    """The red value in the middle of each picture, in the order of the page."""
    sources = [str(picture["src"]) for picture in page.named("img")]
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    pictures = [Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) for source in sources]
    return [int(np.asarray(picture)[SIDE // 2, SIDE // 2, 0]) for picture in pictures]


def test_each_row_is_the_image_what_is_seen_and_each_restoration(tmp_path: Path) -> None:
    page = written(tmp_path, models("original", "unlearned", "retrained"), {"forget": IMAGES}, count=2)
    assert centres(page) == [0, 128, 64, 128, 191, 20, 128, 64, 128, 191]


def test_the_warning_comes_before_any_picture(tmp_path: Path) -> None:
    page = written(tmp_path, models("original", "unlearned"), {"forget": IMAGES}, count=2)
    assert page.source.index("This file shows images that were to be forgotten") < page.source.index("<img")


def test_models_and_sets_that_are_absent_have_no_place(tmp_path: Path) -> None:
    page = written(
        tmp_path, models("original", "unlearned"), {"forget": IMAGES, "retain": ImageSet()}, count=8
    )
    assert len(page.named("img")) == 5 * 4
    assert "By the retrained" not in page.text
    assert "Retain images" not in page.text


def test_models_see_only_the_images_that_are_shown_and_in_evaluation_mode(tmp_path: Path) -> None:
    stubs = models("original", "unlearned")
    written(tmp_path, stubs, {"forget": IMAGES}, count=2)
    for stub in stubs.values():
        assert set(stub.seen) == set(IMAGES.ids[:2])
        assert not stub.training


def test_every_picture_says_what_it_is_and_names_no_file(tmp_path: Path) -> None:
    page = written(tmp_path, models("original"), {"forget": IMAGES}, count=1)
    assert [picture["alt"] for picture in page.named("img")] == [
        "forget image 1: image",
        "forget image 1: what a model sees",
        "forget image 1: by the original",
    ]
    assert "secret" not in page.source
    assert not re.search(r'(?:src|href)="(?!data:)', page.source)


def test_the_grid_draws_the_same_pictures() -> None:
    generators = {name: as_generator(stub) for name, stub in models("original", "unlearned").items()}
    sets: dict[SetName, ImageSet] = {"forget": IMAGES, "retain": IMAGES}
    grid = picture_grid(generators, sets, as_cache(IMAGES), HOLE, SETTINGS, 2, 64)
    assert grid.mode == "RGB"
    assert grid.size == (4 * 70 + 6, 2 * (44 + 2 * 70) + 6)
    middle = 44 + 32
    assert [grid.getpixel((6 + column * 70 + 32, middle))[0] for column in range(4)] == [0, 128, 64, 128]  # type: ignore[index]


def test_an_empty_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="every set is empty"):
        picture_grid({"original": as_generator(GreyFill(0.5))}, {}, as_cache(IMAGES), HOLE, SETTINGS, 2, 64)
