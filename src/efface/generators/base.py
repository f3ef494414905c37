"""The contract of an image-to-image generator `h = D . E . T` (Li et al., ICLR 2024, section 3).

Everything above this floor speaks to `Generator` alone; a family's own knowledge stays in its folder.
"""

from __future__ import annotations

import copy
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import JsonValue
from torch import Tensor, nn

from efface.adapters import Adapter, merge
from efface.corruptions import Corrupted, Corruption
from efface.errors import InputError
from efface.files import write_json
from efface.generators.families import TRAINING_NOTE, LearntCrops, ModelSettings, NoiseKind, TrainingNote
from efface.group_norms import keep_contiguous
from efface.randomness import Draws
from efface.recomputing import in_micro_batches
from efface.weights import weights_digest

Trained = Literal["encoder", "all", "first-stage"]
"""Groups of weights: the encoder; encoder and decoder; the stage before and behind both, frozen in unlearning."""


@dataclass(frozen=True)
class PixelMoments:
    """Per-channel mean and standard deviation of a set's pixels, each `[3]`, in [0, 1]."""

    mean: Tensor
    std: Tensor


@dataclass(frozen=True)
class View:
    """One corrupted batch with every random draw in it, so that student and teacher see the same.

    images: the true pixels, float `[B, 3, H, W]` in [0, 1]. A family adds what its network is fed, in its
    own value space.
    """

    images: Tensor
    corrupted: Corrupted
    draws: Draws

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, part: slice) -> Self:
        """The view of some of the images."""
        return replace(self, **{field.name: _cut(getattr(self, field.name), part) for field in fields(self)})

    def join(self, other: Self) -> Self:
        """Both views as one batch."""
        joined: dict[str, Any] = {}
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            joined[field.name] = _joined(mine, theirs)
        return type(self)(**joined)


