"""How well predictions match responses: one number per target, never clipped, NaN where undefined.

    r2 = 1 - sum_i (y_i - p_i)^2 / sum_i (y_i - mean y)^2        correlation = Pearson's r of y and p

A target that is constant or holds NaN has no score: NaN, never 0. Over cross-validation folds the score is computed
within each fold and then averaged. Pooling rows over folds makes even the mean of the training rows, which knows
nothing, correlate negatively with the responses, because that mean is lower where the held-out rows are higher.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from brainenc.core.types import DataError
from brainenc.stats.checks import as_folds, as_labels, as_pair, names_of
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


@dataclass(frozen=True)
class Identification:
    """Which stimulus was seen, judged from predicted patterns.

    Attributes
    ----------
    top1 : float
        Share of samples whose own candidate correlates best (ties count by the chance of breaking them rightly).
    pairwise : float
        Expected share of wrong candidates beaten by the right one; chance .5.
    rank : (n_samples,) float
        Rank of the right candidate among its fold's, 1 is best, ties at their middle; NaN for untested samples.
    n_candidates : (n_samples,) int
        Candidates in the sample's fold; 0 for untested samples.
    chance : float
        Expected top1 without any information: mean of 1 / n_candidates.
    n_targets : int
        Targets used: those finite in every tested sample.
    """

    top1: float
    pairwise: float
    rank: np.ndarray
    n_candidates: np.ndarray
    chance: float
    n_targets: int


def identification(Y: Any, Y_hat: Any, labels: Any, test_fold: Any = None) -> Identification:
    """Identify each measured pattern by the predicted pattern with which it correlates best over targets.

    In each fold the predictions of a label (a stimulus or a category) are averaged into one candidate, and every
    measured row is compared with all candidates of its fold (Haxby et al. 2001, doi:10.1126/science.1063736;
    Kay et al. 2008, doi:10.1038/nature06713). Patterns are compared as they come: clean or centre them before.

    Parameters
    ----------
    Y, Y_hat : (n_samples, n_targets)
    labels : (n_samples,)
        What each row shows.
    test_fold : (n_samples,) int or None
        None: all rows are one fold.

    Raises
    ------
    DataError
        If a fold holds fewer than two labels, fewer than two targets are finite, or a pattern is constant.
    """
    Y, Y_hat = as_pair(Y, Y_hat)
    labels = as_labels(labels, Y.shape[0], "labels")
    folds = as_folds(test_fold, Y.shape[0], n_least=2)
    tested = np.sort(np.concatenate(folds))
    y, p = np.asarray(Y[tested], dtype=np.float64), np.asarray(Y_hat[tested], dtype=np.float64)
    finite = np.isfinite(y).all(axis=0) & np.isfinite(p).all(axis=0)
    if finite.sum() < 2:
        raise DataError(
            f"only {finite.sum()} of {finite.size} targets are finite in every tested sample but a pattern needs two; "
            "drop the samples or targets that hold NaN."
        )
    y, p = y[:, finite], p[:, finite]
    rank, n_candidates = np.full(Y.shape[0], np.nan), np.zeros(Y.shape[0], dtype=int)
    first = np.full(Y.shape[0], np.nan)
    for rows in folds:
        at = np.searchsorted(tested, rows)
        kinds, own = np.unique(labels[rows], return_inverse=True)
        if kinds.size < 2:
            raise DataError(f"a fold holds only {names_of(kinds)} but identification needs at least two candidates.")
        candidates = np.stack([p[at[own == k]].mean(axis=0) for k in range(kinds.size)])
        above, ties = _beaten_by(_pattern_correlation(y[at], candidates), own)
        rank[rows], n_candidates[rows] = 1 + above + ties / 2, kinds.size
        first[rows] = (above == 0) / (1 + ties)
    n = n_candidates[tested]
    return Identification(
        top1=float(first[tested].mean()),
        pairwise=float(((n - rank[tested]) / (n - 1)).mean()),
        rank=rank,
        n_candidates=n_candidates,
        chance=float((1 / n).mean()),
        n_targets=int(finite.sum()),
    )


def _pattern_correlation(patterns: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation over targets of every pattern with every candidate, (n_patterns, n_candidates)."""
    flat = int((np.ptp(patterns, axis=1) == 0).sum() + (np.ptp(candidates, axis=1) == 0).sum())
    if flat:
        raise DataError(
            f"{flat} patterns are constant over targets, so their correlation is undefined; leave those samples out."
        )
    standard = []
    for rows in (patterns, candidates):
        centred = rows - rows.mean(axis=1, keepdims=True)
        standard.append(centred / np.linalg.norm(centred, axis=1, keepdims=True))
    return standard[0] @ standard[1].T


def _beaten_by(similarity: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how many candidates lie above the right one, and how many others tie with it, per pattern."""
    right = np.take_along_axis(similarity, own[:, None], axis=1)
    return (similarity > right).sum(axis=1), (similarity == right).sum(axis=1) - 1


def k_way(rank: Any, n_candidates: Any, k: int) -> np.ndarray:
    """Return the chance that the right candidate wins among itself and k - 1 random others, in closed form.

    P = C(N - rank, k - 1) / C(N - 1, k - 1), so no distractors are drawn.

    Parameters
    ----------
    rank, n_candidates : (n_samples,)
        As `identification` gives them; k = 2 is the pairwise score.

    Raises
    ------
    DataError
        If k is not between 2 and the number of candidates.
    """
    rank, n = np.asarray(rank, dtype=np.float64), np.asarray(n_candidates)
    if k < 2 or (n[np.isfinite(rank)] < k).any():
        raise DataError(f"k is {k} but must lie between 2 and the number of candidates; choose a smaller k.")
    share = np.ones_like(rank)
    for step in range(k - 1):
        share *= np.clip(n - rank - step, 0, None) / np.where(np.isfinite(rank), n - 1 - step, 1)
    return share
