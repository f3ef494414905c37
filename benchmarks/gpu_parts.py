"""The parts of `gpu.py`.

Each prints what it knows so far as a line of JSON, the last of a name counts: so a part that is ended loses little.
"""

from __future__ import annotations

import copy
import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from pydantic import JsonValue
from torch.utils.flop_counter import FlopCounterMode

from efface.benchmark.classifiers.kind import CLASSIFIERS
from efface.benchmark.classifiers.task import task_named
from efface.benchmark.engines import ProcessEngine
from efface.benchmark.pool import Pool
from efface.errors import Stopped
from efface.generators import registry
from efface.generators.base import Generator, mean_squares
from efface.images.items import ImageSet
from efface.images.sources import open_images
from efface.methods.base import weighted
from efface.methods.generator.encoder_noise import EncoderNoise
from efface.progress import Progress
from efface.testing.models import changed, weights_of
from efface.training.data import Data
from efface.training.loop import Trainer
from efface.training.optimisation import accelerator
from efface.training.phases import Batch, Loss, Training
from efface.training.settings import TrainingSettings
from efface.training.step import FiniteCheck, Step
from machine import ratios, spread
from measuring import computing_device, data_of, in_turn, per_image, prepared_step, run_steps
from oracle_pool import made_up, timed
from unlearning_step import matrix_peak

ALPHA, PAIRS, WARM, READ = 0.25, 5, 2, 4
TESTS = Path(__file__).parents[1] / "tests" / "gpu"


@dataclass(frozen=True)
class Case:
    """One family's step at the size of released models.

    noise: what the plain loop draws afresh for every picture; crops: of each image, None for a new one at every visit.
    """

    family: str
    batch: int
    shape: Mapping[str, JsonValue] = field(default_factory=lambda: {"size": "base"})
    noise: str = "standard-normal"
    crops: Mapping[str, int | None] = field(default_factory=lambda: {"": None})


STABLE_DIFFUSION: Mapping[str, JsonValue] = {
    "image_size": 512,
    "vae_channels": [128, 256, 512, 512],
    "unet_channels": [320, 640, 1280, 1280],
    "layers": 2,
    "head_dim": 40,
}
"""The widths of Stable Diffusion 1; without its text encoder."""
CASES = {
    "mae": Case("mae", 64),
    "palette": Case("palette", 12),
    "mage": Case("mage", 32, noise="batch-matched", crops={"codes at hand": 1, "every crop new": None}),
    "latent-inpainting": Case(
        "latent-inpainting", 8, STABLE_DIFFUSION, crops={"codes at hand": 1, "every crop new": None}
    ),
}


def measure(part: str, small: bool) -> None:
    """Measure one part of `gpu.PARTS`."""
    if part in CASES:
        steps(CASES[part], small)
    elif part == "mae-compiled":
        steps(CASES["mae"], small, compiled=True)
    else:
        {"pool": pool, "resume": resume, "tests": tests}[part](small)


def steps(case: Case, small: bool, compiled: bool = False) -> None:
    """Speed, memory and share of the matrix peak of one family's step, beside the plain loop."""
    family, device = registry.FAMILIES.named(case.family), computing_device()
    shape: Mapping[str, JsonValue] = {"size": "tiny"} if small else case.shape
    generator = family.new(family.shape(shape), 0)
    batch = 4 if small else case.batch
    peak = matrix_peak(device, torch.bfloat16, 8192 if device.type == "cuda" else 512)
    found: dict[str, Any] = {}
    for name, crops in case.crops.items():
        with TemporaryDirectory() as folder, generated_data(Path(folder), generator, 2 * batch) as data:
            for tried in halved(batch):
                bench = StepBench(case, generator, data, Path(folder), tried, crops, compiled)
                try:
                    for values in bench.measured(peak, 1 if small else PAIRS):
                        found[name] = {**values, "batch_halved_to_fit": tried != batch}
                        print(json.dumps({"steps": found}), flush=True)
                    break
                except torch.cuda.OutOfMemoryError:
                    print(f"a batch of {tried} does not fit", file=sys.stderr)
                del bench
                gc.collect()
                torch.cuda.empty_cache()


