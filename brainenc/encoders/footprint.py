"""How much memory and arithmetic a linear encoder's fit takes, from shapes alone.

The terms follow the code that allocates them: `design` and `exact_factors` (samples x features, features x features),
`targets` (blocks of responses), `exact` (buffers of a block), `search` (a few numbers a target). Memory is the largest
of the phases, each the sum of what is alive in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from brainenc.encoders.compute import SMALL
from brainenc.encoders.flops import EIGH, is_direct, is_primal
from brainenc.encoders.solvers import PLAN_BYTES
from brainenc.encoders.targets import BLOCK_VALUES, LEAST_COLUMNS

SINGLE, DOUBLE = 4, 8
WORKSPACE = 20 * 2**20
"""What the linear algebra library keeps for itself, beyond its first small calls."""
N_OUTCOMES = 4
"""Outcomes of the grid's extension for which a choice is kept."""


@dataclass(frozen=True)
class Footprint:
    """What a fit takes.

    Attributes
    ----------
    ram_bytes : peak memory beside the interpreter, the libraries, the features as they were loaded, and what the caller
        holds of responses and coefficients.
    vram_bytes : peak memory of a GPU that does the computing.
    flops32, flops64, eigh_flops : operations of matrix products in either precision, and of eigendecompositions.
    read_bytes : responses read.
    width : targets in a block.
    """

    ram_bytes: int
    vram_bytes: int
    flops32: float
    flops64: float
    eigh_flops: float
    read_bytes: int
    width: int


@dataclass(frozen=True)
class Candidate:
    """What one candidate of band weights takes in all folds.

    Attributes
    ----------
    primal : solved on features.
    tables : bytes of its tables.
    refit : bytes of its factorisation on all training samples, as it is kept.
    stream, flops64, eigh_flops : operations: float32 of one target, float64 and eigendecompositions of its plan.
    """

    primal: bool
    tables: int
    refit: int
    stream: float
    flops64: float
    eigh_flops: float

    @classmethod
    def of(cls, n: int, p: int, t: int, tested: list[int], n_alphas: int, cv_score: str) -> Candidate:
        """Count one of ``p`` features with weight; ``tested`` are the validation samples of each fold."""
        n_folds, n_v, n_t, a = len(tested), tested[0], n - tested[0], n_alphas
        primal = is_primal(n, p, t, tested, a)
        k, size = min(p, n_t), min(p, n)
        columns = p + 1 if primal else n_t
        by_features = primal and n_v > k
        seen = columns if by_features else n_v
        n_off = k if cv_score == "correlation" else 0
        if cv_score == "r2" and is_direct(a, n_v, k, seen):  # penalties predict the validation rows
            values = k * (columns + n_v) + a * k
        else:  # r2 sees the features through the table that it learns with
            own = 0 if by_features and cv_score == "r2" else seen
            values = k * (columns + own + k + 1 + n_off) + a * (4 * k + n_off)
        return cls(
            primal,
            tables=SINGLE * n_folds * values,
            refit=DOUBLE * size * size + SINGLE * size * (size + p),
            stream=n_folds * (2.0 * columns * k + 2.0 * k * seen + 2.0 * k * k + 4.0 * k * a + 2.0 * k * n_off),
            flops64=n_folds * 2.0 * n_v * k * ((p if primal else n_t) + k),
            eigh_flops=EIGH * n_folds * float(k if primal else n_t) ** 3,
        )


