"""Midranks of very many values by histogram, with a certificate of how far Spearman's correlation can be off.

Values fall into the bins of a fine monotone grid, and each value gets the mean rank H of its bin. H is the orthogonal
projection of the true midranks R on functions of the bin, so with m values in a bin (and centred ranks throughout)

    |R - H|^2 <= sum_bins (m^3 - m) / 12      |rho(R, S) - rho(H, S)| <= |R/|R| - H/|H|| <= |R - H| / |H|

The grid is laid on the bits of the floating-point numbers, which order like the numbers and reach over any tail, and
follows the distribution of a sample of them. A bin of one repeated value costs nothing: H = R there. If the bound is
still above the tolerance, the fullest bins are ranked exactly. Ties get their mean rank, as in scipy.stats.rankdata.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from brainenc.core.types import DataError

TOLERANCE = 1e-6
"""Largest error of a Spearman correlation that is allowed by default."""
SMALL = 2**20
"""So many values or fewer are simply sorted, and more where the tolerance asks for over `MOST_BINS` bins per value."""
MOST_BINS = 4
N_COARSE = 2**14
"""Cells of the first grid, whose share of the bins follows a sample of up to `N_SAMPLED` values."""
N_SAMPLED = 2**20
GOLDEN = (5**0.5 - 1) / 2
BLOCK = 2**18
"""Values worked on at a time: the temporaries stay in the processor's cache."""


@dataclass(frozen=True)
class Ranks:
    """Centred midranks of n values, kept as a bin per value and a rank per bin.

    Attributes
    ----------
    bins : (n,) int32
    table : (n_bins,) float64, mean rank of a bin minus (n + 1) / 2.
    spread : sum of squares of the n centred ranks; 0 if all values are equal.
    error : bound of the error of any correlation with these ranks.
    """

    bins: np.ndarray
    table: np.ndarray
    spread: float
    error: float

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Return the centred ranks of these rows, float64."""
        return self.table.take(self.bins[rows], mode="clip")


def rank(values: Any, tolerance: float = TOLERANCE) -> Ranks:
    """Rank values in time proportional to their number, ties at their middle.

    Parameters
    ----------
    values : (n,) finite numbers
    tolerance : float
        Largest error that these ranks may add to a correlation; 0 sorts everything.

    Raises
    ------
    DataError
        If the values are not one-dimensional, fewer than two, or not finite.
    """
    values = as_vector(values, "values")
    n_bins = _bins_needed(values.size, tolerance) if tolerance > 0 else 0
    if values.size <= SMALL or not 0 < n_bins <= MOST_BINS * values.size:
        return _sorted_ranks(values)
    bins = _binned(values, n_bins)
    counts = _counts(bins, n_bins + 1)
    ranks = _from_counts(bins, counts, counts.astype(np.float64))
    if ranks.error <= tolerance:
        return ranks
    varied = _varied(values, bins, counts)
    unequal = np.where(varied, counts, 0).astype(np.float64)
    ranks = _from_counts(bins, counts, unequal)
    return ranks if ranks.error <= tolerance else _resolved(values, ranks, counts, unequal, tolerance)


def midranks(values: Any, tolerance: float = TOLERANCE) -> np.ndarray:
    """Return ranks from 1 to n, ties at their middle, (n,) float64: `scipy.stats.rankdata` within the tolerance."""
    ranks = rank(values, tolerance)
    return ranks[slice(None)] + (ranks.bins.size + 1) / 2


def spearman(a: Any, b: Any, tolerance: float = TOLERANCE) -> float:
    """Return Spearman's rank correlation of two vectors, within ``tolerance`` of `scipy.stats.spearmanr`.

    Parameters
    ----------
    a, b : (n,) finite numbers
    tolerance : float
        Shared by the two rankings.

    Returns
    -------
    float
        NaN if either vector is constant.

    Raises
    ------
    DataError
        If the lengths differ or a value is not finite.
    """
    a, b = as_vector(a, "a"), as_vector(b, "b")
    if a.size != b.size:
        raise DataError(f"a has {a.size} values but b has {b.size}: pass two vectors over the same pairs.")
    return rank_correlation(rank(a, tolerance / 2), rank(b, tolerance / 2))


def rank_correlation(a: Ranks, b: Ranks) -> float:
    """Return the correlation of two rankings of the same things; NaN if either is constant."""
    if a.spread == 0 or b.spread == 0:
        return float("nan")
    n = a.bins.size
    product = sum(float(np.dot(a[rows], b[rows])) for rows in _blocks(n))
    return float(np.clip(product / np.sqrt(a.spread) / np.sqrt(b.spread), -1.0, 1.0))


def as_vector(values: Any, name: str) -> np.ndarray:
    """Return at least two finite real numbers as a one-dimensional array, or raise DataError."""
    array = np.asarray(values)
    if array.ndim != 1 or array.size < 2 or array.dtype.kind not in "fiub":
        raise DataError(f"{name} is {array.dtype} {array.shape} but must be (n,) real numbers, n >= 2: pass a vector.")
    n_bad = sum(int(np.count_nonzero(~np.isfinite(array[rows]))) for rows in _blocks(array.size))
    if n_bad:
        raise DataError(f"{name} holds {n_bad} NaN or infinite values of {array.size}: leave those samples out first.")
    return array


def _blocks(n: int, width: int = BLOCK) -> list[slice]:
    return [slice(start, min(start + width, n)) for start in range(0, n, width)]


def _sorted_ranks(values: np.ndarray) -> Ranks:
    """Rank exactly: the bins are the distinct values."""
    bins, counts = _dense(values)
    return _from_counts(bins, counts, np.zeros(counts.size))


def _dense(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the place of each value among the distinct values, int32, and how often each of these occurs."""
    order = np.argsort(values)
    ordered = values[order]
    first = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    bins = np.empty(values.size, dtype=np.int32)
    bins[order] = np.cumsum(first, dtype=np.int32) - 1
    return bins, np.diff(np.append(np.flatnonzero(first), values.size))


