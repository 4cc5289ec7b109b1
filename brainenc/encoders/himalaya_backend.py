"""Cross-validated search over alphas and band weights by himalaya, its global backend put back afterwards.

himalaya (Dupre la Tour et al. 2022, 10.1016/j.neuroimage.2022.119728) keeps only the best score of a search, but its
score function sees the predictions of every alpha: `_Curve` keeps them, so that folds in which a target does not vary
can be left out of its mean, and an extended grid joined to the first. Each fold is centred with its training rows,
which fits the intercept. The refit, which himalaya does for every alpha and every improvement, is done once by `refit`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from brainenc.encoders.choice import fold_mean, settled
from brainenc.encoders.compute import Compute, host, places
from brainenc.encoders.design import Design
from brainenc.encoders.folds import Folds


def backend_name(device: str) -> str:
    """Return himalaya's backend for a device.

    Raises
    ------
    DataError
        If the device is unknown, or CUDA is asked for and absent.
    """
    place = places(device)[0]
    return {"numpy": "numpy", "cpu": "torch"}.get(place.device, "torch_cuda")


@contextmanager
def himalaya_backend(device: str) -> Iterator[ModuleType]:
    """Set himalaya's global backend for a while and yield it; the former one returns whatever happens."""
    from himalaya.backend import get_backend, set_backend

    before = get_backend().name
    try:
        yield set_backend(backend_name(device))
    finally:
        set_backend(before)


def to_backend(backend: ModuleType, array: np.ndarray, dtype: str = "float32") -> Any:
    """Return the array on the backend's device."""
    array = np.ascontiguousarray(array, dtype=dtype)
    return array if backend.name == "numpy" else backend.asarray(array, dtype=dtype, device=_device(backend))


class HimalayaCurves:
    """Curves of scores by himalaya; see `exact.Exact` for the parameters."""

    def __init__(
        self, design: Design, folds: Folds, gammas: np.ndarray, alphas: np.ndarray, cv_score: str, compute: Compute,
        n_targets_batch: int,
    ) -> None:  # fmt: skip
        self._design, self._gammas, self._compute = design, gammas, compute
        self._rest = (folds, alphas, cv_score, n_targets_batch)

    def curves(self, y: Any) -> list[np.ndarray]:
        """Return per candidate (n_alphas + 1, n_columns) float64; the last row is the score of the training mean."""
        device = "cuda" if self._compute.is_cuda else self._compute.device
        with himalaya_backend(device) as backend:
            Y = host(y, "float32")
            return [mean_curve(self._design, gamma, Y, *self._rest, backend) for gamma in self._gammas]

    def products(self) -> None:
        """Return nothing: himalaya keeps its products to itself."""
        return None

    def features(self) -> None:
        """Return nothing: the refit makes its own."""
        return None


def mean_curve(
    design: Design, gamma: np.ndarray, Y: np.ndarray, folds: Folds, alphas: np.ndarray, cv_score: str,
    n_targets_batch: int, backend: ModuleType,
) -> np.ndarray:  # fmt: skip
    """Return the score of every alpha, and of the training mean, averaged over the folds in which it is defined."""
    primal = design.is_primal(gamma)
    matrix = design.columns(gamma) if primal else design.kernel(gamma)
    curves = []
    for train, validation in folds:
        centred = _centred_columns(matrix, train) if primal else _centred_kernel(matrix, train)
        curve = _Curve(cv_score)
        call = (centred, Y - Y[train].mean(axis=0), (train, validation), alphas, curve, n_targets_batch, backend)
        # A kernel holds squared singular values: in float32 the smallest penalties would drown in its rounding, and
        # scores that rounding made would be chosen.
        _solve(primal, *call, dtype="float32" if primal else "float64")
        curves.append(curve.values())
    return fold_mean(curves)


