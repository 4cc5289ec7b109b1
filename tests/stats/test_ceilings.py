from __future__ import annotations

import h5py
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from brainenc.core.types import DataError
from brainenc.stats import ceilings, cleaning, metrics


@pytest.fixture
def planted(simulate):
    """900 responsive targets as in the planted cortex, then 300 of pure noise."""
    rng = np.random.default_rng(7)
    responsive = rng.choice([0.25, 0.4, 0.5, 0.65], 900) * np.exp(0.3 * rng.standard_normal(900))
    return simulate(np.concatenate([responsive, np.zeros(300)]), n_stimuli=1000, n_repetitions=3)


def _passes(ncsnr, signal_variance, truth) -> bool:
    """The planted check: corr >= .95, median ratio .95-1.05 above .3, no signal in noise."""
    strong = truth > 0.3
    r = np.corrcoef(ncsnr, truth)[0, 1]
    ratio = np.median(ncsnr[strong] / truth[strong])
    return bool(r >= 0.95 and 0.95 <= ratio <= 1.05 and abs(signal_variance[truth == 0].mean()) < 0.01)


def test_planted_ncsnr_is_recovered(planted):
    ceiling = ceilings.noise_ceiling(planted.values, planted.stimulus_ids)
    assert _passes(ceiling.ncsnr, ceiling.signal_variance, planted.ncsnr)
    assert ceiling.n_repetitions == 3 and ceiling.n_stimuli == 1000 and ceiling.unit == "fraction of variance"
    truth = planted.ncsnr**2 / (1 + planted.ncsnr**2)
    assert_allclose(ceiling.explainable_variance.mean(), truth.mean(), atol=0.005)
    assert (ceiling.signal_variance[planted.ncsnr == 0] < 0).mean() > 0.3  # unclipped, so half of noise lies below 0


@pytest.mark.parametrize("fault", ["biased noise variance", "1/n omitted"])
def test_broken_estimators_fail_the_check(planted, fault):
    trials = planted.values.reshape(3, 1000, -1)
    noise = trials.var(axis=0, ddof=0 if fault == "biased noise variance" else 1).mean(axis=0)
    signal = trials.mean(axis=0).var(axis=0, ddof=1) - noise / (1 if fault == "1/n omitted" else 3)
    assert not _passes(np.sqrt(np.maximum(signal, 0) / noise), signal, planted.ncsnr)


def test_clipping_the_signal_variance_gives_pure_noise_a_ceiling(simulate):
    noise = simulate(np.zeros(1000), n_stimuli=300)
    result = ceilings.noise_ceiling(noise.values, noise.stimulus_ids)

    def passes(signal_variance):
        return abs(np.mean(signal_variance)) < 0.003

    assert passes(result.signal_variance) and not passes(np.maximum(result.signal_variance, 0))


def test_session_offsets_need_cleaning_first(planted):
    """Planted measurement: an offset and a slope per session; without z-scoring within session the ratio drops."""
    rng = np.random.default_rng(0)
    n_samples, n_targets = planted.values.shape
    order = np.concatenate([p * 1000 + rng.permutation(1000) for p in range(3)])  # passes in random order
    session = np.arange(n_samples) // 500
    time = (np.arange(n_samples) % 500) / 500 - 0.5
    drift = rng.standard_normal((6, n_targets))[session]
    drift += 2 * rng.standard_normal((6, n_targets))[session] * time[:, None]
    raw, ids = planted.values[order] + 0.25 * drift, planted.stimulus_ids[order]
    cleaned, _ = cleaning.clean_sessions(raw, session, order=1)
    good, bad = ceilings.noise_ceiling(cleaned, ids), ceilings.noise_ceiling(raw, ids)
    assert _passes(good.ncsnr, good.signal_variance, planted.ncsnr)
    assert not _passes(bad.ncsnr, bad.signal_variance, planted.ncsnr)
    strong = planted.ncsnr > 0.3
    assert 0.90 <= np.median(bad.ncsnr[strong] / planted.ncsnr[strong]) <= 0.94