class Generator(nn.Module, ABC):
    """An image-to-image model and what unlearning needs of it.

    `network` is the library's own module, whose weights are trained and saved. The frozen original is
    reached with `with generator.teacher():`, inside which `encode` and `decode` use the original's
    weights, in evaluation mode and without a graph. A second frozen model, the shadow, is reached in the same way
    with `with generator.shadow():`; a phase that trains one keeps it and puts the original's weights back.

    A family may have a first stage, such as a tokenizer or a VAE, that turns pictures into codes and back.
    It is frozen while a model unlearns, so codes can be computed once and kept.

    Where `micro_batches` is above 1, `encode`, `decode` and `output` take a batch in so many parts, which saves memory and
    changes nothing else. They treat each image by itself; a `first_stage_loss` need not, and cuts what it can.
    """

    family: ClassVar[str]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in ("encode", "decode", "output"):
            if name in vars(cls):
                setattr(cls, name, _by_micro_batches(vars(cls)[name]))

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        keep_contiguous(network)
        self.network = network
        # what the model was trained with, where that is another than the family's usual corruption
        self.trained_with: Corruption | None = None
        # the crops in which it was shown its images, where that is known
        self.learnt_crops: LearntCrops | None = None
        # whether training takes in running statistics, of a network that has any: of fresh weights alone
        self.learns_statistics = False
        # in a tuple, so that the teacher is no submodule: never trained, saved, moved to train mode
        self._teacher: tuple[nn.Module, ...] = ()
        self._shadow: tuple[nn.Module, ...] = ()
        self._acting: tuple[nn.Module, ...] = ()
        self._original: dict[str, Tensor] = {}
        self.micro_batches = 1
        # of a LoRA adapter that was added: its layout, and the digests of its weights and of its base's
        self.adapter: dict[str, JsonValue] = {}

    def add_adapter(self, adapter: Adapter) -> None:
        """Add a LoRA adapter to the weights; raises `InputError` naming all that does not fit."""
        base = self.weights_digest()
        merge(adapter, {"": self.network})
        self.adapter = adapter.facts(base)

    # what a family provides

    @property
    @abstractmethod
    def image_size(self) -> int:
        """Side of the square input in pixels."""

    @property
    @abstractmethod
    def grid(self) -> int:
        """Patches per side: the grid to which holes are widened."""

    @property
    @abstractmethod
    def usual_corruption(self) -> Corruption:
        """The corruption that models of the family are trained with."""

    @abstractmethod
    def make_view(
        self,
        images: Tensor,
        corruption: Corruption,
        corrupted: Corrupted,
        draws: Draws,
        codes: Tensor | None,
    ) -> View:
        """The view of float `images` in [0, 1] that `corruption` has turned into `corrupted`."""

    @abstractmethod
    def noise_view(self, view: View, kind: NoiseKind, moments: PixelMoments) -> View:
        """The same view with the image replaced by noise; mask, draws and true pixels stay."""

    @abstractmethod
    def encode(self, view: View) -> tuple[Tensor, ...]:
        """Everything that the decoder consumes; the decoder does not run."""

    @abstractmethod
    def decode(self, features: tuple[Tensor, ...], view: View) -> Tensor:
        """The prediction, in the space of `task_target`."""

    @abstractmethod
    def task_target(self, view: View) -> Tensor:
        """What the model's own training asks it to predict for this view."""

    @abstractmethod
    def noise_target(self, view: View, kind: NoiseKind, moments: PixelMoments) -> Tensor:
        """The target that noise in the image's place would give."""

    @abstractmethod
    def prediction_loss(self, prediction: Tensor, target: Tensor, view: View) -> Tensor:
        """The model's own training loss of each image, `[B]`."""

    @abstractmethod
    def restore(self, view: View, sampler: str | None = None) -> Tensor:
        """The finished pictures, `[B, 3, H, W]` in [0, 1]; known pixels are the original's.

        Hidden pixels are not looked at. `sampler` as in `sampler_name`.
        """

    @abstractmethod
    def encoder_parameters(self) -> dict[str, nn.Parameter]:
        """Trainable parameters up to the features, by name in `network`."""

    @abstractmethod
    def decoder_parameters(self) -> dict[str, nn.Parameter]:
        """Trainable parameters behind the features, by name in `network`."""

    @abstractmethod
    def reinitialise(self, seed: int, keep_first_stage: bool = False) -> None:
        """Fresh random weights, as before any training; those of the first stage may be kept."""

    @abstractmethod
    def compile_network(self) -> None:
        """Compile what `encode` and `decode` run, in place; names of weights stay as they are."""

    @abstractmethod
    def save_pretrained(self, folder: Path) -> None:
        """Write a folder that the family's own library opens."""

    @abstractmethod
    def describe(self) -> dict[str, JsonValue]:
        """Family, sizes, value space and origin, as JSON-ready values for the record."""

    # what a family may say otherwise

    @property
    def takes_holes(self) -> bool:
        """Whether it restores what a hole hides."""
        return True

    @property
    def takes_conditions(self) -> bool:
        """Whether it can be shown a degraded or another picture in place of one with a hole."""
        return False

    def check_corruption(self, corruption: Corruption) -> None:
        """Raise `InputError`, with what is possible, if the model cannot be shown this corruption."""
        if corruption.hides and not self.takes_holes:
            raise InputError(
                f"corruption '{corruption}' cuts a hole; this {self.family} model is conditioned on a whole picture"
            )
        if not corruption.hides and not self.takes_conditions:
            raise InputError(
                f"corruption '{corruption}' hides no pixels; this {self.family} model only restores hidden ones"
            )
        corruption.check(self.image_size, self.grid)

    def sampler_name(self, text: str | None) -> str | None:
        """The sampler that `restore` uses for `text`, written out as `name:steps` with what else it takes behind a comma.

        text: None for the family's default. None is given back where a model restores in one pass.
        Raises `InputError` naming the samplers that the family has.
        """
        if text is not None:
            raise InputError(f"sampler '{text}': a {self.family} model restores in one pass and has none")
        return None

    def is_stochastic(self, sampler: str | None = None) -> bool:
        """Whether `restore` draws with this sampler, so that one view has many answers."""
        return self.sampler_name(sampler) is not None

    def redrawn(self, view: View, number: int) -> View:
        """The same view for another of its answers, `number` 1, 2, ...: what `restore` draws is drawn anew, no more."""
        return replace(view, draws=view.draws.sample(number))

    def codes(self, images: Tensor, corruption: Corruption) -> Tensor | None:
        """What the first stage makes of float pictures `[B, 3, H, W]` in [0, 1], as `view` takes it under `corruption`.

        None without such a stage.
        """
        return None

    def codes_change(self, corruption: Corruption) -> bool:
        """Whether a view passes the first stage at every visit, though `codes` are at hand."""
        return False

    def whole_picture_view(self, view: View) -> View | None:
        """`view` with visible codes of the whole picture, into which hidden pixels have seeped; else as it is.

        It is what someone has who holds codes in place of pixels: `restore` then does look at what is hidden. None where
        no visible code depends on hidden pixels.
        """
        return None

    def settings_at(self, path: str) -> ModelSettings:
        """How a model of this one's kind that lies at `path` is named; code that this one was built by is named too."""
        return ModelSettings(path=path)

    def remarks(self) -> list[str]:
        """What a plan says of how the model was opened, one sentence each."""
        return []

    def view_risks(self, images: Tensor, corruption: Corruption) -> list[str]:
        """What views of `images` `[B, 3, H, W]` under `corruption` will not tell of the model, one sentence each."""
        return []

    def first_stage_parameters(self) -> dict[str, nn.Parameter]:
        """Parameters of the first stage, by name in `network`; trained only from scratch."""
        return {}

    def first_stage_loss(self, view: View) -> Tensor:
        """The first stage's own training loss of each image, `[B]`."""
        raise NotImplementedError(f"a {self.family} model has no first stage")

    def first_stage_digest(self) -> str | None:
        """sha256 of the first stage's weights; None without such a stage."""
        names = self.first_stage_parameters()
        if not names:
            return None
        return weights_digest({name: parameter.data for name, parameter in names.items()})

    # what the baselines of Li et al. (ICLR 2024) feed and compare, where a release does otherwise

    def released_loss(self, prediction: Tensor, target: Tensor, view: View) -> Tensor:
        """The loss of each image, `[B]`, whose mean is the release's own training loss of the whole batch."""
        return self.prediction_loss(prediction, target, view)

    def noisy_label(self, retain: View, forget: View, moments: PixelMoments) -> tuple[View, Tensor]:
        """What `noisy-label` feeds in place of `forget`, and the noise that it asks for; retain: the rest of the batch."""
        return forget, self.noise_target(forget, "standard-normal", moments)

    def output(self, view: View) -> Tensor:
        """All that the decoder gives for `view`, `[B, ...]`, which `retain-label` compares."""
        return self.predict(view)

    def output_loss(self, output: Tensor, target: Tensor, view: View) -> Tensor:
        """How far the outputs of each image, `[B]`, are from those that `retain-label` asks for."""
        return self.prediction_loss(output, target, view)

    def taught_view(self, view: View) -> View:
        """What the teacher is shown of forget images where `random-encoder` measures its features."""
        return view

    # what all families share

    def view(
        self,
        images: Tensor,
        corruption: Corruption,
        draws: Draws,
        *,
        condition: Tensor | None = None,
        codes: Tensor | None = None,
    ) -> View:
        """Corrupt `images`, uint8 or float in [0, 1], `[B, 3, H, W]` of the model's size.

        condition: the other picture of each pair, of the same shape, where `corruption.paired`.
        codes: what `codes(images, corruption)` gives, where it is at hand.
        """
        check_batch(images, self.image_size, draws)
        images = pixels_in_unit_range(images, self.device)
        if condition is not None:
            check_batch(condition, self.image_size, draws)
            condition = pixels_in_unit_range(condition, self.device)
        corrupted = corruption.apply(images, self.grid, draws, condition)
        if codes is not None:
            codes = codes.to(self.device, non_blocking=True)
        return self.make_view(images, corruption, corrupted, draws, codes)

    @property
    def training_corruption(self) -> Corruption:
        """The corruption of the model's own training."""
        return self.trained_with or self.usual_corruption

    @property
    def tells_training(self) -> bool:
        """Whether it is known with which corruption the model was trained, rather than taken from the job."""
        return True

    def save(self, folder: Path) -> None:
        """`save_pretrained`, and beside it a note of the training's crops, and of its corruption if not the usual one."""
        self.save_pretrained(folder)
        corruption = str(self.trained_with) if self.trained_with else None
        if self.learnt_crops or corruption:
            note = TrainingNote(crops=self.learnt_crops, corruption=corruption)
            write_json(folder / TRAINING_NOTE, note.model_dump(mode="json", exclude_none=True))

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def active(self) -> nn.Module:
        """The network that runs now: the student's; the teacher's or shadow's inside `teacher()` or `shadow()`."""
        return self._acting[0] if self._acting else self.network

    def trained_parameters(self, trained: Trained) -> dict[str, nn.Parameter]:
        """Parameters that a method of this kind changes, by name in `network`."""
        if trained == "first-stage":
            return self.first_stage_parameters()
        if trained == "encoder":
            return self.encoder_parameters()
        return self.encoder_parameters() | self.decoder_parameters()

    def set_trained(self, trained: Trained) -> None:
        """Let gradients reach only what is trained, so that DDP and the graph hold nothing else."""
        names = self.trained_parameters(trained)
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(name in names)

    def keep_teacher(self, trained: Trained = "all", precision: torch.dtype | None = None) -> None:
        """Freeze the present weights as the teacher. Untrained weights are shared, not copied.

        With `precision`, that of the autocast in which the teacher will run, its own matrices are kept in
        it: the numbers are the same, and the cast at every step and half of the memory are saved.
        """
        names = self.trained_parameters(trained)
        shared = [p for n, p in self.network.named_parameters() if n not in names]
        teacher = self._copy(shared)
        if precision is not None:
            kept = {id(parameter) for parameter in shared}
            for module in teacher.modules():
                if isinstance(module, nn.Linear | nn.Conv2d) and kept.isdisjoint(
                    map(id, module.parameters())
                ):
                    module.to(precision)
        self._teacher = (teacher.eval().requires_grad_(False),)
        for parameter in shared:
            parameter.requires_grad_(False)

    def drop_teacher(self) -> None:
        self._teacher, self._original = (), {}

    @contextmanager
    def teacher(self) -> Iterator[None]:
        """Use the frozen original inside the block."""
        if not self._teacher:
            raise RuntimeError("no teacher is kept: call keep_teacher() on the original model first")
        with self._using(self._teacher):
            yield

    def keep_original(self) -> None:
        """Keep a copy of all present weights in main memory, for `return_to_teacher`.

        The teacher alone may not do: its matrices may be in lower precision, and it shares what is not trained,
        which an edit may change all the same.
        """
        self._original = {name: tensor.cpu().clone() for name, tensor in self.network.state_dict().items()}

    def return_to_teacher(self) -> None:
        """Put the original's weights back, bit for bit: those of `keep_original`, else the teacher's own.

        Raises `RuntimeError` without a teacher, or if it does not hold every weight as it was. Only weights come
        back: a first stage must not have been made anew meanwhile.
        """
        if not self._teacher:
            raise RuntimeError(
                "no teacher is kept to return to: call keep_teacher() on the original model first"
            )
        original = self._original or self._teacher[0].state_dict()
        present = self.network.state_dict()
        for name, tensor in present.items():
            if name not in original or original[name].dtype != tensor.dtype:
                raise RuntimeError(
                    f"the teacher does not hold {name} as it was: call keep_original() beside keep_teacher()"
                )
        self.network.load_state_dict({name: original[name] for name in present})

    def keep_shadow(self) -> None:
        """Freeze the present weights as the shadow. Untrained weights that are the original's are shared."""
        names = self.trained_parameters("all")
        shared = [
            parameter
            for name, parameter in self.network.named_parameters()
            if name not in names
            # another one changes when the original's weights come back
            and (name not in self._original or torch.equal(parameter.detach().cpu(), self._original[name]))
        ]
        self._shadow = (self._copy(shared).eval().requires_grad_(False),)

    def drop_shadow(self) -> None:
        self._shadow = ()

    @contextmanager
    def shadow(self) -> Iterator[None]:
        """Use the shadow inside the block, in evaluation mode and without a graph."""
        if not self._shadow:
            raise RuntimeError("no shadow is kept: call keep_shadow() in an edit first")
        with self._using(self._shadow):
            yield

    def shadow_state(self) -> dict[str, Tensor]:
        """The shadow's own weights, without those that it shares; empty without a shadow."""
        if not self._shadow:
            return {}
        mine = {name: parameter.data_ptr() for name, parameter in self.network.named_parameters()}
        state = self._shadow[0].state_dict()
        return {name: tensor for name, tensor in state.items() if tensor.data_ptr() != mine.get(name)}

    def load_shadow(self, state: Mapping[str, Tensor]) -> None:
        """The shadow that `shadow_state` gave, beside a network that holds what the two share."""
        self._shadow = ()
        if state:
            shared = [p for name, p in self.network.named_parameters() if name not in state]
            shadow = self._copy(shared)
            shadow.load_state_dict(state, strict=False)
            self._shadow = (shadow.eval().requires_grad_(False),)

    def predict(self, view: View) -> Tensor:
        """Encoder and decoder: the prediction for `view`."""
        return self.decode(self.encode(view), view)

    def task_loss(self, view: View) -> Tensor:
        """The model's own training loss of each image, `[B]`."""
        return self.prediction_loss(self.predict(view), self.task_target(view), view)

    def take_weights(self, other: Generator) -> None:
        """All weights of a model of the same family and shape, those of its first stage too."""
        self.network.load_state_dict(other.weights())

    def weights_digest(self) -> str:
        """sha256 over names, shapes, types and bytes of all weights, in name order."""
        return weights_digest(self.weights())

    def weights(self) -> Mapping[str, Tensor]:
        """All weights by name, as a saved model has them."""
        return self.network.state_dict()

    def _copy(self, shared: Iterable[nn.Parameter]) -> nn.Module:
        return copy.deepcopy(self.network, memo={id(parameter): parameter for parameter in shared})

    @contextmanager
    def _using(self, network: tuple[nn.Module, ...]) -> Iterator[None]:
        before, self._acting = self._acting, network
        try:
            with torch.no_grad():
                yield
        finally:
            self._acting = before


