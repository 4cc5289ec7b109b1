"""Responses of different sessions made comparable, without a look at the test rows; and what is wrong with the rest.

    z = (y - trend_session(t)) / sd_session,    trend: a polynomial of time fitted by least squares

Trend, mean and sd of a session come from its training rows only, where it has any. Detrending removes slow drifts
that a feature which also drifts would otherwise predict; holding out whole sessions does not protect against a drift
that every session shares.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from brainenc.core.types import DataError
from brainenc.stats.checks import as_labels, as_table, names_of
from brainenc.stats.chunks import read_chunk, rounding_floor, target_chunks


def clean_sessions(
    values: Any,
    sessions: Any,
    time: Any = None,
    order: int | None = 1,
    training: Any = None,
    zscore: bool = True,
) -> tuple[np.ndarray, pd.DataFrame]:
    """Detrend and z-score each target within each session.

    Parameters
    ----------
    values : (n_samples, n_targets) ndarray or h5py.Dataset
        NaN values stay NaN and are ignored one by one.
    sessions : (n_samples,)
        Session (or run) of each row.
    time : (n_samples,) or None
        Time of each row in any unit; None takes the position of the row within its session.
    order : int or None
        Degree of the polynomial trend; 0 removes the mean. None also removes only the mean.
    training : (n_samples,) bool or None
        Rows from which statistics may be taken; None takes all. A session without any training row falls back on its
        own rows, which the report says.
    zscore : bool
        Divide by the sd (ddof 0) of the detrended training rows.

    Returns
    -------
    cleaned : (n_samples, n_targets)
        float32 for float32 values, else float64. A target that does not vary beyond rounding in a session's
        statistics rows is exactly 0 there in all rows, never amplified rounding.
    report : DataFrame
        Index "session"; columns n_samples, n_statistics (rows used), source ("training"; "own rows" of a session
        without training; "all rows" if ``training`` is None), n_constant and n_unfitted (targets set to 0; targets set
        to NaN because too few of their values are finite).

    Raises
    ------
    DataError
        If a session has too few rows for the trend, or arguments have wrong lengths.
    """
    cleaner = SessionCleaner(values, sessions, time, order, training, zscore)
    cleaned = np.empty(cleaner.values.shape, cleaner.dtype)
    for columns in target_chunks(cleaner.values):
        cleaned[:, columns] = cleaner.clean(columns)
    return cleaned, cleaner.report()


class SessionCleaner:
    """What `clean_sessions` does, by blocks of targets, for responses that never are in memory as a whole.

    Parameters
    ----------
    others : as in `clean_sessions`

    Attributes
    ----------
    values : (n_samples, n_targets), as given.
    dtype : of the cleaned responses.
    """

    def __init__(
        self,
        values: Any,
        sessions: Any,
        time: Any = None,
        order: int | None = 1,
        training: Any = None,
        zscore: bool = True,
    ) -> None:
        self.values = as_table(values, "values")
        self.dtype = np.dtype(np.float32 if self.values.dtype == np.float32 else np.float64)
        n_samples = self.values.shape[0]
        labels = as_labels(sessions, n_samples, "sessions")
        degree = 0 if order is None else order
        if degree < 0 or degree != int(degree):
            raise DataError(f"order is {order} but must be None or a whole number from 0; 1 removes a linear trend.")
        known = "all rows" if training is None else "training"
        self._plans = _plans(labels, _times(time, labels), degree, _training_rows(training, n_samples), known)
        self._tallies = np.zeros((len(self._plans), 2), dtype=int)
        self._zscore = zscore

    def clean(self, columns: slice) -> np.ndarray:
        """Return the cleaned responses of some targets, (n_samples, n_columns); counts go to the report."""
        chunk = read_chunk(self.values, columns)
        chunk[np.isinf(chunk)] = np.nan
        for s, plan in enumerate(self._plans):
            self._tallies[s] += _clean(chunk, self.values, plan, self._zscore)
        return chunk.astype(self.dtype)

    def report(self) -> pd.DataFrame:
        """Return the report of `clean_sessions` on the targets cleaned so far."""
        counts = [(plan.rows.size, int(plan.used.sum()), plan.source) for plan in self._plans]
        rows = [(*known, *tally) for known, tally in zip(counts, self._tallies.tolist(), strict=True)]
        sessions = pd.Index([plan.session for plan in self._plans], name="session")
        return pd.DataFrame(rows, sessions, ["n_samples", "n_statistics", "source", "n_constant", "n_unfitted"])


@dataclass(frozen=True)
class _Plan:
    session: Any
    rows: np.ndarray  # rows of the session
    basis: np.ndarray  # (rows, degree + 1) Legendre polynomials of time
    used: np.ndarray  # bool over rows: statistics come from these
    source: str


def _plans(labels: np.ndarray, time: np.ndarray, degree: int, training: np.ndarray, known: str) -> list[_Plan]:
    plans = []
    for session in np.unique(labels):
        rows = np.flatnonzero(labels == session)
        t = time[rows]
        t = t - t.min()
        t = 2 * t / t.max() - 1 if t.max() > 0 else np.zeros_like(t)
        used, source = training[rows], known
        if not used.any():
            used, source = np.ones(rows.size, dtype=bool), "own rows"
        if np.unique(t[used]).size <= degree:
            raise DataError(
                f"session {session!r} has {np.unique(t[used]).size} distinct times among its {used.sum()} rows for "
                f"statistics but a trend of order {degree} needs {degree + 1}; lower the order or merge sessions."
            )
        plans.append(_Plan(session, rows, np.polynomial.legendre.legvander(t, degree), used, source))
    return plans


def _times(time: Any, labels: np.ndarray) -> np.ndarray:
    if time is None:
        return pd.Series(labels).groupby(labels).cumcount().to_numpy(dtype=np.float64)
    result = np.asarray(time, dtype=np.float64)
    if result.shape != labels.shape or not np.isfinite(result).all():
        raise DataError(
            f"time is {result.shape} with {int((~np.isfinite(result)).sum())} values missing but must be finite "
            f"({labels.size},); give the time of each row, or None for its position in the session."
        )
    return result


def _training_rows(training: Any, n_samples: int) -> np.ndarray:
    if training is None:
        return np.ones(n_samples, dtype=bool)
    result = np.asarray(training)
    if result.shape != (n_samples,) or result.dtype != bool:
        raise DataError(f"training is {result.dtype} {result.shape} but must be bool ({n_samples},); mark each row.")
    return result


def _clean(chunk: np.ndarray, values: Any, plan: _Plan, zscore: bool) -> np.ndarray:
    """Clean one session of a chunk in place; return the numbers of constant and of unfitted targets."""
    block = chunk[plan.rows]
    n_constant = n_unfitted = 0
    for rows, columns in _patterns(np.isfinite(block), plan.used):
        if np.linalg.matrix_rank(plan.basis[rows]) < plan.basis.shape[1]:
            block[:, columns] = np.nan
            n_unfitted += columns.size
            continue
        part = block[:, columns]
        peak = np.abs(part[rows]).max(axis=0)
        part -= plan.basis @ np.linalg.lstsq(plan.basis[rows], part[rows], rcond=None)[0]
        sd = np.sqrt(np.mean(part[rows] ** 2, axis=0))
        flat = sd <= rounding_floor(values, peak) + 8 * np.finfo(np.float64).eps * peak
        if zscore:
            part /= np.where(flat, 1, sd)
        block[:, columns] = np.where(flat & np.isfinite(part), 0, part)
        n_constant += int(flat.sum())
    chunk[plan.rows] = block
    return np.array([n_constant, n_unfitted])


def _patterns(finite: np.ndarray, used: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (statistics rows, columns) for each distinct pattern of missing values among the statistics rows."""
    available = finite & used[:, None]
    if np.array_equal(available, np.broadcast_to(available[:, :1], available.shape)):
        yield available[:, 0], np.arange(available.shape[1])
        return
    packed = np.ascontiguousarray(np.packbits(available, axis=0).T)
    keys = packed.view(np.dtype((np.void, packed.shape[1]))).ravel()
    _, first, pattern = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(pattern, kind="stable")
    for columns in np.split(order, np.flatnonzero(np.diff(pattern[order])) + 1):
        yield available[:, first[pattern[columns[0]]]], columns


