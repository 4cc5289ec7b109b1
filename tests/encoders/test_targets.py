"""Blocks of responses: standardised as slowly and obviously, whatever their unit, offset, type and gaps."""

from __future__ import annotations

import numpy as np
import pytest

from brainenc.core.types import DataError
from brainenc.encoders.compute import Compute
from brainenc.encoders.targets import Targets


def blocks_of(targets: Targets, device: str = "numpy", width: int = 7) -> np.ndarray:
    parts = [np.array(y) for _, y in targets.blocks(width, Compute(device))]
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize("device", ["numpy", "cpu"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
@pytest.mark.parametrize(("unit", "offset"), [(1.0, 0.0), (300.0, 12000.0), (1e-6, 0.0), (1e-13, 3e-13), (50.0, -1e4)])
def test_standardised_like_the_slow_way(dtype: str, unit: float, offset: float, device: str) -> None:
    if dtype == "int16" and unit < 1:
        pytest.skip("whole numbers hold no such unit")
    Y = (np.random.default_rng(0).normal(size=(90, 20)) * unit + offset).astype(dtype)
    targets = Targets(Y, 90)
    found = blocks_of(targets, device)
    slow = Y.astype(float)
    np.testing.assert_allclose(found, (slow - slow.mean(0)) / slow.std(0), atol=1e-5)
    np.testing.assert_allclose(targets.mean, slow.mean(0), rtol=1e-6, atol=unit * 1e-6)
    np.testing.assert_allclose(targets.scale, slow.std(0), rtol=1e-5)


@pytest.mark.parametrize("device", ["numpy", "cpu"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_targets_that_cannot_be_fitted_are_zero_and_without_mean(dtype: str, device: str) -> None:
    Y = np.random.default_rng(1).normal(size=(50, 6)).astype(dtype)
    Y[3, 1], Y[:, 2], Y[0, 4] = np.nan, 0.1, np.inf
    targets = Targets(Y, 50)
    found = blocks_of(targets, device)
    np.testing.assert_array_equal(np.isnan(targets.mean), [False, True, True, False, True, False])
    assert np.all(found[:, [1, 2, 4]] == 0) and np.isfinite(found).all()


def test_a_single_spike_varies_and_rounding_does_not() -> None:
    Y = np.zeros((400, 2), np.float32)
    Y[7, 0], Y[:, 1] = 1.0, np.float32(1000.1)
    Y[9, 1] = np.nextafter(np.float32(1000.1), np.float32(2000))
    targets = Targets(Y, 400)
    blocks_of(targets)
    np.testing.assert_array_equal(np.isnan(targets.mean), [False, True])


def test_empty_rows_are_left_out_and_order_is_kept() -> None:
    Y = np.random.default_rng(2).normal(size=(30, 1100)).astype(np.float32)
    Y[4], Y[20] = np.nan, np.nan
    Y[9, :900] = np.nan  # not empty: its last targets are known
    targets = Targets(Y, 30)
    np.testing.assert_array_equal(np.flatnonzero(~targets.rows), [4, 20])
    targets.order = targets.order[::-1]
    found = blocks_of(targets, width=1000)
    slow = Y[targets.order].astype(float)[:, 900:]
    np.testing.assert_allclose(found[:, 900:], (slow - slow.mean(0)) / slow.std(0), atol=1e-5)


def test_places_share_all_blocks_between_them() -> None:
    Y = np.random.default_rng(3).normal(size=(20, 100)).astype(np.float32)
    targets = Targets(Y, 20)
    seen = [c.start for k in range(3) for c, _ in targets.blocks(16, Compute("numpy"), turn=(k, 3))]
    assert sorted(seen) == list(range(0, 100, 16))
    wanted = np.zeros(100, bool)
    wanted[50] = True
    assert [c.start for c, _ in targets.blocks(16, Compute("numpy"), wanted)] == [48]


@pytest.mark.parametrize(
    ("Y", "match"),
    [
        (np.zeros(5), "wanted \\(n_samples, n_targets\\)"),
        (np.array([["a"]] * 5), "wanted numbers"),
        (np.zeros((4, 2)), "align them by stimulus id"),
        (np.full((5, 2), np.nan), "rows with finite values"),
    ],
)
def test_bad_responses(Y: np.ndarray, match: str) -> None:
    with pytest.raises(DataError, match=match):
        Targets(Y, 5)
