"""Ridge: theorems, oracles and planted truth."""

from __future__ import annotations

import numpy as np
import pytest

from brainenc.core.types import DataError
from brainenc.encoders.folds import inner_folds
from brainenc.encoders.ridge import Ridge
from tests.reference import ridge_curve, standardised

pytestmark = pytest.mark.filterwarnings("ignore::brainenc.encoders.alphas.AlphaEdgeWarning")


def regression(n=120, p=20, t=15, noise=1.5, seed=0, decay=1.0):
    """Correlated features of unequal scale and offset, targets of several signal-to-noise ratios."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) @ (rng.standard_normal((p, p)) * np.logspace(0, -decay, p)[:, None])
    signal = X @ rng.standard_normal((p, t))
    Y = signal / signal.std(axis=0) + rng.standard_normal((n, t)) * noise * np.linspace(0.1, 2.0, t) + 3.0
    return X * np.logspace(-1, 1, p) + rng.standard_normal(p) * 5, Y


GROUPS = np.arange(120) // 17


# ------------------------------------------------------------------------------------------------------------ theorems
def test_vanishing_alpha_gives_least_squares():
    X, Y = regression()
    fitted = Ridge(alphas=[1e-7], cv_score="r2").fit(X, Y, GROUPS)
    design = np.column_stack([X, np.ones(len(X))])
    solution = np.linalg.lstsq(design, Y, rcond=None)[0]
    np.testing.assert_allclose(fitted.predict(X), design @ solution, atol=1e-4)


def test_infinite_alpha_gives_the_mean():
    X, Y = regression()
    fitted = Ridge(alphas=[1e12]).fit(X, Y, GROUPS)
    np.testing.assert_allclose(fitted.predict(X), np.broadcast_to(Y.mean(axis=0), Y.shape), atol=1e-5)


def test_primal_equals_dual():
    """Constant columns change nothing but push the number of features beyond the number of samples."""
    X, Y = regression()
    wide = np.concatenate([X, np.ones((len(X), 150))], axis=1)
    primal, dual = Ridge().fit(X, Y, GROUPS), Ridge(alphas=Ridge().fit(X, Y, GROUPS).alphas_).fit(wide, Y, GROUPS)
    np.testing.assert_array_equal(primal.alpha_, dual.alpha_)
    np.testing.assert_allclose(primal.cv_scores_, dual.cv_scores_, atol=1e-4)
    np.testing.assert_allclose(primal.predict(X), dual.predict(wide), atol=1e-3)
    assert not dual.coef_[X.shape[1] :].any()


def test_scaling_and_shifting_features_changes_no_prediction():
    X, Y = regression()
    scale = np.logspace(-8, 8, X.shape[1])
    plain, scaled = Ridge().fit(X, Y, GROUPS), Ridge().fit(X * scale + 7.0 * scale, Y, GROUPS)
    np.testing.assert_allclose(plain.predict(X), scaled.predict(X * scale + 7.0 * scale), atol=1e-3)
    unscaled = Ridge(standardise=False).fit(X, Y, GROUPS)
    changed = Ridge(standardise=False).fit(X * np.logspace(-2, 2, X.shape[1]), Y, GROUPS)
    different = unscaled.predict(X) - changed.predict(X * np.logspace(-2, 2, X.shape[1]))
    assert np.abs(different).max() > 0.05


@pytest.mark.parametrize("unit", [1e-14, 1.0, 1e6])
def test_predictions_follow_the_unit_and_offset_of_the_responses(unit):
    X, Y = regression()
    plain, moved = Ridge().fit(X, Y, GROUPS), Ridge().fit(X, unit * (Y + 2.0), GROUPS)
    np.testing.assert_allclose(moved.predict(X) / unit, plain.predict(X) + 2.0, atol=1e-4)
    np.testing.assert_array_equal(moved.alpha_, plain.alpha_)


def test_intercept_and_coefficients_are_in_raw_units():
    X, Y = regression()
    fitted = Ridge().fit(X, Y, GROUPS)
    np.testing.assert_allclose(X @ fitted.coef_ + fitted.intercept_, fitted.predict(X), atol=1e-3)


# ------------------------------------------------------------------------------------------------------------- oracles
@pytest.mark.parametrize("kind", ["r2", "correlation"])
@pytest.mark.parametrize("p", [20, 150])
@pytest.mark.parametrize("grouped", [True, False])
def test_choice_equals_the_slow_loop(kind, p, grouped):
    X, Y = regression(n=90, p=p, t=12)
    groups = GROUPS[:90] if grouped else None
    fitted = Ridge(cv_score=kind, n_alphas=8, extend=False).fit(X, Y, groups)
    Z, folds = standardised(X), inner_folds(90, groups, 5)
    expected_grid = np.sum(Z**2) / 90 * np.logspace(-2, 4, 8)
    np.testing.assert_allclose(fitted.alphas_, expected_grid, rtol=1e-6)
    curve = ridge_curve(Z, Y, folds, fitted.alphas_, kind)
    best = np.argmax(curve, axis=0)
    assert np.mean(fitted.alpha_ == fitted.alphas_[best]) >= 0.99
    np.testing.assert_allclose(fitted.cv_scores_, curve.max(axis=0), atol=1e-4)


@pytest.mark.parametrize("p", [30, 130])
def test_many_targets_choose_the_same_alpha_as_the_slow_loop(p):
    """2,000 targets at once against the slow loop on a sample of them."""
    rng = np.random.default_rng(3)
    X, Y = regression(n=80, p=p, t=2000, seed=3, decay=2.0)
    fitted = Ridge(n_alphas=6, extend=False, n_targets_batch=300).fit(X, Y)
    some = rng.choice(2000, 30, replace=False)
    curve = ridge_curve(standardised(X), Y[:, some], inner_folds(80, None, 5), fitted.alphas_)
    assert np.mean(fitted.alpha_[some] == fitted.alphas_[np.argmax(curve, axis=0)]) >= 0.99
    np.testing.assert_allclose(fitted.cv_scores_[some], curve.max(axis=0), atol=1e-4)


@pytest.mark.parametrize("p", [20, 150])
def test_coefficients_equal_scikit_learn_at_the_chosen_alpha(p):
    from sklearn.linear_model import Ridge as SklearnRidge

    X, Y = regression(p=p)
    fitted = Ridge().fit(X, Y, GROUPS)
    Z = standardised(X)
    for t in range(Y.shape[1]):
        expected = SklearnRidge(alpha=fitted.alpha_[t]).fit(Z, Y[:, t]).predict(Z)
        np.testing.assert_allclose(fitted.predict(X)[:, t], expected, atol=1e-4)


@pytest.mark.parametrize("p", [20, 150])
def test_choice_and_coefficients_equal_himalaya_direct(p):
    from himalaya.kernel_ridge import KernelRidgeCV
    from himalaya.ridge import RidgeCV
    from himalaya.scoring import r2_score
    from sklearn.model_selection import PredefinedSplit

    X, Y = regression(p=p)
    fitted = Ridge(extend=False, device="numpy").fit(X, Y, GROUPS)
    Z, test_fold = standardised(X), np.empty(len(X), dtype=int)
    for k, (_, validation) in enumerate(inner_folds(len(X), GROUPS, 5)):
        test_fold[validation] = k
    options = {"alphas": fitted.alphas_, "cv": PredefinedSplit(test_fold), "fit_intercept": True}
    if p <= len(X):
        direct = RidgeCV(solver_params={"score_func": r2_score}, **options).fit(Z, Y)
    else:
        direct = KernelRidgeCV(kernel="linear", solver_params={"score_func": r2_score}, **options).fit(Z, Y)
    np.testing.assert_allclose(fitted.alpha_, direct.best_alphas_, rtol=1e-5)
    np.testing.assert_allclose(fitted.cv_scores_, np.ravel(direct.cv_scores_), atol=1e-4)
    np.testing.assert_allclose(fitted.predict(X), direct.predict(Z), atol=1e-4)


# ------------------------------------------------------------------------------------------------------- planted truth
def test_planted_weights_are_found():
    rng = np.random.default_rng(5)
    X, W = rng.standard_normal((800, 10)), rng.standard_normal((10, 30))
    Y = X @ W + rng.standard_normal((800, 30)) * 0.5
    fitted = Ridge().fit(X, Y, np.arange(800) // 100)
    np.testing.assert_allclose(fitted.coef_, W, atol=0.15)
    X_new = rng.standard_normal((300, 10))
    expected = 1 - 0.25 / (0.25 + np.sum(W**2, axis=0))
    np.testing.assert_allclose(
        fitted.score(X_new, X_new @ W + rng.standard_normal((300, 30)) * 0.5), expected, atol=0.1
    )


def repeated(seed=0, n_stimuli=60, n_repetitions=3, n_features=400, n_targets=20):
    """Repetitions share features that say nothing and a response that is peculiar to the stimulus."""
    rng = np.random.default_rng(seed)
    stimulus = np.tile(np.arange(n_stimuli), n_repetitions)
    X = rng.standard_normal((n_stimuli, n_features))[stimulus]
    Y = rng.standard_normal((n_stimuli, n_targets))[stimulus] + rng.standard_normal((len(stimulus), n_targets)) * 0.5
    return X, Y, stimulus


def test_grouping_by_stimulus_is_honest_and_straddling_repetitions_are_not():
    X, Y, stimulus = repeated()
    presentation = np.arange(len(stimulus)) // 60

    def is_honest(groups):
        return np.median(Ridge().fit(X, Y, groups).cv_scores_) < 0.03

    assert is_honest(stimulus)
    assert not is_honest(presentation)


# --------------------------------------------------------------------------------------------------------- bad targets
def test_nan_and_constant_targets_are_masked_and_poison_nobody():
    X, Y = regression()
    clean = Ridge().fit(X, Y, GROUPS)
    dirty = Y.copy()
    dirty[7, 2], dirty[:, 5], dirty[:, 9], dirty[3, 11] = np.nan, np.nan, 4.2, np.inf
    bad = np.isin(np.arange(Y.shape[1]), [2, 5, 9, 11])
    fitted = Ridge().fit(X, dirty, GROUPS)
    for values in (fitted.alpha_, fitted.cv_scores_, fitted.intercept_, fitted.predict(X)[0], fitted.score(X, Y)):
        np.testing.assert_array_equal(np.isnan(values), bad)
    np.testing.assert_allclose(fitted.predict(X)[:, ~bad], clean.predict(X)[:, ~bad], atol=1e-5)
    np.testing.assert_array_equal(fitted.alpha_[~bad], clean.alpha_[~bad])
    assert np.isfinite(fitted.coef_).all()
    assert fitted.alpha_edges_["n_targets"] == np.sum(~bad)


def test_a_lost_trial_is_left_out_and_counted():
    X, Y = regression()
    lost = Y.copy()
    lost[[4, 90]] = np.nan
    kept = np.delete(np.arange(len(X)), [4, 90])
    fitted, expected = Ridge().fit(X, lost, GROUPS), Ridge().fit(X[kept], Y[kept], GROUPS[kept])
    assert fitted.n_dropped_rows_ == 2
    np.testing.assert_array_equal(fitted.coef_, expected.coef_)


def test_only_bad_targets_give_nan_everywhere():
    X, Y = regression()
    fitted = Ridge().fit(X, np.ones_like(Y), GROUPS)
    assert np.isnan(fitted.predict(X)).all() and fitted.alpha_edges_["n_targets"] == 0


def test_a_target_that_varies_only_in_one_fold_is_scored_there():
    X, Y = regression()
    Y[GROUPS != 0, 1] = 1.0
    fitted = Ridge(n_folds=7).fit(X, Y, GROUPS)
    assert np.isfinite(fitted.cv_scores_[1]) and np.isfinite(fitted.predict(X)[:, 1]).all()


# ----------------------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda X, Y, g: (np.where(np.arange(20) == 3, np.nan, X), Y, g), "NaN or infinite values in 120 of 120 rows"),
        (lambda X, Y, g: (X[:-1], Y, g), "align them by stimulus id"),
        (lambda X, Y, g: (X[:, 0], Y, g), "n_samples, n_features"),
        (lambda X, Y, g: (X.astype(str), Y, g), "wanted numbers"),
        (lambda X, Y, g: (np.ones_like(X), Y, g), "no feature that varies"),
        (lambda X, Y, g: (X, Y[:, 0], g), "n_samples, n_targets"),
        (lambda X, Y, g: (X, Y, g[:-1]), "one label per row"),
        (lambda X, Y, g: (X, Y, np.zeros(120)), "two or more"),
        (lambda X, Y, g: (X, np.full_like(Y, np.nan), g), "0 rows with finite values"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(change, words):
    with pytest.raises(DataError, match=words):
        Ridge().fit(*change(*regression(), GROUPS))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"alphas": "best"}, "alphas"),
        ({"alphas": [0.0, 1.0]}, "positive"),
        ({"alphas": []}, "positive"),
        ({"alphas": ["a"]}, "positive"),
        ({"n_alphas": 1}, "n_alphas"),
        ({"n_folds": 1.5}, "n_folds"),
        ({"cv_score": "mse"}, "cv_score"),
        ({"solver": "magic"}, "solver"),
        ({"device": "tpu"}, "device"),
        ({"n_targets_batch": 0}, "n_targets_batch"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, words):
    with pytest.raises(DataError, match=words):
        Ridge(**arguments)


def test_an_unfitted_encoder_and_other_features_are_refused():
    X, Y = regression()
    with pytest.raises(DataError, match="not fitted"):
        Ridge().predict(X)
    with pytest.raises(DataError, match="fitted on 20"):
        Ridge().fit(X, Y, GROUPS).predict(X[:, :5])
