"""Any torch network from picture to picture behind the generator's contract.

The network is somebody else's module, of which nothing is known but what its settings say. It is cut by hooks (`cut`).
Predictions are pictures in units of black and white, 0 to 1, not clamped, whatever its value range; the answer is what it
restores, and with a hole known pixels are kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from pydantic import JsonValue
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils import _pytree as pytree

from efface import factories
from efface.corruptions import Corrupted, Corruption, parse_corruption
from efface.corruptions.degradations import Downsample, Noise, luma, shrunk
from efface.errors import InputError
from efface.files import write_json
from efface.generators.base import Generator, PixelMoments, View, noise_pixels
from efface.generators.families import NoiseKind
from efface.generators.network.family import CONFIG, MODEL_TYPE, NetworkSettings, Use
from efface.generators.network.parts import parts_of
from efface.randomness import Draws
from efface.weights import write_tensors
from efface.wording import counted, magnitude, several

BLOCKS = 16
CHARBONNIER = 1e-3
"""Of pictures in 0..1 (Lai et al., CVPR 2017); taken from the loss, so that it is 0 where there is no difference."""
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class NetworkView(View):
    """A view of a network.

    picture: what it is fed, `[B, channels, h, w]` in its own value range, smaller than the images by the scale. hidden:
    True where pixels are, bool `[B, 1, h, w]`. level: the noise's standard deviation in 0..255, `[B]`.
    """

    picture: Tensor
    hidden: Tensor
    level: Tensor


class NetworkGenerator(Generator):
    """A torch module from picture to picture, with how it is fed, read and cut.

    Noise replaces the whole picture that is fed, but for what stands in a hole; `standard-normal` is N(0, I) where black is
    -1 and white 1.
    """

    family: ClassVar[str] = "network"

    def __init__(
        self, network: nn.Module, use: Use, image_size: int, origin: dict[str, JsonValue] | None = None
    ) -> None:
        """Raises `InputError` if the network cannot be fed, read or cut as `use` says."""
        super().__init__(network.float())
        self.use, self._size, self.origin = use, image_size, origin or {}
        # the corruption of a job, where nothing says what the network was trained to undo
        self.assumed: Corruption | None = None
        training = network.training
        network.eval()
        self.channels, self.answer_channels = self._tried()
        with torch.inference_mode(False):
            self.parts = parts_of(network, use.encoder, self._inputs, self._answer)
        network.train(training)

    @property
    def image_size(self) -> int:
        return self._size

    @property
    def grid(self) -> int:
        """Blocks per side, 16 wherever that divides the picture: only holes are written in them."""
        return math.gcd(self._size, BLOCKS)

    @property
    def usual_corruption(self) -> Corruption:
        if self.use.own_corruption is not None:
            return parse_corruption(self.use.own_corruption)
        if self.assumed is None:
            raise InputError(
                "model.trained_with: say what the network was trained to undo, as noise:25, centre:0.5, or noise:0 "
                "where it was shown the picture itself"
            )
        return self.assumed

    @property
    def tells_training(self) -> bool:
        return self.trained_with is not None or self.use.own_corruption is not None

    @property
    def takes_holes(self) -> bool:
        return self.use.scale == 1

    @property
    def takes_conditions(self) -> bool:
        return not self.use.parts & {"mask", "known"}

    def check_corruption(self, corruption: Corruption) -> None:
        super().check_corruption(corruption)
        if self._told_the_level and not isinstance(corruption, Noise):
            raise InputError(
                f"corruption '{corruption}' leaves the noise level unsaid, which this network is told: take noise:SIGMA"
            )

    def make_view(
        self, images: Tensor, corruption: Corruption, corrupted: Corrupted, draws: Draws, codes: Tensor | None
    ) -> NetworkView:
        picture = corrupted.condition
        hidden = ~corrupted.known if corruption.hides else torch.zeros_like(corrupted.known)
        if corruption.hides:
            picture = torch.where(hidden, self.use.hidden_value, picture)
        if self.use.scale > 1:
            same = isinstance(corruption, Downsample) and corruption.factor == self.use.scale
            picture = shrunk(images if same else picture, self.use.scale)
            hidden = hidden[..., :: self.use.scale, :: self.use.scale]
        sigma = corruption.sigma if isinstance(corruption, Noise) else 0.0
        level = torch.full((len(images),), sigma, device=images.device)
        return NetworkView(images, corrupted, draws, self._fed(picture), hidden, level)

    def noise_view(self, view: View, kind: NoiseKind, moments: PixelMoments) -> View:
        assert isinstance(view, NetworkView)
        side = view.picture.shape[-1]
        noise = self._noise(view, kind, moments, side)
        noise = torch.where(view.hidden, self.use.hidden_value, noise)
        return replace(view, picture=self._fed(noise))

    def encode(self, view: View) -> tuple[Tensor, ...]:
        inputs = self._of_view(view)
        return self.parts.cut.encode(self.active, lambda network: self._call(network, inputs))

    def decode(self, features: tuple[Tensor, ...], view: View) -> Tensor:
        inputs = self._of_view(view)
        output = self.parts.cut.decode(
            self.active, lambda network: self._call(network, inputs), features, len(view)
        )
        return self._read(output)

    def predict(self, view: View) -> Tensor:
        """The same as both halves, in one forward."""
        return self._read(self._call(self.active, self._of_view(view)))

    def task_target(self, view: View) -> Tensor:
        return self._as_answer(view.images)

    def noise_target(self, view: View, kind: NoiseKind, moments: PixelMoments) -> Tensor:
        return self._as_answer(self._noise(view, kind, moments, self._size))

    def prediction_loss(self, prediction: Tensor, target: Tensor, view: View) -> Tensor:
        """The mean over what is to be restored: a hole, or the whole picture."""
        difference = prediction.float() - target.float()
        if self.use.loss == "l1":
            each = difference.abs()
        elif self.use.loss == "l2":
            each = difference.square()
        else:
            squares = difference.square()
            each = squares / ((squares + CHARBONNIER**2).sqrt() + CHARBONNIER)
        region = view.corrupted.region
        return (each.mean(dim=1, keepdim=True) * region).flatten(1).sum(dim=1) / region.flatten(1).sum(dim=1)

    def restore(self, view: View, sampler: str | None = None) -> Tensor:
        self.sampler_name(sampler)
        with torch.no_grad(), self._evaluating():
            answer = self.predict(view).float().clamp(0, 1)
        return torch.where(view.corrupted.known, view.images, answer.expand_as(view.images))

    def encoder_parameters(self) -> dict[str, nn.Parameter]:
        return self._of(self.parts.encoder)

    def decoder_parameters(self) -> dict[str, nn.Parameter]:
        return self._of(self.parts.decoder)

    def reinitialise(self, seed: int, keep_first_stage: bool = False) -> None:
        self.network.load_state_dict(fresh(self.use, seed).state_dict())

    def train(self, mode: bool = True) -> Self:
        """Running statistics of batch normalisation stay as they are, unless the weights are fresh."""
        super().train(mode)
        if mode and not self.learns_statistics:
            for module in self.network.modules():
                if isinstance(module, _NormBase) and module.track_running_stats:
                    module.eval()
        return self

    def compile_network(self) -> None:
        cut = set(self.parts.cut.modules)
        for network in (self.network, *self._teacher):
            for name, module in network.named_modules():
                around = any(other == name or other.startswith(f"{name}.") for other in cut) or not name
                parent = name.rpartition(".")[0]
                # the largest modules that hooks leave alone
                if not around and (
                    not parent or any(one == parent or one.startswith(f"{parent}.") for one in cut)
                ):
                    module.compile()

    def save_pretrained(self, folder: Path) -> None:
        """A folder of weights and of how they are used; its factory's code is named in it, not held."""
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "model_type": MODEL_TYPE,
            "image_size": self._size,
            **self.use.model_copy(update={"encoder": self.parts.named}).model_dump(
                mode="json", exclude_none=True
            ),
        }
        write_json(folder / CONFIG, config)
        write_tensors(folder / WEIGHTS, self.network.state_dict())

    def describe(self) -> dict[str, JsonValue]:
        use = self.use.model_dump(mode="json", exclude={"encoder"}, exclude_none=True)
        return {
            "family": self.family,
            "network": type(self.network).__name__,
            "image_size": self._size,
            "parameters": sum(one.numel() for one in self.network.parameters()),
            "encoder": [*self.parts.named],
            "encoder_from": "a cut in the middle, proposed" if self.parts.proposed else "the settings",
            "encoder_share": round(self._share, 4),
            "built_by": use.pop("network", None),
            **use,
            "origin": self.origin,
        }

    def remarks(self) -> list[str]:
        parts, cut = self.parts, self.parts.cut
        how = (
            "a cut in the middle, since model.encoder is not given"
            if parts.proposed
            else "as model.encoder says"
        )
        slots = [slot for call in cut.calls for slot in call.slots if slot.kept]
        numbers = sum(math.prod(slot.shape[1:]) for slot in slots)
        said = [
            f"the encoder is {several(parts.named, 12)} ({how}): {self._share:.0%} of the parameters; its features are "
            f"{counted(len(slots), 'tensor')}, {magnitude(numbers)} numbers an image"
        ]
        if parts.before:
            said.append(
                f"{several(parts.before)} run before the features, outside the encoder: what trains the encoder alone "
                "leaves them as they are"
            )
        if parts.shared:
            said.append(f"{several(parts.shared)} run in the encoder and behind it: unlearning changes both")
        if parts.passes_input:
            said.append(
                "the input also reaches the answer past the encoder: what the encoder no longer tells of a picture, "
                "its input may still pass on"
            )
        return said

    def settings_at(self, path: str) -> NetworkSettings:
        given = {name: getattr(self.use, name) for name in Use.model_fields}
        settings = NetworkSettings(**given, path=path, family=self.family, image_size=self._size)
        return settings.under(str(self.assumed)) if self.assumed else settings

    @property
    def _share(self) -> float:
        """The encoder's share of all parameters."""
        sizes = {name: one.numel() for name, one in self.network.named_parameters()}
        return sum(sizes[name] for name in self.parts.encoder) / sum(sizes.values())

    @property
    def _told_the_level(self) -> bool:
        return bool(self.use.parts & {"noise-level", "noise-map"})

    def _of(self, names: tuple[str, ...]) -> dict[str, nn.Parameter]:
        parameters = dict(self.network.named_parameters())
        return {name: parameters[name] for name in names}

    # how the network is fed and read

    def _fed(self, pixels: Tensor) -> Tensor:
        """Pictures in [0, 1] in the network's value range and channels."""
        if self.channels == 1:
            pixels = luma(pixels)
        low, high = self.use.value_range
        values = low + (high - low) * pixels
        if self.use.mean is None or self.use.std is None:
            return values
        return (values - _by_channel(self.use.mean, values)) / _by_channel(self.use.std, values)

    def _read(self, output: Any) -> Tensor:
        """The picture in a network's output, in units of black and white."""
        values = self._picture_in(output)
        low, high = self.use.output_range or self.use.value_range
        if self.use.output_range is None and self.use.mean is not None and self.use.std is not None:
            values = values * _by_channel(self.use.std, values) + _by_channel(self.use.mean, values)
        return (values - low) / (high - low)

    def _picture_in(self, output: Any) -> Tensor:
        if self.use.output is not None:
            try:
                output = output[self.use.output]
            except (KeyError, IndexError, TypeError):
                said = list(output) if isinstance(output, dict) else f"{type(output).__name__}"
                raise InputError(
                    f"model.output: the network gives no {self.use.output!r}, but {said}"
                ) from None
        tensors = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]
        side = self._size
        pictures = [
            one
            for one in tensors
            if one.dim() == 4 and one.shape[1] in (1, 3) and one.shape[2:] == (side, side)
        ]
        if len(pictures) == 1:
            return pictures[0]
        shapes = several([str(list(one.shape)) for one in tensors]) or type(output).__name__
        gives = "the network gives" + (" in training mode" if self.network.training else "")
        if pictures:
            raise InputError(
                f"model.output: {gives} {len(pictures)} pictures: say which by its name or place"
            )
        enlarged = {
            one.shape[2] * self.use.scale / side
            for one in tensors
            if one.dim() == 4 and one.shape[1] in (1, 3)
        }
        hint = (
            f". It makes pictures {enlarged.pop():g} times larger: give that as model.scale"
            if len(enlarged) == 1
            else ""
        )
        raise InputError(f"{gives} {shapes}, and no picture [B, 3 or 1, {side}, {side}]{hint}")

    def _as_answer(self, images: Tensor) -> Tensor:
        return luma(images) if self.answer_channels == 1 else images

    def _noise(self, view: View, kind: NoiseKind, moments: PixelMoments, side: int) -> Tensor:
        """A noise picture in the place of each, `[B, 3, side, side]` in units of black and white."""
        like = view.images.new_empty(len(view), 3, side, side)
        if kind == "standard-normal":
            return (view.draws.normal("noise", tuple(like.shape[1:]), like.device) + 1) / 2
        return noise_pixels(like, kind, moments, view.draws)

    def _of_view(self, view: View) -> list[Tensor]:
        assert isinstance(view, NetworkView)
        return self._arranged(view.picture, view.hidden, view.level)

    def _arranged(self, picture: Tensor, hidden: Tensor, level: Tensor) -> list[Tensor]:
        """The network's inputs in the order of `condition`. level: of noise in 0..255, `[B]`."""
        low, high = self.use.value_range
        sigma = (level / 255 * (high - low)).view(-1, 1, 1, 1)
        parts = {
            "picture": picture,
            "mask": hidden.to(picture.dtype),
            "known": (~hidden).to(picture.dtype),
            "noise-level": sigma,
            "noise-map": sigma.expand(-1, 1, *picture.shape[2:]),
        }
        return [
            torch.cat([parts[part] for part in text.rpartition("=")[2].split("+")], dim=1)
            if "+" in text
            else parts[text.rpartition("=")[2]]
            for text in self.use.condition
        ]

    def _call(self, network: nn.Module, inputs: list[Tensor]) -> Any:
        named = {
            text.partition("=")[0]: one
            for text, one in zip(self.use.condition, inputs, strict=True)
            if "=" in text
        }
        placed = [one for text, one in zip(self.use.condition, inputs, strict=True) if "=" not in text]
        with factories.running(network):
            return network(*placed, **named)

    def _answer(self, network: nn.Module, inputs: list[Tensor]) -> Tensor:
        """The picture that a network gives for these inputs, in its own values."""
        return self._picture_in(self._call(network, inputs))

    def _inputs(self, images: int) -> list[Tensor]:
        """Random inputs, to try the network with."""
        side = self._size // self.use.scale
        rng = torch.Generator().manual_seed(0)
        pixels = torch.rand((images, 3, side, side), generator=rng).to(self.device)
        hidden = torch.zeros(images, 1, side, side, dtype=torch.bool, device=self.device)
        hidden[..., side // 4 : side // 2, side // 4 : side // 2] = True
        return self._arranged(self._fed(pixels), hidden, torch.full((images,), 25.0, device=self.device))

    def _tried(self) -> tuple[int, int]:
        """Channels that the network takes and gives; raises `InputError` if it cannot be fed so."""
        if self._size % self.use.scale:
            raise InputError(f"image_size {self._size} is no multiple of scale {self.use.scale}")
        refused = []
        for channels in [self.use.channels] if self.use.channels else [3, 1]:
            self.channels = channels
            try:
                with torch.no_grad():
                    output = self._call(self.network, self._inputs(1))
            except InputError as error:
                shapes = [
                    f"{text} {list(one.shape)}"
                    for text, one in zip(self.use.condition, self._inputs(1), strict=True)
                ]
                refused.append(f"{error}. It was fed with {', '.join(shapes)}")
                continue
            picture = self._picture_in(output)
            if not bool(picture.isfinite().all()):
                raise InputError("the network answers a random picture with values that are not finite")
            self._check_drawing(picture)
            return channels, picture.shape[1]
        raise InputError(f"{refused[0]}: see model.condition, channels, image_size and scale")

    def _check_drawing(self, picture: Tensor) -> None:
        """Raise `InputError` for a network that answers in another way the second time."""
        with torch.no_grad():
            second = self._answer(self.network, self._inputs(1))
        if not torch.allclose(picture, second, rtol=1e-3, atol=1e-5 * float(picture.abs().max())):
            raise InputError(factories.DRAWS)

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Dropout would make a restoration random."""
        training = self.training
        self.eval()
        try:
            yield
        finally:
            self.train(training)


def fresh(use: Use, seed: int) -> nn.Module:
    """The network that `use` names, with fresh weights; raises `InputError` if nothing makes any."""
    if use.network is None or factories.is_held(use.network):
        raise InputError(
            "fresh weights: nothing says how this network is built; give its factory as model.network=package.module:build"
        )
    return factories.fresh(use.network, use.arguments, seed)


def _by_channel(numbers: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(numbers, dtype=like.dtype, device=like.device).view(1, -1, 1, 1)