def footprint(
    n_samples: int,
    band_sizes: Sequence[int],
    n_targets: int,
    n_folds: int = 5,
    n_alphas: int = 10,
    n_gammas: int = 1,
    solver: str = "exact",
    cv_score: str = "r2",
    n_targets_batch: int = 1024,
    extend: bool = True,
    rounds: Sequence[Sequence[int]] | None = None,
) -> Footprint:
    """Return memory and operations of `Ridge.fit` (one candidate) or `Banded.fit` on that many training samples.

    Parameters
    ----------
    n_samples : training samples.
    band_sizes : features of each band.
    n_targets, n_folds, n_alphas, n_gammas : numbers of each.
    solver, cv_score, n_targets_batch, extend : as in `Ridge`.
    rounds : instead of ``n_gammas``: features with weight in each candidate, one list for each round of the search; by
        default a single round in which every candidate gives weight to all.
    """
    n, p, t = n_samples, int(np.sum(band_sizes)), n_targets
    rounds = [[p] * n_gammas] if rounds is None else rounds
    a = n_alphas + (2 * max(1, round(3 / 6 * (n_alphas - 1))) if extend else 0)
    tested = [n // n_folds] * n_folds
    n_v, n_t = tested[0], n - tested[0]
    c = min(n_targets_batch if solver == "exact" else t, max(LEAST_COLUMNS, BLOCK_VALUES // n), t)
    of = {q: Candidate.of(n, q, t, tested, a, cv_score) for q in {*(q for sizes in rounds for q in sizes), p}}
    every = [of[q] for sizes in rounds for q in sizes]
    primal, dual = any(made.primal for made in every), not all(made.primal for made in every)
    k, size = min(p, n_t), min(p, n)

    # The bands, and all of them side by side. The tables of one group are there until those of the next are made.
    side_by_side = SINGLE * n * p + (DOUBLE * p * p if primal else 0)
    samples = SINGLE * n * p + side_by_side
    n_group = max(1, PLAN_BYTES // max(1, SINGLE * n_folds * size * (2 * size + n)))
    groups = [sizes[i : i + n_group] for sizes in rounds for i in range(0, len(sizes), n_group)]
    tables = [sum(of[q].tables for q in group) for group in groups]
    last = min(of[group[-1]].tables for group in groups) / n_folds  # to be made while its fold is factorised
    choices = N_OUTCOMES * t * DOUBLE * (5 + len(band_sizes)) + DOUBLE * 8 * t

    designing = SINGLE * n * p + DOUBLE * n * max(band_sizes) * 2.5
    learning = 0.0
    if primal:
        at_once = DOUBLE * (p * p + 3 * k * k) + SINGLE * (n_v * p + k * k)
        learning = DOUBLE * p * p * n_folds + at_once * (2 if p <= SMALL else 1)
    if dual:
        at_once = DOUBLE * (2 * n * n_t + 5 * n_t * n_t + n_v * n_t) + SINGLE * 2 * n_t * n_t
        learning = max(learning, DOUBLE * (n * p + n * n * 2) + at_once * (2 if n <= SMALL else 1))
    factorising = DOUBLE * 3 * size * size

    blocks = SINGLE * n * c * 5  # as read (two), in order (two, taking turns), squared
    products = SINGLE * (p + 1) * c * (n_folds + 2) if primal else 0
    brackets = SINGLE * c * (k + 1 + 2 * k + k // 4 + (2 * k if cv_score == "correlation" else 0) + n_v * 2)
    solved = SINGLE * c * (size * 2 + p * 3)
    kernels = DOUBLE * n * n * len(band_sizes) if dual else 0

    beside = every[0].refit if len(every) == 1 else 0  # a single candidate is refitted in the same pass
    planning = max(designing, samples + tables[0] - last + learning)
    for before, following in pairwise(tables):
        planning = max(planning, samples + side_by_side + before + following - last + learning + products + brackets)
    streaming = kernels + samples + max(tables) + choices + blocks + products + brackets + solved
    if beside:
        planning = max(planning, samples + tables[0] + beside + factorising)
        streaming += beside
    else:  # in a pass of its own; every candidate may win some targets
        refits = sum(made.refit for made in every) + factorising
        streaming = max(streaming, kernels + samples + refits + choices + blocks + SINGLE * p * c + solved)
    if solver != "exact":
        streaming = samples + choices + SINGLE * (n * c * 3 + a * n_v * min(n_targets_batch, t) * 3 + a * n_t * n_v)
    ram = WORKSPACE + max(planning, streaming)

    flops32 = t * sum(made.stream for made in every) + (t * 2.0 * n * p if primal else 0.0)
    flops32 += t * (4.0 * p * size if primal else 2.0 * n * size + 2.0 * p * size)
    flops64 = 2.0 * n * p * min(n, p) * 2.0 + sum(made.flops64 for made in every)
    eigh_flops = sum(made.eigh_flops for made in every) + EIGH * min(len(every), 10) * float(size) ** 3
    passes = 1 if len(every) == 1 else 2
    return Footprint(int(ram), int(ram), flops32, flops64, eigh_flops, passes * SINGLE * n * t, c)
