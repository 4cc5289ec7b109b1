from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose
from scipy import stats

from brainenc.core.types import DataError
from brainenc.stats import metrics, significance


def _planted(n_null: int = 1200, n_real: int = 800, n_stimuli: int = 200, seed: int = 0):
    """Held-out means of three repetitions and an honest prediction; NC(3) of the real targets is .1 to .6."""
    rng = np.random.default_rng(seed)
    nc = np.concatenate([np.zeros(n_null), rng.uniform(0.1, 0.6, n_real)])
    signal, noise, slip = rng.standard_normal((3, n_stimuli, nc.size))
    Y = np.sqrt(nc) * signal + np.sqrt(1 - nc) * noise
    return Y, 0.95 * signal + np.sqrt(1 - 0.95**2) * slip, nc


def _passes(rejected: np.ndarray, nc: np.ndarray) -> bool:
    """Planted check: false share among nulls <= .08, false discovery proportion <= .05 (plus luck), power >= .95."""
    null = nc == 0
    share, discovered = rejected[null].mean(), rejected[null].sum() / max(1, rejected.sum())
    return bool(share <= 0.08 and discovered <= 0.05 and rejected[~null].mean() >= 0.95)


def test_fdr_recovers_planted_targets_and_no_correction_fails_the_check():
    Y, Y_hat, nc = _planted()
    p = significance.permutation_p_values(Y, Y_hat, n_permutations=500, seed=1)
    assert _passes(significance.fdr_bh(p) < 0.05, nc)
    assert not _passes(p < 0.05, nc)  # broken twin: 5 % of the nulls come through
    assert 0.03 <= (p[nc == 0] < 0.05).mean() <= 0.07
    assert p.min() == pytest.approx(1 / 501)  # a p without the + 1 would be 0


def test_exact_over_all_permutations():
    """Five rows have 120 orders: drawn p-values must approach the enumerated ones, ties included."""
    rng = np.random.default_rng(0)
    Y, Y_hat = rng.standard_normal((2, 5, 6))
    Y_hat[:, 3] = [0, 0, 0, 1, 1]  # ties
    for statistic, metric in (("correlation", metrics.correlation), ("r2", metrics.r2)):
        observed = metric(Y, Y_hat)
        null = np.array([metric(Y, Y_hat[list(order)]) for order in permutations(range(5))])
        exact = (null >= observed - 1e-9).mean(axis=0)
        p = significance.permutation_p_values(Y, Y_hat, 20_000, seed=2, statistic=statistic)
        assert_allclose(p, exact, atol=0.012)


@pytest.mark.parametrize("statistic", ["correlation", "r2"])
def test_folds_equal_a_slow_loop_over_the_same_permutations(statistic):
    rng = np.random.default_rng(5)
    Y, Y_hat = rng.standard_normal((2, 30, 11)) + 7
    Y_hat += 0.4 * Y
    fold = np.repeat([0, 1, 2, -1], [8, 12, 6, 4])[rng.permutation(30)]
    metric = getattr(metrics, statistic)
    observed = metrics.by_fold(metric, Y, Y_hat, fold)
    units = significance._units(30, 40, None, fold)
    rows = np.concatenate([unit for group in units for unit in group])
    count = np.zeros(11)
    for order in significance._orders(units, 40, seed=3):
        permuted = Y_hat.copy()
        permuted[rows] = Y_hat[rows][order]
        assert np.array_equal(fold[rows], fold[rows][order])  # nothing leaves its fold
        count += metrics.by_fold(metric, Y, permuted, fold) >= observed
    p = significance.permutation_p_values(Y, Y_hat, 40, seed=3, statistic=statistic, test_fold=fold)
    assert_allclose(p, (1 + count) / 41)
    masks = {"all": np.ones(11, bool), "two": np.arange(11) < 2}
    table = significance.region_p_values(Y, Y_hat, masks, 40, seed=3, statistic=statistic, test_fold=fold)
    assert_allclose(table["score"], [observed.mean(), observed[:2].mean()], rtol=1e-5)


def test_chunks_do_not_change_p_values(monkeypatch):
    Y, Y_hat, _ = _planted(30, 30, 40)
    whole = significance.permutation_p_values(Y, Y_hat, 99)
    monkeypatch.setattr(significance, "CACHE_BYTES", 4 * 40 * 7)
    assert np.array_equal(significance.permutation_p_values(Y, Y_hat, 99), whole)
    assert np.array_equal(significance.permutation_p_values(Y, Y_hat, 99, seed=0), whole)
    assert not np.array_equal(significance.permutation_p_values(Y, Y_hat, 99, seed=1), whole)


def test_r2_and_correlation_agree_in_one_fold():
    Y, Y_hat, _ = _planted(40, 40, 50)
    same = [significance.permutation_p_values(Y, Y_hat, 199, statistic=s) for s in significance.STATISTICS]
    assert np.abs(same[0] - same[1]).max() <= 1 / 200  # float32 may move one draw


