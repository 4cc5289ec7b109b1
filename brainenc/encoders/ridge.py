"""Ridge regression from features to many targets, each target with its own penalty.

    min_w |y - Z w|^2 + alpha |w|^2,    Z the centred and standardised features, y the centred response

alpha is chosen per target by grouped cross-validation over a grid scaled to the data, on features or on kernels,
whichever takes fewer operations (Hoerl and Kennard 1970, 10.1080/00401706.1970.10488634; himalaya: Dupre la Tour et al.
2022, 10.1016/j.neuroimage.2022.119728).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from brainenc.encoders.choice import Choice
from brainenc.encoders.linear import LinearEncoder, checked_band


class Ridge(LinearEncoder):
    """Ridge regression with a cross-validated penalty per target.

    Parameters
    ----------
    alphas : penalties to try, or "auto": ``n_alphas`` values from 1e-2 to 1e4 times ``trace(K) / n_samples``, where K
        is the kernel of the centred (and standardised) training features. Penalises ``|Y - Z w|^2 + alpha |w|^2``.
    n_alphas : size of the automatic grid.
    n_folds : most inner folds. At most that many groups: one group is left out at a time; more: balanced group folds;
        no groups: contiguous folds.
    cv : "folds", or a closed form that leaves single rows out and so needs rows without groups: "loo" or "gcv"
        (`closed`).
    cv_score : "r2" or "correlation", what an alpha is chosen by: computed within each fold, then averaged.
    standardise : scale features to unit variance over the training rows (they are always centred).
    extend : extend the grid once, by about three decades, beyond an edge where over 5 % of the targets at stake lie.
    solver : "exact": the scores of all penalties from one factorisation per fold (`exact`); or "himalaya".
    device : "auto" (CUDA where there is one, all that are visible), "cpu", "cuda", or "numpy" (cpu without torch).
    n_targets_batch : targets at a time; memory grows with it, not with the number of targets.

    Attributes
    ----------
    coef_ : (n_features, n_targets) float32, units of Y per unit of X; 0 for targets not fitted.
    intercept_ : (n_targets,) float32, NaN for targets not fitted.
    feature_mean_, target_mean_ : (n_features,), (n_targets,) float64 training means.
    alpha_ : (n_targets,) chosen penalty, NaN for targets not fitted.
    cv_scores_ : (n_targets,) cross-validated score at that penalty.
    alphas_ : (n_alphas,) the grid used, extension included.
    alpha_edges_ : share of targets at the ``lower`` and ``upper`` edge of the grid, among all fitted targets and among
        those ``_at_stake`` (see `alphas`), with both counts.
    n_dropped_rows_ : rows of Y without any finite value.
    """

    def _bands(self, X: Any) -> list[np.ndarray]:
        return [checked_band(X, "X")]

    def _candidates(self, n_bands: int, best: Choice | None, seen: np.ndarray) -> np.ndarray:
        return np.ones((0 if len(seen) else 1, n_bands))
