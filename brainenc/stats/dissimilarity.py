"""Representational dissimilarity matrices (RDMs): distances of all pairs of samples from one streamed matrix product.

All distances come from one Gram matrix G = sum over chunks of Z Z', summed in float64:

    euclidean    d_ij = sqrt(G_ii + G_jj - 2 G_ij)          Z = features minus their mean over samples
    correlation  d_ij = 1 - G_ij / sqrt(G_ii G_jj)          Z = rows minus their mean over features
    cosine       the same                                   Z = the rows as they come

Where two samples nearly coincide the subtraction cancels, so those pairs are done again from differences of rows:
1 - cos = |z_i / |z_i| - z_j / |z_j||^2 / 2. An RDM is a condensed vector, (n_samples (n_samples - 1) / 2,), pairs in
the order of scipy's pdist (Kriegeskorte, Mur & Bandettini 2008, doi:10.3389/neuro.06.004.2008).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from brainenc.core.types import DataError
from brainenc.stats.checks import as_table
from brainenc.stats.chunks import read_chunk, rounding_floor, target_chunks

METRICS = ("correlation", "euclidean", "cosine")
NEAR = 1e-5
"""A squared distance below this share of G_ii + G_jj is computed again without cancellation."""


def rdm(values: Any, metric: str = "correlation") -> np.ndarray:
    """Return the dissimilarity of every pair of samples, (n_samples (n_samples - 1) / 2,) float64, none negative.

    Parameters
    ----------
    values : (n_samples, n_features) ndarray or h5py.Dataset
        Responses or features. Read in chunks of columns (twice for ``correlation``), so they never have to fit.
    metric : "correlation", "euclidean" or "cosine"
        As `scipy.spatial.distance.pdist` defines them.

    Raises
    ------
    DataError
        Unknown metric, fewer than two samples, NaN or infinite values, or a row whose distance is undefined
        (constant for ``correlation``, zero for ``cosine``).
    """
    values = as_table(values, "values")
    if metric not in METRICS:
        raise DataError(f"metric is {metric!r} but must be one of {', '.join(map(repr, METRICS))}.")
    if values.shape[0] < 2:
        raise DataError(f"values has {values.shape[0]} sample but a distance needs two; pass at least two rows.")
    row_mean = _row_means(values) if metric == "correlation" else np.zeros(values.shape[0])

    def chunks() -> Iterator[np.ndarray]:
        for columns in target_chunks(values):
            chunk = _finite_chunk(values, columns)
            chunk -= chunk.mean(axis=0) if metric == "euclidean" else row_mean[:, None]
            yield chunk

    gram = _gram(chunks(), values.shape[0])
    squares = np.diag(gram).copy()
    if metric == "euclidean":
        distance = _condensed(gram, lambda j, g: squares[j] + squares[j + 1 :] - 2 * g)
        _repair_near_pairs(distance, squares, np.ones_like(squares), chunks)
        np.sqrt(distance, out=distance)
        return distance
    if not (squares > 0).all():
        row = int(np.argmin(squares > 0))
        raise DataError(f"row {row} of values is zero, so its {metric} distance is undefined; leave that sample out.")
    norm = np.sqrt(squares)
    distance = _condensed(gram, lambda j, g: 1 - g / (norm[j] * norm[j + 1 :]))
    distance *= 2  # squared distance of unit rows
    _repair_near_pairs(distance, np.ones_like(norm), 1 / norm, chunks)
    distance *= 0.5
    return distance


def crossvalidated_rdm(first: Any, second: Any) -> np.ndarray:
    """Return squared Euclidean distances per feature, estimated across two independent halves of the repetitions.

    d_ij = (a_i - a_j) . (b_i - b_j) / n_features is unbiased: its mean is 0 between samples that do not differ, so it
    may be negative. With features whitened by the noise beforehand it is the crossnobis distance (Walther et al. 2016,
    doi:10.1016/j.neuroimage.2015.12.012).

    Parameters
    ----------
    first, second : (n_samples, n_features) ndarray or h5py.Dataset
        Means over either half of the repetitions, same samples and features.

    Returns
    -------
    (n_samples (n_samples - 1) / 2,) float64, in squared units of the features.

    Raises
    ------
    DataError
        If the shapes differ, there are fewer than two samples, or a value is not finite.
    """
    first, second = as_table(first, "first"), as_table(second, "second")
    if first.shape != second.shape or first.shape[0] < 2:
        raise DataError(
            f"first is {tuple(first.shape)} and second {tuple(second.shape)} but both must be the same "
            "(n_samples >= 2, n_features); average either half of the repetitions of the same samples."
        )
    cross = np.zeros((first.shape[0], first.shape[0]))
    for columns in target_chunks(first):
        a, b = _finite_chunk(first, columns), _finite_chunk(second, columns)
        shift = a.mean(axis=0)
        cross += (a - shift) @ (b - shift).T
    own = np.diag(cross).copy()
    both = np.asfortranarray(cross + cross.T)
    distance = _condensed(both, lambda j, g: own[j] + own[j + 1 :] - g)
    distance /= first.shape[1]
    return distance


def _finite_chunk(values: Any, columns: slice) -> np.ndarray:
    """Return a float64 copy of the columns, or raise DataError naming the first row that is not finite."""
    chunk = read_chunk(values, columns)
    good = np.isfinite(chunk).all(axis=1)
    if not good.all():
        raise DataError(
            f"row {int(np.argmin(good))} of values holds NaN or infinity ({int((~good).sum())} such rows "
            f"within columns {columns.start} to {columns.stop}); leave out those samples or those columns."
        )
    return chunk


def _row_means(values: Any) -> np.ndarray:
    """Return the mean over features of each row, (n_samples,); a row that does not vary is refused."""
    n_samples, n_features = values.shape
    total, high, low = np.zeros(n_samples), np.full(n_samples, -np.inf), np.full(n_samples, np.inf)
    for columns in target_chunks(values):
        chunk = _finite_chunk(values, columns)
        total += chunk.sum(axis=1)
        high, low = np.maximum(high, chunk.max(axis=1)), np.minimum(low, chunk.min(axis=1))
    flat = (high - low) <= rounding_floor(values, np.maximum(np.abs(high), np.abs(low)))
    if flat.any():
        raise DataError(
            f"row {int(np.argmax(flat))} of values is constant ({int(flat.sum())} such rows), so its correlation "
            "distance is undefined; leave those samples out or use metric='euclidean'."
        )
    return np.asarray(total / n_features)


def _gram(chunks: Iterator[np.ndarray], n_samples: int) -> np.ndarray:
    """Return sum of Z Z', Fortran order, of which only the lower triangle is filled: half of the products suffice."""
    from scipy.linalg.blas import dsyrk

    gram = np.zeros((n_samples, n_samples), order="F")
    for chunk in chunks:
        gram = dsyrk(1.0, chunk.T, beta=1.0, c=gram, trans=1, lower=1, overwrite_c=1)
    return np.asarray(gram)


