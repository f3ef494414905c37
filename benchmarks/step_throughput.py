"""Images a second of each family's unlearning step, and its share of the fastest measured matrix product.

Meant for a GPU, where it takes the first one; on a CPU it runs the same way. Each family is run at its `base` shape as
the trainer runs it (`mage` once with its codes at hand and once with every crop new), in bf16 where the hardware
computes in it. A step's matrix operations are counted by torch, over all that it runs: student, teacher and first
stage. Nothing is compared here; for that there are the benchmarks of each family's step.

    python benchmarks/step_throughput.py --batch 64 [--compile] [--families mage palette mae]
    python benchmarks/step_throughput.py --smoke
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import gc
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from efface.generators import registry
from efface.methods.generator.encoder_noise import EncoderNoise
from efface.training.phases import Training
from efface.training.settings import TrainingSettings
from efface.training.step import FiniteCheck, Step
from machine import finish, spread
from measuring import bundled_data, computing_device, prepared_step, run_steps, step_parser
from unlearning_step import matrix_peak, wait

FAMILIES = ("mage", "palette", "mae")
STEPS = 3


def main() -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--size", default="base")
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    if options.smoke:
        options.size, options.batch, options.pairs = "tiny", 4, 1
    device = computing_device()
    side = 8192 if device.type == "cuda" else 1024
    peaks = {kind: matrix_peak(device, kind, side) for kind in (torch.float32, torch.bfloat16)}
    found = {}
    for name in options.families:
        cases: dict[str, int | None] = {name: None}
        if name == "mage":
            cases = {"mage, codes at hand": 1, "mage, new crops": None}
        for case, crops in cases.items():
            found[case] = measured(name, crops, options, device, peaks)
            gc.collect()
            if device.type == "cuda":
                torch.cuda.empty_cache()
    finish(
        f"step_throughput_{device.type}_{options.size}_batch{options.batch}",
        {
            "families": found,
            "matrix_peak_flops": {str(kind).removeprefix("torch."): peak for kind, peak in peaks.items()},
            "batch": options.batch,
            "compiled": options.compile,
        },
        options,
    )


def measured(
    name: str,
    crops: int | None,
    options: argparse.Namespace,
    device: torch.device,
    peaks: dict[torch.dtype, float],
) -> dict[str, Any]:
    """Speed, matrix operations and memory of one family's step."""
    family = registry.FAMILIES.named(name)
    generator = family.new(family.architecture.read(family.sizes[options.size]), 0)
    (phase,) = EncoderNoise().phases()
    assert isinstance(phase, Training)
    settings = TrainingSettings(batch_size=options.batch, crops_per_image=crops, compile=options.compile)
    with bundled_data(generator, phase, settings) as data, TemporaryDirectory() as folder:
        step = prepared_step(generator, phase, data, settings, Path(folder) if crops else None)
        # the same steps first: compilation, the optimizer's states, tokens of noise pictures
        run_steps(step, STEPS)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds = []
        for _ in range(options.pairs):
            began = time.perf_counter()
            run_steps(step, STEPS)
            wait(device)
            seconds.append((time.perf_counter() - began) / STEPS)
        memory = torch.cuda.max_memory_allocated() // 2**20 if device.type == "cuda" else None
        flops = None if options.compile else matrix_operations(step)
    precision = torch.bfloat16 if step.accelerator.mixed_precision == "bf16" else torch.float32
    return {
        "images_per_second": spread([options.batch / value for value in seconds]),
        "matrix_operations_of_a_step": flops,
        "share_of_matrix_peak": None if flops is None else round(flops / min(seconds) / peaks[precision], 4),
        "precision": str(precision).removeprefix("torch."),
        "image_size": generator.image_size,
        "gpu_memory_mib": memory,
    }


def matrix_operations(step: Step) -> int:
    """Of one whole step, counted while it runs."""
    crops = next(iter(step.streams.steps(0, 1)))
    with FlopCounterMode(display=False) as counter:
        step(crops, 0.0, FiniteCheck(step.generator.device))
    return int(counter.get_total_flops())


if __name__ == "__main__":
    main()
