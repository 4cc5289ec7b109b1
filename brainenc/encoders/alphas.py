"""Alpha honesty: a grid scaled to the data, the share of targets at its edges, one extension, then a loud warning.

The grid is laid around the mean eigenvalue of the training kernel,

    c = trace(K) / n_samples,    K = Z Z',    Z the centred (and standardised) training features,

which is the number of features when they are standardised: alpha = c (1 - r2) / r2 is the best penalty of independent
features that explain a share r2 of the variance, and correlated features move it up or down by a few decades.

A target of pure noise rightly ends at the upper edge, where the penalty silences it. So edges are judged on the
targets that have something to lose, `at_stake`: those predicted better than chance, and those predicted worse than by
their own mean, which shows a penalty that is too small. And with many samples and few features the best penalty is
rightly none at all: the lower edge does harm only where the score still rises towards it. A correlation, finally, has a
limit for large penalties (it becomes that of the marginal regression), which may well be the best: see `is_limit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from brainenc.core.types import DataError

GRID_DECADES = (-2.0, 4.0)
"""Decades of the automatic grid around ``trace(K) / n_samples``."""

EXTENSION_DECADES = 3.0
"""How far the grid is extended, once, beyond an edge that holds too many targets."""

EDGE_TOLERANCE = 0.05
"""Share of the targets at stake that may lie at an edge."""

RISE = 1e-3
"""Gain of the score over the last grid step above which it still rises at the lower edge."""

EDGE_KEYS = ("lower", "upper", "lower_at_stake", "upper_at_stake", "lower_rising", "n_targets", "n_at_stake")


class AlphaEdgeWarning(RuntimeWarning):
    """Too many targets chose the smallest or the largest penalty that was tried."""


def automatic_grid(trace: float, n_samples: int, n_alphas: int) -> np.ndarray:
    """Return ``logspace(log10(c) - 2, log10(c) + 4, n_alphas)`` with ``c = trace / n_samples``.

    Parameters
    ----------
    trace : trace of the training kernel, i.e. the summed squares of the training features.
    n_samples, n_alphas : number of training rows, of penalties.

    Returns
    -------
    (n_alphas,) float64, ascending.
    """
    low, high = GRID_DECADES
    return _rounded(trace / n_samples * np.logspace(low, high, n_alphas))


def given_grid(alphas: Sequence[float]) -> np.ndarray:
    """Return the user's penalties in ascending order, each once, (n_alphas,) float64.

    Raises
    ------
    DataError
        If there is none, or one is not a positive finite number.
    """
    try:
        grid = np.atleast_1d(np.asarray(alphas, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise DataError(f"alphas is {alphas!r}, wanted 'auto' or a list of positive numbers: fix the list.") from error
    if grid.ndim != 1 or grid.size == 0 or not np.all(np.isfinite(grid) & (grid > 0)):
        raise DataError(f"alphas is {alphas!r}, wanted 'auto' or a list of positive numbers: drop what is not.")
    return np.unique(_rounded(grid))


def extension(grid: np.ndarray, edge: str) -> np.ndarray:
    """Return the penalties that continue ``grid`` by about three decades, in its own step, beyond one edge.

    Parameters
    ----------
    grid : (n_alphas,) ascending, at least two.
    edge : "lower" or "upper".
    """
    step = (np.log10(grid[-1]) - np.log10(grid[0])) / (len(grid) - 1)
    n_more = max(1, int(np.ceil(EXTENSION_DECADES / step - 1e-9)))
    steps = 10.0 ** (step * np.arange(1, n_more + 1))
    return _rounded(np.sort(grid[0] / steps if edge == "lower" else grid[-1] * steps))


@dataclass(frozen=True)
class Grid:
    """Penalties to try, and those that an extension would add at either edge; all ascending, apart from each other."""

    base: np.ndarray
    lower: np.ndarray
    upper: np.ndarray

    @classmethod
    def around(cls, base: np.ndarray, extend: bool) -> Grid:
        """Return the grid with its possible extensions, or without any."""
        if not extend or len(base) < 2:
            return cls(base, base[:0], base[:0])
        return cls(base, extension(base, "lower"), extension(base, "upper"))

    @property
    def widest(self) -> np.ndarray:
        """All penalties, (n_alphas,) ascending."""
        return np.concatenate([self.lower, self.base, self.upper])

    def outcomes(self) -> list[tuple[str, ...]]:
        """Return the sets of edges that may come to be extended, none first."""
        if not len(self.lower):
            return [()]
        return [(), ("lower",), ("upper",), ("lower", "upper")]

    def span(self, edges: tuple[str, ...]) -> slice:
        """Return where the grid extended at these edges lies within `widest`."""
        start = 0 if "lower" in edges else len(self.lower)
        stop = len(self.lower) + len(self.base) + (len(self.upper) if "upper" in edges else 0)
        return slice(start, stop)


def at_stake(scores: np.ndarray, baseline: np.ndarray, n_samples: int, cv_score: str) -> np.ndarray:
    """Say which targets care about their penalty, (n_targets,) bool.

    A correlation of noise over n rows has a standard deviation of ``1 / sqrt(n)``; four of them, or their square in
    units of r2, count as more than chance. With r2, a target that lies as much *below* the prediction by the training
    mean (the limit of an infinite penalty) counts as well.

    Parameters
    ----------
    scores : (n_targets,) cross-validated score at the chosen penalty.
    baseline : (n_targets,) cross-validated score of the training mean; unused for correlations.
    n_samples : training rows.
    cv_score : "r2" or "correlation".
    """
    chance = min(0.9, 4.0 / np.sqrt(n_samples))
    with np.errstate(invalid="ignore"):
        if cv_score == "correlation":
            return scores > chance
        return (scores > chance**2) | (scores < baseline - chance**2)


def edge_shares(alpha: np.ndarray, grid: np.ndarray, stake: np.ndarray, margin: np.ndarray) -> dict[str, float]:
    """Return the share of targets at each edge of the grid, among all fitted ones and among those at stake.

    ``lower_rising`` is the share of the targets at stake that lie at the lower edge and whose score still rises there.

    Parameters
    ----------
    alpha : (n_targets,) chosen penalties, NaN where a target was not fitted.
    grid : (n_alphas,) ascending.
    stake : (n_targets,) bool.
    margin : (n_targets,) score minus that of the next larger penalty.

    Returns
    -------
    dict
        Keys `EDGE_KEYS`: shares in [0, 1] and two counts. With a single penalty, or no target, the shares are NaN.
    """
    fitted = np.isfinite(alpha)
    stake = stake & fitted
    shares: dict[str, float] = {}
    for suffix, among in (("", fitted), ("_at_stake", stake)):
        known = len(grid) > 1 and bool(among.any())
        shares["lower" + suffix] = float(np.mean(alpha[among] == grid[0])) if known else float("nan")
        shares["upper" + suffix] = float(np.mean(alpha[among] == grid[-1])) if known else float("nan")
    rising = (alpha == grid[0]) & (margin > RISE)
    shares["lower_rising"] = float(np.mean(rising[stake])) if len(grid) > 1 and stake.any() else float("nan")
    return shares | {"n_targets": float(fitted.sum()), "n_at_stake": float(stake.sum())}


def is_limit(grid: np.ndarray, trace: float, cv_score: str) -> bool:
    """Say whether the largest penalty is as good as infinite for that score.

    Above the trace of the training kernel, hence above every eigenvalue, a correlation no longer depends on alpha. r2
    does: its limit is the prediction by the mean, and a target that rightly stays there is not at stake.
    """
    return cv_score == "correlation" and bool(grid[-1] >= trace)


def edges_to_extend(shares: dict[str, float], limit: bool = False) -> list[str]:
    """Return the edges beyond which to look, once, as they hold more than the tolerated share of targets.

    At the lower edge all targets count: when even the smallest penalty silences everything, nothing seems at stake,
    but then half of the targets prefer that edge, which noise under a sound grid does not.
    """
    crowded = {
        "lower": max(shares["lower"], shares["lower_at_stake"]) > EDGE_TOLERANCE,
        "upper": shares["upper_at_stake"] > EDGE_TOLERANCE and not limit,
    }
    return [edge for edge, is_crowded in crowded.items() if is_crowded]


def edge_message(shares: dict[str, float], grid: np.ndarray, trace: float, extend: bool, limit: bool = False) -> str:
    """Return the sentence of an `AlphaEdgeWarning`, with what came, where, and the cure; "" if all is well.

    Parameters
    ----------
    shares : of the final grid, see `edge_shares`.
    grid : (n_alphas,) ascending.
    trace : trace of the training kernel; it bounds every eigenvalue, so a larger penalty shrinks all predictions.
    extend : whether the grid was free to be extended.
    limit : whether its upper edge is as good as infinite.
    """
    stuck = [
        f"{shares[key]:.0%} of {shares['n_at_stake']:.0f} targets at stake chose the {which} penalty tried, {value:.3g}"
        for key, which, value in (("lower_rising", "smallest", grid[0]), ("upper_at_stake", "largest", grid[-1]))
        if shares[key] > EDGE_TOLERANCE and not (limit and which == "largest")
    ]
    if grid[0] > trace:
        stuck.append(f"the smallest penalty tried, {grid[0]:.3g}, exceeds the features' sum of squares, {trace:.3g}")
    if not stuck:
        return ""
    tried = "although the grid may be extended once" if extend else "and the grid was not to be extended"
    cure = ("" if extend else "set extend=True or ") + f"pass alphas that reach beyond [{grid[0]:.3g}, {grid[-1]:.3g}]"
    return f"{' and '.join(stuck)} ({tried}): {cure}."


def _rounded(alphas: np.ndarray) -> np.ndarray:
    """Round to float32, so that a chosen alpha equals its grid value in either precision."""
    return alphas.astype(np.float32).astype(np.float64)
