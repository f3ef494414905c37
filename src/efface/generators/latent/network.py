"""UNet, VAE and text encoder in one module, under the names that a pipeline gives them.

The VAE and the text encoder are the first stage. Both run in float32 whatever the autocast: latents that are kept
and latents that are computed again must be the same, and some released VAEs overflow in half precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor, nn

from efface.errors import InputError
from efface.generators.latent import halves
from efface.randomness import Draws

KL_WEIGHT = 1e-2
"""Of the first stage's loss, with means over values in all its terms. Rombach et al. 2022 have far less, and divide
the latents by their measured deviation afterwards; this much keeps it near 1, so that nothing has to be divided."""


FEWEST_WORDS = 10
"""Tokens below which a tokenizer knows none but those around a prompt."""

# as values of any type: the annotations of diffusers do not say what its models hold
UNET: Any = UNet2DConditionModel
VAE: Any = AutoencoderKL


class LatentNetwork(nn.Module):
    """What is saved and digested: `unet`, `vae`, and `text_encoder` where the model has one, of XL `text_encoder_2` too."""

    unet: Any
    vae: Any
    text_encoder: Any
    text_encoder_2: Any

    def __init__(self, unet: Any, vae: Any, text_encoder: Any = None, text_encoder_2: Any = None) -> None:
        super().__init__()
        self.unet = unet
        self.vae = vae
        self.text_encoder = text_encoder
        self.text_encoder_2 = text_encoder_2

    @property
    def text_encoders(self) -> list[Any]:
        return [encoder for encoder in (self.text_encoder, self.text_encoder_2) if encoder is not None]

    def fresh(self, seed: int) -> LatentNetwork:
        """An untrained network of the same shape. The global random state is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            unet = UNET.from_config(self.unet.config)
            vae = VAE.from_config(self.vae.config)
            encoders = [type(encoder)(encoder.config) for encoder in self.text_encoders]
        return LatentNetwork(unet, vae, *encoders)

    @property
    def scaling(self) -> float:
        return float(self.vae.config.scaling_factor)

    @property
    def reduction(self) -> int:
        """Pixels per latent along a side."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    def plain_latents(self, pictures: Tensor) -> Tensor:
        """Mode of the VAE's posterior, unscaled, `[B, C, h, w]`, for pictures `[B, 3, H, W]` in [0, 1]."""
        with torch.no_grad():
            mode: Tensor = self.posterior(pictures).mode()
        return mode

    def latents(self, pictures: Tensor) -> Tensor:
        """The values in which the UNet works: the mode times the pipeline's scaling factor."""
        return self.plain_latents(pictures) * self.scaling

    def pictures(self, latents: Tensor) -> Tensor:
        """Pictures `[B, 3, H, W]` in [0, 1] of scaled latents."""
        with torch.no_grad():
            decoded = self.decoded(latents / self.scaling)
        return ((decoded + 1) / 2).clamp(0, 1)

    def posterior(self, pictures: Tensor) -> DiagonalGaussianDistribution:
        """The VAE's posterior of pictures in [0, 1], as a distribution of unscaled latents."""
        with torch.autocast(pictures.device.type, enabled=False):
            posterior: DiagonalGaussianDistribution = self.vae.encode(pictures.float() * 2 - 1).latent_dist
        return posterior

    def decoded(self, plain: Tensor) -> Tensor:
        """What the VAE makes of unscaled latents, about [-1, 1]."""
        with torch.autocast(plain.device.type, enabled=False):
            decoded: Tensor = self.vae.decode(plain.float()).sample
        return decoded

    def vae_loss(self, pictures: Tensor, draws: Draws) -> Tensor:
        """L1 + L2 of the reconstruction and a small KL term, `[B]`: Rombach et al. 2022 without the perceptual
        and the adversarial term, which need networks of their own."""
        posterior = self.posterior(pictures)
        noise = draws.normal("posterior", tuple(posterior.mean.shape[1:]), pictures.device)
        error = self.decoded(posterior.mean + posterior.std * noise) - (pictures * 2 - 1)
        divergence = posterior.mean.square() + posterior.var - 1 - posterior.logvar
        per_value = error.abs() + error.square()
        loss: Tensor = per_value.flatten(1).mean(1) + KL_WEIGHT * 0.5 * divergence.flatten(1).mean(1)
        return loss

    def context(self, tokenizers: Sequence[Any], prompt: str) -> tuple[Tensor, Tensor | None]:
        """Embeddings of one prompt, `[1, L, D]`; one row of zeros where there is no text encoder.

        With them what XL adds to the timestep, `[1, K]`. Raises `InputError` if the prompt cannot be used.
        """
        if self.text_encoder is None:
            if prompt:
                raise InputError("model.prompt is given, but the model has no text encoder: leave it out")
            return torch.zeros(1, 1, int(self.unet.config.cross_attention_dim)), None
        outputs = [
            _embedded(encoder, tokenizer, prompt)
            for encoder, tokenizer in zip(self.text_encoders, tokenizers, strict=True)
        ]
        if self.text_encoder_2 is None:
            return outputs[0].last_hidden_state, None
        embeddings = torch.cat([output.hidden_states[-2] for output in outputs], dim=2)
        side = int(self.unet.config.sample_size) * self.reduction
        return embeddings, halves.addition(self.unet, outputs[-1].text_embeds, side)


def _embedded(encoder: Any, tokenizer: Any, prompt: str) -> Any:
    """What a text encoder makes of one prompt, with its hidden states."""
    if prompt and len(tokenizer) < FEWEST_WORDS:
        raise InputError(
            "model.prompt is given, but the model was read from one file, which has no tokenizer: name the folder of "
            "one with model.text_tokenizer, or leave the prompt out"
        )
    length = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)
    if (count := len(tokenizer(prompt).input_ids)) > length:
        raise InputError(f"model.prompt has {count} tokens, and the text encoder takes at most {length}")
    tokens = tokenizer(prompt, padding="max_length", max_length=length, return_tensors="pt")
    masked = getattr(encoder.config, "use_attention_mask", False)
    with torch.no_grad(), torch.autocast(encoder.device.type, enabled=False):
        return encoder.eval()(
            tokens.input_ids.to(encoder.device),
            attention_mask=tokens.attention_mask.to(encoder.device) if masked else None,
            output_hidden_states=True,
        )