@dataclass(frozen=True)
class Quality:
    """What is wrong with responses before anything is fitted.

    Attributes
    ----------
    nan_samples : (n_samples,) bool, samples without a finite value in any target that varies.
    nan_targets : (n_targets,) bool, targets that hold NaN or inf in any other sample.
    constant_targets : (n_targets,) bool, targets whose finite values are all equal (dead).
    duplicate_of : (n_samples,) int, first earlier sample with bit-identical values, -1 if none.
    """

    nan_samples: np.ndarray
    nan_targets: np.ndarray
    constant_targets: np.ndarray
    duplicate_of: np.ndarray

    @property
    def usable_samples(self) -> np.ndarray:
        """Samples with any value, (n_samples,) bool."""
        return ~self.nan_samples

    @property
    def usable_targets(self) -> np.ndarray:
        """Targets that can have a score once NaN samples are dropped, (n_targets,) bool."""
        return ~(self.nan_targets | self.constant_targets)

    def counts(self) -> dict[str, int]:
        """Return the number of flagged samples and targets, for a report."""
        return {
            "n_samples": self.nan_samples.size,
            "n_targets": self.nan_targets.size,
            "n_nan_samples": int(self.nan_samples.sum()),
            "n_nan_targets": int(self.nan_targets.sum()),
            "n_constant_targets": int(self.constant_targets.sum()),
            "n_duplicate_samples": int((self.duplicate_of >= 0).sum()),
        }

    def sentence(self) -> str:
        """Return one sentence for a log or a report."""
        c = self.counts()
        duplicates = np.flatnonzero(self.duplicate_of >= 0)
        rows = f" (rows {names_of(duplicates)})" if duplicates.size else ""
        return (
            f"{c['n_samples']} samples x {c['n_targets']} targets: {c['n_nan_samples']} samples are all NaN, "
            f"{c['n_nan_targets']} targets hold NaN, {c['n_constant_targets']} targets are constant, "
            f"{c['n_duplicate_samples']} samples repeat an earlier one exactly{rows}."
        )


