"""Cross-validated search without predictions: the error of every penalty from one factorisation per fold.

With ``X_t' X_t = V diag(l) V'`` on a fold's training rows, ``z = V' X_t' y``, ``P = X_v V`` on its validation rows,
``M = P' P``, ``q = P' y_v`` and ``w = 1 / (l + alpha)``, the squared error of a penalty is

    |y_v - P (w z)|^2 = |y_v|^2 - 2 sum_i w_i z_i q_i + sum_ij w_i w_j z_i z_j M_ij,

and since ``w_i w_j = (w_i - w_j) / (l_j - l_i)`` the double sum is linear in ``w`` wherever eigenvalues differ:

    err = |y_v|^2 + 2 W [z (N z - q)] + W^2 [z (B z)],    N_ij = M_ij / (l_j - l_i),

with ``B`` the entries of ``M`` on the diagonal and on pairs of nearly equal eigenvalues, where ``N`` is 0. All
penalties then cost two thin products (n_alphas, rank) x (rank, n_targets); `himalaya_backend.search` predicts the
validation rows once per penalty. Plans are float64; responses stream through in float32. With more features than rows
the same holds of the kernel: ``K_tt = U diag(l) U'``, ``z = U' y``, ``P = K_vt U``. Every fold is centred by its
training rows, which fits the intercept.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from brainenc.encoders.design import Design
from brainenc.encoders.folds import Folds
from brainenc.encoders.himalaya_backend import Choice, choose, host, settled, to_backend

NEAR = 1e-3
"""Relative gap below which two eigenvalues count as equal."""

N_TARGETS = 2048
"""Targets at a time: blocks of this width stay in cache and keep the products thin."""


@dataclass(frozen=True)
class FoldPlan:
    """All of a fold that does not depend on the responses; arrays on the backend's device.

    ``rotate`` (2 rank, p or n_train): z and N z in one product. ``P`` (n_validation, rank). ``large``: for correlations
    at penalties above the largest eigenvalue, where the plain form cancels: M, N' and B, stacked (3 rank, rank).
    """

    train: np.ndarray
    validation: np.ndarray
    rotate: Any
    P: Any
    B: Any
    W: np.ndarray
    R: np.ndarray
    large: Any | None


def search(
    design: Design, Y: np.ndarray, folds: Folds, alphas: np.ndarray, gammas: np.ndarray, cv_score: str,
    n_targets_batch: int, backend: ModuleType,
) -> Choice:  # fmt: skip
    """Choose alpha and band weights of each target; arguments and result as in `himalaya_backend.search`."""
    best: Choice | None = None
    for index, gamma in enumerate(gammas):
        choice = choose(score_curve(design, gamma, Y, folds, alphas, cv_score, backend), alphas, index)
        best = choice if best is None else best.merged(choice)
    assert best is not None
    return best


def score_curve(
    design: Design, gamma: np.ndarray, Y: np.ndarray, folds: Folds, alphas: np.ndarray, cv_score: str,
    backend: ModuleType,
) -> np.ndarray:  # fmt: skip
    """Cross-validated score of every alpha, and in the last row of the training mean, (n_alphas + 1, n_targets)."""
    primal = design.is_primal(gamma)
    matrix = design.columns(gamma).astype(np.float64) if primal else design.kernel(gamma)
    plans = [_plan(matrix, fold, alphas, cv_score, primal, backend) for fold in folds]
    features = to_backend(backend, matrix) if primal else None
    blocks = (Y[:, start : start + N_TARGETS] for start in range(0, Y.shape[1], N_TARGETS))
    curves = [_mean_curve(plans, features, block, alphas, cv_score, backend) for block in blocks]
    return np.concatenate(curves, axis=1)


def _plan(
    matrix: np.ndarray, fold: tuple[np.ndarray, np.ndarray], alphas: np.ndarray, cv_score: str, primal: bool,
    backend: ModuleType,
) -> FoldPlan:  # fmt: skip
    train, validation = fold
    if primal:
        mean = matrix[train].mean(axis=0)
        learned, tested = matrix[train] - mean, matrix[validation] - mean
        gram = learned.T @ learned
    else:
        rows = matrix[:, train].mean(axis=1)
        centred = matrix - rows[:, None] - rows[None, :] + rows[train].mean()
        gram, tested = centred[np.ix_(train, train)], centred[np.ix_(validation, train)]
    eigenvalues, vectors = np.linalg.eigh(gram)
    keep = eigenvalues > max(eigenvalues[-1], 0.0) * len(gram) * np.finfo(np.float64).eps
    eigenvalues, vectors = eigenvalues[keep], vectors[:, keep]
    P = tested @ vectors
    if cv_score == "correlation":
        P = P - P.mean(axis=0)
    M = P.T @ P
    gap = eigenvalues[None, :] - eigenvalues[:, None]
    near = np.abs(gap) <= NEAR * np.maximum(eigenvalues[None, :], eigenvalues[:, None])
    N = np.where(near, 0.0, M / np.where(near, 1.0, gap))
    B = np.where(near, M, 0.0)
    large = None
    if cv_score == "correlation" and len(eigenvalues):
        large = to_backend(backend, np.concatenate([M, N * eigenvalues[:, None] * eigenvalues[None, :]]))
    return FoldPlan(
        train,
        validation,
        rotate=to_backend(backend, np.concatenate([vectors.T, N @ vectors.T])),
        P=to_backend(backend, P),
        B=to_backend(backend, B),
        W=1.0 / (eigenvalues[None, :] + alphas[:, None]),
        R=eigenvalues[None, :] / (eigenvalues[None, :] + alphas[:, None]),
        large=large,
    )


def _mean_curve(
    plans: list[FoldPlan], features: Any | None, Y: np.ndarray, alphas: np.ndarray, cv_score: str, backend: ModuleType
) -> np.ndarray:
    """Score of every alpha, and of the training mean, averaged over the folds in which it is defined."""
    total, count = np.zeros((len(alphas) + 1, Y.shape[1])), np.zeros((len(alphas) + 1, Y.shape[1]))
    for plan in plans:
        y_train, y = Y[plan.train], Y[plan.validation]
        offset = y_train.mean(axis=0, dtype=np.float64).astype(np.float32)
        learned, seen = to_backend(backend, y_train - offset), to_backend(backend, y - offset)
        if features is not None:
            # Rows centred by their training mean: X_t' y needs no centred copy of X, since y sums to 0.
            learned = features[plan.train].T @ learned
        scores = _fold_curve(plan, learned, seen, alphas, cv_score, backend)
        known = ~np.isnan(scores)
        total += np.where(known, scores, 0.0)
        count += known
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _fold_curve(
    plan: FoldPlan, learned: Any, y: Any, alphas: np.ndarray, cv_score: str, backend: ModuleType
) -> np.ndarray:
    """Scores (n_alphas + 1, n_targets) of one fold."""
    rank = plan.W.shape[1]
    rotated = plan.rotate @ learned
    z, s = rotated[:rank], rotated[rank:]
    W, W2 = to_backend(backend, plan.W), to_backend(backend, plan.W**2)
    centred = y - y.mean(0)
    variation = host((centred * centred).sum(0))
    if cv_score == "r2":
        square = host((y * y).sum(0))
        error = square + host(W @ (2.0 * z * (s - plan.P.T @ y)) + W2 @ (z * (plan.B @ z)))
        error = np.concatenate([error, square[None]])
        with np.errstate(invalid="ignore", divide="ignore"):
            return settled(1.0 - error / variation, error, variation, len(y))
    product = host(W @ (z * (plan.P.T @ centred)))
    near = z * (plan.B @ z)
    length = host(2.0 * (W @ (z * s)) + W2 @ near)
    above = alphas >= _largest(plan, alphas)
    if above.any() and plan.large is not None:
        length[above] = _long_lengths(plan, z, near, alphas[above], above, backend)
    with np.errstate(invalid="ignore", divide="ignore"):
        score = np.where(length > 0, product / np.sqrt(length * variation), 0.0)
    score, product = (np.concatenate([rows, np.zeros((1, rows.shape[1]))]) for rows in (score, product))
    return settled(score, product, variation, len(y))


def _long_lengths(
    plan: FoldPlan, z: Any, near: Any, alphas: np.ndarray, above: np.ndarray, backend: ModuleType
) -> np.ndarray:
    """Squared length of the prediction at large penalties, ``w = (1 - r) / alpha`` with ``r = l / (l + alpha)``."""
    rank = plan.W.shape[1]
    stacked = plan.large @ z
    whole, bent = z * stacked[:rank], z * stacked[rank:]
    R, R2 = to_backend(backend, plan.R[above]), to_backend(backend, plan.R[above] ** 2)
    scaled = to_backend(backend, 2.0 * plan.R[above] / alphas[:, None])
    inside = whole.sum(0) - 2.0 * (R @ whole) - scaled @ bent + R2 @ near
    return host(inside) / alphas[:, None] ** 2


def _largest(plan: FoldPlan, alphas: np.ndarray) -> float:
    """Largest eigenvalue of the fold, from ``w = 1 / (l + alpha)``."""
    return float((1.0 / plan.W[0] - alphas[0]).max(initial=0.0))
