"""One unlearning step of a ViT-B/16 masked autoencoder at 224 px: efface against a plain loop.

The plain loop is what a user would write first: fp32, the whole model forward and backward, the teacher's
whole forward on every image and again on its noise. Both see the same photos; efface's time includes
reading and cropping them. Steps are timed in turn, by the clock and by the processor time of all threads, and ratios
are taken pair by pair. Beside other work only the latter, on one thread (OMP_NUM_THREADS=1), says something.

    python benchmarks/unlearning_step.py --mask-ratio 0.75 --batch 8
    python benchmarks/unlearning_step.py --mask-ratio 0.25 --batch 8
    python benchmarks/unlearning_step.py --smoke
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator
from torch.utils.flop_counter import FlopCounterMode
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from efface.corruptions.patches import RandomPatches
from efface.generators.mae.family import SIZES, MaeArchitecture
from efface.generators.mae.generator import MaeGenerator
from efface.images.cache import PixelCache
from efface.images.sources import open_images
from efface.methods.generator.encoder_noise import EncoderNoise
from efface.training.data import Data, pixel_moments
from efface.training.optimisation import accelerator, autocast_precision, has_bf16
from efface.training.phases import Batch, Training
from efface.training.settings import TrainingSettings
from efface.training.step import FiniteCheck, Step
from machine import add_options, finish, ratios, spread

ALPHA = 0.25
STEPS_EACH_TURN = 2


class PlainLoop:
    """The first loop that comes to mind, on plain transformers."""

    def __init__(self, model: ViTMAEForPreTraining, images: torch.Tensor) -> None:
        self.student = model
        self.teacher = copy.deepcopy(model).eval()
        self.images = images
        self.optimizer = torch.optim.AdamW(self.student.parameters(), lr=5e-5)

    def loss(self) -> torch.Tensor:
        images = self.images
        half = len(images) // 2
        patches = torch.rand(len(images), self.student.vit.embeddings.patch_embeddings.num_patches)
        patches = patches.to(images.device)
        with torch.no_grad():
            clean = self.teacher(images, noise=patches).logits
            noised = self.teacher(torch.randn_like(images), noise=patches).logits
        found = self.student(images, noise=patches).logits
        retain = torch.nn.functional.mse_loss(found[:half], clean[:half])
        forget = torch.nn.functional.mse_loss(found[half:], noised[half:])
        return retain + ALPHA * forget

    def step(self) -> None:
        self.loss().backward()
        torch.nn.utils.clip_grad_norm_(self.student.parameters(), 3.0)
        self.optimizer.step()
        self.optimizer.zero_grad()


def timed(step: Callable[[], Any], count: int, device: torch.device) -> tuple[float, float]:
    """Mean seconds of `count` steps after one that is not counted: by the clock, and of the processor."""
    step()
    wait(device)
    began, worked = time.perf_counter(), time.process_time()
    for _ in range(count):
        step()
    wait(device)
    return (time.perf_counter() - began) / count, (time.process_time() - worked) / count


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def saved_bytes(forward: Callable[[], torch.Tensor], known: set[int]) -> int:
    """Bytes that autograd keeps for the backward pass, without weights (`known` storages)."""
    seen: dict[int, int] = {}
    kept = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            seen[storage.data_ptr()] = storage.nbytes()
            kept.append(tensor)  # keeps the address from being used again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        forward()
    return sum(seen.values())


def matrix_peak(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """Best measured FLOP/s of a square matrix product."""
    a = torch.randn(side, side, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(8):
        wait(device)
        began = time.perf_counter()
        a @ a
        wait(device)
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=sorted(SIZES), default="base")
    parser.add_argument("--mask-ratio", type=float, default=0.75)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    add_options(parser)
    options = parser.parse_args()
    if options.smoke:
        options.size, options.batch, options.pairs = "tiny", 4, 1
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shape = MaeArchitecture(**SIZES[options.size], mask_ratio=options.mask_ratio)
    generator = MaeGenerator.new(0, **shape.transformers_config()).to(device)
    plain_model = ViTMAEForPreTraining(ViTMAEConfig(**shape.transformers_config())).to(device)
    photos = open_images("bundled")
    half = len(photos) // 2
    sets = {"forget": photos.subset(range(half)), "retain": photos.subset(range(half, len(photos)))}
    with tempfile.TemporaryDirectory() as folder, PixelCache(folder, 256) as cache:
        cache.add(photos)
        settings = TrainingSettings(batch_size=options.batch, precision="auto", compile=options.compile)
        (phase,) = EncoderNoise(alpha=ALPHA).phases()
        assert isinstance(phase, Training)
        corruption = RandomPatches(options.mask_ratio)
        data = Data(sets, cache, pixel_moments(sets["forget"], cache))
        process = accelerator(settings)
        generator.set_trained(phase.trained)
        generator.keep_teacher(phase.trained, autocast_precision(process))
        step, finite = Step(generator, phase, data, settings, 0, process), FiniteCheck(device)
        crops = step.streams.steps(0, options.pairs * (1 + STEPS_EACH_TURN))
        plain = PlainLoop(
            plain_model, torch.randn(options.batch, 3, shape.image_size, shape.image_size, device=device)
        )
        ours, theirs = [], []
        for _ in range(options.pairs):
            ours.append(timed(lambda: step(next(crops), 0.0, finite), STEPS_EACH_TURN, device))
            theirs.append(timed(plain.step, STEPS_EACH_TURN, device))
        memory = measure_memory(process, generator, plain, phase, corruption, options.batch)
        flops = step_flops(generator, phase, corruption, options.batch, process)
    (ours_by_clock, ours), (theirs_by_clock, theirs) = (
        list(zip(*both, strict=True)) for both in (ours, theirs)
    )
    dtype = torch.bfloat16 if has_bf16() else torch.float32
    peak = matrix_peak(device, dtype, 8192 if device.type == "cuda" else 2048)
    finish(
        f"unlearning_step_{device.type}_mask{options.mask_ratio:g}_batch{options.batch}",
        {
            "times_faster": ratios(theirs_by_clock, ours_by_clock),
            "times_faster_processor_time": ratios(theirs, ours),
            "seconds_efface": spread(ours_by_clock),
            "seconds_plain_loop": spread(theirs_by_clock),
            "processor_seconds_efface": spread(ours),
            "processor_seconds_plain_loop": spread(theirs),
            "pairs": options.pairs,
            **memory,
            "flops_of_a_step": flops,
            "share_of_matrix_peak": round(flops / min(ours_by_clock) / peak, 4),
            "matrix_peak_flops": peak,
        },
        options,
    )


def one_batch(generator: MaeGenerator, corruption: RandomPatches, batch: int) -> Batch:
    """A balanced batch of random pictures with its views."""
    from efface.generators.base import PixelMoments
    from efface.randomness import Draws

    def view(name: str) -> Any:
        ids = tuple(f"{name}{number}" for number in range(batch // 2))
        pictures = torch.rand(len(ids), 3, generator.image_size, generator.image_size)
        return generator.view(pictures, corruption, Draws(0, ids, (0,) * len(ids)))

    moments = PixelMoments(torch.full((3,), 0.5), torch.full((3,), 0.25))
    return Batch({"retain": view("retain"), "forget": view("forget")}, moments)


def measure_memory(
    process: Accelerator,
    generator: MaeGenerator,
    plain: PlainLoop,
    phase: Any,
    corruption: RandomPatches,
    batch: int,
) -> dict[str, Any]:
    """What autograd keeps in each of the two, beyond the weights."""
    generator.set_trained(phase.trained)
    generator.keep_teacher(phase.trained)
    inputs = one_batch(generator, corruption, batch)
    known = {p.untyped_storage().data_ptr() for p in generator.network.parameters()}
    with process.autocast():
        ours = saved_bytes(lambda: phase.loss(generator, inputs).total, known)
    generator.drop_teacher()
    known = {p.untyped_storage().data_ptr() for p in plain.student.parameters()}
    theirs = saved_bytes(plain.loss, known)
    return {
        "activation_bytes_efface": ours,
        "activation_bytes_plain_loop": theirs,
        "activation_share": round(ours / theirs, 4),
    }


def step_flops(
    generator: MaeGenerator, phase: Any, corruption: RandomPatches, batch: int, process: Accelerator
) -> int:
    """Matrix FLOPs of one of efface's steps: student forward and backward, teacher forward."""
    generator.set_trained(phase.trained)
    generator.keep_teacher(phase.trained)
    inputs = one_batch(generator, corruption, batch)
    with FlopCounterMode(display=False) as counter, process.autocast():
        phase.loss(generator, inputs).total.backward()
    generator.drop_teacher()
    generator.zero_grad(set_to_none=True)
    return int(counter.get_total_flops())


if __name__ == "__main__":
    main()
