"""The picture in the README, of a finished demo."""

from __future__ import annotations

import tempfile
from pathlib import Path

from PIL.Image import Image

from efface.corruptions import parse_corruption
from efface.evaluation.pictures import picture_grid
from efface.evaluation.settings import EvaluationSettings
from efface.generators import load_generator
from efface.images.cache import PixelCache
from efface.images.selection import ImagesSettings, split_images
from efface.jobs.demo import FORGET, MARGIN, NEUTRAL
from efface.runs.folder import open_run

ROWS = 2
SIDE = 112


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
        return picture_grid(
            models, sets, cache, parse_corruption(run["corruption"]), evaluation, ROWS, side=SIDE
        )
