"""Ridge coefficients on all training rows, each target with its own alpha, from one factorisation in float64.

    primal  coef = V (V' Z' Y / (l + alpha)),     Z' Z = V diag(l) V'        (n_features <= n_samples)
    dual    coef = Z' U (U' Y / (l + alpha)),     Z Z' = U diag(l) U'

The factorisation does not depend on alpha, so any number of different penalties costs two matrix products. Directions
whose eigenvalue is rounding only are left out, so that alpha -> 0 gives the least-squares solution of smallest norm.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from brainenc.encoders.himalaya_backend import to_backend


def coefficient_solver(Z: np.ndarray, backend: ModuleType) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Factorise the features once and return ``solve(Y, alpha) -> coef``.

    Parameters
    ----------
    Z : (n_samples, n_features) centred features.
    backend : himalaya's backend module, which says where to compute.

    Returns
    -------
    function
        Of Y (n_samples, n_targets), centred, and alpha (n_targets,), to coef (n_features, n_targets) float64.
    """
    n_samples, n_features = Z.shape
    features = to_backend(backend, Z, "float64")
    if n_features <= n_samples:
        eigenvalues, left = _eigh(features.T @ features, max(Z.shape), backend)
        right = left.T @ features.T
    else:
        eigenvalues, vectors = _eigh(features @ features.T, max(Z.shape), backend)
        left, right = features.T @ vectors, vectors.T

    def solve(Y: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        rotated = right @ to_backend(backend, Y, "float64")
        rotated /= eigenvalues[:, None] + to_backend(backend, alpha, "float64")[None, :]
        coef = left @ rotated
        return coef if isinstance(coef, np.ndarray) else coef.cpu().numpy()

    return solve


def _eigh(gram: Any, size: int, backend: ModuleType) -> tuple[Any, Any]:
    """Return the eigenvalues above rounding and their vectors."""
    eigenvalues, vectors = backend.eigh(gram)
    keep = eigenvalues > eigenvalues[-1] * size * np.finfo(np.float64).eps
    return eigenvalues[keep], vectors[:, keep]