def _solve(
    primal: bool, matrix: np.ndarray, Y: np.ndarray, fold: tuple[np.ndarray, np.ndarray], alphas: np.ndarray,
    curve: _Curve, n_targets_batch: int, backend: ModuleType, dtype: str = "float32",
) -> None:  # fmt: skip
    """Let himalaya predict the validation rows with every alpha; a float32 factorisation that fails is redone."""
    arguments = {
        "n_iter": to_backend(backend, np.ones((1, 1)), dtype),
        "alphas": to_backend(backend, alphas, dtype),
        "score_func": curve,
        "cv": [fold],
        "n_targets_batch": n_targets_batch,
        "progress_bar": False,
        "return_weights": None,
    }
    X, Y_ = to_backend(backend, matrix, dtype), to_backend(backend, Y, dtype)
    try:
        if primal:
            from himalaya.ridge import solve_group_ridge_random_search

            solve_group_ridge_random_search([X], Y_, warn=False, **arguments)
        else:
            from himalaya.kernel_ridge import solve_multiple_kernel_ridge_random_search

            solve_multiple_kernel_ridge_random_search(X[None], Y_, **arguments)
    except (RuntimeError, np.linalg.LinAlgError) as error:
        if dtype == "float64" or "out of memory" in str(error).lower():
            raise
        logging.getLogger(__name__).warning("factorisation failed in float32 (%s); redone in float64", error)
        curve.clear()
        _solve(primal, matrix, Y, fold, alphas, curve, n_targets_batch, backend, "float64")


class _Curve:
    """Score function that himalaya calls once per batch of targets, with the predictions of all alphas."""

    def __init__(self, cv_score: str) -> None:
        self._score: Callable[[Any, Any], np.ndarray] = SCORES[cv_score]
        self._batches: list[np.ndarray] = []

    def __call__(self, Y: Any, Y_hat: Any) -> Any:
        self._batches.append(self._score(Y, Y_hat))
        return Y_hat[:, 0]  # himalaya's own choice is not used

    def clear(self) -> None:
        self._batches = []

    def values(self) -> np.ndarray:
        """Return (n_alphas + 1, n_targets) float64, the last row for the training mean."""
        return np.concatenate(self._batches, axis=1)


def _r2(Y: Any, Y_hat: Any) -> np.ndarray:
    """Score Y (n, t), centred by the training mean, and predictions (n_alphas, n, t), which are overwritten."""
    Y_hat -= Y
    Y_hat *= Y_hat
    error = np.concatenate([host(Y_hat.sum(1)), host((Y * Y).sum(0))[None]])
    total = host(((Y - Y.mean(0)) ** 2).sum(0))
    with np.errstate(invalid="ignore", divide="ignore"):
        score = 1.0 - error / total
    return settled(score, error, total, len(Y))


def _correlation(Y: Any, Y_hat: Any) -> np.ndarray:
    """As `_r2`, for Pearson's correlation; a constant prediction has correlation 0."""
    Y = Y - Y.mean(0)
    Y_hat -= Y_hat.mean(1)[:, None]
    total, length = host((Y * Y).sum(0)), host((Y_hat * Y_hat).sum(1))
    Y_hat *= Y
    product = host(Y_hat.sum(1))
    with np.errstate(invalid="ignore", divide="ignore"):
        score = np.where(length > 0, product / np.sqrt(length * total), 0.0)
    score = np.where(np.isnan(product), np.nan, score)
    score, product = (np.concatenate([rows, np.zeros((1, rows.shape[1]))]) for rows in (score, product))
    return settled(score, product, total, len(Y))


SCORES: dict[str, Callable[[Any, Any], np.ndarray]] = {"r2": _r2, "correlation": _correlation}


def _centred_columns(Z: np.ndarray, train: np.ndarray) -> np.ndarray:
    return Z - Z[train].mean(axis=0, dtype=np.float64).astype(Z.dtype)


def _centred_kernel(K: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Centre a kernel as if the features had been centred with the training rows."""
    means = K[:, train].mean(axis=1)
    return K - means[:, None] - means[None, :] + means[train].mean()


def _device(backend: ModuleType) -> str:
    return "cuda" if backend.name == "torch_cuda" else "cpu"
