"""The exact search equals predicting the validation rows once per penalty, in float64, whatever the spectrum."""

from __future__ import annotations

import numpy as np
import pytest

from brainenc.encoders import exact_plan
from brainenc.encoders.banded import Banded
from brainenc.encoders.compute import Compute
from brainenc.encoders.design import Design
from brainenc.encoders.exact import Exact
from brainenc.encoders.ridge import Ridge

N_TARGETS = 40


def orthonormal(generator: np.random.Generator, n: int, p: int) -> np.ndarray:
    return np.linalg.qr(generator.normal(size=(n, p)))[0]


def features(spectrum: str, seed: int = 0) -> np.ndarray:
    """(n, p) features of a named spectrum."""
    generator = np.random.default_rng(seed)
    n, p = {"wide": (60, 150), "tall": (300, 12)}.get(spectrum, (120, 40))
    X = generator.normal(size=(n, p))
    if spectrum == "power law":
        X = X * np.arange(1, p + 1) ** -1.5
    elif spectrum == "steep":
        X = X * 10.0 ** -np.linspace(0, 4, p)
    elif spectrum == "degenerate":
        X = orthonormal(generator, n, p)
    elif spectrum == "two values":
        X = orthonormal(generator, n, p) * np.repeat([1.0, 30.0], p // 2)
    elif spectrum == "rank deficient":
        X = X[:, :10] @ generator.normal(size=(10, p))
    elif spectrum == "constant column":
        X[:, 3] = 7.0
    return X.astype(np.float32)


def folds_of(n: int, unequal: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    fold = np.repeat([0, 1, 2, 3], [n // 8, n // 4, n // 4, n - n // 8 - 2 * (n // 4)]) if unequal else np.arange(n) % 4
    rows = np.arange(n)
    return [(rows[fold != k], rows[fold == k]) for k in range(4)]


def curve(
    design: Design, Y: np.ndarray, folds: list, alphas: np.ndarray, kind: str, device: str = "numpy"
) -> np.ndarray:
    compute = Compute(device)
    solver = Exact(design, folds, np.ones((1, 1)), alphas, kind, compute)
    return solver.curves(compute.put(Y))[0]


def slow_curve(Z: np.ndarray, Y: np.ndarray, folds: list, alphas: np.ndarray, kind: str) -> np.ndarray:
    """Predict the validation rows with every alpha, float64, through the singular values of the training rows."""
    curve = np.zeros((len(alphas), Y.shape[1]))
    for train, validation in folds:
        mean, offset = Z[train].mean(0), Y[train].mean(0)
        U, s, Vt = np.linalg.svd(Z[train] - mean, full_matrices=False)
        keep = s > s[0] * 1e-7
        U, s, Vt = U[:, keep], s[keep], Vt[keep]
        y = Y[validation]
        for a, alpha in enumerate(alphas):
            p = (Z[validation] - mean) @ (Vt.T @ ((s / (s**2 + alpha))[:, None] * (U.T @ (Y[train] - offset))))
            if kind == "r2":
                curve[a] += 1 - ((y - p - offset) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)
            else:
                y_, p_ = y - y.mean(0), p - p.mean(0)
                curve[a] += (y_ * p_).sum(0) / np.sqrt((y_**2).sum(0) * (p_**2).sum(0))
    return curve / len(folds)


@pytest.mark.parametrize("device", ["numpy", "cpu"])
@pytest.mark.parametrize("kind", ["r2", "correlation"])
@pytest.mark.parametrize("unequal", [False, True])
@pytest.mark.parametrize(
    "spectrum",
    ["white", "power law", "steep", "degenerate", "two values", "rank deficient", "constant column", "wide", "tall"],
)
def test_curve_equals_the_slow_one(spectrum: str, unequal: bool, kind: str, device: str) -> None:
    X = features(spectrum)
    generator = np.random.default_rng(1)
    Y = X @ generator.normal(size=(X.shape[1], N_TARGETS)) / np.linalg.norm(X, axis=1).mean()
    Y = (Y + generator.normal(size=Y.shape) * generator.gamma(2, size=N_TARGETS)).astype(np.float32)
    Y = (Y - Y.mean(0)) / Y.std(0)
    design = Design.learn([X], np.ones(len(X), bool), standardise=False)
    Z = design.columns(np.ones(1)).astype(np.float64)
    largest = np.linalg.norm(Z, 2) ** 2
    # From where there is hardly a penalty, to where nothing is predicted.
    alphas = largest * np.logspace(-8, 12, 21)
    folds = folds_of(len(X), unequal)
    found = curve(design, Y, folds, alphas, kind, device)
    expected = slow_curve(Z, Y.astype(np.float64), folds, alphas, kind)
    assert found.shape == (len(alphas) + 1, N_TARGETS)
    np.testing.assert_allclose(found[:-1], expected, atol=5e-6 if kind == "r2" else 2e-6)


@pytest.mark.parametrize("kind", ["r2", "correlation"])
def test_both_solvers_choose_the_same(kind: str) -> None:
    generator = np.random.default_rng(2)
    Xs = [generator.normal(size=(200, 30)).astype(np.float32), generator.normal(size=(200, 8)).astype(np.float32)]
    Y = Xs[0] @ generator.normal(size=(30, 300)) * generator.random(300) + Xs[1] @ generator.normal(size=(8, 300))
    Y = (Y + 5 * generator.normal(size=Y.shape)).astype(np.float32)
    fitted = {}
    for solver in ("exact", "himalaya"):
        fitted[solver] = Banded(solver=solver, cv_score=kind, n_gammas=5, n_alphas=10, device="numpy").fit(Xs, Y)
    a, b = fitted["exact"], fitted["himalaya"]
    same = (a.alpha_ == b.alpha_) & (a.gamma_ == b.gamma_).all(axis=0)
    # Correlation hardly changes along the largest penalties: equal scores, and rounding picks one.
    assert same.mean() >= (0.99 if kind == "r2" else 0.95)
    np.testing.assert_allclose(a.cv_scores_, b.cv_scores_, atol=1e-5)
    np.testing.assert_allclose(a.predict(Xs)[:, same], b.predict(Xs)[:, same], atol=1e-4)


def scattered_folds(n: int, kind: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Folds that are no partition into consecutive rows."""
    rows, generator = np.arange(n), np.random.default_rng(5)
    if kind == "shuffled":
        return [(np.setdiff1d(rows, part), np.sort(part)) for part in np.array_split(generator.permutation(n), 4)]
    if kind == "overlapping":
        draws = [np.sort(generator.choice(n, n // 3, replace=False)) for _ in range(3)]
        return [(np.setdiff1d(rows, part), part) for part in draws]
    if kind == "gap":  # rows beside the validation rows are not learned from
        parts = np.array_split(rows, 4)
        return [(rows[(rows < part[0] - 5) | (rows > part[-1] + 5)], part) for part in parts]
    return [(np.setdiff1d(rows, part), part) for part in np.array_split(rows, n // 3)]


@pytest.mark.parametrize("device", ["numpy", "cpu"])
@pytest.mark.parametrize("cv_score", ["r2", "correlation"])
@pytest.mark.parametrize("spectrum", ["white", "wide"])
@pytest.mark.parametrize("kind", ["shuffled", "overlapping", "gap", "many small"])
def test_any_folds(kind: str, spectrum: str, cv_score: str, device: str) -> None:
    X = features(spectrum)
    Y = np.random.default_rng(6).normal(size=(len(X), 7)).astype(np.float32)
    Y = (Y + X @ np.random.default_rng(7).normal(size=(X.shape[1], 7)) * 0.2).astype(np.float32)
    design = Design.learn([X], np.ones(len(X), bool), standardise=False)
    Z = design.columns(np.ones(1)).astype(np.float64)
    folds, alphas = scattered_folds(len(X), kind), np.linalg.norm(Z, 2) ** 2 * np.logspace(-4, 2, 4)
    found = curve(design, Y, folds, alphas, cv_score, device)
    expected = slow_curve(Z, Y.astype(np.float64), folds, alphas, cv_score)
    np.testing.assert_allclose(found[:-1], expected, rtol=2e-5, atol=1e-5)


def test_few_validation_rows_are_predicted() -> None:
    X = features("white")
    design = Design.learn([X], np.ones(len(X), bool), standardise=False)
    arguments = (np.ones((1, 1)), np.ones(3), "r2", Compute("numpy"))
    direct = Exact(design, scattered_folds(len(X), "many small"), *arguments)
    collapsed = Exact(design, folds_of(len(X), False), *arguments)
    assert all(plan.bend is None for plan in direct.plans[0]) and all(
        plan.bend is not None for plan in collapsed.plans[0]
    )


def test_features_and_kernels_give_the_same_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    X = features("power law")
    Y = np.random.default_rng(8).normal(size=(len(X), 9)).astype(np.float32)
    design = Design.learn([X[:, :25], X[:, 25:]], np.ones(len(X), bool), standardise=True)
    folds, alphas = folds_of(len(X), True), np.logspace(-2, 4, 7)
    gammas = np.array([[0.5, 0.5], [0.9, 0.1], [0.0, 1.0]])
    curves = {}
    for primal in (True, False):
        monkeypatch.setattr("brainenc.encoders.exact.is_primal", lambda *a, primal=primal: primal)
        curves[primal] = Exact(design, folds, gammas, alphas, "r2", Compute("numpy")).curves(Y)
    for one, other, gamma in zip(curves[True], curves[False], gammas, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
        expected = slow_curve(design.columns(gamma).astype(np.float64), Y.astype(np.float64), folds, alphas, "r2")
        np.testing.assert_allclose(one[:-1], expected, atol=1e-5)


def test_a_wrong_pair_term_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the near pairs, a degenerate spectrum gives another curve: the test above can fail."""
    generator = np.random.default_rng(3)
    # All eigenvalues of the training rows are one and the same; the validation rows are like any.
    learned = generator.normal(size=(60, 20))
    learned = np.linalg.qr(learned - learned.mean(0))[0]
    X = np.concatenate([learned, 0.1 * generator.normal(size=(60, 20))]).astype(np.float32)
    Y = (X @ generator.normal(size=(X.shape[1], 10)) + 0.1 * generator.normal(size=(len(X), 10))).astype(np.float32)
    design = Design.learn([X], np.ones(len(X), bool), standardise=False)
    folds, alphas = [(np.arange(60), np.arange(60, 120))], np.logspace(-3, 1, 5)
    Z = design.columns(np.ones(1)).astype(np.float64)
    np.testing.assert_allclose(
        curve(design, Y, folds, alphas, "r2")[:-1], slow_curve(Z, Y.astype(np.float64), folds, alphas, "r2"), atol=5e-6
    )
    right = curve(design, Y, folds, alphas, "r2")
    monkeypatch.setattr(exact_plan, "NEAR", -1.0)
    with np.errstate(all="ignore"):
        wrong = curve(design, Y, folds, alphas, "r2")
    assert not np.allclose(right, wrong, atol=1e-3, equal_nan=False)


def test_dead_targets_and_constant_folds_are_left_out() -> None:
    generator = np.random.default_rng(4)
    X, Y = generator.normal(size=(80, 10)).astype(np.float32), generator.normal(size=(80, 4)).astype(np.float32)
    Y[:, 1], Y[:, 2] = 3.0, np.nan
    fitted = Ridge(solver="exact", device="numpy").fit(X, Y)
    np.testing.assert_array_equal(np.isnan(fitted.alpha_), [False, True, True, False])
