"""Kernel ridge: degenerates to ridge, equals scikit-learn penalty by penalty, finds planted interactions."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge as SklearnKernelRidge
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.preprocessing import KernelCenterer

from brainenc.core.storage import load_arrays, save_arrays
from brainenc.core.types import DataError
from brainenc.encoders.alphas import AlphaEdgeWarning
from brainenc.encoders.folds import inner_folds
from brainenc.encoders.himalaya_backend import himalaya_backend
from brainenc.encoders.kernel import KernelRidge
from brainenc.encoders.kernel_matrix import KERNELS, dual_solver
from brainenc.encoders.ridge import Ridge
from tests.reference import fold_score, standardised

pytestmark = pytest.mark.filterwarnings("ignore::brainenc.encoders.alphas.AlphaEdgeWarning")
GROUPS = np.arange(90) // 13
PARAMETERS = {
    "rbf": {"kernel_gamma": 0.03},
    "laplacian": {"kernel_gamma": 0.05},
    "polynomial": {"kernel_gamma": 0.1, "degree": 2, "coef0": 0.5},
    "sigmoid": {"kernel_gamma": 0.01, "coef0": 0.1},
    "cosine": {},
}


def regression(n=90, p=8, t=12, noise=1.0, seed=0):
    """Features of unequal scale and offset; targets that bend, of several signal-to-noise ratios."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p))
    signal = np.tanh(X @ rng.standard_normal((p, t))) + X[:, :1] * X[:, 1:2]
    Y = signal / signal.std(axis=0) + rng.standard_normal((n, t)) * noise * np.linspace(0.1, 2.0, t) + 3.0
    return X * np.logspace(-1, 1, p) + rng.standard_normal(p) * 5, Y


def interaction(n=300, p=4, t=6, seed=1):
    """Targets that follow products of two features, and neither feature alone."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p))
    Y = (X[:, 0] * X[:, 1])[:, None] * rng.uniform(0.5, 2.0, t) + rng.standard_normal((n, t)) * 0.3
    return X, Y


def own_kernel(name, A, B, parameters):
    """The kernel by scikit-learn; its parameter gamma is ours kernel_gamma."""
    options = {"gamma" if key == "kernel_gamma" else key: value for key, value in parameters.items()}
    return pairwise_kernels(A, B, name, **options)


def scaled_kernels(name, Z, Z_new, parameters):
    """Raw kernels of training and new rows, times what gives the centred one the trace of the linear kernel."""
    K, k = own_kernel(name, Z, Z, parameters), own_kernel(name, Z_new, Z, parameters)
    factor = np.sum(Z**2) / np.trace(KernelCenterer().fit_transform(K))
    return K * factor, k * factor


def by_scikit_learn(K, k, Y, alpha):
    """Predictions of new rows: centre kernel and responses by the training rows, solve, add the mean."""
    centre = KernelCenterer().fit(K)
    model = SklearnKernelRidge(alpha=alpha, kernel="precomputed").fit(centre.transform(K), Y - Y.mean(axis=0))
    return model.predict(centre.transform(k)) + Y.mean(axis=0)


def slow_curve(K, Y, folds, alphas, kind="r2"):
    """Score of every alpha for every target, averaged over folds, (n_alphas, n_targets)."""
    curve = np.zeros((len(alphas), Y.shape[1]))
    for a, alpha in enumerate(alphas):
        for train, validation in folds:
            Y_hat = by_scikit_learn(K[np.ix_(train, train)], K[np.ix_(validation, train)], Y[train], alpha)
            curve[a] += [fold_score(y, p, kind) for y, p in zip(Y[validation].T, Y_hat.T, strict=True)]
    return curve / len(folds)


# ------------------------------------------------------------------------------------------------------------ theorems
@pytest.mark.parametrize("kind", ["r2", "correlation"])
@pytest.mark.parametrize("p", [8, 120])
@pytest.mark.parametrize("inside", [{"kernel_gamma": 1.0, "coef0": 0.0}, {"kernel_gamma": 0.2, "coef0": 3.0}])
def test_a_polynomial_of_degree_one_is_ridge(kind, p, inside):
    X, Y = regression(p=p)
    alphas = (p * np.logspace(-2, 3, 7)).tolist()
    kernel = KernelRidge("polynomial", degree=1, **inside, alphas=alphas, cv_score=kind, extend=False)
    ridge = Ridge(alphas=alphas, cv_score=kind, extend=False).fit(X[:70], Y[:70], GROUPS[:70])
    kernel.fit(X[:70], Y[:70], GROUPS[:70])
    np.testing.assert_array_equal(kernel.alpha_, ridge.alpha_)
    np.testing.assert_allclose(kernel.cv_scores_, ridge.cv_scores_, atol=1e-5)
    np.testing.assert_allclose(kernel.predict(X[70:]), ridge.predict(X[70:]), atol=1e-4)
    np.testing.assert_allclose(kernel.score(X[70:], Y[70:]), ridge.score(X[70:], Y[70:]), atol=1e-4)


def test_the_automatic_grid_and_its_extension_are_those_of_ridge():
    X = regression()[0]
    rng = np.random.default_rng(0)
    Y = standardised(X) @ rng.standard_normal((8, 5)) + 1e-2 * rng.standard_normal((90, 5))
    kernel = KernelRidge("polynomial", degree=1, coef0=0, n_alphas=4).fit(X, Y, GROUPS)
    ridge = Ridge(n_alphas=4).fit(X, Y, GROUPS)
    np.testing.assert_array_equal(kernel.alphas_, ridge.alphas_)
    np.testing.assert_allclose(kernel.cv_scores_, ridge.cv_scores_, atol=2e-6)
    # Many decades apart, the smallest penalties score alike to rounding: one target of five may take the next.
    assert kernel.alpha_edges_ == pytest.approx(ridge.alpha_edges_, abs=0.2 + 1e-6, nan_ok=True)
    assert len(kernel.alphas_) > 4, "the grid must have been extended for this test to mean anything"


def test_a_very_wide_rbf_is_ridge():
    """exp(-g |x - y|^2) -> 1 - g |x - y|^2, which centring turns into 2 g x'y."""
    X, Y = regression()
    kernel, ridge = KernelRidge(kernel_gamma=1e-6, extend=False), Ridge(extend=False)
    train, test, runs = slice(0, 70), slice(70, 90), GROUPS[:70]
    np.testing.assert_array_equal(
        kernel.fit(X[train], Y[train], runs).alpha_, ridge.fit(X[train], Y[train], runs).alpha_
    )
    np.testing.assert_allclose(kernel.predict(X[test]), ridge.predict(X[test]), atol=1e-3)
    narrow = KernelRidge(kernel_gamma=0.1, extend=False).fit(X[train], Y[train], runs)
    assert np.abs(narrow.predict(X[test]) - ridge.predict(X[test])).max() > 0.1


