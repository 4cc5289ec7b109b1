"""Leave-one-out and GCV against refitting without each row, against scikit-learn, and against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import LeaveOneOut, cross_val_predict

from brainenc.core.types import DataError
from brainenc.encoders.closed import Closed
from brainenc.encoders.compute import Compute
from brainenc.encoders.design import Design
from brainenc.encoders.ridge import Ridge

ALPHAS = np.array([0.1, 3.0, 100.0, 1e4])


def problem(n: int, p: int) -> tuple[np.ndarray, np.ndarray, Design]:
    generator = np.random.default_rng(n + p)
    X = generator.normal(size=(n, p)).astype(np.float32)
    Y = (X[:, :3] @ generator.normal(size=(3, 6)) + 2.0 * generator.normal(size=(n, 6))).astype(np.float32)
    Y = (Y - Y.mean(0)) / Y.std(0)
    return X, Y, Design.learn([X], np.ones(n, bool), standardise=False)


@pytest.mark.parametrize("device", ["numpy", "cpu"])
@pytest.mark.parametrize("score", ["r2", "correlation"])
@pytest.mark.parametrize("shape", [(40, 12), (25, 60)])
def test_leave_one_out_equals_refitting_without_each_row(shape: tuple[int, int], score: str, device: str) -> None:
    X, Y, design = problem(*shape)
    compute = Compute(device)
    found = Closed(design, "loo", np.ones((1, 1)), ALPHAS, score, compute).curves(compute.put(Y))[0]
    for row, alpha in zip(found, ALPHAS, strict=False):
        Y_hat = cross_val_predict(SklearnRidge(alpha=alpha), X.astype(float), Y.astype(float), cv=LeaveOneOut())
        if score == "r2":
            expected = 1 - ((Y - Y_hat) ** 2).sum(0) / ((Y - Y.mean(0)) ** 2).sum(0)
        else:
            expected = [np.corrcoef(Y[:, t], Y_hat[:, t])[0, 1] for t in range(Y.shape[1])]
        np.testing.assert_allclose(row, expected, atol=2e-5)


@pytest.mark.parametrize("shape", [(40, 12), (25, 60)])
def test_gcv_equals_its_definition(shape: tuple[int, int]) -> None:
    X, Y, design = problem(*shape)
    found = Closed(design, "gcv", np.ones((1, 1)), ALPHAS, "r2", Compute("numpy")).curves(Y)[0]
    n, Z = len(X), X.astype(float) - X.mean(0, dtype=float)
    for row, alpha in zip(found, ALPHAS, strict=False):
        hat = Z @ np.linalg.solve(Z.T @ Z + alpha * np.eye(Z.shape[1]), Z.T) + 1.0 / n
        error = ((Y - hat @ Y) ** 2).sum(0) / (1 - np.trace(hat) / n) ** 2
        np.testing.assert_allclose(row, 1 - error / (Y**2).sum(0), rtol=1e-4, atol=2e-5)


def test_the_mean_is_the_limit_of_a_large_penalty() -> None:
    _, Y, design = problem(40, 12)
    for kind in ("loo", "gcv"):
        curve = Closed(design, kind, np.ones((1, 1)), np.array([1e12]), "r2", Compute("numpy")).curves(Y)[0]
        np.testing.assert_allclose(curve[0], curve[1], atol=1e-6)


def test_scikit_learn_chooses_the_same_penalties() -> None:
    generator = np.random.default_rng(3)
    X = generator.normal(size=(120, 30)).astype(np.float32)
    Y = X @ generator.normal(size=(30, 50)) * generator.random(50) + 4.0 * generator.normal(size=(120, 50))
    alphas = np.logspace(-1, 4, 11)
    ours = Ridge(alphas=alphas.tolist(), cv="loo", extend=False, standardise=False, device="numpy").fit(X, Y)
    theirs = RidgeCV(alphas=alphas, alpha_per_target=True).fit(X.astype(float), Y)
    np.testing.assert_allclose(ours.alpha_, theirs.alpha_, rtol=1e-6)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), atol=1e-3)


def test_grouped_rows_are_refused() -> None:
    X, Y, _ = problem(40, 12)
    with pytest.raises(DataError, match="leak within a group"):
        Ridge(cv="loo").fit(X, Y, groups=np.arange(40) // 2)
    Ridge(cv="loo", device="numpy").fit(X, Y, groups=np.arange(40))


@pytest.mark.parametrize("arguments", [{"cv": "loo", "solver": "himalaya"}, {"cv": "gcv", "cv_score": "correlation"}])
def test_combinations_that_do_not_exist(arguments: dict) -> None:
    with pytest.raises(DataError, match="cv is"):
        Ridge(**arguments)
