r"""Fewer features: principal components fitted on training rows only, and sparse random projection.

Both take ``X`` of shape (n_rows, *axes, n_channels), an array or an open HDF5 dataset, read in blocks and flattened to
(n_rows, n_features); nothing is held twice. Both follow the estimator's contract: the constructor is the configuration,
`fit` is the only change of state, ``state()`` are plain arrays.

Principal components are exact. With training rows :math:`X_c = X - \mu = U S V^\top`, the smaller of the two Gram
matrices is accumulated in float64 and factorised: :math:`X_c^\top X_c = V S^2 V^\top`, or
:math:`X_c X_c^\top = U S^2 U^\top` with :math:`V = X_c^\top U S^{-1}`. Random projection:
Li, Hastie & Church 2006, doi:10.1145/1150402.1150436.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np

from brainenc.core.types import DataError

BLOCK_BYTES = 2**26  # memory of one float64 block of rows or columns


def _check_count(value: object, owner: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise DataError(f"{owner}: n_components is {value!r}, wanted a positive whole number: correct it.")
    return int(value)


def _n_features(X: Any) -> int:
    if len(X.shape) < 2:
        raise DataError(f"reduction: features have shape {tuple(X.shape)}, wanted (n_rows, ..., n_channels).")
    return int(np.prod(X.shape[1:]))


def _row_blocks(X: Any, rows: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """(positions within ``rows``, float64 block (n, n_features)) over increasing ``rows``."""
    n_features = _n_features(X)
    step = max(1, BLOCK_BYTES // (8 * n_features))
    for start in range(0, len(rows), step):
        chosen = rows[start : start + step]
        values = X[chosen[0] : chosen[-1] + 1] if chosen[-1] - chosen[0] + 1 == len(chosen) else X[chosen]
        block = np.asarray(values, dtype=np.float64).reshape(len(chosen), n_features)
        if not np.isfinite(block).all():
            raise DataError("reduction: the features hold NaN or infinity, wanted finite numbers: extract them anew.")
        yield slice(start, start + len(chosen)), block


def _check_width(X: Any, n_features: int, owner: str) -> None:
    if _n_features(X) != n_features:
        raise DataError(
            f"{owner}: features have {_n_features(X)} columns but it was fitted on {n_features}: use the same feature "
            "space for fitting and transforming."
        )


def _largest(gram: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``n`` largest eigenvalues, falling, and their eigenvectors in columns."""
    from scipy.linalg import eigh

    values, vectors = eigh(gram, subset_by_index=[len(gram) - n, len(gram) - 1])
    return values[::-1], vectors[:, ::-1]