def test_limits_of_alpha_are_interpolation_and_the_mean():
    X, Y = regression()
    np.testing.assert_allclose(KernelRidge(alphas=[1e-9]).fit(X, Y, GROUPS).predict(X), Y, atol=1e-4)
    mean = KernelRidge(alphas=[1e12]).fit(X, Y, GROUPS).predict(X)
    np.testing.assert_allclose(mean, np.broadcast_to(Y.mean(axis=0), Y.shape), atol=1e-5)


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_predictions_are_the_raw_kernel_times_the_dual_coefficients(name):
    X, Y = regression()
    Y[4, 2] = np.nan
    fitted = KernelRidge(name, **PARAMETERS[name]).fit(X[:70], Y[:70], GROUPS[:70])
    Z_new = (X[70:] - fitted.feature_mean_) / fitted.feature_scale_
    k = own_kernel(name, Z_new, fitted.training_features_.astype(float), PARAMETERS[name])
    np.testing.assert_allclose(k @ fitted.dual_coef_ + fitted.intercept_, fitted.predict(X[70:]), atol=1e-4)
    assert np.isnan(fitted.predict(X)[:, 2]).all() and np.isnan(fitted.kernel_gamma_[2])
    assert not fitted.dual_coef_[:, 2].any()
    assert np.abs(fitted.dual_coef_.sum(axis=0)).max() < 1e-9 * np.abs(fitted.dual_coef_).max()


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_units_and_offsets_change_nothing(name):
    X, Y = regression()
    plain = KernelRidge(name).fit(X, Y, GROUPS)
    X_moved, Y_moved = X * 1e3 - 7.0, 1e-9 * (Y + 2.0)
    moved = KernelRidge(name).fit(X_moved, Y_moved, GROUPS)
    np.testing.assert_array_equal(moved.alpha_, plain.alpha_)
    np.testing.assert_allclose(moved.predict(X_moved) * 1e9, plain.predict(X) + 2.0, atol=1e-3)


