"""Problems of the ridge benchmark and the ways to solve them: ours, himalaya's at its best settings, scikit-learn's."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from brainenc.encoders.banded import Banded
from brainenc.encoders.footprint import footprint
from brainenc.encoders.ridge import Ridge

N_FOLDS = 5
ALPHAS = np.logspace(-3, 6, 20)


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    n: int
    p: int
    t: int
    n_bands: int = 1
    n_gammas: int = 1
    cv_score: str = "r2"
    wanted: float | None = None
    rounds: int = 5

    @property
    def n_test(self) -> int:
        return max(self.n // 10, 100)


@dataclass(frozen=True)
class Solution:
    """What every way must deliver: penalties, cross-validated scores, coefficients and test predictions."""

    alpha: np.ndarray
    scores: np.ndarray
    coef: np.ndarray
    Y_hat: np.ndarray


class Problem:
    """Features with a power-law spectrum, responses of varying signal, five contiguous folds."""

    def __init__(self, case: Case, seed: int = 0) -> None:
        self.case = case
        rng = np.random.default_rng(seed)
        n, p, t = case.n + case.n_test, case.p, case.t
        size = p // case.n_bands
        bands = []
        for _ in range(case.n_bands):
            mixed = np.linalg.qr(rng.standard_normal((size, size)))[0] if size <= 4096 else np.eye(size)
            X = (rng.standard_normal((n, size)) * np.arange(1, size + 1) ** -0.5) @ mixed.T
            X -= X[: case.n].mean(0)
            bands.append((X / np.sqrt(np.mean(X[: case.n] ** 2))).astype(np.float32))
        X = np.concatenate(bands, axis=1)
        share = rng.random((case.n_bands, t)) ** 2
        weights = [rng.standard_normal((size, t)).astype(np.float32) * np.sqrt(s).astype(np.float32) for s in share]
        signal = X @ np.concatenate(weights)
        snr = (rng.random(t) * 0.6).astype(np.float32)
        signal *= np.sqrt(snr) / signal[: case.n].std(0)
        Y = signal + rng.standard_normal((n, t), dtype=np.float32) * np.sqrt(1 - snr)
        Y -= Y[: case.n].mean(0)
        Y /= Y[: case.n].std(0)
        self.X, self.Y, self.X_test = X[: case.n], np.ascontiguousarray(Y[: case.n]), X[case.n :]
        self.edges = np.arange(1, case.n_bands) * size
        self.groups = np.arange(case.n) * N_FOLDS // case.n
        rows = np.arange(case.n)
        self.folds = [(rows[self.groups != k], rows[self.groups == k]) for k in range(N_FOLDS)]
        gammas = rng.dirichlet(np.ones(case.n_bands), size=case.n_gammas).astype(np.float32).clip(1e-3)
        self.gammas = gammas / gammas.sum(1, keepdims=True)

    def bands(self, X: np.ndarray) -> list[np.ndarray]:
        return [np.ascontiguousarray(band) for band in np.split(X, self.edges, axis=1)]


def ours(problem: Problem) -> Solution:
    """The estimator as users call it, its defaults but for the grid of penalties."""
    case = problem.case
    common: dict[str, Any] = {"extend": False, "standardise": False, "cv_score": case.cv_score, "device": "cpu"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if case.n_bands == 1:
            ridge = Ridge(alphas=ALPHAS.tolist(), **common).fit(problem.X, problem.Y, problem.groups)
            return Solution(ridge.alpha_, ridge.cv_scores_, ridge.coef_, ridge.predict(problem.X_test))
        # Bands are scaled to equal traces, the sum of all: so is alpha.
        alphas = (ALPHAS * case.n_bands).tolist()
        banded = Banded(alphas=alphas, gammas=problem.gammas.astype(float).tolist(), **common)
        banded.fit(problem.bands(problem.X), problem.Y, problem.groups)
        Y_hat = banded.predict(problem.bands(problem.X_test))
        return Solution(banded.alpha_ / case.n_bands, banded.cv_scores_, banded.coef_, Y_hat)


def himalaya_settings(case: Case) -> dict[str, tuple[Any, ...]]:
    """Return the settings among which himalaya's best is sought, the first of each being where the search starts."""
    routes = ("kernels", "features") if case.p > case.n or case.n_bands > 1 else ("features",)
    return {
        "route": routes,
        "backend": ("torch", "numpy"),
        "n_alphas_batch": (None, 1, 5),
        "n_targets_batch": (2000, 500, 8000),
    }


