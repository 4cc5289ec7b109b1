"""What ridge and banded ridge share: from bands of features to coefficients, each target with its own penalty.

    min_w |Y - sum_b Z_b w_b|^2 + alpha sum_b |w_b|^2 / gamma_b,    gamma_b on the simplex, alpha and gamma per target

Prepare features (`design`) and responses (`targets`), choose alpha and gamma by grouped cross-validation (`search`,
with the curves of `exact`, `closed` or himalaya), look at the edges of the grid (`alphas`), and solve for the
coefficients on all training rows (`refit`), with a single candidate in the same pass over the responses.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from brainenc.core.types import DataError
from brainenc.encoders import alphas as grids
from brainenc.encoders.choice import Choice
from brainenc.encoders.compute import DEVICES, places
from brainenc.encoders.design import Design, check_matrix
from brainenc.encoders.folds import Folds, check_groups, inner_folds, side_by_side
from brainenc.encoders.search import search
from brainenc.encoders.solvers import CV, SCORES, SOLVERS, Problem, check_groups_fit, check_solver
from brainenc.encoders.targets import Targets

STATE = ("coef", "feature_mean", "feature_scale", "target_mean", "alpha", "gamma", "cv_scores", "alphas", "band_sizes")
PARAMETERS = (
    "alphas", "n_alphas", "n_folds", "cv", "cv_score", "standardise", "extend", "solver", "device", "n_targets_batch",
)  # fmt: skip


class LinearEncoder(ABC):
    """Base of the linear encoders; see `Ridge` and `Banded` for the parameters."""

    streams = True
    """Responses are read, and coefficients written, in blocks of targets."""

    coef_: np.ndarray
    feature_mean_: np.ndarray
    feature_scale_: np.ndarray
    target_mean_: np.ndarray
    alpha_: np.ndarray
    gamma_: np.ndarray
    cv_scores_: np.ndarray
    alphas_: np.ndarray
    band_sizes_: np.ndarray
    n_dropped_rows_: int
    alpha_edges_: dict[str, float]

    def __init__(
        self,
        alphas: str | Sequence[float] = "auto",
        n_alphas: int = 10,
        n_folds: int = 5,
        cv: str = "folds",
        cv_score: str = "r2",
        standardise: bool = True,
        extend: bool = True,
        solver: str = "exact",
        device: str = "auto",
        n_targets_batch: int = 1024,
    ) -> None:
        _one_of("cv", cv, CV)
        _one_of("cv_score", cv_score, SCORES)
        _one_of("solver", solver, SOLVERS)
        _one_of("device", device, DEVICES)
        check_solver(solver, cv, cv_score)
        check_count("n_alphas", n_alphas, 2)
        check_count("n_folds", n_folds, 2)
        check_count("n_targets_batch", n_targets_batch, 1)
        if isinstance(alphas, str) and alphas != "auto":
            raise DataError(f"alphas is {alphas!r}, wanted 'auto' or a list of positive numbers: fix it.")
        self.alphas = "auto" if isinstance(alphas, str) else grids.given_grid(alphas).tolist()
        self.n_alphas, self.n_folds, self.cv, self.cv_score = n_alphas, n_folds, cv, cv_score
        self.standardise = bool(standardise)
        self.extend, self.solver, self.device, self.n_targets_batch = bool(extend), solver, device, n_targets_batch

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments, ready for JSON."""
        return {name: getattr(self, name) for name in PARAMETERS}

    @abstractmethod
    def _bands(self, X: Any) -> list[np.ndarray]:
        """Return the checked bands of features."""

    @abstractmethod
    def _candidates(self, n_bands: int, best: Choice | None, seen: np.ndarray) -> np.ndarray:
        """Return band weights to try, (n_gammas, n_bands), each row on the simplex; none when the search is over.

        ``best`` is what was chosen among the candidates ``seen`` so far; None at first.
        """

    def fit(self, X: Any, Y: Any, groups: Any = None, coef: Any = None) -> Self:
        """Learn the coefficients; each target gets the penalty with the best cross-validated score.

        Parameters
        ----------
        X : (n_samples, n_features), or a list of such bands for `Banded`. Finite.
        Y : (n_samples, n_targets) array, HDF5 dataset, or anything with ``shape``, ``dtype`` and ``Y[:, a:b]``: read
            in blocks of columns, so that memory does not grow with the number of targets.
            Targets that hold NaN or do not vary get NaN as alpha, score and prediction. Rows without any finite value
            are left out and counted in ``n_dropped_rows_``.
        groups : (n_samples,) labels that inner folds must not split, such as runs; None for contiguous folds.
        coef : (n_features, n_targets) float32 to be filled by blocks of columns, such as a matrix in a file; it becomes
            ``coef_``. None for an array in memory.

        Raises
        ------
        DataError
            If rows do not match, features are not finite or do not vary, or the groups allow no folds.

        Warns
        -----
        AlphaEdgeWarning
            If over 5 % of the targets at stake are stuck at an edge of the grid, even after its extension.
        """
        Xs = self._bands(X)
        targets = Targets(Y, len(Xs[0]))
        labels = None if groups is None else check_groups(groups, len(Xs[0]))[targets.rows]
        folds = inner_folds(int(targets.rows.sum()), labels, self.n_folds)
        check_groups_fit(self.cv, labels)
        order, folds = side_by_side(folds)
        targets.order = targets.order[order]
        design = Design.learn(Xs, targets.order, self.standardise)
        shape = (int(design.band_sizes.sum()), targets.n_targets)
        if coef is None:
            coef = np.zeros(shape, dtype=np.float32)
        if tuple(coef.shape) != shape:
            raise DataError(f"coef has shape {tuple(coef.shape)}, wanted {shape} (n_features, n_targets): make it so.")
        found = search(self._problem(design, folds, targets.n_targets), self._candidates, targets, coef)
        is_fitted = np.isfinite(found.choice.alpha)
        self.coef_ = coef
        self.alphas_, self.alpha_, self.alpha_edges_ = found.alphas, found.choice.alpha, found.shares
        self.gamma_ = np.where(is_fitted, found.gammas[found.choice.gamma].T, np.nan).astype(np.float32)
        self.cv_scores_ = found.choice.score.astype(np.float32)
        self.cv_scores_without_ = found.without.astype(np.float32)
        self.feature_mean_ = np.concatenate(design.means)
        self.feature_scale_ = np.concatenate(design.scales)
        self.target_mean_ = np.where(is_fitted, targets.mean, np.nan)
        self.band_sizes_ = design.band_sizes
        self.n_dropped_rows_ = int(np.sum(~targets.rows))
        if found.message:
            warnings.warn(found.message, grids.AlphaEdgeWarning, stacklevel=2)
        return self

    def predict(self, X: Any, *, targets: slice | None = None) -> np.ndarray:
        """Return predicted responses (n_samples, n_targets) float32; NaN for targets that could not be fitted.

        Parameters
        ----------
        X : as in `fit`.
        targets : predict these only.

        Raises
        ------
        DataError
            If the encoder is not fitted or X does not have the features it was fitted on.
        """
        chosen = slice(None) if targets is None else targets
        Y_hat: np.ndarray = self._centred(X) @ np.asarray(self.coef_[:, chosen])
        Y_hat += self.target_mean_[chosen].astype(np.float32)
        return Y_hat

    def score(self, X: Any, Y: Any) -> np.ndarray:
        """Return r2 of the prediction per target, (n_targets,), not clipped; NaN for targets without a prediction."""
        from brainenc.stats.metrics import r2

        return r2(Y, self.predict(X))

    @property
    def intercept_(self) -> np.ndarray:
        """Prediction at features of 0, (n_targets,) float32: ``target_mean_ - feature_mean_ @ coef_``."""
        return (self.target_mean_ - self.feature_mean_ @ np.asarray(self.coef_)).astype(np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """Return all fitted arrays, ready for safetensors; ``coef`` is the matrix given to `fit`, if one was."""
        self._check_fitted()
        edges = np.array([self.alpha_edges_[key] for key in grids.EDGE_KEYS])
        arrays = {name: getattr(self, name + "_") for name in STATE}
        arrays = {name: np.array(value) if isinstance(value, np.ndarray) else value for name, value in arrays.items()}
        return arrays | {"alpha_edges": edges, "n_dropped_rows": np.array([self.n_dropped_rows_])}

    @classmethod
    def from_state(cls, config: Mapping[str, Any], state: Mapping[str, np.ndarray]) -> Self:
        """Rebuild a fitted encoder from `config` and `state`; it predicts bit for bit the same.

        Raises
        ------
        DataError
            If an array is missing.
        """
        missing = sorted({*STATE, "alpha_edges", "n_dropped_rows"} - set(state))
        if missing:
            raise DataError(f"the state of {cls.__name__} lacks {', '.join(missing)}: fit and save the model again.")
        encoder = cls(**config)
        for name in STATE:
            setattr(encoder, name + "_", np.array(state[name]))
        encoder.alpha_edges_ = dict(zip(grids.EDGE_KEYS, np.asarray(state["alpha_edges"]).tolist(), strict=True))
        encoder.n_dropped_rows_ = int(np.asarray(state["n_dropped_rows"])[0])
        return encoder

    def _problem(self, design: Design, folds: Folds, n_targets: int) -> Problem:
        if isinstance(self.alphas, str):
            base = grids.automatic_grid(design.trace, design.n_samples, self.n_alphas)
        else:
            base = np.asarray(self.alphas, dtype=np.float64)
        return Problem(
            design=design,
            folds=folds,
            grid=grids.Grid.around(base, self.extend),
            extend=self.extend,
            solver=self.solver,
            cv=self.cv,
            cv_score=self.cv_score,
            places=places(self.device),
            n_targets=n_targets,
            n_targets_batch=self.n_targets_batch,
        )

    def _check_fitted(self) -> None:
        if not hasattr(self, "coef_"):
            raise DataError(f"{type(self).__name__} is not fitted: call fit(X, Y) or from_state(config, state) first.")

    def _centred(self, X: Any) -> np.ndarray:
        """Return the features of all bands side by side about their training means, float32."""
        self._check_fitted()
        Xs = self._bands(X)
        sizes = [band.shape[1] for band in Xs]
        if sizes != self.band_sizes_.tolist():
            raise DataError(
                f"X has {_sizes(sizes)} features but the encoder was fitted on {_sizes(self.band_sizes_.tolist())}: "
                "pass the same feature spaces in the same order."
            )
        means = np.split(self.feature_mean_, np.cumsum(sizes)[:-1])
        return np.concatenate([(X - m).astype(np.float32) for X, m in zip(Xs, means, strict=True)], axis=1)


def checked_band(X: Any, name: str, n_samples: int | None = None) -> np.ndarray:
    """Return a band as a finite matrix, with the given number of rows if there is one."""
    X = check_matrix(X, name)
    if n_samples is not None and len(X) != n_samples:
        raise DataError(f"{name} has {len(X)} rows but the first band has {n_samples}: align the bands by stimulus id.")
    return X


def check_count(name: str, value: Any, least: int) -> None:
    """Raise `DataError` unless the argument is a whole number of at least ``least``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise DataError(f"{name} is {value!r}, wanted a whole number of at least {least}: change it.")


def _one_of(name: str, value: Any, allowed: Any) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise DataError(f"{name} is {value!r}, wanted one of {', '.join(allowed)}: fix the name.")


def _sizes(sizes: list[int]) -> str:
    return " + ".join(str(size) for size in sizes)