@pytest.mark.parametrize("name", sorted(KERNELS))
@pytest.mark.parametrize("standardise", [True, False])
def test_constant_features_change_nothing_and_are_ignored_for_ever(name, standardise):
    X, Y = regression()
    wide = np.concatenate([X, np.full((len(X), 5), 3.0)], axis=1)
    plain = KernelRidge(name, standardise=standardise).fit(X, Y, GROUPS)
    fitted = KernelRidge(name, standardise=standardise).fit(wide, Y, GROUPS)
    np.testing.assert_allclose(fitted.kernel_gamma_, plain.kernel_gamma_)
    np.testing.assert_allclose(fitted.predict(wide), plain.predict(X), atol=1e-4)
    wide[:, -5:] += np.random.default_rng(0).standard_normal((len(X), 5)) * 9.0
    np.testing.assert_allclose(fitted.predict(wide), plain.predict(X), atol=1e-4)


def test_the_dual_solver_inverts_drops_what_a_penalty_does_not_outweigh_and_sums_to_zero():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(np.concatenate([np.ones((30, 1)), rng.standard_normal((30, 3))], axis=1))[0][:, 1:]
    y = (basis @ np.ones((3, 3))).astype(np.float32)
    with himalaya_backend("numpy") as backend:
        solve = dual_solver((basis * [2.0, 1.0, -0.5]) @ basis.T, backend)
        alpha = np.array([0.9, 1.1, 4.0])
        rotated = basis.T @ solve(y, alpha)
        np.testing.assert_allclose(rotated[:2], 1.0 / (np.array([[2.0], [1.0]]) + alpha), rtol=1e-5)
        np.testing.assert_allclose(rotated[2], [0.0, 1.0 / 0.6, 1.0 / 3.5], rtol=1e-5, atol=1e-6)
        off_centre = dual_solver(basis @ basis.T + 1e-6, backend)(y + 0.5, alpha)
    assert np.abs(off_centre.sum(axis=0)).max() < 1e-12


def test_automatic_gamma_is_one_over_the_number_of_features():
    X, Y = regression(p=8)
    for name in ("rbf", "laplacian", "polynomial", "sigmoid"):
        assert KernelRidge(name).fit(X, Y, GROUPS).kernel_gamma_ == pytest.approx(1 / 8)
    assert np.all(KernelRidge("cosine").fit(X, Y, GROUPS).kernel_gamma_ == 1.0)


# ------------------------------------------------------------------------------------------------------------- oracles
@pytest.mark.parametrize("kind", ["r2", "correlation"])
@pytest.mark.parametrize("name", sorted(KERNELS))
@pytest.mark.parametrize("grouped", [True, False])
def test_choice_and_prediction_equal_scikit_learn_per_alpha(kind, name, grouped):
    X, Y = regression()
    groups, alphas = GROUPS[:70] if grouped else None, np.logspace(0.3, 4, 6)
    options = {"alphas": alphas, "cv_score": kind, "extend": False, "n_targets_batch": 5}
    fitted = KernelRidge(name, **PARAMETERS[name], **options).fit(X[:70], Y[:70], groups)
    Z = standardised(X[:70])
    K, k = scaled_kernels(name, Z, (X[70:] - X[:70].mean(axis=0)) / X[:70].std(axis=0), PARAMETERS[name])
    curve = slow_curve(K, Y[:70], inner_folds(70, groups, 5), fitted.alphas_, kind)
    # Of an indefinite kernel (sigmoid) only penalties that outweigh it twice are compared: himalaya refuses others.
    assert -2.0 * np.linalg.eigvalsh(KernelCenterer().fit_transform(K))[0] < alphas[0]
    np.testing.assert_array_equal(fitted.alpha_, fitted.alphas_[np.argmax(curve, axis=0)])
    np.testing.assert_allclose(fitted.cv_scores_, curve.max(axis=0), atol=1e-5)
    for t, alpha in enumerate(fitted.alpha_):
        np.testing.assert_allclose(fitted.predict(X[70:])[:, t], by_scikit_learn(K, k, Y[:70, t], alpha), atol=1e-4)


