"""Representational similarity: how well two representational dissimilarity matrices (RDMs) agree, and by what chance.

An RDM is a condensed vector, (n_samples (n_samples - 1) / 2,), pairs in the order of scipy's pdist (Kriegeskorte, Mur
& Bandettini 2008, doi:10.3389/neuro.06.004.2008); `rdm` makes it. Agreement is a correlation over pairs. Pairs that
share a sample depend on each other, so samples, not pairs, are the unit of the permutation test, and the spread over
subjects that of the noise ceiling (Nili et al. 2014, doi:10.1371/journal.pcbi.1003553).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from brainenc.core.types import DataError
from brainenc.stats.dissimilarity import crossvalidated_rdm, rdm
from brainenc.stats.ranks import as_vector, midranks, spearman

__all__ = ["RsaCeiling", "RsaTest", "crossvalidated_rdm", "noise_ceiling", "permutation_test", "rdm", "rsa"]

METHODS = ("spearman", "pearson", "kendall")
TIE = 1e-6
"""Rounding allowance of float32 sums in units of a correlation: ties count as reached."""


def rsa(rdm_a: Any, rdm_b: Any, method: str = "spearman") -> float:
    """Return the correlation of two RDMs over pairs of samples; NaN if either is constant.

    Parameters
    ----------
    rdm_a, rdm_b : (n_pairs,) condensed, over the same samples in the same order.
    method : "spearman" (see `ranks.spearman`), "pearson" or "kendall" (tau-b, which is slow for many pairs).

    Raises
    ------
    DataError
        Unknown method, different lengths, a length that is no number of pairs, or a value that is not finite.
    """
    _check_method(method)
    (a, b), _ = _as_rdms([rdm_a, rdm_b])
    return _agreement(a, b, method)


@dataclass(frozen=True)
class RsaTest:
    """Agreement of two RDMs and its chance.

    Attributes
    ----------
    score : correlation over pairs.
    p : one-sided, (1 + permutations that reach the score) / (1 + permutations); NaN if the score is undefined.
    null : (n_permutations,) scores of the permuted samples.
    method : how scores are computed.
    """

    score: float
    p: float
    null: np.ndarray
    method: str


def permutation_test(
    rdm_a: Any, rdm_b: Any, n_permutations: int = 1000, seed: int = 0, method: str = "spearman"
) -> RsaTest:
    """Test the agreement of two RDMs by permuting samples, rows and columns together.

    Pairs that share a sample are dependent, so permuting pairs would reject far too often (Mantel 1967; Nili et al.
    2014, doi:10.1371/journal.pcbi.1003553). Ranks do not change under this permutation: they are computed once.

    Parameters
    ----------
    rdm_a, rdm_b : (n_pairs,) condensed
    n_permutations : int
        The smallest p-value is 1 / (1 + n_permutations).
    seed : int
    method : "spearman", "pearson" or "kendall"

    Raises
    ------
    DataError
        As `rsa`, or n_permutations < 1.
    """
    _check_method(method)
    if n_permutations < 1:
        raise DataError(f"n_permutations is {n_permutations} but must be at least 1; 1000 is usual.")
    (a, b), n_samples = _as_rdms([rdm_a, rdm_b])
    score = _agreement(a, b, method)
    generator = np.random.default_rng(seed)
    orders = (generator.permutation(n_samples) for _ in range(n_permutations))
    if np.isnan(score):
        return RsaTest(score, float("nan"), np.full(n_permutations, np.nan), method)
    if method == "kendall":
        square = _square(b, n_samples)
        upper = np.triu_indices(n_samples, 1)
        reached = score
        null = np.array([_agreement(a, square[np.ix_(order, order)][upper], method) for order in orders])
    else:
        if method == "spearman":
            a, b = midranks(a), midranks(b)
        first, second = (_square(_standardised(x), n_samples).astype(np.float32) for x in (a, b))
        reached = _permuted_product(first, second, np.arange(n_samples))
        null = np.array([_permuted_product(first, second, order) for order in orders])
    return RsaTest(score, float((1 + np.sum(null >= reached - TIE)) / (1 + n_permutations)), null, method)


@dataclass(frozen=True)
class RsaCeiling:
    """Range in which the mean agreement of the true model with the subjects' RDMs lies (Nili et al. 2014).

    Attributes
    ----------
    lower : mean over subjects of the agreement with the mean RDM of the others.
    upper : the same with the mean RDM of all subjects, the subject included.
    n_subjects, method : what was compared, and how.
    """

    lower: float
    upper: float
    n_subjects: int
    method: str


def noise_ceiling(rdms: Any, method: str = "spearman") -> RsaCeiling:
    """Bound the best mean agreement with the RDMs of several subjects (doi:10.1371/journal.pcbi.1003553).

    Every RDM is standardised (after ranking it, unless ``method`` is "pearson") before averaging. For "spearman" the
    upper bound compares ranks with their unranked mean, which no model can exceed, one with ties included. For
    "kendall" it is the score of the mean ranks, which comes close to the maximum.

    Parameters
    ----------
    rdms : sequence of (n_pairs,) condensed, one per subject, same samples in the same order.

    Raises
    ------
    DataError
        Fewer than two subjects, a constant RDM, or as `rsa`.
    """
    _check_method(method)
    vectors, _ = _as_rdms(list(rdms))
    if len(vectors) < 2:
        raise DataError(f"{len(vectors)} RDM came but a noise ceiling needs two or more; pass one per subject.")
    flat = [i for i, vector in enumerate(vectors) if np.ptp(vector) == 0]
    if flat:
        raise DataError(f"RDM {flat[0]} is constant, so nothing correlates with it; leave that subject out.")
    standard = [_standardised(v if method == "pearson" else midranks(v)) for v in vectors]
    total = np.sum(standard, axis=0)
    lower = [_agreement(v, total - z, method) for v, z in zip(vectors, standard, strict=True)]
    if method != "kendall":
        upper = [_agreement(z, total, "pearson") for z in standard]
    else:
        upper = [_agreement(v, total, method) for v in vectors]
    return RsaCeiling(float(np.mean(lower)), float(np.mean(upper)), len(vectors), method)


def _check_method(method: str) -> None:
    if method not in METHODS:
        raise DataError(f"method is {method!r} but must be one of {', '.join(map(repr, METHODS))}.")


def _as_rdms(rdms: list[Any]) -> tuple[list[np.ndarray], int]:
    """Return finite condensed vectors of one length and the number of samples, or raise DataError."""
    vectors = [as_vector(x, f"RDM {i}") for i, x in enumerate(rdms)]
    lengths = sorted({x.size for x in vectors})
    if len(lengths) != 1:
        raise DataError(f"the RDMs have {lengths} pairs but must have the same; compute them over the same samples.")
    n_samples = int((1 + np.sqrt(1 + 8 * lengths[0])) / 2 + 0.5)
    if n_samples * (n_samples - 1) // 2 != lengths[0]:
        raise DataError(f"an RDM has {lengths[0]} values, which is no n (n - 1) / 2; pass the condensed vector of rdm.")
    return [np.asarray(x, dtype=np.float64) for x in vectors], n_samples


def _agreement(a: np.ndarray, b: np.ndarray, method: str) -> float:
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    if method == "spearman":
        return spearman(a, b)
    if method == "pearson":
        return float(np.dot(_standardised(a), _standardised(b)))
    from scipy.stats import kendalltau

    return float(kendalltau(a, b).statistic)


def _standardised(x: np.ndarray) -> np.ndarray:
    """Return x minus its mean, to unit norm; its peak is scaled away first, so that nothing overflows."""
    z = x / np.abs(x).max()
    z -= z.mean()
    return np.asarray(z / np.linalg.norm(z))


def _square(condensed: np.ndarray, n_samples: int) -> np.ndarray:
    """Return the symmetric matrix with zeros on its diagonal, (n_samples, n_samples)."""
    from scipy.spatial.distance import squareform

    return np.asarray(squareform(condensed, checks=False))


def _permuted_product(first: np.ndarray, second: np.ndarray, order: np.ndarray) -> float:
    """Return half of sum_ij first_ij second_order(i)order(j), summed in float64 over blocks of rows."""
    total = 0.0
    for start in range(0, order.size, 64):
        rows = slice(start, start + 64)
        total += float(np.vdot(first[rows], second[order[rows]].take(order, axis=1)))
    return total / 2
