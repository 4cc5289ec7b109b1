"""Receptive fields read from an encoder: where on the picture a target takes its information from.

    A(cell) = sum over filters of max(w sd(x), 0),    centre = sum A+ position / sum A+,    A+ = A above half its peak

for features on a grid of cells (`brainenc.features.gabor`): the weight map of St-Yves & Naselaris 2018
(doi:10.1016/j.neuroimage.2017.06.035), read from ridge coefficients instead of fitted.
"""

from __future__ import annotations

import numpy as np

from brainenc.core.types import DataError


def read_fields(
    coef: np.ndarray, scale: np.ndarray, grid: tuple[int, int], field: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre and attention map of every target.

    Parameters
    ----------
    coef : (n_cells * n_filters, n_targets)
        Coefficients per raw feature, cells in row-major order, filters last.
    scale : (n_cells * n_filters,)
        Standard deviation of each feature over training samples.
    grid : (n_rows, n_columns)
    field : float
        Degrees from the middle of the picture to its edge.

    Returns
    -------
    x, y : (n_targets,)
        Centre in degrees from the middle of the picture, x right, y **up**; NaN for targets without weights.
    maps : (n_targets, n_rows, n_columns)
        Attention, summing to 1.

    Raises
    ------
    DataError
        If the coefficients do not fill the grid.
    """
    n_cells = grid[0] * grid[1]
    if coef.ndim != 2 or coef.shape[0] % n_cells or scale.shape != coef.shape[:1]:
        raise DataError(
            f"read_fields: coefficients of shape {coef.shape} and scales of shape {scale.shape} do not fill a grid of "
            f"{grid[0]} x {grid[1]} cells: pass those of one feature space on that grid."
        )
    weight = np.maximum(coef * scale[:, None], 0).reshape(n_cells, -1, coef.shape[1]).sum(axis=1)
    peak = weight.max(axis=0)
    inside = np.where(weight >= 0.5 * peak, weight, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = inside / inside.sum(axis=0)
        maps = (weight / weight.sum(axis=0)).T.reshape(-1, *grid)
    row, column = np.divmod(np.arange(n_cells), grid[1])
    across = field * (2 * (column + 0.5) / grid[1] - 1)
    up = -field * (2 * (row + 0.5) / grid[0] - 1)  # image rows go down
    return across @ share, up @ share, maps
