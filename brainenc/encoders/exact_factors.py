"""Factorisations of the folds: on features from Gram blocks that all candidates share, or on kernels.

    features    G_t = G - X_f' X_f - n_t x x',  scaled on both sides by sqrt(gamma_b) for a candidate
    kernels     K = sum_b gamma_b Z_b Z_b',     centred by the training rows

All in float64: in float32 the chosen penalties would change. Overlapping folds work alike; where the training rows are
not all the others (a gap between them, say), their products are made from these rows.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from brainenc.encoders.compute import Compute, two_at_a_time
from brainenc.encoders.design import Design
from brainenc.encoders.exact_plan import FoldPlan, eigen, tabulate

MOST_PIECES = 8
"""Stretches of consecutive rows above which rows are gathered."""

Rows = slice | np.ndarray


class FoldRows:
    """Training and validation rows of a fold, as slices where they are consecutive.

    Attributes
    ----------
    validation : slice or (n_validation,) index.
    train : list of slices, or of one index.
    is_complement : whether the training rows are all but the validation rows.
    """

    def __init__(self, train: np.ndarray, validation: np.ndarray, n_samples: int) -> None:
        self.n_train, self.n_validation = len(train), len(validation)
        self.train, pieces = _pieces(train), _pieces(validation)
        self.validation = pieces[0] if len(pieces) == 1 else validation
        others = np.setdiff1d(np.arange(n_samples), validation)
        self.is_complement = len(others) == len(train) and bool(np.all(others == np.sort(train)))


def _pieces(rows: np.ndarray) -> list[Rows]:
    """Return stretches of consecutive rows, or the index itself where they would be many."""
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    if len(breaks) >= MOST_PIECES:
        return [rows]
    return [slice(int(part[0]), int(part[-1]) + 1) for part in np.split(rows, breaks)]


def is_partition(folds: list[FoldRows], n_samples: int) -> bool:
    """Say whether every row is validated once, so that sums over folds are sums over all rows."""
    count = np.zeros(n_samples, dtype=int)
    for fold in folds:
        count[fold.validation] += 1
    return bool(np.all(count == 1))


class OnFeatures:
    """Plans from Gram blocks: ``X_f' X_f`` of every fold and of all rows, over all bands, once.

    Parameters
    ----------
    X : (n_samples, n_features + 1) float32, here: all bands side by side, unweighted, and a column of ones.
    band_sizes : features of each band.
    """

    def __init__(
        self, X: Any, band_sizes: np.ndarray, folds: list[FoldRows], alphas: np.ndarray, cv_score: str, compute: Compute
    ) -> None:
        self.X, self.sizes, self.folds = X, band_sizes, folds
        self.alphas, self.cv_score, self.compute = alphas, cv_score, compute
        # With the column of ones, a block holds the features' sums in its last row, and the number of rows.
        self.tested = [self._gram(X[fold.validation]) for fold in folds]
        self.whole = sum(self.tested) if is_partition(folds, len(X)) else self._gram(X)

    def plans(self, gammas: list[np.ndarray]) -> list[list[FoldPlan]]:
        """Return the tables of candidates (n_bands,), each a list over folds."""
        jobs = [(gamma, f) for gamma in gammas for f in range(len(self.folds))]
        made = two_at_a_time(self.compute, lambda job: self._plan(*job), jobs, int(self.sizes.sum()))
        return [made[start : start + len(self.folds)] for start in range(0, len(made), len(self.folds))]

    def _plan(self, gamma: np.ndarray, f: int) -> FoldPlan:
        compute, fold = self.compute, self.folds[f]
        weight = np.repeat(np.sqrt(gamma), self.sizes)
        kept = None if np.all(gamma > 0) else np.flatnonzero(np.append(weight, 1.0))  # the sums come along
        trained, X_v = self._trained(f), self.X[fold.validation]
        tested_sums = self.tested[f][-1]
        if kept is not None:
            trained, X_v, tested_sums = trained[kept][:, kept], X_v[:, kept], tested_sums[kept]
        d = compute.put(weight[weight > 0], "float64")
        mean = trained[-1, :-1] / fold.n_train
        gram = trained[:-1, :-1]
        gram -= (fold.n_train * mean)[:, None] * mean
        if np.any(gamma != 1.0):
            gram *= d[:, None]
            gram *= d
        values, V = eigen(gram, max(len(d), fold.n_train), compute)
        V = compute.put(V * d[:, None])
        middle = compute.put(mean if self.cv_score == "r2" else tested_sums[:-1] / fold.n_validation)
        P = X_v[:, :-1] @ V
        P -= middle @ V
        learn = self._with_column(V, compute.put(mean))
        by_features = fold.n_validation > len(values)
        seen = P.T
        if by_features:
            seen = learn if self.cv_score == "r2" else self._with_column(V, middle)
        return tabulate(
            values, P, learn, seen, self.alphas, self.cv_score, fold.n_train, compute, True, by_features, kept
        )

    def _trained(self, f: int) -> Any:
        """Return ``[X_t, 1]' [X_t, 1]``."""
        if self.folds[f].is_complement:
            return self.whole - self.tested[f]
        return sum(self._gram(self.X[rows]) for rows in self.folds[f].train)

    def _with_column(self, V: Any, centre: Any) -> Any:
        """Return ``[V', -V' centre]``, which centres what it is multiplied with."""
        table = self.compute.empty(V.shape[1], len(V) + 1)
        table[:, :-1] = V.T
        table[:, -1] = -(centre @ V)
        return table

    def _gram(self, X: Any) -> Any:
        X = self.compute.put(X, "float64")
        return X.T @ X


class OnKernels:
    """Plans from the kernels of the bands."""

    def __init__(
        self, design: Design, folds: list[FoldRows], alphas: np.ndarray, cv_score: str, compute: Compute
    ) -> None:
        self.design, self.folds = design, folds
        self.alphas, self.cv_score, self.compute = alphas, cv_score, compute

    def plans(self, gammas: list[np.ndarray]) -> list[list[FoldPlan]]:
        """Return the tables of candidates (n_bands,), each a list over folds."""
        made = []
        for gamma in gammas:
            kernel = self.compute.put(self.design.kernel(gamma), "float64")
            folds = range(len(self.folds))
            made.append(two_at_a_time(self.compute, partial(self._plan, kernel), folds, len(kernel)))
        return made

    def _plan(self, kernel: Any, f: int) -> FoldPlan:
        compute, fold = self.compute, self.folds[f]
        train = np.concatenate([np.arange(len(kernel))[rows] for rows in fold.train])
        K = kernel[:, train]
        rows = K.mean(1)
        K_t, K_v = K[train], K[fold.validation]
        offset = rows[train].mean()
        K_t = K_t - rows[train][:, None] - rows[train][None, :] + offset
        values, U = eigen(K_t, len(train), compute)
        K_v = K_v - rows[fold.validation][:, None] - rows[train][None, :] + offset
        P = compute.put(K_v @ U)
        if self.cv_score == "correlation":
            P = P - P.mean(0)
        U = compute.put(U)
        return tabulate(values, P, U.T, P.T, self.alphas, self.cv_score, fold.n_train, compute)