def quality(values: Any) -> Quality:
    """Count and mark unusable samples and targets in one pass over chunks of targets.

    Parameters
    ----------
    values : (n_samples, n_targets) ndarray or h5py.Dataset
    """
    values = as_table(values, "values")
    n_samples, n_targets = values.shape
    nan_in_sample, nan_in_target = np.zeros(n_samples, dtype=int), np.zeros(n_targets, dtype=int)
    constant, n_varying = np.zeros(n_targets, dtype=bool), 0
    hashes = [hashlib.blake2b(digest_size=16) for _ in range(n_samples)]
    for columns in target_chunks(values):
        chunk = read_chunk(values, columns)
        finite = np.isfinite(chunk)
        nan_in_target[columns] = (~finite).sum(axis=0)
        constant[columns] = _constant_ignoring_nan(chunk, finite)
        varying = finite.any(axis=0) & ~constant[columns]
        nan_in_sample += (~finite[:, varying]).sum(axis=1)
        n_varying += int(varying.sum())
        _update(hashes, chunk)
    nan_samples = (nan_in_sample == n_varying) & (n_varying > 0)
    digests = np.array([h.hexdigest() for h in hashes])
    return Quality(
        nan_samples=nan_samples,
        nan_targets=nan_in_target > nan_samples.sum(),
        constant_targets=constant,
        duplicate_of=_first_equal(digests, nan_samples),
    )


def row_digests(values: Any) -> np.ndarray:
    """Return a digest of each row's values, (n_samples,) str: equal rows have equal digests; NaN-only rows never do.

    Give them to `splits.check_split` as `contents` to refuse a response that is in training and test.
    """
    values = as_table(values, "values")
    hashes = [hashlib.blake2b(digest_size=16) for _ in range(values.shape[0])]
    empty = np.ones(values.shape[0], dtype=bool)
    for columns in target_chunks(values):
        chunk = read_chunk(values, columns)
        empty &= ~np.isfinite(chunk).any(axis=1)
        _update(hashes, chunk)
    return np.array([f"empty-row-{i}" if empty[i] else h.hexdigest() for i, h in enumerate(hashes)])


def _update(hashes: list[Any], chunk: np.ndarray) -> None:
    chunk = chunk + 0.0  # one zero, not two
    for row, digest in zip(chunk, hashes, strict=True):
        digest.update(row.data)


def _constant_ignoring_nan(chunk: np.ndarray, finite: np.ndarray) -> np.ndarray:
    high = np.where(finite, chunk, -np.inf).max(axis=0)
    low = np.where(finite, chunk, np.inf).min(axis=0)
    return high == low


def _first_equal(digests: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    _, first, kind = np.unique(digests, return_index=True, return_inverse=True)
    earlier = first[kind]
    return np.where((earlier < np.arange(digests.size)) & ~ignored, earlier, -1)
