"""Semantic Spatial Transformer readout: receptive fields and channels that move with what the picture shows.

    y_v = sum_c F[v, c] sum_p S'_v[p] x'_c[p] + b_v,    S'_v = S_v warped by A_v(x),    x'_c = x_c warped by B_c(x)

S >= 0 with norm 1 over the grid; A and B are affine, one matrix per target or channel and sample, given by a small
network that looks at the tokens or at another map, and begin as the identity: untrained it is spatial x feature.
Warped maps are sampled bilinearly, with 0 outside (Jaderberg et al. 2015, arXiv:1506.02025).

Saha, Chadha & Khosla 2024, arXiv:2410.14031. Left out: two modules of the published network that nothing uses.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample

from brainenc.nn.readout_blocks import by_blocks

N_LOOKS = 4
"""Channels to which the localising network squeezes the map it looks at."""


class AffineHead(nn.Module):
    """From what is seen to one affine matrix each for n things, (n_samples, n, 2, 3); begins as the identity."""

    identity: Tensor

    def __init__(self, n_seen: int, n_hidden: int, n_things: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(n_seen, n_hidden)
        self.weight = nn.Parameter(torch.zeros(n_things, 6, n_hidden))
        self.shift = nn.Parameter(torch.zeros(n_things, 6))  # from the identity, so that weight decay pulls towards it
        self.register_buffer("identity", torch.tensor([1.0, 0, 0, 0, 1, 0]), persistent=False)

    def forward(self, seen: Tensor, things: slice = slice(None)) -> Tensor:
        """Return the matrices of some things."""
        moved = torch.einsum("bh,vah->bva", self.hidden(seen).relu(), self.weight[things]) + self.shift[things]
        return (self.identity + moved).reshape(*moved.shape[:2], 2, 3)


class SemanticTransformerReadout(nn.Module):
    """Tokens (n_samples, rows, columns, n_channels) -> responses (n_samples, n_targets).

    Parameters
    ----------
    grid : rows and columns of the tokens.
    n_channels, n_targets : int
    looks_at : (rows, columns, n_channels) of the map that localises; None: the tokens themselves.
    n_hidden : width of the two localising heads.
    targets_per_block : targets at a time; each needs a grid per sample.
    """

    def __init__(
        self,
        grid: tuple[int, int],
        n_channels: int,
        n_targets: int,
        looks_at: tuple[int, int, int] | None = None,
        n_hidden: int = 32,
        targets_per_block: int = 256,
    ) -> None:
        super().__init__()
        rows, columns, n_seen = looks_at or (*grid, n_channels)
        self.grid, self.n_targets, self.targets_per_block = grid, n_targets, targets_per_block
        self.look = nn.Linear(n_seen, N_LOOKS)
        self.move_targets = AffineHead(N_LOOKS * rows * columns, n_hidden, n_targets)
        self.move_channels = AffineHead(N_LOOKS * rows * columns, n_hidden, n_channels)
        self.space = nn.Parameter(1 + 0.1 * torch.randn(n_targets, grid[0] * grid[1]))
        self.feature = nn.Parameter(torch.randn(n_targets, n_channels) / math.sqrt(n_channels))
        self.bias = nn.Parameter(torch.zeros(n_targets))

    def forward(self, tokens: Tensor, looked_at: Tensor | None = None) -> Tensor:
        """Return predicted responses; ``looked_at`` (n_samples, rows, columns, n_channels) localises, if planned."""
        seen = self._seen(tokens, looked_at)
        cells = warped(tokens.permute(0, 3, 1, 2), self.move_channels(seen)).flatten(2)

        def part(block: slice) -> Tensor:
            fields = self._fields(seen, block).flatten(2)
            pooled = torch.einsum("bvp,bcp->bvc", fields, cells)
            return torch.einsum("bvc,vc->bv", pooled, self.feature[block]) + self.bias[block]

        return by_blocks(part, self.n_targets, self.targets_per_block)

    def maps(self) -> Tensor:
        """Return the receptive fields before they move, (n_targets, rows, columns), each >= 0 with norm 1."""
        return self._still(slice(None)).detach().reshape(-1, *self.grid)

    def fields(self, tokens: Tensor, looked_at: Tensor | None = None, targets: slice = slice(None)) -> Tensor:
        """Return the receptive fields as each sample moves them, (n_samples, n_targets, rows, columns)."""
        return self._fields(self._seen(tokens, looked_at), targets)

    def _seen(self, tokens: Tensor, looked_at: Tensor | None) -> Tensor:
        seen: Tensor = self.look(tokens if looked_at is None else looked_at)
        return seen.flatten(1)

    def _still(self, targets: slice) -> Tensor:
        space = self.space[targets].abs()
        length: Tensor = torch.linalg.vector_norm(space, dim=1, keepdim=True)
        return space / (length + 1e-6)

    def _fields(self, seen: Tensor, targets: slice) -> Tensor:
        still = self._still(targets).reshape(-1, *self.grid).expand(len(seen), -1, -1, -1)
        return warped(still, self.move_targets(seen, targets))


def warped(maps: Tensor, moves: Tensor) -> Tensor:
    """Return each map seen through its own affine matrix.

    Parameters
    ----------
    maps : (n_samples, n_maps, rows, columns)
    moves : (n_samples, n_maps, 2, 3), from a place in the result to a place in the map, -1..1 from edge to edge.
    """
    single = maps.flatten(0, 1)[:, None]
    places = affine_grid(moves.flatten(0, 1).to(maps.dtype), list(single.shape), align_corners=False)
    found = grid_sample(single, places, padding_mode="zeros", align_corners=False)
    return found.reshape(maps.shape)
