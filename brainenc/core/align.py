"""The only place where rows meet: by stimulus id, never by position."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from brainenc.core.stored import Matrix
from brainenc.core.types import DataError, Features, Responses, as_ids

# Columns averaged at a time: the block stays in cache, and memory does not grow with the number of targets.
COLUMNS = 512


def rows_of(wanted: np.ndarray, have: np.ndarray, owner: str) -> np.ndarray:
    """Row of ``have`` (unique ids) that holds each id of ``wanted``.

    Parameters
    ----------
    wanted : array of str, shape (n_samples,)
    have : array of str, shape (n_rows,)
    owner : str
        Named in the error.

    Returns
    -------
    array of int, shape (n_samples,)

    Raises
    ------
    DataError
        If an id is not there.
    """
    rows = pd.Index(have).get_indexer(pd.Index(wanted))
    missing = np.flatnonzero(rows < 0)
    if len(missing):
        names = list(dict.fromkeys(np.asarray(wanted, object)[missing]))
        raise DataError(
            f"{owner} has no row for stimulus {names[0]!r} ({len(names)} stimuli missing): "
            "extract them, or drop the samples that show them."
        )
    return np.asarray(rows)


def align(features: Features, stimulus_ids: np.ndarray) -> np.ndarray:
    """Feature rows in the order of ``stimulus_ids``: X of shape (n_samples, n_features)."""
    rows = rows_of(stimulus_ids, features.stimulus_ids, f"Features {features.name!r}")
    return np.asarray(features.matrix[rows])


def token_grid(features: Features, stimulus_ids: np.ndarray) -> np.ndarray:
    """Token maps in the order of ``stimulus_ids``: X of shape (n_samples, rows, columns, n_channels).

    Tokens that were stored as a list are taken as a square in row-major order.

    Raises
    ------
    DataError
        If the features have no tokens, or a number of tokens that is no square.
    """
    shape = features.values.shape
    grid = shape[1:-1]
    if len(grid) == 1:
        side = math.isqrt(grid[0])
        grid = (side, side)
    if len(grid) != 2 or math.prod(grid) != math.prod(shape[1:-1]):
        raise DataError(
            f"Features {features.name!r}: values have shape {shape}, wanted (n_samples, rows, columns, n_channels) or "
            "a square number of tokens: extract a layer with pooling 'tokens'."
        )
    rows = rows_of(stimulus_ids, features.stimulus_ids, f"Features {features.name!r}")
    return np.asarray(features.values[rows]).reshape(len(rows), *grid, shape[-1])


def average_repetitions(values: np.ndarray, stimulus_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Average the rows that show the same stimulus, ignoring NaN; see `AveragedRows` for rows on disk.

    Parameters
    ----------
    values : array, shape (n_samples, n_targets)
    stimulus_ids : array of str, shape (n_samples,)

    Returns
    -------
    means : array, shape (n_stimuli, n_targets)
        In order of first appearance; NaN where no repetition was measured.
    ids : array of str, shape (n_stimuli,)
    counts : array of int, shape (n_stimuli,)
        Rows averaged (a row counts if any of its targets was measured).

    Raises
    ------
    DataError
        Not one non-empty id per row of a two-dimensional array.
    """
    values = np.asarray(values)
    codes, ids = _codes(values.shape, stimulus_ids)
    means = np.empty((len(ids), values.shape[1]), _mean_type(values.dtype))
    any_measured = np.zeros(len(values), bool)
    for first in range(0, values.shape[1], COLUMNS):
        block = values[:, first : first + COLUMNS]
        any_measured |= np.isfinite(block).any(axis=1)
        means[:, first : first + COLUMNS] = _means(block, codes, len(ids))
    counts = np.bincount(codes[any_measured], minlength=len(ids))
    return means, ids, counts


class AveragedRows(Matrix):
    """The rows of a matrix on disk that show the same stimulus, averaged as `average_repetitions` does when read.

    Parameters
    ----------
    source : Matrix, shape (n_samples, n_targets)
    stimulus_ids : array of str, shape (n_samples,)

    Attributes
    ----------
    stimulus_ids : array of str, shape (n_stimuli,)
        What each averaged row shows, in order of first appearance.
    n_repetitions : array of int, shape (n_stimuli,)
        Rows of ``source`` behind each.

    Raises
    ------
    DataError
        Not one non-empty id per row of ``source``.
    """

    def __init__(self, source: Matrix, stimulus_ids: np.ndarray) -> None:
        self._source = source
        self._codes, self.stimulus_ids = _codes(source.shape, stimulus_ids)
        self.n_repetitions = np.bincount(self._codes, minlength=len(self.stimulus_ids))
        self.shape, self.dtype = (len(self.stimulus_ids), source.shape[1]), _mean_type(source.dtype)
        self.chunks = source.chunks

    def read(self, rows: np.ndarray | None, columns: slice) -> np.ndarray:
        if rows is None:
            return self._averaged(None, self._codes, len(self), columns)
        wanted, place = np.unique(rows, return_inverse=True)
        shown = np.flatnonzero(np.isin(self._codes, wanted))
        averaged = self._averaged(shown, np.searchsorted(wanted, self._codes[shown]), len(wanted), columns)
        return averaged[place]

    def _averaged(self, rows: np.ndarray | None, codes: np.ndarray, n_stimuli: int, columns: slice) -> np.ndarray:
        """Return the means of the rows of ``source`` with equal ``codes``, (n_stimuli, n_columns)."""
        means = np.empty((n_stimuli, columns.stop - columns.start), self.dtype)
        width = self.chunks[1] if self.chunks else COLUMNS
        borders = range(columns.start - columns.start % width, columns.stop, width)
        for first, last in ((max(border, columns.start), min(border + width, columns.stop)) for border in borders):
            block = self._source.read(rows, slice(first, last))
            means[:, first - columns.start : last - columns.start] = _means(block, codes, n_stimuli)
        return means


def _codes(shape: tuple[int, ...], stimulus_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of each row's stimulus, and the stimuli in order of first appearance."""
    if len(shape) != 2 or shape[0] != len(stimulus_ids):
        raise DataError(
            f"average_repetitions: values of shape {shape} for {len(stimulus_ids)} stimulus_ids, "
            "wanted (n_samples, n_targets): give one id per row."
        )
    codes, ids = pd.factorize(as_ids(stimulus_ids, "average_repetitions"))
    return codes, np.asarray(ids, object)


def _mean_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype if np.issubdtype(dtype, np.floating) else np.dtype(np.float64)


def _means(block: np.ndarray, codes: np.ndarray, n_stimuli: int) -> np.ndarray:
    """Return the float64 mean of the finite values of each code and column, NaN where there is none."""
    # One pass per repetition number: rows of one pass show distinct stimuli, so plain indexing accumulates.
    passes = pd.Series(codes).groupby(codes).cumcount().to_numpy()
    total = np.zeros((n_stimuli, block.shape[1]))
    n = np.zeros(total.shape, np.int32)
    for repetition in range(int(passes.max(initial=-1)) + 1):
        rows = np.flatnonzero(passes == repetition)
        values = block[rows]
        measured = np.isfinite(values)
        total[codes[rows]] += values if measured.all() else np.where(measured, values, 0)
        n[codes[rows]] += measured
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


def select_targets(responses: Responses, mask: np.ndarray) -> Responses:
    """Responses of the targets where ``mask`` (n_targets,) is true."""
    space = responses.space.select(mask)
    return Responses(
        np.asarray(responses.values)[:, mask],
        responses.stimulus_ids,
        space,
        responses.units,
        responses.samples,
        responses.tr,
    )
