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
        self._weights = weights[self.active]
        self._to_raw = (weights / np.concatenate(design.scales))[self.active][:, None]
        self.primal = self._Z.shape[1] <= self._Z.shape[0]
        if self.primal:
            Z = compute.put(self._Z, "float64")
            gram = Z.T @ Z
        else:
            gram = compute.put(design.kernel(gamma), "float64")
        values, self._vectors = eigen(gram, max(self._Z.shape), compute)
        self._values = host(values)
        self._single = self._rotations("float32")

    def _rotations(self, dtype: str) -> tuple[Any, Any]:
        """Return what rotates Z'y or y, and what leads from there to coefficients of raw features."""
        vectors = self.compute.put(self._vectors, dtype)
        left = vectors if self.primal else self.compute.put(self._Z, dtype).T @ vectors
        return vectors.T, left * self.compute.put(self._to_raw, dtype)

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
            coef[:, columns] = self._solved(part, alpha[columns], factor[columns], self._rotations("float64"), None)
        return coef

    def _solved(
        self, y: Any, alpha: np.ndarray, factor: np.ndarray, rotations: tuple[Any, Any], products: Any | None
    ) -> np.ndarray:
        right, left = rotations
        dtype = str(right.dtype).removeprefix("torch.")
        if self.primal and products is not None:
            y = products if self.active.all() else products[np.flatnonzero(self.active)]
            if np.any(self._weights != 1.0):
                y = y * self.compute.put(self._weights)[:, None]
        elif self.primal:
            y = self.compute.put(self._Z, dtype).T @ y
        rotated = right @ y
        shrunk = factor[None] / (self._values[:, None] + alpha[None])
        rotated *= self.compute.put(shrunk, dtype)
        return host(left @ rotated, "float32")
