"""Could a linear encoder have learned this by chance? Permuted training responses, refitted at the same penalties.

With centred features and l, V the eigenpairs of X'X, the predictions of a ridge are linear in the training responses,

    Y_hat = mean(Y) + T_alpha (Y - mean(Y)),    T_alpha = X_test V diag(1 / (l + alpha)) V' X'    (n_test, n_train)

so one factorisation serves all permutations, penalties and targets. A permutation then costs, per target, either
2 n_test n_train operations with T_alpha, or 2 k (n_train + min(k, n_test)) in the k directions of the features; the
cheaper form is taken. Features and factorisation are float64, products with responses float32.

    p = (1 + number of permutations with a test score >= the observed one) / (1 + number of permutations)

(Phipson & Smyth 2010, doi:10.2202/1544-6115.1585). Unlike shuffled test rows (`stats.significance`), this null repeats
the learning, so it holds whatever the predictions owe to the features' own spectrum. It asks that training responses
could as well have come in another order: for time series give blocks that are longer than their memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from brainenc.core.types import DataError
from brainenc.stats.checks import as_labels, as_table
from brainenc.stats.chunks import is_constant, read_chunk, target_chunks

STATISTICS = ("correlation", "r2")
CHUNK_BYTES = 2**27
"""Bytes of one float64 chunk of training responses; wide chunks make wide products of the targets of one penalty."""
TIE = 1e-6
"""Rounding allowance of float32 products, relative to the largest possible change of the score: ties count."""
NARROW = 16
"""A product with fewer columns takes about as long as one with so many."""

Score = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Permuted training responses (n_train, n_columns) -> sum_i t_i p_i and sum_i p_i^2 of the test predictions p."""


def refit_p_values(
    X_train: Any,
    Y_train: Any,
    X_test: Any,
    Y_test: Any,
    alpha: Any,
    n_permutations: int = 1000,
    seed: int = 0,
    blocks: Any = None,
    statistic: str = "correlation",
) -> np.ndarray:
    """Return the one-sided p-value of each target's test score under refitting to permuted training responses.

    Parameters
    ----------
    X_train, X_test : (n_train, n_features), (n_test, n_features)
        As the encoder sees them (standardised or weighted by band if it does so); centred here by training means.
    Y_train, Y_test : (n_train, n_targets), (n_test, n_targets) ndarray or h5py.Dataset, read in chunks of targets.
    alpha : (n_targets,) > 0
        Penalty of each target, in the convention |Y - X W|^2 + alpha |W|^2; NaN where no encoder was fitted.
    n_permutations : int
        The smallest p-value is 1 / (1 + n_permutations).
    seed : int
    blocks : (n_train,) or None
        Training rows that are only exchangeable together (runs, stretches of time). Blocks change places and keep
        their inner order; with unequal lengths rows shift, which assumes stationary noise.
    statistic : "correlation" or "r2", over the test rows, as in `stats.metrics`.

    Returns
    -------
    (n_targets,) float64
        In (0, 1]; NaN where alpha is NaN or the score is undefined.

    Raises
    ------
    DataError
        Shapes that do not fit, features that are not finite, an alpha that is not positive, an unknown statistic, or
        nothing to permute.
    """
    if statistic not in STATISTICS:
        raise DataError(f"statistic is {statistic!r} but must be one of {', '.join(map(repr, STATISTICS))}.")
    X_train, X_test = _features(X_train, "X_train"), _features(X_test, "X_test")
    Y_train, Y_test = as_table(Y_train, "Y_train"), as_table(Y_test, "Y_test")
    alpha = _check_shapes(X_train, Y_train, X_test, Y_test, alpha)
    orders = permuted_orders(len(X_train), n_permutations, seed, blocks)
    smoother = Smoother.learn(X_train, X_test, centre_predictions=statistic == "correlation")
    p_values = np.full(Y_train.shape[1], np.nan)
    for columns in target_chunks(Y_train, CHUNK_BYTES):
        y, t, defined = _standardised(Y_train, Y_test, columns)
        defined &= np.isfinite(alpha[columns])
        if statistic == "correlation":
            t -= t.mean(axis=0)
        for part, score in _scores(smoother, np.where(defined, alpha[columns], np.nan), t, n_permutations):
            targets, tested = y[:, part], t[:, part]
            p_values[columns.start + part] = _p_values(score, targets, tested, orders, statistic)
    return p_values


