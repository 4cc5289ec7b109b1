"""Non-linear kernels of standardised features, and ridge regression once such a kernel is known.

    K = f C k(Z, Z) C,    d = (K + alpha I)^-1 y = U (U' y / (l + alpha)),    K = U diag(l) U'

k is computed by himalaya in float64, C = I - 1 1' / n centres it, f gives it the trace that is wanted. The
factorisation does not depend on alpha, so any number of different penalties costs two matrix products.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from brainenc.core.types import DataError
from brainenc.encoders.compute import host
from brainenc.encoders.himalaya_backend import to_backend
from brainenc.encoders.linear import check_count

KERNELS = {
    "rbf": ("kernel_gamma",),
    "laplacian": ("kernel_gamma",),
    "polynomial": ("kernel_gamma", "degree", "coef0"),
    "sigmoid": ("kernel_gamma", "coef0"),
    "cosine": (),
}
"""Name, as in himalaya, -> parameters it has."""

DEGREE, COEF0 = 3, 1.0
"""What stands for None, as in himalaya."""

LEAST_VARIATION = 1e-8
"""Mean of the centred kernel's diagonal, as a share of the largest entry, below which only rounding would be scaled."""


@dataclass(frozen=True)
class Kernel:
    """A kernel whose parameters have been checked; g stands for one of its ``gammas``.

    Attributes
    ----------
    name : a key of `KERNELS`.
    gammas : values of g to try, ascending, each once; "auto" for one that suits the features.
    degree, coef0 : None for `DEGREE` and `COEF0`.
    """

    name: str
    gammas: str | list[float]
    degree: int | None
    coef0: float | None

    @classmethod
    def checked(cls, name: Any, gammas: Any, degree: Any, coef0: Any) -> Kernel:
        """Return the kernel, or raise `DataError` for an unknown one or for parameters it does not have or allow."""
        if not isinstance(name, str) or name not in KERNELS:
            cure = "fix the name, or use the class ridge for a linear kernel"
            raise DataError(f"kernel is {name!r}, wanted one of {', '.join(KERNELS)}: {cure}.")
        is_auto = isinstance(gammas, str) and gammas == "auto"
        for key, value in {"kernel_gamma": None if is_auto else gammas, "degree": degree, "coef0": coef0}.items():
            if value is not None and key not in KERNELS[name]:
                raise DataError(f"{key} is {value!r} but kernel {name!r} has none: leave it out.")
        if degree is not None:
            check_count("degree", degree, 1)
        least = 0.0 if name == "polynomial" else -np.inf
        if coef0 is not None and not (_is_number(coef0) and coef0 >= least):
            wanted = "a number of at least 0" if name == "polynomial" else "a finite number"
            raise DataError(f"coef0 is {coef0!r}, wanted {wanted} for kernel {name!r}: change it.")
        return cls(name, "auto" if is_auto else _checked_gammas(gammas), degree, coef0)

    def candidates(self, Z: np.ndarray) -> np.ndarray:
        """Return the values of g to try on standardised features (n_samples, n_features), (n_gammas,) float64."""
        if "kernel_gamma" not in KERNELS[self.name]:
            return np.ones(1)
        if isinstance(self.gammas, str):
            sd = Z.std(axis=0, dtype=np.float64)
            return np.array([1.0 / np.sum(sd if self.name == "laplacian" else sd**2)])
        return np.array(self.gammas)

    def between(self, A: np.ndarray, B: np.ndarray, gamma: float, backend: ModuleType) -> np.ndarray:
        """Return the kernel between the rows of A and B, (n_rows_a, n_rows_b) float64.

        Parameters
        ----------
        A, B : (n_rows_a, n_features), (n_rows_b, n_features).
        gamma : g.
        backend : himalaya's current backend, which says where to compute.
        """
        if self.name == "laplacian":  # named in himalaya's documentation, absent from its code
            from scipy.spatial.distance import cdist

            k = cdist(A.astype(np.float64), B.astype(np.float64), "cityblock")
            k *= -gamma
            return np.asarray(np.exp(k, out=k))
        from himalaya.kernel_ridge import PAIRWISE_KERNEL_FUNCTIONS

        degree, coef0 = self.degree or DEGREE, COEF0 if self.coef0 is None else self.coef0
        values = {"kernel_gamma": ("gamma", float(gamma)), "degree": ("degree", degree), "coef0": ("coef0", coef0)}
        options = dict(values[key] for key in KERNELS[self.name])
        pair = (to_backend(backend, A, "float64"), to_backend(backend, B, "float64"))
        with np.errstate(over="ignore"):
            return host(PAIRWISE_KERNEL_FUNCTIONS[self.name](*pair, **options))

    def training(self, Z: np.ndarray, gamma: float, trace: float, backend: ModuleType) -> TrainingKernel:
        """Return the kernel of the training rows Z (n_samples, n_features), scaled to a trace.

        Raises
        ------
        DataError
            If it overflows, or hardly varies once it is centred.
        """
        k = self.between(Z, Z, gamma, backend)
        name = f"kernel {self.name!r}" + (f" with kernel_gamma {gamma:.3g}" if KERNELS[self.name] else "")
        if not np.isfinite(k).all():
            raise DataError(f"{name} overflows on the training rows: lower kernel_gamma, degree or coef0.")
        own = float(np.trace(k) - k.mean(axis=0).sum())
        if own <= LEAST_VARIATION * len(k) * np.abs(k).max():
            cure = "choose another kernel_gamma" if KERNELS[self.name] else "choose another kernel"
            raise DataError(f"{name} hardly varies over the {len(k)} training rows: {cure}.")
        k *= trace / own
        return TrainingKernel(k, trace / own)


