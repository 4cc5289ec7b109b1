"""How well any model could do: noise ceilings from repetitions of the same stimulus.

With one response y = signal(stimulus) + noise, unbiased variances over repetitions give, per target,

    noise variance  = pooled variance of repetitions around their stimulus' mean      (one repetition)
    signal variance = variance of the stimulus means - noise variance * mean(1 / n_i)  (not clipped)
    ncsnr           = sqrt(max(signal variance, 0) / noise variance)
    ceiling_r2(n)   = ncsnr^2 / (ncsnr^2 + 1/n)       ceiling_correlation(n) = sqrt(ceiling_r2(n))

where n repetitions are averaged (Allen et al. 2022, doi:10.1038/s41593-021-00962-x; Lage-Castellanos et al. 2019,
doi:10.1371/journal.pcbi.1006397). Only stimuli with at least two repetitions enter; their counts may differ. Clipping
the signal variance would give pure noise a positive mean, so only ncsnr is clipped, at 0, to have a square root.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from brainenc.core.types import DataError
from brainenc.stats.checks import as_labels, as_table
from brainenc.stats.chunks import is_constant, read_chunk, target_chunks


@dataclass(frozen=True)
class NoiseCeiling:
    """Signal and noise of each target, estimated from repetitions. Arrays are (n_targets,) float64, NaN if undefined.

    Attributes
    ----------
    ncsnr : noise-ceiling signal-to-noise ratio of one repetition, sd over sd, >= 0; inf without any noise.
    noise_variance : variance of one repetition around its stimulus' mean, squared units of the responses.
    signal_variance : bias-corrected variance over stimuli, squared units, not clipped (negative by chance).
    explainable_variance : signal / (signal + noise), fraction of the variance of one repetition, not clipped.
    n_repetitions : harmonic mean of the repetitions of a repeated stimulus.
    n_stimuli : stimuli with at least two repetitions.
    method, unit : what was computed, and the unit of `explainable_variance`, for labels and sidecars.
    """

    ncsnr: np.ndarray
    noise_variance: np.ndarray
    signal_variance: np.ndarray
    explainable_variance: np.ndarray
    n_repetitions: float
    n_stimuli: int
    method: str = "unbiased signal and noise variance over repetitions"
    unit: str = "fraction of variance"


def noise_ceiling(values: Any, stimulus_ids: Any) -> NoiseCeiling:
    """Estimate signal and noise variance of each target in one pass over chunks of targets.

    Parameters
    ----------
    values : (n_samples, n_targets) ndarray or h5py.Dataset
        Responses, one row per repetition, z-scored within session beforehand if sessions differ in scale. NaN values
        are ignored one by one, so a trial that is wholly NaN only lowers the count of its stimulus.
    stimulus_ids : (n_samples,)

    Raises
    ------
    DataError
        If the lengths differ or fewer than two stimuli have at least two repetitions.
    """
    values = as_table(values, "values")
    order, starts, counts = _repeated(stimulus_ids, values.shape[0])
    noise, signal = np.full(values.shape[1], np.nan), np.full(values.shape[1], np.nan)
    for columns in target_chunks(values):
        noise[columns], signal[columns] = _variances(values, columns, order, starts)
    with np.errstate(divide="ignore", invalid="ignore"):
        ncsnr = np.sqrt(np.maximum(signal, 0) / noise)
        explainable = signal / (signal + noise)
    return NoiseCeiling(
        ncsnr=ncsnr,
        noise_variance=noise,
        signal_variance=signal,
        explainable_variance=explainable,
        n_repetitions=_harmonic(counts),
        n_stimuli=int(counts.size),
    )


def _repeated(stimulus_ids: Any, n_samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows of repeated stimuli sorted by stimulus, where each stimulus starts in them, and its row count."""
    ids = as_labels(stimulus_ids, n_samples, "stimulus_ids")
    _, code, counts = np.unique(ids, return_inverse=True, return_counts=True)
    n_repeated = int((counts > 1).sum())
    if n_repeated < 2:
        raise DataError(
            f"{n_repeated} of {counts.size} stimuli have more than one repetition but a noise ceiling needs at least "
            "two; keep single trials instead of their averages, or turn the ceiling off for these data."
        )
    order = np.argsort(code, kind="stable")
    order = order[counts[code[order]] > 1]
    counts = counts[counts > 1]
    return order, np.concatenate([[0], np.cumsum(counts)[:-1]]), counts


