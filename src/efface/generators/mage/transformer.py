"""The token model: an encoder over the tokens that are seen, a decoder that predicts those that are not.

Follows Li et al., "MAGE: MAsked Generative Encoder" (CVPR 2023). Position 0 is a class token; hidden tokens are the
mask token or, in training, partly left out of the encoder's input. The decoder puts the encoder's output of the
class token at every hidden position.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from efface.attention import attended

NORM_EPSILON = 1e-6
HEAD_EPSILON = 1e-5


class Attention(nn.Module):
    """Self-attention over `[B, L, width]`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)

    def forward(self, values: Tensor) -> Tensor:
        parts = self.query_key_value(values).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = attended(query, key, value)
        projected: Tensor = self.projection(mixed.transpose(1, 2).flatten(2))
        return projected


class Block(nn.Module):
    """A pre-norm transformer block over `[B, L, width]`."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.expand = nn.Linear(width, inner)
        self.contract = nn.Linear(inner, width)

    def forward(self, values: Tensor) -> Tensor:
        values = values + self.attention(self.norm1(values))
        change: Tensor = self.contract(functional.gelu(self.expand(self.norm2(values))))
        return values + change


class TokenEmbedding(nn.Module):
    """Token plus position, normalised, with dropout in training: `[B, L]` to `[B, L, width]`."""

    def __init__(self, vocabulary: int, length: int, width: int, dropout: float) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(length, width)
        self.norm = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        embedded: Tensor = self.dropout(self.norm(self.tokens(tokens) + self.positions.weight))
        return embedded


class TokenEncoder(nn.Module):
    """Tokens `[B, L]`, of which the positions `kept` `[B, M]` are encoded, to features `[B, M, width]`."""

    def __init__(
        self, vocabulary: int, length: int, width: int, layers: int, heads: int, inner: int, dropout: float
    ) -> None:
        super().__init__()
        self.embedding = TokenEmbedding(vocabulary, length, width, dropout)
        self.blocks = nn.ModuleList(Block(width, heads, inner) for _ in range(layers))
        self.norm = nn.LayerNorm(width, eps=NORM_EPSILON)

    def forward(self, tokens: Tensor, kept: Tensor) -> Tensor:
        embedded = self.embedding(tokens)
        values = embedded.gather(1, _each(kept, embedded))
        for block in self.blocks:
            values = block(values)
        features: Tensor = self.norm(values)
        return features


class PredictionHead(nn.Module):
    """Features `[B, L, width]` to one score per token: likeness to the rows of a token table.

    `table` `[V, table_width]` is a weight of its own, or None where the encoder's table is read (`tied`).
    """

    def __init__(self, width: int, vocabulary: int, table_width: int, tied: bool) -> None:
        super().__init__()
        self.dense = nn.Linear(width, table_width)
        self.norm = nn.LayerNorm(table_width, eps=HEAD_EPSILON)
        self.table = None if tied else nn.Parameter(torch.empty(vocabulary, table_width))
        self.bias = nn.Parameter(torch.empty(vocabulary))

    def forward(self, values: Tensor, encoder_table: Tensor, count: int) -> Tensor:
        # used without a gradient, as released: through the output layer the encoder's table is not trained
        table = encoder_table.detach() if self.table is None else self.table
        return functional.linear(
            self.norm(functional.gelu(self.dense(values))), table[:count], self.bias[:count]
        )


class TokenDecoder(nn.Module):
    """Features `[B, M, encoder_width]` of the positions `kept` `[B, M]` to scores `[B, L, count]`.

    hidden: positions to be predicted, bool `[B, L]`. count: how many tokens, from the first on, get a score.
    """

    def __init__(
        self,
        encoder_width: int,
        vocabulary: int,
        length: int,
        width: int,
        layers: int,
        heads: int,
        inner: int,
        tied: bool,
    ) -> None:
        super().__init__()
        self.embedding = nn.Linear(encoder_width, width)
        self.positions = nn.Parameter(torch.empty(1, length, width))
        self.blocks = nn.ModuleList(Block(width, heads, inner) for _ in range(layers))
        self.norm = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.head = PredictionHead(width, vocabulary, encoder_width, tied)

    def forward(
        self, features: Tensor, kept: Tensor, hidden: Tensor, encoder_table: Tensor, count: int
    ) -> Tensor:
        seen = self.embedding(features)
        of_class = seen[:, :1].expand(-1, hidden.shape[1], -1)
        values = of_class.scatter(1, _each(kept, seen), seen)
        values = torch.where(hidden.unsqueeze(-1), of_class, values) + self.positions
        for block in self.blocks:
            values = block(values)
        scores: Tensor = self.head(self.norm(values), encoder_table, count)
        return scores


def _each(places: Tensor, values: Tensor) -> Tensor:
    """`places` `[B, M]` as an index into `values` `[B, L, width]` along its second dimension."""
    return places.unsqueeze(-1).expand(-1, -1, values.shape[-1])