def test_several_widths_are_chosen_from_like_the_slow_search():
    X, Y = regression(t=30)
    gammas, alphas = [0.5, 0.02, 0.1], np.logspace(-1, 4, 6)
    fitted = KernelRidge(kernel_gamma=gammas, alphas=alphas, extend=False, n_targets_batch=4).fit(X, Y, GROUPS)
    Z, folds = standardised(X), inner_folds(90, GROUPS, 5)
    kernels = [scaled_kernels("rbf", Z, Z, {"kernel_gamma": gamma})[0] for gamma in gammas]
    curves = np.stack([slow_curve(K, Y, folds, fitted.alphas_) for K in kernels])
    for t in range(30):
        g, a = np.unravel_index(np.argmax(curves[:, :, t]), curves.shape[:2])
        assert (fitted.kernel_gamma_[t], fitted.alpha_[t]) == (gammas[g], fitted.alphas_[a])
        np.testing.assert_allclose(fitted.cv_scores_[t], curves[g, a, t], atol=1e-5)
        expected = by_scikit_learn(kernels[g], kernels[g], Y[:, t], fitted.alphas_[a])
        np.testing.assert_allclose(fitted.predict(X)[:, t], expected, atol=1e-4)
    assert len(np.unique(fitted.kernel_gamma_)) > 1


def test_choice_and_prediction_equal_himalaya_direct():
    from himalaya.backend import get_backend, set_backend
    from himalaya.kernel_ridge import KernelRidgeCV
    from himalaya.scoring import r2_score
    from sklearn.model_selection import PredefinedSplit

    X, Y = regression()
    fitted = KernelRidge(kernel_gamma=0.05, extend=False, device="numpy").fit(X, Y, GROUPS)
    Z, test_fold = standardised(X), np.empty(len(X), dtype=int)
    for k, (_, validation) in enumerate(inner_folds(len(X), GROUPS, 5)):
        test_fold[validation] = k
    factor = scaled_kernels("rbf", Z, Z, {"kernel_gamma": 0.05})[0][0, 0]
    before = get_backend().name
    try:
        set_backend("numpy")
        direct = KernelRidgeCV(
            alphas=fitted.alphas_ / factor, kernel="rbf", kernel_params={"gamma": 0.05}, fit_intercept=True,
            cv=PredefinedSplit(test_fold), solver_params={"score_func": r2_score},
        ).fit(Z, Y)  # fmt: skip
        expected = direct.predict(Z)
    finally:
        set_backend(before)
    np.testing.assert_allclose(fitted.alpha_, direct.best_alphas_ * factor, rtol=1e-5)
    np.testing.assert_allclose(fitted.cv_scores_, np.ravel(direct.cv_scores_), atol=1e-4)
    np.testing.assert_allclose(fitted.predict(X), expected, atol=1e-4)


def test_an_indefinite_kernel_never_gets_a_penalty_too_small_for_it():
    X, Y = regression(noise=0.0)
    parameters = {"kernel_gamma": 1.0, "coef0": -1.0}
    fitted = KernelRidge("sigmoid", **parameters, alphas=np.logspace(-6, 4, 11), extend=False).fit(X, Y, GROUPS)
    Z = standardised(X)
    lowest = np.linalg.eigvalsh(KernelCenterer().fit_transform(scaled_kernels("sigmoid", Z, Z, parameters)[0]))[0]
    assert lowest < -0.1, "the kernel must be indefinite for this test to mean anything"
    assert np.all(fitted.alpha_ > -lowest) and np.isfinite(fitted.predict(X)).all()
    forced = KernelRidge("sigmoid", **parameters, alphas=[1e-6]).fit(X, Y, GROUPS).predict(X)
    assert np.isfinite(forced).all() and np.abs(forced).max() < 100


# ------------------------------------------------------------------------------------------------------- planted truth
@pytest.mark.parametrize("arguments", [{}, {"kernel": "polynomial", "degree": 2}, {"kernel": "laplacian"}])
def test_a_planted_interaction_is_predicted_and_ridge_is_blind_to_it(arguments):
    X, Y = interaction()
    runs = np.arange(200) // 20
    kernel, ridge = KernelRidge(**arguments).fit(X[:200], Y[:200], runs), Ridge().fit(X[:200], Y[:200], runs)
    assert kernel.score(X[200:], Y[200:]).min() > 0.5
    assert ridge.score(X[200:], Y[200:]).max() < 0.1