def _from_counts(bins: np.ndarray, counts: np.ndarray, unequal: np.ndarray) -> Ranks:
    """Return mean ranks of bins in ascending order; ``unequal`` counts the values of bins that may hold several."""
    table = np.cumsum(counts, dtype=np.float64)
    table -= (counts - 1) / 2 + (bins.size + 1) / 2
    spread = float(np.dot(table**2, counts))
    return Ranks(bins, table, spread, _error(unequal, spread))


def _error(unequal: np.ndarray, spread: float) -> float:
    residual = float(np.dot(unequal * unequal, unequal) - unequal.sum()) / 12
    return float(np.sqrt(residual / spread)) if spread > 0 else (np.inf if residual else 0.0)


def _bins_needed(n: int, tolerance: float) -> int:
    """Return how many equally full bins keep the error, sqrt(1 / bins^2 + 3 / (n bins)), well under the tolerance."""
    return int(np.ceil(max(2 / tolerance, 6 / (n * tolerance**2), 4 * N_COARSE)))


def _keys(block: np.ndarray) -> np.ndarray:
    """Return int64 keys in the order of the numbers (one bit is dropped, so that differences do not overflow)."""
    bits = np.add(block, 0.0, dtype=np.float64).view(np.int64)  # + 0.0 makes -0.0 and 0.0 equal
    sign = bits >> 63
    sign &= np.int64(2**63 - 1)
    bits ^= sign
    bits >>= 1
    return np.asarray(bits)


def _binned(values: np.ndarray, n_bins: int) -> np.ndarray:
    """Return the bin of each value, int32 in 0 .. n_bins: monotone, and about equally full where values are dense."""
    places = np.arange(min(values.size, N_SAMPLED)) * GOLDEN % 1  # even, but in step with no order of the values
    sample = _keys(values[(places * values.size).astype(np.intp)])
    low, high = int(sample.min()), int(sample.max())
    shift = max(0, (high - low).bit_length() - (N_COARSE.bit_length() - 1))
    count = np.bincount((sample - low) >> shift, minlength=N_COARSE)
    base = np.concatenate([[0], np.floor(np.cumsum(count) * ((n_bins - N_COARSE) / sample.size))]) + np.arange(
        N_COARSE + 1
    )
    slope = np.diff(base) / 2.0**shift
    bins = np.empty(values.size, dtype=np.int32)
    for rows in _blocks(values.size):
        key = np.clip(_keys(values[rows]), low, high)
        key -= low
        cell = key >> shift
        key &= (1 << shift) - 1
        place = key * slope.take(cell, mode="clip")
        place += base.take(cell, mode="clip")
        bins[rows] = place
    return bins


def _counts(bins: np.ndarray, n_bins: int) -> np.ndarray:
    counts = np.zeros(n_bins, dtype=np.int64)
    for rows in _blocks(bins.size, 2**23):
        counts += np.bincount(bins[rows], minlength=n_bins)
    return counts


def _varied(values: np.ndarray, bins: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Say which bins hold different values, (n_bins,) bool: each value is compared with one of its bin."""
    one, varied = np.zeros(counts.size, dtype=values.dtype), np.zeros(counts.size, dtype=bool)
    for rows in _blocks(values.size):
        one[bins[rows]] = values[rows]
    for rows in _blocks(values.size):
        inside = bins[rows]
        varied[inside[values[rows] != one.take(inside, mode="clip")]] = True
    return varied


def _resolved(values: np.ndarray, ranks: Ranks, counts: np.ndarray, unequal: np.ndarray, tolerance: float) -> Ranks:
    """Rank the values of the fullest bins exactly, as few bins as the tolerance allows."""
    ascending = np.sort(unequal)
    allowed = 12 * tolerance**2 * ranks.spread
    n_kept = int(np.searchsorted(np.cumsum(ascending * ascending * ascending - ascending), allowed, side="right"))
    fullest = ascending[min(n_kept, ascending.size - 1)]  # of these, only so many as must be resolved
    crowded = unequal > fullest
    n_equal = int(np.searchsorted(ascending, fullest, side="right")) - n_kept
    crowded[np.flatnonzero(unequal == fullest)[: max(1, n_equal)]] = True
    rows = np.flatnonzero(crowded.take(ranks.bins, mode="clip"))
    if rows.size > values.size // 2:
        return _sorted_ranks(values)
    inside, repeats = _dense(values[rows])
    before = np.cumsum(counts) - counts  # values below each bin
    distinct = np.empty(repeats.size, dtype=np.int64)
    distinct[inside] = ranks.bins[rows]
    below = np.cumsum(repeats) - repeats
    first = np.concatenate([[0], np.flatnonzero(np.diff(distinct)) + 1])
    inner = below - np.repeat(below[first], np.diff(np.append(first, distinct.size)))
    exact = before[distinct] + inner + (repeats - 1) / 2 + (1 - values.size) / 2
    bins = ranks.bins.copy()
    bins[rows] = inside + counts.size
    table = np.concatenate([ranks.table, exact])
    left = np.where(crowded, 0, counts)
    spread = float(np.dot(ranks.table**2, left) + np.dot(exact**2, repeats))
    return Ranks(bins, table, spread, _error(np.where(crowded, 0, unequal), spread))