def test_undefined_targets_have_no_p_value():
    Y, Y_hat, _ = _planted(4, 4, 30)
    Y[:, 0], Y[2, 1], Y_hat[:, 2] = 0.1, np.nan, 3.0
    p = significance.permutation_p_values(Y, Y_hat, 20)
    assert np.isnan(p).tolist() == [True] * 3 + [False] * 5
    masks = {"dead": np.arange(8) < 3, "mixed": np.arange(8) < 5}
    table = significance.region_p_values(Y, Y_hat, masks, 20)
    assert np.isnan(table.loc["dead", ["score", "p"]].to_numpy(float)).all()
    assert table["n_targets"].tolist() == [0, 2] and table["n_undefined"].tolist() == [3, 3]


def _smooth_noise_region(seed: int, n_stimuli: int = 150, n_targets: int = 60):
    """A region without signal whose targets share noise, predicted by smooth weights: targets are not independent."""
    rng = np.random.default_rng(seed)
    Y = np.sqrt(0.4) * rng.standard_normal((n_stimuli, 1)) + np.sqrt(0.6) * rng.standard_normal((n_stimuli, n_targets))
    P = rng.standard_normal((n_stimuli, 1)) + 0.4 * rng.standard_normal((n_stimuli, n_targets))
    return Y, P


def test_region_mean_p_is_calibrated_where_targets_share_noise_and_a_t_test_is_not():
    ours, naive = [], []
    for seed in range(40):
        Y, P = _smooth_noise_region(seed)
        ours.append(significance.region_p_values(Y, P, {"NOISE": np.ones(60, bool)}, 199, seed=seed)["p"].iloc[0])
        r = metrics.correlation(Y, P)
        naive.append(stats.ttest_1samp(r, 0, alternative="greater").pvalue)

    def passes(p):
        return np.mean(np.array(p) > 0.01) >= 0.9

    assert passes(ours) and stats.kstest(ours, "uniform").pvalue > 0.01
    assert not passes(naive)


def test_region_with_signal_is_found():
    Y, Y_hat, nc = _planted(50, 50, 100)
    table = significance.region_p_values(Y, Y_hat, {"real": nc > 0, "null": nc == 0}, 199)
    assert table.loc["real", "p"] == pytest.approx(1 / 200) and table.loc["null", "p"] > 0.01
    assert_allclose(table.loc["real", "score"], metrics.correlation(Y, Y_hat)[nc > 0].mean(), rtol=1e-5)


def test_blocks_are_needed_for_smooth_time_courses():
    """Autocorrelated noise and prediction: single rows reject far too often, blocks of rows keep the level."""
    rng = np.random.default_rng(0)
    kernel = np.exp(-(np.arange(-24, 25) ** 2) / (2 * 6**2))
    smooth = np.apply_along_axis(np.convolve, 0, rng.standard_normal((2448, 300)), kernel, "valid")
    Y, P = smooth[:600, :], smooth[1200:1800, :]
    rows = significance.permutation_p_values(Y, P, 199)
    blocks = significance.permutation_p_values(Y, P, 199, blocks=np.arange(600) // 40)
    assert (rows < 0.05).mean() > 0.2
    assert (blocks < 0.05).mean() < 0.12


def test_blocks_keep_their_inner_order():
    fold = np.repeat([0, 1], 12)
    units = significance._units(24, 1, np.arange(24) // 4, fold)
    for order in significance._orders(units, 20, seed=0):
        assert (order.reshape(-1, 4) == order.reshape(-1, 4)[:, :1] + np.arange(4)).all()
        assert set(order[:12]) == set(range(12))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"n_permutations": 0}, "at least 1"),
        ({"statistic": "spearman"}, "'correlation', 'r2'"),
        ({"blocks": np.zeros(20)}, "single block"),
        ({"test_fold": np.arange(20) // 2}, "fold 0 has 2"),
        ({"blocks": np.zeros(3)}, "one value per sample"),
    ],
)
def test_refusals(arguments, text):
    Y = np.random.default_rng(0).standard_normal((20, 2))
    with pytest.raises(DataError, match=text):
        significance.permutation_p_values(Y, Y, **{"n_permutations": 5, **arguments})


@given(hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 1)), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_fdr_equals_scipy_and_skips_nan(p, seed):
    wanted = stats.false_discovery_control(p)
    assert_allclose(significance.fdr_bh(p), wanted, atol=1e-12)
    holes = np.insert(p, np.random.default_rng(seed).integers(0, p.size + 1, 5), np.nan)
    q = significance.fdr_bh(holes)
    assert np.isnan(q).sum() == 5
    assert_allclose(q[np.isfinite(q)], wanted, atol=1e-12)
    assert (q[np.isfinite(q)] >= p - 1e-12).all()


def test_fdr_refuses_what_is_not_a_p_value():
    assert np.isnan(significance.fdr_bh([np.nan, np.nan])).all()
    with pytest.raises(DataError, match="within 0 and 1"):
        significance.fdr_bh([0.5, 3.2])
