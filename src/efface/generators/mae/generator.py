"""A masked autoencoder behind the generator's contract.

Follows He et al., "Masked Autoencoders Are Scalable Vision Learners" (CVPR 2022), on transformers'
`ViTMAEForPreTraining`; only its public methods are used, so a saved model opens with plain transformers.
A deviation: visible patches are fed in raster order, not in random order; the encoder has no notion of
order beyond the position embeddings, so its features differ only in their order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from pydantic import JsonValue
from torch import Tensor, nn
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from efface.attention import cast_once, use_attended
from efface.corruptions import Corrupted, Corruption
from efface.corruptions.patches import RandomPatches
from efface.errors import InputError
from efface.files import write_json
from efface.generators.base import Generator, PixelMoments, View, noise_pixels
from efface.generators.families import NoiseKind
from efface.generators.mae.patches import (
    denormalised,
    from_visible_neighbours,
    normalised,
    sine_cosine_positions,
    statistics,
)
from efface.randomness import Draws
from efface.weights import quiet

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class MaeView(View):
    """A view of a masked autoencoder.

    inputs: what the network is fed, `[B, 3, H, W]` with the channel statistics taken out.
    hidden: patches that the encoder does not see, bool `[B, N]` in raster order.
    visible_count: how many it sees, the same for the whole batch.
    """

    inputs: Tensor
    hidden: Tensor
    visible_count: int


class MaeGenerator(Generator):
    """`ViTMAEForPreTraining` with the channel statistics of its training input.

    Image values are [0, 1]; the network is fed `(image - mean) / std`. Noise replaces the whole picture;
    `standard-normal` is N(0, I) in the network's own value space, the other kinds are pictures.
    """

    family: ClassVar[str] = "mae"
    network: ViTMAEForPreTraining
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: ViTMAEForPreTraining,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
        origin: dict[str, JsonValue] | None = None,
    ) -> None:
        super().__init__(network)
        if not network.config.attention_probs_dropout_prob:
            use_attended(network)
        cast_once(
            [
                module
                for name, module in network.named_modules()
                if name.endswith(("layernorm_before", "layernorm_after"))
            ]
        )
        self.channels = int(network.config.num_channels)
        if self.channels == 1:
            mean, std = _alike(mean), _alike(std)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.origin = origin or {}
        # encode() sets the ratio of the view at hand; this is the one to be saved with the model
        self.mask_ratio = float(network.config.mask_ratio)

    @classmethod
    def new(cls, seed: int, **config: Any) -> MaeGenerator:
        """An untrained model; `config` as in `ViTMAEConfig`. The global random state is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = ViTMAEForPreTraining(ViTMAEConfig(**config))
            generator = cls(network, origin={"kind": "new", "seed": seed})
            _initialise_embeddings(network, generator.grid)
        return generator

    @property
    def config(self) -> ViTMAEConfig:
        config: ViTMAEConfig = self.network.config
        return config

    @property
    def image_size(self) -> int:
        size = self.config.image_size
        return int(size if isinstance(size, int) else size[0])

    @property
    def patch_size(self) -> int:
        size = self.config.patch_size
        return int(size if isinstance(size, int) else size[0])

    @property
    def grid(self) -> int:
        return self.image_size // self.patch_size

    @property
    def usual_corruption(self) -> Corruption:
        return RandomPatches(self.mask_ratio)

    def check_corruption(self, corruption: Corruption) -> None:
        super().check_corruption(corruption)
        some = Draws(0, tuple(str(number) for number in range(16)), (0,) * 16)
        blank = torch.zeros(len(some), 3, self.image_size, self.image_size)
        hidden = corruption.apply(blank, self.grid, some).touched.reshape(len(some), -1).sum(axis=1)
        if hidden.min() != hidden.max():
            raise InputError(
                f"corruption '{corruption}' hides {hidden.min()} to {hidden.max()} patches; a masked autoencoder needs "
                "the same number in every image: take a hole of fixed shape, or random:R"
            )

    def make_view(
        self,
        images: Tensor,
        corruption: Corruption,
        corrupted: Corrupted,
        draws: Draws,
        codes: Tensor | None,
    ) -> MaeView:
        """A grey network's pictures are grey, in three channels that are alike: it is not asked for colours."""
        if self.channels == 1:
            images = in_grey(images)
        touched = corrupted.touched.reshape(len(images), -1)
        visible = (~touched).sum(axis=1)
        if len(set(visible.tolist())) > 1:
            raise ValueError(
                f"'{corruption}' shows {visible.min()} to {visible.max()} patches: one count is needed"
            )
        hidden = torch.from_numpy(touched).to(self.device)
        return MaeView(images, corrupted, draws, self._to_inputs(images), hidden, int(visible[0]))

    def noise_view(self, view: View, kind: NoiseKind, moments: PixelMoments) -> View:
        assert isinstance(view, MaeView)
        return replace(view, inputs=self._noise_inputs(view, kind, moments))

    def encode(self, view: View) -> tuple[Tensor, ...]:
        assert isinstance(view, MaeView)
        network = self._running
        count = self.grid**2
        # the library keeps int(N * (1 - ratio)) patches; half a patch more makes that exact
        network.vit.config.mask_ratio = 1 - (view.visible_count + 0.5) / count
        return (network.vit(view.inputs, noise=_order(view.hidden)).last_hidden_state,)

    def decode(self, features: tuple[Tensor, ...], view: View) -> Tensor:
        assert isinstance(view, MaeView)
        places = torch.argsort(torch.argsort(_order(view.hidden), dim=1), dim=1)
        logits: Tensor = self._running.decoder(features[0], places).logits
        return logits

    def task_target(self, view: View) -> Tensor:
        return self._target(self._to_inputs(view.images))

    def noise_target(self, view: View, kind: NoiseKind, moments: PixelMoments) -> Tensor:
        return self._target(self._noise_inputs(view, kind, moments))

    def prediction_loss(self, prediction: Tensor, target: Tensor, view: View) -> Tensor:
        assert isinstance(view, MaeView)
        per_patch = (prediction - target).pow(2).mean(dim=-1)
        return (per_patch * view.hidden).sum(dim=1) / view.hidden.sum(dim=1)

    def restore(self, view: View, sampler: str | None = None, *, oracle: bool = False) -> Tensor:
        """The finished pictures, in one pass. With `oracle`, a normalised-pixel model is given the hidden patches' true
        statistics, which no honest restoration has: for comparison with pictures made so elsewhere."""
        assert isinstance(view, MaeView)
        self.sampler_name(sampler)
        with torch.no_grad():
            patches = self.predict(view).float()
            if self.config.norm_pix_loss:
                mean, variance = statistics(self._patches(self._to_inputs(view.images)))
                if not oracle:
                    mean = from_visible_neighbours(mean, view.hidden, self.grid)
                    variance = from_visible_neighbours(variance, view.hidden, self.grid)
                patches = denormalised(patches, mean, variance)
            pictures = self.network.unpatchify(patches).expand(-1, 3, -1, -1) * self.std + self.mean
            return torch.where(view.corrupted.known, view.images, pictures.clamp(0, 1))

    def encoder_parameters(self) -> dict[str, nn.Parameter]:
        return self._learnable("vit.")

    def decoder_parameters(self) -> dict[str, nn.Parameter]:
        return self._learnable("decoder.")

    def reinitialise(self, seed: int, keep_first_stage: bool = False) -> None:
        fresh = type(self).new(seed, **self.config.to_dict())
        self.network.load_state_dict(fresh.network.state_dict())

    def compile_network(self) -> None:
        for network in (self.network, *self._teacher):
            assert isinstance(network, ViTMAEForPreTraining)
            network.vit.compile()
            network.decoder.compile()

    def save_pretrained(self, folder: Path) -> None:
        """A folder that `ViTMAEForPreTraining.from_pretrained` and `AutoImageProcessor` open."""
        folder.mkdir(parents=True, exist_ok=True)
        used, self.config.mask_ratio = self.config.mask_ratio, self.mask_ratio
        try:
            with quiet():
                self.network.save_pretrained(folder)
        finally:
            self.config.mask_ratio = used
        write_json(
            folder / "preprocessor_config.json",
            {
                "image_processor_type": "ViTImageProcessor",
                "do_resize": True,
                "size": {"height": self.image_size, "width": self.image_size},
                "resample": 3,
                "do_rescale": True,
                "rescale_factor": 1 / 255,
                "do_normalize": True,
                "image_mean": rounded(self.mean)[: self.channels],
                "image_std": rounded(self.std)[: self.channels],
            },
        )

    def describe(self) -> dict[str, JsonValue]:
        config = self.config
        return {
            "family": self.family,
            "image_size": self.image_size,
            "patch_size": self.patch_size,
            "parameters": sum(p.numel() for p in self.network.parameters()),
            "hidden_size": config.hidden_size,
            "layers": config.num_hidden_layers,
            "decoder_hidden_size": config.decoder_hidden_size,
            "decoder_layers": config.decoder_num_hidden_layers,
            "norm_pix_loss": config.norm_pix_loss,
            "image_mean": [*rounded(self.mean)],
            "image_std": [*rounded(self.std)],
            "origin": self.origin,
        }

    @property
    def _running(self) -> ViTMAEForPreTraining:
        return cast(ViTMAEForPreTraining, self.active)

    def _to_inputs(self, images: Tensor) -> Tensor:
        return ((images - self.mean) / self.std)[:, : self.channels]

    def _noise_inputs(self, view: View, kind: NoiseKind, moments: PixelMoments) -> Tensor:
        if kind == "standard-normal":
            shape = (self.channels, *view.images.shape[2:])
            return view.draws.normal("noise", shape, view.images.device)
        return self._to_inputs(noise_pixels(view.images, kind, moments, view.draws))

    def _patches(self, inputs: Tensor) -> Tensor:
        patches: Tensor = self.network.patchify(inputs)
        return patches

    def _target(self, inputs: Tensor) -> Tensor:
        patches = self._patches(inputs)
        return normalised(patches) if self.config.norm_pix_loss else patches

    def _learnable(self, prefix: str) -> dict[str, nn.Parameter]:
        # the sine-cosine position embeddings are constants of the architecture, never trained
        fixed = ("position_embeddings", "decoder_pos_embed")
        return {
            name: parameter
            for name, parameter in self.network.named_parameters()
            if name.startswith(prefix) and not name.endswith(fixed)
        }


