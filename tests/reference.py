"""Slow and obvious oracles in float64, written as the equations read: loops, no factorisation shared, no cleverness."""

from __future__ import annotations

import numpy as np


# ----------------------------------------------------------------------------------------------- ridge and banded ridge
def standardised(X):
    """Zero mean, unit variance; constant columns become 0."""
    X = np.asarray(X, dtype=np.float64)
    sd = X.std(axis=0)
    sd[np.ptp(X, axis=0) == 0] = 1.0
    return (X - X.mean(axis=0)) / sd


def equal_trace(Xs):
    """Standardised bands, each scaled to the summed squares of all bands together."""
    bands = [standardised(X) for X in Xs]
    total = sum(np.sum(Z**2) for Z in bands)
    return [Z * np.sqrt(total / np.sum(Z**2)) for Z in bands]


def ridge_solution(Z, y, alpha):
    """Coefficients and intercept of one target by the normal equations; the intercept is not penalised."""
    Z_mean, y_mean = Z.mean(axis=0), y.mean()
    centred = Z - Z_mean
    w = np.linalg.solve(centred.T @ centred + alpha * np.eye(Z.shape[1]), centred.T @ (y - y_mean))
    return w, y_mean - Z_mean @ w


def fold_score(y, p, kind):
    """r2 or Pearson's correlation of one target in one fold."""
    if kind == "r2":
        return 1.0 - np.sum((y - p) ** 2) / np.sum((y - y.mean()) ** 2)
    return np.corrcoef(y, p)[0, 1]


def ridge_curve(Z, Y, folds, alphas, kind="r2"):
    """Score of every alpha for every target, averaged over folds, (n_alphas, n_targets)."""
    curve = np.zeros((len(alphas), Y.shape[1]))
    for a, alpha in enumerate(alphas):
        for t in range(Y.shape[1]):
            scores = []
            for train, validation in folds:
                w, b = ridge_solution(Z[train], Y[train, t], alpha)
                scores.append(fold_score(Y[validation, t], Z[validation] @ w + b, kind))
            curve[a, t] = np.mean(scores)
    return curve


def banded_search(Xs, Y, folds, alphas, gammas, kind="r2"):
    """Best (score, alpha, row of gammas) of each target; also the predictions of the training rows after a refit."""
    Zs, Y = equal_trace(Xs), np.asarray(Y, dtype=np.float64)
    designs = [np.concatenate([np.sqrt(g) * Z for g, Z in zip(gamma, Zs, strict=True)], axis=1) for gamma in gammas]
    curves = np.stack([ridge_curve(Z, Y, folds, alphas, kind) for Z in designs])
    score, alpha, index, fitted = [], [], [], np.empty_like(Y)
    for t in range(Y.shape[1]):
        g, a = np.unravel_index(np.argmax(curves[:, :, t]), curves.shape[:2])
        w, b = ridge_solution(designs[g], Y[:, t], alphas[a])
        fitted[:, t] = designs[g] @ w + b
        score.append(curves[g, a, t]), alpha.append(alphas[a]), index.append(g)
    return np.array(score), np.array(alpha), np.array(index), fitted


def delayed(X, runs, delays):
    """Row t of delay d shows row t - d if that row exists and belongs to the same run, else 0."""
    X = np.asarray(X)
    out = np.zeros((len(X), len(delays) * X.shape[1]), dtype=X.dtype)
    for t in range(len(X)):
        for k, delay in enumerate(delays):
            source = t - delay
            if 0 <= source < len(X) and runs[source] == runs[t]:
                out[t, k * X.shape[1] : (k + 1) * X.shape[1]] = X[source]
    return out
