"""Could chance have done it? Permutation p-values with samples (or blocks of them) as the unit, and FDR over targets.

    p = (1 + number of permutations with a statistic >= the observed one) / (1 + number of permutations)

which is never 0 (Phipson & Smyth 2010, doi:10.2202/1544-6115.1585). Rows of the predictions are permuted within each
test fold, the same way for all targets, so the dependence between targets survives and a region mean may be tested.
Both statistics depend on the pairing of rows through one inner product per fold: correlation = sum of products of
standardised rows; r2 = constant + 2 sum_i (y_i - mean y) p_i / sum of squares. So a permutation costs one
multiply-and-add per value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from brainenc.core.types import DataError
from brainenc.stats.checks import as_folds, as_labels, as_mask_matrix, as_pair
from brainenc.stats.chunks import is_constant, read_chunk, target_chunks

STATISTICS = ("correlation", "r2")
CACHE_BYTES = 2**20
"""Bytes of one float32 chunk: two of them and a product stay in the processor's cache over all permutations."""
TIE = 1e-6
"""Rounding allowance of float32 sums, relative to the largest possible statistic: ties count as reached."""


def permutation_p_values(
    Y: Any,
    Y_hat: Any,
    n_permutations: int = 1000,
    seed: int = 0,
    blocks: Any = None,
    statistic: str = "correlation",
    test_fold: Any = None,
) -> np.ndarray:
    """Return the one-sided permutation p-value of each target's score, (n_targets,).

    Parameters
    ----------
    Y, Y_hat : (n_samples, n_targets)
        Measured and held-out predicted responses.
    n_permutations : int
        The smallest p-value is 1 / (1 + n_permutations).
    seed : int
    blocks : (n_samples,) or None
        Rows that are only exchangeable together (runs, stretches of time). Blocks change places within a fold and keep
        their inner order; with unequal lengths rows shift, which assumes stationary noise.
    statistic : "correlation" or "r2"
    test_fold : (n_samples,) int or None
        Permutation stays within a fold and the statistic is the mean over folds, as in `metrics.by_fold`.

    Returns
    -------
    (n_targets,) float64
        In (0, 1]; NaN where the score is undefined.

    Raises
    ------
    DataError
        Unknown statistic, no permutation possible, or a fold with fewer than three rows.
    """
    Y, Y_hat = as_pair(Y, Y_hat)
    units = _units(Y.shape[0], n_permutations, blocks, test_fold)
    p_values = np.full(Y.shape[1], np.nan)
    for columns, a, b, _, undefined in _paired_chunks(Y, Y_hat, units, statistic):
        observed = np.einsum("ij,ij->j", a, b)
        reached = observed - TIE * np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)
        count = np.zeros(a.shape[1], dtype=np.int64)
        for permuted in _permuted_products(a, b, units, n_permutations, seed):
            count += permuted >= reached
        p_values[columns] = np.where(undefined, np.nan, (1 + count) / (1 + n_permutations))
    return p_values


def region_p_values(
    Y: Any,
    Y_hat: Any,
    masks: Mapping[str, Any],
    n_permutations: int = 1000,
    seed: int = 0,
    blocks: Any = None,
    statistic: str = "correlation",
    test_fold: Any = None,
) -> pd.DataFrame:
    """Test the mean score of each region by the same permutations for all of its targets.

    Neighbouring targets share noise, so they are no independent samples: here the stimuli are the unit.

    Parameters
    ----------
    masks : mapping of region name to (n_targets,) bool
    others : as in `permutation_p_values`

    Returns
    -------
    DataFrame
        Index "region"; columns score (mean over defined targets), p, n_targets (defined), n_undefined.

    Raises
    ------
    DataError
        As `permutation_p_values`, or a malformed or empty region.
    """
    Y, Y_hat = as_pair(Y, Y_hat)
    names, members = as_mask_matrix(masks, Y.shape[1])
    units = _units(Y.shape[0], n_permutations, blocks, test_fold)
    observed, n_defined, scale = np.zeros(len(names)), np.zeros(len(names), dtype=int), np.zeros(len(names))
    null, constant = np.zeros((n_permutations, len(names))), np.zeros(len(names))
    for columns, a, b, offset, undefined in _paired_chunks(Y, Y_hat, units, statistic):
        chosen = (members[columns] & ~undefined[:, None]).astype(np.float64)
        if not chosen.any():
            continue
        n_defined += chosen.sum(axis=0).astype(int)
        observed += np.einsum("ij,ij->j", a, b).astype(np.float64) @ chosen
        scale += (np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)).astype(np.float64) @ chosen
        constant += np.where(undefined, 0, offset) @ chosen
        for i, permuted in enumerate(_permuted_products(a, b, units, n_permutations, seed)):
            null[i] += permuted.astype(np.float64) @ chosen
    with np.errstate(invalid="ignore"):
        count = (null >= observed - TIE * scale).sum(axis=0)
        table = pd.DataFrame(
            {
                "score": (observed + constant) / n_defined,
                "p": np.where(n_defined > 0, (1 + count) / (1 + n_permutations), np.nan),
                "n_targets": n_defined,
                "n_undefined": members.sum(axis=0) - n_defined,
            },
            index=pd.Index(names, name="region"),
        )
    return table


