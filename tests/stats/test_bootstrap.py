from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from brainenc.core.types import DataError
from brainenc.stats import bootstrap, metrics


def _pair(n=80, t=12, r=0.5, seed=0):
    rng = np.random.default_rng(seed)
    P = rng.standard_normal((n, t))
    return r * P + np.sqrt(1 - r**2) * rng.standard_normal((n, t)), P


@pytest.mark.parametrize("metric", ["correlation", "r2"])
def test_weights_equal_repeated_rows(metric):
    """A resample by weights is the resample by copied rows, fold by fold."""
    Y, P = _pair(n=60)
    Y, P = 1e4 + 3 * Y, 1e4 + 3 * P  # large means must not cancel
    fold = np.repeat([0, 1, 2], 20)
    blocks = np.arange(60) // 2
    setup = bootstrap._setup(Y, {"all": np.ones(12, bool)}, metric, 25, blocks, 3, None, None, fold, 0.95)
    batch = bootstrap._Weights(setup).draw(26, with_observed=True)
    scores = bootstrap._scores(Y, P, slice(0, 12), batch, setup)
    for b in range(26):
        rows = np.concatenate([np.repeat(f, w[b].astype(int)) for f, w in zip(setup.folds, batch, strict=True)])
        assert rows.size == 60 or b > 0
        wanted = metrics.by_fold(getattr(metrics, metric), Y[rows], P[rows], fold[rows])
        assert_allclose(scores[b], wanted, rtol=1e-7, atol=1e-9)
    for weights in batch:  # blocks stay whole, and each resample draws as many blocks as there are
        assert (weights[:, ::2] == weights[:, 1::2]).all() and (weights.sum(axis=1) == 20).all()


@pytest.mark.parametrize("metric", ["correlation", "r2"])
def test_mean_is_the_observed_score_and_interval_agrees_with_scipy(metric):
    Y, P = _pair()
    masks = {"all": np.ones(12, bool), "one": np.arange(12) == 4}
    table = bootstrap.roi_interval(Y, P, masks, metric, n_bootstrap=3000, seed=1)
    score = getattr(metrics, metric)
    assert_allclose(table["mean"], [score(Y, P).mean(), score(Y, P)[4]], rtol=1e-10)
    reference = stats.bootstrap(
        (np.arange(80),),
        lambda rows: score(Y[rows], P[rows]).mean(),
        n_resamples=3000,
        vectorized=False,
        method="percentile",
        rng=np.random.default_rng(2),
    )
    interval = reference.confidence_interval
    assert_allclose(table.loc["all", ["lower", "upper"]].astype(float), interval, atol=0.012)
    assert table.loc["all", "standard_error"] == pytest.approx(reference.standard_error, rel=0.1)


def test_batches_of_any_size_give_the_same_interval(monkeypatch):
    Y, P = _pair()
    masks = {"a": np.arange(12) < 5, "b": np.arange(12) > 3}
    whole = bootstrap.roi_interval(Y, P, masks, n_bootstrap=200, seed=4)
    monkeypatch.setattr(bootstrap, "BLOCK_BYTES", 8 * 80 * 30)
    assert_allclose(bootstrap.roi_interval(Y, P, masks, n_bootstrap=200, seed=4), whole, rtol=1e-9)
    assert not np.allclose(bootstrap.roi_interval(Y, P, masks, n_bootstrap=200, seed=5), whole)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    masks = {"region": np.ones(6, bool)}
    covered = []
    for seed in range(150):
        Y, P = _pair(n=120, t=6, r=0.4, seed=seed)
        row = bootstrap.roi_interval(Y, P, masks, n_bootstrap=300, seed=seed).iloc[0]
        covered.append(row["lower"] <= 0.4 <= row["upper"])
    assert 0.88 <= np.mean(covered) <= 0.99


def test_repetitions_as_rows_need_blocks():
    """Broken twin: each stimulus is entered four times; drawing rows singly halves the interval."""
    Y, P = _pair(n=60)
    Y4, P4, ids = np.repeat(Y, 4, axis=0), np.repeat(P, 4, axis=0), np.repeat(np.arange(60), 4)
    masks = {"all": np.ones(12, bool)}
    truth = bootstrap.roi_interval(Y, P, masks, n_bootstrap=600)["standard_error"].iloc[0]
    blocks = bootstrap.roi_interval(Y4, P4, masks, n_bootstrap=600, blocks=ids)["standard_error"].iloc[0]
    rows = bootstrap.roi_interval(Y4, P4, masks, n_bootstrap=600)["standard_error"].iloc[0]
    assert blocks == pytest.approx(truth, rel=0.15) and rows == pytest.approx(truth / 2, rel=0.15)


