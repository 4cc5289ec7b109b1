"""How certain is a region's mean score? Block bootstrap over test samples, the stimuli being the unit.

A resample draws blocks of rows with replacement within each test fold, that is, gives each row an integer weight w_i.
Both metrics are functions of six weighted sums (w, wy, wp, wyy, wpp, wyp), so one matrix product of the weights
(n_bootstrap, n_samples) with each of y, p, yy, pp, yp scores all targets under all resamples. Intervals are
percentiles (Efron & Tibshirani 1993, ISBN 0412042312). Two models are compared on the same resamples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from brainenc.core.types import DataError
from brainenc.stats.checks import as_folds, as_labels, as_mask_matrix, as_pair
from brainenc.stats.chunks import is_constant, read_chunk

METRICS = ("correlation", "r2")
BLOCK_BYTES = 48 * 2**20
"""Bytes of one float64 array of resamples by targets; about eight are alive at a time."""


def roi_interval(
    Y: Any,
    Y_hat: Any,
    masks: Mapping[str, Any],
    metric: str = "correlation",
    n_bootstrap: int = 1000,
    blocks: Any = None,
    seed: int = 0,
    ceiling: Any = None,
    ceiling_floor: float | None = None,
    test_fold: Any = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Return the mean score of each region with a bootstrap interval.

    Parameters
    ----------
    Y, Y_hat : (n_samples, n_targets)
    masks : mapping of region name to (n_targets,) bool
    metric : "correlation" or "r2"
        Computed within each test fold, then averaged.
    n_bootstrap : int
    blocks : (n_samples,) or None
        Rows drawn together: stimulus ids where rows are repetitions, runs or stretches of time where noise is smooth.
        None draws single rows, right where each row is another stimulus.
    seed : int
    ceiling : (n_targets,) or None
        Noise ceiling in the unit of the metric. If given, each score is divided by it and targets with a ceiling at or
        below `ceiling_floor` (which must then be stated) are left out. The ceiling is held fixed.
    test_fold : (n_samples,) int or None
    level : float in (0, 1)

    Returns
    -------
    DataFrame
        Index "region"; columns mean, lower, upper, standard_error, n_targets (used), n_undefined (left out: NaN,
        constant, or below the floor). All NaN for a region without a usable target.

    Raises
    ------
    DataError
        Malformed arguments, or a fold with fewer than three rows or two blocks.
    """
    Y, Y_hat = as_pair(Y, Y_hat)
    setup = _setup(Y, masks, metric, n_bootstrap, blocks, seed, ceiling, ceiling_floor, test_fold, level)
    observed, resampled, n_used = _region_means(Y, [Y_hat], setup)
    lower, upper = _percentiles(resampled[0], level)
    return pd.DataFrame(
        {
            "mean": observed[0],
            "lower": lower,
            "upper": upper,
            "standard_error": resampled[0].std(axis=0, ddof=1),
            "n_targets": n_used,
            "n_undefined": setup.members.sum(axis=0) - n_used,
        },
        index=pd.Index(setup.names, name="region"),
    )


