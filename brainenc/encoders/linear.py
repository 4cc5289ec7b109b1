"""What ridge and banded ridge share: from bands of features to coefficients, each target with its own penalty.

    min_w |Y - sum_b Z_b w_b|^2 + alpha sum_b |w_b|^2 / gamma_b,    gamma on the simplex, alpha and gamma per target

Prepare (`design`), choose alpha and gamma by grouped cross-validation (`himalaya_backend.search`), look at the edges of
the grid and extend it once (`alphas`), then solve for the coefficients on all training rows (`refit`).
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Self

import numpy as np

from brainenc.core.types import DataError
from brainenc.encoders import alphas as grids
from brainenc.encoders import exact
from brainenc.encoders.design import Design, Targets, check_matrix
from brainenc.encoders.folds import Folds, check_groups, inner_folds
from brainenc.encoders.himalaya_backend import DEVICES, SCORES, Choice, himalaya_backend, search
from brainenc.encoders.refit import coefficient_solver

SOLVERS = {"exact": exact.search, "himalaya": search}
"""Name -> function that chooses alpha and band weights by cross-validation."""

STATE = ("coef", "feature_mean", "feature_scale", "target_mean", "alpha", "gamma", "cv_scores", "alphas", "band_sizes")
PARAMETERS = (
    "alphas", "n_alphas", "n_folds", "cv_score", "standardise", "extend", "solver", "device", "n_targets_batch",
)  # fmt: skip


class LinearEncoder(ABC):
    """Base of the linear encoders; see `Ridge` and `Banded` for the parameters."""

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
        cv_score: str = "r2",
        standardise: bool = True,
        extend: bool = True,
        solver: str = "himalaya",
        device: str = "auto",
        n_targets_batch: int = 1000,
    ) -> None:
        _one_of("cv_score", cv_score, SCORES)
        _one_of("solver", solver, SOLVERS)
        _one_of("device", device, DEVICES)
        check_count("n_alphas", n_alphas, 2)
        check_count("n_folds", n_folds, 2)
        check_count("n_targets_batch", n_targets_batch, 1)
        if isinstance(alphas, str) and alphas != "auto":
            raise DataError(f"alphas is {alphas!r}, wanted 'auto' or a list of positive numbers: fix it.")
        self.alphas = "auto" if isinstance(alphas, str) else grids.given_grid(alphas).tolist()
        self.n_alphas, self.n_folds, self.cv_score, self.standardise = n_alphas, n_folds, cv_score, bool(standardise)
        self.extend, self.solver, self.device, self.n_targets_batch = bool(extend), solver, device, n_targets_batch

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments, ready for JSON."""
        return {name: getattr(self, name) for name in PARAMETERS}

    @abstractmethod
    def _bands(self, X: Any) -> list[np.ndarray]:
        """Return the checked bands of features."""

    @abstractmethod
    def _candidates(self, n_bands: int) -> np.ndarray:
        """Return the band weights to try, (n_gammas, n_bands), each row on the simplex."""

    def fit(self, X: Any, Y: Any, groups: Any = None) -> Self:
        """Learn the coefficients; each target gets the penalty with the best cross-validated score.

        Parameters
        ----------
        X : (n_samples, n_features), or a list of such bands for `Banded`. Finite.
        Y : (n_samples, n_targets) array or HDF5 dataset (read in slabs of columns).
            Targets that hold NaN or do not vary get NaN as alpha, score and prediction. Rows without any finite value
            are left out and counted in ``n_dropped_rows_``.
        groups : (n_samples,) labels that inner folds must not split, such as runs; None for contiguous folds.

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
        design = Design.learn(Xs, targets.rows, self.standardise)
        labels = None if groups is None else check_groups(groups, len(Xs[0]))[targets.rows]
        folds = inner_folds(design.n_samples, labels, self.n_folds)
        gammas = self._candidates(len(Xs))
        with himalaya_backend(self.device) as backend:
            choice, self.alphas_, self.alpha_edges_, message = self._choose(design, targets, folds, gammas, backend)
            self.coef_ = _coefficients(design, targets, choice, gammas, self.n_targets_batch, backend)
        fitted = np.isfinite(choice.alpha)
        self.alpha_ = choice.alpha
        self.gamma_ = np.where(fitted, gammas[choice.gamma].T, np.nan).astype(np.float32)
        self.cv_scores_ = choice.score.astype(np.float32)
        self.feature_mean_ = np.concatenate(design.means)
        self.feature_scale_ = np.concatenate(design.scales)
        self.target_mean_ = np.where(fitted, targets.mean, np.nan)
        self.band_sizes_ = np.array([Z.shape[1] for Z in design.bands])
        self.n_dropped_rows_ = int(np.sum(~targets.rows))
        if message:
            warnings.warn(message, grids.AlphaEdgeWarning, stacklevel=2)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return predicted responses (n_samples, n_targets) float32; NaN for targets that could not be fitted.

        Raises
        ------
        DataError
            If the encoder is not fitted or X does not have the features it was fitted on.
        """
        Y_hat = self._centred(X) @ self.coef_
        Y_hat += self.target_mean_.astype(np.float32)
        return Y_hat

    def score(self, X: Any, Y: Any) -> np.ndarray:
        """Return r2 of the prediction per target, (n_targets,), not clipped; NaN for targets without a prediction."""
        from brainenc.stats.metrics import r2

        return r2(Y, self.predict(X))

    @property
    def intercept_(self) -> np.ndarray:
        """Prediction at features of 0, (n_targets,) float32: ``target_mean_ - feature_mean_ @ coef_``."""
        return (self.target_mean_ - self.feature_mean_ @ self.coef_).astype(np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """Return all fitted arrays, ready for safetensors."""
        self._check_fitted()
        edges = np.array([self.alpha_edges_[key] for key in grids.EDGE_KEYS])
        arrays = {name: np.array(getattr(self, name + "_")) for name in STATE}
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

    def _choose(
        self, design: Design, targets: Targets, folds: Folds, gammas: np.ndarray, backend: ModuleType
    ) -> tuple[Choice, np.ndarray, dict[str, float], str]:
        """Search the grid, extend it once where too many targets sit at an edge, and say whether that sufficed."""

        def searched(alphas: np.ndarray) -> Choice:
            solve = SOLVERS[self.solver]
            options = (folds, alphas, gammas, self.cv_score, self.n_targets_batch, backend)
            return _joined([solve(design, slab, *options) for _, slab in targets.slabs()])

        def edges() -> dict[str, float]:
            stake = grids.at_stake(choice.score, choice.baseline, design.n_samples, self.cv_score)
            return grids.edge_shares(choice.alpha, grid, stake, choice.margin)

        def is_limit() -> bool:
            return grids.is_limit(grid, design.trace, self.cv_score)

        if isinstance(self.alphas, str):
            grid = grids.automatic_grid(design.trace, design.n_samples, self.n_alphas)
        else:
            grid = np.asarray(self.alphas, dtype=np.float64)
        choice = searched(grid)
        shares = edges()
        crowded = grids.edges_to_extend(shares, is_limit()) if self.extend else []
        more = [grids.extension(grid, edge) for edge in crowded]
        for alphas in more:
            choice = choice.merged(searched(alphas))
        if more:
            grid = np.unique(np.concatenate([grid, *more]))
            shares = edges()
        message = grids.edge_message(shares, grid, design.trace, self.extend, is_limit())
        return choice, grid, shares, message

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


def _coefficients(
    design: Design, targets: Targets, choice: Choice, gammas: np.ndarray, n_batch: int, backend: ModuleType
) -> np.ndarray:
    """Return the coefficients in units of Y per raw unit of X, (n_features, n_targets) float32; 0 if not fitted."""
    scales = np.concatenate(design.scales)
    coef = np.zeros((len(scales), targets.n_targets), dtype=np.float32)
    fitted = np.isfinite(choice.alpha)
    for index in np.unique(choice.gamma[fitted]):
        active = design.features(gammas[index])
        solve = coefficient_solver(design.columns(gammas[index]), backend)
        weights = np.repeat(np.sqrt(gammas[index]), [Z.shape[1] for Z in design.bands])
        to_raw = (weights / scales)[active, None]
        for columns, slab in targets.slabs():
            chosen = np.flatnonzero(fitted[columns] & (choice.gamma[columns] == index))
            for start in range(0, len(chosen), n_batch):
                local = chosen[start : start + n_batch]
                absolute = local + columns.start
                raw = solve(slab[:, local], choice.alpha[absolute]) * to_raw * targets.scale[absolute]
                if active.all():
                    coef[:, absolute] = raw
                else:
                    coef[np.ix_(active, absolute)] = raw
    return coef


def check_count(name: str, value: Any, least: int) -> None:
    """Raise `DataError` unless the argument is a whole number of at least ``least``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise DataError(f"{name} is {value!r}, wanted a whole number of at least {least}: change it.")


def _joined(parts: list[Choice]) -> Choice:
    fields = ("score", "alpha", "gamma", "baseline", "margin")
    return Choice(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in fields})


def _one_of(name: str, value: Any, allowed: Any) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise DataError(f"{name} is {value!r}, wanted one of {', '.join(allowed)}: fix the name.")


def _sizes(sizes: list[int]) -> str:
    return " + ".join(str(size) for size in sizes)
