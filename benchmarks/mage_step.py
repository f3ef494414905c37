"""One unlearning step of a MAGE ViT-B token model at 256 px: efface against the released way.

The released step is written here from its description: every image is tokenized for the student and once more
for the teacher, a noise image is tokenized for every image, the teacher runs on both, and losses are weighed by
label; fp32, since the release's autocast is CUDA's (on a GPU: fp16). It runs on efface's own network, with its fused
attention, and sees the same crops under the same masks. efface runs as its trainer does, in bf16 where the hardware
computes in it. Its views are those under the model's own masks, of whole pictures as released, with the codes of its crops
at hand and with every crop new, and of pictures with what is masked filled (`leaky: false`), of which only the targets can
be kept; and those under one hole, both of whose codes are at hand, beside the released step under the same hole.

What is computed once in a run is no part of a step's time but given beside it, and counted in `whole_run`: the codes
of the kept crops and the tokens of 256 noise pictures.

    python benchmarks/mage_step.py
    python benchmarks/mage_step.py --smoke
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import copy
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from efface.generators.mage.checkpoint import new
from efface.generators.mage.family import SIZES, MageArchitecture
from efface.generators.mage.generator import MageGenerator, MageView
from efface.generators.mage.network import MageModel
from efface.generators.mage.noise import ROWS
from efface.images.sources import open_images
from efface.methods.base import feature_distance
from efface.methods.generator.encoder_noise import EncoderNoise
from efface.training.data import CropBatch, Data
from efface.training.optimisation import accelerator
from efface.training.phases import Batch, Training
from efface.training.settings import OWN_MASK, TrainingSettings
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

ALPHA = 0.25
STEPS_WITH_CODES = 3
HOLE = "centre:0.5"
VARIANTS = {
    "codes-at-hand": "efface, own masks, codes of the crops at hand",
    "new-crops": "efface, own masks, every crop new",
    "filled": "efface, own masks, leaky: false, targets at hand, pictures filled at every visit",
    "released": "the released way, own masks",
    "hole": f"efface, {HOLE}, codes of the crops and of the filled crops at hand",
    "released-hole": f"the released way, {HOLE}",
}
COMPARED = {
    "codes-at-hand": "released",
    "new-crops": "released",
    "filled": "released",
    "hole": "released-hole",
}
"""Each variant of efface, and the released one under the same masks."""
OF_MEMORY = dict.fromkeys(("codes-at-hand", "new-crops", "released"))
RELEASED_IMAGES, RELEASED_EPOCHS = 24_000, 6


class ReleasedStep:
    """The step of the ICLR 2024 release, written plainly from its description; it trains `network`."""

    def __init__(self, network: MageModel, device: torch.device) -> None:
        self.student = network.to(device).train()
        self.teacher = copy.deepcopy(self.student).eval().requires_grad_(False)
        self.student.requires_grad_(False)
        self.student.encoder.requires_grad_(True)
        parameters = list(self.student.encoder.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.05},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95))
        self.scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
        self.device = device

    def loss(self, images: Tensor, labels: Tensor, hidden: Tensor, kept: Tensor) -> Tensor:
        """`labels` `[B]`: 1 for retain, -1 for forget."""
        with torch.no_grad():
            tokens = plain_tokens(self.student, images)
        features = self.student.encode(tokens, hidden, kept)
        with torch.no_grad():
            clean = self.teacher.encode(plain_tokens(self.teacher, images), hidden, kept)
            noise = (torch.randn_like(images) * images.std() + images.mean()).clamp(0, 1)
            noised = self.teacher.encode(plain_tokens(self.teacher, noise), hidden, kept)
        retain = (features - clean).square().mean(dim=(1, 2))
        forget = (features - noised).square().mean(dim=(1, 2))
        return ((1 + labels) * retain + ALPHA * (1 - labels) * forget).mean()

    def __call__(self, images: Tensor, labels: Tensor, hidden: Tensor, kept: Tensor) -> None:
        with torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda"):
            loss = self.loss(images, labels, hidden, kept)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.student.encoder.parameters(), 3.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()


def plain_tokens(network: MageModel, images: Tensor) -> Tensor:
    """Tokens without anything that efface does to have them sooner."""
    vectors = network.tokenizer.encoder(images).permute(0, 2, 3, 1).flatten(1, 2)
    return network.tokenizer.codebook.distances(vectors.flatten(0, 1)).argmin(dim=1).view(vectors.shape[:2])


def released_inputs(generator: MageGenerator, step: Step, crops: CropBatch) -> tuple[Tensor, ...]:
    """Images, labels and masks of the same crops as efface sees them; nothing is tokenized for it."""
    views = []
    for batch in crops.values():
        codes = torch.zeros(len(batch.draws), 2, generator.grid**2, dtype=torch.long)
        view = generator.view(batch.images, step.corruption, batch.draws, codes=codes)
        assert isinstance(view, MageView)
        views.append(view)
    labels = torch.cat(
        [torch.full((len(view),), sign) for view, sign in zip(views, (1.0, -1.0), strict=True)]
    )
    view = views[0].join(views[1])
    return view.images, labels.to(view.images.device), view.hidden, view.kept


def released_steps(step: ReleasedStep, generator: MageGenerator, ours: Step, count: int) -> None:
    """The first `count` steps, with crops read as efface reads them."""
    for crops in ours.streams.steps(0, count):
        step(*released_inputs(generator, ours, crops))


def settings_of(batch: int, crops_per_image: int | None, corruption: str = OWN_MASK) -> TrainingSettings:
    return TrainingSettings(
        batch_size=batch, precision="auto", crops_per_image=crops_per_image, corruption=corruption
    )


def filled_steps(step: Step, count: int) -> None:
    """Of a model whose own masks are shown filled."""
    assert isinstance(step.generator, MageGenerator)
    step.generator.config.leaky = False
    run_steps(step, count)
    step.generator.config.leaky = True


def unlearning_phase() -> Training:
    (phase,) = EncoderNoise(alpha=ALPHA, noise="moment-matched").phases()
    assert isinstance(phase, Training)
    return phase


def main() -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--size", choices=sorted(SIZES), default="base")
    options = parser.parse_args()
    if options.smoke:
        options.size, options.batch, options.memory_batch, options.pairs = "tiny", 4, 4, 2
    device, phase = computing_device(), unlearning_phase()
    memory = None if options.memory else memory_of_each(OF_MEMORY, options.smoke)
    generator = new(MageArchitecture(**SIZES[options.size]), 0)
    kept_settings = settings_of(options.batch, 1)
    with data_of(open_images("bundled"), generator) as data, TemporaryDirectory() as folder:
        if options.memory:
            measure_memory(options.memory, generator, phase, data, options.memory_batch, Path(folder), device)
            return
        released = ReleasedStep(copy.deepcopy(generator.network), device)
        kept = prepared_step(generator, phase, data, kept_settings, Path(folder))
        fresh = Step(generator, phase, data, settings_of(options.batch, None), 0, kept.accelerator)
        hole = prepared_step(generator, phase, data, settings_of(options.batch, 1, HOLE), Path(folder))
        variants: dict[str, Callable[[], None]] = {
            "codes-at-hand": lambda: run_steps(kept, STEPS_WITH_CODES),
            "new-crops": lambda: run_steps(fresh, 1),
            "filled": lambda: filled_steps(kept, 1),
            "released": lambda: released_steps(released, generator, fresh, 1),
            "hole": lambda: run_steps(hole, STEPS_WITH_CODES),
            "released-hole": lambda: released_steps(released, generator, hole, 1),
        }
        # the first pass also fills in the tokens of the noise pictures that these steps ask for
        for name in ("codes-at-hand", "hole", "new-crops"):
            variants[name]()
        released(*released_inputs(generator, fresh, shortened(next(iter(fresh.streams.steps(0, 1))), 1)))
        seconds = in_turn(variants, options.pairs, device, options.smoke)
        for name in ("codes-at-hand", "hole"):
            seconds[name] = per_image(seconds[name], STEPS_WITH_CODES)
        seconds = {name: per_image(values, options.batch) for name, values in seconds.items()}
        code_seconds = seconds_of_a_code(generator, options.batch)
        kept_bytes = activation_bytes(kept, phase, data)
    finish(
        f"mage_step_{device.type}_{options.size}_batch{options.batch}",
        {
            "variants": VARIANTS,
            "times_faster": {
                name: ratios(seconds[beside], seconds[name]) for name, beside in COMPARED.items()
            },
            "seconds_per_image": {name: spread(values) for name, values in seconds.items()},
            "pairs": options.pairs,
            "batch": options.batch,
            "precision": "bf16" if kept.accelerator.mixed_precision == "bf16" else "fp32",
            "once_in_a_run": {
                "seconds_per_kept_crop": round(code_seconds, 4),
                "seconds_per_noise_picture": round(code_seconds, 4),
                "noise_pictures_at_most": ROWS,
            },
            "whole_run": whole_run(seconds, code_seconds),
            "memory_batch": options.memory_batch,
            "memory": memory,
            **kept_bytes,
        },
        options,
    )


def measure_memory(
    variant: str,
    generator: MageGenerator,
    phase: Training,
    data: Data,
    batch: int,
    folder: Path,
    device: torch.device,
) -> None:
    """Peak memory of one variant, in a process that ran no other."""
    settings = settings_of(batch, 1 if variant == "codes-at-hand" else None)
    if variant == "released":
        reader = Step(generator, phase, data, settings, 0, accelerator(settings))
        step = ReleasedStep(generator.network, device)
        crops = next(iter(reader.streams.steps(0, 1)))
        print_memory(
            lambda: step(*released_inputs(generator, reader, crops)),
            lambda: step(*released_inputs(generator, reader, shortened(crops, 1))),
            device,
        )
        return
    ours = prepared_step(generator, phase, data, settings, folder if settings.crops_per_image else None)
    crops = next(iter(ours.streams.steps(0, 1)))
    finite = FiniteCheck(device)

    def run(some: CropBatch) -> None:
        ours(some, 0.0, finite)

    print_memory(lambda: run(crops), lambda: run(shortened(crops, 1)), device)


def seconds_of_a_code(generator: MageGenerator, count: int) -> float:
    """Seconds to tokenize one picture, in a batch of `count`."""
    pictures = torch.rand(count, 3, generator.image_size, generator.image_size, device=generator.device)
    generator.tokens(pictures[:1]).cpu()
    began = time.perf_counter()
    generator.tokens(pictures).cpu()
    return (time.perf_counter() - began) / count


def whole_run(seconds: dict[str, list[float]], code: float) -> dict[str, Any]:
    """How much faster a run as long as the released one would be, with all that is computed once in it."""
    visits = RELEASED_IMAGES * RELEASED_EPOCHS
    released = [visits * value for value in seconds["released"]]
    kept = [visits * value + (RELEASED_IMAGES + ROWS) * code for value in seconds["codes-at-hand"]]
    fresh = [visits * value + ROWS * code for value in seconds["new-crops"]]
    return {
        "images": RELEASED_IMAGES,
        "epochs": RELEASED_EPOCHS,
        "times_faster": {
            "one kept crop an image": ratios(released, kept),
            "new crops": ratios(released, fresh),
        },
    }


def activation_bytes(step: Step, phase: Training, data: Data) -> dict[str, int]:
    """What autograd keeps of a step beyond the weights: with the teacher, and of the student alone."""
    generator = step.generator
    crops = next(iter(step.streams.steps(0, 1)))
    views = {
        stream: generator.view(batch.images, step.corruption, batch.draws, codes=batch.codes)
        for stream, batch in crops.items()
    }
    batch = Batch(views, data.moments)
    joined = views["retain"].join(views["forget"])
    known = {p.untyped_storage().data_ptr() for p in generator.network.parameters()}
    with step.accelerator.autocast():
        targets = tuple(torch.zeros_like(feature) for feature in generator.encode(joined))

    def alone() -> Tensor:
        distance = feature_distance(generator.encode(joined), targets, "mse")
        return distance[: len(views["retain"])].mean() + ALPHA * distance[len(views["retain"]) :].mean()

    with step.accelerator.autocast():
        both = saved_bytes(lambda: phase.loss(generator, batch).total, known)
    with step.accelerator.autocast():
        student = saved_bytes(alone, known)
    return {"activation_bytes": both, "activation_bytes_of_the_student_alone": student}


if __name__ == "__main__":
    main()
