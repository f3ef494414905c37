"""Released checkpoints: opened, asked to restore eight photos, made to forget two of them, and the run verified.

    python benchmarks/released.py all                                    hub ids where a hub is reachable
    python benchmarks/released.py mage --file mage=mage-vitb-1600.pth    a file that you have
    python benchmarks/released.py all --stand-ins                        random weights in the same layouts, tiny

The photos are those that come with scikit-image and scikit-learn. No checkpoint was trained on them as far as is known,
so there is nothing to forget in them: what is tried is that each opens, restores, unlearns and can be checked. Files that
no hub has must lie in the working directory or be given with `--file`. The result of stand-ins says nothing of the models
whose layout they have, and says `stand_in` of each.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from PIL import Image
from pydantic import JsonValue
from torch import Tensor

import efface
from efface.corruptions import parse_corruption
from efface.corruptions.base import mean_fill
from efface.errors import EffaceError
from efface.evaluation.answers import view_batches
from efface.evaluation.settings import EvaluationSettings
from efface.generators.base import Generator
from efface.images.cache import PixelCache
from efface.images.items import ImageSet
from efface.images.sources import open_images
from efface.jobs.kinds import read_config
from efface.jobs.run import carry_out
from efface.metrics.image_error import hole_mse
from efface.runs.verification import verify
from machine import result_file
from measuring import computing_device
from unlearning_step import wait

ROOT = Path(__file__).parents[1]
PUBLISHED = ROOT / "tests" / "published"
PHOTOS = ("astronaut", "chelsea", "china", "coffee", "flower", "hubble_deep_field", "retina", "rocket")
FORGOTTEN = ("coffee", "rocket")
CORRUPTION = "centre:0.5"
STEPS = 20
Settings = dict[str, JsonValue]


@dataclass(frozen=True)
class Checkpoint:
    """A released model: its hub id or file name, what its files cannot say, and a tiny stand-in of the same layout.

    stand_in: given a folder, where the stand-in lies, and its settings in place of the model's.
    """

    where: str
    stand_in: Callable[[Path], tuple[Path, Settings]]
    settings: Settings = field(default_factory=dict)


def transformers_folder(folder: Path) -> tuple[Path, Settings]:
    """As `facebook/vit-mae-base` lies on the hub."""
    from efface.generators.mae.family import SIZES, MaeArchitecture
    from efface.generators.mae.generator import MaeGenerator

    shape = MaeArchitecture.read({**SIZES["tiny"], "image_size": 32}, where="the stand-in")
    MaeGenerator.new(0, **shape.transformers_config()).save_pretrained(folder / "mae")
    return folder / "mae", {}


def published_file(name: str, settings: Settings, folder: Path) -> tuple[Path, Settings]:
    """A file of `tests/published`, in the layout of the release."""
    return PUBLISHED / name, settings


def pipeline_folder(folder: Path) -> tuple[Path, Settings]:
    """As Stable Diffusion inpainting lies on the hub, text encoder and tokenizer included."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support.latent_pipelines import saved

    return saved(folder / "pipeline"), {}


