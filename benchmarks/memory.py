"""Peak memory, and whether what saves it computes the same: training a ViT-S/16 at 224 px, and measuring a classifier.

Each variant has processes of its own: resident memory before, and at its peak, after a smaller run of the same kind; memory
that is freed goes back to the system (MALLOC_MMAP_THRESHOLD_). Steps are those of `encoder-noise` in fp32 with AdamW on
bundled photos. `weights_apart` is the largest difference of a weight from that of the whole batch in one process, without
the biases of attention keys, whose gradient is rounding alone; `weights_moved` how far training moved one. Of two processes
the one that held more is given. Pictures of the measuring are random: memory does not depend on what they show.

    python benchmarks/memory.py
    python benchmarks/memory.py --smoke
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

from efface.classifiers.classifier import Classifier, logits_of
from efface.generators.mae.family import SIZES, MaeArchitecture
from efface.generators.mae.generator import MaeGenerator
from efface.images.labelled import LabelledImages
from efface.images.sources import open_images
from efface.memory import PIXELS, Room, within
from efface.methods.generator.encoder_noise import EncoderNoise
from efface.training.data import Data
from efface.training.loop import Trainer
from efface.training.optimisation import accelerator
from efface.training.settings import TrainingSettings
from machine import add_options, finish
from measuring import data_of, peak_memory

STEPS: dict[str, dict[str, Any]] = {
    "whole batch": {},
    "4 micro-batches": {"gradient_accumulation": 4},
    "16 micro-batches": {"gradient_accumulation": 16},
    "activation checkpointing": {"activation_checkpointing": True},
    "two processes, whole in each": {},
    "two processes, shared out": {"shard": True},
}
TWO = "two processes"
MEASURING = {"measuring by pixels": PIXELS, "measuring all at once": 192 * 224 * 224}
"""Bounds on the pixels of a batch: the usual one, and none for all images."""
TAKEN, BATCH, MEASURED, SIDE = 2, 32, 192, 224
VIT_S = {**SIZES["base"], "hidden_size": 384, "heads": 6}


def steps(name: str, smoke: bool, weights: Path) -> dict[str, float]:
    """Memory of a few steps; the weights afterwards are written to `weights`."""
    shape = MaeArchitecture(**(SIZES["tiny"] if smoke else VIT_S))
    generator, batch = MaeGenerator.new(0, **shape.transformers_config()), 4 if smoke else BATCH
    settings = TrainingSettings(batch_size=batch, steps=TAKEN, precision="fp32", **STEPS[name])
    small = settings.model_copy(update={"batch_size": 4, "gradient_accumulation": 1, "steps": 1})

    def train(data: Data, chosen: TrainingSettings) -> None:
        Trainer(generator, EncoderNoise().phases(), data, chosen, 0, accelerator(chosen)).run()

    with data_of(open_images("bundled"), generator) as data:
        train(data, small)
        began = {name: tensor.clone() for name, tensor in generator.weights().items()}
        found = peak_memory(lambda: train(data, settings))
    if first_process():
        torch.save({"began": began, "ended": dict(generator.weights())}, weights)
    return found


def measuring(name: str, smoke: bool) -> dict[str, float]:
    """Memory of the logits that a MobileNetV2 of ImageNet's size gives."""
    images, side = (24, 32) if smoke else (MEASURED, SIDE)
    network = MobileNetV2ForImageClassification(MobileNetV2Config(image_size=side, num_labels=1001))
    model = Classifier(network, classes=tuple(map(str, range(1001))), image_size=side, channels=3)
    pixels = np.random.default_rng(0).integers(0, 256, (images, 3, side, side), dtype=np.uint8)
    shown = LabelledImages(pixels, np.zeros(images, np.int64), tuple(map(str, range(images))))
    logits_of(model, shown.subset(range(2)))
    with within(Room(MEASURING[name] * side * side // SIDE**2)):
        return peak_memory(lambda: logits_of(model, shown))


def first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


def alone(name: str, smoke: bool, weights: Path) -> dict[str, float]:
    """A variant in processes of its own: of two, what the one that grew more held."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"] if TWO in name else []
    asked = ["--variant", name, "--weights", str(weights), *(["--smoke"] if smoke else [])]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(
        [sys.executable, *launcher, __file__, *asked],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        check=True,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    found: dict[str, float] = max(lines, key=lambda line: line["grown_mib"])
    return found


def furthest(some: dict[str, Tensor], others: dict[str, Tensor]) -> float:
    """The largest difference of a weight."""
    names = [name for name in some if not name.endswith(("key.bias", "k_proj.bias"))]
    return max(float((some[name] - others[name]).abs().max()) for name in names)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    parser.add_argument("--weights", type=Path, help=argparse.SUPPRESS)
    add_options(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if name := options.variant:
        found = (
            measuring(name, options.smoke)
            if name in MEASURING
            else steps(name, options.smoke, options.weights)
        )
        # in one piece: two processes write to the same place
        sys.stdout.write(f"{json.dumps(found)}\n")
        sys.stdout.flush()
        return
    results: dict[str, dict[str, float]] = {}
    with TemporaryDirectory() as folder:
        of_whole = Path(folder) / "whole batch"
        for name in [*STEPS, *MEASURING]:
            found = alone(name, options.smoke, place := Path(folder) / name)
            if name in STEPS:
                trained, whole = torch.load(place), torch.load(of_whole)
                found["weights_apart"] = furthest(trained["ended"], whole["ended"])
                found["weights_moved"] = furthest(whole["ended"], whole["began"])
            results[name] = found
            print(name, found, flush=True)
    finish("memory", {"steps": TAKEN, "batch": BATCH, "measured": MEASURED, "variants": results}, options)


if __name__ == "__main__":
    main()
