"""The leak guard: a region without signal must not be predicted, and known leaks must show up in it."""

from __future__ import annotations

import numpy as np
import pytest

from brainenc.core.types import DataError
from brainenc.stats import metrics, significance, splits
from brainenc.stats.cleaning import row_digests

N_TRAIN, N_TEST, N_NOISE = 800, 200, 190


def _ridge(X, Y, alpha):
    return np.linalg.solve(X.T @ X + alpha * np.eye(X.shape[1]), X.T @ Y)


def _noise_region(seed: int, n_duplicates: int = 0):
    """Features and pure noise; the first test rows may repeat training rows, response and all."""
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((N_TRAIN + N_TEST, 300)), rng.standard_normal((N_TRAIN + N_TEST, N_NOISE))
    test, copied = slice(N_TRAIN, N_TRAIN + n_duplicates), slice(0, n_duplicates)
    X[test], Y[test] = X[copied], Y[copied]
    prediction = X[N_TRAIN:] @ _ridge(X[:N_TRAIN], Y[:N_TRAIN], alpha=300.0)
    return Y, prediction


def _passes(score) -> bool:
    return abs(np.mean(score)) <= 0.025


@pytest.mark.parametrize("seed", range(3))
def test_noise_region_scores_nothing(seed):
    Y, prediction = _noise_region(seed)
    assert _passes(metrics.correlation(Y[N_TRAIN:], prediction))


@pytest.mark.parametrize("seed", range(3))
def test_duplicates_raise_the_noise_region_and_the_audit_refuses_them(seed):
    Y, prediction = _noise_region(seed, n_duplicates=60)
    assert not _passes(metrics.correlation(Y[N_TRAIN:], prediction))
    ids = np.arange(N_TRAIN + N_TEST).astype(str)
    split = splits.Split(np.where(np.arange(ids.size) < N_TRAIN, -1, 0), np.arange(ids.size))
    with pytest.raises(DataError, match="60 contents of test samples of fold 0 are also in training"):
        splits.check_split(split, ids, contents=row_digests(Y))
    clean, _ = _noise_region(seed)
    assert splits.check_split(split, ids, contents=row_digests(clean)) is split


@pytest.mark.parametrize("seed", range(3))
def test_selecting_targets_on_the_test_set_fails_the_check(seed):
    Y, prediction = _noise_region(seed)
    score = metrics.correlation(Y[N_TRAIN:], prediction)
    assert not _passes(np.sort(score)[-20:])  # broken twin: the best 20 targets, chosen by their test score
    half = metrics.correlation(Y[N_TRAIN : N_TRAIN + 100], prediction[:100])
    chosen = np.argsort(half)[-20:]  # chosen on other samples, the same 20 score nothing
    honest = metrics.correlation(Y[N_TRAIN + 100 :], prediction[100:])[chosen]
    assert abs(honest.mean()) <= 4 / np.sqrt(20 * 100)


def test_shifted_rows_lose_everything(simulate):
    """Off by one row: a real prediction becomes noise, and the permutation test says so."""
    data = simulate(np.full(80, 0.6), n_stimuli=N_TEST)
    Y, region = data.means(), {"region": np.ones(80, bool)}
    right = significance.region_p_values(Y, data.signal, region, 199).iloc[0]
    shifted = significance.region_p_values(Y, np.roll(data.signal, 1, axis=0), region, 199).iloc[0]
    assert right["p"] == pytest.approx(1 / 200) and right["score"] > 0.6
    assert abs(shifted["score"]) < 0.025 and shifted["p"] > 0.01
