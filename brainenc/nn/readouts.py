"""Factorised readouts: a target is a place in the picture times a tuning to channels.

    spatial x feature     y_v = sum_c F[v, c] sum_p S[v, p] x[p, c] + b_v
    Gaussian              y_v = sum_c F[v, c] E x[mu_v + sigma_v e, c] + b_v,    e ~ N(0, 1)

x: tokens, interpolated between cells where a place is no cell. One place per target says where its receptive field is.

Klindt et al. 2017, arXiv:1711.02653 (spatial x feature); Lurz et al. 2021, doi:10.1101/2020.10.05.326256 (Gaussian).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from brainenc.nn.readout_blocks import by_blocks

PACE = 0.25
"""How fast a size moves beside its place: a Gaussian should not narrow before it is where it belongs."""


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
    """One place and size per target: it sees the mean of the tokens under a learned isotropic Gaussian.

    Places are in units of half a picture's width and height, -1..1 from edge to edge, x right, y down. Between the
    centres of cells tokens are interpolated; beyond the outer centres the outer token counts. In training the mean is
    that of a few draws, afterwards the exact one. One draw, read at mu afterwards, is the published readout; its sizes
    shrink to nothing, since nothing is averaged. With several they tell how widely a target looks.

    Parameters
    ----------
    grid : rows and columns of the tokens, of square cells.
    n_channels, n_targets : int
    start_size : sigma at the beginning, in half widths: wide enough to see most of the picture.
    targets_per_block : targets at a time.
    n_draws : places drawn for each target and sample in training.
    """

    def __init__(
        self,
        grid: tuple[int, int],
        n_channels: int,
        n_targets: int,
        start_size: float = 0.5,
        targets_per_block: int = 2048,
        n_draws: int = 8,
    ) -> None:
        super().__init__()
        self.grid, self.n_targets, self.targets_per_block, self.n_draws = grid, n_targets, targets_per_block, n_draws
        # Vectors, not one matrix: weight decay, which is for matrices, would pull places to the middle.
        self.across = nn.Parameter(0.1 * torch.randn(n_targets))
        self.down = nn.Parameter(0.1 * torch.randn(n_targets))
        self.narrowing = nn.Parameter(torch.full((n_targets,), -math.log(start_size) / PACE))
        self.feature = nn.Parameter(torch.randn(n_targets, n_channels) / math.sqrt(n_channels))
        self.bias = nn.Parameter(torch.zeros(n_targets))

    def centres(self) -> Tensor:
        """Return (n_targets, 2): x right and y down, -1..1 from edge to edge."""
        return torch.stack([self.across.tanh(), self.down.tanh()], dim=1)

    def sizes(self) -> Tensor:
        """Return sigma (n_targets,) in half widths of the picture."""
        return torch.exp(-PACE * self.narrowing)

    def maps(self, targets: slice = slice(None)) -> Tensor:
        """Return the weight of each cell in the mean, (n_targets, rows, columns), summing to 1."""
        centre, size = self.centres()[targets], self.sizes()[targets]
        rows, columns = self.grid
        across = expected_weights(centre[:, 0], size, columns)
        down = expected_weights(centre[:, 1], size * columns / rows, rows)
        return down[:, :, None] * across[:, None]

    def forward(self, tokens: Tensor) -> Tensor:
        """Return predicted responses (n_samples, n_targets)."""
        seen_by = self._drawn if self.training else self._expected

        def part(block: slice) -> Tensor:
            return torch.einsum("bvc,vc->bv", seen_by(tokens, block), self.feature[block]) + self.bias[block]

        return by_blocks(part, self.n_targets, self.targets_per_block)

    def _drawn(self, tokens: Tensor, targets: slice) -> Tensor:
        """Return the mean over drawn places, (n_samples, n_targets, n_channels)."""
        spread = self.sizes()[targets, None, None] * torch.tensor([1.0, self.grid[1] / self.grid[0]]).to(tokens.device)
        draws = torch.randn(len(tokens), len(spread), self.n_draws, 2, device=tokens.device)
        places = self.centres()[targets, None] + spread * draws
        seen = grid_sample(
            tokens.permute(0, 3, 1, 2), places.to(tokens.dtype), padding_mode="border", align_corners=False
        )
        return seen.mean(dim=3).transpose(1, 2)

    def _expected(self, tokens: Tensor, targets: slice) -> Tensor:
        """Return the mean over all places, (n_samples, n_targets, n_channels)."""
        return torch.einsum("byxc,vyx->bvc", tokens, self.maps(targets).to(tokens.dtype))


def expected_weights(centre: Tensor, size: Tensor, n_cells: int) -> Tensor:
    """Return the weight of each cell in the mean of linear interpolation at a Gaussian place, (n, n_cells), sum 1.

        E (u - k)+ = (m - k) Phi((m - k) / s) + s phi((m - k) / s),    u ~ N(m, s^2)

    Interpolation between cells k and k + 1 is a difference of two such ramps; outside it stays at the outer cells.

    Parameters
    ----------
    centre, size : (n,), -1..1 from edge to edge.
    n_cells : int
    """
    mean = ((centre + 1) * n_cells / 2 - 0.5)[:, None] - torch.arange(n_cells, device=centre.device)
    s = (size * n_cells / 2)[:, None]
    density = torch.exp(-((mean / s) ** 2) / 2) / math.sqrt(2 * math.pi)
    ramp = mean * torch.special.ndtr(mean / s) + s * density
    passed = ramp[:, :-1] - ramp[:, 1:]  # how far on the way from each cell to the next, 0..1
    return nn.functional.pad(passed, (1, 0), value=1.0) - nn.functional.pad(passed, (0, 1))