def himalaya(problem: Problem, settings: dict[str, Any], n_targets: int | None = None) -> Solution:
    """himalaya's solver with an intercept, the same folds, score and penalties."""
    from himalaya.backend import set_backend
    from himalaya.kernel_ridge import solve_kernel_ridge_cv_eigenvalues, solve_multiple_kernel_ridge_random_search
    from himalaya.ridge import solve_group_ridge_random_search
    from himalaya.ridge._random_search import solve_ridge_cv_svd
    from himalaya.scoring import correlation_score, r2_score

    backend = set_backend(settings["backend"])
    case, Y = problem.case, problem.Y[:, :n_targets]
    to = backend.asarray
    batches = {key: settings[key] for key in ("n_targets_batch", "n_alphas_batch")}
    common: dict[str, Any] = {
        "alphas": to(ALPHAS, dtype="float32"), "cv": problem.folds, "fit_intercept": True,
        "score_func": r2_score if case.cv_score == "r2" else correlation_score, **batches,
    }  # fmt: skip
    X, X_test, y = to(problem.X), to(problem.X_test), to(Y)
    gammas = to(problem.gammas)
    if case.n_bands > 1:
        Xs = [to(band) for band in problem.bands(problem.X)]
        common |= {"n_iter": gammas, "progress_bar": False}
        if settings["route"] == "features":
            deltas, coef, scores, intercept = solve_group_ridge_random_search(
                Xs, y, return_weights=True, warn=False, **common
            )
        else:
            means = [band.mean(0) for band in Xs]
            Xs = [band - mean for band, mean in zip(Xs, means, strict=True)]
            kernels = backend.stack([band @ band.T for band in Xs])
            deltas, dual, scores, intercept = solve_multiple_kernel_ridge_random_search(
                kernels, y, return_weights="dual", **common
            )
            shares = backend.exp(deltas)
            coef = backend.concatenate([band.T @ (dual * share) for band, share in zip(Xs, shares, strict=True)])
            intercept = intercept - backend.concatenate(means) @ coef
        alpha = 1.0 / backend.exp(deltas).sum(0)
        best = scores.max(0)
        scores = best.values if hasattr(best, "values") else best
    elif settings["route"] == "features":
        alpha, coef, scores, intercept = solve_ridge_cv_svd(X, y, warn=False, **common)
    else:
        mean = X.mean(0)
        X = X - mean
        alpha, dual, scores, intercept = solve_kernel_ridge_cv_eigenvalues(X @ X.T, y, **common)
        coef = X.T @ dual
        intercept = intercept - mean @ coef
    Y_hat = X_test @ coef + intercept
    return Solution(*(np.asarray(array) for array in (alpha, scores, coef, Y_hat)))


def scikit_learn(problem: Problem) -> Solution:
    """scikit-learn's only route to a penalty per target: leave-one-out, whatever the groups."""
    from sklearn.linear_model import RidgeCV

    model = RidgeCV(alphas=ALPHAS, alpha_per_target=True).fit(problem.X, problem.Y)
    Y_hat = model.predict(problem.X_test)
    return Solution(np.asarray(model.alpha_), np.asarray(model.best_score_), model.coef_.T, Y_hat)


def float64_scores(problem: Problem, targets: np.ndarray, alphas: np.ndarray) -> np.ndarray:
    """Cross-validated score of one given penalty for each of some targets, slowly, in float64; single band only."""
    X, Y = problem.X.astype(np.float64), problem.Y[:, targets].astype(np.float64)
    total = np.zeros(len(targets))
    for train, test in problem.folds:
        mean, offset = X[train].mean(0), Y[train].mean(0)
        U, s, Vt = np.linalg.svd(X[train] - mean, full_matrices=False)
        weights = (s[:, None] / (s[:, None] ** 2 + alphas[None])) * (U.T @ (Y[train] - offset))
        Y_hat, y = (X[test] - mean) @ (Vt.T @ weights) + offset, Y[test]
        if problem.case.cv_score == "r2":
            total += 1 - ((y - Y_hat) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)
        else:
            y, Y_hat = y - y.mean(0), Y_hat - Y_hat.mean(0)
            total += (y * Y_hat).sum(0) / np.sqrt((y**2).sum(0) * (Y_hat**2).sum(0))
    return total / len(problem.folds)


def floor_seconds(case: Case, single: float, double: float) -> float:
    """Time of our own matrix products and eigendecompositions (9 n^3) at the measured rates, test predictions included.

    Parameters
    ----------
    single, double : FLOP/s of matrix products in float32 and float64.
    """
    sizes = [case.p // case.n_bands] * case.n_bands
    made = footprint(case.n, sizes, case.t, N_FOLDS, len(ALPHAS), case.n_gammas, cv_score=case.cv_score, extend=False)
    predict = 2.0 * case.n_test * case.p * case.t
    return (made.flops32 + predict) / single + (made.flops64 + made.eigh_flops) / double


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result
