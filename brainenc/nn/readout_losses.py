"""Losses of predicted responses where some responses are missing: NaN says so, and has no part in value or gradient.

    mse = mean (p - y)^2,   concordance loss = 1 - 2 cov(p, y) / (var p + var y + (mean p - mean y)^2)

over all present (sample, target) entries of a batch (Lin 1989, doi:10.2307/2532051).
"""

from __future__ import annotations

from torch import Tensor

from brainenc.core.types import DataError


def masked_mse(Y_hat: Tensor, Y: Tensor) -> Tensor:
    """Return the mean squared error over the entries of Y that are not NaN, a scalar; 0 where all are missing.

    Parameters
    ----------
    Y_hat, Y : (n_samples, n_targets), same units.

    Raises
    ------
    DataError
        If the shapes differ.
    """
    residual, _, present = _filled(Y_hat, Y)
    return (residual * residual).sum() / present.sum().clamp(min=1)


def masked_concordance(Y_hat: Tensor, Y: Tensor, floor: float = 1e-8) -> Tensor:
    """Return one minus Lin's concordance over the entries of Y that are not NaN, a scalar between 0 and 2.

    Parameters
    ----------
    Y_hat, Y : (n_samples, n_targets), same units.
    floor : least denominator, so that a batch without variance has a gradient.

    Raises
    ------
    DataError
        If the shapes differ.
    """
    residual, measured, present = _filled(Y_hat, Y)
    n = present.sum().clamp(min=1)
    weight = present.float()
    mean = measured.sum() / n
    shift = residual.sum() / n
    y = (measured - mean) * weight
    p = (residual - shift) * weight + y
    spread = (p * p).sum() / n + (y * y).sum() / n + shift * shift
    return 1 - 2 * (p * y).sum() / n / spread.clamp(min=floor)


def _filled(Y_hat: Tensor, Y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return error and response with 0 where Y is missing, and where it is present."""
    if Y_hat.shape != Y.shape:
        raise DataError(f"Predictions {tuple(Y_hat.shape)} came for responses {tuple(Y.shape)}: give the same shape.")
    present = ~Y.isnan()
    measured = Y.nan_to_num(nan=0.0)
    return (Y_hat.float() - measured).masked_fill(~present, 0.0), measured, present
