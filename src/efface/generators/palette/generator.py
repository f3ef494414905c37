"""A pixel diffusion model behind the generator's contract.

Follows Saharia et al., "Palette: Image-to-Image Diffusion Models" (SIGGRAPH 2022), and for unlearning Li et al.,
"Machine Unlearning for Image-to-Image Generative Models" (ICLR 2024) as released: the features are all maps of the
down path and the middle block's, and in a noise view only the hole's content is noise. Deviations: the noise level's
embedding belongs to the decoder (see `network`); the model's own loss is a mean over the hole of each image, where the
released one is over the whole picture, so that a larger hole weighs more (`released_loss`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import JsonValue
from torch import Tensor, nn

from efface.corruptions import Corrupted, Corruption, parse_corruption
from efface.corruptions.degradations import luma
from efface.files import write_json
from efface.generators.base import Generator, PixelMoments, View, mean_squares, noise_pixels
from efface.generators.families import NoiseKind
from efface.generators.palette.network import ENCODER, down, fresh, up, use_contiguous_attention
from efface.generators.palette.reverse import Predict, ancestral, fast
from efface.generators.palette.schedule import SCHEDULE, SCHEDULER, Gammas, Schedules, scheduler_config
from efface.generators.sampling import Sampler, read_sampler
from efface.randomness import Draws
from efface.weights import quiet

BLOCKS = 16
# on small trained models ddpm errs half as much as the two without fresh noise, which carry the hue of the start
# noise through to the picture
DEFAULT_SAMPLER, FAST_STEPS = "ddpm", 20


@dataclass(frozen=True)
class PaletteView(View):
    """A view of a pixel diffusion model; pictures `[B, 3, H, W]` in [-1, 1].

    condition: what the network is shown: holes filled with N(0, I), or a degraded picture.
    noisy: the picture at its noise level inside the hole, the clean one outside.
    noise: the noise in it, which the network is to predict.
    gamma: share of signal in the noisy pixels' variance `[B]`; level: what the network is told of it.
    hole: what is to be restored, bool `[B, 1, H, W]`.
    """

    condition: Tensor
    noisy: Tensor
    noise: Tensor
    gamma: Tensor
    level: Tensor
    hole: Tensor

    @property
    def inputs(self) -> Tensor:
        """What the network is fed, `[B, 6, H, W]`."""
        return torch.cat([self.condition, self.noisy], dim=1)


class PaletteGenerator(Generator):
    """A diffusers `UNet2DModel` with six input channels, or two of a grey one, and its noise schedules.

    A grey network is shown and restores brightness, in three channels that are alike. Pixels are [-1, 1] to the
    network. In a noise view only the hole's content changes, the context and the condition stay: for
    `standard-normal` it is the view's own noise at full strength, without any signal (as released); for the other kinds
    a noise picture takes the hidden pixels' place under the same noise level.
    """

    family: ClassVar[str] = "palette"
    gammas: Tensor

    def __init__(
        self,
        network: nn.Module,
        schedules: Schedules | None = None,
        origin: dict[str, JsonValue] | None = None,
        warnings: tuple[str, ...] = (),
    ) -> None:
        super().__init__(network)
        use_contiguous_attention(network)
        self.schedules = schedules or Schedules()
        self.origin, self.warnings = origin or {}, warnings
        # kept as functions, so that each can be compiled as a whole
        self.down, self.up = down, up
        gammas = torch.from_numpy(self.schedules.train.gammas()).float()
        self.register_buffer("gammas", gammas, persistent=False)

    @property
    def image_size(self) -> int:
        size = self._config["sample_size"]
        return int(size if isinstance(size, int) else size[0])

    @property
    def grid(self) -> int:
        """Blocks per side, 16 as in the paper wherever that divides the picture: only holes are written in them."""
        return math.gcd(self.image_size, BLOCKS)

    @property
    def usual_corruption(self) -> Corruption:
        """A box and brush strokes, the released training's `hybrid` mask."""
        return parse_corruption("box-brush")

    @property
    def takes_conditions(self) -> bool:
        return True

    def make_view(
        self, images: Tensor, corruption: Corruption, corrupted: Corrupted, draws: Draws, codes: Tensor | None
    ) -> PaletteView:
        hole = ~corrupted.known
        images = self.toned(images).expand_as(images)
        condition = self._fed(corrupted.condition)
        if corruption.hides:
            condition = _filled(condition, hole, draws)
        gamma, level = self._draw_level(draws)
        noise = draws.normal("diffusion noise", self._shape(images), images.device)
        clean = self._fed(images)
        noisy = torch.where(hole, noised(clean, noise, gamma), clean)
        return PaletteView(images, corrupted, draws, condition, noisy, noise, gamma, level, hole)

    def redrawn(self, view: View, number: int) -> View:
        """As in the base, with other noise in the condition's hole too."""
        assert isinstance(view, PaletteView)
        other = replace(view, draws=view.draws.sample(number))
        if not bool(view.corrupted.region.any()):
            return other
        return replace(other, condition=_filled(view.condition, view.hole, other.draws))

    def noise_view(self, view: View, kind: NoiseKind, moments: PixelMoments) -> View:
        assert isinstance(view, PaletteView)
        if kind == "standard-normal":
            return self.taught_view(view)
        picture = self._fed(noise_pixels(view.images, kind, moments, view.draws))
        content = noised(picture, view.noise, view.gamma)
        return replace(view, noisy=torch.where(view.hole, content, view.noisy))

    def encode(self, view: View) -> tuple[Tensor, ...]:
        assert isinstance(view, PaletteView)
        return self.down(self.active, view.inputs, view.level)

    def decode(self, features: tuple[Tensor, ...], view: View) -> Tensor:
        assert isinstance(view, PaletteView)
        return self.up(self.active, features, view.level)

    def task_target(self, view: View) -> Tensor:
        """The noise in the noisy picture."""
        assert isinstance(view, PaletteView)
        return view.noise.clone()

    def noise_target(self, view: View, kind: NoiseKind, moments: PixelMoments) -> Tensor:
        """Noise that has nothing to do with the input: N(0, I) drawn anew, or a noise picture in [-1, 1]."""
        if kind == "standard-normal":
            return view.draws.normal("noise target", self._shape(view.images), view.images.device)
        return self._fed(noise_pixels(view.images, kind, moments, view.draws))

    def prediction_loss(self, prediction: Tensor, target: Tensor, view: View) -> Tensor:
        """Mean square over the hole."""
        assert isinstance(view, PaletteView)
        squares = (prediction.float() - target.float()).square() * view.hole
        values = view.hole.flatten(1).sum(dim=1) * squares.shape[1]
        return squares.flatten(1).sum(dim=1) / values.clamp(min=1)

    def released_loss(self, prediction: Tensor, target: Tensor, view: View) -> Tensor:
        """The squares of the hole over the size of the whole picture, so that a larger hole weighs more."""
        assert isinstance(view, PaletteView)
        return mean_squares(prediction * view.hole, target * view.hole)

    def output_loss(self, output: Tensor, target: Tensor, view: View) -> Tensor:
        """The mean square over the whole picture."""
        return mean_squares(output, target)

    def noisy_label(self, retain: View, forget: View, moments: PixelMoments) -> tuple[View, Tensor]:
        """The hole of the input holds the view's own noise at full strength, and that same noise is asked for."""
        return self.taught_view(forget), self.task_target(forget)

    def taught_view(self, view: View) -> View:
        """With the view's own noise at full strength in the hole: the released teacher always sees forget images so."""
        assert isinstance(view, PaletteView)
        return replace(view, noisy=torch.where(view.hole, view.noise, view.noisy))

    def sampler_name(self, text: str | None) -> str | None:
        return str(self._sampler(text))

    def restore(self, view: View, sampler: str | None = None) -> Tensor:
        """The finished pictures.

        `ancestral` is the released sampler, on the test schedule; `ddpm` takes the same steps over an even choice of
        the training schedule's levels, `ddim` and `dpm-solver++` go over those without fresh noise. All start from
        keyed noise in the hole; `ancestral` takes that of the condition, as released.
        """
        assert isinstance(view, PaletteView)
        chosen = self._sampler(sampler)
        known = view.corrupted.known
        context = self._fed(view.images)
        shape, device = self._shape(view.images), view.images.device

        def put_back(noisy: Tensor) -> Tensor:
            return torch.where(known, context, noisy)

        with torch.no_grad(), self._evaluating():
            start = put_back(view.draws.normal("restoration", shape, device))
            if chosen.name == "ancestral" and known.any():
                start = put_back(view.condition)
            schedule = self.schedules.test if chosen.name == "ancestral" else self.schedules.train
            predict = self._predictor(view.condition, schedule.gammas())
            if chosen.name in ("ancestral", "ddpm"):
                result = ancestral(
                    schedule.gammas(),
                    chosen.steps,
                    predict,
                    start,
                    lambda number: view.draws.normal(f"restoration step {number}", shape, device),
                    put_back,
                )
            else:
                result = fast(schedule, chosen, predict, start, put_back)
        return torch.where(known, view.images, ((result + 1) / 2).clamp(0, 1).expand_as(view.images))

    def encoder_parameters(self) -> dict[str, nn.Parameter]:
        return {n: p for n, p in self.network.named_parameters() if n.split(".")[0] in ENCODER}

    def decoder_parameters(self) -> dict[str, nn.Parameter]:
        return {n: p for n, p in self.network.named_parameters() if n.split(".")[0] not in ENCODER}

    def reinitialise(self, seed: int, keep_first_stage: bool = False) -> None:
        self.network.load_state_dict(fresh(self._config, seed).state_dict())

    def compile_network(self) -> None:
        # the two halves as functions: blocks share their forward's code, and more than a few of them, each compiled
        # by itself, run into torch's limit of recompilations
        self.down, self.up = torch.compile(down), torch.compile(up)

    def save_pretrained(self, folder: Path) -> None:
        """A folder that efface opens, and diffusers."""
        folder.mkdir(parents=True, exist_ok=True)
        network: Any = self.network
        # the library writes the path that a model was read from into its config
        network.register_to_config(_name_or_path="")
        with quiet():
            network.save_pretrained(folder)
        write_json(folder / SCHEDULE, self.schedules.as_dict())
        if self.schedules.level == "timestep":
            config = scheduler_config(self.schedules.train)
            write_json(folder / SCHEDULER, {"_class_name": "DDPMScheduler", **config})

    def describe(self) -> dict[str, JsonValue]:
        return {
            "family": self.family,
            "network": type(self.network).__name__,
            "image_size": self.image_size,
            **({"channels": 1} if self.channels == 1 else {}),
            "parameters": sum(p.numel() for p in self.network.parameters()),
            "value_space": "[-1, 1]",
            "condition": "holes filled with N(0, I); degraded pictures as they are",
            "encoder": "down path and middle block; the noise level's embedding counts to the decoder",
            "schedules": self.schedules.as_dict(),
            "sampler": self.sampler_name(None),
            "config": {
                key: list(value) if isinstance(value, tuple) else value
                for key, value in self._config.items()
                if not key.startswith("_")
            },
            "origin": self.origin,
        }

    @property
    def channels(self) -> int:
        """Colour channels of what it restores: 3, or 1 of a grey network."""
        return int(self._config["out_channels"])

    def toned(self, pictures: Tensor) -> Tensor:
        """Pictures `[B, 3, H, W]` in the network's channels."""
        return luma(pictures) if self.channels == 1 else pictures

    def _fed(self, pictures: Tensor) -> Tensor:
        """Pictures `[B, 3, H, W]` in [0, 1] in the network's range and channels."""
        return in_network_range(self.toned(pictures))

    def _shape(self, images: Tensor) -> tuple[int, ...]:
        return self.channels, *images.shape[2:]

    @property
    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = self.network.config  # type: ignore[assignment]
        return config

    def _sampler(self, text: str | None) -> Sampler:
        steps = dict.fromkeys(("ddpm", "ddim", "dpm-solver++"), FAST_STEPS)
        steps["ancestral"] = self.schedules.test.steps
        phase = self.schedules.test if (text or "").strip().startswith("ancestral") else self.schedules.train
        return read_sampler(text, steps, DEFAULT_SAMPLER, phase.steps)

    def _draw_level(self, draws: Draws) -> tuple[Tensor, Tensor]:
        """gamma of each image, and what the network is told: gamma itself, or the timestep.

        A continuous level is drawn as in Chen et al. 2021 (WaveGrad): a step, then gamma evenly between it and the
        step before.
        """
        steps = len(self.gammas)
        first, second = draws.uniform("noise level", (2,), self.gammas.device).unbind(dim=1)
        if self.schedules.level == "timestep":
            step = (first * steps).long().clamp(max=steps - 1)
            return self.gammas[step], step.float()
        step = 1 + (first * (steps - 1)).long().clamp(max=steps - 2)
        low, high = self.gammas[step], self.gammas[step - 1]
        gamma = high + (low - high) * second
        return gamma, gamma

    def level_near(self, gamma: float, count: int) -> tuple[Tensor, Tensor]:
        """The trained level nearest to `gamma`, `count` times: gamma, and what the network is told."""
        step = (self.gammas - gamma).abs().argmin().expand(count)
        return self.gammas[step], step.float() if self.schedules.level == "timestep" else self.gammas[step]

    def _predictor(self, condition: Tensor, gammas: Gammas) -> Predict:
        """The network's noise estimate at a step of the schedule with these gammas."""

        def predict(noisy: Tensor, step: int) -> Tensor:
            told = float(step) if self.schedules.level == "timestep" else float(gammas[step])
            level = torch.full((len(noisy),), told, device=noisy.device)
            network = self.active
            inputs = torch.cat([condition, noisy], dim=1)
            return self.up(network, self.down(network, inputs, level), level)

        return predict

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Dropout would make a restoration random."""
        training = self.network.training
        self.network.eval()
        try:
            yield
        finally:
            self.network.train(training)


def _filled(condition: Tensor, hole: Tensor, draws: Draws) -> Tensor:
    """`condition` `[B, 3, H, W]` with N(0, I) where there is a hole."""
    return torch.where(
        hole, draws.normal("hole filling", tuple(condition.shape[1:]), condition.device), condition
    )


def in_network_range(pixels: Tensor) -> Tensor:
    """[0, 1] to [-1, 1]."""
    return pixels * 2 - 1


def noised(clean: Tensor, noise: Tensor, gamma: Tensor) -> Tensor:
    """`sqrt(gamma) clean + sqrt(1 - gamma) noise`, with gamma `[B]`."""
    gamma = gamma.view(-1, 1, 1, 1)
    return gamma.sqrt() * clean + (1 - gamma).sqrt() * noise
