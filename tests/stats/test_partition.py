from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from brainenc.core.stored import scratch
from brainenc.core.types import DataError
from brainenc.stats import metrics, partition


@given(st.integers(0, 2**31), st.integers(1, 4), st.floats(-100, 100))
@settings(max_examples=50, deadline=None)
def test_shares_sum_to_joint_r2_whatever_carries_the_intercept(seed, n_bands, intercept):
    rng = np.random.default_rng(seed)
    Y = rng.standard_normal((25, 4)) + rng.uniform(-5, 5)
    bands = rng.standard_normal((n_bands, 25, 4))
    bands[0] += intercept
    shares = partition.product_measure(Y, bands)
    assert_allclose(shares.sum(axis=0), metrics.r2(Y, bands.sum(axis=0)), rtol=1e-8, atol=1e-8)
    moved = bands.copy()
    moved[0] -= intercept
    moved[-1] += intercept
    assert_allclose(partition.product_measure(Y, moved), shares, rtol=1e-7, atol=1e-6)


def test_equals_himalaya_on_centred_data():
    from himalaya.scoring import r2_score_split

    rng = np.random.default_rng(0)
    Y, *bands = rng.standard_normal((4, 50, 6))
    Y -= Y.mean(axis=0)
    bands = np.stack([band - band.mean(axis=0) for band in bands]) * 0.4 + 0.2 * Y
    assert_allclose(partition.product_measure(Y, bands), r2_score_split(Y, bands), rtol=1e-6)


def test_orthogonal_bands_get_their_own_r2_and_swapped_bands_swap(tiny_chunks):
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(np.column_stack([np.ones(60), rng.standard_normal((60, 59))]))[0][:, 1:]
    a, b, e = (basis[:, i : i + 20] for i in (0, 20, 39))
    Y = 2 * a + b + e
    shares = partition.product_measure(Y, [2 * a, b])
    assert_allclose(shares, np.repeat([[4 / 6], [1 / 6]], 20, axis=1), rtol=1e-9)
    assert_allclose(partition.product_measure(Y, [b, 2 * a]), shares[::-1])


def test_planted_share_goes_to_the_right_band_and_swapped_labels_fail_the_check(simulate):
    """Targets driven by one band only: unique variance about NC there and nothing in the other."""
    data = simulate(np.full(50, 1.0), n_stimuli=2000, n_repetitions=1)
    b = np.sqrt(0.5)
    other = np.random.default_rng(1).standard_normal(data.signal.shape) * 0.02
    full = metrics.r2(data.values, b * data.signal + other)
    without = np.stack([metrics.r2(data.values, other), metrics.r2(data.values, b * data.signal)])
    unique = partition.unique_variance(full, without)

    def passes(unique):
        return unique[0].mean() >= 0.45 * 0.5 and abs(unique[1].mean()) <= 0.05 * 0.5

    assert passes(unique) and not passes(unique[::-1])
    shares = partition.product_measure(data.values, [b * data.signal, other])
    assert passes(shares) and not passes(shares[::-1])


def test_dead_and_nan_targets_are_nan():
    rng = np.random.default_rng(0)
    Y, *bands = rng.standard_normal((3, 20, 4))
    Y[:, 0], Y[2, 1], bands[1][5, 2] = 0.1, np.nan, np.nan
    assert np.isnan(partition.product_measure(Y, bands)).all(axis=0).tolist() == [True, True, True, False]
    assert np.isnan(partition.unique_variance([np.nan, 0.2], [0.1, 0.1])).tolist() == [True, False]


def test_refusals():
    Y = np.zeros((5, 2))
    with pytest.raises(DataError, match="one \\(n_samples, n_targets\\) array per band"):
        partition.product_measure(Y, [np.zeros((5, 3))])
    with pytest.raises(DataError, match="shapes none"):
        partition.product_measure(Y, [])
    with pytest.raises(DataError, match="r2_without"):
        partition.unique_variance([0.1, 0.2], [[0.1]])


def test_shares_by_fold_are_the_mean_over_folds_and_give_the_intercept_away(tmp_path, tiny_chunks):
    rng = np.random.default_rng(4)
    fold = np.repeat([0, 1, -1], 15)
    Y, a, b = rng.standard_normal((3, 45, 60)).astype(np.float32)
    Y_hat = a + b + rng.standard_normal(60).astype(np.float32)
    wanted = np.mean(
        [partition.product_measure(Y[fold == k], [(Y_hat - b)[fold == k], b[fold == k]]) for k in (0, 1)], axis=0
    )
    stored = [scratch(tmp_path / "x", Y.shape) for _ in range(4)]
    for matrix, values in zip(stored, (Y, Y_hat, a, b), strict=True):
        matrix[:, :] = values
    found = partition.product_measure_by_fold(stored[0], stored[1], stored[2:], fold)
    assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert_allclose(found.sum(axis=0), metrics.by_fold(metrics.r2, Y, Y_hat, fold), rtol=1e-4, atol=1e-5)
    pooled = partition.product_measure(Y[fold >= 0], [(Y_hat - b)[fold >= 0], b[fold >= 0]])
    assert not np.allclose(pooled, wanted, rtol=1e-4, atol=1e-5)  # the broken twin: folds pooled