def roi_difference(
    Y: Any,
    Y_hat_a: Any,
    Y_hat_b: Any,
    masks: Mapping[str, Any],
    metric: str = "correlation",
    n_bootstrap: int = 1000,
    blocks: Any = None,
    seed: int = 0,
    ceiling: Any = None,
    ceiling_floor: float | None = None,
    test_fold: Any = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Compare two models of the same responses region by region, on the same resamples.

    Parameters
    ----------
    Y_hat_a, Y_hat_b : (n_samples, n_targets)
        Predictions of the two models; only targets on which both have a score are used.
    others : as in `roi_interval`

    Returns
    -------
    DataFrame
        Index "region"; columns mean_a, mean_b, difference (a - b), lower, upper, standard_error, p, n_targets,
        n_undefined. p is two-sided: 2 min(share of resampled differences <= 0, share >= 0), each (1 + count) / (1 + n).

    Raises
    ------
    DataError
        As `roi_interval`.
    """
    Y, Y_hat_a = as_pair(Y, Y_hat_a)
    models = [Y_hat_a, as_pair(Y, Y_hat_b)[1]]
    setup = _setup(Y, masks, metric, n_bootstrap, blocks, seed, ceiling, ceiling_floor, test_fold, level)
    observed, resampled, n_used = _region_means(Y, models, setup)
    difference = resampled[0] - resampled[1]
    lower, upper = _percentiles(difference, level)
    tail = np.minimum((difference <= 0).sum(axis=0), (difference >= 0).sum(axis=0))
    p_values = np.minimum(1.0, 2 * (1 + tail) / (1 + n_bootstrap))
    return pd.DataFrame(
        {
            "mean_a": observed[0],
            "mean_b": observed[1],
            "difference": observed[0] - observed[1],
            "lower": lower,
            "upper": upper,
            "standard_error": difference.std(axis=0, ddof=1),
            "p": np.where(n_used > 0, p_values, np.nan),
            "n_targets": n_used,
            "n_undefined": setup.members.sum(axis=0) - n_used,
        },
        index=pd.Index(setup.names, name="region"),
    )


@dataclass(frozen=True)
class _Setup:
    names: list[str]
    members: np.ndarray  # (n_targets, n_regions) bool
    metric: str
    n_bootstrap: int
    folds: list[np.ndarray]
    codes: list[np.ndarray]  # block of each row, per fold
    seed: int
    divisor: np.ndarray  # (n_targets,), NaN where left out


def _setup(
    Y: Any,
    masks: Mapping[str, Any],
    metric: str,
    n_bootstrap: int,
    blocks: Any,
    seed: int,
    ceiling: Any,
    ceiling_floor: float | None,
    test_fold: Any,
    level: float,
) -> _Setup:
    n_samples, n_targets = Y.shape
    if metric not in METRICS:
        raise DataError(f"metric is {metric!r} but must be one of {', '.join(map(repr, METRICS))}.")
    if n_bootstrap < 2 or not 0 < level < 1:
        raise DataError(f"n_bootstrap is {n_bootstrap} and level {level}; wanted at least 2 and within 0 and 1.")
    names, members = as_mask_matrix(masks, n_targets)
    folds = as_folds(test_fold, n_samples)
    labels = np.arange(n_samples) if blocks is None else as_labels(blocks, n_samples, "blocks")
    codes = [np.unique(labels[rows], return_inverse=True)[1] for rows in folds]
    if min(code.max() for code in codes) == 0:
        raise DataError("a test fold is a single block, so nothing varies over resamples; use shorter blocks.")
    divisor = np.ones(n_targets)
    if ceiling is not None:
        ceiling = np.asarray(ceiling, dtype=np.float64)
        if ceiling.shape != (n_targets,):
            raise DataError(f"ceiling is {ceiling.shape} but there are {n_targets} targets; give one per target.")
        if ceiling_floor is None or not ceiling_floor >= 0:
            raise DataError(f"ceiling_floor is {ceiling_floor}; state the smallest trusted ceiling, such as 0.1.")
        divisor = np.where(ceiling > ceiling_floor, ceiling, np.nan)
    return _Setup(names, members, metric, n_bootstrap, folds, codes, seed, divisor)


def _region_means(Y: Any, models: list[Any], setup: _Setup) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return observed (n_models, n_regions) and resampled (n_models, n_bootstrap, n_regions) means, and targets used.

    Region means of a resample run over the targets whose score is defined in it for every model.
    """
    n_regions, n_samples = len(setup.names), Y.shape[0]
    sums = np.zeros((len(models), 1 + setup.n_bootstrap, n_regions))
    counts = np.zeros((1 + setup.n_bootstrap, n_regions))
    step = max(1, BLOCK_BYTES // (8 * n_samples))
    width = max(1, BLOCK_BYTES // (8 * max(n_samples, min(step, 1 + setup.n_bootstrap))))
    weights = _Weights(setup)
    wanted = setup.members.any(axis=1)
    usable = np.zeros(Y.shape[1], dtype=bool)  # defined on the data themselves, hence looked at in resamples
    for start in range(0, 1 + setup.n_bootstrap, step):
        batch = weights.draw(min(step, 1 + setup.n_bootstrap - start), with_observed=start == 0)
        rows = slice(start, start + len(batch[0]))
        for begin in range(0, Y.shape[1], width):
            columns = slice(begin, begin + width)
            if not wanted[columns].any():
                continue
            scores = [_scores(Y, model, columns, batch, setup) / setup.divisor[columns] for model in models]
            defined = np.isfinite(sum(scores))
            if start == 0:
                usable[columns] = defined[0]
            defined &= usable[columns]
            chosen = setup.members[columns].astype(np.float64)
            counts[rows] += defined.astype(np.float64) @ chosen
            for m, score in enumerate(scores):
                sums[m, rows] += np.where(defined, score, 0) @ chosen
    with np.errstate(invalid="ignore"):
        means = sums / counts
    return means[:, 0], means[:, 1:], counts[0].astype(int)


class _Weights:
    """Draws of block counts, one generator throughout, so that batches of any size continue each other."""

    def __init__(self, setup: _Setup) -> None:
        self._generators = np.random.default_rng(setup.seed).spawn(len(setup.codes))
        self._codes = setup.codes

    def draw(self, n_rows: int, with_observed: bool) -> list[np.ndarray]:
        """Return, per fold, weights (n_rows, fold rows); the first row is all ones if the observed data lead."""
        batch = []
        for generator, code in zip(self._generators, self._codes, strict=True):
            n_blocks = int(code.max()) + 1
            drawn = generator.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=n_rows - with_observed)
            weights = drawn[:, code].astype(np.float64)
            batch.append(np.concatenate([np.ones((1, code.size)), weights]) if with_observed else weights)
        return batch


def _scores(Y: Any, Y_hat: Any, columns: slice, batch: list[np.ndarray], setup: _Setup) -> np.ndarray:
    """Return the score of a chunk under every resample, mean over folds, (n_resamples, n_columns)."""
    y_all, p_all = read_chunk(Y, columns), read_chunk(Y_hat, columns)
    total = np.zeros((batch[0].shape[0], y_all.shape[1]))
    for rows, weights in zip(setup.folds, batch, strict=True):
        y, p = y_all[rows], p_all[rows]
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            undefined = is_constant(Y, y) | ~np.isfinite(y).all(axis=0) | ~np.isfinite(p).all(axis=0)
            if setup.metric == "correlation":
                undefined |= is_constant(Y_hat, p)
                score = _weighted_correlation(y, p, weights)
            else:
                score = _weighted_r2(y, p, weights)
        score[:, undefined] = np.nan
        total += score
    return total / len(batch)


def _centre_and_scale(values: np.ndarray) -> np.ndarray:
    """Return columns of zero mean and unit sd, so that weighted sums of squares do not cancel."""
    centred = values - values.mean(axis=0)
    return centred / centred.std(axis=0)


def _weighted_correlation(y: np.ndarray, p: np.ndarray, weights: np.ndarray) -> np.ndarray:
    y, p = _centre_and_scale(y), _centre_and_scale(p)
    n = weights.sum(axis=1, keepdims=True)
    y_sum, p_sum = weights @ y, weights @ p
    score = weights @ (y * p)
    score -= y_sum * p_sum / n
    y_spread = weights @ (y * y) - y_sum**2 / n
    p_spread = weights @ (p * p) - p_sum**2 / n
    score /= np.sqrt(y_spread * p_spread)
    score[(y_spread <= 1e-12 * n) | (p_spread <= 1e-12 * n)] = np.nan
    return score


def _weighted_r2(y: np.ndarray, p: np.ndarray, weights: np.ndarray) -> np.ndarray:
    scale = y.std(axis=0)
    residual = ((y - p) / scale) ** 2
    y = (y - y.mean(axis=0)) / scale
    n = weights.sum(axis=1, keepdims=True)
    y_spread = weights @ (y * y) - (weights @ y) ** 2 / n
    score = 1 - (weights @ residual) / y_spread
    score[y_spread <= 1e-12 * n] = np.nan
    return score


def _percentiles(resampled: np.ndarray, level: float) -> np.ndarray:
    """Return lower and upper percentiles over resamples, (2, n_regions)."""
    tail = (1 - level) / 2
    return np.quantile(resampled, [tail, 1 - tail], axis=0)
