"""How a generator's training phase is run, and how a classifier is trained from scratch. Imports no torch."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, SerializerFunctionWrapHandler, field_validator, model_serializer

from efface.corruptions import parse_corruption
from efface.errors import InputError
from efface.generators.families import LearntCrops
from efface.images.crops import SCALE
from efface.settings import Settings

Decay = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, le=1)]
StatisticsChoice = Literal["auto", "keep", "recompute"]
"""What becomes of running statistics of batch normalisation: auto turns the momentum where one batch replaces most."""
OWN_MASK = "own-mask"
"""In the place of a corruption: what the model's own training hides."""


TrackerName = Literal["tensorboard", "mlflow", "wandb", "trackio"]


class StepMemory(Settings):
    """What a step of training holds in memory, and who follows it. None of it changes what a step computes, but for
    rounding.
    """

    trackers: tuple[TrackerName, ...] = Field(
        (),
        description="trackers of experiments that get losses by phase and step, and nothing of images: tensorboard (in "
        "RUN/tracking), mlflow, wandb, trackio",
    )

    gradient_accumulation: int = Field(
        1,
        ge=1,
        description="micro-batches into which each batch is cut to save memory; loss and gradient stay those of the whole "
        "batch. Doubled where memory ends",
    )
    activation_checkpointing: bool = Field(
        False,
        description="keep only what enters the network's blocks, and compute the rest again for the gradient: less memory, "
        "about one more forward pass",
    )

    @field_validator("trackers", mode="before")
    @classmethod
    def _lone_tracker(cls, given: object) -> object:
        return (given,) if isinstance(given, str) else given

    @model_serializer(mode="wrap")
    def _without_what_is_not_asked_for(self, write: SerializerFunctionWrapHandler) -> dict[str, JsonValue]:
        # runs and pools that were begun before these settings were there compare what they wrote with this
        values: dict[str, JsonValue] = write(self)
        later = {*StepMemory.model_fields, "shard"}
        return {
            name: value
            for name, value in values.items()
            if name not in later or getattr(self, name) != type(self).model_fields[name].default
        }


class TrainingSettings(StepMemory):
    """Steps, batches, optimizer and precision of one run; every method recommends its own values."""

    steps: int = Field(1000, ge=1, description="optimizer steps")
    epochs: float | None = Field(
        None,
        gt=0,
        description="in place of steps: passes over all images that are trained on, taken together",
    )
    batch_size: int = Field(64, ge=1, description="images a step, over all processes and data streams")
    learning_rate: float = Field(5e-5, gt=0, description="peak learning rate")
    optimizer: Literal["adamw", "adam"] = Field(
        "adamw", description="adam adds weight decay to the gradient, adamw takes it off the weights"
    )
    betas: tuple[Decay, Decay] = Field((0.9, 0.95), description="the optimizer's moment decays")
    weight_decay: float = Field(0.05, ge=0, description="weight decay; none on biases and norms")
    schedule: Literal["cosine", "constant"] = Field(
        "cosine", description="learning rate after the warm-up: half a cosine down to zero, or constant"
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps with a rising learning rate")
    clip: float | None = Field(3.0, gt=0, description="largest gradient norm; null for none")
    average: float | None = Field(
        None, gt=0, lt=1, description="decay of a running average of the weights, with which training ends"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: bf16 autocast where the processor has it, else fp32"
    )
    crop_scale: tuple[Share, Share] | None = Field(
        None,
        description="share of an image's area that a random resized crop covers, smallest and largest; default: that of "
        "the crops with which the model was trained, or 0.2 and 1 where it does not say",
    )
    flip: bool | None = Field(
        None, description="mirror half of the crops; default: as the model was trained, or yes"
    )
    crops_per_image: int | None = Field(
        None,
        ge=1,
        description="different crops of each image, whose codes are computed once where the model has a frozen "
        "first stage; default: a new crop at every visit",
    )
    corruption: str = Field(
        OWN_MASK,
        description="what is hidden while training: own-mask, what the model's own training hides, or a corruption",
    )
    checkpoint_every: int = Field(100, ge=1, description="steps between checkpoints")
    log_every: int = Field(10, ge=1, description="steps between lines of the log")
    compile: bool = Field(False, description="torch.compile the network (pays on GPUs only)")
    threads: int = Field(2, ge=1, description="threads that read and crop images")
    shard: bool = Field(
        False,
        description="share out trained weights, gradients and moments over the processes of torchrun, for what does not "
        "fit one device; one process keeps them whole",
    )

    def under(self, learnt: LearntCrops | None) -> Self:
        """These settings with the crops that a model learnt where they name none; those of a new one if it does not say."""
        crops = {
            "crop_scale": self.crop_scale or (learnt.scale if learnt else SCALE),
            "flip": self.flip if self.flip is not None else not learnt or learnt.flip,
        }
        return self.model_copy(update=crops)

    @property
    def crops(self) -> LearntCrops:
        """The crops of a training under these settings."""
        written = self.under(None)
        assert written.crop_scale is not None
        return LearntCrops(scale=written.crop_scale, flip=bool(written.flip), per_image=self.crops_per_image)

    def steps_on(self, images: int) -> int:
        """Optimizer steps of a phase that trains on so many images."""
        if self.epochs is None:
            return self.steps
        return max(1, round(self.epochs * images / self.batch_size))


def shown_in_training(text: JsonValue) -> dict[str, JsonValue]:
    """The setting `corruption` for unlearning a model that is measured under the corruption `text`.

    Masks of a model's own training only stand in for a hole; another picture in its place is shown in training too.
    """
    try:
        corruption = parse_corruption(str(text))
    except InputError:
        return {}  # said where that corruption is read
    return {} if corruption.hides else {"corruption": str(corruption)}


class Budget(Settings):
    """A bound on training, by steps or by time."""

    steps: int | None = None
    seconds: float | None = None


UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def parse_budget(text: str) -> Budget:
    """Read `500steps`, `90s`, `10m` or `1.5h`; raises `InputError`.

    >>> parse_budget("10m").seconds, parse_budget("500steps").steps
    (600.0, 500)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(steps?|s|m|h)\s*", text)
    if not match or float(match[1]) <= 0:
        raise InputError(f"budget '{text}': write it as 500steps, 90s, 10m or 1.5h")
    amount, unit = float(match[1]), match[2]
    if unit.startswith("step"):
        if amount != int(amount):
            raise InputError(f"budget '{text}': steps are whole")
        return Budget(steps=int(amount))
    return Budget(seconds=amount * UNITS[unit])


class Recipe(Settings):
    """Optimizer, epochs and weights of a training from scratch; the defaults are the competition's.

    Source: Triantafillou et al., arXiv:2406.09073, and its published evaluation (`train_lib.py`).
    """

    epochs: int = Field(30, ge=1, description="passes over the training images")
    batch_size: int = Field(64, ge=2, description="images a step")
    optimizer: Literal["adam", "sgd"] = Field("adam", description="sgd has a momentum of 0.9")
    learning_rate: float = Field(1e-4, gt=0, description="learning rate of the first step")
    weight_decay: float = Field(5e-3, ge=0, description="weight decay, added to the gradient (no AdamW)")
    schedule: Literal["cosine", "constant"] = Field("cosine", description="cosine: half a period, to zero")
    class_weights: bool = Field(
        True, description="weigh a class by 1 / its number of training images (forget and retain)"
    )
    augment: Literal["none", "crop-flip"] = Field(
        "none", description="crop-flip: shift by up to an eighth of the side, mirror half of the images"
    )
