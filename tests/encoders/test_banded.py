"""Banded ridge: degenerates to ridge, equals the slow search, finds planted bands."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainenc.core.types import DataError
from brainenc.encoders.banded import Banded, random_weights, two_band_weights
from brainenc.encoders.folds import inner_folds
from brainenc.encoders.ridge import Ridge
from tests.reference import banded_search, equal_trace

pytestmark = pytest.mark.filterwarnings("ignore::brainenc.encoders.alphas.AlphaEdgeWarning")
GROUPS = np.arange(100) // 15


def bands(n=100, sizes=(12, 5), t=10, seed=0):
    rng = np.random.default_rng(seed)
    Xs = [rng.standard_normal((n, size)) * 10.0**b + b for b, size in enumerate(sizes)]
    parts = [X @ rng.standard_normal((X.shape[1], t)) for X in Xs]
    share = rng.dirichlet(np.ones(len(sizes)), t).T
    Y = sum(np.sqrt(w) * part / part.std(axis=0) for w, part in zip(share, parts, strict=True))
    return Xs, Y + rng.standard_normal((n, t)) * 0.7 + 2.0


# ------------------------------------------------------------------------------------------------------------ theorems
@pytest.mark.parametrize("size", [12, 150])
def test_one_band_is_ridge(size):
    Xs, Y = bands(sizes=(size,))
    ridge, banded = Ridge().fit(Xs[0], Y, GROUPS), Banded().fit(Xs, Y, GROUPS)
    np.testing.assert_array_equal(banded.alpha_, ridge.alpha_)
    np.testing.assert_array_equal(banded.coef_, ridge.coef_)
    np.testing.assert_array_equal(banded.predict(Xs), ridge.predict(Xs[0]))


@pytest.mark.parametrize("sizes", [(12, 5), (120, 7)])
def test_equal_weights_are_ridge_on_the_scaled_bands_side_by_side(sizes):
    Xs, Y = bands(sizes=sizes)
    scaled = np.concatenate(equal_trace(Xs), axis=1) * np.sqrt(0.5)
    alphas = (sum(sizes) * np.logspace(-2, 3, 8)).tolist()
    banded = Banded(gammas=[[0.5, 0.5]], alphas=alphas, extend=False).fit(Xs, Y, GROUPS)
    ridge = Ridge(alphas=alphas, extend=False, standardise=False).fit(scaled, Y, GROUPS)
    np.testing.assert_array_equal(banded.alpha_, ridge.alpha_)
    np.testing.assert_allclose(banded.cv_scores_, ridge.cv_scores_, atol=1e-5)
    np.testing.assert_allclose(banded.predict(Xs), ridge.predict(scaled), atol=1e-4)


def test_a_band_without_weight_is_left_out_exactly():
    Xs, Y = bands(sizes=(12, 5, 200))
    alphas = np.logspace(-1, 4, 8)
    alone = Ridge(alphas=alphas, extend=False).fit(Xs[1], Y, GROUPS)
    total, own = 217.0, 5.0
    corner = Banded(gammas=[[0, 1, 0]], alphas=alphas * total / own, extend=False).fit(Xs, Y, GROUPS)
    np.testing.assert_allclose(corner.predict(Xs), alone.predict(Xs[1]), atol=1e-4)
    assert not corner.split_coefficients()[0].any() and not corner.split_coefficients()[2].any()
    assert np.isneginf(corner.deltas_[0]).all() and np.isfinite(corner.deltas_[1]).all()


def test_the_unit_of_a_band_changes_nothing_and_without_standardising_trace_scaling_still_holds():
    Xs, Y = bands()
    moved = [Xs[0] * 1e6, Xs[1] - 40.0]
    plain, changed = Banded(n_gammas=5).fit(Xs, Y, GROUPS), Banded(n_gammas=5).fit(moved, Y, GROUPS)
    np.testing.assert_array_equal(plain.gamma_, changed.gamma_)
    np.testing.assert_allclose(plain.predict(Xs), changed.predict(moved), atol=1e-3)


@pytest.mark.parametrize("sizes", [(12, 5), (150, 20, 3)])
def test_parts_sum_to_the_whole_minus_the_target_mean(sizes):
    Xs, Y = bands(sizes=sizes)
    Y[0, 3] = np.nan
    fitted = Banded(n_gammas=6).fit(Xs, Y, GROUPS)
    parts = fitted.predict(Xs, split=True)
    assert parts.shape == (len(sizes), 100, 10) and parts.dtype == np.float32
    np.testing.assert_allclose(parts.sum(axis=0) + fitted.target_mean_, fitted.predict(Xs), atol=1e-4)
    good = np.arange(10) != 3
    np.testing.assert_allclose(parts.mean(axis=1)[:, good], 0.0, atol=1e-5)
    assert np.isnan(parts[:, :, 3]).all()
    raw = sum(X @ coef for X, coef in zip(Xs, fitted.split_coefficients(), strict=True))
    np.testing.assert_allclose((raw + fitted.intercept_)[:, good], fitted.predict(Xs)[:, good], atol=1e-3)


# ------------------------------------------------------------------------------------------------------------- oracles
@pytest.mark.parametrize("kind", ["r2", "correlation"])
@pytest.mark.parametrize("sizes", [(10, 4), (6, 5, 90)])
def test_search_equals_the_slow_loop(kind, sizes):
    Xs, Y = bands(n=80, sizes=sizes, t=12)
    alphas = (sum(sizes) * np.logspace(-1, 3, 5)).tolist()
    fitted = Banded(alphas=alphas, n_gammas=5, extend=False, cv_score=kind, n_folds=4).fit(Xs, Y, GROUPS[:80])
    gammas = fitted._candidates(len(sizes), None, np.empty((0, len(sizes))))
    folds = inner_folds(80, GROUPS[:80], 4)
    score, alpha, index, prediction = banded_search(Xs, Y, folds, np.float32(alphas).astype(float), gammas, kind)
    np.testing.assert_allclose(fitted.cv_scores_, score, atol=1e-4)
    np.testing.assert_array_equal(fitted.alpha_, alpha)
    np.testing.assert_allclose(fitted.gamma_, gammas[index].T, rtol=1e-6)
    np.testing.assert_allclose(fitted.predict(Xs), prediction, atol=1e-4)


@pytest.mark.parametrize("sizes", [(12, 5), (120, 30)])
def test_search_equals_himalaya_direct(sizes):
    from himalaya.kernel_ridge import solve_multiple_kernel_ridge_random_search
    from himalaya.ridge import solve_group_ridge_random_search
    from himalaya.scoring import r2_score

    Xs, Y = bands(sizes=sizes)
    gammas, alphas = np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]]), (17 * np.logspace(-1, 4, 6)).astype(np.float32)
    fitted = Banded(gammas=gammas, alphas=alphas, extend=False).fit(Xs, Y, GROUPS)
    Zs, Yc = equal_trace(Xs), Y - Y.mean(axis=0)
    options = {"n_iter": gammas, "alphas": alphas.astype(float), "score_func": r2_score, "progress_bar": False}
    options["cv"] = inner_folds(100, GROUPS, 5)
    if sum(sizes) <= 100:
        deltas, weights, scores, _ = solve_group_ridge_random_search(
            Zs, Yc, fit_intercept=True, return_weights=True, **options
        )
        prediction = np.concatenate(Zs, axis=1) @ weights
    else:
        Ks = np.stack([Z @ Z.T for Z in Zs])
        deltas, dual, scores, _ = solve_multiple_kernel_ridge_random_search(
            Ks, Yc, fit_intercept=True, return_weights="dual", **options
        )
        prediction = sum(np.exp(delta) * (K @ dual) for delta, K in zip(deltas, Ks, strict=True))
    np.testing.assert_allclose(fitted.cv_scores_, scores.max(axis=0), atol=1e-4)
    np.testing.assert_allclose(fitted.deltas_, deltas, atol=1e-4)
    np.testing.assert_allclose(fitted.predict(Xs), prediction + Y.mean(axis=0), atol=1e-3)


# ------------------------------------------------------------------------------------------------------- planted truth
def wide_and_narrow(seed=0, n=300, t=40):
    """A wide band of large unit drives the first half of the targets, a narrow one the second half."""
    rng = np.random.default_rng(seed)
    Xs = [rng.standard_normal((n, 120)) * 5.0, rng.standard_normal((n, 6))]
    Y = np.concatenate([X @ rng.standard_normal((X.shape[1], t // 2)) for X in Xs], axis=1)
    return Xs, Y / Y.std(axis=0) + rng.standard_normal((n, t)) * 1.5


def test_each_target_weights_the_band_that_drives_it():
    Xs, Y = wide_and_narrow()
    gamma = Banded().fit(Xs, Y).gamma_
    np.testing.assert_allclose(gamma.sum(axis=0), 1.0, atol=1e-6)
    for own in (gamma[0, :20], gamma[1, 20:]):
        assert np.median(own) > 0.9 and own.mean() > 0.75


def test_bands_beat_one_penalty_for_all_which_spreads_the_narrow_band_over_the_wide_one():
    Xs, Y = wide_and_narrow()
    train, test = np.arange(200), np.arange(200, 300)

    def narrow_share(encoder, join):
        """How much of the prediction of the narrow band's targets comes from the narrow band."""
        encoder.fit(join([X[train] for X in Xs]), Y[train])
        coef, mean = np.split(encoder.coef_, [120]), np.split(encoder.feature_mean_, [120])
        variance = [((X[test] - m) @ c)[:, 20:].var(axis=0) for X, m, c in zip(Xs, mean, coef, strict=True)]
        return np.mean(variance[1] / (variance[0] + variance[1])), encoder.score(join([X[test] for X in Xs]), Y[test])

    banded_share, banded_score = narrow_share(Banded(), list)
    single_share, single_score = narrow_share(
        Ridge(standardise=False), lambda parts: np.concatenate([np.asarray(part) for part in parts], axis=1)
    )
    assert banded_share > 0.9 and not single_share > 0.9
    assert banded_score[20:].mean() > single_score[20:].mean() + 0.03


