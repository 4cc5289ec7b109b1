"""What a fit is said to take: more of anything never takes less, and blocks are as wide as they will be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainenc.encoders.compute import Compute
from brainenc.encoders.design import Design
from brainenc.encoders.exact import Exact
from brainenc.encoders.exact_plan import FoldPlan
from brainenc.encoders.flops import is_primal, search_flops
from brainenc.encoders.footprint import Candidate, footprint
from brainenc.encoders.refit import Coefficients, Shared
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
        # Where more targets make features cheaper than the kernel, other tables are held.
        same = is_primal(n, p, t, [n // 5] * 5, 18) == is_primal(n, p, 2 * t, [n // 5] * 5, 18)
        assert other.ram_bytes >= (1.0 if same else 0.98) * one.ram_bytes
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


def distinct_bytes(tables: list[np.ndarray | None]) -> int:
    """Bytes of arrays, those that share memory counted once."""
    owners = {}
    for table in tables:
        if table is not None:
            owner = table if table.base is None else table.base
            owners[id(owner)] = owner.nbytes
    return sum(owners.values())


def drawn_design(n: int, p: int) -> Design:
    X = np.random.default_rng(0).normal(size=(n, p)) * np.arange(1, p + 1) ** -0.3
    return Design.learn([X.astype(np.float32)], np.arange(n), True)


@pytest.mark.parametrize("cv_score", ["r2", "correlation"])
@pytest.mark.parametrize(("n", "p", "n_alphas"), [(400, 60, 10), (400, 150, 10), (200, 500, 10), (500, 400, 2)])
def test_tables_are_counted_as_a_plan_holds_them(n: int, p: int, n_alphas: int, cv_score: str) -> None:
    """Features with many and with few validation rows, kernels, and so few penalties that each predicts."""
    design, rows = drawn_design(n, p), np.arange(n)
    folds = [(np.setdiff1d(rows, part), part) for part in np.split(rows, 5)]
    alphas = np.logspace(0, 4, n_alphas) * n
    made = Exact(design, folds, np.ones((1, 1)), alphas, cv_score, Compute("numpy"), 5000)
    names = [name for name in FoldPlan.__dataclass_fields__ if name not in ("rows", "first", "second")]
    held = [[v for v in (getattr(plan, name) for name in names) if isinstance(v, np.ndarray)] for plan in made.plans[0]]
    counted = Candidate.of(n, p, 5000, [n // 5] * 5, n_alphas, cv_score)
    assert counted.primal == made.is_primal
    bytes_held = sum(map(distinct_bytes, held))
    assert bytes_held == pytest.approx(counted.tables, rel=0.1)
    # One fold forgotten is seen.
    assert sum(map(distinct_bytes, held[1:])) != pytest.approx(counted.tables, rel=0.1)


@pytest.mark.parametrize(("n", "p"), [(300, 100), (100, 300)])
def test_a_refit_is_counted_as_it_is_held(n: int, p: int) -> None:
    design, compute = drawn_design(n, p), Compute("numpy")
    solver = Coefficients(design, np.ones(1), compute, Shared.make(design, compute, primal=p <= n))
    held = distinct_bytes([solver._vectors, *solver._single])
    assert held == pytest.approx(Candidate.of(n, p, 5000, [n // 5] * 5, 10, "r2").refit, rel=0.05)


def test_candidates_without_a_band_take_less_and_further_rounds_take_more() -> None:
    common = {"n_samples": 2000, "band_sizes": [256] * 3, "n_targets": 20_000}
    full = footprint(**common, n_gammas=9)
    corners = footprint(**common, rounds=[[768] * 3 + [256] * 3 + [512] * 3])
    refined = footprint(**common, rounds=[[768] * 9, [768] * 30])
    assert footprint(**common, rounds=[[768] * 9]) == full
    assert corners.ram_bytes < full.ram_bytes < refined.ram_bytes
    assert corners.flops32 < full.flops32 < refined.flops32