def _by_micro_batches(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def in_parts(self: Generator, *batches: Any) -> Any:
        if self.micro_batches == 1:
            return method(self, *batches)

        def alone(*parts: Any) -> Any:
            # what the method calls in turn has its part already
            count, self.micro_batches = self.micro_batches, 1
            try:
                return method(self, *parts)
            finally:
                self.micro_batches = count

        return in_micro_batches(self.micro_batches, alone, *batches)

    return in_parts


def mean_squares(values: Tensor, targets: Tensor) -> Tensor:
    """Mean square of the differences of each image, `[B]`, over all that `values` and `targets` `[B, ...]` hold."""
    return (values.float() - targets.float()).square().flatten(1).mean(dim=1)


def noise_pixels(images: Tensor, kind: NoiseKind, moments: PixelMoments, draws: Draws) -> Tensor:
    """Noise pictures in [0, 1] in place of `images` `[B, 3, H, W]`, for every kind but standard-normal.

    moment-matched, batch-matched: normal with `moments`, clamped to [0, 1] (Lemma 1 of the paper asks for the forget
    set's covariance; the released code clamps, with scalar moments of the batch).
    """
    shape = tuple(images.shape[1:])
    mean = moments.mean.to(images.device).view(1, -1, 1, 1)
    std = moments.std.to(images.device).view(1, -1, 1, 1)
    if kind == "uniform":
        return draws.uniform("noise", shape, images.device)
    if kind == "constant":
        return mean.expand(images.shape).contiguous()
    if kind in ("moment-matched", "batch-matched"):
        return (draws.normal("noise", shape, images.device) * std + mean).clamp_(0, 1)
    raise ValueError(f"'{kind}' noise has no pixels: it is drawn in the model's own value space")


def pixels_in_unit_range(images: Tensor, device: torch.device) -> Tensor:
    """uint8 or float images on `device` as float32 in [0, 1]."""
    images = images.to(device, non_blocking=True)
    return images.float().div_(255) if images.dtype == torch.uint8 else images.float()


def check_batch(images: Tensor, size: int, draws: Draws) -> None:
    """Refuse a batch that the model cannot take."""
    if images.ndim != 4 or images.shape[1] != 3 or tuple(images.shape[2:]) != (size, size):
        raise ValueError(
            f"images of shape {tuple(images.shape)} do not fit: [B, 3, {size}, {size}] is wanted"
        )
    if len(images) != len(draws):
        raise ValueError(f"{len(images)} images but draws for {len(draws)}")


def _cut(value: Any, part: slice) -> Any:
    if isinstance(value, Tensor | Draws | np.ndarray):
        return value[part]
    if isinstance(value, Corrupted):
        return Corrupted(*(_cut(getattr(value, field.name), part) for field in fields(Corrupted)))
    return value


def _joined(mine: Any, theirs: Any) -> Any:
    if isinstance(mine, Tensor):
        return torch.cat([mine, theirs])
    if isinstance(mine, Draws):
        return mine.join(theirs)
    if isinstance(mine, np.ndarray):
        return np.concatenate([mine, theirs])
    if isinstance(mine, Corrupted):
        return Corrupted(
            *(_joined(getattr(mine, field.name), getattr(theirs, field.name)) for field in fields(Corrupted))
        )
    if mine != theirs:
        raise ValueError(f"views that differ in {mine!r} and {theirs!r} cannot be joined")
    return mine
