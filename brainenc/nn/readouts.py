"""Factorised readouts: a target is a place in the picture times a tuning to channels.

    spatial x feature     y_v = sum_c F[v, c] sum_p S[v, p] x[p, c] + b_v
    Gaussian              y_v = sum_c F[v, c] x[mu_v + sigma_v e, c] + b_v,    e ~ N(0, 1) in training, 0 afterwards

x: tokens, interpolated between cells where a place is no cell. One place per target says where its receptive field is.

Klindt et al. 2017, arXiv:1711.02653 (spatial x feature); Lurz et al. 2021, doi:10.1101/2020.10.05.326256 (Gaussian).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from brainenc.nn.readout_blocks import by_blocks


class SpatialFeatureReadout(nn.Module):
    """A map over the grid and a vector over the channels for each target; tokens as in `AttentionReadout`.

    Parameters
    ----------
    grid : rows and columns of the tokens.
    n_channels, n_targets : int
    targets_per_block : targets at a time.

    Attributes
    ----------
    space : (n_targets, n_cells), begins as a mean over the grid.
    feature : (n_targets, n_channels)
    bias : (n_targets,)
    """

    def __init__(self, grid: tuple[int, int], n_channels: int, n_targets: int, targets_per_block: int = 2048) -> None:
        super().__init__()
        n_cells = grid[0] * grid[1]
        self.grid, self.n_targets, self.targets_per_block = grid, n_targets, targets_per_block
        self.space = nn.Parameter((1 + 0.1 * torch.randn(n_targets, n_cells)) / n_cells)
        self.feature = nn.Parameter(torch.randn(n_targets, n_channels) / math.sqrt(n_channels))
        self.bias = nn.Parameter(torch.zeros(n_targets))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return predicted responses (n_samples, n_targets)."""
        cells = tokens.flatten(1, 2)

        def part(block: slice) -> Tensor:
            seen = torch.einsum("bpc,vp->bvc", cells, self.space[block])
            return torch.einsum("bvc,vc->bv", seen, self.feature[block]) + self.bias[block]

        return by_blocks(part, self.n_targets, self.targets_per_block)

    def maps(self) -> Tensor:
        """Return the weights over the grid, (n_targets, rows, columns); their sign goes with that of ``feature``."""
        return self.space.detach().reshape(-1, *self.grid)


class GaussianReadout(nn.Module):
    """One place per target, drawn from a learned isotropic Gaussian in training and its mean afterwards.

    Places are in units of half a picture's width and height, -1..1 from edge to edge, x right, y down. Between the
    centres of cells tokens are interpolated; beyond the outer centres the outer token counts.

    Parameters
    ----------
    grid : rows and columns of the tokens, of square cells.
    n_channels, n_targets : int
    start_size : sigma at the beginning, in half widths: wide enough to see the whole picture.
    targets_per_block : targets at a time.
    """

    def __init__(
        self,
        grid: tuple[int, int],
        n_channels: int,
        n_targets: int,
        start_size: float = 0.5,
        targets_per_block: int = 2048,
    ) -> None:
        super().__init__()
        self.grid, self.n_targets, self.targets_per_block = grid, n_targets, targets_per_block
        # Vectors, not one matrix: weight decay, which is for matrices, would pull places to the middle.
        self.across = nn.Parameter(0.1 * torch.randn(n_targets))
        self.down = nn.Parameter(0.1 * torch.randn(n_targets))
        self.log_size = nn.Parameter(torch.full((n_targets,), math.log(start_size)))
        self.feature = nn.Parameter(torch.randn(n_targets, n_channels) / math.sqrt(n_channels))
        self.bias = nn.Parameter(torch.zeros(n_targets))

    def centres(self) -> Tensor:
        """Return (n_targets, 2): x right and y down, -1..1 from edge to edge."""
        return torch.stack([self.across.tanh(), self.down.tanh()], dim=1)

    def sizes(self) -> Tensor:
        """Return sigma (n_targets,) in half widths of the picture."""
        return self.log_size.exp()

    def forward(self, tokens: Tensor) -> Tensor:
        """Return predicted responses (n_samples, n_targets)."""
        channels_first = tokens.permute(0, 3, 1, 2)
        aspect = torch.tensor([1.0, self.grid[1] / self.grid[0]], device=tokens.device)

        def part(block: slice) -> Tensor:
            places = self.centres()[block].expand(len(tokens), -1, -1)
            if self.training:
                draw = torch.randn(places.shape, device=tokens.device)
                places = places + draw * self.sizes()[block, None] * aspect
            seen = grid_sample(
                channels_first, places[:, :, None].to(tokens.dtype), padding_mode="border", align_corners=False
            )
            return torch.einsum("bcv,vc->bv", seen[..., 0], self.feature[block]) + self.bias[block]

        return by_blocks(part, self.n_targets, self.targets_per_block)
