"""One pass over the responses: blocks, files, extensions of the grid, places side by side, and the coefficients."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from sklearn.linear_model import Ridge as SklearnRidge

from brainenc.core.types import DataError
from brainenc.encoders.alphas import AlphaEdgeWarning
from brainenc.encoders.banded import Banded, neighbours
from brainenc.encoders.compute import Compute
from brainenc.encoders.ridge import Ridge

pytestmark = pytest.mark.filterwarnings("ignore::brainenc.encoders.alphas.AlphaEdgeWarning")


def problem(n: int = 120, p: int = 20, t: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(n, p)).astype(np.float32)
    Y = X @ generator.normal(size=(p, t)) * generator.random(t) + 3.0 * generator.normal(size=(n, t))
    return X, Y.astype(np.float32)


class Watched:
    """Responses that count how often each column is read."""

    def __init__(self, Y: np.ndarray) -> None:
        self.Y, self.shape, self.dtype, self.ndim = Y, Y.shape, Y.dtype, 2
        self.reads = np.zeros(Y.shape[1], int)
        self.widest = 0

    def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
        self.reads[key[1]] += 1
        part = self.Y[key]
        self.widest = max(self.widest, part.shape[1])
        return part


def test_every_response_is_read_once() -> None:
    X, Y = problem(t=700)
    watched = Watched(Y)
    Ridge(n_targets_batch=64, device="numpy").fit(X, watched)
    assert watched.reads[512:].max() == 1  # the first columns are also glanced at for empty rows
    assert watched.reads.min() == 1 and watched.reads.max() == 2


@pytest.mark.parametrize("device", ["numpy", "cpu"])
def test_blocks_files_and_places_do_not_matter(device: str, tmp_path, monkeypatch) -> None:
    X, Y = problem()
    groups = np.arange(120) // 8
    whole = Ridge(device=device).fit(X, Y, groups)
    with h5py.File(tmp_path / "y.h5", "w") as file:
        on_disk = file.create_dataset("values", data=Y, chunks=(50, 40))
        blocks = Ridge(device=device, n_targets_batch=37).fit(X, on_disk, groups)
    monkeypatch.setattr("brainenc.encoders.linear.places", lambda device: [Compute("numpy"), Compute("cpu")])
    spread = Ridge(n_targets_batch=37).fit(X, Watched(Y), groups)
    for other in (blocks, spread):
        np.testing.assert_array_equal(whole.alpha_, other.alpha_)
        np.testing.assert_allclose(whole.cv_scores_, other.cv_scores_, atol=2e-6)
        np.testing.assert_allclose(whole.coef_, other.coef_, atol=1e-5)


def test_coefficients_equal_those_of_scikit_learn() -> None:
    X, Y = problem()
    fitted = Ridge(standardise=False, device="cpu").fit(X, Y, np.arange(120) // 8)
    for alpha in np.unique(fitted.alpha_):
        chosen = fitted.alpha_ == alpha
        expected = SklearnRidge(alpha=alpha).fit(X.astype(float), Y[:, chosen].astype(float))
        np.testing.assert_allclose(fitted.coef_[:, chosen], np.atleast_2d(expected.coef_).T, atol=2e-5)
        np.testing.assert_allclose(fitted.intercept_[chosen], expected.intercept_, atol=2e-5)


def test_ill_conditioned_targets_are_solved_in_double_precision(monkeypatch) -> None:
    generator = np.random.default_rng(1)
    mixed = np.linalg.qr(generator.normal(size=(30, 30)))[0]
    scales = 10.0 ** -np.linspace(0, 2.5, 30)
    X = ((generator.normal(size=(200, 30)) * scales) @ mixed).astype(np.float32)
    Y = (X @ mixed.T @ (generator.normal(size=(30, 8)) / scales[:, None])).astype(np.float32)
    centred = X - X.mean(0, dtype=float)
    expected = np.linalg.lstsq(centred, Y - Y.mean(0, dtype=float), rcond=None)[0]

    def error() -> float:
        fitted = Ridge(alphas=[1e-12, 1.0], extend=False, standardise=False, device="cpu").fit(X, Y)
        assert np.all(fitted.alpha_ < 1e-11)
        return float(np.abs(fitted.coef_ - expected).max() / np.abs(expected).max())

    right = error()
    monkeypatch.setattr("brainenc.encoders.refit.DELICATE", np.inf)
    assert right < 1e-5 and error() > 10 * right


def test_an_extended_grid_gives_what_the_wide_grid_gives() -> None:
    X, Y = problem()
    narrow = Ridge(alphas=[1e-3, 1e-2], extend=True, device="numpy").fit(X, Y)
    assert len(narrow.alphas_) > 2 and narrow.alphas_[0] == pytest.approx(1e-3)
    wide = Ridge(alphas=narrow.alphas_.tolist(), extend=False, device="numpy").fit(X, Y)
    np.testing.assert_array_equal(narrow.alpha_, wide.alpha_)
    np.testing.assert_allclose(narrow.coef_, wide.coef_, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(narrow.cv_scores_, wide.cv_scores_)


def test_a_grid_that_need_not_be_extended_is_left_alone() -> None:
    X, Y = problem()
    sound = Ridge(alphas=np.logspace(-2, 5, 8).tolist(), device="numpy").fit(X, Y)
    np.testing.assert_allclose(sound.alphas_, np.logspace(-2, 5, 8), rtol=1e-6)
    with pytest.warns(AlphaEdgeWarning):
        Ridge(alphas=[1e-3, 1e-2], extend=False, device="numpy").fit(X, Y)


def test_coefficients_go_where_they_are_told() -> None:
    X, Y = problem()
    into = np.full((20, 300), np.nan, np.float32)
    fitted = Ridge(device="numpy", n_targets_batch=64).fit(X, Y, coef=into)
    assert fitted.coef_ is into
    np.testing.assert_array_equal(into, Ridge(device="numpy", n_targets_batch=64).fit(X, Y).coef_)
    np.testing.assert_array_equal(fitted.predict(X, targets=slice(10, 20)), fitted.predict(X)[:, 10:20])
    with pytest.raises(DataError, match="coef has shape"):
        Ridge().fit(X, Y, coef=into[1:])


def test_candidates_that_do_not_fit_in_memory_together_take_turns(monkeypatch) -> None:
    X, Y = problem()
    bands = [X[:, :8], X[:, 8:]]
    together = Banded(device="numpy").fit(bands, Y)
    monkeypatch.setattr("brainenc.encoders.solvers.PLAN_BYTES", 1)
    apart = Banded(device="numpy").fit(bands, Y)
    np.testing.assert_array_equal(together.gamma_, apart.gamma_)
    np.testing.assert_array_equal(together.coef_, apart.coef_)


def test_refinement_only_improves_and_finds_planted_weights() -> None:
    generator = np.random.default_rng(2)
    Xs = [generator.normal(size=(250, 40)).astype(np.float32) for _ in range(3)]
    Y = sum(np.sqrt(w) * X @ generator.normal(size=(40, 60)) for w, X in zip((0.83, 0.15, 0.02), Xs, strict=True))
    Y = (Y + 6.0 * generator.normal(size=Y.shape)).astype(np.float32)
    coarse = Banded(n_gammas=4, device="numpy").fit(Xs, Y)
    fine = Banded(n_gammas=4, n_refinements=3, device="numpy").fit(Xs, Y)
    assert np.all(fine.cv_scores_ >= coarse.cv_scores_ - 1e-6)
    assert np.median(fine.cv_scores_ - coarse.cv_scores_) > 0.005
    assert np.all(np.diff(np.median(fine.gamma_, axis=1)) < 0)


def test_a_single_candidate_that_is_refined_gets_the_coefficients_of_the_winner() -> None:
    X, Y = problem(t=60)
    bands = [X[:, :8], X[:, 8:]]
    alphas = np.logspace(-1, 4, 6).tolist()
    fitted = Banded(gammas=[[0.5, 0.5]], n_refinements=2, alphas=alphas, extend=False, device="numpy").fit(bands, Y)
    winners = np.unique(fitted.gamma_.T, axis=0)
    assert len(winners) > 1
    for gamma in winners.astype(np.float64):
        chosen = np.all(gamma.astype(np.float32) == fitted.gamma_.T, axis=1)
        weights = [(gamma / gamma.sum()).tolist()]
        alone = Banded(gammas=weights, alphas=alphas, extend=False, device="numpy").fit(bands, Y[:, chosen])
        np.testing.assert_array_equal(alone.alpha_, fitted.alpha_[chosen])
        np.testing.assert_allclose(alone.coef_, fitted.coef_[:, chosen], atol=1e-4)


def test_neighbours_stay_on_the_simplex_and_move_one_band() -> None:
    gammas = np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
    found = neighbours(gammas, 1.0)
    assert found.shape == (12, 3)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    assert np.all(found > -1e-12)
    odds = found[0, 0] / (1 - found[0, 0])
    assert odds == pytest.approx(0.25 * np.exp(-1.0))
    assert found[0, 1] / found[0, 2] == pytest.approx(0.6)


def test_unique_variance_comes_with_the_search() -> None:
    generator = np.random.default_rng(4)
    Xs = [generator.normal(size=(300, 10)).astype(np.float32) for _ in range(2)]
    Y = Xs[0] @ generator.normal(size=(10, 40)) + generator.normal(size=(300, 40)) * 2.0
    Y[:, 20:] += Xs[1] @ generator.normal(size=(10, 20))
    fitted = Banded(device="numpy").fit(Xs, Y.astype(np.float32))
    alone = Ridge(device="numpy").fit(Xs[0], Y.astype(np.float32))
    np.testing.assert_allclose(fitted.cv_scores_without_[1], alone.cv_scores_, atol=5e-3)
    unique = fitted.cv_scores_ - fitted.cv_scores_without_[1]
    assert unique[:20].max() < 0.05 < unique[20:].min()
    assert np.all(fitted.cv_scores_without_[0, :20] < 0.05)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("device", ["numpy", "cpu"])
@pytest.mark.parametrize("score", ["r2", "correlation"])
def test_solvers_agree_in_every_precision(score: str, device: str, dtype: type) -> None:
    generator = np.random.default_rng(5)
    X = generator.normal(size=(160, 25)).astype(dtype)
    Y = X @ generator.normal(size=(25, 400)) * generator.random(400) + 5 * generator.normal(size=(160, 400))
    Y = Y.astype(dtype)
    one, other = (Ridge(solver=s, cv_score=score, device=device).fit(X, Y) for s in ("exact", "himalaya"))
    np.testing.assert_allclose(one.cv_scores_, other.cv_scores_, atol=1e-5)
    same = one.alpha_ == other.alpha_
    # A correlation hardly changes along the largest penalties: equal scores, and rounding picks one.
    assert same.mean() >= (0.99 if score == "r2" else 0.95)
    np.testing.assert_allclose(one.coef_[:, same], other.coef_[:, same], atol=1e-4)
