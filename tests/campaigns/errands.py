"""What is disturbed: one small command of each kind, and what must be the same however often it was disturbed."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from campaigns.faults import Act, Fault, Watch
from support.classifier_fixtures import FINE_TUNE, SMALL, make_digits
from support.family_runs import FEW
from support.forked import Forked, command_line
from support.run_making import SHORT_OPTIONS, make_model, make_photos

TIMES = {
    "at", "digest", "durations", "finished", "probing", "resumed_from", "run_seconds", "seconds", "seconds_per_step",
    "started", "step_seconds", "time_share", "wall_seconds",
}  # fmt: skip
"""Names of what may differ between two runs of the same command: when, how long, and digests over these."""
MAE = {
    "generator": "mae",
    "architecture": {
        "image_size": 32, "hidden_size": 32, "layers": 1, "heads": 2, "decoder_hidden_size": 32, "decoder_layers": 1,
        "decoder_heads": 2,
    },
    "training": FEW,
}  # fmt: skip
CLASSIFIERS: dict[str, Any] = {
    "task": {
        "images": {"data": "digits", "limit": 40},
        "network": {"network": "small-conv", "width": 2},
        "recipe": {"epochs": 1, "class_weights": False},
    },
    "methods": [{"name": "fine-tune", "epochs": 1}],
    "models": 8,
    "originals": 1,
    "tuning": {"trials": 2, "models": 2, "references": 4},
    "setups": ["reuse-n-1"],
    "engine": "in-line",
}
GENERATORS: dict[str, Any] = {
    "task": {
        "images": {"data": "digits", "forget": "random:12", "limit": 60, "limit_test": 40},
        "generator": "mae",
        "architecture": {
            "image_size": 8, "patch_size": 2, "hidden_size": 16, "layers": 1, "decoder_hidden_size": 16,
            "decoder_layers": 1,
        },
        "training": {"steps": 2, "batch_size": 8},
        "unlearning": {"steps": 1},
        "measured": 8,
        "pictures": 1,
    },
    "methods": ["fine-tune", "blank"],
    "models": 2,
    "engine": "in-line",
}  # fmt: skip


@dataclass(frozen=True)
class Errand:
    """A command of efface that writes into a folder `out`."""

    name: str
    arguments: tuple[object, ...]

    def into(self, out: Path) -> tuple[str, ...]:
        return (*map(str, self.arguments), "--out", str(out))


@dataclass(frozen=True)
class Ending:
    """How a disturbed process ended."""

    code: int
    said: str
    acts: list[Act]


def make_errands(folder: Path) -> dict[str, Errand]:
    """The commands by name; their models, images and configs are made in `folder`."""
    photos, model, digits = (
        make_photos(folder / "photos"),
        make_model(folder / "tiny-mae"),
        make_digits(folder / "digits"),
    )
    sets = ("--images", photos, "--forget", "label:cats", "--neutral", "label:birds")
    first = Errand("a classifier", ("train", "--images", digits.train, *options(SMALL)))
    ending = carry_out(first, folder / "classifier", folder / "scratch")
    assert ending.code == 0, ending.said
    labelled = ("--images", digits.train, "--forget", digits.forget, "--neutral", digits.test)
    forgetting = {"method": FINE_TUNE, "images.copy_agreement": 1, "evaluation.resamples": 200}
    benches = {"bench classifiers": CLASSIFIERS, "bench generators": GENERATORS}
    for name, values in benches.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    errands = [
        Errand(
            "unlearn generator", ("unlearn", model, *sets, *SHORT_OPTIONS, "--require", "retain-error<=9x")
        ),
        Errand(
            "unlearn classifier",
            (
                "unlearn",
                folder / "classifier" / "model",
                *labelled,
                *options(forgetting),
                "--probe",
                "relearning",
            ),
        ),
        Errand("train", ("train", "--images", photos, "--neutral", "label:birds", *options(MAE))),
        *(Errand(name, (*name.split(), folder / f"{name}.yaml")) for name in benches),
    ]
    return {errand.name: errand for errand in errands}


def options(values: dict[str, Any]) -> tuple[str, ...]:
    """Settings as options of the command line."""
    return tuple(text for name, value in values.items() for text in ("--set", f"{name}={json.dumps(value)}"))


def carry_out(
    errand: Errand, out: Path, scratch: Path, fault: Fault = "none", at: int | None = None
) -> Ending:
    """The command in a process of its own, forked from a warm one, with a fault at its `at`-th act."""
    scratch.mkdir(parents=True, exist_ok=True)
    process = Forked(scratch, disturbed, errand.into(out), out.parent, scratch / "acts.json", fault, at)
    printed, errors = process.communicate(timeout=300)
    file = scratch / "acts.json"
    acts = [Act(**values) for values in json.loads(file.read_text())] if file.exists() else []
    code = process.returncode
    assert code is not None
    return Ending(code, printed + errors, acts)


def disturbed(arguments: tuple[str, ...], root: Path, acts: Path, fault: Fault, at: int | None) -> None:
    """The command line with a fault; charts are left empty, and the key of keyed ids is always the same."""
    import secrets

    from efface.reports.canvas import UNDRAWN

    secrets.token_hex = lambda count=32: "ab" * count
    UNDRAWN.set(True)
    os.chdir(root)
    tempfile.tempdir = str(root)
    watch = Watch(root, fault, at)
    watch.begin()
    try:
        command_line(arguments)
    finally:
        watch.write(acts)


def what_lies_in(out: Path) -> dict[str, Any]:
    """Every file of the folder by its name, in a form that may be compared: without times, pages by their name alone."""
    return {
        str(path.relative_to(out)): _content(path)
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in ("log.jsonl", ".lock")
    }


def unlike(one: Any, other: Any, where: str = "") -> list[str]:
    """What differs between the contents of two folders: the names of files, and inside of JSON those of entries."""
    if one == other:
        return []
    if isinstance(one, dict) and isinstance(other, dict):
        return [
            line
            for name in sorted(one | other)
            for line in unlike(one.get(name), other.get(name), f"{where} {name}".strip())
        ]
    return [where]


def _content(path: Path) -> Any:
    if path.suffix in (".html", ".md"):
        return "a page"
    if path.name == "seal.json":
        # its digests are of files that hold times
        return sorted(json.loads(path.read_text(encoding="utf-8"))["files"])
    if path.suffix == ".json":
        return _without_times(json.loads(path.read_text(encoding="utf-8")))
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: arrays[name].tobytes() for name in arrays if name not in TIMES}
    lines = path.read_bytes().splitlines()
    return [line for line in lines if b",time_share," not in line] if path.suffix == ".csv" else lines


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_times(inner) for name, inner in value.items() if name not in TIMES}
    return [_without_times(inner) for inner in value] if isinstance(value, list) else value
