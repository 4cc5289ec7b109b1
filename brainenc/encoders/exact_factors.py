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

from brainenc.encoders.compute import Compute
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
        blocks = [self._gram(X[fold.validation]) for fold in folds]
        whole = sum(blocks) if is_partition(folds, len(X)) else self._gram(X)
        # With the column of ones, a block holds the features' sums in its last row, and the number of rows.
        self.tested = blocks
        self.trained = [
            whole - block if fold.is_complement else sum(self._gram(X[rows]) for rows in fold.train)
            for fold, block in zip(folds, blocks, strict=True)
        ]

    def plans(self, gammas: list[np.ndarray]) -> list[list[FoldPlan]]:
        """Return the tables of candidates (n_bands,), each a list over folds."""
        n_folds = len(self.folds)
        jobs = [(gamma, f) for gamma in gammas for f in range(n_folds)]
        made = self.compute.each(lambda job: self._plan(*job), jobs)
        return [made[start : start + n_folds] for start in range(0, len(made), n_folds)]

    def _plan(self, gamma: np.ndarray, f: int) -> FoldPlan:
        compute, fold = self.compute, self.folds[f]
        weight = np.repeat(np.sqrt(gamma), self.sizes)
        kept = None if np.all(gamma > 0) else np.flatnonzero(np.append(weight, 1.0))  # the sums come along
        trained, tested = (
            grams[f] if kept is None else grams[f][kept][:, kept] for grams in (self.trained, self.tested)
        )
        d = compute.put(weight[weight > 0], "float64")
        mean = trained[-1, :-1] / fold.n_train
        gram = trained[:-1, :-1] - fold.n_train * mean[:, None] * mean[None, :]
        values, V = eigen(gram * d[:, None] * d[None, :], max(len(d), fold.n_train), compute)
        V = V * d[:, None]
        X_v = self.X[fold.validation]
        X_v = compute.put((X_v if kept is None else X_v[:, kept])[:, :-1], "float64")
        middle = mean if self.cv_score == "r2" else tested[-1, :-1] / fold.n_validation
        P = X_v @ V - middle @ V
        learn = compute.xp.concatenate([V.T, -(mean @ V)[:, None]], 1)
        by_features = fold.n_validation > len(values)
        seen = compute.xp.concatenate([V.T, -(middle @ V)[:, None]], 1) if by_features else P.T
        return tabulate(
            values, P, learn, seen, self.alphas, self.cv_score, fold.n_train, compute, True, by_features, kept
        )

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
            made.append(self.compute.each(partial(self._plan, kernel), range(len(self.folds))))
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
        P = K_v @ U
        if self.cv_score == "correlation":
            P = P - P.mean(0)
        return tabulate(values, P, U.T, P.T, self.alphas, self.cv_score, fold.n_train, compute)
