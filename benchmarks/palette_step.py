"""One unlearning step of a pixel diffusion model: the down path and middle alone, against the whole UNet.

Both take their loss from the same maps, for student and teacher. The other one also runs the up path of both, as the
released code does, which calls the whole network and picks the maps on the way. Each is run in fp32 and, where the
hardware computes in it, in bf16, all four in turn on the same crops, masks and noise.

    python benchmarks/palette_step.py --size base --pixels 64
    python benchmarks/palette_step.py --smoke
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from efface.generators.palette.checkpoint import new
from efface.generators.palette.family import SIZES, PaletteArchitecture
from efface.generators.palette.generator import PaletteGenerator
from efface.images.sources import open_images
from efface.methods.base import feature_distance, weighted
from efface.methods.generator.encoder_noise import EncoderNoise
from efface.training.data import CropBatch, Data
from efface.training.optimisation import has_bf16
from efface.training.phases import Batch, Loss, Training
from efface.training.settings import TrainingSettings
from efface.training.step import FiniteCheck, Step
from machine import finish, ratios, spread
from measuring import (
    computing_device,
    data_of,
    in_turn,
    memory_of_each,
    per_image,
    prepared_step,
    print_memory,
    run_steps,
    shortened,
    step_parser,
)
from unlearning_step import saved_bytes

if TYPE_CHECKING:
    from efface.generators.base import Generator

ALPHA = 0.25


def whole_network_loss(student: Generator, batch: Batch) -> Loss:
    """The loss of `encoder-noise` by a code that cannot stop behind the middle block."""
    retain, forget = batch.views["retain"], batch.views["forget"]
    noise = student.noise_view(forget, "standard-normal", batch.moments)
    shown, taught = retain.join(forget), retain.join(noise)
    with student.teacher():
        targets = student.encode(taught)
        student.decode(targets, taught)
    features = student.encode(shown)
    prediction = student.decode(features, shown)
    distance = feature_distance(features, targets, "mse")
    del prediction
    return weighted(distance[: len(retain)].mean(), distance[len(retain) :].mean(), ALPHA)


def unlearning_phase() -> Training:
    (phase,) = EncoderNoise(alpha=ALPHA).phases()
    assert isinstance(phase, Training)
    return phase


def variants() -> dict[str, tuple[Training, str]]:
    """The phase and the precision of each variant."""
    half = unlearning_phase()
    parts = {"down path": half, "whole network": replace(half, loss=whole_network_loss)}
    precisions = ["bf16", "fp32"] if has_bf16() else ["fp32"]
    return {
        f"{part}, {precision}": (phase, precision)
        for precision in precisions
        for part, phase in parts.items()
    }


def settings_of(options: argparse.Namespace, batch: int, precision: str) -> TrainingSettings:
    return TrainingSettings(batch_size=batch, precision=precision)  # type: ignore[arg-type]


def main() -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--size", choices=sorted(SIZES), default="base")
    parser.add_argument("--pixels", type=int, default=64)
    parser.set_defaults(batch=8, pairs=5, memory_batch=8)
    options = parser.parse_args()
    if options.smoke:
        options.size, options.pixels, options.pairs = "tiny", 32, 2
        options.batch = options.memory_batch = 4
    chosen, device = variants(), computing_device()
    memory = None if options.memory else memory_of_each(chosen, options.smoke)
    generator = new(PaletteArchitecture(**{**SIZES[options.size], "image_size": options.pixels}), 0)
    if options.memory:
        measure_memory(options, generator)
        return
    steps: dict[str, Step] = {}
    with data_of(open_images("bundled"), generator) as data:
        for name, (phase, precision) in chosen.items():
            settings = settings_of(options, options.batch, precision)
            steps[name] = prepared_step(copy.deepcopy(generator), phase, data, settings)
        calls: dict[str, Callable[[], None]] = {
            name: partial(run_steps, step, 1) for name, step in steps.items()
        }
        for call in calls.values():
            call()
        seconds = in_turn(calls, options.pairs, device, options.smoke)
        kept = {name: activation_bytes(step, chosen[name][0], data) for name, step in steps.items()}
    best = next(iter(chosen)).split(", ")[1]
    finish(
        f"palette_step_{device.type}_{options.size}_{options.pixels}px_batch{options.batch}",
        {
            "times_faster_than_the_whole_network": {
                precision: ratios(seconds[f"whole network, {precision}"], seconds[f"down path, {precision}"])
                for precision in dict.fromkeys(precision for _, precision in chosen.values())
            },
            "times_faster_than_fp32": ratios(seconds["down path, fp32"], seconds[f"down path, {best}"]),
            "times_faster_than_the_whole_network_in_fp32": ratios(
                seconds["whole network, fp32"], seconds[f"down path, {best}"]
            ),
            "seconds_per_image": {
                name: spread(per_image(values, options.batch)) for name, values in seconds.items()
            },
            "pairs": options.pairs,
            "batch": options.batch,
            "pixels": options.pixels,
            "activation_bytes": kept,
            "memory_batch": options.memory_batch,
            "memory": memory,
        },
        options,
    )


def measure_memory(options: argparse.Namespace, generator: PaletteGenerator) -> None:
    """Peak memory of one variant, in a process that ran no other."""
    phase, precision = variants()[options.memory]
    settings = settings_of(options, options.memory_batch, precision)
    with data_of(open_images("bundled"), generator) as data:
        step = prepared_step(generator, phase, data, settings)
        crops = next(iter(step.streams.steps(0, 1)))
        finite = FiniteCheck(generator.device)

        def run(some: CropBatch) -> None:
            step(some, 0.0, finite)

        print_memory(lambda: run(crops), lambda: run(shortened(crops, 1)), generator.device)


def activation_bytes(step: Step, phase: Training, data: Data) -> int:
    """What autograd keeps of a step beyond the weights."""
    generator = step.generator
    views = {
        stream: generator.view(batch.images, step.corruption, batch.draws)
        for stream, batch in next(iter(step.streams.steps(0, 1))).items()
    }
    known = {p.untyped_storage().data_ptr() for p in generator.network.parameters()}
    model = step.model  # with the autocast that it was prepared with
    return saved_bytes(lambda: model(Batch(views, data.moments))[0], known)


if __name__ == "__main__":
    main()
