"""Ridge coefficients on all training rows, each target with its own alpha, from one factorisation in float64.

    primal  coef = V (V' Z' Y / (l + alpha)),     Z' Z = V diag(l) V'        (n_features <= n_samples)
    dual    coef = Z' U (U' Y / (l + alpha)),     Z Z' = U diag(l) U'

The factorisation does not depend on alpha, so any number of different penalties costs two matrix products. Directions
whose eigenvalue is rounding only are left out, so that alpha -> 0 gives the least-squares solution of smallest norm.
Responses stream through in float32, but for targets whose penalty leaves the problem ill-conditioned.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from brainenc.encoders.compute import Compute, host
from brainenc.encoders.design import Design
from brainenc.encoders.exact_plan import eigen

DELICATE = 1e5
"""Condition number (of the penalised Gram matrix) above which a target's coefficients are computed in float64."""


class Coefficients:
    """Solver for the coefficients under one candidate of band weights, in units of Y per raw unit of X.

    Parameters
    ----------
    design : standardised training features.
    gamma : (n_bands,) band weights.
    compute : where.

    Attributes
    ----------
    active : (n_features,) bool, features of the bands with weight; the others have coefficient 0.
    """

    def __init__(self, design: Design, gamma: np.ndarray, compute: Compute) -> None:
        self.compute = compute
        self.active = design.features(gamma)
        self._Z = compute.put(design.columns(gamma))
        weights = np.repeat(np.sqrt(gamma), design.band_sizes)
        self._weights = compute.put(weights[self.active])
        to_raw = compute.put((weights / np.concatenate(design.scales))[self.active], "float64")
        Z = compute.put(self._Z, "float64")
        self.primal = Z.shape[1] <= Z.shape[0]
        values, vectors = eigen(Z.T @ Z if self.primal else Z @ Z.T, max(Z.shape), compute)
        self._values = host(values)
        # Z'y or y, rotated, shrunk, and back to raw features.
        self._left = (Z.T @ vectors) if not self.primal else vectors + 0.0
        self._left *= to_raw[:, None]
        self._right = vectors.T
        self._single = compute.put(self._right), compute.put(self._left)

    def solve(self, y: Any, alpha: np.ndarray, scale: np.ndarray, products: Any | None = None) -> np.ndarray:
        """Return coefficients (n_active, n_columns) float32.

        Parameters
        ----------
        y : (n_samples, n_columns) standardised responses, here.
        alpha : (n_columns,) penalties; NaN gives 0.
        scale : (n_columns,) standard deviation of the responses.
        products : (n_features, n_columns) unweighted ``X' y`` if known.
        """
        fitted = np.isfinite(alpha)
        alpha = np.where(fitted, alpha, 1.0)
        lowest, highest = self._values[[0, -1]] if len(self._values) else (1.0, 1.0)
        delicate = fitted & (highest > DELICATE * (lowest + alpha))
        factor = np.where(fitted, scale, 0.0)
        coef = self._solved(y, alpha, factor, self._single, products)
        if delicate.any():
            columns = np.flatnonzero(delicate)
            part = self.compute.put(y[:, columns], "float64")
            coef[:, columns] = self._solved(part, alpha[columns], factor[columns], (self._right, self._left), None)
        return coef

    def _solved(
        self, y: Any, alpha: np.ndarray, factor: np.ndarray, rotations: tuple[Any, Any], products: Any | None
    ) -> np.ndarray:
        right, left = rotations
        dtype = "float64" if right is self._right else "float32"
        if self.primal and products is not None:
            y = products if self.active.all() else products[np.flatnonzero(self.active)]
            if np.any(host(self._weights) != 1.0):
                y = y * self._weights[:, None]
        elif self.primal:
            y = self.compute.put(self._Z, dtype).T @ y
        rotated = right @ y
        shrunk = factor[None] / (self._values[:, None] + alpha[None])
        rotated *= self.compute.put(shrunk, dtype)
        return host(left @ rotated, "float32")