def halved(batch: int) -> list[int]:
    """`batch` and its halves, as long as both streams get an image.

    >>> halved(12)
    [12, 6]
    """
    sizes = [batch]
    while sizes[-1] % 4 == 0:
        sizes.append(sizes[-1] // 2)
    return sizes


class StepBench:
    """efface's step and the plain loop on one family's network."""

    def __init__(
        self,
        case: Case,
        generator: Generator,
        data: Data,
        folder: Path,
        batch: int,
        crops: int | None,
        compiled: bool,
    ) -> None:
        self.case, self.data, self.folder = case, data, folder
        self.generator, self.other = copy.deepcopy(generator), copy.deepcopy(generator)
        self.batch, self.crops, self.compiled = batch, crops, compiled
        self.device = computing_device()

    def measured(self, peak: float, pairs: int) -> Iterator[dict[str, Any]]:
        """What is known after each pair of turns."""
        memory: dict[str, int] = {}
        with self._memory(memory, "efface"):
            step = self._efface()
            run_steps(step, WARM)
        # asked now: accelerate keeps one precision for the whole process, and the plain loop's is another
        precision = "bf16" if step.accelerator.mixed_precision == "bf16" else "fp32"
        flops = None if self.compiled else matrix_operations(step)
        with self._memory(memory, "plain loop"):
            plain = self._plain()
            run_steps(plain, WARM)
        values: dict[str, Any] = {
            "family": self.case.family,
            "image_size": self.generator.image_size,
            "parameters": sum(one.numel() for one in self.generator.network.parameters()),
            "batch": self.batch,
            "precision": precision,
            "matrix_operations_of_a_step": flops,
            "matrix_peak_flops": peak,
        }
        if self.device.type == "cuda":
            values["memory_mib"] = memory
        calls: dict[str, Callable[[], None]] = {
            "efface": on_read_crops(step),
            "with reading": partial(run_steps, step, READ),
            "plain loop": on_read_crops(plain),
        }
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for turn in range(pairs):
            order = list(calls) if turn % 2 == 0 else list(reversed(calls))
            for name, took in in_turn({name: calls[name] for name in order}, 1, self.device, False).items():
                seconds[name] += per_image(took, READ) if name == "with reading" else took
            best = min(seconds["efface"])
            yield {
                **values,
                "pairs": turn + 1,
                "images_per_second": spread([self.batch / value for value in seconds["efface"]]),
                "with_reading": spread([self.batch / value for value in seconds["with reading"]]),
                "plain_loop": spread([self.batch / value for value in seconds["plain loop"]]),
                "times_faster": ratios(seconds["plain loop"], seconds["efface"]),
                "share_of_matrix_peak": None if flops is None else round(flops / best / peak, 4),
            }

    def _efface(self) -> Step:
        settings = TrainingSettings(
            batch_size=self.batch,
            crops_per_image=self.crops,
            compile=self.compiled,
            threads=min(8, os.cpu_count() or 1),
        )
        codes = self.folder / "codes" if self.crops else None
        return prepared_step(self.generator, encoder_noise(), self.data, settings, codes)

    def _plain(self) -> Step:
        settings = TrainingSettings(batch_size=self.batch, precision="fp32")
        phase = replace(encoder_noise(), loss=partial(plain_loss, noise=self.case.noise), trained="all")
        return prepared_step(self.other, phase, self.data, settings)

    @contextmanager
    def _memory(self, found: dict[str, int], name: str) -> Iterator[None]:
        """The most memory of the GPU, in MiB, that the block takes beyond what is held before."""
        if self.device.type != "cuda":
            yield
            return
        before = torch.cuda.memory_allocated() if found else 0
        torch.cuda.reset_peak_memory_stats()
        yield
        found[name] = (torch.cuda.max_memory_allocated() - before) // 2**20


def encoder_noise() -> Training:
    (phase,) = EncoderNoise(alpha=ALPHA).phases()
    assert isinstance(phase, Training)
    return phase


def plain_loss(student: Generator, batch: Batch, noise: Any) -> Loss:
    """What a user would write first: outputs of whole models, the teacher's on every picture and again on its noise."""
    retain, forget = batch.views["retain"], batch.views["forget"]
    shown = retain.join(forget)
    noised = retain.join(student.noise_view(forget, noise, batch.moments_for(noise)))
    with student.teacher():
        clean, wanted = student.predict(shown), student.predict(noised)
    outputs, half = student.predict(shown), len(retain)
    return weighted(
        mean_squares(outputs[:half], clean[:half]).mean(),
        mean_squares(outputs[half:], wanted[half:]).mean(),
        ALPHA,
    )


def on_read_crops(step: Step) -> Callable[[], None]:
    """The step at a rate of zero, on crops that are at hand."""
    crops, finite = next(iter(step.streams.steps(0, 1))), FiniteCheck(step.generator.device)

    def run() -> None:
        step(crops, 0.0, finite)

    return run


def matrix_operations(step: Step) -> int:
    """Of one whole step, counted while it runs: student, teacher and first stage."""
    with FlopCounterMode(display=False) as counter:
        on_read_crops(step)()
    return int(counter.get_total_flops())


def pool(small: bool) -> None:
    """Several workers that train small models on one device, against one worker."""
    runs, workers = (2, 2) if small else (12, 6)
    devices = ("cuda:0",) if torch.cuda.is_available() else ()
    with TemporaryDirectory() as folder:
        task = task_named("digits") if small else made_up(Path(folder) / "images", 2000, 32, 3)
        what = "networks of the digits task" if small else "ResNet-18 at 32 px, 2,000 images, 3 epochs"
        found: dict[str, Any] = {"what": what, "runs": runs, "workers": workers}
        engine = ProcessEngine(workers=workers, devices=devices)
        together = timed(Pool(Path(folder) / "together", task, CLASSIFIERS), engine, runs) / runs
        found["seconds_a_run"] = {f"{workers} workers": round(together, 3)}
        print(json.dumps(found), flush=True)
        few = max(1, runs // 3)
        one = ProcessEngine(workers=1, devices=devices)
        alone = timed(Pool(Path(folder) / "alone", task, CLASSIFIERS), one, few) / few
        found["seconds_a_run"]["1 worker"] = round(alone, 3)
        print(json.dumps({**found, "times_faster": round(alone / together, 3)}), flush=True)


def resume(small: bool) -> None:
    """Stopped at two checkpoints and continued: bit for bit the weights of an uninterrupted run?"""
    found: dict[str, Any] = {}
    for name in CASES:
        family = registry.FAMILIES.named(name)
        generator = family.new(family.shape({"size": "tiny"}), 0)
        with TemporaryDirectory() as folder, generated_data(Path(folder), generator, 8) as data:
            ends = []
            for stops in ((), (), (2, 4)):
                ended = copy.deepcopy(generator)
                for stop in (*stops, None):
                    trained(ended, data, Path(folder) / "checkpoints" if stops else None, stop)
                    if stop is not None:
                        ended = copy.deepcopy(generator)
                ends.append(weights_of(ended))
        straight, repeated, resumed = ends
        assert changed(straight, weights_of(generator.to(computing_device())))
        found[name] = {
            "bit_equal": not changed(straight, resumed),
            "repeats": not changed(straight, repeated),
            "largest_difference": max(
                float((straight[key].float() - resumed[key].float()).abs().max()) for key in straight
            ),
        }
        print(json.dumps({"resumed": found}), flush=True)


def trained(generator: Generator, data: Data, folder: Path | None, stop: int | None) -> None:
    """Six steps from the last checkpoint in `folder`, or as far as step `stop`."""
    settings = TrainingSettings(steps=6, batch_size=4, learning_rate=1e-3, checkpoint_every=2, log_every=1)
    trainer = Trainer(
        generator,
        [encoder_noise()],
        data,
        settings,
        0,
        accelerator(settings),
        folder=folder,
        progress=_Stopping(stop),
    )
    try:
        trainer.run()
    except Stopped:
        assert stop is not None


class _Stopping(Progress):
    """Asks the trainer to stop once a step is done."""

    def __init__(self, step: int | None) -> None:
        super().__init__()
        self.step = step

    def log(self, event: str, **values: Any) -> None:
        if event == "step" and values["step"] == self.step:
            signal.raise_signal(signal.SIGTERM)


def tests(small: bool) -> None:
    """The tests that are marked `gpu`."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", str(TESTS)]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=TESTS.parents[1])
    lines = done.stdout.strip().splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    values = {"summary": lines[-1].strip("= ") if lines else done.stderr[-300:], "failed": failed}
    print(
        json.dumps(
            {**values, "exit_code": done.returncode, "test_seconds": round(time.monotonic() - began, 1)}
        )
    )


@contextmanager
def generated_data(folder: Path, generator: Generator, count: int) -> Iterator[Data]:
    """`count` made-up pictures, one half to be forgotten."""
    with data_of(generated_pictures(folder / "pictures", count, generator.image_size), generator) as data:
        yield data


def generated_pictures(folder: Path, count: int, side: int) -> ImageSet:
    """Smooth random colour pictures, each different, as PNG files a quarter larger than `side`."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for number in range(count):
        coarse = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((round(1.25 * side),) * 2, Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:04d}.png", compress_level=1)
    return open_images(folder)
