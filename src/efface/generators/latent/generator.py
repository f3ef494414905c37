"""A latent diffusion model behind the generator's contract.

Follows Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models" (CVPR 2022), as diffusers
has it in `StableDiffusionInpaintPipeline` (the UNet sees noisy latents, mask and the latents of the picture with its
hole) and `StableDiffusionInstructPix2PixPipeline` (Brooks et al., CVPR 2023: noisy latents and those of a whole other
picture). Unlearning follows the reading of a diffusion model in Li et al., ICLR 2024: the encoder is the UNet's path
down with its middle and all residual maps; the time embedding, which feeds both paths, stays with the decoder.

Deviations. The VAE gives its mode, not a sample, for pictures with a hole too. Every latent with a hidden pixel under
it counts as hidden, while diffusers takes one pixel of each. The loss is taken over the hole, while these models were
trained on the whole latent. The prompt is one and the same for all pictures, and never dropped in training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, cast

import torch
from pydantic import JsonValue
from torch import Tensor, nn

from efface.adapters import Adapter, fitted, merge
from efface.corruptions import Corrupted, Corruption, parse_corruption
from efface.errors import InputError
from efface.generators.base import Generator, PixelMoments, Trained, View, noise_pixels
from efface.generators.families import NoiseKind
from efface.generators.latent import halves
from efface.generators.latent.factors import (
    add_factors,
    factors,
    go_on_with,
    has_factors,
    plain_weights,
    without_effect,
    without_factors,
)
from efface.generators.latent.network import LatentNetwork
from efface.generators.latent.pipeline import PipelineSettings, save_delta, save_pipeline
from efface.generators.sampling import NOISE_SCHEDULE, Sampler, denoise, make_scheduler, read_sampler
from efface.randomness import Draws
from efface.recomputing import in_micro_batches
from efface.weights import weights_digest

SAMPLERS = {"ddim": 50, "dpm-solver++": 20}
DEFAULT_SAMPLER = "dpm-solver++"
TRAINING_CORRUPTIONS = {"inpainting": "box-brush", "instruct": "colour"}
"""Masks of boxes and strokes are those of the released models; pictures to be edited are stood in for by grey ones."""
FIRST_STAGE = ("vae.", "text_encoder.", "text_encoder_2.")
ENCODER = ("unet.conv_in.", "unet.down_blocks.", "unet.mid_block.")


@dataclass(frozen=True)
class LatentView(View):
    """A view of a latent diffusion model; latents are `[B, C, h, w]`, scaled.

    noisy: latents at the view's timestep; shown: what the UNet sees beside them, mask and latents of the picture with
    its hole, or latents of the condition. noise: the noise in `noisy`; timesteps: long `[B]`.
    region: 1 where the loss is taken and noise replaces the picture, float `[B, 1, h, w]`.
    """

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    noisy: Tensor
    shown: Tensor
    region: Tensor


class LatentGenerator(Generator):
    """UNet, VAE and text encoder of a Stable-Diffusion-type pipeline. Only the UNet is ever trained to unlearn.

    With `lora_rank`, low-rank factors on the UNet's attention and convolutions are trained in its weights' place:
    those of the path down and the middle by methods that train the encoder, all of them by the others.
    """

    family: ClassVar[str] = "latent-inpainting"
    network: LatentNetwork
    alphas: Tensor
    context: Tensor
    unprompted: Tensor
    added: Tensor | None
    unadded: Tensor | None

    def __init__(self, network: LatentNetwork, pipeline: PipelineSettings) -> None:
        super().__init__(network)
        self.pipeline = pipeline
        schedule = {key: pipeline.scheduler[key] for key in NOISE_SCHEDULE if key in pipeline.scheduler}
        self.schedule = schedule
        alphas = make_scheduler(self._sampler(None), **schedule).alphas_cumprod
        self.register_buffer("alphas", alphas.clone(), persistent=False)
        self._read_prompt()
        if pipeline.lora_rank is not None:
            add_factors(network.unet, pipeline.lora_rank, pipeline.lora_alpha or pipeline.lora_rank)
        self.eval()

    def add_adapter(self, adapter: Adapter) -> None:
        """As in the base; with `train_adapter` the UNet's factors stay apart from its weights, to be trained further."""
        base, network = self.weights_digest(), self.network
        parts = {name: part for name, part in network.named_children() if name != "vae"}
        if self.pipeline.train_adapter:
            of_unet = fitted(adapter, parts)
            if of_unet.replaced or not all(name.startswith("unet.") for name in of_unet.factors):
                raise InputError(
                    "model.train_adapter: the adapter holds more than factors of the UNet; leave it out to "
                    "add the adapter to the weights of its base"
                )
            go_on_with(
                network.unet, {name.removeprefix("unet."): pair for name, pair in of_unet.factors.items()}
            )
        else:
            merge(adapter, parts)
            # factors saved alone would be for weights that lie nowhere
            self.pipeline = replace(self.pipeline, base=None)
        self._read_prompt()
        self.adapter = adapter.facts(base)

    @property
    def kind(self) -> Literal["inpainting", "instruct"]:
        return "instruct" if self.network.unet.config.in_channels == 2 * self.channels else "inpainting"

    @property
    def channels(self) -> int:
        """Channels of the latents."""
        return int(self.network.unet.config.out_channels)

    @property
    def grid(self) -> int:
        return int(self.network.unet.config.sample_size)

    @property
    def image_size(self) -> int:
        return self.grid * self.network.reduction

    @property
    def usual_corruption(self) -> Corruption:
        return parse_corruption(TRAINING_CORRUPTIONS[self.kind])

    @property
    def takes_holes(self) -> bool:
        return self.kind == "inpainting"

    @property
    def takes_conditions(self) -> bool:
        return self.kind == "instruct"

    @property
    def predicts_velocity(self) -> bool:
        return str(self.schedule.get("prediction_type")) == "v_prediction"

    @property
    def adapted(self) -> bool:
        """Whether low-rank factors are trained in place of the weights."""
        return has_factors(self.network)

    def codes(self, images: Tensor, corruption: Corruption) -> Tensor:
        return self.network.latents(images)

    def codes_change(self, corruption: Corruption) -> bool:
        """The UNet is shown latents of the picture with its hole, or of the condition."""
        return True

    def whole_picture_view(self, view: View) -> View | None:
        assert isinstance(view, LatentView)
        if self.kind != "inpainting":
            return None
        hidden, shown = view.shown[:, :1], view.shown[:, 1:]
        return replace(view, shown=torch.cat([hidden, torch.where(hidden > 0, shown, view.latents)], dim=1))

    def make_view(
        self,
        images: Tensor,
        corruption: Corruption,
        corrupted: Corrupted,
        draws: Draws,
        codes: Tensor | None,
    ) -> LatentView:
        latents = self.network.latents(images) if codes is None else codes.float()
        device, shape = images.device, tuple(latents.shape[1:])
        noise = draws.normal("diffusion noise", shape, device)
        share = draws.uniform("diffusion timestep", (), device)
        timesteps = (share * len(self.alphas)).long().clamp_(max=len(self.alphas) - 1)
        region = torch.ones_like(latents[:, :1])
        if self.kind == "inpainting":
            region = torch.from_numpy(corrupted.touched).to(device).float().unsqueeze(1)
            # hidden pixels of the condition are mid-grey, which is 0 to the VAE, as diffusers has it
            shown = torch.cat([region, self.network.latents(corrupted.condition)], dim=1)
        else:
            shown = self.network.plain_latents(corrupted.condition)
        noisy = self._noised(latents, noise, timesteps)
        return LatentView(images, corrupted, draws, latents, noise, timesteps, noisy, shown, region)

    def noise_view(self, view: View, kind: NoiseKind, moments: PixelMoments) -> View:
        """Noise in the hole's latents, or in all of an instruct model; what the UNet is shown beside them stays.

        `standard-normal` takes the signal out and leaves the view's own noise, at unit variance, as the released
        code does for pixels; the other kinds are pictures in the hole, through the VAE and noised like the image.
        """
        assert isinstance(view, LatentView)
        if kind == "standard-normal":
            noisy = view.noise
        else:
            pictures = noise_pixels(view.images, kind, moments, view.draws)
            pictures = torch.where(view.corrupted.known, view.images, pictures)
            noisy = self._noised(self.network.latents(pictures), view.noise, view.timesteps)
        return replace(view, noisy=torch.where(view.region > 0, noisy, view.noisy))

    def encode(self, view: View) -> tuple[Tensor, ...]:
        assert isinstance(view, LatentView)
        inputs = torch.cat([view.noisy, view.shown], dim=1)
        return halves.down(
            self._running.unet, inputs, view.timesteps, *self._told(self.context, self.added, len(view))
        )

    def decode(self, features: tuple[Tensor, ...], view: View) -> Tensor:
        assert isinstance(view, LatentView)
        told = self._told(self.context, self.added, len(view))
        return halves.up(self._running.unet, features, view.timesteps, *told)

    def task_target(self, view: View) -> Tensor:
        assert isinstance(view, LatentView)
        if not self.predicts_velocity:
            return view.noise.clone()
        signal, noise = self._levels(view.timesteps)
        return signal * view.noise - noise * view.latents

    def noise_target(self, view: View, kind: NoiseKind, moments: PixelMoments) -> Tensor:
        """Fresh N(0, I) that has nothing to do with the view's input, whatever the kind: the noise that the UNet
        predicts, or at unit variance the velocity, does not depend on which picture was replaced."""
        return view.draws.normal("noise target", (self.channels, self.grid, self.grid), view.images.device)

    def prediction_loss(self, prediction: Tensor, target: Tensor, view: View) -> Tensor:
        assert isinstance(view, LatentView)
        per_latent = (prediction.float() - target.float()).square().mean(dim=1, keepdim=True)
        return (per_latent * view.region).sum(dim=(1, 2, 3)) / view.region.sum(dim=(1, 2, 3))

    def sampler_name(self, text: str | None) -> str:
        return str(self._sampler(text))

    def restore(self, view: View, sampler: str | None = None) -> Tensor:
        pictures = self.network.pictures(self.sampled(view, sampler))
        return torch.where(view.corrupted.known, view.images, pictures)

    def sampled(self, view: View, sampler: str | None = None, start: Tensor | None = None) -> Tensor:
        """Latents that the model makes of what it is shown, from noise of the view's own or from `start`.

        Neither the picture's own latents nor its hidden pixels are looked at. A pipeline of diffusers gives the same
        with its scheduler set to "trailing" timesteps and without clipping.
        """
        assert isinstance(view, LatentView)
        chosen = self._sampler(sampler)
        if start is None:
            start = view.draws.normal("start", (self.channels, self.grid, self.grid), view.images.device)
        scheduler = make_scheduler(chosen, **self.schedule)
        return denoise(scheduler, chosen.steps, self._predictor(view), start)

    def encoder_parameters(self) -> dict[str, nn.Parameter]:
        return self._trainable(lambda name: name.startswith(ENCODER))

    def decoder_parameters(self) -> dict[str, nn.Parameter]:
        return self._trainable(lambda name: not name.startswith((*ENCODER, *FIRST_STAGE)))

    def first_stage_parameters(self) -> dict[str, nn.Parameter]:
        """The VAE's. A text encoder is part of the first stage too, but is never trained here."""
        return {name: p for name, p in self.network.named_parameters() if name.startswith("vae.")}

    def first_stage_loss(self, view: View) -> Tensor:
        return in_micro_batches(
            self.micro_batches, lambda some: self.network.vae_loss(some.images, some.draws), view
        )

    def first_stage_digest(self) -> str:
        weights = self.network.state_dict()
        return weights_digest({name: weights[name] for name in weights if name.startswith(FIRST_STAGE)})

    def weights(self) -> Mapping[str, Tensor]:
        """As in the base; low-rank factors count as what they make of the weights."""
        return plain_weights(self.network)

    def keep_teacher(self, trained: Trained = "all", precision: torch.dtype | None = None) -> None:
        """As in the base; with low-rank factors the teacher is the network without those that unlearning trains.

        It copies only weights to which a trained adapter adds.
        """
        if not self.adapted:
            return super().keep_teacher(trained, precision)
        start = factors(self.network.unet) if self.pipeline.train_adapter else None
        self._teacher = (without_factors(self.network, start).eval().requires_grad_(False),)
        return None

    def reinitialise(self, seed: int, keep_first_stage: bool = False) -> None:
        """A text encoder is made anew with the VAE: a random one gives every picture the same random embedding.

        A new VAE's latents are not scaled, as `first_stage_loss` keeps their deviation near 1.
        """
        if self.adapted:
            raise InputError(
                "low-rank factors cannot make a model anew: leave out model.lora_rank to train one from scratch"
            )
        fresh = self.network.fresh(seed).state_dict()
        if keep_first_stage:
            fresh = {name: tensor for name, tensor in fresh.items() if not name.startswith(FIRST_STAGE)}
        else:
            self.network.vae.register_to_config(scaling_factor=1.0)
        self.network.load_state_dict({**self.network.state_dict(), **fresh})
        self._read_prompt()

    def take_weights(self, other: Generator) -> None:
        """As in the base; low-rank factors change nothing afterwards, and keep nothing of a training."""
        anew = bool(self.pipeline.train_adapter)
        self.network.load_state_dict(without_effect(self.network, other.weights(), anew))
        self._read_prompt()

    def compile_network(self) -> None:
        for network in (self.network, *self._teacher):
            unet = cast(LatentNetwork, network).unet
            for block in (*unet.down_blocks, unet.mid_block, *unet.up_blocks):
                if block is not None:
                    block.compile()

    def save_pretrained(self, folder: Path, kind: Literal["full", "delta"] = "full") -> None:
        """Write a pipeline folder that diffusers opens, with low-rank factors merged and beside it as well.

        kind: `delta` writes the factors alone, with the name of the model that they are for.
        """
        if kind == "delta":
            save_delta(self.network, self.pipeline, folder)
        else:
            save_pipeline(self.network, self.pipeline, self.kind, folder)

    def describe(self) -> dict[str, JsonValue]:
        about, unet, network = self.pipeline, self.network.unet.config, self.network
        has_text = network.text_encoder is not None
        lora: JsonValue = (
            {"rank": about.lora_rank, "alpha": about.lora_alpha or about.lora_rank} if self.adapted else None
        )
        return {
            "family": self.family,
            "kind": self.kind,
            "image_size": self.image_size,
            "latents": [self.channels, self.grid, self.grid],
            "parameters": sum(p.numel() for p in network.parameters()),
            "unet_channels": list(unet.block_out_channels),
            "prediction_type": "v_prediction" if self.predicts_velocity else "epsilon",
            "noise_levels": len(self.alphas),
            "prompt": about.prompt,
            "prompt_embedding": "text encoder" if has_text else "zeros: the model has no text encoder",
            "guidance_scale": about.guidance_scale,
            "lora": lora,
            "first_stage": {
                "kind": "VAE and text encoder" if has_text else "VAE",
                "weights": self.first_stage_digest(),
            },
            "origin": about.origin,
        }

    @property
    def _running(self) -> LatentNetwork:
        return cast(LatentNetwork, self.active)

    def _read_prompt(self) -> None:
        """Run the text encoder once for the prompt; its embeddings are kept."""
        about = self.pipeline
        if self.network.text_encoder is None and about.guidance_scale > 1:
            raise InputError("model.guidance_scale is given, but the model has no text encoder: leave it out")
        if self.kind == "instruct" and about.guidance_scale > 1:
            raise InputError(
                "model.guidance_scale is for inpainting models: this one restores without guidance"
            )
        for name, of_sizes, prompt in (("context", "added", about.prompt), ("unprompted", "unadded", "")):
            context, added = self.network.context(about.tokenizers, prompt)
            if name == "unprompted" and about.zeros_for_none and added is not None:
                pooled = int(self.network.text_encoder_2.config.projection_dim)
                context, added = torch.zeros_like(context), added.clone()
                added[:, :pooled] = 0
            self.register_buffer(name, context.to(self.device), persistent=False)
            self.register_buffer(of_sizes, None if added is None else added.to(self.device), persistent=False)

    @staticmethod
    def _told(context: Tensor, added: Tensor | None, count: int) -> tuple[Tensor, Tensor | None]:
        """What the UNet is told beside `count` pictures."""
        return context.expand(count, -1, -1), None if added is None else added.expand(count, -1)

    def _levels(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Shares of signal and of noise, `[B, 1, 1, 1]`; their squares sum to 1."""
        alphas = self.alphas[timesteps].view(-1, 1, 1, 1)
        return alphas.sqrt(), (1 - alphas).sqrt()

    def _noised(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        signal, amount = self._levels(timesteps)
        return signal * latents + amount * noise

    def _sampler(self, text: str | None) -> Sampler:
        return read_sampler(
            text, SAMPLERS, DEFAULT_SAMPLER, int(self.schedule.get("num_train_timesteps", 1000))
        )

    def _predictor(self, view: LatentView) -> Callable[[Tensor, int], Tensor]:
        """The UNet on latents at one timestep, beside what the view shows; with guidance if that is asked for."""
        unet, scale = self._running.unet, self.pipeline.guidance_scale
        context, added = self._told(self.context, self.added, len(view))
        guided = scale > 1
        if guided:
            empty, without = self._told(self.unprompted, self.unadded, len(view))
            context = torch.cat([empty, context])
            added = None if added is None or without is None else torch.cat([without, added])

        def predict(noisy: Tensor, timestep: int) -> Tensor:
            inputs = torch.cat([noisy, view.shown], dim=1)
            if guided:
                inputs = torch.cat([inputs, inputs])
            timesteps = torch.full((len(inputs),), timestep, device=inputs.device)
            maps = halves.down(unet, inputs, timesteps, context, added)
            prediction = halves.up(unet, maps, timesteps, context, added)
            if not guided:
                return prediction
            without, given = prediction.chunk(2)
            return without + scale * (given - without)

        return predict

    def _trainable(self, wanted: Callable[[str], bool]) -> dict[str, nn.Parameter]:
        adapted = self.adapted
        return {
            name: parameter
            for name, parameter in self.network.named_parameters()
            if wanted(name) and (".lora_" in name or not adapted)
        }
