"""Alpha honesty: edges are reported, the grid is extended once, and a warning names the cure."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from brainenc.encoders.alphas import (
    EDGE_TOLERANCE,
    AlphaEdgeWarning,
    automatic_grid,
    edges_to_extend,
    extension,
    given_grid,
)
from brainenc.encoders.ridge import Ridge

P = 150
TOO_LOW, TOO_HIGH = np.logspace(-1, 0, 4).tolist(), np.logspace(4, 5, 4).tolist()
FAR_TOO_LOW, FAR_TOO_HIGH = np.logspace(-8, -7, 4).tolist(), np.logspace(9, 10, 4).tolist()


def planted(share=0.3, n=200, p=P, t=60, seed=0):
    """Independent features that explain ``share`` of the variance: the best alpha is p (1 - share) / share."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p))
    W = rng.standard_normal((p, t)) * np.sqrt(share / p)
    return X, X @ W + rng.standard_normal((n, t)) * np.sqrt(1 - share), W


def fitted(X, Y, **arguments):
    """Return the encoder and the sentences of its `AlphaEdgeWarning`s."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        encoder = Ridge(**arguments).fit(X, Y)
    return encoder, [str(w.message) for w in caught if issubclass(w.category, AlphaEdgeWarning)]


def is_honest(encoder):
    """No more than the tolerated share of the targets at stake sits at the edge."""
    return max(encoder.alpha_edges_["lower_at_stake"], encoder.alpha_edges_["upper_at_stake"]) <= EDGE_TOLERANCE


def test_the_automatic_grid_follows_its_formula_and_holds_the_best_alpha():
    np.testing.assert_allclose(automatic_grid(3000.0, 200, 7), 15.0 * np.logspace(-2, 4, 7), rtol=1e-6)
    for share in (0.1, 0.3, 0.8):
        X, Y, _ = planted(share, n=400, t=30)
        encoder, messages = fitted(X, Y, n_alphas=13)
        best = P * (1 - share) / share
        assert abs(np.median(np.log10(encoder.alpha_)) - np.log10(best)) < 0.6
        assert is_honest(encoder) and not messages and len(encoder.alphas_) == 13


@pytest.mark.parametrize("alphas", [TOO_LOW, TOO_HIGH])
def test_the_extension_finds_an_alpha_outside_the_grid_and_its_absence_is_loud(alphas):
    X, Y, W = planted(0.6)
    extended, messages = fitted(X, Y, alphas=alphas)
    stuck, warned = fitted(X, Y, alphas=alphas, extend=False)
    assert is_honest(extended) and not messages
    assert not is_honest(stuck) or stuck.alpha_edges_["lower"] > 0.9
    assert set(np.float32(alphas)) < set(extended.alphas_.astype(np.float32))
    np.testing.assert_array_equal(stuck.alphas_, given_grid(alphas))
    assert extended.cv_scores_.mean() > stuck.cv_scores_.mean() + 0.02
    error = [np.abs(encoder.coef_ - W).mean() for encoder in (extended, stuck)]
    assert error[0] < error[1]
    if alphas is TOO_LOW:
        assert len(warned) == 1 and "largest penalty tried, 1 " in warned[0] and "extend=True" in warned[0]


@pytest.mark.parametrize(("alphas", "words"), [(FAR_TOO_LOW, "largest"), (FAR_TOO_HIGH, "exceeds the features' sum")])
def test_a_grid_beyond_one_extension_is_reported_with_its_cure(alphas, words):
    encoder, messages = fitted(*planted(0.3)[:2], alphas=alphas)
    assert len(encoder.alphas_) > len(alphas)
    assert len(messages) == 1 and words in messages[0]
    assert "pass alphas that reach beyond" in messages[0]


def test_overfitted_targets_count_though_none_is_predicted():
    """A penalty far too small gives r2 well below 0: no target looks predictable, yet the grid is wrong."""
    X, Y, _ = planted(0.05, n=170)
    stuck, messages = fitted(X, Y, alphas=TOO_LOW, extend=False)
    assert stuck.cv_scores_.max() < 0 and stuck.alpha_edges_["n_at_stake"] > 50 and messages
    extended, _ = fitted(X, Y, alphas=TOO_LOW)
    assert extended.cv_scores_.mean() > -0.05 > stuck.cv_scores_.mean()


def test_pure_noise_at_the_upper_edge_is_reported_but_no_alarm():
    rng = np.random.default_rng(1)
    X, Y = rng.standard_normal((200, 30)), rng.standard_normal((200, 400))
    encoder, messages = fitted(X, Y)
    assert encoder.alpha_edges_["upper"] > 0.3 and encoder.alpha_edges_["n_at_stake"] < 4
    assert not messages and len(encoder.alphas_) == 10
    naive = dict(encoder.alpha_edges_, upper_at_stake=encoder.alpha_edges_["upper"])
    assert edges_to_extend(naive) == ["upper"], "judging all targets alike would have raised the alarm"


def test_least_squares_as_the_best_answer_is_no_alarm():
    """Many samples, few features: the score is flat towards the lower edge, where targets rightly lie."""
    rng = np.random.default_rng(2)
    X = rng.standard_normal((600, 5))
    Y = X @ rng.standard_normal((5, 80)) + 0.02 * rng.standard_normal((600, 80))
    encoder, messages = fitted(X, Y)
    assert encoder.alpha_edges_["lower_at_stake"] > EDGE_TOLERANCE, "the bare share would have raised the alarm"
    assert encoder.alpha_edges_["lower_rising"] == 0.0 and not messages


def test_a_correlation_at_its_limit_is_no_alarm_but_a_low_upper_edge_is():
    """One strong direction carries the signal: the correlation grows with alpha up to its limit."""
    rng = np.random.default_rng(3)
    factor = rng.standard_normal((200, 1))
    X = factor + 0.7 * rng.standard_normal((200, 80))
    Y = factor @ rng.standard_normal((1, 60)) + rng.standard_normal((200, 60))
    encoder, messages = fitted(X, Y, cv_score="correlation")
    assert encoder.alpha_edges_["upper_at_stake"] > EDGE_TOLERANCE, "the bare share would have raised the alarm"
    assert len(encoder.alphas_) == 10 and not messages
    _, messages = fitted(X, Y, cv_score="correlation", alphas=TOO_LOW, extend=False)
    assert len(messages) == 1 and "largest penalty" in messages[0]


def test_shares_are_what_they_say():
    X, Y, _ = planted(0.6)
    encoder, _ = fitted(X, Y, alphas=TOO_LOW, extend=False)
    assert encoder.alpha_edges_["upper"] == np.mean(encoder.alpha_ == encoder.alphas_[-1])
    assert encoder.alpha_edges_["lower"] == np.mean(encoder.alpha_ == encoder.alphas_[0])
    assert encoder.alpha_edges_["n_targets"] == 60


def test_a_single_penalty_has_no_edges():
    encoder, messages = fitted(*planted()[:2], alphas=[100.0])
    assert np.isnan(encoder.alpha_edges_["upper"]) and not messages and (encoder.alpha_ == 100.0).all()


def test_an_extension_keeps_the_step_and_reaches_three_decades():
    grid = given_grid([100.0, 1.0, 10.0, 10.0])
    np.testing.assert_allclose(extension(grid, "lower"), [1e-3, 1e-2, 1e-1], rtol=1e-6)
    np.testing.assert_allclose(extension(grid, "upper"), [1e3, 1e4, 1e5], rtol=1e-6)
    assert len(extension(given_grid([1.0, 1e4]), "upper")) == 1
