"""Ridge coefficients on all training rows, each target with its own alpha, from one factorisation in float64.

    primal  coef = V (V' Z' Y / (l + alpha)),     Z' Z = V diag(l) V'        (n_features <= n_samples)
    dual    coef = Z' U (U' Y / (l + alpha)),     Z Z' = U diag(l) U'

The factorisation does not depend on alpha, so any number of different penalties costs two matrix products. Directions
whose eigenvalue is rounding only are left out, so that alpha -> 0 gives the least-squares solution of smallest norm.
Responses stream through in float32, but for targets whose penalty leaves the problem ill-conditioned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from brainenc.encoders.compute import Compute, host
from brainenc.encoders.design import Design
from brainenc.encoders.exact_plan import eigen

DELICATE = 1e5
"""Condition number (of the penalised Gram matrix) above which a target's coefficients are computed in float64."""


@dataclass(frozen=True)
class Shared:
    """What the candidates of band weights have in common on a place.

    Attributes
    ----------
    X : (n_samples, n_features) float32, here; all bands side by side, unweighted.
    gram : (n_features, n_features) float64 ``X' X``, here; None where nothing computes on features.
    """

    X: Any
    gram: Any | None

    @classmethod
    def make(cls, design: Design, compute: Compute, primal: bool) -> Shared:
        """Put the features on a place, with their Gram matrix if candidates are solved on features."""
        X = compute.put(np.concatenate(design.bands, axis=1))
        wide = compute.put(X, "float64") if primal else None
        return cls(X, None if wide is None else wide.T @ wide)


class Coefficients:
    """Solver for the coefficients under one candidate of band weights, in units of Y per raw unit of X.

    Parameters
    ----------
    design : standardised training features.
    gamma : (n_bands,) band weights.
    compute : where.
    shared : the same features, there; with their Gram matrix if the candidate is solved on features.

    Attributes
    ----------
    active : (n_features,) bool, features of the bands with weight; the others have coefficient 0.
    primal : whether `solve` wants ``X' y``.
    """

    def __init__(self, design: Design, gamma: np.ndarray, compute: Compute, shared: Shared) -> None:
        self.compute = compute
        self.active = design.features(gamma)
        self.primal = design.is_primal(gamma)
        self._X = shared.X
        weights = np.repeat(np.sqrt(gamma), design.band_sizes)
        self._to_raw = (weights / np.concatenate(design.scales))[self.active][:, None]
        self._weights = None if np.all(weights == 1.0) else weights[self.active][:, None]
        if self.primal:
            gram = self._chosen(shared.gram)
            gram = gram if self.active.all() else gram[:, np.flatnonzero(self.active)]
            gram = self._weighted(self._weighted(gram).T)
        else:
            gram = compute.put(design.kernel(gamma), "float64")
        values, self._vectors = eigen(gram, max(int(self.active.sum()), design.n_samples), compute)
        self._values = host(values)
        self._single = self._rotations("float32")

    def _chosen(self, rows: Any) -> Any:
        """Return the rows of features with weight."""
        return rows if self.active.all() else rows[np.flatnonzero(self.active)]

    def _weighted(self, rows: Any) -> Any:
        """Return rows of features times the square roots of their bands' weights."""
        dtype = str(rows.dtype).removeprefix("torch.")
        return rows if self._weights is None else rows * self.compute.put(self._weights, dtype)

    def _rotations(self, dtype: str) -> tuple[Any, Any]:
        """Return what rotates X'y or y, and what leads from there to coefficients of raw features."""
        vectors = self.compute.put(self._vectors, dtype)
        left = vectors
        if not self.primal:
            left = self._weighted(self.compute.put(self._chosen(self._X.T), dtype)) @ vectors
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
        right, left = self._single
        coef = self._solved(y, alpha, factor, right, left, products)
        if delicate.any():
            columns = np.flatnonzero(delicate)
            right, left = self._rotations("float64")
            y = self.compute.put(y[:, columns], "float64")
            coef[:, columns] = self._solved(y, alpha[columns], factor[columns], right, left, None)
        return coef

    def _solved(
        self, y: Any, alpha: np.ndarray, factor: np.ndarray, right: Any, left: Any, products: Any | None
    ) -> np.ndarray:
        dtype = str(right.dtype).removeprefix("torch.")
        if self.primal:
            products = self.compute.put(self._X, dtype).T @ y if products is None else products
            y = self._weighted(self._chosen(products))
        rotated = right @ y
        shrunk = factor[None] / (self._values[:, None] + alpha[None])
        rotated *= self.compute.put(shrunk, dtype)
        return host(left @ rotated, "float32")
