"""Kernel ridge regression: ridge in the feature space of a non-linear kernel, each target with its own penalty.

    min_w |y - Phi w|^2 + alpha |w|^2,    Phi Phi' = K,    K = f C k(Z, Z) C,    w = Phi' d,    d = (K + alpha I)^-1 y

k is the kernel of the standardised features Z, C = I - 1 1' / n centres it as if its (perhaps infinite) features had
been centred, which fits the intercept (Schoelkopf et al. 1998, 10.1162/089976698300017467), and f gives K the trace of
the linear kernel Z Z': one alpha means the same for every kernel, every kernel_gamma, and for `Ridge`. Every fold is
centred again by its training rows. Kernels and cross-validation are himalaya's (Dupre la Tour et al. 2022,
10.1016/j.neuroimage.2022.119728), in float64; the refit takes one factorisation. Since the dual coefficients of a
centred kernel sum to 0, a prediction is ``k(Z_new, Z) (f d) + intercept``: nothing is centred any more.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, Self, cast

import numpy as np

from brainenc.core.types import DataError
from brainenc.encoders import alphas as grids
from brainenc.encoders.choice import Choice, choose, joined
from brainenc.encoders.compute import DEVICES, Compute, host, places
from brainenc.encoders.design import Design, check_matrix
from brainenc.encoders.folds import Folds, check_groups, inner_folds
from brainenc.encoders.himalaya_backend import SCORES, himalaya_backend, mean_curve
from brainenc.encoders.kernel_matrix import Kernel, dual_solver
from brainenc.encoders.linear import check_count
from brainenc.encoders.targets import Targets

N_ROWS = 4096
"""Rows predicted at a time."""

STATE = (
    "dual_coef", "intercept", "training_features", "feature_mean", "feature_scale", "target_mean", "alpha",
    "kernel_gamma", "cv_scores", "alphas",
)  # fmt: skip
PARAMETERS = (
    "kernel", "kernel_gamma", "degree", "coef0", "alphas", "n_alphas", "n_folds", "cv_score", "standardise", "extend",
    "device", "n_targets_batch",
)  # fmt: skip


class KernelRidge:
    """Kernel ridge regression with a cross-validated penalty, and width of the kernel, per target.

    Parameters
    ----------
    kernel : of standardised features x, y, with g = ``kernel_gamma``: "rbf" ``exp(-g |x - y|^2)``, "laplacian"
        ``exp(-g sum |x - y|)``, "polynomial" ``(g x'y + coef0)^degree``, "sigmoid" ``tanh(g x'y + coef0)`` (not
        positive definite: penalties too small for it cannot be chosen), or "cosine" ``x'y / (|x| |y|)``.
    kernel_gamma : g; a list of them, chosen from per target together with alpha; or "auto": 1 / n_features, counting
        features that vary (without ``standardise``: 1 / the sum of their variances, of their standard deviations for
        "laplacian"). Not the band weights that `Banded` calls gamma.
    degree, coef0 : of the kernels that have them; None for 3 and 1.
    alphas, n_alphas : as in `Ridge`; kernels are scaled to the trace of the linear kernel, so the grid is that of
        `Ridge` on the same features.
    n_folds, cv_score, standardise, extend : as in `Ridge`.
    device : where it is fitted, as in `Ridge`; predictions are always computed by numpy.
    n_targets_batch : targets searched, solved and predicted at a time.

    Attributes
    ----------
    dual_coef_ : (n_rows, n_targets) float64, ``predict(X) = kernel(X, training rows) @ dual_coef_ + intercept_``; each
        column sums to 0, those of targets not fitted are 0.
    intercept_, target_mean_ : (n_targets,) float64, NaN for targets not fitted.
    training_features_ : (n_rows, n_features) float32 standardised training rows.
    feature_mean_, feature_scale_ : (n_features,) float64.
    kernel_gamma_ : (n_targets,) float64 chosen g, 1 if the kernel has none, NaN for targets not fitted.
    alpha_, cv_scores_, alphas_, alpha_edges_, n_dropped_rows_ : as in `Ridge`.
    """

    dual_coef_: np.ndarray
    intercept_: np.ndarray
    training_features_: np.ndarray
    feature_mean_: np.ndarray
    feature_scale_: np.ndarray
    target_mean_: np.ndarray
    alpha_: np.ndarray
    kernel_gamma_: np.ndarray
    cv_scores_: np.ndarray
    alphas_: np.ndarray
    alpha_edges_: dict[str, float]
    n_dropped_rows_: int

    def __init__(
        self,
        kernel: str = "rbf",
        kernel_gamma: str | float | Sequence[float] = "auto",
        degree: int | None = None,
        coef0: float | None = None,
        alphas: str | Sequence[float] = "auto",
        n_alphas: int = 10,
        n_folds: int = 5,
        cv_score: str = "r2",
        standardise: bool = True,
        extend: bool = True,
        device: str = "auto",
        n_targets_batch: int = 1000,
    ) -> None:
        self._form = Kernel.checked(kernel, kernel_gamma, degree, coef0)
        _one_of("cv_score", cv_score, SCORES)
        _one_of("device", device, DEVICES)
        check_count("n_alphas", n_alphas, 2)
        check_count("n_folds", n_folds, 2)
        check_count("n_targets_batch", n_targets_batch, 1)
        if isinstance(alphas, str) and alphas != "auto":
            raise DataError(f"alphas is {alphas!r}, wanted 'auto' or a list of positive numbers: fix it.")
        self.kernel, self.kernel_gamma, self.degree, self.coef0 = kernel, self._form.gammas, degree, coef0
        self.alphas = "auto" if isinstance(alphas, str) else grids.given_grid(alphas).tolist()
        self.n_alphas, self.n_folds, self.cv_score, self.standardise = n_alphas, n_folds, cv_score, bool(standardise)
        self.extend, self.device, self.n_targets_batch = bool(extend), device, n_targets_batch

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments, ready for JSON."""
        return {name: getattr(self, name) for name in PARAMETERS}

    def fit(self, X: Any, Y: Any, groups: Any = None) -> Self:
        """Learn the dual coefficients; each target gets the alpha and kernel_gamma with the best score.

        Parameters
        ----------
        X : (n_samples, n_features), finite.
        Y : (n_samples, n_targets) array or HDF5 dataset, treated as by `Ridge.fit`.
        groups : (n_samples,) labels that inner folds must not split, such as runs; None for contiguous folds.

        Raises
        ------
        DataError
            If rows do not match, features are not finite or do not vary, the kernel overflows or hardly varies over
            the training rows, or the groups allow no folds.

        Warns
        -----
        AlphaEdgeWarning
            If over 5 % of the targets at stake are stuck at an edge of the grid, even after its extension.
        """
        X = check_matrix(X, "X")
        targets = Targets(Y, len(X))
        design = Design.learn([X], targets.rows, self.standardise)
        labels = None if groups is None else check_groups(groups, len(X))[targets.rows]
        folds = inner_folds(design.n_samples, labels, self.n_folds)
        candidates = self._form.candidates(design.bands[0])
        with himalaya_backend(self.device) as backend:
            choice, message = self._choose(design, candidates, targets, folds, backend)
            self.dual_coef_, means = self._solve(design, candidates, targets, choice, backend)
        fitted = np.isfinite(choice.alpha)
        self.intercept_ = np.where(fitted, targets.mean - means, np.nan)
        self.target_mean_ = np.where(fitted, targets.mean, np.nan)
        self.kernel_gamma_ = np.where(fitted, candidates[choice.gamma], np.nan)
        self.alpha_, self.cv_scores_ = choice.alpha, choice.score.astype(np.float32)
        self.training_features_ = design.bands[0]
        self.feature_mean_, self.feature_scale_ = design.means[0], design.scales[0]
        self.n_dropped_rows_ = int(np.sum(~targets.rows))
        if message:
            warnings.warn(message, grids.AlphaEdgeWarning, stacklevel=2)
        return self

    def predict(self, X: Any, targets: slice | None = None) -> np.ndarray:
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
        Z = self._standardised(X)
        chosen = slice(None) if targets is None else targets
        dual, intercept, gammas = self.dual_coef_[:, chosen], self.intercept_[chosen], self.kernel_gamma_[chosen]
        Y_hat = np.full((len(Z), dual.shape[1]), np.nan, dtype=np.float32)
        with himalaya_backend("numpy") as backend:
            for gamma in np.unique(gammas[np.isfinite(gammas)]):
                for start in range(0, len(Z), N_ROWS):
                    rows = slice(start, start + N_ROWS)
                    k = self._form.between(Z[rows], self.training_features_, gamma, backend)
                    for columns in _batches(np.flatnonzero(gammas == gamma), self.n_targets_batch):
                        Y_hat[rows, columns] = k @ dual[:, columns] + intercept[columns]
        return Y_hat

    def score(self, X: Any, Y: Any) -> np.ndarray:
        """Return r2 of the prediction per target, (n_targets,), not clipped; NaN for targets without a prediction."""
        from brainenc.stats.metrics import r2

        return r2(Y, self.predict(X))

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
        self, design: Design, candidates: np.ndarray, targets: Targets, folds: Folds, backend: ModuleType
    ) -> tuple[Choice, str]:
        """Search the grid, extend it once where too many targets sit at an edge, and say whether that sufficed."""

        def searched(alphas: np.ndarray) -> Choice:
            best: Choice | None = None
            for index, gamma in enumerate(candidates):
                kernel = self._form.training(design.bands[0], gamma, design.trace, backend)
                options = (folds, alphas, self.cv_score, self.n_targets_batch, backend)
                parts = []
                for _, y in _blocks(targets, places(self.device)[0]):
                    # Of a design nothing but its kernel is asked for.
                    curve = mean_curve(cast(Design, kernel), np.ones(1), y, *options)
                    parts.append(choose(curve, alphas, index))
                choice = joined(parts)
                best = choice if best is None else best.merged(choice)
            assert best is not None
            return best

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
        more = [grids.extension(grid, edge) for edge in grids.edges_to_extend(edges(), is_limit()) if self.extend]
        for alphas in more:
            choice = choice.merged(searched(alphas))
        grid = np.unique(np.concatenate([grid, *more]))
        self.alphas_, self.alpha_edges_ = grid, edges()
        return choice, grids.edge_message(self.alpha_edges_, grid, design.trace, self.extend, is_limit())

    def _solve(
        self, design: Design, candidates: np.ndarray, targets: Targets, choice: Choice, backend: ModuleType
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the dual coefficients of the raw kernel and the mean of their predictions, both in units of Y."""
        dual, means = np.zeros((design.n_samples, targets.n_targets)), np.zeros(targets.n_targets)
        fitted = np.isfinite(choice.alpha)
        for index in np.unique(choice.gamma[fitted]):
            kernel = self._form.training(design.bands[0], candidates[index], design.trace, backend)
            solve = dual_solver(kernel.centred(), backend)
            raw_means = kernel.matrix.mean(axis=0)
            wanted = fitted & (choice.gamma == index)
            for columns, y in _blocks(targets, places(self.device)[0], wanted):
                chosen = np.flatnonzero(wanted[columns])
                for local in _batches(chosen, self.n_targets_batch):
                    absolute = local + columns.start
                    d = solve(y[:, local], choice.alpha[absolute]) * targets.scale[absolute]
                    dual[:, absolute], means[absolute] = kernel.factor * d, raw_means @ d
        return dual, means

    def _check_fitted(self) -> None:
        if not hasattr(self, "dual_coef_"):
            raise DataError(f"{type(self).__name__} is not fitted: call fit(X, Y) or from_state(config, state) first.")

    def _standardised(self, X: Any) -> np.ndarray:
        """Return features as the training rows are kept; those that were constant there stay 0, (n, p) float32."""
        self._check_fitted()
        X = check_matrix(X, "X")
        if X.shape[1] != len(self.feature_mean_):
            raise DataError(
                f"X has {X.shape[1]} features but the encoder was fitted on {len(self.feature_mean_)}: "
                "pass the same feature space."
            )
        Z: np.ndarray = ((X - self.feature_mean_) / self.feature_scale_).astype(np.float32)
        Z[:, ~self.training_features_.any(axis=0)] = 0.0
        return Z


def _blocks(targets: Targets, place: Compute, wanted: np.ndarray | None = None) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield wide blocks of standardised responses, since himalaya factorises anew for each."""
    for columns, y in targets.blocks(targets.width(targets.n_targets), place, wanted):
        yield columns, host(y, "float32")


def _batches(targets: np.ndarray, size: int) -> list[np.ndarray]:
    return [targets[start : start + size] for start in range(0, len(targets), size)]


def _one_of(name: str, value: Any, allowed: Any) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise DataError(f"{name} is {value!r}, wanted one of {', '.join(allowed)}: fix the name.")