def _variances(values: Any, columns: slice, order: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return noise and signal variance of one chunk; targets without any variance are NaN."""
    chunk = read_chunk(values, columns)[order]
    finite = np.isfinite(chunk)
    if finite.all():
        return _complete_variances(chunk, starts)
    chunk[~finite] = np.nan
    some = finite.any(axis=0)
    chunk -= np.where(some, np.take_along_axis(chunk, finite.argmax(axis=0)[None], axis=0)[0], 0)
    lengths = np.diff(np.append(starts, order.size))
    sums = _stimulus_sums(starts, order.size)
    count = sums @ finite.astype(np.float64)
    chunk[~finite] = 0
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (sums @ chunk) / count
        residual = chunk - np.repeat(mean, lengths, axis=0)
        residual[~finite] = 0
        used = count > 1
        n_used, n_rows = used.sum(axis=0), np.where(used, count, 0).sum(axis=0)
        noise = np.einsum("ij,ij->j", residual, residual) / (n_rows - n_used)
        centre = np.where(used, mean, 0).sum(axis=0) / n_used
        between = (np.where(used, mean - centre, 0) ** 2).sum(axis=0) / (n_used - 1)
        signal = between - noise * np.where(used, 1 / count, 0).sum(axis=0) / n_used
    undefined = (n_used < 2) | ((noise == 0) & (between == 0))
    return np.where(undefined, np.nan, noise), np.where(undefined, np.nan, signal)


def _stimulus_sums(starts: np.ndarray, n_rows: int) -> sparse.csr_array:
    """Return the (n_stimuli, n_rows) indicator that adds up the rows of each stimulus; rows are sorted by stimulus."""
    edges = np.append(starts, n_rows)
    return sparse.csr_array((np.ones(n_rows), np.arange(n_rows), edges), shape=(starts.size, n_rows))


def _complete_variances(chunk: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what `_variances` returns for a chunk without missing values, with fewer passes over it."""
    lengths = np.diff(np.append(starts, chunk.shape[0]))
    chunk -= chunk[0].copy()  # makes a constant target exactly 0
    mean = _stimulus_sums(starts, chunk.shape[0]) @ chunk
    mean /= lengths[:, None]
    chunk -= np.repeat(mean, lengths, axis=0)
    noise = np.einsum("ij,ij->j", chunk, chunk) / (chunk.shape[0] - starts.size)
    mean -= mean.mean(axis=0)
    between = np.einsum("ij,ij->j", mean, mean) / (starts.size - 1)
    undefined = (noise == 0) & (between == 0)
    signal = between - noise * np.mean(1 / lengths)
    return np.where(undefined, np.nan, noise), np.where(undefined, np.nan, signal)


def ceiling_r2(ncsnr: Any, n_repetitions: Any) -> np.ndarray:
    """Return the best r2 against responses averaged over `n_repetitions`, in fraction of variance, within 0 and 1.

    Parameters
    ----------
    ncsnr : (n_targets,) >= 0, NaN where undefined.
    n_repetitions : float or array that broadcasts, > 0
        Repetitions averaged in the tested responses; their harmonic mean where they differ.

    Raises
    ------
    DataError
        If a count is not positive or an ncsnr is negative.
    """
    ncsnr, n = np.asarray(ncsnr, dtype=np.float64), np.asarray(n_repetitions, dtype=np.float64)
    if not (n > 0).all():
        raise DataError(f"n_repetitions is {n.min()} but must be positive; give how many were averaged.")
    if (ncsnr < 0).any():
        raise DataError(f"ncsnr is as low as {np.nanmin(ncsnr)} but cannot be negative; pass NoiseCeiling.ncsnr.")
    with np.errstate(divide="ignore"):
        return 1.0 / (1.0 + 1.0 / (n * ncsnr**2))


def ceiling_correlation(ncsnr: Any, n_repetitions: Any) -> np.ndarray:
    """Return the best correlation with responses averaged over `n_repetitions`: the root of `ceiling_r2`."""
    return np.sqrt(ceiling_r2(ncsnr, n_repetitions))


@dataclass(frozen=True)
class SplitHalf:
    """Agreement of random halves of the repetitions. Arrays are (n_targets,) float64, NaN if undefined.

    Attributes
    ----------
    correlation : mean over splits of the correlation between the two half means.
    reliability : reliability of the mean over all repetitions, estimate of ceiling_r2; its root bounds a correlation.
    n_repetitions, n_stimuli, n_splits : the design, `n_repetitions` being a harmonic mean.
    method, unit : for labels and sidecars.
    """

    correlation: np.ndarray
    reliability: np.ndarray
    n_repetitions: float
    n_stimuli: int
    n_splits: int
    method: str = "split-half correlation, Spearman-Brown (Horst for unequal halves)"
    unit: str = "fraction of variance"


def split_half(values: Any, stimulus_ids: Any, seed: int = 0, n_splits: int = 20) -> SplitHalf:
    """Correlate means of random halves of each stimulus' repetitions, and step up to all repetitions.

    Parameters
    ----------
    values : (n_samples, n_targets) ndarray or h5py.Dataset; NaN values are ignored one by one.
    stimulus_ids : (n_samples,)
    seed : int
    n_splits : int
        Random splits that are averaged before the correction.

    Notes
    -----
    With halves of shares p and q = 1 - p the reliability of the whole is
    r (sqrt(r^2 + 4 p q (1 - r^2)) - r) / (2 p q (1 - r^2)) (Horst 1951, Psychometrika 16:133,
    doi:10.1007/BF02289113); at p = q it is Spearman-Brown's 2 r / (1 + r).

    Raises
    ------
    DataError
        If fewer than three stimuli are repeated or n_splits < 1.
    """
    values = as_table(values, "values")
    order, starts, counts = _repeated(stimulus_ids, values.shape[0])
    if counts.size < 3 or n_splits < 1:
        raise DataError(
            f"{counts.size} repeated stimuli and {n_splits} splits came but split halves need at least three stimuli "
            "and one split; use noise_ceiling for fewer stimuli."
        )
    generator = np.random.default_rng(seed)
    halves = [_random_halves(order.size, starts, counts, generator) for _ in range(n_splits)]
    correlation = np.zeros(values.shape[1])
    for columns in target_chunks(values):
        raw = read_chunk(values, columns)[order]
        constant = is_constant(values, raw)
        finite = np.isfinite(raw)
        with np.errstate(invalid="ignore"):
            chunk = np.where(finite, raw - raw[finite.argmax(axis=0), np.arange(raw.shape[1])], 0)
        weights = None if finite.all() else finite.astype(np.float64)
        for first, second in halves:
            correlation[columns] += _half_correlation(chunk, weights, first, second)
        correlation[columns][constant] = np.nan
    correlation /= n_splits
    small = counts // 2
    share = _harmonic(small) / (_harmonic(small) + _harmonic(counts - small))
    return SplitHalf(
        correlation=correlation,
        reliability=_step_up(correlation, share),
        n_repetitions=_harmonic(counts),
        n_stimuli=int(counts.size),
        n_splits=n_splits,
    )


def _harmonic(counts: np.ndarray) -> float:
    if counts.min() == counts.max():
        return float(counts[0])
    return float(counts.size / np.sum(1 / counts))


def _random_halves(
    n_rows: int, starts: np.ndarray, counts: np.ndarray, generator: np.random.Generator
) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Return two (n_stimuli, n_rows) indicators that share out each stimulus' rows, the smaller half first."""
    stimulus = np.repeat(np.arange(counts.size), counts)
    shuffled = np.lexsort((generator.random(n_rows), stimulus))
    place = np.empty(n_rows, dtype=int)
    place[shuffled] = np.arange(n_rows) - np.repeat(starts, counts)
    halves = []
    for chosen in (place < counts[stimulus] // 2, place >= counts[stimulus] // 2):
        rows = np.flatnonzero(chosen)
        halves.append(sparse.csr_array((np.ones(rows.size), (stimulus[rows], rows)), shape=(counts.size, n_rows)))
    return halves[0], halves[1]


def _half_correlation(
    chunk: np.ndarray, weights: np.ndarray | None, first: sparse.csr_array, second: sparse.csr_array
) -> np.ndarray:
    """Return the correlation over stimuli of the two half means, leaving out stimuli with an empty half."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if weights is None:
            a = (first @ chunk) / first.sum(axis=1)[:, None]
            b = (second @ chunk) / second.sum(axis=1)[:, None]
            a -= a.mean(axis=0)
            b -= b.mean(axis=0)
        else:
            n_first, n_second = first @ weights, second @ weights
            used = (n_first > 0) & (n_second > 0)
            a, b = (first @ chunk) / n_first, (second @ chunk) / n_second
            a, b = (np.where(used, x - np.where(used, x, 0).sum(axis=0) / used.sum(axis=0), 0) for x in (a, b))
        spread = np.sqrt(np.einsum("ij,ij->j", a, a) * np.einsum("ij,ij->j", b, b))
        return np.einsum("ij,ij->j", a, b) / spread


def _step_up(r: np.ndarray, share: float) -> np.ndarray:
    """Return the reliability of the whole from the correlation of parts with shares p and 1 - p (Horst 1951)."""
    spread = share * (1 - share)
    unexplained = 1 - r**2
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = r * (np.sqrt(r**2 + 4 * spread * unexplained) - r) / (2 * spread * unexplained)
    return np.where(unexplained <= 1e-12, np.sign(r), whole)
