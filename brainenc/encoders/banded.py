"""Banded ridge: several feature spaces in one model, each target deciding how much to shrink each of them.

    min_w |y - sum_b Z_b w_b|^2 + alpha sum_b |w_b|^2 / gamma_b,    gamma_b >= 0, sum_b gamma_b = 1

Z_b is band b, standardised and scaled so that all bands have the same trace: otherwise the band with more features
would start with the larger say. alpha and gamma are chosen per target by cross-validation (Nunez-Elizalde et al. 2019,
10.1016/j.neuroimage.2019.04.012; Dupre la Tour et al. 2022, 10.1016/j.neuroimage.2022.119728).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from brainenc.core.types import DataError
from brainenc.encoders.choice import Choice
from brainenc.encoders.linear import LinearEncoder, check_count, checked_band

N_GAMMAS_TWO_BANDS = 9
N_GAMMAS_PER_BAND = 10
N_LEADERS = 5
"""Weights around which a refinement looks: those that most targets chose."""
STEP = 1.5
"""First step of a refinement, in log odds; every further round halves it."""
CONCENTRATIONS = (0.1, 1.0)
"""Of the Dirichlet distributions in turn: near the corners of the simplex, and uniform over it."""


class Banded(LinearEncoder):
    """Ridge regression on several bands with cross-validated band weights per target.

    With one band it is `Ridge`. Further parameters and attributes are those of `Ridge`; ``alphas="auto"`` uses the
    trace of the summed kernels of all bands.

    Parameters
    ----------
    gammas : band weights to try, (n_gammas, n_bands), each row >= 0 with sum 1; None for the automatic ones: two bands
        get a fixed grid (`two_band_weights`), more a seeded Dirichlet search (`random_weights`). A band of weight 0 is
        left out exactly.
    n_gammas : number of automatic candidates; None for 9 with two bands and 10 a band with more.
    n_refinements : rounds of local search around the weights that most targets chose, with ever smaller steps
        (`neighbours`); 0 for none.
    seed : of the Dirichlet search.
    **ridge : parameters of `Ridge`.

    Attributes
    ----------
    coef_ : (n_features, n_targets) float32, the bands one below the other in the order given; see `split_coefficients`.
    gamma_ : (n_bands, n_targets) float32 chosen band weights, NaN for targets not fitted.
    deltas_ : (n_bands, n_targets) ``log(gamma / alpha)``, himalaya's log weights; -inf for a band left out.
    band_sizes_ : (n_bands,) number of features.
    cv_scores_without_ : (n_bands, n_targets) best cross-validated score of the candidates that leave a band out;
        ``cv_scores_ - cv_scores_without_`` is its unique variance in training, without another fit. NaN if no candidate
        leaves it out.
    """

    def __init__(
        self,
        gammas: Sequence[Sequence[float]] | None = None,
        n_gammas: int | None = None,
        n_refinements: int = 0,
        seed: int = 0,
        **ridge: Any,
    ) -> None:
        super().__init__(**ridge)
        if n_gammas is not None:
            check_count("n_gammas", n_gammas, 2)
        check_count("n_refinements", n_refinements, 0)
        check_count("seed", seed, 0)
        self.gammas = None if gammas is None else _checked_weights(gammas).tolist()
        self.n_gammas, self.n_refinements, self.seed = n_gammas, n_refinements, seed

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments, ready for JSON."""
        own = {"n_gammas": self.n_gammas, "n_refinements": self.n_refinements, "seed": self.seed}
        return super().config() | {"gammas": self.gammas} | own

    def predict(self, X: Sequence[Any], split: bool = False, *, targets: slice | None = None) -> np.ndarray:
        """Return predicted responses, whole or by band.

        Parameters
        ----------
        X : list of (n_samples, n_features_b), the bands in the order of `fit`.
        split : return the part of each band, ``(X_b - feature_mean_b) @ coef_b``. The parts sum to the whole minus
            ``target_mean_``: a part is 0 at the band's training mean, and no band owns the intercept.
        targets : predict these only.

        Returns
        -------
        (n_samples, n_targets) float32, or (n_bands, n_samples, n_targets) with ``split=True``.
            NaN for targets that could not be fitted.
        """
        if not split:
            return super().predict(X, targets=targets)
        chosen = slice(None) if targets is None else targets
        centred, coef = self._centred(X), np.asarray(self.coef_[:, chosen])
        parts = np.empty((len(self.band_sizes_), len(centred), coef.shape[1]), dtype=np.float32)
        borders = np.cumsum(self.band_sizes_)
        for b, (start, stop) in enumerate(zip(borders - self.band_sizes_, borders, strict=True)):
            np.matmul(centred[:, start:stop], coef[start:stop], out=parts[b])
        parts[:, :, np.isnan(self.alpha_[chosen])] = np.nan
        return parts

    def split_coefficients(self) -> list[np.ndarray]:
        """Return the coefficients of each band, [(n_features_b, n_targets), ...]."""
        self._check_fitted()
        return np.split(np.asarray(self.coef_), np.cumsum(self.band_sizes_)[:-1])

    @property
    def deltas_(self) -> np.ndarray:
        """Log weights of the bands, (n_bands, n_targets): ``log(gamma_ / alpha_)``."""
        with np.errstate(divide="ignore"):
            return np.log(self.gamma_ / self.alpha_).astype(np.float32)

    def _bands(self, X: Any) -> list[np.ndarray]:
        if not isinstance(X, (list, tuple)) or not X:
            raise DataError(f"X is {type(X).__name__}, wanted a list of matrices, one a band: pass [X1, X2, ...].")
        first = checked_band(X[0], "band 0")
        return [first, *(checked_band(band, f"band {b}", len(first)) for b, band in enumerate(X[1:], start=1))]

    def _candidates(self, n_bands: int, best: Choice | None, seen: np.ndarray) -> np.ndarray:
        if best is not None:
            return self._further(best, seen)
        self._round = 0
        if self.gammas is not None:
            weights = np.array(self.gammas)
            if weights.shape[1] != n_bands:
                raise DataError(
                    f"gammas has {weights.shape[1]} weights a row but X has {n_bands} bands: give one weight a band."
                )
            return weights
        if n_bands == 1:
            return np.ones((1, 1))
        if n_bands == 2:
            return two_band_weights(self.n_gammas or N_GAMMAS_TWO_BANDS)
        return random_weights(self.n_gammas or N_GAMMAS_PER_BAND * n_bands, n_bands, self.seed)

    def _further(self, best: Choice, seen: np.ndarray) -> np.ndarray:
        """Return neighbours of the weights chosen most, none of them tried before."""
        if self._round == self.n_refinements or seen.shape[1] < 2:
            return seen[:0]
        self._round += 1
        chosen = np.bincount(best.gamma[np.isfinite(best.alpha)], minlength=len(seen))
        leaders = seen[np.argsort(-chosen, kind="stable")[: min(N_LEADERS, int((chosen > 0).sum()))]]
        near = neighbours(leaders, STEP / 2.0 ** (self._round - 1))
        distance = np.abs(near[:, None] - seen[None]).max(axis=2).min(axis=1)
        return np.unique(np.round(near[distance > 1e-6], 9), axis=0)