def in_grey(images: Tensor) -> Tensor:
    """The brightness of pictures `[B, 3, H, W]` in each of their channels (ITU-R BT.601, as Pillow has it)."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=images.device).view(1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True).expand_as(images)


def _alike(values: tuple[float, float, float]) -> tuple[float, float, float]:
    """One number for the channel of a grey network, where a processor of colour pictures gives three."""
    mean = sum(values) / len(values)
    return mean, mean, mean


def rounded(values: Tensor) -> list[float]:
    """Channel statistics as numbers: float32 has about seven digits."""
    return [round(value, 6) for value in values.flatten().tolist()]


def _initialise_embeddings(network: ViTMAEForPreTraining, grid: int) -> None:
    """Position embeddings and single tokens as He et al. 2022 set them before training.

    transformers 5 leaves them at zero, which only does no harm where trained weights are loaded over them:
    without positions all hidden patches of an image are one and the same to the decoder.
    """
    embeddings, decoder, config = network.vit.embeddings, network.decoder, network.config
    with torch.no_grad():
        embeddings.position_embeddings.copy_(sine_cosine_positions(grid, config.hidden_size))
        decoder.decoder_pos_embed.copy_(sine_cosine_positions(grid, config.decoder_hidden_size))
        for token in (embeddings.cls_token, decoder.mask_token):
            token.normal_(std=config.initializer_range)


def _order(hidden: Tensor) -> Tensor:
    """Sort keys that put visible patches first, each part in raster order, `[B, N]` float."""
    count = hidden.shape[1]
    return hidden.float() * count + torch.arange(count, device=hidden.device)
