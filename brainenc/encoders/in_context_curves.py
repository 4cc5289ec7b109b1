"""How well an in-context encoder predicts after n context stimuli, against ridge on the very same stimuli.

Contexts of one size are disjoint over repetitions, so that their spread is that of independent draws. The ridge is a
proper one: a penalty per target by cross-validation on the context, refitted on all of it.

Source: BraInCoRL, Yu et al. 2025, arXiv:2505.15813 (whose own ridge averages five folds and penalises the intercept).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from brainenc.core.types import DataError
from brainenc.encoders.alphas import AlphaEdgeWarning
from brainenc.encoders.in_context import InContext, ResponseScaleWarning
from brainenc.encoders.ridge import Ridge

Fit = Callable[[np.ndarray, np.ndarray], Any]
"""(X, Y) of a context -> a fitted encoder."""


def disjoint_contexts(n_stimuli: int, n_context: int, n_repetitions: int, seed: int) -> np.ndarray:
    """Return rows of contexts without a common stimulus, (n_repetitions, n_context) int64.

    Contexts of all sizes are cut from one order of the stimuli, a function of the seed.

    Raises
    ------
    DataError
        If there are too few stimuli.
    """
    wanted = n_context * n_repetitions
    if n_context < 1 or n_repetitions < 1 or wanted > n_stimuli:
        raise DataError(
            f"{n_repetitions} contexts of {n_context} stimuli were asked for of {n_stimuli}, wanted at least one of "
            f"each and no more than there are ({wanted} needed): ask for fewer repetitions or smaller contexts."
        )
    return np.random.default_rng(seed).permutation(n_stimuli)[:wanted].reshape(n_repetitions, n_context)


def fit_ridge(X: np.ndarray, Y: np.ndarray) -> Ridge:
    """Return the ridge that in-context encoders are compared with: a penalty per target, folds within the context."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AlphaEdgeWarning)
        return Ridge(solver="exact", n_folds=min(5, len(X) // 2), standardise=False, n_alphas=12).fit(X, Y)


@dataclass(frozen=True)
class ContextCurve:
    """Correlations of prediction and response on the test stimuli.

    Attributes
    ----------
    sizes : (n_sizes,) context stimuli, rising.
    correlations : name of encoder -> (n_sizes, n_repetitions, n_targets). 0 for a constant prediction, which knows
        nothing; NaN where the response or the prediction is undefined.
    contexts : per size (n_repetitions, size) rows of the candidates.
    """

    sizes: tuple[int, ...]
    correlations: Mapping[str, np.ndarray]
    contexts: tuple[np.ndarray, ...]

    def mean(self, name: str) -> np.ndarray:
        """Return the mean over targets and repetitions, (n_sizes,)."""
        return np.array([np.nanmean(part) for part in self.correlations[name]])

    def margin(self, name: str, other: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the paired difference ``name - other``, and its standard error over repetitions, both (n_sizes,)."""
        difference = np.nanmean(self.correlations[name] - self.correlations[other], axis=2)
        n_repetitions = difference.shape[1]
        spread = difference.std(axis=1, ddof=1) if n_repetitions > 1 else np.full(len(difference), np.nan)
        return difference.mean(axis=1), spread / np.sqrt(n_repetitions)


def context_curve(
    encoder: InContext,
    X: np.ndarray,
    Y: np.ndarray,
    X_test: np.ndarray,
    Y_test: np.ndarray,
    sizes: Sequence[int],
    n_repetitions: int,
    seed: int,
    others: Mapping[str, Fit] | None = None,
) -> ContextCurve:
    """Return curves of the encoder ("in_context"), of "ridge", and of ``others``, all on the same contexts.

    Parameters
    ----------
    encoder : its network is used; its own ``n_context`` is not.
    X, Y : (n_candidates, n_features), (n_candidates, n_targets): what contexts are drawn from.
    X_test, Y_test : stimuli that are never context.
    sizes : context stimuli, at least 4 (folds of ridge need two rows each).
    n_repetitions : disjoint contexts of each size.
    seed : of the contexts.

    Raises
    ------
    DataError
        If sizes are too small or too large, or a test stimulus is among the candidates.
    """
    sizes = tuple(sorted({int(size) for size in sizes}))
    if not sizes or sizes[0] < 4:
        raise DataError(f"context sizes are {list(sizes)}, wanted at least one and none below 4: change them.")
    _check_apart(X, X_test)
    contexts = tuple(disjoint_contexts(len(X), size, n_repetitions, seed) for size in sizes)
    fits: dict[str, Fit] = {"in_context": _fit_with(encoder), "ridge": fit_ridge, **(others or {})}
    scores = {name: np.full((len(sizes), n_repetitions, Y.shape[1]), np.nan) for name in fits}
    for size, rows_of_all in enumerate(contexts):
        for repetition, rows in enumerate(rows_of_all):
            for name, fit in fits.items():
                scores[name][size, repetition] = _correlation(Y_test, fit(X[rows], Y[rows]).predict(X_test))
    return ContextCurve(sizes, scores, contexts)


def _fit_with(encoder: InContext) -> Fit:
    """Fit a fresh encoder with the same network, so that the given one stays as it is."""
    arguments = {name: value for name, value in encoder.config().items() if name not in ("checkpoint", "n_context")}

    def fit(X: np.ndarray, Y: np.ndarray) -> InContext:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResponseScaleWarning)
            return InContext.from_network(encoder.network(), **arguments).fit(X, Y)

    return fit


def _correlation(Y: np.ndarray, Y_hat: np.ndarray) -> np.ndarray:
    """Correlation per target, 0 where it is undefined only because the prediction is constant."""
    from brainenc.stats.metrics import correlation

    score = correlation(Y, Y_hat)
    is_defined = np.isfinite(correlation(Y, Y)) & np.isfinite(Y_hat).all(axis=0)
    return np.where(is_defined & np.isnan(score), 0.0, score)


def _check_apart(X: np.ndarray, X_test: np.ndarray) -> None:
    """Raise `DataError` if a test embedding is, bit for bit, that of a candidate."""
    known = {row.tobytes() for row in np.ascontiguousarray(X, dtype=np.float32)}
    shared = sum(row.tobytes() in known for row in np.ascontiguousarray(X_test, dtype=np.float32))
    if shared:
        raise DataError(
            f"{shared} of {len(X_test)} test stimuli are also candidates for the context, wanted none: split by "
            "stimulus id first."
        )