# --------------------------------------------------------------------------------------------------- weights and input
@given(st.integers(2, 15))
@settings(max_examples=14, deadline=None)
def test_two_band_weights_are_symmetric_and_on_the_simplex(n):
    weights = two_band_weights(n)
    assert weights.shape == (n, 2) and np.allclose(weights.sum(axis=1), 1.0) and (weights >= 0).all()
    np.testing.assert_allclose(np.sort(weights[:, 0]), np.sort(weights[:, 1]), atol=1e-12)
    assert {0.0, 1.0} <= set(weights[:, 0])


@given(st.integers(2, 40), st.integers(3, 6), st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_random_weights_are_on_the_simplex_and_seeded(n, n_bands, seed):
    weights = random_weights(n, n_bands, seed)
    assert weights.shape == (n, n_bands) and np.allclose(weights.sum(axis=1), 1.0) and (weights >= 0).all()
    assert np.allclose(weights[0], 1 / n_bands)
    np.testing.assert_array_equal(weights, random_weights(n, n_bands, seed))


@pytest.mark.parametrize(
    ("arguments", "X", "words"),
    [
        ({}, np.ones((100, 3)), "list of matrices"),
        ({}, [], "list of matrices"),
        ({}, [np.eye(100), np.eye(99)], "align the bands"),
        ({}, [np.eye(100), np.ones((100, 2))], "band 1 has no feature that varies"),
        ({"gammas": [[1.0]]}, [np.eye(100), np.eye(100)], "one weight a band"),
        ({"gammas": [[0.5, 0.6]]}, [np.eye(100)], "sum 1"),
        ({"gammas": [[-0.5, 1.5]]}, [np.eye(100)], "weights >= 0"),
        ({"gammas": [0.5]}, [np.eye(100)], "rows of one weight"),
        ({"gammas": "equal"}, [np.eye(100)], "rows of one weight"),
        ({"n_gammas": 1}, [np.eye(100)], "n_gammas"),
        ({"seed": -1}, [np.eye(100)], "seed"),
    ],
)
def test_bad_bands_and_weights_are_refused(arguments, X, words):
    with pytest.raises(DataError, match=words):
        Banded(**arguments).fit(X, bands()[1], GROUPS)


def test_other_bands_at_prediction_are_refused():
    Xs, Y = bands()
    with pytest.raises(DataError, match=r"5 \+ 12 features but the encoder was fitted on 12 \+ 5"):
        Banded(n_gammas=3).fit(Xs, Y, GROUPS).predict(Xs[::-1])
