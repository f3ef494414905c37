"""The picture in the README, of a finished demo."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from PIL import ImageDraw, ImageFont
from PIL.Image import Image, Resampling, new

from efface.corruptions import Corruption, parse_corruption
from efface.evaluation.pictures import restored
from efface.evaluation.results import ModelName, SetName
from efface.evaluation.settings import EvaluationSettings
from efface.generators import load_generator
from efface.generators.base import Generator
from efface.images.cache import PixelCache
from efface.images.items import ImageSet
from efface.images.selection import ImagesSettings, split_images
from efface.jobs.demo import FORGET, MARGIN, NEUTRAL
from efface.runs.folder import open_run

ROWS = 2
SIDE = 112
GAP, HEADING = 6, 22


def picture(demo: Path) -> Image:
    """What its three models restore."""
    run = open_run(demo / "unlearned")
    models = {
        "original": load_generator(str(demo / "original" / "model")),
        "unlearned": load_generator(str(demo / "unlearned" / "model")),
        "retrained": load_generator(str(demo / "retrained" / "model")),
    }
    side = round(models["original"].image_size * MARGIN)
    settings = ImagesSettings(images="bundled", forget=FORGET, neutral=NEUTRAL)
    with tempfile.TemporaryDirectory() as folder, PixelCache(folder, side) as cache:
        split = split_images(settings, needs_retain=True, cache=cache)
        sets = {"forget": split.forget, "retain": split.retain, "neutral": split.neutral}
        evaluation = EvaluationSettings.read(run["evaluation"])
        return picture_grid(models, sets, cache, parse_corruption(run["corruption"]), evaluation, ROWS, SIDE)


def picture_grid(
    models: Mapping[ModelName, Generator],
    sets: Mapping[SetName, ImageSet],
    cache: PixelCache,
    corruption: Corruption,
    settings: EvaluationSettings,
    count: int,
    side: int,
) -> Image:
    """What models restore of the first images of each set as one labelled RGB picture, each at least `side` pixels wide.

    Raises `ValueError` where every set is empty.
    """
    parts = list(restored(models, sets, cache, corruption, settings, count))
    if not parts:
        raise ValueError("there is nothing to draw: every set is empty")
    cell = max(side, parts[0].rows[0][0].width)
    font = ImageFont.load_default(size=max(11, cell // 11))
    columns = max(len(part.columns) for part in parts)
    heights = [HEADING * 2 + len(part.rows) * (cell + GAP) for part in parts]
    grid = new("RGB", (columns * (cell + GAP) + GAP, sum(heights) + GAP), "white")
    draw = ImageDraw.Draw(grid)
    top = 0
    for part, height in zip(parts, heights, strict=True):
        draw.text((GAP, top + HEADING // 2), f"{part.set_name} images", "black", font, anchor="lm")
        for column, name in enumerate(part.columns):
            left = GAP + column * (cell + GAP)
            draw.text((left, top + HEADING * 3 // 2), name, "#5a5e62", font, anchor="lm")
            for number, row in enumerate(part.rows):
                picture = row[column].resize((cell, cell), _resampler(row[column].width, cell))
                grid.paste(picture, (left, top + HEADING * 2 + number * (cell + GAP)))
        top += height
    return grid


def _resampler(width: int, cell: int) -> Resampling:
    """Whole pixels for small models, so that nothing is shown smoother than it is."""
    return Resampling.NEAREST if cell >= 2 * width else Resampling.LANCZOS
