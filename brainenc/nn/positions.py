"""Sine positions of a grid of tokens: half of the channels say the row, half the column.

    P[y, x, 2i] = sin(y / T^(2i / n)),   P[y, x, 2i + 1] = cos(y / T^(2i / n)),   n = n_channels / 2, then the same of x

Rows and columns count from 1 and are not normalised (Carion et al. 2020, arXiv:2005.12872).
"""

from __future__ import annotations

import torch
from torch import Tensor

from brainenc.core.types import DataError


def sine_positions(n_rows: int, n_columns: int, n_channels: int, temperature: float = 1e4) -> Tensor:
    """Return (n_rows, n_columns, n_channels) float32, values in -1..1: channels of the row first, then of the column.

    Raises
    ------
    DataError
        If the channels do not divide into sine and cosine of rows and columns.
    """
    if n_channels < 4 or n_channels % 4:
        raise DataError(f"Sine positions came with {n_channels} channels, wanted a multiple of 4: change the width.")
    half = n_channels // 2
    period = temperature ** (2 * torch.div(torch.arange(half), 2, rounding_mode="floor") / half)

    def waves(n: int) -> Tensor:
        phase = torch.arange(1, n + 1)[:, None] / period
        return torch.stack([phase[:, 0::2].sin(), phase[:, 1::2].cos()], dim=2).flatten(1)

    rows = waves(n_rows)[:, None].expand(n_rows, n_columns, half)
    columns = waves(n_columns)[None].expand(n_rows, n_columns, half)
    return torch.cat([rows, columns], dim=2).float()
