"""Which stimulus was seen? Measured patterns over targets matched to predicted ones.

    r_ic = Pearson's r over targets of measured row i and candidate c,    rank_i = 1 + number of c with r_ic > r_i,own

In each fold the predictions of a label (a stimulus or a category) are averaged into one candidate, and every measured
row is compared with all candidates of its fold (Haxby et al. 2001, doi:10.1126/science.1063736; Kay et al. 2008,
doi:10.1038/nature06713). Patterns may be wider than memory: means, norms and products are sums over chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from brainenc.core.types import DataError
from brainenc.stats.checks import as_folds, as_labels, as_pair, names_of
from brainenc.stats.chunks import read_chunk, target_chunks

KEPT_BYTES = 128 * 2**20
"""Bytes of patterns that are kept in memory; wider ones are read three times."""


@dataclass(frozen=True)
class Identification:
    """Which stimulus was seen, judged from predicted patterns.

    Attributes
    ----------
    top1 : float
        Share of samples whose own candidate correlates best (ties count by the chance of breaking them rightly).
    pairwise : float
        Expected share of wrong candidates beaten by the right one; chance .5.
    rank : (n_samples,) float
        Rank of the right candidate among its fold's, 1 is best, ties at their middle; NaN for untested samples.
    n_candidates : (n_samples,) int
        Candidates in the sample's fold; 0 for untested samples.
    chance : float
        Expected top1 without any information: mean of 1 / n_candidates.
    n_targets : int
        Targets used: those finite in every tested sample.
    """

    top1: float
    pairwise: float
    rank: np.ndarray
    n_candidates: np.ndarray
    chance: float
    n_targets: int


def identification(Y: Any, Y_hat: Any, labels: Any, test_fold: Any = None, targets: Any = None) -> Identification:
    """Identify each measured pattern by the predicted pattern with which it correlates best over targets.

    Patterns are compared as they come: clean or centre them before.

    Parameters
    ----------
    Y, Y_hat : (n_samples, n_targets)
    labels : (n_samples,)
        What each row shows.
    test_fold : (n_samples,) int or None
        None: all rows are one fold.
    targets : (n_targets,) bool or None
        Targets that make up a pattern; None: all of them.

    Raises
    ------
    DataError
        If a fold holds fewer than two labels, fewer than two targets are finite, or a pattern is constant.
    """
    Y, Y_hat = as_pair(Y, Y_hat)
    labels = as_labels(labels, Y.shape[0], "labels")
    folds = as_folds(test_fold, Y.shape[0], n_least=2)
    tested = np.sort(np.concatenate(folds))
    patterns = _Patterns(Y, Y_hat, tested, np.ones(Y.shape[1], bool) if targets is None else np.asarray(targets))
    rank, n_candidates = np.full(Y.shape[0], np.nan), np.zeros(Y.shape[0], dtype=int)
    first = np.full(Y.shape[0], np.nan)
    for rows in folds:
        kinds, own = np.unique(labels[rows], return_inverse=True)
        if kinds.size < 2:
            raise DataError(f"a fold holds only {names_of(kinds)} but identification needs at least two candidates.")
        above, ties = _beaten_by(_similarity(patterns.fold(np.searchsorted(tested, rows), own), rows.size), own)
        rank[rows], n_candidates[rows] = 1 + above + ties / 2, kinds.size
        first[rows] = (above == 0) / (1 + ties)
    n = n_candidates[tested]
    return Identification(
        top1=float(first[tested].mean()),
        pairwise=float(((n - rank[tested]) / (n - 1)).mean()),
        rank=rank,
        n_candidates=n_candidates,
        chance=float((1 / n).mean()),
        n_targets=patterns.n_targets,
    )


Blocks = Callable[[], Iterator[np.ndarray]]


class _Patterns:
    """Measured and predicted patterns of the tested rows over targets that are finite in all of them."""

    def __init__(self, Y: Any, Y_hat: Any, tested: np.ndarray, targets: np.ndarray) -> None:
        self._Y, self._Y_hat, self._tested, self._targets = Y, Y_hat, tested, targets.copy()
        self._kept: list[tuple[np.ndarray, np.ndarray]] | None = None
        keep = 16 * tested.size * int(targets.sum()) <= KEPT_BYTES
        kept = []
        for columns, y, p in self._chunks(tested):
            finite = np.isfinite(y).all(axis=0) & np.isfinite(p).all(axis=0)
            self._targets[columns] = finite  # a view of chosen targets: those that hold NaN are no longer chosen
            if keep:
                kept.append((y[:, finite], p[:, finite]))
        self.n_targets = int(self._targets.sum())
        if self.n_targets < 2:
            raise DataError(
                f"only {self.n_targets} of {int(targets.sum())} targets are finite in every tested sample but a "
                "pattern needs two; drop the samples or targets that hold NaN."
            )
        if keep:
            self._kept = [(np.concatenate([y for y, _ in kept], axis=1), np.concatenate([p for _, p in kept], axis=1))]

    def fold(self, at: np.ndarray, own: np.ndarray) -> Blocks:
        """Return what yields blocks of a fold: its measured rows ``at``, and below them the candidate of each label."""

        def blocks() -> Iterator[np.ndarray]:
            if self._kept is None:
                pairs = ((y, p) for _, y, p in self._chunks(self._tested[at]))
            else:
                pairs = ((y[at], p[at]) for y, p in self._kept)
            for y, p in pairs:
                candidates = [p[own == k].mean(axis=0) for k in range(int(own.max()) + 1)]
                yield np.concatenate([y, np.stack(candidates)])

        return blocks

    def _chunks(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield chosen targets (int), and their measured and predicted responses in ``rows``, (n_rows, n_chosen)."""
        for columns in target_chunks(self._Y):
            chosen = np.flatnonzero(self._targets[columns])
            if chosen.size:
                near = slice(columns.start + int(chosen[0]), columns.start + int(chosen[-1]) + 1)
                y, p = (read_chunk(values, near, rows) for values in (self._Y, self._Y_hat))
                yield columns.start + chosen, y[:, chosen - chosen[0]], p[:, chosen - chosen[0]]


