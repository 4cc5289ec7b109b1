"""What a fold does not owe to the responses: one float64 factorisation, and the tables that turn it into errors.

With ``X_t' X_t = V diag(l) V'`` on a fold's training rows, ``z = V' X_t' y``, ``P = X_v V`` on its validation rows,
``M = P' P``, ``q = P' y_v`` and ``w = 1 / (l + alpha)``, the squared error of a penalty is

    |y_v - P (w z)|^2 = |y_v|^2 - 2 sum_i w_i z_i q_i + sum_ij w_i w_j z_i z_j M_ij,

and since ``w_i w_j = (w_i - w_j) / (l_j - l_i)`` the double sum is linear in ``w`` wherever eigenvalues differ:

    N_ij = M_ij / (l_j - l_i)          where they differ, 0 on near pairs and on the diagonal
    error = |y_v|^2 + 2 w [z (N z - q)] + w^2 M_ii [z^2] + 2 w_i w_j M_ij [z_i z_j],    the last over near pairs.

Everything in brackets is free of alpha: all penalties cost one thin product of a table (n_alphas, rank) with it.

A correlation needs ``product = w [z q]`` and ``length^2 = z' w M w z``, with P centred over the validation rows. For
penalties above the largest eigenvalue the terms in N cancel to rounding; there, with ``r = l w`` and ``O = M`` off the
diagonal and near pairs, the same sum is taken as

    length^2 = (1 - 2 l / alpha) / alpha^2 [z (O z)] - 2 r l^2 / alpha^3 [z (N z)] + w^2 M_ii [z^2] + near pairs.

With more features than rows the same holds of the kernel: ``K_tt = U diag(l) U'``, ``z = U' y``, ``P = K_vt U``.
Features and responses are centred by a fold's training rows, which fits the intercept: rank-one terms, see `exact`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from brainenc.encoders.compute import Compute, host
from brainenc.encoders.flops import is_direct

NEAR = 1e-3
"""Relative gap below which two eigenvalues count as equal."""

MOST_PAIRS = 2.0
"""Near pairs per eigenvalue above which they are taken as a matrix product instead of one by one."""


@dataclass(frozen=True)
class FoldPlan:
    """Tables of one fold and one candidate; float32 on the place that computes.

    Attributes
    ----------
    primal, by_features : whether z comes from products with features, and q.
    rows : which rows of these products a candidate without some bands takes; None for all.
    learn : (rank, p + 1) or (rank, n_train); ``z = learn @ [X_t' y; sum y]``, or ``learn @ y_t``.
    seen : (rank, n_validation) or (rank, p + 1); ``q = seen @ y_v``, or ``seen @ [X_v' y_v; sum y_v]``, up to the
        rank-one term in the sum of the training responses that is the last column of ``bend``.
    bend : (rank, rank + 1) ``[N, P'1 / n_train]``, or None where every penalty predicts the validation rows.
    weights : (n_alphas, rows of the brackets) for z (N z - q) or z (N z), z z, near pairs, z (O z); ``w`` without bend.
    products : (n_alphas, rank) ``w``; for correlations times ``alpha + max l``, and its square in ``weights``.
    first, second : near pairs of eigenvalues.
    near : (rank, rank) of M on near pairs, instead of them, where they are many.
    off : (rank, rank) ``O``, for correlations at large penalties.
    """

    primal: bool
    by_features: bool
    rows: np.ndarray | None
    learn: Any
    seen: Any
    bend: Any | None
    weights: Any
    products: Any
    first: np.ndarray
    second: np.ndarray
    near: Any | None
    off: Any | None

    @property
    def rank(self) -> int:
        return int(self.products.shape[1])


def eigen(gram: Any, size: int, compute: Compute) -> tuple[Any, Any]:
    """Return the eigenvalues (ascending) above rounding, and their vectors; float64."""
    values, vectors = compute.xp.linalg.eigh(gram)
    keep = host(values) > max(float(values[-1]), 0.0) * size * np.finfo(np.float64).eps
    return (values, vectors) if keep.all() else (values[keep], vectors[:, keep])


def tabulate(
    values: Any,
    P: Any,
    learn: Any,
    seen: Any,
    alphas: np.ndarray,
    cv_score: str,
    n_train: int,
    compute: Compute,
    primal: bool = False,
    by_features: bool = False,
    rows: np.ndarray | None = None,
) -> FoldPlan:
    """Make the tables of a fold from its factorisation.

    Parameters
    ----------
    values : (rank,) eigenvalues, ascending, float64.
    P : (n_validation, rank) validation rows in eigenvectors, float32; centred over them for correlations. All tables
        being made from the same P, its rounding is that of a prediction.
    learn, seen : see `FoldPlan`; float32.
    alphas : (n_alphas,)
    n_train : training rows of the fold.
    """
    l = host(values)
    w = 1.0 / (l[None] + alphas[:, None])
    empty = np.empty(0, dtype=int)
    if cv_score == "r2" and is_direct(len(alphas), P.shape[0], len(l), seen.shape[1]):
        table = compute.put(w)
        return FoldPlan(primal, False, rows, learn, P, None, table, table, empty, empty, None, None)
    xp, k = compute.xp, len(l)
    M = P.T @ P
    first, second = _near_pairs(l)
    gap = compute.put(values[None, :] - values[:, None])
    _set_pairs(gap, first, second, float("inf"))
    bend = compute.empty(k, k + 1)
    xp.divide(M, gap, out=bend[:, :-1])
    bend[:, -1] = P.sum(0) / n_train
    off = None
    large = (alphas >= l.max(initial=0.0))[:, None]
    if cv_score == "correlation" and large.any() and k:
        off = M + 0.0
        _set_pairs(off, first, second, 0.0)
    brackets, near = [w**2 * host(xp.diagonal(M))], None
    if len(first) > MOST_PAIRS * k:
        # w_i w_j is (w_i^2 + w_j^2) / 2 up to the square of their relative difference, under 1e-6.
        near = xp.zeros_like(M)
        near[first, second] = M[first, second]
        near[second, first] = M[first, second]
        first = second = empty
        brackets.append(w**2)
    elif len(first):
        brackets.append(2.0 * w[:, first] * w[:, second] * host(M[first, second]))
    if off is not None:
        a = alphas[:, None]
        brackets = [np.where(large, -2.0 * l**3 * w / a**3, 2.0 * w), *brackets]
        brackets.append(np.where(large, (1.0 - 2.0 * l / a) / a**2, 0.0))
    else:
        brackets = [2.0 * w, *brackets]
    # A correlation does not depend on the size of the prediction, which float32 may not hold at the largest penalties.
    size = (alphas + l.max(initial=0.0))[:, None] if cv_score == "correlation" else 1.0
    weights = compute.put(np.concatenate(brackets, axis=1) * size**2)
    return FoldPlan(
        primal, by_features, rows, learn, seen, bend, weights, compute.put(w * size), first, second, near, off
    )


def _set_pairs(table: Any, first: np.ndarray, second: np.ndarray, value: float) -> None:
    """Set the diagonal and the near pairs of a square table."""
    table[range(len(table)), range(len(table))] = value
    table[first, second] = value
    table[second, first] = value


def _near_pairs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs i < j of ascending eigenvalues with ``l_j - l_i <= NEAR l_j``."""
    last = np.searchsorted(values * (1.0 - NEAR), values, side="right")
    count = np.maximum(last - 1 - np.arange(len(values)), 0)
    first = np.repeat(np.arange(len(values)), count)
    second = first + 1 + np.arange(len(first)) - np.repeat(np.cumsum(count) - count, count)
    keep = values[second] - values[first] <= NEAR * values[second]
    return first[keep], second[keep]
