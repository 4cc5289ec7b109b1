"""Maps and responses as networks want them: checked, standardised on given rows; what is missing stays NaN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from brainenc.core.types import DataError

BLOCK_ROWS = 256


def checked_maps(Xs: Sequence[Any]) -> list[np.ndarray]:
    """Return maps (n_samples, rows, columns, n_channels) as arrays of numbers with the same samples.

    Raises
    ------
    DataError
        If a map has another number of axes or no numbers, or samples differ.
    """
    maps = [X if isinstance(X, np.ndarray) else np.asarray(X) for X in Xs]
    for X in maps:
        if X.ndim != 4 or 0 in X.shape:
            raise DataError(
                f"X has shape {X.shape}, wanted tokens or pictures (n_samples, rows, columns, n_channels): take a "
                "layer that is not pooled."
            )
        if X.dtype.kind not in "fiu":
            raise DataError(f"X has dtype {X.dtype}, wanted numbers: convert it to float32.")
        if len(X) != len(maps[0]):
            raise DataError(f"maps have {len(maps[0])} and {len(X)} samples: align them by stimulus id first.")
    return maps


def checked_responses(Y: Any, n_samples: int) -> np.ndarray:
    """Return responses as (n_samples, n_targets) float32; infinite ones become NaN.

    Raises
    ------
    DataError
        If the shape or the type is wrong.
    """
    values = np.asarray(Y)
    if values.ndim != 2 or 0 in values.shape:
        raise DataError(f"Y has shape {values.shape}, wanted (n_samples, n_targets), neither 0: reshape it.")
    if values.dtype.kind not in "fiub":
        raise DataError(f"Y has dtype {values.dtype}, wanted numbers: convert it to float32.")
    if len(values) != n_samples:
        raise DataError(f"Y has {len(values)} rows but X has {n_samples}: align them by stimulus id first.")
    return np.where(np.isfinite(values), values, np.nan).astype(np.float32)


@dataclass(frozen=True)
class Scaling:
    """Means and standard deviations of channels and targets.

    Parameters
    ----------
    channel_means, channel_scales : a (n_channels,) float32 for each map; scale 1 for a channel that does not vary.
    target_mean, target_scale : (n_targets,) float32; NaN and 1 for targets that do not vary.
    """

    channel_means: tuple[np.ndarray, ...]
    channel_scales: tuple[np.ndarray, ...]
    target_mean: np.ndarray
    target_scale: np.ndarray

    @classmethod
    def learn(cls, maps: Sequence[np.ndarray], Y: np.ndarray, rows: np.ndarray) -> Self:
        """Learn from some rows; all missing responses of a target are left out.

        Raises
        ------
        DataError
            If a map is not finite, or nothing varies.
        """
        means, scales = zip(*(_channel_scale(X, rows) for X in maps), strict=True)
        present = np.isfinite(Y[rows])
        n = np.maximum(present.sum(axis=0), 1)
        values = np.where(present, Y[rows], 0).astype(np.float64)
        mean = values.sum(axis=0) / n
        sd = np.sqrt((np.where(present, values - mean, 0) ** 2).sum(axis=0) / n)
        varies = sd > 1e-6 * np.maximum(np.abs(values).max(axis=0), np.finfo(np.float32).tiny)
        if not varies.any():
            raise DataError(f"None of {Y.shape[1]} targets varies over the {len(rows)} training rows: check Y.")
        return cls(
            means,
            scales,
            np.where(varies, mean, np.nan).astype(np.float32),
            np.where(varies, sd, 1.0).astype(np.float32),
        )

    def inputs(self, maps: Sequence[np.ndarray], rows: np.ndarray) -> list[np.ndarray]:
        """Return the standardised maps of some rows, float32."""
        scaled = zip(maps, self.channel_means, self.channel_scales, strict=True)
        return [((X[rows].astype(np.float32) - mean) / scale).astype(np.float32) for X, mean, scale in scaled]

    def scaled(self, Y: np.ndarray) -> np.ndarray:
        """Return standardised responses, float32; NaN where missing and for targets that cannot be fitted."""
        scaled: np.ndarray = ((Y - self.target_mean) / self.target_scale).astype(np.float32)
        return scaled

    def unscaled(self, Y: np.ndarray) -> np.ndarray:
        """Return responses in their units; undoes `scaled`."""
        unscaled: np.ndarray = (Y * self.target_scale + self.target_mean).astype(np.float32)
        return unscaled

    def state(self) -> dict[str, np.ndarray]:
        """Return all arrays by name."""
        named = {f"channel_mean/{i}": mean for i, mean in enumerate(self.channel_means)}
        named |= {f"channel_scale/{i}": scale for i, scale in enumerate(self.channel_scales)}
        return named | {"target_mean": self.target_mean, "target_scale": self.target_scale}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray], n_maps: int) -> Self:
        """Rebuild from `state`.

        Raises
        ------
        DataError
            If an array is missing.
        """
        wanted = [[f"channel_{what}/{i}" for i in range(n_maps)] for what in ("mean", "scale")]
        names = [*wanted[0], *wanted[1], "target_mean", "target_scale"]
        if missing := [name for name in names if name not in state]:
            raise DataError(f"the state of an encoder lacks {', '.join(missing)}: fit and save the model again.")
        means, scales = (tuple(np.array(state[name]) for name in group) for group in wanted)
        return cls(means, scales, np.array(state["target_mean"]), np.array(state["target_scale"]))


def _channel_scale(X: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each channel over some rows and all places."""
    blocks = [rows[i : i + BLOCK_ROWS] for i in range(0, len(rows), BLOCK_ROWS)]
    n = len(rows) * X.shape[1] * X.shape[2]
    mean = sum(X[block].sum(axis=(0, 1, 2), dtype=np.float64) for block in blocks) / n
    if not np.isfinite(mean).all():
        raise DataError(f"X holds NaN or infinite values in {np.sum(~np.isfinite(mean))} channels: extract it anew.")
    square = sum(((X[block].astype(np.float64) - mean) ** 2).sum(axis=(0, 1, 2)) for block in blocks)
    sd = np.sqrt(square / n)
    return mean.astype(np.float32), np.where(sd > 1e-6 * np.maximum(np.abs(mean), 1e-30), sd, 1.0).astype(np.float32)


def correlation_of_present(Y: np.ndarray, Y_hat: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation of each target over the rows where Y is not NaN, (n_targets,) float64.

    NaN with fewer than three such rows, or where either does not vary over them.
    """
    present = np.isfinite(Y)
    n = np.maximum(present.sum(axis=0), 1)

    def centred(values: np.ndarray) -> np.ndarray:
        kept = np.where(present, values, 0).astype(np.float64)
        return np.where(present, kept - kept.sum(axis=0) / n, 0)

    y, p = centred(Y), centred(Y_hat)
    spread = np.sqrt((y**2).sum(axis=0) * (p**2).sum(axis=0))
    defined = (present.sum(axis=0) >= 3) & (spread > 1e-12)
    return np.where(defined, (y * p).sum(axis=0) / np.where(defined, spread, 1.0), np.nan)
