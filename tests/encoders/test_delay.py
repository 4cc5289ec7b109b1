"""Delayer: equals the slow loop, never crosses a border of runs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainenc.core.types import DataError
from brainenc.encoders.delay import Delayer
from brainenc.world.movies import haemodynamic_weights, respond
from tests.reference import delayed


@st.composite
def series(draw):
    lengths = draw(st.lists(st.integers(1, 7), min_size=1, max_size=4))
    runs = np.repeat(np.arange(len(lengths))[::-1], lengths)
    delays = draw(st.lists(st.integers(-5, 9), min_size=1, max_size=4, unique=True))
    X = np.random.default_rng(draw(st.integers(0, 99))).standard_normal((len(runs), draw(st.integers(1, 3))))
    return X, runs, delays


@given(series())
@settings(max_examples=60, deadline=None)
def test_delays_equal_the_slow_loop(case):
    X, runs, delays = case
    np.testing.assert_array_equal(Delayer(delays).transform(X, runs), delayed(X, runs, delays))


def crosses_a_border(transformed, runs, n_features):
    """Does any row show a feature of another run? Each feature carries the number of its own run, plus 1."""
    seen = transformed.reshape(len(runs), -1, n_features)
    return bool(np.any((seen != 0) & (seen != runs[:, None, None] + 1)))


def test_no_delay_crosses_a_run_and_a_plain_shift_does():
    runs = np.repeat([0, 1, 2], [6, 4, 5])
    X = np.repeat(runs[:, None] + 1.0, 2, axis=1)
    assert not crosses_a_border(Delayer([0, 1, 2, -1]).transform(X, runs), runs, 2)
    shifted = np.concatenate([np.roll(X, 1, axis=0), np.roll(X, 2, axis=0)], axis=1)
    assert crosses_a_border(shifted, runs, 2)


def planted_series(n_targets: int = 4):
    """Three runs of two columns, and noiseless BOLD through the canonical haemodynamic response, run by run."""
    rng, lengths = np.random.default_rng(0), (60, 45, 70)
    weights, W = haemodynamic_weights(2.0), rng.standard_normal((2, n_targets))
    X = [rng.standard_normal((length, 2)) for length in lengths]
    Y = np.concatenate([respond(x @ W, weights) for x in X])
    return np.concatenate(X), np.repeat([0, 1, 2], lengths), Y, weights[:, None, None] * W


def test_planted_series_are_delays_within_runs_and_not_across():
    X, runs, Y, true = planted_series()
    delayer = Delayer(range(len(true)))
    coef = true.reshape(-1, Y.shape[1])
    np.testing.assert_allclose(delayer.transform(X, runs) @ coef, Y, atol=1e-12)
    joined = delayer.transform(X, np.zeros(len(X))) @ coef  # the broken twin lets a run see the one before it
    wrong = np.abs(joined - Y).max(axis=1) > 0.05
    starts = np.flatnonzero(np.diff(runs)) + 1
    assert wrong[starts + 1].all() and not wrong[: starts[0]].any()


def test_coefficients_come_back_by_delay():
    X, runs, Y, true = planted_series()
    delayer = Delayer(range(len(true)))
    coef = np.linalg.lstsq(delayer.transform(X, runs), Y, rcond=None)[0]
    np.testing.assert_allclose(delayer.split_coefficients(coef), true, atol=1e-10)
    few = Delayer([3, 1])  # by delay, in the order asked for
    np.testing.assert_array_equal(
        few.transform(X, runs) @ true[[3, 1]].reshape(4, -1),
        np.hstack([delayed(X, runs, [3]), delayed(X, runs, [1])]) @ np.vstack([true[3], true[1]]),
    )


def test_further_axes_are_flattened_and_dtype_and_input_are_kept():
    X = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
    before = X.copy()
    out = Delayer([0, 1]).transform(X, [0, 0, 0, 0])
    assert out.shape == (4, 12) and out.dtype == np.float32
    np.testing.assert_array_equal(out[1:, 6:], X.reshape(4, 6)[:-1])
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize(
    ("delays", "runs", "words"),
    [
        ([], [0, 0], "whole samples"),
        ([1.5], [0, 0], "divide seconds by tr"),
        ([1, 1], [0, 0], "each delay once"),
        ([1], [0], "run of every row"),
    ],
)
def test_bad_delays_and_runs_are_refused(delays, runs, words):
    with pytest.raises(DataError, match=words):
        Delayer(delays).transform(np.ones((2, 1)), runs)


def test_interleaved_runs_are_refused():
    with pytest.raises(DataError, match="sort the rows"):
        Delayer([1]).transform(np.ones((4, 1)), [0, 1, 0, 1])


def test_coefficients_of_another_shape_are_refused():
    with pytest.raises(DataError, match="fitted on these delays"):
        Delayer([0, 1]).split_coefficients(np.ones((3, 1)))