@dataclass(frozen=True)
class TrainingKernel:
    """Kernel of the training rows, as `himalaya_backend.mean_curve` asks a design for it.

    Attributes
    ----------
    matrix : (n_samples, n_samples) float64, ``factor`` times the raw kernel, not centred.
    factor : gives the centred kernel the trace that was wanted.
    """

    matrix: np.ndarray
    factor: float

    def is_primal(self, weights: np.ndarray) -> bool:
        return False

    def kernel(self, weights: np.ndarray) -> np.ndarray:
        return self.matrix

    def centred(self) -> np.ndarray:
        """Return the matrix as if its features had been centred."""
        means = self.matrix.mean(axis=0)
        centred: np.ndarray = self.matrix - means[:, None] - means[None, :] + means.mean()
        return centred


def dual_solver(K: np.ndarray, backend: ModuleType) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Factorise a centred kernel (n_samples, n_samples) once and return ``solve(Y, alpha) -> d``.

    d (n_samples, n_targets) float64 has columns of sum 0. Directions whose eigenvalue is rounding only are left out,
    and of an indefinite kernel those that a penalty does not outweigh twice, which is what himalaya's search asks.
    """
    eigenvalues, vectors = backend.eigh(to_backend(backend, K, "float64"))
    keep = abs(eigenvalues) > abs(eigenvalues).max() * len(K) * np.finfo(np.float64).eps
    eigenvalues, vectors = eigenvalues[keep][:, None], vectors[:, keep]

    def solve(Y: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        penalties = to_backend(backend, alpha, "float64")[None, :]
        with np.errstate(divide="ignore"):
            weights = 1.0 / (eigenvalues + penalties)
        weights[2.0 * eigenvalues < -penalties] = 0.0
        weights *= vectors.T @ to_backend(backend, Y, "float64")
        d = host(vectors @ weights)
        return np.asarray(d - d.mean(axis=0))

    return solve


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and bool(np.isfinite(value))


def _checked_gammas(gammas: Any) -> list[float]:
    """Return a list of positive numbers, ascending, each once."""
    values = list(gammas) if isinstance(gammas, (list, tuple, np.ndarray)) else [gammas]
    if not values or not all(_is_number(value) and value > 0 for value in values):
        raise DataError(f"kernel_gamma is {gammas!r}, wanted 'auto', a positive number or a list of them: fix it.")
    return sorted({float(value) for value in values})
