"""Counts of multiplications and additions that decide which of several exact forms is the cheapest.

A matrix product (a, b) @ (b, c) counts ``2 a b c``; an eigendecomposition of size n counts ``9 n^3``; float64 counts
double.
"""

from __future__ import annotations

EIGH = 9.0
FLOAT64 = 2.0


def search_flops(n: int, p: int, t: int, n_validation: list[int], n_alphas: int, primal: bool) -> float:
    """Return the operations of a cross-validated search over penalties, the refit included.

    Parameters
    ----------
    n, p, t : samples, features (with weight), targets.
    n_validation : validation rows of each fold.
    primal : on features, or on the kernel.
    """
    plan, stream = 0.0, 0.0
    for n_v in n_validation:
        size = min(p, n - n_v) if primal else n - n_v
        k = min(p, n - n_v)
        plan += EIGH * size**3 + 2.0 * n_v * (p if primal else n - n_v) * k + 2.0 * n_v * k * k
        seen = min(n_v, p) if primal else n_v
        bend = min(2.0 * k * k, 2.0 * n_v * k * (n_alphas - 1.0))
        stream += 2.0 * k * (p if primal else n - n_v) + 2.0 * k * seen + bend + 4.0 * k * n_alphas
    if primal:
        plan += 2.0 * n * p * p + EIGH * p**3
        stream += 2.0 * n * p + 4.0 * p * p
    else:
        plan += 2.0 * n * n * p + EIGH * n**3
        stream += 2.0 * n * n + 2.0 * n * p
    return FLOAT64 * plan + stream * t


def is_primal(n: int, p: int, t: int, n_validation: list[int], n_alphas: int) -> bool:
    """Say whether features take fewer operations than the kernel."""
    cost = [search_flops(n, p, t, n_validation, n_alphas, primal) for primal in (True, False)]
    return cost[0] <= cost[1]


def is_direct(n_alphas: int, n_validation: int, rank: int, n_seen: int) -> bool:
    """Say whether predicting the validation rows with every penalty beats collapsing the penalties.

    Per target: ``2 n_alphas n_validation rank`` against ``2 rank^2`` for N z and ``2 rank n_seen`` for q.
    """
    return n_alphas * n_validation < rank + n_seen