def two_band_weights(n_gammas: int) -> np.ndarray:
    """Return a fixed grid on the edge between two bands, (n_gammas, 2), most equal weights first.

    Both corners (one band alone), and between them weights evenly spaced in log odds from 1:99 to 99:1.
    """
    odds = np.linspace(-1.0, 1.0, n_gammas - 2) * np.log(99.0) if n_gammas > 3 else np.zeros(max(n_gammas - 2, 0))
    first = np.concatenate([1.0 / (1.0 + np.exp(-odds)), [0.0, 1.0]])
    first = first[np.argsort(np.abs(first - 0.5), kind="stable")]
    return np.stack([first, 1.0 - first], axis=1)


def random_weights(n_gammas: int, n_bands: int, seed: int) -> np.ndarray:
    """Return candidates on the simplex, (n_gammas, n_bands): equal weights, the corners, equal weights of all bands but
    one, then Dirichlet draws.

    Draws alternate between the concentrations 0.1 (a few bands dominate) and 1 (uniform).
    """
    generator = np.random.default_rng(seed)
    eye = np.eye(n_bands)
    fixed = np.concatenate([np.full((1, n_bands), 1.0 / n_bands), eye, (1.0 - eye) / (n_bands - 1)])
    n_random = max(0, n_gammas - len(fixed))
    draws = [generator.dirichlet(np.full(n_bands, CONCENTRATIONS[i % 2])) for i in range(n_random)]
    return np.concatenate([fixed, np.reshape(draws, (n_random, n_bands))])[:n_gammas]


def neighbours(gammas: np.ndarray, step: float) -> np.ndarray:
    """Return weights a step away in the log odds of one band against the rest, (n, n_bands).

    A weight of 0 or 1 has no odds to step from and is taken as 1:99 or 99:1.
    """
    n_bands = gammas.shape[1]
    found = []
    for band in range(n_bands):
        share = np.clip(gammas[:, band], 0.01, 0.99)
        rest = np.delete(gammas, band, axis=1)
        left = rest.sum(axis=1, keepdims=True)
        rest = np.where(left > 0, rest / np.where(left > 0, left, 1.0), 1.0 / (n_bands - 1))
        for sign in (-1.0, 1.0):
            moved = 1.0 / (1.0 + np.exp(-(np.log(share / (1.0 - share)) + sign * step)))
            found.append(np.insert(rest * (1.0 - moved)[:, None], band, moved, axis=1))
    return np.concatenate(found)


def _checked_weights(gammas: Any) -> np.ndarray:
    """Return explicit band weights as (n_gammas, n_bands), or raise `DataError`."""
    try:
        weights = np.asarray(gammas, dtype=np.float64)
    except (TypeError, ValueError):
        weights = np.empty(0)
    if weights.ndim != 2 or 0 in weights.shape:
        raise DataError(f"gammas is {gammas!r}, wanted rows of one weight a band: pass [[0.5, 0.5], [0.9, 0.1], ...].")
    wrong = ~(np.all(weights >= 0, axis=1) & np.isclose(weights.sum(axis=1), 1.0, atol=1e-6))
    if wrong.any():
        raise DataError(f"gammas has the row {weights[wrong][0].tolist()}, wanted weights >= 0 with sum 1: rescale it.")
    return weights