def test_each_target_gets_the_width_of_its_own_bumps():
    rng = np.random.default_rng(2)
    X = rng.uniform(-1.7, 1.7, (400, 1))
    Y = np.concatenate([np.sin(12 * X + rng.uniform(0, 6, 5)), X + 0.1 * rng.uniform(0, 1, 5)], axis=1)
    Y += rng.standard_normal(Y.shape) * 0.3
    fitted = KernelRidge(kernel_gamma=[0.01, 30.0]).fit(X, Y, rng.permutation(400) // 40)
    np.testing.assert_array_equal(fitted.kernel_gamma_, [30.0] * 5 + [0.01] * 5)


def test_groups_keep_a_narrow_kernel_from_remembering_repeated_stimuli():
    """Pure noise that comes back with its stimulus: known by heart unless repetitions stay together."""
    rng = np.random.default_rng(3)
    X, noise = rng.standard_normal((60, 5)), rng.standard_normal((60, 8))
    stimulus = np.tile(np.arange(60), 3)
    X, Y = X[stimulus], noise[stimulus] + 0.1 * rng.standard_normal((180, 8))
    assert KernelRidge(kernel_gamma=1.0).fit(X, Y, groups=stimulus).cv_scores_.max() < 0.1
    assert KernelRidge(kernel_gamma=1.0).fit(X, Y, groups=None).cv_scores_.min() > 0.9


def test_validation_responses_reach_no_statistic_of_their_fold(monkeypatch):
    """Permuting them leaves what that fold predicts, and changes what the other folds, which train on them, predict."""
    import himalaya.kernel_ridge

    solve, seen = himalaya.kernel_ridge.solve_multiple_kernel_ridge_random_search, []

    def spied(Ks, Y, **options):
        score = options.pop("score_func")

        def seeing(y, Y_hat):
            seen.append(np.array(Y_hat))
            return score(y, Y_hat)

        return solve(Ks, Y, score_func=seeing, **options)

    monkeypatch.setattr(himalaya.kernel_ridge, "solve_multiple_kernel_ridge_random_search", spied)
    X, Y = regression()
    folds = inner_folds(90, GROUPS, 5)
    held = folds[2][1]
    permuted = Y.copy()
    permuted[held] = Y[np.random.default_rng(0).permutation(held)]
    for responses in (Y, permuted):
        KernelRidge(n_alphas=4, extend=False, device="numpy").fit(X, responses, GROUPS)
    before, after = seen[: len(folds)], seen[len(folds) :]
    assert len(before) == len(after) == len(folds)
    np.testing.assert_allclose(before[2], after[2], atol=1e-5)
    for other in (0, 1, 3, 4):
        assert np.abs(before[other] - after[other]).max() > 0.01


# --------------------------------------------------------------------------------------------------- state and messages
def test_a_choice_of_widths_survives_a_file_bit_for_bit(tmp_path):
    X, Y = regression()
    fitted = KernelRidge(kernel_gamma=(0.3, 0.01), n_targets_batch=5).fit(X, Y, GROUPS)
    save_arrays(tmp_path / "model.safetensors", fitted.state())
    config = json.loads(json.dumps(fitted.config()))
    loaded = KernelRidge.from_state(config, load_arrays(tmp_path / "model.safetensors"))
    np.testing.assert_array_equal(loaded.predict(X), fitted.predict(X))
    np.testing.assert_allclose(loaded.predict(X, targets=slice(3, 9)), fitted.predict(X)[:, 3:9], atol=1e-6)
    assert loaded.config() == fitted.config() == config
    assert config["kernel_gamma"] == [0.01, 0.3]


def test_a_study_with_this_encoder_runs_to_its_report(tmp_path):
    """No later step asks it for coefficients of features."""
    from pipelines.study import resolve_study
    from tests.pipelines.conftest import run_steps, toy_config, write_toy

    write_toy(tmp_path / "data")
    config = toy_config(tmp_path / "data", tmp_path / "results")
    config["encoders"] = {
        "bent": {"class": "kernel_ridge", "kernel_gamma": [0.03, 0.3], "n_alphas": 4, "device": "numpy"}
    }
    config["comparisons"] = [["bent/a", "bent/b"]]
    study = resolve_study(config)
    assert [model.label for model in study.models] == ["bent/a", "bent/b"] and not study.joint_models
    run_steps(study)
    card = json.loads((study.folder / "sub-01" / study.models[0].name / "encoder.json").read_text())
    assert sum(card["diagnostics"]["alpha_shares"]) == pytest.approx(1.0)
    assert "kernel_ridge" in (study.folder / "report.html").read_text()


def test_a_grid_too_high_is_extended_and_one_that_may_not_be_warns():
    X, Y = regression(noise=0.0)
    high = [1e9, 1e10]
    with pytest.warns(AlphaEdgeWarning, match="smallest penalty tried"):
        KernelRidge(alphas=high, extend=False).fit(X, Y, GROUPS)
    assert KernelRidge(alphas=high).fit(X, Y, GROUPS).alphas_.min() < 1e7


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kernel": "linear"}, "kernel is 'linear', wanted one of rbf.*use the class ridge"),
        ({"kernel": ["rbf"]}, "wanted one of"),
        ({"kernel_gamma": "scale"}, "kernel_gamma is 'scale', wanted 'auto', a positive number or a list"),
        ({"kernel_gamma": [0.1, 0.0]}, "positive number"),
        ({"kernel_gamma": []}, "positive number"),
        ({"kernel_gamma": [[0.1]]}, "positive number"),
        ({"kernel_gamma": float("nan")}, "positive number"),
        ({"kernel": "cosine", "kernel_gamma": 0.1}, "kernel_gamma is 0.1 but kernel 'cosine' has none"),
        ({"degree": 2}, "degree is 2 but kernel 'rbf' has none: leave it out"),
        ({"kernel": "sigmoid", "degree": 2}, "degree is 2 but kernel 'sigmoid' has none"),
        ({"kernel": "polynomial", "degree": 0}, "degree is 0, wanted a whole number of at least 1"),
        ({"kernel": "polynomial", "degree": 1.5}, "degree is 1.5"),
        ({"kernel": "polynomial", "coef0": -1.0}, "coef0 is -1.0, wanted a number of at least 0"),
        ({"kernel": "sigmoid", "coef0": float("inf")}, "coef0 is inf, wanted a finite number"),
        ({"alphas": "log"}, "alphas is 'log', wanted 'auto' or a list"),
        ({"alphas": [1.0, -1.0]}, "list of positive numbers"),
        ({"n_alphas": 1}, "n_alphas is 1"),
        ({"n_folds": 1}, "n_folds is 1"),
        ({"n_targets_batch": 0}, "n_targets_batch is 0"),
        ({"cv_score": "r"}, "cv_score is 'r', wanted one of r2, correlation"),
        ({"device": "gpu"}, "device is 'gpu'"),
    ],
)
def test_bad_arguments_are_refused(arguments, words):
    with pytest.raises(DataError, match=words):
        KernelRidge(**arguments)


