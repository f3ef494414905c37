"""What whole runs are tested with: a tiny model, a dozen made photographs, settings for a run of a second."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from efface.generators.families import TRAINING_NOTE

TINY = {
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "decoder_hidden_size": 32,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 64,
}
SHORT: dict[str, Any] = {
    "training": {"steps": 6, "batch_size": 4, "checkpoint_every": 2, "log_every": 1, "precision": "fp32"},
    "evaluation": {"resamples": 200},
}
SHORT_OPTIONS = [
    text
    for section, values in SHORT.items()
    for name, value in values.items()
    for text in ("--set", f"{section}.{name}={value}")
]


def save_photo(path: Path, seed: int, side: int = 40) -> Path:
    """A smooth random colour picture; different seeds give unlike pictures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((side + 8, side), Image.Resampling.BICUBIC).save(path)
    return path


def make_photos(folder: Path) -> Path:
    """FOLDER/{cats,dogs,birds}/*.png: 3 cats, 5 dogs and 2 birds, none like another."""
    for label, first, count in (("cats", 100, 3), ("dogs", 200, 5), ("birds", 300, 2)):
        for number in range(count):
            save_photo(folder / label / f"{label}-{number}.png", first + number)
    return folder


def make_model(folder: Path, seed: int = 0) -> Path:
    """An untrained tiny masked autoencoder, saved as transformers saves it."""
    from efface.generators.mae.generator import MaeGenerator

    MaeGenerator.new(seed, **TINY).save_pretrained(folder)
    return folder


def with_note(model: Path, folder: Path, **crops: Any) -> Path:
    """A copy of a saved model that says with which crops it was trained."""
    shutil.copytree(model, folder)
    (folder / TRAINING_NOTE).write_text(json.dumps({"crops": {"per_image": None, **crops}}))
    return folder


def in_a_process(
    *arguments: str, before: str = "", env: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """The command line in a process of its own, after the statements `before`."""
    code = f"{before}\nfrom efface.cli import main\nmain()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def texts_of(run: Path) -> dict[str, str]:
    """Every file of a run that others may be shown, as text."""
    names = [
        "record.json",
        "results.json",
        "results.csv",
        "per_image.csv",
        "worst.json",
        "verdict.json",
        "report.html",
    ]
    files = [run / name for name in names] + sorted((run / "manifests").glob("*.jsonl"))
    return {str(file.relative_to(run)): file.read_text(encoding="utf-8") for file in files}
