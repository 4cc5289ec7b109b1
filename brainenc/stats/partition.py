"""Whose variance is it? Shares of a joint model's r2, per feature space and target.

Product measure. The joint prediction is the sum of band predictions, p = sum_b p_b. With y and p_b centred over the
test samples, and m the mean misfit of the joint prediction,

    share_b = sum_i p_bi (2 y_i - p_i) / sum_i y_i^2  -  n m^2 / (n_bands sum_i y_i^2),     sum_b share_b = r2(Y, p)

exactly. A share is negative where a band hurts on its own (Pratt 1987; used for banded ridge by Dupre la Tour,
Eickenberg, Nunez-Elizalde & Gallant 2022, doi:10.1016/j.neuroimage.2022.119728). Because bands are centred, it does
not matter which band carries the intercept.

Unique variance. r2 of the joint model minus r2 of the model without the band: what no other band can replace.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from brainenc.core.types import DataError
from brainenc.stats.checks import as_folds, as_pair, as_table
from brainenc.stats.chunks import is_constant, read_chunk, target_chunks


def product_measure(Y: Any, band_predictions: Any) -> np.ndarray:
    """Split the r2 of a joint prediction into the shares of its bands.

    Parameters
    ----------
    Y : (n_samples, n_targets)
    band_predictions : (n_bands, n_samples, n_targets), or a sequence of n_bands arrays
        They add up to the joint prediction; the intercept, if any, belongs to any one of them.

    Returns
    -------
    (n_bands, n_targets) float64
        Sums over bands to `metrics.r2(Y, sum of bands)`; NaN where Y is constant or anything is NaN.

    Raises
    ------
    DataError
        If there is no band or a shape differs from Y's.
    """
    Y = as_table(Y, "Y")
    bands = list(band_predictions)
    strange = [np.shape(band) for band in bands if np.shape(band) != tuple(Y.shape)]
    if strange or not bands:
        raise DataError(
            f"band predictions have shapes {strange or 'none'} but Y is {tuple(Y.shape)}; "
            "give one (n_samples, n_targets) array per band."
        )
    shares = np.full((len(bands), Y.shape[1]), np.nan)
    for columns in target_chunks(Y):
        y = read_chunk(Y, columns)
        constant = is_constant(Y, y)
        joint = np.zeros_like(y)
        for band in bands:
            joint += band[:, columns]
        with np.errstate(invalid="ignore", divide="ignore"):
            misfit = y.mean(axis=0) - joint.mean(axis=0)
            y -= y.mean(axis=0)
            joint -= joint.mean(axis=0)
            total = np.where(constant, np.nan, np.einsum("ij,ij->j", y, y))
            spare = y.shape[0] * misfit**2 / len(bands)
            y *= 2
            y -= joint  # now 2 y - p, which has zero mean, so that bands need no centring
            for b, band in enumerate(bands):
                shares[b, columns] = (np.einsum("ij,ij->j", _centred(band, columns), y) - spare) / total
    return shares


def product_measure_by_fold(Y: Any, Y_hat: Any, band_predictions: Sequence[Any], test_fold: Any) -> np.ndarray:
    """Return the product measure within each test fold, averaged over folds, (n_bands, n_targets).

    Parameters
    ----------
    Y, Y_hat : (n_samples, n_targets)
        Measured and predicted responses.
    band_predictions : sequence of (n_samples, n_targets)
        Deviations from the training mean; what they lack to ``Y_hat``, the intercept, is given to the first band.
    test_fold : (n_samples,) int
        Rows with a negative fold are not looked at.

    Raises
    ------
    DataError
        As `product_measure`, or if a fold has fewer than three rows.
    """
    Y, Y_hat = as_pair(Y, Y_hat)
    folds = as_folds(test_fold, Y.shape[0])
    shares = np.full((len(band_predictions), Y.shape[1]), np.nan)
    for columns in target_chunks(Y):
        y, parts = Y[:, columns], [band[:, columns] for band in band_predictions]
        parts[0] = parts[0] + (Y_hat[:, columns] - np.sum(parts, axis=0))
        by_fold = [product_measure(y[rows], [part[rows] for part in parts]) for rows in folds]
        shares[:, columns] = np.mean(by_fold, axis=0)
    return shares


def _centred(band: Any, columns: slice) -> np.ndarray:
    chunk = read_chunk(band, columns)
    return chunk - chunk.mean(axis=0)


def unique_variance(r2_full: Any, r2_without: Any) -> np.ndarray:
    """Return what each band adds to all the others, in fraction of variance; not clipped.

    Parameters
    ----------
    r2_full : (n_targets,)
        r2 of the joint model.
    r2_without : (n_targets,) or (n_bands, n_targets)
        r2 of the models refitted without the band.

    Raises
    ------
    DataError
        If the numbers of targets differ.
    """
    r2_full, r2_without = np.asarray(r2_full, dtype=np.float64), np.asarray(r2_without, dtype=np.float64)
    if r2_full.ndim != 1 or r2_without.shape[-1:] != r2_full.shape or r2_without.ndim > 2:
        raise DataError(
            f"r2_full is {r2_full.shape} and r2_without {r2_without.shape}; give (n_targets,) and (n_bands, n_targets)."
        )
    return r2_full - r2_without
