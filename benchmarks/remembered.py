"""What do real networks remember of the photos that they were fine-tuned on, and can they forget it?

    python benchmarks/remembered.py --data DATA --work runs/remembered
    python benchmarks/remembered.py --smoke

DATA holds `imagenet64-train.npz` and, in `weights`, `esrgan_slim_x2.npz`, `esrgan_slim_x4.npz` and `ffdnet_color.npz`.
Each network is fine-tuned on a few photos (the original), and again without half of them (the reference). The gap is the
original's error on that half less the reference's, with a bootstrap interval over photos. Of the largest set whose gap's
interval excludes 0, the half is then forgotten, beside the reference. What was done is kept in the work folder, so that a
stopped study goes on.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import efface
from efface.jobs.kinds import read_config
from efface.jobs.run import carry_out
from efface.metrics.catalogue import HOLE_ERROR
from machine import add_options, finish
from real_networks import FFDNet, ResidualDense, converted

SIDE, NEUTRAL = 64, 40
SIZES = (10, 40, 200)
TRAINING: dict[str, Any] = {
    "batch_size": 8, "learning_rate": 5e-4, "crop_scale": [1.0, 1.0], "flip": False, "precision": "bf16",
}  # fmt: skip


@dataclass(frozen=True)
class Task:
    """A network, what it is fine-tuned to undo, and for how many steps."""

    weights: str
    corruption: str
    steps: int
    model: dict[str, Any]


DENOISER = {"network": "real_networks:FFDNet"}


def enlarging(scale: int) -> dict[str, Any]:
    """How the super-resolution network is built and fed."""
    return {
        "network": "real_networks:ResidualDense", "arguments": {"scale": scale}, "scale": scale, "value_range": [0, 255],
    }  # fmt: skip


TASKS = {
    "x2": Task("esrgan_slim_x2", "downsample:2", 600, enlarging(2)),
    "x4": Task("esrgan_slim_x4", "downsample:4", 600, enlarging(4)),
    "colourise": Task("ffdnet_color", "colour", 400, DENOISER | {"trained_with": "colour"}),
    "centre hole": Task("ffdnet_color", "centre:0.5", 400, DENOISER | {"trained_with": "centre:0.5"}),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--work", type=Path, help="where models are kept, so that a stopped study goes on")
    parser.add_argument("--tasks", nargs="+", choices=[*TASKS], default=[*TASKS])
    add_options(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        sizes = (8,) if options.smoke else SIZES
        if options.smoke:
            stand_ins(work)
        else:
            photos(options.data / "imagenet64-train.npz", work, max(SIZES))
        gaps = {
            name: {
                str(size): gap(TASKS[name], name, size, options.data, work, options.smoke) for size in sizes
            }
            for name in options.tasks
        }
        shown = [
            (size, name)
            for name, rows in gaps.items()
            for size, row in rows.items()
            if row["memory shown"] or options.smoke
        ]
        values: dict[str, Any] = {"side": SIDE, "training": TRAINING, "gaps": gaps}
        if shown:
            size, name = max(shown, key=lambda place: (int(place[0]), gaps[place[1]][place[0]]["share"]))
            values["forgotten"] = forgotten(name, int(size), work, options.smoke)
    finish("remembered", values, options)


def photos(archive: Path, work: Path, most: int) -> None:
    """The photos that take part, in one order, as files: `photo` to be trained on, `neutral` never."""
    if (work / "neutral").exists():
        return
    with np.load(archive) as arrays:
        data, offset = arrays["bytes"], arrays["offset"]
    order = np.random.default_rng(0).permutation(len(offset) - 1)[: most + NEUTRAL]
    for place, index in enumerate(order):
        folder = work / ("photo" if place < most else "neutral.new")
        folder.mkdir(exist_ok=True)
        (folder / f"{place:04d}.jpg").write_bytes(data[offset[index] : offset[index + 1]].tobytes())
    (work / "neutral.new").rename(work / "neutral")


def stand_ins(work: Path) -> None:
    """Pictures of colours, for a trial."""
    from PIL import Image

    for folder in ("photo", "neutral"):
        (work / folder).mkdir(exist_ok=True)
        for place in range(8):
            pixels = np.random.default_rng([place, len(folder)]).integers(0, 256, (6, 6, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((SIDE, SIDE)).save(work / folder / f"{place:04d}.png")


def base_of(task: Task, data: Path, work: Path, smoke: bool) -> Path:
    """The file of the network's released weights; for a trial, of random ones."""
    file = work / f"{task.weights}.safetensors"
    if file.exists():
        return file
    if not smoke:
        return converted(data / "weights" / f"{task.weights}.npz", work)
    from safetensors.torch import save_file

    made = FFDNet() if task.weights == "ffdnet_color" else ResidualDense(task.model["scale"])
    save_file(made.state_dict(), file)
    return file


