"""What a fit is said to take: more of anything never takes less, and blocks are as wide as they will be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainenc.encoders.flops import is_primal, search_flops
from brainenc.encoders.footprint import footprint
from brainenc.encoders.targets import Targets

SIZES = st.tuples(st.integers(100, 5000), st.integers(8, 3000), st.integers(100, 200_000))


@given(SIZES, st.sampled_from(["n_samples", "band_sizes", "n_targets"]))
@settings(max_examples=60, deadline=None)
def test_more_never_takes_less(sizes: tuple[int, int, int], grown: str) -> None:
    n, p, t = sizes
    small = {"n_samples": n, "band_sizes": [p], "n_targets": t}
    large = small | {grown: [2 * p] if grown == "band_sizes" else 2 * small[grown]}
    one, other = footprint(**small), footprint(**large)
    if grown == "n_targets":
        # But for a few tables where more targets make features cheaper than the kernel.
        assert other.ram_bytes >= 0.98 * one.ram_bytes
        # A choice per target, under each outcome of the grid's extension, is all that grows.
        assert other.ram_bytes - one.ram_bytes <= 400 * t + 4 * (n * 5 + p * 20 + 30 * n) * max(0, 1024 - t)
    # All operations, float64 counted double: with more features kernels may take over, which moves them to the plan.
    cost = [made.flops32 + 2.0 * (made.flops64 + made.eigh_flops) for made in (one, other)]
    assert cost[1] > 0.95 * cost[0]
    assert other.read_bytes >= one.read_bytes


@pytest.mark.parametrize(("n", "asked"), [(100, 1024), (40_000, 1024), (1_000_000, 1024), (500, 7)])
def test_blocks_are_as_wide_as_they_will_be(n: int, asked: int) -> None:
    class Shape:
        shape, dtype = (n, 3000), np.dtype("int16")

    assert footprint(n, [10], 3000, n_targets_batch=asked).width == Targets(Shape(), n).width(asked)


def test_operations_decide_between_features_and_kernels() -> None:
    assert is_primal(4000, 768, 10_000, [800] * 5, 20)
    assert not is_primal(1000, 4096, 10_000, [200] * 5, 20)
    for n, p in ((900, 300), (300, 900), (500, 500)):
        cost = {primal: search_flops(n, p, 5000, [n // 5] * 5, 20, primal) for primal in (True, False)}
        assert is_primal(n, p, 5000, [n // 5] * 5, 20) == (cost[True] <= cost[False])


def test_operations_of_products_are_counted_as_a_slow_list_does() -> None:
    n, p, t, folds, alphas = 1000, 100, 5000, 5, 20
    k = 100  # fewer than the 200 validation rows
    per_fold = [(p + 1, k), (p + 1, k), (k, k)]  # z, q through the features, N z
    slow = t * (sum(2 * a * b for a, b in per_fold) + 4 * k * alphas) * folds
    slow += t * (2 * n * p + 4 * p * p)
    found = footprint(n, [p], t, folds, alphas, extend=False)
    assert found.flops32 == pytest.approx(slow, rel=0.02)
