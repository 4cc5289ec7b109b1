from __future__ import annotations

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.linear_model import Ridge as SklearnRidge

from brainenc.core.types import DataError
from brainenc.encoders import null
from brainenc.stats import metrics, significance


def _data(n_train=40, n_test=15, n_features=8, n_targets=12, seed=0, signal=0.4):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_train + n_test, n_features)) @ rng.standard_normal((n_features, n_features)) + 5
    W = rng.standard_normal((n_features, n_targets)) / np.sqrt(n_features)
    Y = signal * (X - X.mean(axis=0)) @ W + rng.standard_normal((n_train + n_test, n_targets)) * 3 + 100
    return X[:n_train], Y[:n_train], X[n_train:], Y[n_train:]


def _loop(X_train, Y_train, X_test, Y_test, alpha, orders, statistic):
    """Refit scikit-learn's ridge to every permutation of every target: the slow and obvious p-value."""
    metric = getattr(metrics, statistic)

    def score(order):
        model = SklearnRidge(alpha=alpha, solver="cholesky").fit(X_train, Y_train[order])
        return metric(Y_test, model.predict(X_test))

    observed = score(np.arange(len(X_train)))
    return (1 + sum((score(order) >= observed).astype(int) for order in orders)) / (1 + len(orders))


SHAPES = {  # which form is cheaper: T_alpha, directions with k < n_test, directions with n_test < k
    "matrix": ((40, 12, 30), 2),
    "few features": ((40, 30, 4), 12),
    "many features": ((30, 20, 70), 12),
}


@pytest.mark.parametrize("statistic", null.STATISTICS)
@pytest.mark.parametrize("blocks", [None, 5])
@pytest.mark.parametrize("name", list(SHAPES))
def test_p_values_equal_a_refit_loop(name, blocks, statistic):
    shape, n_alphas = SHAPES[name]
    data = _data(*shape, n_targets=12, seed=3)
    alpha = np.logspace(-1, 3, n_alphas)[np.arange(12) % n_alphas]
    labels = None if blocks is None else np.arange(shape[0]) // blocks
    orders = null.permuted_orders(shape[0], 60, 7, labels)
    p = null.refit_p_values(*data, alpha, 60, seed=7, blocks=labels, statistic=statistic)
    assert_allclose(p, _loop(*data, alpha, orders, statistic), atol=1e-12)
    assert len(set(p)) > 3


@pytest.mark.parametrize("form", [True, False])
@pytest.mark.parametrize("statistic", null.STATISTICS)
@pytest.mark.parametrize("shape", [(40, 30, 6), (40, 10, 30), (25, 15, 60)])
def test_both_forms_give_the_same_p_values(shape, statistic, form, monkeypatch):
    data, alpha = _data(*shape), np.repeat([0.1, 3.0, 500.0], 4)
    either = null.refit_p_values(*data, alpha, 80, seed=1, statistic=statistic)
    monkeypatch.setattr(null.Smoother, "prefers_matrix", lambda *_: form)
    assert np.array_equal(null.refit_p_values(*data, alpha, 80, seed=1, statistic=statistic), either)


def test_the_form_follows_the_operation_count():
    """One penalty for many targets and few test rows: the matrix; a penalty each, or few features: directions."""
    wide = null.Smoother.learn(*(_data(60, 10, 50)[i] for i in (0, 2)), centre_predictions=True)
    assert wide.prefers_matrix(np.array([500]), 1000) and not wide.prefers_matrix(np.ones(500), 1000)
    narrow = null.Smoother.learn(*(_data(60, 50, 3)[i] for i in (0, 2)), centre_predictions=True)
    assert not narrow.prefers_matrix(np.array([500]), 1000)


@pytest.mark.parametrize("alpha", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("shape", [(40, 9, 12), (20, 9, 50)])
@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e12])
def test_smoother_predicts_like_ridge(shape, alpha, unit):
    X_train, Y_train, X_test, _ = _data(*shape)
    smoother = null.Smoother.learn(X_train * unit, X_test * unit, centre_predictions=False)
    weights = smoother.weights(np.array([alpha * unit**2]))
    mean = Y_train.mean(axis=0)
    predicted = mean + smoother.test @ (weights * (smoother.train.T @ (Y_train - mean)))
    wanted = SklearnRidge(alpha=alpha, solver="svd").fit(X_train, Y_train).predict(X_test)
    assert_allclose(predicted, wanted, rtol=1e-6, atol=1e-6)


def test_p_values_are_uniform_without_signal_and_small_with_it():
    """One p-value per data set, since targets of one data set share their features and permutations."""
    p = [null.refit_p_values(*_data(30, 20, 6, 1, seed, 0.0), [10.0], 99, seed=seed)[0] for seed in range(200)]

    def passes(p):
        return stats.kstest(p, "uniform").pvalue > 0.01 and np.mean(np.array(p) <= 0.05) <= 0.09

    assert passes(p)
    # broken twin: predictions of the rows that were learned from
    broken = []
    for seed in range(200):
        X, Y, _, _ = _data(30, 20, 6, 1, seed, 0.0)
        fitted = SklearnRidge(alpha=10.0).fit(X, Y).predict(X).reshape(-1, 1)
        broken.append(significance.permutation_p_values(Y, fitted, 99, seed=seed)[0])
    assert not passes(broken)
    X_train, Y_train, X_test, Y_test = _data(80, 40, 6, 40, 0, 3.0)
    strong = null.refit_p_values(X_train, Y_train, X_test, Y_test, np.full(40, 10.0), 199)
    assert (significance.fdr_bh(strong) < 0.05).mean() >= 0.95 and strong.min() == pytest.approx(1 / 200)


