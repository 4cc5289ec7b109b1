"""Delays for time series: a response at time t may depend on features at t - d, but only within its own run.

    delayed[t] = [X[t - d_1], X[t - d_2], ...]        rows before the start (or after the end) of a run are 0

The haemodynamic response is so estimated freely for each target (finite impulse response; Nishimoto et al. 2011,
10.1016/j.cub.2011.08.031). Standardise features before delaying them: the 0 that fills a run's start is then the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from brainenc.core.types import DataError


class Delayer:
    """Copies of the features at several delays, side by side, never across a border of runs.

    Parameters
    ----------
    delays : whole samples, each once; 2 means that a response follows the feature by two samples, 0 is no delay, a
        negative delay looks into the future.

    Raises
    ------
    DataError
        If there is no delay, one is not a whole number, or one comes twice.
    """

    def __init__(self, delays: Sequence[int]) -> None:
        values = np.asarray(delays)
        if values.ndim != 1 or values.size == 0 or values.dtype.kind not in "iuf" or np.any(values != np.rint(values)):
            raise DataError(f"delays is {delays!r}, wanted a list of whole samples: divide seconds by tr and round.")
        self.delays = tuple(int(delay) for delay in values)
        if len(set(self.delays)) < len(self.delays):
            raise DataError(f"delays is {delays!r}, wanted each delay once: drop the repeated ones.")

    def transform(self, X: Any, runs: Any) -> np.ndarray:
        """Return the delayed features.

        Parameters
        ----------
        X : (n_samples, ...) features in the order of time.
        runs : (n_samples,) run of each row; the rows of a run stand together.

        Returns
        -------
        (n_samples, n_delays * n_features)
            Delay by delay: the first ``n_features`` columns belong to the first delay. dtype of X.

        Raises
        ------
        DataError
            If the number of rows differs or the rows of a run are not contiguous.
        """
        X = np.asarray(X)
        X = X.reshape(len(X), -1)
        delayed = np.zeros((len(X), len(self.delays), X.shape[1]), dtype=X.dtype)
        for start, stop in _run_borders(runs, len(X)):
            n_rows = stop - start
            for k, delay in enumerate(self.delays):
                if abs(delay) >= n_rows:
                    continue
                to = slice(start + max(delay, 0), stop + min(delay, 0))
                source = slice(start + max(-delay, 0), stop - max(delay, 0))
                delayed[to, k] = X[source]
        return delayed.reshape(len(X), -1)

    def split_coefficients(self, coef: Any) -> np.ndarray:
        """Return coefficients of delayed features per delay, (n_delays, n_features, n_targets).

        Parameters
        ----------
        coef : (n_delays * n_features, n_targets), fitted on `transform`'s output.

        Raises
        ------
        DataError
            If the number of rows is not a multiple of the number of delays.
        """
        coef = np.asarray(coef)
        if coef.ndim != 2 or len(coef) % len(self.delays):
            raise DataError(
                f"coef has shape {coef.shape}, wanted ({len(self.delays)} delays * n_features, n_targets): "
                "pass the coefficients of an encoder fitted on these delays."
            )
        return coef.reshape(len(self.delays), -1, coef.shape[1])


def _run_borders(runs: Any, n_samples: int) -> list[tuple[int, int]]:
    """Return (first row, row after the last) of each run."""
    labels = np.asarray(runs)
    if labels.shape != (n_samples,):
        raise DataError(f"runs has shape {labels.shape}, wanted ({n_samples},): give the run of every row of X.")
    starts = np.concatenate([[0], np.flatnonzero(labels[1:] != labels[:-1]) + 1])
    if len(np.unique(labels)) != len(starts):
        raise DataError(
            f"runs has {len(np.unique(labels))} names in {len(starts)} pieces, wanted the rows of a run together and "
            "each run named once: sort the rows by run and time, and tell sessions apart."
        )
    return list(zip(starts.tolist(), [*starts[1:].tolist(), n_samples], strict=True))
