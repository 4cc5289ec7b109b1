"""How much memory and arithmetic a linear encoder's fit takes, from shapes alone.

The terms follow the code that allocates them: `design` and `exact_factors` (samples x features, features x features),
`targets` (blocks of responses), `exact` (buffers of a block), `search` (a few numbers a target). Memory is the largest
of the phases, each the sum of what is alive in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from brainenc.encoders.compute import SMALL
from brainenc.encoders.flops import EIGH, is_primal
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
) -> Footprint:
    """Return memory and operations of `Ridge.fit` (one candidate) or `Banded.fit` on that many training samples.

    Parameters
    ----------
    n_samples : training samples.
    band_sizes : features of each band.
    n_targets, n_folds, n_alphas, n_gammas : numbers of each.
    solver, cv_score, n_targets_batch, extend : as in `Ridge`.
    """
    n, p, t = n_samples, int(np.sum(band_sizes)), n_targets
    a = n_alphas + (2 * max(1, round(3 / 6 * (n_alphas - 1))) if extend else 0)
    tested = [n // n_folds] * n_folds
    c = min(n_targets_batch if solver == "exact" else t, max(LEAST_COLUMNS, BLOCK_VALUES // n), t)
    primal = is_primal(n, p, t, tested, a)
    n_v, n_t = tested[0], n - tested[0]
    k, size = min(p, n_t), min(p, n)
    columns = p + 1 if primal else n_t
    seen = columns if primal and n_v > k else n_v
    n_off = k if cv_score == "correlation" else 0

    # The bands, and all of them side by side.
    samples = SINGLE * n * p * 2 + (DOUBLE * p * p if primal else 0)
    tables = SINGLE * n_folds * k * (columns + seen + k + 1 + n_off) + SINGLE * n_folds * a * (4 * k + n_off)
    group = min(n_gammas, max(1, PLAN_BYTES // max(1, SINGLE * n_folds * size * (2 * size + n)))) * tables
    refit = DOUBLE * size * size + SINGLE * size * (size + p) if n_gammas == 1 else 0
    choices = N_OUTCOMES * t * DOUBLE * (5 + len(band_sizes)) + DOUBLE * 8 * t

    designing = SINGLE * n * p + DOUBLE * n * max(band_sizes) * 2.5
    if primal:
        at_once = DOUBLE * (p * p + 3 * k * k) + SINGLE * (n_v * p + k * k)
        learning = DOUBLE * p * p * n_folds + at_once * (2 if p <= SMALL else 1)
    else:
        at_once = DOUBLE * (2 * n * n_t + 5 * n_t * n_t + n_v * n_t) + SINGLE * 2 * n_t * n_t
        learning = DOUBLE * (n * p + n * n * 2) + at_once * (2 if n <= SMALL else 1)
    refitting = DOUBLE * 3 * size * size if n_gammas == 1 else 0
    # While the last fold is factorised its own tables are still to be made.
    planning = max(designing, samples + max(group - tables / n_folds + learning, group + refit + refitting))

    blocks = SINGLE * n * c * 5  # as read (two), in order (two, taking turns), squared
    products = SINGLE * (p + 1) * c * (n_folds + 2) if primal else 0
    brackets = SINGLE * c * (k + 1 + 2 * k + k // 4 + (2 * k if cv_score == "correlation" else 0) + n_v * 2)
    solved = SINGLE * c * (size * 2 + p * 3)
    kernels = 0 if primal else DOUBLE * n * n * len(band_sizes)
    streaming = kernels + samples + group + refit + choices + blocks + products + brackets + solved
    if solver != "exact":
        streaming = samples + choices + SINGLE * (n * c * 3 + a * n_v * min(n_targets_batch, t) * 3 + a * n_t * n_v)
    ram = WORKSPACE + max(planning, streaming)

    stream = 2.0 * columns * k + 2.0 * k * seen + 2.0 * k * k + 4.0 * k * a + 2.0 * k * n_off
    flops32 = t * n_gammas * n_folds * stream + (t * 2.0 * n * p if primal else 0.0)
    flops32 += t * (4.0 * p * size if primal else 2.0 * n * size + 2.0 * p * size)
    flops64 = 2.0 * n * p * min(n, p) * 2.0 + n_gammas * n_folds * (2.0 * n_v * k * ((p if primal else n_t) + k))
    eigh_flops = EIGH * (n_gammas * n_folds * float(k if primal else n_t) ** 3 + min(n_gammas, 10) * float(size) ** 3)
    passes = 1 if n_gammas == 1 else 2
    return Footprint(int(ram), int(ram), flops32, flops64, eigh_flops, passes * SINGLE * n * t, c)