def _smooth(rng, n_samples, n_columns, width):
    if width == 0:
        return rng.standard_normal((n_samples, n_columns))
    kernel = np.exp(-(np.arange(-4 * width, 4 * width + 1) ** 2) / (2 * width**2))
    noise = rng.standard_normal((n_samples + 8 * width, n_columns))
    columns = np.apply_along_axis(np.convolve, 0, noise, kernel, "valid")
    return columns / columns.std(axis=0)


def _slow_noise(seed):
    """Slow responses without signal; slow and fast features. Learned weights sit on the slow ones, shuffled do not."""
    rng = np.random.default_rng(seed)
    X = np.concatenate([_smooth(rng, 900, 4, 6), _smooth(rng, 900, 40, 0)], axis=1)
    Y = _smooth(rng, 900, 100, 6)
    return X[:600], Y[:600], X[600:], Y[600:]


def test_blocks_are_needed_for_slow_noise():
    """Rows permuted one by one reject too often, whether in training or in the test set; blocks keep the level."""
    alpha, labels = np.full(100, 50.0), np.arange(600) // 60
    rows, blocks, shuffled = [], [], []
    for seed in range(6):
        data = _slow_noise(seed)
        rows.append(null.refit_p_values(*data, alpha, 99, seed=seed))
        blocks.append(null.refit_p_values(*data, alpha, 99, seed=seed, blocks=labels))
        predicted = SklearnRidge(alpha=alpha).fit(*data[:2]).predict(data[2])
        shuffled.append(significance.permutation_p_values(data[3], predicted, 99, seed=seed))

    def passes(p):
        return np.mean(np.concatenate(p) <= 0.05) <= 0.08

    assert passes(blocks)
    assert not passes(rows) and not passes(shuffled)


def test_orders_move_whole_blocks():
    labels = np.array([0, 0, 1, 1, 1, 2, 2, 2, 2, 0])
    for order in null.permuted_orders(10, 30, 0, labels):
        assert sorted(order) == list(range(10))
        sequence = order[[0, 1, 9, 2, 3, 4, 5, 6, 7, 8]]  # places, block by block
        text = "".join(map(str, sequence))
        assert all(block in text for block in ("019", "234", "5678"))
    assert np.array_equal(null.permuted_orders(9, 5, 3), null.permuted_orders(9, 5, 3))
    assert not np.array_equal(null.permuted_orders(9, 5, 3), null.permuted_orders(9, 5, 4))


def test_targets_in_chunks_from_disk_give_the_same(tmp_path, monkeypatch):
    X_train, Y_train, X_test, Y_test = _data(n_targets=30)
    alpha = np.repeat([0.5, 20.0], 15)
    whole = null.refit_p_values(X_train, Y_train, X_test, Y_test, alpha, 40)
    monkeypatch.setattr(null, "CHUNK_BYTES", 40 * 8 * 7)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        train = file.create_dataset("train", data=Y_train, chunks=(40, 4))
        test = file.create_dataset("test", data=Y_test, chunks=(15, 4))
        assert np.array_equal(null.refit_p_values(X_train, train, X_test, test, alpha, 40), whole)


def test_undefined_targets_have_no_p_value():
    X_train, Y_train, X_test, Y_test = _data(n_targets=7)
    alpha = np.full(7, 1.0)
    alpha[0], Y_train[3, 1], Y_test[2, 2], Y_train[:, 3], Y_test[:, 4] = np.nan, np.nan, np.inf, 0.1, 0.1
    kept = Y_train.copy()
    for statistic in null.STATISTICS:
        p = null.refit_p_values(X_train, Y_train, X_test, Y_test, alpha, 20, statistic=statistic)
        assert np.isnan(p).tolist() == [True] * 5 + [False] * 2
    assert np.array_equal(Y_train, kept, equal_nan=True)
    nothing = null.refit_p_values(X_train, Y_train, X_test, Y_test, np.full(7, np.nan), 5)
    assert np.isnan(nothing).all()
    # test rows that do not differ are predicted alike: no correlation
    assert np.isnan(null.refit_p_values(X_train, Y_train, np.tile(X_test[0], (15, 1)), Y_test, alpha, 5)).all()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"alpha": np.ones(3)}, r"alpha is \(3,\)"),
        ({"alpha": np.zeros(12)}, "not positive"),
        ({"statistic": "spearman"}, "'correlation', 'r2'"),
        ({"n_permutations": 0}, "at least 1"),
        ({"blocks": np.zeros(40)}, "one block"),
        ({"X_train": np.ones((40, 8))}, "no feature that varies"),
        ({"X_train": np.full((40, 8), np.nan)}, "in 40 of 40 rows"),
        ({"X_test": np.ones((15, 7))}, "8 and 7 features"),
        ({"Y_train": np.ones((39, 12))}, "align them"),
        ({"Y_test": np.ones((15, 11))}, "12 and 11"),
    ],
)
def test_refusals(change, text):
    names = ("X_train", "Y_train", "X_test", "Y_test")
    arguments = {**dict(zip(names, _data(), strict=True)), "alpha": np.ones(12), "n_permutations": 5, **change}
    with pytest.raises(DataError, match=text):
        null.refit_p_values(**arguments)
