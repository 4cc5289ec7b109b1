"""The features of a linear encoder made ready: bands centred, standardised, and scaled to have a say alike.

    Z_b = f_b S_b,    S_b = (X_b - mean) / sd,    f_b = sqrt(sum_c trace(S_c S_c') / trace(S_b S_b'))

so that every band has the same trace and one alpha means the same for each of them; with a single band f = 1. Means
and standard deviations come from the training rows; a constant column gets sd 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np

from brainenc.core.types import DataError


def check_matrix(X: Any, name: str) -> np.ndarray:
    """Return features as a numeric array (n_samples, n_features) without NaN.

    Raises
    ------
    DataError
        If X is not two-dimensional, not numeric, empty, or holds NaN or infinite values.
    """
    X = np.asarray(X)
    if X.ndim != 2 or 0 in X.shape:
        raise DataError(f"{name} has shape {X.shape}, wanted (n_samples, n_features), neither 0: reshape it.")
    if X.dtype.kind not in "fiub":
        raise DataError(f"{name} has dtype {X.dtype}, wanted numbers: convert it to float32.")
    if X.dtype.kind == "f" and not np.isfinite(X).all():
        bad = ~np.isfinite(X)
        raise DataError(
            f"{name} holds NaN or infinite values in {bad.any(axis=1).sum()} of {len(X)} rows, wanted finite features: "
            "drop these rows or fill them."
        )
    return X


def rounding_floor(peak: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return the spread below which values of that dtype and largest magnitude hold nothing but rounding."""
    return 4.0 * np.finfo(dtype).eps * peak if dtype.kind == "f" else np.zeros_like(peak, dtype=np.float64)


@dataclass(frozen=True)
class Design:
    """Standardised training features.

    Attributes
    ----------
    bands : list of (n_samples, n_features_b) float32, centred and scaled as in the module's equation.
    means, scales : lists of (n_features_b,) float64, so that ``Z = (X - mean) / scale``.
    trace : trace of the equal-weight training kernel.
    """

    bands: list[np.ndarray]
    means: list[np.ndarray]
    scales: list[np.ndarray]
    trace: float
    _kernels: dict[int, np.ndarray] = field(default_factory=dict, repr=False)
    _lock: Any = field(default_factory=Lock, repr=False)

    @classmethod
    def learn(cls, Xs: Sequence[np.ndarray], rows: np.ndarray, standardise: bool) -> Design:
        """Learn means, scales and band factors from the training rows ``rows`` (bool) of each band in ``Xs``.

        Raises
        ------
        DataError
            If no feature of a band varies.
        """
        means, scales, bands, traces = [], [], [], []
        for number, X in enumerate(Xs):
            Z = X[rows].astype(np.float64)
            floor = rounding_floor(np.abs(Z).max(axis=0), X.dtype)
            constant = np.ptp(Z, axis=0) <= floor
            mean = Z.mean(axis=0)
            Z -= mean
            Z[:, constant] = 0.0
            sd = np.sqrt(np.mean(Z**2, axis=0))
            scale = np.where(constant, 1.0, sd) if standardise else np.ones_like(sd)
            Z /= scale
            if constant.all():
                which = f"band {number}" if len(Xs) > 1 else "X"
                raise DataError(f"{which} has no feature that varies over the {len(Z)} training rows: leave it out.")
            means.append(mean), scales.append(scale), bands.append(Z), traces.append(float(np.sum(Z**2)))
        total = sum(traces)
        factors = [np.sqrt(total / trace) for trace in traces]
        return cls(
            bands=[(Z * factor).astype(np.float32) for Z, factor in zip(bands, factors, strict=True)],
            means=means,
            scales=[scale / factor for scale, factor in zip(scales, factors, strict=True)],
            trace=total,
        )

    @property
    def n_samples(self) -> int:
        return len(self.bands[0])

    @property
    def band_sizes(self) -> np.ndarray:
        """Features of each band, (n_bands,)."""
        return np.array([Z.shape[1] for Z in self.bands])

    def is_primal(self, gamma: np.ndarray) -> bool:
        """Say whether the bands with weight have no more features than there are rows."""
        return sum(Z.shape[1] for Z, g in zip(self.bands, gamma, strict=True) if g > 0) <= self.n_samples

    def columns(self, gamma: np.ndarray) -> np.ndarray:
        """Return ``[sqrt(gamma_b) Z_b]`` of the bands with weight, side by side, float32."""
        weighted = [Z * np.float32(np.sqrt(g)) for Z, g in zip(self.bands, gamma, strict=True) if g > 0]
        return np.concatenate(weighted, axis=1)

    def features(self, gamma: np.ndarray) -> np.ndarray:
        """Return which features of all bands, side by side, have weight, (n_features,) bool."""
        return np.concatenate([np.full(Z.shape[1], g > 0) for Z, g in zip(self.bands, gamma, strict=True)])

    def kernel(self, gamma: np.ndarray) -> np.ndarray:
        """Return ``sum_b gamma_b Z_b Z_b'``, (n_samples, n_samples) float64; the kernel of a band is made once."""
        kernel = np.zeros((self.n_samples, self.n_samples))
        for b in np.flatnonzero(gamma):
            with self._lock:
                if b not in self._kernels:
                    Z = self.bands[b].astype(np.float64)
                    self._kernels[b] = Z @ Z.T
            kernel += gamma[b] * self._kernels[b]
        return kernel
