"""Targets are visited in chunks, so that memory does not grow with their number.

A chunk is a slice of columns. Its width follows from a byte budget and, for an HDF5 dataset, from the stored chunk
width, so that each stored block is read once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from brainenc.core.stored import Matrix

CHUNK_BYTES = 8 * 2**20
"""Bytes one float64 chunk may take; a function holds a handful of chunks at a time."""


def target_chunks(values: Any, n_bytes: int = CHUNK_BYTES, itemsize: int = 8) -> Iterator[slice]:
    """Yield slices of columns that together cover all targets.

    Parameters
    ----------
    values : ndarray, h5py.Dataset or `brainenc.core.stored.Matrix`, (n_samples, n_targets)
    n_bytes : int
        Budget for one chunk of `itemsize` bytes per value.
    """
    n_samples, n_targets = values.shape
    width = max(1, n_bytes // max(1, n_samples * itemsize))
    stored = getattr(values, "chunks", None)
    if stored:
        width = max(stored[1], width - width % stored[1])
    for start in range(0, n_targets, width):
        yield slice(start, min(start + width, n_targets))


def read_chunk(values: Any, columns: slice, rows: np.ndarray | None = None) -> np.ndarray:
    """Return a fresh float64 copy of the columns, of all rows or of some, (n_rows, n_columns), in C order."""
    if rows is None:
        block = values[:, columns]
    elif isinstance(values, (np.ndarray, Matrix)):
        block = values[rows, columns]
    else:
        block = values[:, columns][rows]  # an HDF5 dataset reads scattered rows one by one
    return np.array(block, dtype=np.float64, order="C")


def rounding_floor(values: Any, peak: np.ndarray) -> np.ndarray:
    """Return the spread, per target, below which `values` hold nothing but rounding.

    Parameters
    ----------
    values : array or dataset whose dtype sets the precision (integers have no rounding).
    peak : (n_targets,) largest absolute value.
    """
    if not np.issubdtype(values.dtype, np.floating):
        return np.zeros_like(peak, dtype=np.float64)
    return 4.0 * float(np.finfo(values.dtype).eps) * peak


def is_constant(values: Any, chunk: np.ndarray) -> np.ndarray:
    """Say which columns of a chunk do not vary beyond rounding, (n_columns,) bool; NaN columns are not constant."""
    high, low = chunk.max(axis=0), chunk.min(axis=0)
    with np.errstate(invalid="ignore", over="ignore"):
        return (high - low) <= rounding_floor(values, np.maximum(np.abs(high), np.abs(low)))