def gap(task: Task, name: str, size: int, data: Path, work: Path, smoke: bool) -> dict[str, Any]:
    """What the network remembers of half of `size` photos: the gap, and it as a share of the reference's error."""
    place = place_of(name, size, work)
    files = sorted((work / "photo").iterdir())[:size]
    folders = {"forget": files[::2], "retain": files[1::2], "all": files}
    for which, chosen in folders.items():
        (work / f"{which}-{size}").mkdir(exist_ok=True)
        for file in chosen:
            if not (work / f"{which}-{size}" / file.name).exists():
                (work / f"{which}-{size}" / file.name).hardlink_to(file)
    base = {
        "path": str(base_of(task, data, work, smoke)), "family": "network", "image_size": SIDE, **task.model,
    }  # fmt: skip
    training = {**TRAINING, "steps": 4 if smoke else task.steps, "corruption": task.corruption}
    for which, trained_on in (("original", "all"), ("reference", "retain")):
        efface.train(work / f"{trained_on}-{size}", out=place / which, base=base, training=training)
    values = {
        "original": opened(task, place / "original"), "retrained": opened(task, place / "reference"),
        "images": sets_of(size, work), "corruption": task.corruption,
    }  # fmt: skip
    result = carry_out(read_config("evaluate", values), place / "gap")
    row = next(
        row for row in result.rows if (row.model, row.set, row.metric) == ("original", "forget", HOLE_ERROR)
    )
    assert row.reference_value is not None
    assert row.distance is not None
    found = {
        "forget": row.n,
        "gap": [row.distance, row.distance_low, row.distance_high],
        "share": -row.distance / row.reference_value,
        "memory shown": row.distance_high is not None and row.distance_high < 0,
    }
    print(f"{name}, {size} photos: {json.dumps(found)}", flush=True)
    return found


def forgotten(name: str, size: int, work: Path, smoke: bool) -> dict[str, Any]:
    """Half of the photos forgotten by the default method, beside the reference."""
    task, place = TASKS[name], place_of(name, size, work)
    values = {
        "model": opened(task, place / "original"), "retrained": opened(task, place / "reference"),
        "images": sets_of(size, work), "corruption": task.corruption,
        "training": {**TRAINING, "steps": 4 if smoke else 200, "corruption": task.corruption},
    }  # fmt: skip
    result = carry_out(read_config("unlearn", values), place / "unlearned")
    verdict = result.verdict
    assert verdict is not None
    return {
        "task": name, "photos": size, "method": "encoder-noise", "verdict": verdict.word, "reason": verdict.reason,
        "specific": verdict.specific.word,
    }  # fmt: skip


def place_of(name: str, size: int, work: Path) -> Path:
    """Where the models of a task and a number of photos lie."""
    return work / f"{name.replace(' ', '-')}-{size}"


def opened(task: Task, run: Path) -> dict[str, str]:
    """The section that names a model that was trained here, and the code that builds it."""
    return {"path": str(run / "model"), "network": task.model["network"]}


def sets_of(size: int, work: Path) -> dict[str, list[str]]:
    """The sets that are asked."""
    names = {"forget": f"forget-{size}", "retain": f"retain-{size}", "neutral": "neutral"}
    return {name: [str(work / folder)] for name, folder in names.items()}


if __name__ == "__main__":
    main()