class PrincipalComponents:
    """Exact principal components of the training rows, signs as in scikit-learn.

    Parameters
    ----------
    n_components : int
        At most the rank that centred training rows can have, ``min(n_train - 1, n_features)``.

    Attributes
    ----------
    mean_ : array (n_features,)
    components_ : array (n_components, n_features)
        Orthonormal rows.
    explained_variance_ratio_ : array (n_components,)
    """

    def __init__(self, n_components: int) -> None:
        self.n_components = _check_count(n_components, "pca")

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"n_components": self.n_components}

    def fit(self, X: Any, rows: np.ndarray | None = None) -> Self:
        """Learn from ``X[rows]``: give the training rows; no other row is read.

        Parameters
        ----------
        X : array or HDF5 dataset, shape (n_rows, *axes, n_channels)
        rows : array of int, optional
            Default all rows.

        Raises
        ------
        DataError
            More components than the training rows can carry, NaN, rows out of range.
        """
        rows = np.arange(X.shape[0]) if rows is None else np.unique(np.asarray(rows))
        n_features = _n_features(X)
        if len(rows) == 0 or not np.issubdtype(rows.dtype, np.integer) or rows[0] < 0 or rows[-1] >= X.shape[0]:
            raise DataError(
                f"pca: training rows must be whole numbers in 0..{X.shape[0] - 1}, at least one: pass those."
            )
        most = min(len(rows) - 1, n_features)
        if self.n_components > most:
            raise DataError(
                f"pca: n_components is {self.n_components}, but {len(rows)} training rows of {n_features} features "
                f"carry at most {most}: lower it."
            )
        mean = np.zeros(n_features)
        for _, block in _row_blocks(X, rows):
            mean += block.sum(axis=0)
        mean /= len(rows)
        solve = self._fit_columns if n_features <= len(rows) else self._fit_rows
        squares, components, total = solve(X, rows, mean)
        flat = np.finfo(np.float64).eps * len(rows) * max(squares[0], 1e-300)
        if squares[-1] <= flat:
            rank = int((squares > flat).sum())
            raise DataError(
                f"pca: the training rows have rank {rank} after centring, fewer than n_components: lower it."
            )
        signs = np.sign(components[np.arange(len(components)), np.abs(components).argmax(axis=1)])
        self.mean_ = mean
        self.components_ = components * signs[:, None]
        self.explained_variance_ratio_ = squares / total
        return self

    def _fit_columns(self, X: Any, rows: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        gram = np.zeros((len(mean), len(mean)))
        for _, block in _row_blocks(X, rows):
            block = block - mean
            gram += block.T @ block
        values, vectors = _largest(gram, self.n_components)
        return values, vectors.T, float(np.trace(gram))

    def _fit_rows(self, X: Any, rows: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        gram = np.zeros((len(rows), len(rows)))
        blocks = list(self._spans(len(rows), len(mean)))
        for i, first in enumerate(blocks):
            left = np.asarray(X[rows[first]], dtype=np.float64).reshape(-1, len(mean)) - mean
            gram[first, first] = left @ left.T
            for second in blocks[i + 1 :]:
                right = np.asarray(X[rows[second]], dtype=np.float64).reshape(-1, len(mean)) - mean
                gram[first, second] = left @ right.T
                gram[second, first] = gram[first, second].T
        values, left = _largest(gram, self.n_components)
        components = np.zeros((self.n_components, len(mean)))
        for where, block in _row_blocks(X, rows):
            components += left[where].T @ (block - mean)
        norms = np.linalg.norm(components, axis=1, keepdims=True)
        return values, components / np.where(norms > 0, norms, 1), float(np.trace(gram))

    @staticmethod
    def _spans(n_rows: int, n_features: int) -> Iterator[slice]:
        step = max(1, 4 * BLOCK_BYTES // (8 * n_features))
        return (slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step))

    def transform(self, X: Any) -> np.ndarray:
        """Project ``X`` (n_rows, *axes, n_channels), whole or one batch of it, to (n_rows, n_components) float32."""
        _check_width(X, len(self.mean_), "pca")
        result = np.empty((X.shape[0], self.n_components), dtype=np.float32)
        for where, block in _row_blocks(X, np.arange(X.shape[0])):
            result[where] = (block - self.mean_) @ self.components_.T
        return result

    def state(self) -> dict[str, np.ndarray]:
        """Fitted arrays, ready for safetensors."""
        keys = ("mean_", "components_", "explained_variance_ratio_")
        return {key.rstrip("_"): np.ascontiguousarray(getattr(self, key)) for key in keys}

    @classmethod
    def from_state(cls, config: Mapping[str, Any], state: Mapping[str, np.ndarray]) -> Self:
        """Rebuild what `config` and `state` describe."""
        model = cls(**config)
        for key, value in state.items():
            setattr(model, f"{key}_", np.asarray(value))
        return model


class SparseRandomProjection:
    r"""``X R`` with independent entries of ``R``: :math:`\pm 1/\sqrt{q k}` with probability ``q/2`` each, else 0.

    Distances are kept: :math:`E\|xR - yR\|^2 = \|x - y\|^2`, with a relative standard deviation near
    :math:`\sqrt{2/k}`. It looks at no value of ``X``, so nothing can leak from test rows.

    Parameters
    ----------
    n_components : int
        ``k``.
    seed : int
        Decides the matrix together with the number of features.
    density : float, optional
        ``q`` in (0, 1]; default :math:`1/\sqrt{n_{features}}`.
    """

    def __init__(self, n_components: int, seed: int = 0, density: float | None = None) -> None:
        self.n_components = _check_count(n_components, "random_projection")
        if density is not None and not 0 < density <= 1:
            raise DataError(
                f"random_projection: density is {density!r}, wanted a number above 0, at most 1: correct it."
            )
        self.seed, self.density = seed, density

    def config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"n_components": self.n_components, "seed": self.seed, "density": self.density}

    def fit(self, X: Any, rows: np.ndarray | None = None) -> Self:
        """Draw the matrix for the width of ``X``; no value is read and ``rows`` changes nothing."""
        from scipy import sparse

        n_features = _n_features(X)
        density = self.density or 1 / np.sqrt(n_features)
        generator = np.random.default_rng(self.seed)
        counts = generator.binomial(n_features, density, size=self.n_components)
        indices = [np.sort(generator.choice(n_features, size=n, replace=False)) for n in counts]
        signs = generator.integers(0, 2, size=int(counts.sum())) * 2 - 1
        data = signs / np.sqrt(density * self.n_components)
        starts = np.concatenate([[0], np.cumsum(counts)])
        columns = np.concatenate(indices) if indices else np.zeros(0, dtype=np.int64)
        self.matrix_ = sparse.csr_matrix((data, columns, starts), shape=(self.n_components, n_features))
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Project ``X`` (n_rows, *axes, n_channels), whole or one batch of it, to (n_rows, n_components) float32."""
        _check_width(X, self.matrix_.shape[1], "random_projection")
        result = np.empty((X.shape[0], self.n_components), dtype=np.float32)
        for where, block in _row_blocks(X, np.arange(X.shape[0])):
            result[where] = (self.matrix_ @ block.T).T
        return result

    def state(self) -> dict[str, np.ndarray]:
        """Fitted arrays, ready for safetensors: the sparse matrix in compressed rows."""
        matrix = self.matrix_
        return {
            "data": matrix.data,
            "indices": matrix.indices.astype(np.int64),
            "indptr": matrix.indptr.astype(np.int64),
            "shape": np.array(matrix.shape, dtype=np.int64),
        }

    @classmethod
    def from_state(cls, config: Mapping[str, Any], state: Mapping[str, np.ndarray]) -> Self:
        """Rebuild what `config` and `state` describe."""
        from scipy import sparse

        model = cls(**config)
        shape = tuple(int(n) for n in state["shape"])
        model.matrix_ = sparse.csr_matrix((state["data"], state["indices"], state["indptr"]), shape=shape)
        return model