CHECKPOINTS = {
    "vit-mae-base": Checkpoint("hub:facebook/vit-mae-base", transformers_folder, {"norm_pix_loss": True}),
    "mage": Checkpoint(
        "mage-vitb-1600.pth", partial(published_file, "mage.pth", {"heads": 4, "decoder_heads": 4})
    ),
    "palette": Checkpoint("16_Network.pth", partial(published_file, "palette.pth", {"image_size": 32})),
    "stable-diffusion-inpainting": Checkpoint(
        "hub:stable-diffusion-v1-5/stable-diffusion-inpainting", pipeline_folder
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=["all", *CHECKPOINTS])
    parser.add_argument("--stand-ins", action="store_true", help="tiny models with random weights instead")
    parser.add_argument("--file", action="append", default=[], metavar="NAME=PATH", help="where one lies")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--pictures", type=Path, help="a folder for what was restored, one picture a model")
    parser.add_argument("--out", type=Path, help="folder of the result; default: benchmarks/results")
    options = parser.parse_args()
    files = dict(one.partition("=")[::2] for one in options.file)
    if unknown := files.keys() - CHECKPOINTS.keys():
        parser.error(f"--file {', '.join(sorted(unknown))}: the names are {', '.join(CHECKPOINTS)}")
    models: dict[str, Any] = {}
    result = f"released{'_stand_ins' if options.stand_ins else ''}"
    for name in CHECKPOINTS if options.name == "all" else [options.name]:
        began = time.monotonic()
        with TemporaryDirectory() as folder:
            try:
                models[name] = tried(name, files.get(name), Path(folder), options)
            except (EffaceError, OSError) as error:
                models[name] = {"state": "failed", "problem": str(error).replace(folder, "FOLDER")}
        models[name] |= {"stand_in": options.stand_ins, "seconds": round(time.monotonic() - began, 1)}
        print(f"{name}: {models[name]}", flush=True)
        result_file(
            result, {"stand_ins": options.stand_ins, "photos": len(PHOTOS), "models": models}, options.out
        )
    sys.exit(any(found["state"] == "failed" for found in models.values()))


def tried(name: str, file: str | None, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """What became of one model: opened, restoring, forgetting, verified."""
    checkpoint = CHECKPOINTS[name]
    where, settings = file or checkpoint.where, checkpoint.settings
    if options.stand_ins:
        path, settings = checkpoint.stand_in(folder)
        where = str(path)
    began = time.monotonic()
    generator = efface.load(where, **settings)
    opened = time.monotonic() - began
    assert isinstance(generator, Generator)
    described = generator.describe()
    values: dict[str, Any] = {
        "state": "done",
        "model": checkpoint.where,
        "family": generator.family,
        "image_size": generator.image_size,
        "parameters": described["parameters"],
        "weights": generator.weights_digest(),
        "seconds_to_open": round(opened, 1),
        "restored": restored(
            generator, folder, options.pictures / f"{name}.png" if options.pictures else None
        ),
    }
    del generator
    return {**values, **forgotten({"path": where, **settings}, folder / "run", options.batch)}


def restored(generator: Generator, folder: Path, picture: Path | None) -> dict[str, Any]:
    """Hole errors of the photos, beside those of the known pixels' mean colour."""
    generator.to(computing_device()).eval()
    photos = open_images("bundled")
    photos = photos.subset([place for place, item in enumerate(photos) if item.label in PHOTOS])
    settings = EvaluationSettings(crops_per_image=1, batch_size=4)
    errors: list[Tensor] = []
    filled: list[Tensor] = []
    rows: list[Tensor] = []
    seconds = 0.0
    for view in views(generator, photos, folder, settings):
        began = time.monotonic()
        pictures = generator.restore(view)
        wait(generator.device)
        seconds += time.monotonic() - began
        known, region = view.corrupted.known, view.corrupted.region
        errors.append(hole_mse(pictures, view.images, region).cpu())
        filled.append(hole_mse(mean_fill(view.images, known), view.images, region).cpu())
        rows.append(torch.cat([view.images, view.images * known, pictures], dim=2).cpu())
    if picture is not None:
        picture.parent.mkdir(parents=True, exist_ok=True)
        sheet = torch.cat(list(torch.cat(rows)), dim=2).clamp(0, 1)
        Image.fromarray((sheet * 255).round().byte().permute(1, 2, 0).numpy()).save(picture)
    return {
        "corruption": CORRUPTION,
        "sampler": generator.sampler_name(None),
        "hole_error": round(float(torch.cat(errors).mean()), 6),
        "hole_error_of_mean_colour": round(float(torch.cat(filled).mean()), 6),
        "seconds_a_photo": round(seconds / len(photos), 3),
    }


def views(generator: Generator, photos: ImageSet, folder: Path, settings: EvaluationSettings) -> Any:
    with PixelCache(folder / "pixels", generator.image_size) as cache:
        cache.add(photos)
        for crops in view_batches(photos, cache, generator.image_size, settings):
            yield generator.view(crops.images, parse_corruption(CORRUPTION), crops.draws)


def forgotten(model: dict[str, JsonValue], run: Path, batch: int) -> dict[str, Any]:
    """An unlearning of two photos in 20 steps, and what verifying its folder says."""
    sets: dict[str, JsonValue] = {
        "forget": [f"bundled:{name}" for name in FORGOTTEN],
        "retain": [f"bundled:{name}" for name in PHOTOS if name not in FORGOTTEN],
    }
    config = read_config(
        "unlearn",
        {
            "model": model,
            "images": sets,
            "training": {"steps": STEPS, "batch_size": batch},
            "evaluation": {"crops_per_image": 1, "samples": 1, "resamples": 200},
        },
    )
    result = carry_out(config, run)
    checks = verify(run)
    figures = {
        f"{row.model}, {row.set}": row.value
        for row in result.rows
        if row.metric == "hole_mse" and row.value is not None
    }
    training = result.record.training
    return {
        "forgotten": {
            "photos": len(FORGOTTEN),
            "steps": STEPS,
            "batch": batch,
            "seconds_a_step": training and round(training.seconds_per_step, 3),
            "hole_errors": {name: round(value, 6) for name, value in figures.items()},
        },
        "verified": dict(Counter(check.outcome for check in checks)),
        "differing": [check.what for check in checks if not check.passed],
    }


if __name__ == "__main__":
    main()