def _similarity(blocks: Blocks, n_patterns: int) -> np.ndarray:
    """Return Pearson's correlation over targets of the first rows with all others, (n_patterns, n_candidates)."""
    n_targets = 0
    total, low, high = np.zeros(1), np.full(1, np.inf), np.full(1, -np.inf)
    for block in blocks():
        n_targets += block.shape[1]
        total = total + block.sum(axis=1)
        low, high = np.minimum(low, block.min(axis=1)), np.maximum(high, block.max(axis=1))
    flat = int((low == high).sum())
    if flat:
        raise DataError(
            f"{flat} patterns are constant over targets, so their correlation is undefined; leave those samples out."
        )
    mean = (total / n_targets)[:, None]
    norm = np.sqrt(sum(((block - mean) ** 2).sum(axis=1) for block in blocks()))[:, None]
    standard = ((block - mean) / norm for block in blocks())
    return np.asarray(sum(rows[:n_patterns] @ rows[n_patterns:].T for rows in standard))


def _beaten_by(similarity: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how many candidates lie above the right one, and how many others tie with it, per pattern."""
    right = np.take_along_axis(similarity, own[:, None], axis=1)
    return (similarity > right).sum(axis=1), (similarity == right).sum(axis=1) - 1


def k_way(rank: Any, n_candidates: Any, k: int) -> np.ndarray:
    """Return the chance that the right candidate wins among itself and k - 1 random others, in closed form.

    P = C(N - rank, k - 1) / C(N - 1, k - 1), so no distractors are drawn.

    Parameters
    ----------
    rank, n_candidates : (n_samples,)
        As `identification` gives them; k = 2 is the pairwise score.

    Raises
    ------
    DataError
        If k is not between 2 and the number of candidates.
    """
    rank, n = np.asarray(rank, dtype=np.float64), np.asarray(n_candidates)
    if k < 2 or (n[np.isfinite(rank)] < k).any():
        raise DataError(f"k is {k} but must lie between 2 and the number of candidates; choose a smaller k.")
    share = np.ones_like(rank)
    for step in range(k - 1):
        share *= np.clip(n - rank - step, 0, None) / np.where(np.isfinite(rank), n - 1 - step, 1)
    return share
