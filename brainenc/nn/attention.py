"""Queries look at the tokens of a picture, and what each finds predicts its targets: the transformer brain encoder.

    a_q = softmax(W_q (t_q + q) . W_k (S + P) / sqrt(d))  W_v S,   t_q <- t_q + W_o a_q,   t_q <- t_q + FFN(LN(t_q))
    y_v = < w_v, mean over the queries of v of LN(t_q) > + b_v

S: tokens, P: their sine positions, on the keys only; q: learned, one a region, a hemisphere or a target. Three
parameters of the published network cannot receive a gradient and are left out: self-attention, the scale of a norm of
t = 0, and the bias of the keys, which the softmax cancels.

Adeli, Sun & Kriegeskorte 2025, arXiv:2505.17329; attention: Vaswani et al. 2017, arXiv:1706.03762.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from brainenc.core.types import DataError
from brainenc.nn.positions import sine_positions
from brainenc.nn.readout_blocks import by_blocks


@dataclass(frozen=True)
class AttentionShape:
    """Sizes of the decoder.

    Parameters
    ----------
    width : int, optional
        Channels d inside; None: as many as the tokens have. Tokens of another number of channels are projected.
    n_heads, n_hidden, n_layers : int
        Heads of the attention, width of the feed-forward network, decoder layers.
    dropout : float
        Of attention weights, hidden values and both branches.
    """

    width: int | None = None
    n_heads: int = 16
    n_hidden: int = 1024
    n_layers: int = 1
    dropout: float = 0.1

    def width_for(self, n_channels: int) -> int:
        """Return the width for tokens of so many channels.

        Raises
        ------
        DataError
            If heads and positions do not divide it.
        """
        width = self.width or n_channels
        if width % self.n_heads or width % 4:
            raise DataError(
                f"Attention of width {width} with {self.n_heads} heads, wanted a multiple of the heads and of 4: set "
                "width or n_heads."
            )
        return width


Memory = tuple[Tensor, Tensor]
"""Keys and values by head, (n_samples, n_heads, n_tokens, d / n_heads) each."""

SCORES = 2**26
"""Most attention scores of a block of targets (256 MB): with dropout they are all in memory."""


class CrossAttention(nn.Module):
    """Queries (n_samples or 1, n_queries, d) look at what is remembered of tokens -> (n_samples, n_queries, d)."""

    def __init__(self, width: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads, self.dropout = n_heads, dropout
        self.query, self.value, self.out = (nn.Linear(width, width) for _ in range(3))
        self.key = nn.Linear(width, width, bias=False)

    def remember(self, key: Tensor, value: Tensor) -> Memory:
        """Return the memory of tokens, from keys and values (n_samples, n_tokens, d): once for all queries."""
        return self._heads(self.key(key)), self._heads(self.value(value))

    def forward(self, query: Tensor, memory: Memory) -> Tensor:
        """Return what the queries find."""
        k, v = memory
        q = self._heads(self.query(query)).expand(len(k), -1, -1, -1)
        found = scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        joined: Tensor = self.out(found.transpose(1, 2).flatten(2))
        return joined

    def weights(self, query: Tensor, memory: Memory) -> Tensor:
        """Return where the queries look, (n_samples, n_heads, n_queries, n_tokens), summing to 1 over tokens."""
        q, k = self._heads(self.query(query)), memory[0]
        return (q @ k.transpose(2, 3) / math.sqrt(q.shape[3])).softmax(dim=3)

    def _heads(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], self.n_heads, -1).transpose(1, 2)


class DecoderLayer(nn.Module):
    """Cross-attention and a feed-forward network, each added to what was there (pre-norm)."""

    def __init__(self, shape: AttentionShape, width: int, first: bool) -> None:
        super().__init__()
        self.norm = None if first else nn.LayerNorm(width)
        self.attention = CrossAttention(width, shape.n_heads, shape.dropout)
        self.drop = nn.Dropout(shape.dropout)
        self.feed = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, shape.n_hidden),
            nn.ReLU(),
            nn.Dropout(shape.dropout),
            nn.Linear(shape.n_hidden, width),
            nn.Dropout(shape.dropout),
        )

    def asked(self, found: Tensor | None, queries: Tensor) -> Tensor:
        """Return what is asked for: the queries (n_queries, d), in later layers with what was found so far."""
        return queries[None] if self.norm is None or found is None else self.norm(found) + queries

    def forward(self, found: Tensor | None, queries: Tensor, memory: Memory) -> Tensor:
        """Return what is found after this layer, (n_samples, n_queries, d); ``found`` is None before the first."""
        new = self.drop(self.attention(self.asked(found, queries), memory))
        found = new if found is None else found + new
        fed: Tensor = self.feed(found)
        return found + fed


class TargetReadout(nn.Module):
    """One vector of weights and a bias per target, each applied to its own token: never every target to every token."""

    def __init__(self, n_targets: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_targets, width).uniform_(-1, 1) / math.sqrt(width))
        self.bias = nn.Parameter(torch.zeros(n_targets))

    def each(self, tokens: Tensor, targets: slice) -> Tensor:
        """Return (n_samples, n_targets) from a token per target, (n_samples, n_targets, d)."""
        return torch.einsum("bvd,vd->bv", tokens, self.weight[targets]) + self.bias[targets]

    def shared(self, token: Tensor, members: Tensor) -> Tensor:
        """Return (n_samples, n_members), without bias, from one token (n_samples, d) that the members share."""
        return token @ self.weight.index_select(0, members).T


class AttentionReadout(nn.Module):
    """Tokens (n_samples, rows, columns, n_channels) -> responses (n_samples, n_targets).

    Parameters
    ----------
    grid : rows and columns of the tokens.
    n_channels : of a token.
    n_targets : int
    membership : (n_queries, n_targets) bool, which targets a query serves; a target of several gets the mean of their
        predictions. None: one query per target.
    shape : AttentionShape
    targets_per_block : targets at a time where each has its own query; fewer where the tokens are very many.

    Raises
    ------
    DataError
        If a target has no query, or a query no target.
    """

    share: Tensor
    positions: Tensor

    def __init__(
        self,
        grid: tuple[int, int],
        n_channels: int,
        n_targets: int,
        membership: Tensor | None,
        shape: AttentionShape,
        targets_per_block: int = 2048,
    ) -> None:
        super().__init__()
        width = shape.width_for(n_channels)
        if membership is not None and not (membership.any(dim=0).all() and membership.any(dim=1).all()):
            raise DataError("Attention: a target has no query or a query no target: leave out empty regions.")
        self.grid, self.n_targets, self.targets_per_block = grid, n_targets, targets_per_block
        self.members = None if membership is None else [row.nonzero()[:, 0] for row in membership]
        n_queries = n_targets if membership is None else len(membership)
        self.query_embedding = nn.Parameter(torch.empty(n_queries, width))
        self.project = nn.Identity() if width == n_channels else nn.Linear(n_channels, width)
        self.layers = nn.ModuleList(DecoderLayer(shape, width, first=i == 0) for i in range(shape.n_layers))
        self.norm = nn.LayerNorm(width)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
        self.readout = TargetReadout(n_targets, width)
        share = None if membership is None else 1.0 / membership.sum(dim=0).float()
        self.register_buffer("share", share, persistent=False)
        self.register_buffer("positions", sine_positions(*grid, width).flatten(0, 1), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return predicted responses."""
        memories = self._memories(tokens)
        if self.members is None:
            scores = memories[0][0][..., 0].numel()  # of one target
            return by_blocks(
                lambda block: self.readout.each(self._found(self.query_embedding[block], memories), block),
                self.n_targets,
                min(self.targets_per_block, max(1, SCORES // scores)),
            )
        found = self._found(self.query_embedding, memories)
        total = found.new_zeros(len(found), self.n_targets)
        for query, members in enumerate(self.members):
            members = members.to(found.device)
            total = total.index_add(1, members, self.readout.shared(found[:, query], members).to(total.dtype))
        return total * self.share + self.readout.bias

    def attention(self, tokens: Tensor, queries: slice | list[int] = slice(None)) -> Tensor:
        """Return where the last layer looks, mean over heads, (n_samples, n_queries, rows, columns), summing to 1."""
        memories, asked = self._memories(tokens), self.query_embedding[queries]
        found: Tensor | None = None
        for layer, memory in zip(list(self.layers)[:-1], memories[:-1], strict=True):
            found = layer(found, asked, memory)
        last: Any = self.layers[-1]
        weights: Tensor = last.attention.weights(last.asked(found, asked), memories[-1]).mean(dim=1)
        return weights.reshape(*weights.shape[:2], *self.grid)

    def _memories(self, tokens: Tensor) -> list[Memory]:
        """Return what each layer remembers: keys, which know their positions, and values, which do not."""
        value = self.project(tokens.flatten(1, 2))
        layers: Any = self.layers
        return [layer.attention.remember(value + self.positions, value) for layer in layers]

    def _found(self, queries: Tensor, memories: list[Memory]) -> Tensor:
        """Return what the queries (n_queries, d) find in each sample, (n_samples, n_queries, d)."""
        found: Tensor | None = None
        for layer, memory in zip(self.layers, memories, strict=True):
            found = layer(found, queries, memory)
        normed: Tensor = self.norm(found)
        return normed