def _condensed(gram: np.ndarray, pairs: Callable[[int, np.ndarray], np.ndarray]) -> np.ndarray:
    """Return ``pairs(j, gram[j + 1:, j])`` of all samples j, one after the other."""
    n_samples = gram.shape[0]
    result, start = np.empty(n_samples * (n_samples - 1) // 2), 0
    for j in range(n_samples - 1):
        stop = start + n_samples - 1 - j
        result[start:stop] = pairs(j, gram[j + 1 :, j])
        start = stop
    return result


def _pair_rows(pairs: np.ndarray, n_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the two samples of each condensed position."""
    starts = np.concatenate([[0], np.cumsum(np.arange(n_samples - 1, 0, -1))])
    first = np.searchsorted(starts, pairs, side="right") - 1
    return first, pairs - starts[first] + first + 1


def _repair_near_pairs(
    distance: np.ndarray, squares: np.ndarray, scale: np.ndarray, chunks: Callable[[], Iterator[np.ndarray]]
) -> None:
    """Replace, in place, squared distances that cancelled by sums of squared differences of the scaled rows."""
    n_samples = squares.size
    near, start = [], 0
    for j in range(n_samples - 1):
        stop = start + n_samples - 1 - j
        near.append(start + np.flatnonzero(distance[start:stop] < NEAR * (squares[j] + squares[j + 1 :])))
        start = stop
    pairs = np.concatenate(near)
    if pairs.size == 0:
        return
    first, second = _pair_rows(pairs, n_samples)
    exact = np.zeros(pairs.size)
    for chunk in chunks():
        chunk *= scale[:, None]
        width = max(1, 2**22 // chunk.shape[1])
        for begin in range(0, pairs.size, width):
            part = slice(begin, begin + width)
            difference = chunk[first[part]] - chunk[second[part]]
            exact[part] += np.einsum("ij,ij->i", difference, difference)
    distance[pairs] = exact
