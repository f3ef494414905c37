"""Masked image tokens behind the generator's contract.

Follows Li et al., "MAGE: MAsked Generative Encoder to Unify Representation Learning and Image Synthesis" (CVPR 2023),
the VQ-GAN model of the unlearning paper (Li et al., ICLR 2024). Its code was read for facts, none of it is used.
Encoder: token embedding, blocks and last norm; decoder: all behind them; first stage: the tokenizer.

What visible tokens hold. The tokenizer's convolutions see beyond a token, so a visible token near a hole changes with
the hidden pixels: most do on a grid of 4 x 4 tokens, fewer on larger ones (`seeping` measures the share; of the
released weights, of 16 x 16, it has not been measured). Under a hole the network is therefore fed tokens of the picture
with the hole filled, in training, unlearning and restoring alike, and only its targets are those of the true picture.
The model's own token masks are the exception: there visible tokens are those of the whole picture, as released
(`leaky: true`). A model that was trained so has learnt from inputs that restoring never shows it: it may recall a hidden
picture from them and still restore it badly, and no error under a hole says which. The probe `whole-picture` asks that;
with `leaky: false` what is masked is filled there too.

Deviations. The output layer has its own copy of the token table, so that a fixed decoder is fixed; `tied` gives the
released behaviour, where training the encoder changes the decoder's scores. A hole is filled with the mean colour of
the picture's known pixels (released: ImageNet's mean). Known pixels are put back exactly (released: blended over a
blurred edge). Mask rates are drawn for each image (released: one for a batch). Noise comes from a kept set of noise
pictures, but for `batch-matched`, which is drawn afresh as released. The noise target of `fresh-noise` is the tokens of
a noise picture; that of `noisy-label`, as released, rounded Gaussian numbers, whose order means nothing to a codebook.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from pydantic import JsonValue
from torch import Tensor, nn
from torch.nn import functional

from efface.corruptions import Corrupted, Corruption
from efface.corruptions.base import mean_fill
from efface.corruptions.patches import MaskRates
from efface.generators.base import Generator, PixelMoments, Trained, View, mean_squares, noise_pixels
from efface.generators.families import NoiseKind
from efface.generators.mage.network import MageConfig, MageModel
from efface.generators.mage.noise import NoiseBank
from efface.generators.mage.sampling import as_gumbel, complete, read_token_sampler, widened
from efface.generators.mage.tokenizer import first_stage_loss
from efface.randomness import Draws
from efface.weights import quiet

LABEL_SMOOTHING = 0.1
PIXELS_AT_ONCE = 2**20
"""Pixels that the tokenizer works on at a time: 16 pictures of 256 x 256."""


@dataclass(frozen=True)
class MageView(View):
    """A view of a token model; N tokens in raster order.

    inputs: the tokens that the network is fed, int64 `[B, N]`; those that are hidden are not looked at.
    tokens: the tokens of the true image, `[B, N]`.
    hidden: tokens with at least one hidden pixel, bool `[B, N]`.
    kept: positions that are fed to the encoder, `[B, M]` in 0 to N; 0 is the class token, token i is i + 1.
    filled: the tokens of the image with its hole filled, `[B, N]`; None: not known yet.
    whole: it is restored from the tokens of the true image instead.
    """

    inputs: Tensor
    tokens: Tensor
    hidden: Tensor
    kept: Tensor
    filled: Tensor | None = None
    whole: bool = False


class MageGenerator(Generator):
    """A `MageModel`. Image values are [0, 1] on both sides, without mean and deviation.

    Noise replaces the whole picture before it is tokenized; `standard-normal` is N(0, I) in pixels, not clamped.
    """

    family: ClassVar[str] = "mage"
    network: MageModel

    def __init__(self, network: MageModel, origin: dict[str, JsonValue] | None = None) -> None:
        super().__init__(network)
        self.origin = origin or {}
        self._noise = NoiseBank(self.tokens, self.image_size)

    @classmethod
    def new(cls, seed: int, **config: Any) -> MageGenerator:
        """An untrained model; `config` as in `MageConfig`. The global random state is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = MageModel(MageConfig(**config))
        return cls(network, {"kind": "new", "seed": seed})

    @property
    def config(self) -> MageConfig:
        return self.network.config

    @property
    def image_size(self) -> int:
        return self.config.image_size

    @property
    def grid(self) -> int:
        return self.config.grid

    @property
    def usual_corruption(self) -> Corruption:
        return MaskRates(self.config.mask_rate_least, self.config.mask_rate_most)

    def leaks(self, corruption: Corruption) -> bool:
        """Whether visible tokens are those of the whole picture, and so may tell of hidden pixels."""
        return self.config.leaky and isinstance(corruption, MaskRates)

    def codes(self, images: Tensor, corruption: Corruption) -> Tensor:
        """Int64 `[B, 1 or 2, N]`: the tokens, and those of the filled picture where the hole is always the same."""
        tokens = [self.tokens(images)]
        if not corruption.is_random:
            draws = Draws(0, ("",) * len(images), (0,) * len(images))
            known = corruption.apply(images, self.grid, draws).known
            tokens.append(self.tokens(mean_fill(images, known)))
        return torch.stack(tokens, dim=1)

    def codes_change(self, corruption: Corruption) -> bool:
        return corruption.is_random and not self.leaks(corruption)

    def tokens(self, images: Tensor) -> Tensor:
        """The tokens of float pictures `[B, 3, H, W]`, int64 `[B, N]`; the same in every precision of training."""
        several = max(1, PIXELS_AT_ONCE // self.image_size**2)
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            return torch.cat([self.network.tokenizer.tokens(some.float()) for some in images.split(several)])

    def make_view(
        self,
        images: Tensor,
        corruption: Corruption,
        corrupted: Corrupted,
        draws: Draws,
        codes: Tensor | None,
    ) -> MageView:
        tokens, *more = [self.tokens(images)] if codes is None else codes.long().unbind(dim=1)
        filled = None
        if not self.leaks(corruption):
            filled = more[0] if more else self.tokens(mean_fill(images, corrupted.known))
        hidden = corrupted.touched.reshape(len(images), -1)
        dropped = np.zeros_like(hidden)
        if isinstance(corruption, MaskRates):
            # as in pre-training: the share that is always hidden never enters the encoder
            count = corruption.dropped(hidden.shape[1])
            for row, rng in enumerate(draws.each("dropped tokens")):
                dropped[row, rng.choice(np.flatnonzero(hidden[row]), count, replace=False)] = True
        kept = np.stack([np.flatnonzero(~row) + 1 for row in dropped])
        kept = np.concatenate([np.zeros((len(kept), 1), dtype=kept.dtype), kept], axis=1)
        inputs = tokens if filled is None else filled
        hidden_at, kept_at = (torch.from_numpy(array).to(images.device) for array in (hidden, kept))
        return MageView(images, corrupted, draws, inputs, tokens, hidden_at, kept_at, filled)

    def whole_picture_view(self, view: View) -> View:
        assert isinstance(view, MageView)
        return replace(view, inputs=view.tokens, whole=True)

    def noise_view(self, view: View, kind: NoiseKind, moments: PixelMoments) -> View:
        assert isinstance(view, MageView)
        return replace(view, inputs=self.noise_target(view, kind, moments))

    def encode(self, view: View) -> tuple[Tensor, ...]:
        assert isinstance(view, MageView)
        return (self._running.encode(view.inputs, view.hidden, view.kept),)

    def decode(self, features: tuple[Tensor, ...], view: View) -> Tensor:
        assert isinstance(view, MageView)
        return self._running.decode(features[0], view.hidden, view.kept)

    def task_target(self, view: View) -> Tensor:
        assert isinstance(view, MageView)
        return view.tokens.clone()

    def noise_target(self, view: View, kind: NoiseKind, moments: PixelMoments) -> Tensor:
        assert isinstance(view, MageView)
        if kind == "batch-matched":
            # other moments at every step: nothing that could be kept
            return self.tokens(noise_pixels(view.images, kind, moments, view.draws))
        return self._noise.tokens(kind, moments, view.draws, view.tokens.device)

    def prediction_loss(self, prediction: Tensor, target: Tensor, view: View) -> Tensor:
        """Mean over each image's hidden tokens, `[B]` in nats, for scores `[B, N, K]`.

        Towards tokens `[B, N]`: cross-entropy with label smoothing 0.1, as released. Towards scores `[B, N, K]`:
        the divergence KL(target | prediction), which is zero where both give the same probabilities.
        """
        assert isinstance(view, MageView)
        if target.is_floating_point():
            wanted, given = (
                functional.log_softmax(target.float(), dim=-1),
                functional.log_softmax(prediction.float(), dim=-1),
            )
            losses = functional.kl_div(given, wanted, reduction="none", log_target=True).sum(dim=-1)
        else:
            losses = functional.cross_entropy(
                prediction.float().transpose(1, 2), target, reduction="none", label_smoothing=LABEL_SMOOTHING
            )
        return (losses * view.hidden).sum(dim=1) / view.hidden.sum(dim=1)

    def released_loss(self, prediction: Tensor, target: Tensor, view: View) -> Tensor:
        """As `prediction_loss`, but every hidden token of the batch weighs the same, not every image."""
        assert isinstance(view, MageView)
        hidden = view.hidden.sum(dim=1)
        return self.prediction_loss(prediction, target, view) * hidden / hidden.float().mean()

    def noisy_label(self, retain: View, forget: View, moments: PixelMoments) -> tuple[View, Tensor]:
        """The picture as it is, and Gaussian numbers with the moments of the batch's tokens, rounded to tokens."""
        assert isinstance(retain, MageView)
        assert isinstance(forget, MageView)
        numbers = torch.cat([retain.tokens, forget.tokens]).float()
        noise = forget.draws.normal("noisy label", (numbers.shape[1],), numbers.device)
        wanted = noise * numbers.std() + numbers.mean()
        return forget, wanted.clamp(0, self.config.codebook_size - 1).round().long()

    def output(self, view: View) -> Tensor:
        """Scores of the class position and all tokens, for the whole vocabulary, `[B, 1 + N, V]`."""
        assert isinstance(view, MageView)
        features = self.encode(view)[0]
        return self._running.decode(features, view.hidden, view.kept, whole_vocabulary=True)

    def output_loss(self, output: Tensor, target: Tensor, view: View) -> Tensor:
        return mean_squares(output, target)

    def sampler_name(self, text: str | None) -> str:
        return str(read_token_sampler(text))

    def is_stochastic(self, sampler: str | None = None) -> bool:
        return read_token_sampler(sampler).name != "greedy"

    def restore(self, view: View, sampler: str | None = None) -> Tensor:
        """The finished pictures; hidden tokens are filled in step by step. `sampler` as in `sampling`."""
        assert isinstance(view, MageView)
        chosen = read_token_sampler(sampler)
        known, count = view.corrupted.known, view.tokens.shape[1]
        everywhere = torch.arange(1 + count, device=known.device).expand(len(view), -1)

        def scores(tokens: Tensor, hidden: Tensor) -> Tensor:
            features = self._running.encode(tokens, hidden, everywhere)
            return self._running.decode(features, hidden, everywhere)

        with torch.no_grad():
            # filling spoils the tokens beside a hole, for which it is made wider
            wider = 0 if view.whole else chosen.wider
            unknown = widened(view.corrupted.touched, wider).reshape(len(view), -1)
            uniform = view.draws.uniform("restored tokens", (2, chosen.steps, count), known.device)
            seen = view.tokens if view.whole else self._filled(view)
            tokens = complete(scores, seen, unknown, chosen, uniform[:, 0], as_gumbel(uniform[:, 1]))
            return torch.where(known, view.images, self.pictures(tokens))

    def view_risks(self, images: Tensor, corruption: Corruption) -> list[str]:
        share = self.seeping(images, corruption)
        if round(100 * share) == 0:
            return []
        changed = (
            f"{share:.0%} of the tokens that {corruption.label} leaves visible change when the hole is filled"
        )
        if self.leaks(self.training_corruption):
            return [
                f"{changed}: the model was trained on tokens of whole pictures (leaky: true), and is asked about other "
                "tokens than it learnt from. It may remember pictures that it restores badly: the probe whole-picture asks"
            ]
        return [
            f"{changed}: someone who holds the tokens of a whole picture, and not its pixels, is told of what is hidden. "
            "The probe whole-picture asks what the model makes of them"
        ]

    def seeping(self, images: Tensor, corruption: Corruption) -> float:
        """The share of visible tokens that change when the hole that `corruption` cuts into `images` is filled."""
        draws = Draws(0, tuple(str(number) for number in range(len(images))), (0,) * len(images))
        view = self.view(images, corruption, draws)
        assert isinstance(view, MageView)
        visible = ~view.hidden
        return (
            float((self._filled(view) != view.tokens)[visible].float().mean()) if bool(visible.any()) else 0.0
        )

    def pictures(self, tokens: Tensor) -> Tensor:
        """What `tokens` `[B, N]` show, `[B, 3, H, W]` in [0, 1]."""
        several = max(1, PIXELS_AT_ONCE // self.image_size**2)
        with torch.no_grad(), torch.autocast(tokens.device.type, enabled=False):
            pictures = [self.network.tokenizer.pictures(some) for some in tokens.split(several)]
            return torch.cat(pictures).clamp_(0, 1)

    def first_stage_loss(self, view: View) -> Tensor:
        return first_stage_loss(self.network.tokenizer, view.images, self.micro_batches)

    def encoder_parameters(self) -> dict[str, nn.Parameter]:
        return self._named("encoder.")

    def decoder_parameters(self) -> dict[str, nn.Parameter]:
        return self._named("decoder.")

    def first_stage_parameters(self) -> dict[str, nn.Parameter]:
        return self._named("tokenizer.")

    def set_trained(self, trained: Trained) -> None:
        super().set_trained(trained)
        # only here can the tokenizer have begun, or ceased, to change
        self._noise.clear()

    def reinitialise(self, seed: int, keep_first_stage: bool = False) -> None:
        fresh = type(self).new(seed, **self.config.to_dict()).network.state_dict()
        kept = self.network.state_dict()
        if keep_first_stage:
            fresh = {name: kept[name] if name.startswith("tokenizer.") else fresh[name] for name in fresh}
        self.network.load_state_dict(fresh)
        self._noise.clear()

    def take_weights(self, other: Generator) -> None:
        super().take_weights(other)
        self._noise.clear()

    def compile_network(self) -> None:
        for network in (self.network, *self._teacher):
            assert isinstance(network, MageModel)
            network.encoder.compile()
            network.decoder.compile()

    def save_pretrained(self, folder: Path) -> None:
        """A folder that `MageModel.from_pretrained` opens, tokenizer included."""
        folder.mkdir(parents=True, exist_ok=True)
        with quiet():
            self.network.save_pretrained(folder)

    def describe(self) -> dict[str, JsonValue]:
        config = self.config
        return {
            "family": self.family,
            "image_size": self.image_size,
            "tokens": self.grid**2,
            "codebook_size": config.codebook_size,
            "parameters": sum(p.numel() for p in self.network.parameters()),
            "hidden_size": config.hidden_size,
            "layers": config.layers,
            "decoder_hidden_size": config.decoder_hidden_size,
            "decoder_layers": config.decoder_layers,
            "tied": config.tied,
            "leaky": config.leaky,
            "first_stage": {
                "kind": "VQ-GAN tokenizer",
                "weights": self.first_stage_digest(),
                "origin": self.origin.get("tokenizer", {"kind": self.origin.get("kind")}),
            },
            "origin": self.origin,
        }

    @property
    def _running(self) -> MageModel:
        return cast(MageModel, self.active)

    def _filled(self, view: MageView) -> Tensor:
        if view.filled is not None:
            return view.filled
        return self.tokens(mean_fill(view.images, view.corrupted.known))

    def _named(self, prefix: str) -> dict[str, nn.Parameter]:
        return {
            name: parameter for name, parameter in self.network.named_parameters() if name.startswith(prefix)
        }
