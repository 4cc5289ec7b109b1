from __future__ import annotations

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.metrics import r2_score

from brainenc.core.types import DataError
from brainenc.stats import metrics


@pytest.fixture
def pair():
    rng = np.random.default_rng(3)
    Y = rng.standard_normal((40, 23)) * rng.uniform(0.1, 50, 23) + rng.uniform(-99, 99, 23)
    return Y, 0.5 * Y + rng.standard_normal(Y.shape) * Y.std(axis=0)


def test_r2_equals_sklearn_and_himalaya(pair):
    from himalaya.scoring import r2_score as himalaya_r2

    Y, Y_hat = pair
    assert_allclose(metrics.r2(Y, Y_hat), r2_score(Y, Y_hat, multioutput="raw_values"), rtol=1e-10)
    assert_allclose(metrics.r2(Y, Y_hat), himalaya_r2(Y, Y_hat), rtol=1e-6)


def test_correlation_equals_scipy(pair):
    Y, Y_hat = pair
    wanted = [stats.pearsonr(y, p).statistic for y, p in zip(Y.T, Y_hat.T, strict=True)]
    assert_allclose(metrics.correlation(Y, Y_hat), wanted, rtol=1e-10)


def test_chunks_and_hdf5_change_nothing(pair, tiny_chunks, tmp_path):
    Y, Y_hat = pair
    wanted = [stats.pearsonr(y, p).statistic for y, p in zip(Y.T, Y_hat.T, strict=True)]
    assert_allclose(metrics.correlation(Y, Y_hat), wanted, rtol=1e-10)
    with h5py.File(tmp_path / "y.h5", "w") as file:
        stored = file.create_dataset("y", data=Y, chunks=(7, 5))
        assert_allclose(metrics.correlation(stored, Y_hat), wanted, rtol=1e-10)
        fold = np.arange(40) % 4
        assert_allclose(
            metrics.by_fold(metrics.r2, stored, Y_hat, fold), metrics.by_fold(metrics.r2, Y, Y_hat, fold), rtol=1e-10
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("level", [0.0, 0.1, 1e6])
def test_undefined_is_nan_never_zero(dtype, level):
    rng = np.random.default_rng(0)
    Y = rng.standard_normal((30, 4)).astype(dtype)
    Y_hat = rng.standard_normal((30, 4)).astype(dtype)
    Y[:, 0] = level
    Y[4, 1] = np.nan
    Y_hat[:, 2] = level
    r, score = metrics.correlation(Y, Y_hat), metrics.r2(Y, Y_hat)
    assert np.isnan(r).tolist() == [True, True, True, False]
    assert np.isnan(score).tolist() == [True, True, False, False]
    Y_hat[3, 3] = np.inf
    assert np.isnan(metrics.correlation(Y, Y_hat)[3])


def test_nothing_is_clipped_or_mutated(pair):
    Y, Y_hat = pair
    before = Y.copy(), Y_hat.copy()
    assert metrics.r2(Y, -100 * Y).max() < -1
    metrics.correlation(Y, Y_hat)
    assert np.array_equal(Y, before[0]) and np.array_equal(Y_hat, before[1])


@given(st.integers(0, 2**31), st.floats(0.01, 100), st.floats(-50, 50), st.floats(0.01, 100))
@settings(max_examples=40, deadline=None)
def test_correlation_is_symmetric_and_blind_to_scale(seed, a, b, c):
    rng = np.random.default_rng(seed)
    Y, P = rng.standard_normal((2, 12, 3))
    r = metrics.correlation(Y, P)
    assert_allclose(metrics.correlation(a * Y + b, c * P - b), r, atol=1e-9)
    assert_allclose(metrics.correlation(P, Y), r, atol=1e-12)
    assert_allclose(metrics.correlation(-Y, P), -r, atol=1e-12)
    # the best affine prediction from P has r2 = r^2, and no other does better
    slope = (Y - Y.mean(0)).T @ (P - P.mean(0))
    best = np.diag(slope) / ((P - P.mean(0)) ** 2).sum(0) * (P - P.mean(0)) + Y.mean(0)
    assert_allclose(metrics.r2(Y, best), r**2, atol=1e-9)


def test_extreme_scales_do_not_overflow():
    rng = np.random.default_rng(0)
    Y, P = rng.standard_normal((2, 20, 2))
    assert_allclose(metrics.correlation(Y * 1e200, P * 1e-200), metrics.correlation(Y, P))


# --- CV pooling: planted row and its broken twin --------------------------------------------------------------------
def _nearly_mean_only(n_samples: int, n_folds: int, seed: int):
    """Pure noise, predicted by the training mean of each fold plus a whisper that knows nothing."""
    rng = np.random.default_rng(seed)
    Y = rng.standard_normal((n_samples, 400))
    fold = rng.permutation(n_samples) % n_folds
    means = np.stack([Y[fold != k].mean(axis=0) for k in range(n_folds)])
    return Y, means[fold] + 1e-3 * rng.standard_normal(Y.shape), fold


@pytest.mark.parametrize("n_folds", [5, 10])
def test_mean_only_predictor_scores_zero_within_folds_and_pooling_fails_the_check(n_folds):
    Y, Y_hat, fold = _nearly_mean_only(1000, n_folds, seed=n_folds)

    def passes(score):
        return abs(np.mean(score)) <= 0.02

    assert passes(metrics.by_fold(metrics.correlation, Y, Y_hat, fold))
    pooled = metrics.correlation(Y, Y_hat)
    assert not passes(pooled) and pooled.mean() < -0.04


def test_exact_mean_only_predictor_has_no_correlation():
    Y, _, fold = _nearly_mean_only(100, 5, seed=0)
    means = np.stack([Y[fold != k].mean(axis=0) for k in range(5)])
    assert np.isnan(metrics.by_fold(metrics.correlation, Y, means[fold], fold)).all()
    assert (metrics.by_fold(metrics.r2, Y, means[fold], fold) < 0).all()


def test_by_fold_ignores_untested_rows_and_refuses_short_folds(pair):
    Y, Y_hat = pair
    fold = np.repeat([-1, 0, 1, -2], 10)
    wanted = (metrics.r2(Y[10:20], Y_hat[10:20]) + metrics.r2(Y[20:30], Y_hat[20:30])) / 2
    broken = np.where(fold[:, None] < 0, np.nan, Y)
    assert_allclose(metrics.by_fold(metrics.r2, broken, Y_hat, fold), wanted, rtol=1e-12)
    with pytest.raises(DataError, match="fold 3 has 2 test samples"):
        metrics.by_fold(metrics.r2, Y, Y_hat, np.r_[np.zeros(38, int), 3, 3])
    with pytest.raises(DataError, match="none of the 40 samples"):
        metrics.by_fold(metrics.r2, Y, Y_hat, np.full(40, -1))


# --- normalised -----------------------------------------------------------------------------------------------------
def test_normalised_only_above_the_floor():
    score, ceiling = np.array([0.3, 0.3, 0.3, 0.3, np.nan]), np.array([0.6, 0.1, -0.2, np.nan, 0.5])
    assert_allclose(metrics.normalised(score, ceiling, 0.1), [0.5, np.nan, np.nan, np.nan, np.nan])
    assert metrics.normalised([0.9], [0.6], 0.1)[0] == pytest.approx(1.5)  # over 1 is shown, not hidden
    with pytest.raises(DataError, match="floor"):
        metrics.normalised(score, ceiling, -0.1)
    with pytest.raises(DataError, match="one ceiling per score"):
        metrics.normalised(score, ceiling[:2], 0.1)


# --- identification -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("Y", "Y_hat", "text"),
    [
        (np.zeros((4, 2)), np.zeros((4, 3)), "Y is \\(4, 2\\) but Y_hat is \\(4, 3\\)"),
        (np.zeros(4), np.zeros(4), "reshape a single target"),
        (np.array([["a"], ["b"]]), np.zeros((2, 1)), "real numbers"),
    ],
)
def test_bad_shapes_are_refused_in_a_sentence(Y, Y_hat, text):
    with pytest.raises(DataError, match=text):
        metrics.correlation(Y, Y_hat)