def fdr_bh(p_values: Any) -> np.ndarray:
    """Return Benjamini-Hochberg adjusted p-values (q), same shape; NaN stays NaN and does not count as a test.

    Reference: Benjamini & Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x.

    Raises
    ------
    DataError
        If a value lies outside 0 and 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if ((p < 0) | (p > 1)).any():
        raise DataError(
            f"p-values range from {np.nanmin(p)} to {np.nanmax(p)} but must lie within 0 and 1; pass p, not z."
        )
    q = np.full(p.shape, np.nan)
    tested = np.isfinite(p)
    values = p[tested]
    order = np.argsort(values)[::-1]
    adjusted = np.minimum.accumulate(values[order] * values.size / np.arange(values.size, 0, -1))
    result = np.empty_like(values)
    result[order] = np.minimum(adjusted, 1)
    q[tested] = result
    return q


def _units(n_samples: int, n_permutations: int, blocks: Any, test_fold: Any) -> list[list[np.ndarray]]:
    """Return, per fold, the exchangeable units as arrays of rows."""
    if n_permutations < 1:
        raise DataError(f"n_permutations is {n_permutations} but must be at least 1; 1000 is usual.")
    folds = as_folds(test_fold, n_samples)
    if blocks is None:
        return [list(rows[:, None]) for rows in folds]
    labels = as_labels(blocks, n_samples, "blocks")
    units = []
    for rows in folds:
        kinds, first = np.unique(labels[rows], return_index=True)
        units.append([rows[labels[rows] == kind] for kind in kinds[np.argsort(first)]])
    if all(len(unit) < 2 for unit in units):
        raise DataError(
            "every test fold is a single block, so nothing can be permuted; use shorter blocks than the test folds."
        )
    return units


def _orders(units: list[list[np.ndarray]], n_permutations: int, seed: int) -> Iterator[np.ndarray]:
    """Yield permuted positions within the tested rows taken fold by fold and unit by unit."""
    generator = np.random.default_rng(seed)
    folds, start = [], 0
    for fold in units:
        sizes = np.array([unit.size for unit in fold])
        begins = start + np.cumsum(sizes) - sizes
        folds.append([np.arange(begin, begin + size) for begin, size in zip(begins, sizes, strict=True)])
        start += sizes.sum()
    simple = [np.concatenate(fold) if max(map(len, fold)) == 1 else None for fold in folds]
    for _ in range(n_permutations):
        parts = []
        for fold, rows in zip(folds, simple, strict=True):
            if rows is not None:
                parts.append(generator.permutation(rows))
            else:
                parts.extend(fold[i] for i in generator.permutation(len(fold)))
        yield np.concatenate(parts)


def _paired_chunks(
    Y: Any, Y_hat: Any, units: list[list[np.ndarray]], statistic: str
) -> Iterator[tuple[slice, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield columns, a, b, offset, undefined; score = offset + sum_i a_i b_i, a and b float32 (n_tested, n_columns)."""
    if statistic not in STATISTICS:
        raise DataError(f"statistic is {statistic!r} but must be one of {', '.join(map(repr, STATISTICS))}.")
    lengths = [sum(unit.size for unit in fold) for fold in units]
    rows = np.concatenate([unit for fold in units for unit in fold])
    edges = np.concatenate([[0], np.cumsum(lengths)])
    for wide in target_chunks(Y):
        y_wide, p_wide = read_chunk(Y, wide)[rows], read_chunk(Y_hat, wide)[rows]
        for narrow in target_chunks(y_wide, CACHE_BYTES, itemsize=4):
            y, p = y_wide[:, narrow], p_wide[:, narrow]
            offset, undefined = np.zeros(y.shape[1]), ~(np.isfinite(y).all(axis=0) & np.isfinite(p).all(axis=0))
            y[:, undefined], p[:, undefined] = 0, 0
            for begin, end in zip(edges[:-1], edges[1:], strict=True):
                y_fold, p_fold = y[begin:end], p[begin:end]
                undefined |= is_constant(Y, y_fold)
                if statistic == "correlation":
                    undefined |= is_constant(Y_hat, p_fold)
                    _standardise(y_fold, p_fold, len(lengths))
                else:
                    offset += _scale_for_r2(y_fold, p_fold, len(lengths))
            columns = slice(wide.start + narrow.start, wide.start + narrow.stop)
            yield columns, np.float32(y), np.float32(p), offset, undefined


def _standardise(y: np.ndarray, p: np.ndarray, n_folds: int) -> None:
    """Make columns zero-mean and unit-norm in place, y divided by the number of folds; flat columns become 0."""
    for values in (y, p):
        values -= values.mean(axis=0)
        norm = np.linalg.norm(values, axis=0)
        values /= np.where(norm > 0, norm, np.inf)
    y /= n_folds


def _scale_for_r2(y: np.ndarray, p: np.ndarray, n_folds: int) -> np.ndarray:
    """Make sum_i y_i p_i the part of a fold's r2 that depends on the pairing, in place; return the rest."""
    y_mean, p_mean = y.mean(axis=0), p.mean(axis=0)
    y -= y_mean
    p -= p_mean
    total = np.einsum("ij,ij->j", y, y)
    total = np.where(total > 0, total, np.inf)
    spare = np.einsum("ij,ij->j", p, p) + y.shape[0] * (y_mean - p_mean) ** 2
    y *= 2 / (total * n_folds)
    return -spare / (total * n_folds)


def _permuted_products(
    a: np.ndarray, b: np.ndarray, units: list[list[np.ndarray]], n_permutations: int, seed: int
) -> Iterator[np.ndarray]:
    """Yield sum_i a_i b_permuted(i) per column, one permutation after another; equal seeds give equal orders."""
    buffer = np.empty_like(b)
    for order in _orders(units, n_permutations, seed):
        np.take(b, order, axis=0, out=buffer, mode="clip")
        yield np.einsum("ij,ij->j", a, buffer)