def _slow(values, ids):
    """One-way random effects by hand, one target and one stimulus at a time, NaN left out one by one."""
    noise, signal = [], []
    for column in values.T:
        groups = [g[np.isfinite(g)] for g in (column[ids == i] for i in np.unique(ids))]
        groups = [g for g in groups if g.size > 1]
        within = sum(((g - g.mean()) ** 2).sum() for g in groups) / (sum(map(len, groups)) - len(groups))
        means = np.array([g.mean() for g in groups])
        noise.append(within)
        signal.append(means.var(ddof=1) - within * np.mean([1 / g.size for g in groups]))
    return np.array(noise), np.array(signal)


@pytest.mark.parametrize("missing", [False, True])
def test_unequal_repetitions_and_nan_equal_a_slow_loop(missing, tiny_chunks, tmp_path):
    rng = np.random.default_rng(2)
    ids = np.repeat([f"s{i}" for i in range(40)], rng.integers(1, 6, 40))
    ids = ids[rng.permutation(ids.size)]
    values = rng.standard_normal((ids.size, 17)) * 3 + 100
    if missing:
        values[5] = np.nan
        values[rng.random(values.shape) < 0.05] = np.nan
    result = ceilings.noise_ceiling(values, ids)
    noise, signal = _slow(values, ids)
    assert_allclose(result.noise_variance, noise, rtol=1e-9)
    assert_allclose(result.signal_variance, signal, rtol=1e-8, atol=1e-10)
    counts = pd.Series(ids).value_counts()
    assert result.n_repetitions == pytest.approx(1 / np.mean(1 / counts[counts > 1]))
    with h5py.File(tmp_path / "y.h5", "w") as file:
        stored = file.create_dataset("y", data=values, chunks=(16, 4))
        assert_allclose(ceilings.noise_ceiling(stored, ids).noise_variance, noise, rtol=1e-9)


def test_estimates_are_unbiased_with_unequal_repetitions(simulate):
    rng = np.random.default_rng(0)
    data = simulate(np.full(4000, 0.5), n_stimuli=30, n_repetitions=5)
    keep = rng.random(data.stimulus_ids.size) < 0.6
    result = ceilings.noise_ceiling(data.values[keep], data.stimulus_ids[keep])
    assert result.noise_variance.mean() == pytest.approx(0.8, abs=0.01)
    assert result.signal_variance.mean() == pytest.approx(0.2, abs=0.01)


def test_explainable_variance_agrees_with_the_two_way_formula(simulate):
    """voxelwise tutorials: EV = var(mean) / mean(var), corrected by EV - (1 - EV) / (n - 1)."""
    data = simulate(np.linspace(0, 1, 50), n_stimuli=400, n_repetitions=4)
    trials = data.values.reshape(4, 400, 50)
    ev = trials.mean(axis=0).var(axis=0, ddof=1) / trials.var(axis=1, ddof=1).mean(axis=0)
    ours = ceilings.noise_ceiling(data.values, data.stimulus_ids).explainable_variance
    assert_allclose(ours, ev - (1 - ev) / 3, atol=0.01)


def test_closed_forms_of_correlations(simulate):
    """Means of n1 and n2 repetitions correlate sqrt(NC(n1) NC(n2)); an oracle reaches sqrt NC(n); r2 reaches NC(n)."""
    data = simulate(np.repeat([0.3, 0.6, 1.0], 200), n_stimuli=400, n_repetitions=4)
    first, rest, full = data.means(slice(0, 1)), data.means(slice(1, 4)), data.means()
    b = np.sqrt(data.ncsnr**2 / (1 + data.ncsnr**2))
    for part in range(3):
        at = slice(200 * part, 200 * part + 200)
        nc = {n: ceilings.ceiling_r2(data.ncsnr[at], n).mean() for n in (1, 3, 4)}
        assert metrics.correlation(first, rest)[at].mean() == pytest.approx(np.sqrt(nc[1] * nc[3]), abs=0.012)
        assert metrics.correlation(full, data.signal)[at].mean() == pytest.approx(np.sqrt(nc[4]), abs=0.012)
        assert metrics.r2(full, b * data.signal)[at].mean() == pytest.approx(nc[4], abs=0.012)
    assert_allclose(ceilings.ceiling_correlation(data.ncsnr, 3) ** 2, ceilings.ceiling_r2(data.ncsnr, 3))


