"""The contract of an image classifier, `f: image -> logits`, and what unlearning needs of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import JsonValue
from torch import Tensor, nn

from efface.adapters import Adapter, merge
from efface.errors import Faults, InputError
from efface.factories import running
from efface.group_norms import keep_contiguous
from efface.images.labelled import LabelledImages
from efface.memory import in_batches
from efface.randomness import key
from efface.recomputing import in_micro_batches
from efface.sharing import in_shares
from efface.weights import weights_digest
from efface.wording import several


@dataclass(frozen=True)
class Normalisation:
    """From raw values 0..255 to what a network is fed: `(x / scale - mean) / std`, mean and std by channel.

    The competition feeds raw values: `Normalisation(1.0)`.
    """

    scale: float = 255.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


@dataclass(frozen=True)
class Origin:
    """The layout that a classifier was read from, by name, and what the record says of it."""

    kind: str = "module"
    facts: Mapping[str, Any] = field(default_factory=dict)


class Classifier(nn.Module):
    """Any network from pictures to logits, with what methods ask of it.

    network: takes float `[B, C, H, W]` in its own value space, gives logits `[B, classes]` (or a mapping or an object
        with `logits`).
    classes: their names; image_size: side in pixels; channels: 1 or 3.
    blocks: names of sub-modules from input to output; together they hold all weights, and the last is the head, an
    `nn.Linear` (or 1x1 convolution) that gives the logits. Default: the children of `network`, with chains of
    containers that have only one weighted child opened.
    fresh: a like network with weights drawn from a seed; default: each layer draws its own (`reset_parameters`).
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        classes: tuple[str, ...],
        image_size: int,
        channels: int = 3,
        normalisation: Normalisation | None = None,
        blocks: tuple[str, ...] | None = None,
        origin: Origin | None = None,
        fresh: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        keep_contiguous(network)
        self.network = network
        self.classes, self.image_size, self.channels = tuple(classes), image_size, channels
        self.normalisation = normalisation or Normalisation()
        self.blocks = blocks if blocks is not None else default_blocks(network)
        self.origin, self.fresh = origin or Origin(), fresh
        # into how many parts a batch is cut, to save memory
        self.micro_batches = 1
        # of a LoRA adapter that was added: its layout, and the digests of its weights and of its base's
        self.adapter: dict[str, JsonValue] = {}
        self._check()
        mean, std = (torch.tensor(values).reshape(1, -1, 1, 1) for values in self._moments())
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def add_adapter(self, adapter: Adapter) -> None:
        """Add a LoRA adapter to the weights; raises `InputError` naming all that does not fit."""
        base = self.weights_digest()
        merge(adapter, {"": self.network})
        self.adapter = adapter.facts(base)

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[B, classes]` of images `[B, C, H, W]`, uint8 or float, in 0..255."""
        return in_micro_batches(self.micro_batches, self._logits, images)

    def _logits(self, images: Tensor) -> Tensor:
        with running(self.network):
            output = self.network(self.prepare(images))
        return logits_in(output)

    def prepare(self, images: Tensor) -> Tensor:
        """What the network is fed for images in 0..255."""
        assert isinstance(self.mean, Tensor)
        assert isinstance(self.std, Tensor)
        return (images.float() / self.normalisation.scale - self.mean) / self.std

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        return next(self.network.parameters()).device

    @property
    def head(self) -> nn.Module:
        """The last block, which turns features into logits."""
        return self.network.get_submodule(self.blocks[-1])

    def features_and_logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What the head is fed, flattened to `[B, features]`, and its logits `[B, classes]`."""
        seen: list[Tensor] = []
        with _hooked(self.head, seen):
            logits = self(images)
        return torch.cat(seen).flatten(1), logits

    def parameters_of(self, blocks: tuple[str, ...]) -> dict[str, nn.Parameter]:
        """Parameters of these blocks, by name in `network`."""
        prefixes = tuple(f"{block}." for block in blocks)
        return {
            name: parameter
            for name, parameter in self.network.named_parameters()
            if name.startswith(prefixes) or name in blocks
        }

    def named_layers(self, *kinds: type[nn.Module]) -> dict[str, nn.Module]:
        """Modules of these kinds in `network`, by name, from input to output."""
        return {name: module for name, module in self.network.named_modules() if isinstance(module, kinds)}

    def copy(self) -> Self:
        """A classifier with weights of its own."""
        return copy.deepcopy(self)

    def reinitialise(self, seed: int, blocks: tuple[str, ...] | None = None) -> None:
        """Fresh random weights and statistics, of all blocks or of those named, as each layer draws its own.

        Raises `InputError` where a layer with weights cannot do so. The global random state stays as it was.
        """
        chosen = self.blocks if blocks is None else blocks
        if self.fresh is not None:
            self._take(self.fresh(key(seed, "initialise")), chosen)
            return
        layers = [
            (f"{block}.{name}".rstrip("."), module)
            for block in chosen
            for name, module in self.network.get_submodule(block).named_modules()
            if _has_own_values(module)
        ]
        with Faults("the network cannot be re-initialised") as faults:
            for name, module in layers:
                if not hasattr(module, "reset_parameters"):
                    faults.add(f"{name}: a {type(module).__name__} has no reset_parameters")
        device = self.device
        # drawn on the CPU, so that a seed gives the same weights on every device
        self.network.to("cpu")
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(key(seed, "initialise"))
            for _, module in layers:
                module.reset_parameters()
        self.network.to(device)

    def _take(self, other: nn.Module, blocks: tuple[str, ...]) -> None:
        """Weights and statistics of these blocks as in a like network."""
        prefixes = tuple(f"{block}." for block in blocks)
        given = other.state_dict()
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                if name.startswith(prefixes) or name in blocks:
                    value.copy_(given[name])

    def weights_digest(self) -> str:
        """sha256 over names, types, shapes and values of all weights and statistics."""
        return weights_digest(self.weights())

    def weights(self) -> Mapping[str, Tensor]:
        """All weights and statistics by name."""
        return self.network.state_dict()

    def describe(self) -> dict[str, Any]:
        """What it is, as JSON-ready values for the record."""
        return {
            "kind": "classifier",
            "network": type(self.network).__name__,
            "origin": {"kind": self.origin.kind, **self.origin.facts},
            "classes": len(self.classes),
            "image_size": self.image_size,
            "channels": self.channels,
            "normalisation": {
                "scale": self.normalisation.scale,
                "mean": list(self.normalisation.mean),
                "std": list(self.normalisation.std),
            },
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
        }

    def _moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        n = self.normalisation
        return n.mean, n.std

    def _check(self) -> None:
        with Faults("this network cannot be used as a classifier") as faults:
            if len(self.classes) < 2:
                faults.add(f"classes: two or more are needed, not {len(self.classes)}")
            for name, values in zip(("mean", "std"), self._moments(), strict=True):
                if len(values) not in {1, self.channels}:
                    faults.add(f"normalisation.{name}: {len(values)} values for {self.channels} channels")
            if self.normalisation.scale <= 0 or any(value <= 0 for value in self.normalisation.std):
                faults.add("normalisation: scale and std must be above 0")
            modules = dict(self.network.named_modules())
            for block in self.blocks:
                if block not in modules:
                    faults.add(f"blocks: the network has no sub-module '{block}'")
            if not self.blocks:
                faults.add("blocks: none; name the parts of the network from input to output")
            if faults.problems:
                return
            held = self.parameters_of(self.blocks)
            left = [name for name, _ in self.network.named_parameters() if name not in held]
            if left:
                faults.add(f"blocks: {', '.join(left[:3])} {'...' * (len(left) > 3)} in none of them")


def logits_in(output: object) -> Tensor:
    """The logits in what a network gives: a tensor, or what has them as `logits`; raises `InputError` naming what it is."""
    logits = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", output)
    if isinstance(logits, Tensor):
        return logits
    parts = (
        output
        if isinstance(output, Mapping)
        else dict(enumerate(output))
        if isinstance(output, list | tuple)
        else {}
    )
    held = [f"{name}: {type(part).__name__}" for name, part in parts.items()]
    raise InputError(
        f"the network returns a {type(output).__name__}"
        + (f" ({several(held)})" if held else "")
        + ", where logits are "
        "wanted: a tensor [B, classes], or a mapping or an object that has it as logits. Have its code return that, in "
        "training mode too"
    )


def default_blocks(network: nn.Module) -> tuple[str, ...]:
    """Names of the parts of a network from input to output: its children with weights, single ones opened."""
    names: list[str] = []
    if any(True for _ in network.parameters(recurse=False)):
        raise InputError(
            f"{type(network).__name__} has weights of its own beside its parts: name its blocks, from input to output"
        )
    for name, child in network.named_children():
        if any(True for _ in child.parameters()):
            names.append(name)
    if len(names) == 1 and list(network.get_submodule(names[0]).children()):
        inner = default_blocks(network.get_submodule(names[0]))
        return tuple(f"{names[0]}.{name}" for name in inner)
    return tuple(names)


def _has_own_values(module: nn.Module) -> bool:
    own = (module.parameters(recurse=False), module.buffers(recurse=False))
    return any(True for values in own for _ in values)


@contextmanager
def _hooked(module: nn.Module, seen: list[Tensor]) -> Iterator[None]:
    handle = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        yield
    finally:
        handle.remove()


BATCH = 512


@torch.no_grad()
def logits_of(model: Classifier, images: LabelledImages, batch_size: int = BATCH) -> npt.NDArray[np.float32]:
    """Logits float32 `[images, classes]` in evaluation mode; the model is left in the mode that it was in.

    batch_size: images at once, or fewer where pictures are large (`efface.memory`).
    """
    before = model.training
    model.eval()

    def logits(part: range) -> Tensor:
        return model(pictures_of(images, part).to(model.device)).float().cpu()  # type: ignore[no-any-return]

    def share(mine: range) -> npt.NDArray[np.float32]:
        def of_batch(part: range) -> Tensor:
            return logits(mine[part.start : part.stop])

        return torch.cat(list(in_batches(len(mine), batch_size, model.image_size, of_batch))).numpy()

    found = in_shares(len(images), share, np.concatenate) if len(images) else None
    model.train(before)
    return np.zeros((0, len(model.classes)), np.float32) if found is None else found


def pictures_of(images: LabelledImages, part: range) -> Tensor:
    """The pixels of the images at these places, uint8 `[B, C, H, W]`."""
    return torch.from_numpy(np.ascontiguousarray(images.pixels[part.start : part.stop]))