def test_bad_data_is_refused():
    X, Y = regression()
    fitted = KernelRidge(n_alphas=3).fit(X, Y, GROUPS)
    broken = X.copy()
    broken[3, 1] = np.nan
    for call, words in [
        (lambda: KernelRidge().predict(X), "KernelRidge is not fitted"),
        (lambda: KernelRidge().state(), "is not fitted"),
        (lambda: fitted.predict(X[:, :5]), "X has 5 features but the encoder was fitted on 8"),
        (lambda: fitted.predict(broken), "NaN or infinite values in 1 of 90 rows"),
        (lambda: KernelRidge().fit(broken, Y), "NaN or infinite values in 1 of 90 rows"),
        (lambda: KernelRidge().fit(X[:80], Y), "Y has 90 rows but X has 80"),
        (lambda: KernelRidge().fit(np.ones_like(X), Y), "no feature that varies"),
        (lambda: KernelRidge().fit(X, Y, GROUPS[:5]), "groups has shape"),
        (lambda: KernelRidge().fit(X, Y, np.zeros(90)), "two or more"),
        (lambda: KernelRidge(kernel_gamma=1e-12).fit(X, Y), "kernel_gamma 1e-12 hardly varies over the 90 training"),
        (lambda: KernelRidge("sigmoid", coef0=40.0).fit(X, Y), "hardly varies.*choose another kernel_gamma"),
        (lambda: KernelRidge("polynomial", degree=900).fit(X, Y), "overflows.*lower kernel_gamma, degree or coef0"),
        (lambda: KernelRidge.from_state({}, {"alpha": np.ones(2)}), "lacks .*dual_coef.*fit and save the model again"),
    ]:
        with pytest.raises(DataError, match=words):
            call()
