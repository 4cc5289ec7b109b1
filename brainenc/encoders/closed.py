"""Leave-one-out and generalised cross-validation: scores of every penalty from one factorisation of all rows.

With ``Z Z' = U diag(l) U'`` (Z and y centred), ``r = l / (l + alpha)`` and the leverage
``h_i = 1/n + sum_j r_j U_ij^2`` (1/n for the intercept), the residual of row i predicted from all others, and the
generalised error, are

    y_i - y_hat_(-i) = (y - U (r U'y))_i / (1 - h_i)      (Allen 1974, 10.1080/00401706.1974.10489157)
    gcv = (1/n) |y - U (r U'y)|^2 / (1 - mean h)^2        (Golub, Heath, Wahba 1979, 10.1080/00401706.1979.10489751)

Both ignore groups: rows that share a run or a stimulus leak. Scores: r2 = 1 - error / |y|^2, or the correlation of y
with its leave-one-out prediction. gcv costs one thin product for all penalties, leave-one-out a prediction for each.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from brainenc.encoders.choice import settled
from brainenc.encoders.compute import Compute, host
from brainenc.encoders.design import Design
from brainenc.encoders.exact_plan import eigen


class Closed:
    """Curves of scores by a closed form; see `exact.Exact` for the parameters.

    Parameters
    ----------
    kind : "loo" or "gcv".
    """

    def __init__(
        self, design: Design, kind: str, gammas: np.ndarray, alphas: np.ndarray, cv_score: str, compute: Compute
    ) -> None:
        self.kind, self.alphas, self.cv_score, self.compute = kind, alphas, cv_score, compute
        self.factors = [self._factor(design, gamma) for gamma in gammas]

    def curves(self, y: Any) -> list[np.ndarray]:
        """Return per candidate (n_alphas + 1, n_columns) float64; the last row is the score of the mean."""
        return [self._curve(y, *factor) for factor in self.factors]

    def products(self) -> None:
        """Return nothing: products with the features are not made here."""
        return None

    def features(self) -> None:
        """Return nothing: the refit makes its own."""
        return None

    def _factor(self, design: Design, gamma: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray]:
        """Return U (n, rank) float32, r (n_alphas, rank) and the leverages (n_alphas, n)."""
        Z = self.compute.put(design.columns(gamma), "float64")
        Z = Z - Z.mean(0)
        if Z.shape[1] <= Z.shape[0]:
            values, V = eigen(Z.T @ Z, max(Z.shape), self.compute)
            U = (Z @ V) / self.compute.xp.sqrt(values)
        else:
            values, U = eigen(Z @ Z.T, max(Z.shape), self.compute)
        l = host(values)
        r = l[None] / (l[None] + self.alphas[:, None])
        leverage = 1.0 / len(U) + r @ host(U * U).T
        return self.compute.put(U), r, leverage

    def _curve(self, y: Any, U: Any, r: np.ndarray, leverage: np.ndarray) -> np.ndarray:
        xp, n = self.compute.xp, len(U)
        rotated = U.T @ y
        # What no feature reaches; with as many directions as rows there is nothing left but rounding.
        beyond = y - U @ rotated if U.shape[1] < n - 1 else self.compute.xp.zeros_like(y)
        spread = host((y * y).sum(0))
        baseline = spread * (n / (n - 1.0)) ** 2
        if self.kind == "gcv":
            left = host((beyond * beyond).sum(0)) + host(self.compute.put((1.0 - r) ** 2) @ (rotated * rotated))
            error = left / ((1.0 - leverage.mean(axis=1)) ** 2)[:, None]
            return self._scores(np.concatenate([error, baseline[None]]), spread, n)
        errors, products, lengths = [], [], []
        for r_a, h_a in zip(self.compute.put(1.0 - r), self.compute.put(1.0 / (1.0 - leverage)), strict=True):
            residual = U @ (rotated * r_a[:, None])
            residual += beyond
            residual *= h_a[:, None]
            if self.cv_score == "r2":
                errors.append((residual * residual).sum(0))
                continue
            residual -= y  # minus the prediction
            residual -= residual.mean(0)
            products.append(-(residual * y).sum(0))
            lengths.append((residual * residual).sum(0))
        if self.cv_score == "r2":
            return self._scores(np.concatenate([host(xp.stack(errors)), baseline[None]]), spread, n)
        product, length = host(xp.stack(products)), host(xp.stack(lengths))
        with np.errstate(invalid="ignore", divide="ignore"):
            score = np.where(length > 0, product / np.sqrt(length * spread), 0.0)
        return settled(np.pad(score, ((0, 1), (0, 0))), np.pad(product, ((0, 1), (0, 0))), spread, n)

    def _scores(self, error: np.ndarray, spread: np.ndarray, n: int) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return settled(1.0 - error / spread, error, spread, n)
