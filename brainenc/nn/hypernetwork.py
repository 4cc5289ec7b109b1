"""A network that reads (stimulus, response) pairs of one target and writes that target's linear readout.

    weights = head(token_0),    response(x) = weights[:-1] . x + weights[-1]

No gradient is taken for a new target: the pairs are the context, and attention does the learning. Every pair is one
token without position, so their order says nothing. In each block the logits are scaled by ``ln(L)``, L the number of
tokens with the learned ones, which keeps attention as sharp over 1000 pairs as over 30::

    h = norm(x);  x += attention(q = ln(L) W_q h + b_q, k = W_k h + b_k, v = W_v h + b_v);  x += swiglu(norm(x))

Sources: BraInCoRL, Yu et al. 2025, arXiv:2505.15813; pre-activation blocks, He et al. 2016, arXiv:1603.05027; SwiGLU,
Shazeer 2020, arXiv:2002.05202; logits scaled by ln(L), Chiang & Cholak 2022, arXiv:2202.12172.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainenc.core.types import DataError

SLOPE = 0.1  # of the leaky rectifiers


@dataclass(frozen=True)
class HyperShape:
    """Sizes of a `HyperNetwork`.

    Parameters
    ----------
    embedding : channels of a stimulus embedding.
    width : channels of a token; a multiple of ``n_heads``.
    n_layers, n_heads : attention blocks, and heads of each.
    hidden : channels inside a block's gated layer.
    n_tokens : learned tokens beside the context; the first one becomes the weights.
    dropout : share of channels left out in training.

    Raises
    ------
    DataError
        If a size is below 1, heads do not divide the width, or dropout is not in [0, 1).
    """

    embedding: int
    width: int
    n_layers: int = 20
    n_heads: int = 10
    hidden: int = 2048
    n_tokens: int = 4
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("embedding", "width", "n_layers", "n_heads", "hidden", "n_tokens"):
            size = getattr(self, name)
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                raise DataError(f"HyperShape: {name} is {size!r}, wanted a whole number of at least 1: change it.")
        if self.width % self.n_heads:
            raise DataError(
                f"HyperShape: width {self.width} does not divide into {self.n_heads} heads, wanted a multiple: change "
                "one of them."
            )
        if not 0 <= self.dropout < 1:
            raise DataError(f"HyperShape: dropout is {self.dropout!r}, wanted a share from 0 to below 1: change it.")


PRESETS: dict[str, HyperShape] = {
    "clip": HyperShape(embedding=512, width=560),
    "dino": HyperShape(embedding=768, width=800),
    "siglip": HyperShape(embedding=1152, width=1200),
}
"""The published shapes, by the network whose embeddings they read; of dino and siglip the paper quotes smaller ones."""


class ResidualBlock(nn.Module):
    """``bypass(z) + fall(act(norm(rise(act(norm(z))))))``: changes the number of channels from n_in to n_out."""

    def __init__(self, n_in: int, n_hidden: int, n_out: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.rise = nn.LayerNorm(n_in), nn.Linear(n_in, n_hidden)
        self.norm_hidden, self.fall = nn.LayerNorm(n_hidden), nn.Linear(n_hidden, n_out)
        self.bypass = nn.Identity() if n_in == n_out else nn.Linear(n_in, n_out)
        self.dropout = nn.Dropout(dropout)

    def forward(self, z: Tensor) -> Tensor:
        """(..., n_in) -> (..., n_out)."""
        hidden = self.rise(self.dropout(functional.leaky_relu(self.norm(z), SLOPE)))
        out: Tensor = self.bypass(z) + self.fall(self.dropout(functional.leaky_relu(self.norm_hidden(hidden), SLOPE)))
        return out


class AttentionBlock(nn.Module):
    """Pre-norm attention with logits scaled by ln(L), then a gated layer."""

    def __init__(self, shape: HyperShape) -> None:
        super().__init__()
        width = shape.width
        self.n_heads, self.rate = shape.n_heads, shape.dropout
        self.norm, self.norm_gate = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project_in, self.project_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.gate_in, self.gate_out = nn.Linear(width, 2 * shape.hidden), nn.Linear(shape.hidden, width)
        self.dropout = nn.Dropout(shape.dropout)
        nn.init.xavier_uniform_(self.project_in.weight)
        nn.init.zeros_(self.project_in.bias)
        nn.init.zeros_(self.project_out.bias)

    def forward(
        self, x: Tensor, log_length: Tensor, present: Tensor | None = None, n_rows: int | None = None
    ) -> Tensor:
        """Return the first ``n_rows`` tokens (default all) after the block, each having seen all tokens.

        Parameters
        ----------
        x : (n_targets, L, width) tokens.
        log_length : (n_targets, 1, 1) or scalar, logarithm of the number of tokens that are present.
        present : (n_targets, 1, 1, L) bool, tokens that may be seen; None for all.
        """
        query, key, value = self._heads(x, log_length, n_rows)
        rate = self.rate if self.training else 0.0
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=present, dropout_p=rate)
        x = x[:, :n_rows] + self.dropout(self.project_out(seen.transpose(1, 2).flatten(2)))
        gate, up = self.gate_in(self.norm_gate(x)).chunk(2, dim=-1)
        out: Tensor = x + self.gate_out(functional.silu(gate) * up)
        return out

    def attention(
        self, x: Tensor, log_length: Tensor, present: Tensor | None = None, n_rows: int | None = None
    ) -> Tensor:
        """Return the attention that `forward` never forms, (n_targets, n_heads, n_rows, L), rows summing to 1."""
        query, key, _ = self._heads(x, log_length, n_rows)
        logits = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        if present is not None:
            logits = logits.masked_fill(~present, -math.inf)
        return logits.softmax(dim=-1)

    def _heads(self, x: Tensor, log_length: Tensor, n_rows: int | None) -> tuple[Tensor, Tensor, Tensor]:
        """Query (scaled, its bias not), key and value, each (n_targets, n_heads, L, channels)."""
        width = x.shape[-1]
        hidden = self.norm(x)
        weight, bias = self.project_in.weight, self.project_in.bias
        query = functional.linear(hidden[:, :n_rows], weight[:width]) * log_length + bias[:width]
        key, value = functional.linear(hidden, weight[width:], bias[width:]).chunk(2, dim=-1)
        size = (self.n_heads, width // self.n_heads)
        query, key, value = (
            part.to(value.dtype).reshape(*part.shape[:2], *size).transpose(1, 2) for part in (query, key, value)
        )
        return query, key, value


class HyperNetwork(nn.Module):
    """Context of a target -> weights of its linear readout.

    Parameters
    ----------
    shape : HyperShape or a name in `PRESETS`.

    Raises
    ------
    DataError
        If there is no such preset.
    """

    def __init__(self, shape: HyperShape | str) -> None:
        super().__init__()
        if isinstance(shape, str):
            if shape not in PRESETS:
                raise DataError(f"HyperNetwork: preset {shape!r} is unknown: choose one of {', '.join(PRESETS)}.")
            shape = PRESETS[shape]
        self.shape = shape
        n_in, width = shape.embedding + 1, shape.width
        self.early = ResidualBlock(n_in, 2 * width, width, shape.dropout)
        self.token_embedding = nn.Parameter(torch.randn(shape.n_tokens, width) / math.sqrt(width + 1))
        self.blocks = nn.ModuleList(AttentionBlock(shape) for _ in range(shape.n_layers))
        self.head = ResidualBlock(width, 2 * width, n_in, shape.dropout)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, X: Tensor, Y: Tensor, present: Tensor | None = None) -> Tensor:
        """Return the weights, (n_targets, embedding + 1), the last one the intercept.

        Parameters
        ----------
        X : (n_context, embedding) context stimuli of all targets, or (n_targets, n_context, embedding) of each.
            Unit norm.
        Y : (n_targets, n_context) responses to them.
        present : (n_targets, n_context) bool
            Which pairs are there; the others are as if never given. None for all.

        Raises
        ------
        DataError
            If the shapes do not belong together.
        """
        tokens, log_length, seen = self._tokens(X, Y, present)
        for block in self.blocks[:-1]:
            tokens = block(tokens, log_length, seen)
        # Of the last block only token 0 is read, so only that one is made.
        last: Tensor = self.head(self.blocks[-1](tokens, log_length, seen, n_rows=1)[:, 0])
        return last

    def attention(self, X: Tensor, Y: Tensor, present: Tensor | None = None) -> Tensor:
        """Return how token 0 looks at the context, (n_layers, n_targets, n_context), mean over heads.

        The learned tokens take the rest of each row's 1. Arguments as in `forward`.
        """
        tokens, log_length, seen = self._tokens(X, Y, present)
        rows = []
        for block in self.blocks:
            assert isinstance(block, AttentionBlock)
            attention = block.attention(tokens, log_length, seen, n_rows=1)
            rows.append(attention.mean(dim=1)[:, 0, self.shape.n_tokens :])
            tokens = block(tokens, log_length, seen)
        return torch.stack(rows)

    def _tokens(self, X: Tensor, Y: Tensor, present: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Tokens (n_targets, L, width), ln of how many are present, and which (n_targets, 1, 1, L) or None."""
        n_targets, n_context = Y.shape if Y.ndim == 2 else (-1, -1)
        fits = X.ndim in (2, 3) and X.shape[-2:] == (n_context, self.shape.embedding)
        if not fits or (X.ndim == 3 and len(X) != n_targets) or (present is not None and present.shape != Y.shape):
            came = ", ".join(str(tuple(part.shape)) for part in (X, Y, present) if part is not None)
            raise DataError(
                f"HyperNetwork got context of shapes {came}, wanted X ([n_targets, ]n_context, {self.shape.embedding}) "
                "and Y, present (n_targets, n_context): give pairs of such embeddings and responses."
            )
        if present is not None:
            Y = Y.masked_fill(~present, 0.0)
        pairs = torch.cat([X.expand(n_targets, n_context, -1), Y[..., None].to(X.dtype)], dim=-1)
        learned = self.token_embedding.expand(n_targets, -1, -1)
        context = self.early(pairs)
        tokens = self.dropout(torch.cat([learned.to(context.dtype), context], dim=1))
        if present is None:
            return tokens, torch.tensor(math.log(tokens.shape[1]), device=tokens.device), None
        seen = functional.pad(present, (self.shape.n_tokens, 0), value=True)
        return tokens, seen.sum(dim=1)[:, None, None].log(), seen[:, None, None, :]


def respond(weights: Tensor, X: Tensor) -> Tensor:
    """Return responses (n_targets, n_stimuli) of readouts ``weights`` (n_targets, embedding + 1).

    ``X`` is (n_stimuli, embedding), or (n_targets, n_stimuli, embedding) with stimuli of each target's own.
    """
    slopes, intercept = weights[:, :-1], weights[:, -1:]
    if X.ndim == 2:
        return slopes @ X.T + intercept
    return torch.einsum("te,tse->ts", slopes, X) + intercept