def test_ceiling_normalises_only_above_a_stated_floor():
    Y, P = _pair()
    ceiling = np.r_[np.full(6, 0.8), np.full(4, 0.05), np.nan, -0.2]
    table = bootstrap.roi_interval(Y, P, {"all": np.ones(12, bool)}, ceiling=ceiling, ceiling_floor=0.1, n_bootstrap=50)
    wanted = np.nanmean(metrics.normalised(metrics.correlation(Y, P), ceiling, 0.1))
    assert table["mean"].iloc[0] == pytest.approx(wanted)
    assert table["n_targets"].iloc[0] == 6 and table["n_undefined"].iloc[0] == 6
    with pytest.raises(DataError, match="state the smallest trusted ceiling"):
        bootstrap.roi_interval(Y, P, {"all": np.ones(12, bool)}, ceiling=ceiling)


def test_dead_and_nan_targets_are_counted_not_scored():
    Y, P = _pair()
    clean = bootstrap.roi_interval(Y[:, 2:], P[:, 2:], {"all": np.ones(10, bool)}, n_bootstrap=50)
    Y[:, 0], Y[3, 1] = 0.1, np.nan
    table = bootstrap.roi_interval(Y, P, {"all": np.ones(12, bool), "dead": np.arange(12) < 2}, n_bootstrap=50)
    assert_allclose(table.loc["all", ["mean", "lower"]].astype(float), clean.loc["all", ["mean", "lower"]], rtol=1e-9)
    assert table["n_undefined"].tolist() == [2, 2] and table["n_targets"].tolist() == [10, 0]
    assert np.isnan(table.loc["dead", ["mean", "lower", "upper"]].to_numpy(float)).all()


def test_paired_comparison_sees_what_separate_intervals_hide():
    """Two good models that share their errors: the difference is certain although the intervals overlap."""
    rng = np.random.default_rng(0)
    Y, P = _pair(n=150, r=0.6, seed=3)
    worse = P + 0.35 * rng.standard_normal(P.shape)
    masks = {"all": np.ones(12, bool)}
    a, b = (bootstrap.roi_interval(Y, p, masks, n_bootstrap=500).iloc[0] for p in (P, worse))
    row = bootstrap.roi_difference(Y, P, worse, masks, n_bootstrap=500).iloc[0]
    assert a["lower"] < b["upper"]
    assert row["lower"] > 0 and row["p"] < 0.01
    assert row["difference"] == pytest.approx(a["mean"] - b["mean"])
    assert row["upper"] - row["lower"] < 0.8 * (a["upper"] - a["lower"])
    mirrored = bootstrap.roi_difference(Y, worse, P, masks, n_bootstrap=500).iloc[0]
    assert mirrored["lower"] == pytest.approx(-row["upper"]) and mirrored["p"] == row["p"]


def test_paired_p_keeps_its_level_for_equal_models():
    masks = {"all": np.ones(8, bool)}
    p_values = []
    for seed in range(80):
        Y, P = _pair(n=100, t=8, seed=seed)
        slips = np.random.default_rng(1000 + seed).standard_normal((2, 100, 8))
        p_values.append(bootstrap.roi_difference(Y, P + slips[0], P + slips[1], masks, n_bootstrap=200)["p"].iloc[0])
    assert np.mean(np.array(p_values) < 0.05) <= 0.125
    Y, P = _pair()
    same = bootstrap.roi_difference(Y, P, P, {"all": np.ones(12, bool)}, n_bootstrap=20).iloc[0]
    assert same["p"] == 1 and same["difference"] == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"metric": "mse"}, "'correlation', 'r2'"),
        ({"level": 95}, "within 0 and 1"),
        ({"blocks": np.zeros(80)}, "single block"),
        ({"masks": {}}, "no regions"),
        ({"masks": {"V1": np.ones(11, bool)}}, "region 'V1' is bool \\(11,\\)"),
        ({"masks": {"V1": np.zeros(12, bool)}}, "none of the 12 targets"),
        ({"masks": {"V1": np.zeros(12, int)}}, "one boolean per target"),
        ({"ceiling": np.ones(3), "ceiling_floor": 0.1}, "one per target"),
    ],
)
def test_refusals(arguments, text):
    Y, P = _pair()
    with pytest.raises(DataError, match=text):
        bootstrap.roi_interval(Y, P, **{"masks": {"all": np.ones(12, bool)}, **arguments})
