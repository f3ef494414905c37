"""Tokenizer and token model as one transformers model, so that a saved folder is complete.

`MageModel.from_pretrained(folder)` opens it without the rest of efface.
"""

from __future__ import annotations

from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init

from efface.generators.mage.tokenizer import Codebook, Tokenizer, ToPixels
from efface.generators.mage.transformer import PredictionHead, TokenDecoder, TokenEncoder


@strict
class MageConfig(PreTrainedConfig):
    """The shape of a `MageModel`. Tokens are 0 to `codebook_size - 1`; `class_token` and `mask_token` lie above."""

    model_type = "efface-mage"

    image_size: int = 256
    codebook_size: int = 1024
    code_dimension: int = 256
    tokenizer_patch: int = 1
    tokenizer_channels: int = 128
    tokenizer_multipliers: list[int] | tuple[int, ...] = (1, 1, 2, 2, 4)
    tokenizer_blocks: int = 2
    tokenizer_groups: int = 32
    vocabulary_size: int = 2025
    class_token: int = 1100
    mask_token: int = 2024
    hidden_size: int = 768
    layers: int = 12
    heads: int = 12
    inner_size: int = 3072
    decoder_hidden_size: int = 768
    decoder_layers: int = 8
    decoder_heads: int = 16
    decoder_inner_size: int = 3072
    dropout: float = 0.1
    mask_rate_least: float = 0.5
    mask_rate_most: float = 1.0
    tied: bool = False
    leaky: bool = True
    initializer_range: float = 0.02

    @property
    def grid(self) -> int:
        """Tokens per side."""
        return self.image_size // (self.tokenizer_patch << (len(self.tokenizer_multipliers) - 1))


class MageModel(PreTrainedModel):
    """`tokenizer`: the frozen first stage. `encoder`: tokens to features. `decoder`: features to scores."""

    config_class = MageConfig
    config: MageConfig
    base_model_prefix = ""
    main_input_name = "tokens"
    _supports_sdpa = True

    def __init__(self, config: MageConfig) -> None:
        super().__init__(config)
        self.tokenizer = Tokenizer(
            config.codebook_size,
            config.code_dimension,
            config.tokenizer_channels,
            config.tokenizer_multipliers,
            config.tokenizer_blocks,
            config.tokenizer_groups,
            config.tokenizer_patch,
        )
        length = 1 + config.grid**2
        self.encoder = TokenEncoder(
            config.vocabulary_size,
            length,
            config.hidden_size,
            config.layers,
            config.heads,
            config.inner_size,
            config.dropout,
        )
        self.decoder = TokenDecoder(
            config.hidden_size,
            config.vocabulary_size,
            length,
            config.decoder_hidden_size,
            config.decoder_layers,
            config.decoder_heads,
            config.decoder_inner_size,
            config.tied,
        )
        self.post_init()  # type: ignore[no-untyped-call]

    def encode(self, tokens: Tensor, hidden: Tensor, kept: Tensor) -> Tensor:
        """Features `[B, M, hidden_size]` of `tokens` `[B, N]`; those where `hidden` `[B, N]` is True are not looked at.

        kept: the positions that the encoder is fed, `[B, M]` in 0 to N; 0 is the class token.
        """
        masked_tokens = torch.where(hidden, self.config.mask_token, tokens)
        first = masked_tokens.new_full((len(masked_tokens), 1), self.config.class_token)
        features: Tensor = self.encoder(torch.cat([first, masked_tokens], dim=1), kept)
        return features

    def decode(
        self, features: Tensor, hidden: Tensor, kept: Tensor, whole_vocabulary: bool = False
    ) -> Tensor:
        """Scores `[B, N, codebook_size]` of each place's token, given what `encode` made with `hidden` and `kept`.

        With `whole_vocabulary`, also of the class position and of special tokens: `[B, 1 + N, vocabulary_size]`.
        """
        predicted = torch.cat([hidden.new_zeros(len(hidden), 1), hidden], dim=1)
        count = self.config.vocabulary_size if whole_vocabulary else self.config.codebook_size
        table = self.encoder.embedding.tokens.weight
        scores: Tensor = self.decoder(features, kept, predicted, table, count)
        return scores if whole_vocabulary else scores[:, 1:]

    def forward(self, tokens: Tensor, hidden: Tensor) -> Tensor:
        """Scores `[B, N, codebook_size]` for `tokens` `[B, N]`, of which those that are `hidden` are predicted."""
        everywhere = torch.arange(1 + tokens.shape[1], device=tokens.device).expand(len(tokens), -1)
        return self.decode(self.encode(tokens, hidden, everywhere), hidden, everywhere)

    def give_output_table(self) -> None:
        """Untie: the output layer gets its own copy of the encoder's token table."""
        if self.decoder.head.table is None:
            self.decoder.head.table = nn.Parameter(self.encoder.embedding.tokens.weight.detach().clone())
        self.config.tied = False

    def share_output_table(self) -> None:
        """Tie: the output layer reads the encoder's token table, as in the release."""
        self.decoder.head.table = None
        self.config.tied = True

    @torch.no_grad()
    def _init_weights(self, module: Any) -> None:
        if isinstance(module, ToPixels):
            # begins as nearly plain grey: strong random patterns take several times as long to be unlearnt
            init.normal_(module.weight, std=0.1 * (9 * module.in_channels) ** -0.5)
            if module.bias is not None:
                init.constant_(module.bias, 0.5)
            return
        super()._init_weights(module)  # type: ignore[no-untyped-call]
        if isinstance(module, nn.Conv2d):
            # only the tokenizer convolves; at a deviation of 0.02 its pictures would stay flat for long
            init.kaiming_normal_(module.weight, nonlinearity="linear")
        elif isinstance(module, Codebook):
            init.normal_(module.weight, std=module.weight.shape[1] ** -0.5)
        elif isinstance(module, PredictionHead):
            init.zeros_(module.bias)
            if module.table is not None:
                init.normal_(module.table, std=self.config.initializer_range)
        elif isinstance(module, TokenDecoder):
            init.normal_(module.positions, std=self.config.initializer_range)
