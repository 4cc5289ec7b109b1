"""The only place where rows meet: by stimulus id, never by position."""

from __future__ import annotations

import numpy as np
import pandas as pd

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


def average_repetitions(values: np.ndarray, stimulus_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Average the rows that show the same stimulus, ignoring NaN.

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
    if values.ndim != 2 or len(values) != len(stimulus_ids):
        raise DataError(
            f"average_repetitions: values of shape {values.shape} for {len(stimulus_ids)} stimulus_ids, "
            "wanted (n_samples, n_targets): give one id per row."
        )
    dtype = values.dtype if np.issubdtype(values.dtype, np.floating) else np.dtype(np.float64)
    codes, ids = pd.factorize(as_ids(stimulus_ids, "average_repetitions"))
    # One pass per repetition number: rows of one pass show distinct stimuli, so plain indexing accumulates.
    passes = pd.Series(codes).groupby(codes).cumcount().to_numpy()
    repetitions = [np.flatnonzero(passes == r) for r in range(int(passes.max(initial=-1)) + 1)]
    means = np.empty((len(ids), values.shape[1]), dtype)
    any_measured = np.zeros(len(values), bool)
    for first in range(0, values.shape[1], COLUMNS):
        columns = slice(first, first + COLUMNS)
        total = np.zeros((len(ids), means[:, columns].shape[1]))
        n = np.zeros(total.shape, np.int32)
        for rows in repetitions:
            block = values[rows, columns]
            measured = np.isfinite(block)
            any_measured[rows] |= measured.any(axis=1)
            total[codes[rows]] += block if measured.all() else np.where(measured, block, 0)
            n[codes[rows]] += measured
        means[:, columns] = np.where(n > 0, total / np.maximum(n, 1), np.nan)
    counts = np.bincount(codes[any_measured], minlength=len(ids))
    return means, np.asarray(ids, object), counts


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
