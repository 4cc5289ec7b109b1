"""How well predictions match responses: one number per target, never clipped, NaN where undefined.

    r2 = 1 - sum_i (y_i - p_i)^2 / sum_i (y_i - mean y)^2        correlation = Pearson's r of y and p

A target that is constant or holds NaN has no score: NaN, never 0. Over cross-validation folds the score is computed
within each fold and then averaged. Pooling rows over folds makes even the mean of the training rows, which knows
nothing, correlate negatively with the responses, because that mean is lower where the held-out rows are higher.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from brainenc.core.types import DataError
from brainenc.stats.checks import as_folds, as_pair
from brainenc.stats.chunks import is_constant, read_chunk, target_chunks


def r2(Y: Any, Y_hat: Any) -> np.ndarray:
    """Return the coefficient of determination of each target, (n_targets,).

    Parameters
    ----------
    Y, Y_hat : (n_samples, n_targets)
        Measured and predicted responses, same units.

    Returns
    -------
    (n_targets,) float64
        Fraction of variance, at most 1, unbounded below; NaN where Y is constant or either holds NaN.

    Raises
    ------
    DataError
        If the shapes differ.
    """
    Y, Y_hat = as_pair(Y, Y_hat)
    score = np.full(Y.shape[1], np.nan)
    for columns in target_chunks(Y):
        y, p = read_chunk(Y, columns), read_chunk(Y_hat, columns)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            p -= y
            residual = np.einsum("ij,ij->j", p, p)
            constant = is_constant(Y, y)
            y -= y.mean(axis=0)
            total = np.einsum("ij,ij->j", y, y)
            score[columns] = np.where(constant, np.nan, 1.0 - residual / total)
    return score


def correlation(Y: Any, Y_hat: Any) -> np.ndarray:
    """Return Pearson's correlation of each target with its prediction, (n_targets,).

    Parameters
    ----------
    Y, Y_hat : (n_samples, n_targets)

    Returns
    -------
    (n_targets,) float64
        NaN where Y or Y_hat is constant (beyond rounding of its dtype) or holds NaN.

    Raises
    ------
    DataError
        If the shapes differ.
    """
    Y, Y_hat = as_pair(Y, Y_hat)
    score = np.full(Y.shape[1], np.nan)
    for columns in target_chunks(Y):
        y, y_undefined = _centred(Y, columns)
        p, p_undefined = _centred(Y_hat, columns)
        with np.errstate(invalid="ignore", divide="ignore"):
            r = np.einsum("ij,ij->j", y, p)
            r /= np.sqrt(np.einsum("ij,ij->j", y, y)) * np.sqrt(np.einsum("ij,ij->j", p, p))
        score[columns] = np.where(y_undefined | p_undefined, np.nan, r)
    return score


def _centred(values: Any, columns: slice) -> tuple[np.ndarray, np.ndarray]:
    """Return a chunk without its column means, scaled to a peak of 1 against over- and underflow, and which vary."""
    chunk = read_chunk(values, columns)
    undefined = is_constant(values, chunk)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        chunk -= chunk.mean(axis=0)
        chunk /= np.abs(chunk).max(axis=0)
    return chunk, undefined


def by_fold(metric: Callable[[Any, Any], np.ndarray], Y: Any, Y_hat: Any, test_fold: Any) -> np.ndarray:
    """Return the metric computed within each test fold and then averaged over folds, (n_targets,).

    Parameters
    ----------
    metric : callable (Y, Y_hat) -> (n_targets,)
        A score of one target at a time, such as `r2` or `correlation`.
    Y, Y_hat : (n_samples, n_targets)
        Rows that are never tested (test_fold < 0) are not looked at.
    test_fold : (n_samples,) int
        Fold in which a row is tested, negative for never.

    Returns
    -------
    (n_targets,) float64
        Plain mean over folds; NaN if the score is undefined in any fold.

    Raises
    ------
    DataError
        If a fold has fewer than three rows or none exists.
    """
    Y, Y_hat = as_pair(Y, Y_hat)
    folds = as_folds(test_fold, Y.shape[0])
    score = np.zeros(Y.shape[1])
    for columns in target_chunks(Y):
        y, p = Y[:, columns], Y_hat[:, columns]
        for rows in folds:
            score[columns] += metric(y[rows], p[rows])
    return score / len(folds)


def normalised(score: Any, ceiling: Any, floor: float) -> np.ndarray:
    """Return score / ceiling where the ceiling exceeds the floor, NaN elsewhere; not clipped.

    Parameters
    ----------
    score, ceiling : (n_targets,)
        In one unit: r2 with `ceiling_r2`, correlation with `ceiling_correlation`.
    floor : float
        Smallest ceiling that is trusted, at least 0; below it a ratio is mostly noise.

    Raises
    ------
    DataError
        If shapes differ or the floor is negative or not a number.
    """
    score, ceiling = np.asarray(score, dtype=np.float64), np.asarray(ceiling, dtype=np.float64)
    if score.shape != ceiling.shape:
        raise DataError(f"score is {score.shape} but ceiling is {ceiling.shape}; give one ceiling per score.")
    if not floor >= 0:
        raise DataError(f"the ceiling floor is {floor} but must be at least 0; state one such as 0.1.")
    trusted = ceiling > floor
    return np.where(trusted, score / np.where(trusted, ceiling, 1.0), np.nan)