def permuted_orders(n_samples: int, n_permutations: int, seed: int, blocks: Any = None) -> np.ndarray:
    """Return the row taken by each place in every permutation, (n_permutations, n_samples) int32.

    Raises
    ------
    DataError
        If n_permutations < 1, or the labels do not fit or name a single block.
    """
    if n_permutations < 1:
        raise DataError(f"n_permutations is {n_permutations} but must be at least 1; 1000 is usual.")
    generator = np.random.default_rng(seed)
    if blocks is None:
        return np.stack([generator.permutation(n_samples).astype(np.int32) for _ in range(n_permutations)])
    labels = as_labels(blocks, n_samples, "blocks")
    kinds, first = np.unique(labels, return_index=True)
    if kinds.size < 2:
        raise DataError("all training rows are one block, so nothing can be permuted; use shorter blocks.")
    units = [np.flatnonzero(labels == kind).astype(np.int32) for kind in kinds[np.argsort(first)]]
    places = np.concatenate(units)
    orders = np.empty((n_permutations, n_samples), dtype=np.int32)
    for order in orders:
        order[places] = np.concatenate([units[i] for i in generator.permutation(len(units))])
    return orders


@dataclass(frozen=True)
class Smoother:
    """The map from centred training responses to test predictions, T_alpha = test diag(1 / (l + alpha)) train'.

    Attributes
    ----------
    test, train : (n_test, k), (n_train, k) float64
    eigenvalues : (k,) float64, in units of ``scale``.
    scale : largest eigenvalue of the training Gram matrix; penalties are divided by it.
    """

    test: np.ndarray
    train: np.ndarray
    eigenvalues: np.ndarray
    scale: float

    @classmethod
    def learn(cls, X_train: np.ndarray, X_test: np.ndarray, centre_predictions: bool) -> Smoother:
        """Factorise the smaller of the Gram matrix and the kernel of the centred training features.

        Raises
        ------
        DataError
            If no feature varies over the training rows.
        """
        mean = X_train.mean(axis=0)
        train, test = X_train - mean, X_test - (X_test.mean(axis=0) if centre_predictions else mean)
        train[:, is_constant(X_train, X_train)] = 0.0
        if centre_predictions:
            test[:, is_constant(X_test, X_test)] = 0.0
        primal = train.shape[1] <= train.shape[0]
        values, vectors = np.linalg.eigh(train.T @ train if primal else train @ train.T)
        scale = float(values[-1])
        if not scale > 0:
            raise DataError(f"X_train has no feature that varies over its {len(train)} rows: give other features.")
        kept = values > max(train.shape) * np.finfo(np.float64).eps * scale
        values, vectors = values[kept], vectors[:, kept]
        if primal:
            test, train = test @ vectors / np.sqrt(scale), train @ vectors / np.sqrt(scale)
        else:
            test, train = (test @ (train.T @ vectors)) / scale, vectors
        return cls(test, train, values / scale, scale)

    def weights(self, alpha: np.ndarray) -> np.ndarray:
        """Return 1 / (l + alpha) of each direction and penalty, (k, n_alphas) float64."""
        return np.asarray(1.0 / (self.eigenvalues[:, None] + alpha / self.scale))

    def by_matrix(self, alpha: float, t: np.ndarray) -> Score:
        """Return the score of targets with one penalty through the matrix T_alpha."""
        matrix = ((self.test * self.weights(np.array([alpha]))[:, 0]) @ self.train.T).astype(np.float32)

        def score(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return _products(t, matrix @ y)

        return score

    def by_direction(self, alpha: np.ndarray, t: np.ndarray) -> Score:
        """Return the score of targets with a penalty each through the k directions."""
        weights, basis = self.weights(alpha).astype(np.float32), np.ascontiguousarray(self.train.T, dtype=np.float32)
        test = self.test.astype(np.float32)
        if self._n_inner == len(test):
            return lambda y: _products(t, test @ (weights * (basis @ y)))
        gram, projected = (self.test.T @ self.test).astype(np.float32), test.T @ t

        def score(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            z = weights * (basis @ y)
            return np.einsum("ij,ij->j", projected, z), np.einsum("ij,ij->j", z, gram @ z)

        return score

    @property
    def _n_inner(self) -> int:
        return int(min(self.test.shape))

    def prefers_matrix(self, group_sizes: np.ndarray, n_permutations: int) -> bool:
        """Say whether T_alpha, made once for each group of targets with one penalty, takes fewer operations."""
        n_test, k = self.test.shape
        n_train = len(self.train)
        columns = np.maximum(group_sizes, NARROW).sum()
        matrix = n_permutations * columns * n_test * n_train + len(group_sizes) * n_test * k * n_train
        return bool(matrix < n_permutations * group_sizes.sum() * k * (n_train + self._n_inner))


def _scores(
    smoother: Smoother, alpha: np.ndarray, t: np.ndarray, n_permutations: int
) -> Iterator[tuple[np.ndarray, Score]]:
    """Yield columns of a chunk and how they are scored, in the cheaper form; columns with a NaN alpha are left out."""
    defined = np.flatnonzero(np.isfinite(alpha))
    if defined.size == 0:
        return
    distinct, group, sizes = np.unique(alpha[defined], return_inverse=True, return_counts=True)
    if not smoother.prefers_matrix(sizes, n_permutations):
        yield defined, smoother.by_direction(alpha[defined], t[:, defined])
        return
    for index, value in enumerate(distinct):
        part = defined[group == index]
        yield part, smoother.by_matrix(float(value), t[:, part])


def _products(t: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.einsum("ij,ij->j", t, p), np.einsum("ij,ij->j", p, p)


def _p_values(score: Score, y: np.ndarray, t: np.ndarray, orders: np.ndarray, statistic: str) -> np.ndarray:
    """Count the permutations that reach the observed statistic of each column; NaN where it is undefined."""
    square = np.einsum("ij,ij->j", t, t, dtype=np.float64)
    spread = t - t.mean(axis=0)
    total = np.einsum("ij,ij->j", spread, spread, dtype=np.float64)

    def evaluate(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        dot, own = (part.astype(np.float64) for part in score(y))
        if statistic == "r2":
            return 1 - (square - 2 * dot + own) / total, TIE * (square + own) / total
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(own > 0, dot / np.sqrt(square * own), np.nan), np.full(dot.shape, TIE)

    observed, allowance = evaluate(y)
    count, buffer = np.zeros(y.shape[1], dtype=np.int64), np.empty_like(y)
    for order in orders:
        np.take(y, order, axis=0, out=buffer, mode="clip")
        count += evaluate(buffer)[0] >= observed - allowance
    return np.asarray(np.where(np.isnan(observed), np.nan, (1 + count) / (1 + len(orders))))


def _standardised(Y_train: Any, Y_test: Any, columns: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return both responses by training mean and sd, float32, and which targets are finite and vary in both."""
    y, t = read_chunk(Y_train, columns), read_chunk(Y_test, columns)
    defined = np.isfinite(y).all(axis=0) & np.isfinite(t).all(axis=0)
    y[:, ~defined], t[:, ~defined] = 0.0, 0.0
    defined &= ~is_constant(Y_train, y) & ~is_constant(Y_test, t)
    mean = y.mean(axis=0)
    y -= mean
    sd = np.where(defined, np.sqrt(np.einsum("ij,ij->j", y, y) / len(y)), np.inf)
    y /= sd
    t -= mean
    t /= sd
    return y.astype(np.float32), t.astype(np.float32), defined


def _features(X: Any, name: str) -> np.ndarray:
    """Return finite float64 features, or raise DataError."""
    X = np.asarray(as_table(X, name)[:], dtype=np.float64)
    bad = ~np.isfinite(X).all(axis=1)
    if bad.any():
        raise DataError(f"{name} holds NaN or infinity in {int(bad.sum())} of {len(X)} rows: drop or fill them.")
    return np.asarray(X)


def _check_shapes(X_train: Any, Y_train: Any, X_test: Any, Y_test: Any, alpha: Any) -> np.ndarray:
    """Return alpha as (n_targets,) float64 if all shapes fit and no alpha is zero, negative or infinite."""
    for rows, X, Y in (("train", X_train, Y_train), ("test", X_test, Y_test)):
        if X.shape[0] != Y.shape[0] or X.shape[0] < 3:
            raise DataError(
                f"X_{rows} has {X.shape[0]} rows and Y_{rows} {Y.shape[0]} but both must have the same, at least 3: "
                "align them by stimulus id first."
            )
    penalties: np.ndarray = np.asarray(alpha, dtype=np.float64)
    if X_train.shape[1] != X_test.shape[1] or Y_train.shape[1] != Y_test.shape[1]:
        raise DataError(
            f"train and test have {X_train.shape[1]} and {X_test.shape[1]} features, {Y_train.shape[1]} and "
            f"{Y_test.shape[1]} targets, but must have the same: pass both from the same tables."
        )
    if penalties.shape != (Y_train.shape[1],):
        raise DataError(
            f"alpha is {penalties.shape} but there are {Y_train.shape[1]} targets: give one penalty per target."
        )
    if (penalties <= 0).any() or np.isinf(penalties).any():
        raise DataError("alpha holds values that are not positive and finite: pass the fitted penalties, NaN for none.")
    return penalties
