"""Cross-validated search without predictions: the score of every penalty from one factorisation per fold.

`exact_plan` holds the equations. Here the responses stream through in blocks of targets, in float32, each block once:

    C_f = [X_f, 1]' Y_f     of every fold f; all candidates of band weights share them (the last row: sums of y)
    z = learn (C - C_f)     with C = sum_f C_f,  or  z = learn y_t  on kernels
    brackets = [z (N z - q); z z; near pairs],   errors = weights @ brackets

Centring by the training rows of a fold is rank one: with x the mean of its features and s the last row of C - C_f, so
that s / n_t is the mean of its responses, ``z = V' (C - C_f - x s)`` has the column ``-V' x`` in ``learn``, and
``q = P' (y_v - s / n_t)`` the column ``P'1 / n_t`` in ``bend``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from brainenc.encoders.choice import fold_mean, settled
from brainenc.encoders.compute import Compute, host
from brainenc.encoders.design import Design
from brainenc.encoders.exact_factors import FoldRows, OnFeatures, OnKernels, is_partition
from brainenc.encoders.exact_plan import FoldPlan
from brainenc.encoders.flops import is_primal
from brainenc.encoders.folds import Folds
from brainenc.encoders.refit import Shared


class Exact:
    """Curves of scores over penalties: the plan is made at once, responses come in blocks.

    Parameters
    ----------
    design : standardised training features.
    folds : [(training rows, validation rows), ...]; any rows, cheapest where they are consecutive and complementary.
    gammas : (n_gammas, n_bands) candidates of band weights; a band of weight 0 is left out exactly.
    alphas : (n_alphas,) ascending.
    cv_score : "r2" or "correlation", computed within each fold, then averaged.
    compute : where.
    n_targets : targets to come, for the choice between features and kernels.
    """

    def __init__(
        self, design: Design, folds: Folds, gammas: np.ndarray, alphas: np.ndarray, cv_score: str,
        compute: Compute, n_targets: int = 10_000,
    ) -> None:  # fmt: skip
        self.alphas, self.cv_score, self.compute = alphas, cv_score, compute
        self.folds = [FoldRows(train, validation, design.n_samples) for train, validation in folds]
        self._partition = is_partition(self.folds, design.n_samples)
        self._buffers: dict[str, Any] = {}
        tested = [fold.n_validation for fold in self.folds]
        sizes = design.band_sizes
        primal = [
            is_primal(design.n_samples, int(sizes[gamma > 0].sum()), n_targets, tested, len(alphas)) for gamma in gammas
        ]
        common = (self.folds, alphas, cv_score, compute)
        makers: dict[bool, OnFeatures | OnKernels] = {}
        self._gram: Any | None = None
        if any(primal):
            self.X = compute.put(np.concatenate([*design.bands, np.ones((design.n_samples, 1), np.float32)], axis=1))
            on_features = makers[True] = OnFeatures(self.X, sizes, *common)
            self._gram = on_features.whole
        if not all(primal):
            makers[False] = OnKernels(design, *common)
        self.plans: list[list[FoldPlan]] = [[] for _ in gammas]
        for of_features, maker in makers.items():
            chosen = [g for g in range(len(gammas)) if primal[g] == of_features]
            for g, plans in zip(chosen, maker.plans([gammas[g] for g in chosen]), strict=True):
                self.plans[g] = plans
        self.is_primal = any(primal)

    def curves(self, y: Any) -> list[np.ndarray]:
        """Return the mean score over folds of every penalty: per candidate (n_alphas + 1, n_columns) float64.

        The last row is the score of the training mean, the limit of an infinite penalty.

        Parameters
        ----------
        y : (n_samples, n_columns) float32, here; standardised.
        """
        xp = self.compute.xp
        C, total = self._products(y) if self.is_primal else (None, None)
        raw: list[list[Any]] = [[] for _ in self.plans]
        moments = []
        tested_sums = [y[fold.validation].sum(0) for fold in self.folds] if C is None else [C_f[-1] for C_f in C]
        whole_sum = sum(tested_sums[1:], tested_sums[0]) if self._partition else y.sum(0)
        for f, fold in enumerate(self.folds):
            y_v, y_t, s_v = y[fold.validation], [y[rows] for rows in fold.train], tested_sums[f]
            s_t = whole_sum - s_v if fold.is_complement else sum(part.sum(0) for part in y_t)
            spread = xp.subtract(y_v, s_v / fold.n_validation, out=self._buffer("spread", *y_v.shape))
            spread *= spread
            moments.append(xp.stack([s_v, s_t, spread.sum(0)]))
            seen = None if C is None else (self._trained(f, C, total, y_t), C[f])
            for plans, into in zip(self.plans, raw, strict=True):
                into.append(self._errors(f, plans[f], seen, y_v, y_t, s_t))
        sums = host(xp.stack(moments))
        return [self._mean_curve(host(xp.stack(parts)), sums) for parts in raw]

    def products(self) -> Any | None:
        """Return ``X' Y`` (n_features, n_columns) of the last block, all bands, if anything computes on features."""
        return self._buffers["total"][:-1] if self.is_primal else None

    def features(self) -> Shared | None:
        """Return the features and their Gram matrix, if anything computes on features."""
        return None if self._gram is None else Shared(self.X[:, :-1], self._gram[:-1, :-1])

    def _products(self, y: Any) -> tuple[Any, Any]:
        """Return ``[X_f, 1]' Y_f`` of each fold, and ``[X, 1]' Y``."""
        xp, n_rows, n_columns = self.compute.xp, self.X.shape[1], y.shape[1]
        C = [self._buffer(f"C{f}", n_rows, n_columns) for f in range(len(self.folds))]
        total = self._buffer("total", n_rows, n_columns)
        for fold, C_f in zip(self.folds, C, strict=True):
            xp.matmul(self.X[fold.validation].T, y[fold.validation], out=C_f)
        if self._partition:
            xp.add(C[0], C[1], out=total)
            for C_f in C[2:]:
                total += C_f
        else:
            xp.matmul(self.X.T, y, out=total)
        return C, total

    def _trained(self, f: int, C: list[Any], total: Any, y_t: list[Any]) -> Any:
        """Return ``[X_t, 1]' Y_t``."""
        fold, out = self.folds[f], self._buffer("trained", *total.shape)
        if fold.is_complement:
            return self.compute.xp.subtract(total, C[f], out=out)
        out[:] = sum(self.X[rows].T @ part for rows, part in zip(fold.train, y_t, strict=True))
        return out

    def _errors(self, f: int, plan: FoldPlan, seen: tuple[Any, Any] | None, y_v: Any, y_t: list[Any], s_t: Any) -> Any:
        """Return squared errors but for their constant, or products above squared lengths; one row a penalty."""
        xp, k, n_columns = self.compute.xp, plan.rank, y_v.shape[1]
        z_and_sum = self._buffer("z", k + 1, n_columns)
        z = z_and_sum[:k]
        if plan.primal:
            assert seen is not None
            trained, C_f = (C if plan.rows is None else C[plan.rows] for C in seen)
            xp.matmul(plan.learn, trained, out=z)
        else:
            self._rotate(plan.learn, y_t, z)
        if plan.bend is None:
            return self._predicted(plan, z, y_v - s_t / self.folds[f].n_train)
        z_and_sum[k] = s_t
        brackets = self._buffer("brackets", plan.weights.shape[1], n_columns)
        bent = xp.matmul(plan.bend, z_and_sum, out=brackets[:k])
        validated = C_f if plan.by_features else y_v
        if self.cv_score == "r2":
            self.compute.add_product(bent, plan.seen, validated, -1.0)
        bent *= z
        self._fill(brackets[k:], plan, z)
        squared = plan.weights @ brackets
        if self.cv_score == "r2":
            return squared
        q = xp.matmul(plan.seen, validated, out=self._buffer("q", k, n_columns))
        q *= z
        return xp.concatenate([plan.products @ q, squared])

    def _fill(self, brackets: Any, plan: FoldPlan, z: Any) -> None:
        """Write z z, near pairs and, where a table asks for it, z (O z)."""
        xp, k = self.compute.xp, plan.rank
        xp.multiply(z, z, out=brackets[:k])
        at = k
        if plan.near is not None:
            xp.matmul(plan.near, z, out=brackets[at : at + k])
            brackets[at : at + k] *= z
            at += k
        elif len(plan.first):
            xp.multiply(z[plan.first], z[plan.second], out=brackets[at : at + len(plan.first)])
            at += len(plan.first)
        if plan.off is not None:
            xp.matmul(plan.off, z, out=brackets[at:])
            brackets[at:] *= z

    def _rotate(self, learn: Any, y_t: list[Any], z: Any) -> None:
        """``z = learn @ y_t``, the training rows in pieces."""
        start = 0
        for part in y_t:
            columns = learn[:, start : start + len(part)]
            if start == 0:
                self.compute.xp.matmul(columns, part, out=z)
            else:
                self.compute.add_product(z, columns, part)
            start += len(part)

    def _predicted(self, plan: FoldPlan, z: Any, y: Any) -> Any:
        """Predict the validation rows with every penalty, which is cheaper where they are few."""
        errors = []
        for w in plan.weights:
            y_hat = plan.seen @ (z * w[:, None])
            errors.append((y_hat * (y_hat - 2.0 * y)).sum(0))
        return self.compute.xp.stack(errors)

    def _mean_curve(self, raw: np.ndarray, sums: np.ndarray) -> np.ndarray:
        """Turn the errors of all folds into mean scores; folds in which a target does not vary are left out."""
        curves, n_alphas = [], len(self.alphas)
        for part, (s_v, s_t, spread), fold in zip(raw, sums, self.folds, strict=True):
            with np.errstate(invalid="ignore", divide="ignore"):
                if self.cv_score == "r2":
                    square = spread + fold.n_validation * (s_v / fold.n_validation - s_t / fold.n_train) ** 2
                    made = np.concatenate([part + square, square[None]])
                    score = 1.0 - made / spread
                else:
                    made, length = (np.pad(rows, ((0, 1), (0, 0))) for rows in (part[:n_alphas], part[n_alphas:]))
                    score = np.where(length > 0, made / np.sqrt(length * spread), 0.0)
            curves.append(settled(score, made, spread, fold.n_validation))
        return fold_mean(curves)

    def _buffer(self, name: str, n_rows: int, n_columns: int) -> Any:
        """Return an array kept from block to block: fresh memory would cost as much as the arithmetic on it."""
        kept = self._buffers.get(name)
        if kept is None or kept.shape[0] < n_rows or kept.shape[1] != n_columns:
            kept = self._buffers[name] = self.compute.empty(n_rows, n_columns)
        return kept[:n_rows]