def test_ceiling_limits():
    assert_allclose(ceilings.ceiling_r2([0, 1, np.inf, np.nan], 1), [0, 0.5, 1, np.nan])
    assert (np.diff(ceilings.ceiling_r2(0.4, np.arange(1, 20))) > 0).all()
    with pytest.raises(DataError, match="must be positive"):
        ceilings.ceiling_r2([0.5], 0)
    with pytest.raises(DataError, match="cannot be negative"):
        ceilings.ceiling_r2([-0.5], 1)


def test_dead_and_nan_targets_are_nan_and_neighbours_untouched(simulate):
    data = simulate(np.full(5, 0.5), n_stimuli=50)
    values = data.values.copy()
    values[:, 1], values[:, 3] = 0.1, np.nan
    result = ceilings.noise_ceiling(values, data.stimulus_ids)
    half = ceilings.split_half(values, data.stimulus_ids)
    for array in (result.ncsnr, result.explainable_variance, half.reliability, half.correlation):
        assert np.isnan(array).tolist() == [False, True, False, True, False]
    clean = ceilings.noise_ceiling(data.values, data.stimulus_ids)
    assert_allclose(result.ncsnr[[0, 2, 4]], clean.ncsnr[[0, 2, 4]], rtol=1e-9)


def test_no_noise_has_infinite_ncsnr_and_ceiling_one():
    values = np.tile(np.random.default_rng(0).standard_normal((10, 2)), (2, 1))
    result = ceilings.noise_ceiling(values, np.tile(np.arange(10), 2))
    assert np.isinf(result.ncsnr).all() and (ceilings.ceiling_r2(result.ncsnr, 2) == 1).all()


@pytest.mark.parametrize("n_repetitions", [2, 3, 4, 5])
def test_split_half_estimates_the_ceiling_of_all_repetitions(simulate, n_repetitions):
    data = simulate(np.full(300, 0.5), n_stimuli=300, n_repetitions=n_repetitions)
    half = ceilings.split_half(data.values, data.stimulus_ids, seed=1, n_splits=5)
    assert half.reliability.mean() == pytest.approx(ceilings.ceiling_r2(0.5, n_repetitions), abs=0.015)
    assert half.n_repetitions == pytest.approx(n_repetitions)


def test_plain_spearman_brown_would_miss_with_three_repetitions(simulate):
    data = simulate(np.full(2000, 0.5), n_stimuli=300, n_repetitions=3)
    half = ceilings.split_half(data.values, data.stimulus_ids, n_splits=5)
    truth, plain = ceilings.ceiling_r2(0.5, 3), 2 * half.correlation / (1 + half.correlation)
    assert abs(half.reliability.mean() - truth) < 0.006 < abs(plain.mean() - truth)


def test_split_half_is_a_plain_correlation_for_two_repetitions(simulate, tiny_chunks):
    data = simulate(np.linspace(0, 1, 40), n_stimuli=50, n_repetitions=2)
    rng = np.random.default_rng(0)
    values = data.values.copy()
    half = ceilings.split_half(values, data.stimulus_ids, seed=5, n_splits=200)
    assert_allclose(half.correlation, metrics.correlation(values[:50], values[50:]), atol=0.1)
    assert_allclose(half.reliability, 2 * half.correlation / (1 + half.correlation), rtol=1e-12)
    again = ceilings.split_half(values, data.stimulus_ids, seed=5, n_splits=200)
    assert np.array_equal(again.correlation, half.correlation)
    values[rng.integers(0, 100)] = np.nan  # one lost trial costs its stimulus, nothing else
    assert_allclose(
        ceilings.split_half(values, data.stimulus_ids, n_splits=200).correlation, half.correlation, atol=0.1
    )


def test_without_repetitions_the_cure_is_named():
    with pytest.raises(DataError, match="0 of 8 stimuli have more than one repetition .* keep single trials"):
        ceilings.noise_ceiling(np.zeros((8, 2)), np.arange(8))
    with pytest.raises(DataError, match="stimulus_ids has shape"):
        ceilings.noise_ceiling(np.zeros((8, 2)), np.arange(7))
