"""From curves of scores to a choice: folds averaged, the best penalty of each target, the better of two candidates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

IMPOSSIBLE = -1e5
"""Score of an alpha too small for the precision of the kernel, as in himalaya."""


@dataclass(frozen=True)
class Choice:
    """What cross-validation chose for each target; all (n_targets,).

    Attributes
    ----------
    score : mean over folds of the score at the chosen alpha and weights; NaN where no fold had one.
    alpha : chosen penalty, NaN where the score is.
    gamma : index of the chosen row of the band weights.
    baseline : mean over folds of the score of the training mean, the limit of an infinite alpha.
    margin : score minus that of the next larger alpha searched with it; infinite if there was none.
    """

    score: np.ndarray
    alpha: np.ndarray
    gamma: np.ndarray
    baseline: np.ndarray
    margin: np.ndarray

    def merged(self, other: Choice) -> Choice:
        """Return the better choice per target; of equal scores the larger alpha, then the choice made first."""
        with np.errstate(invalid="ignore"):
            better = (other.score > self.score) | ((other.score == self.score) & (other.alpha > self.alpha))
        return Choice(**{name: np.where(better, getattr(other, name), getattr(self, name)) for name in FIELDS})


FIELDS = ("score", "alpha", "gamma", "baseline", "margin")


def choose(curve: np.ndarray, alphas: np.ndarray, gamma: int) -> Choice:
    """Take the best alpha of each column of a curve (n_alphas + 1, n_targets); the last row is the baseline."""
    scores = np.where(np.isnan(curve[:-1]), -np.inf, curve[:-1])
    best = len(alphas) - 1 - np.argmax(scores[::-1], axis=0)
    columns = np.arange(curve.shape[1])
    score = curve[best, columns]
    alpha = np.where(np.isnan(score), np.nan, alphas[best])
    margin = np.where(best + 1 < len(alphas), score - curve[best + 1, columns], np.inf)
    return Choice(score, alpha, np.full(curve.shape[1], gamma), curve[-1], margin)


def joined(parts: list[Choice]) -> Choice:
    """Return the choices of blocks of targets one after the other."""
    return Choice(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in FIELDS})


def settled(score: np.ndarray, raw: np.ndarray, spread: np.ndarray, n_samples: int) -> np.ndarray:
    """Mark penalties that could not be solved, and targets that do not vary in this fold.

    Parameters
    ----------
    score, raw : (n_alphas + 1, n_targets) scores, and what they were made of.
    spread : (n_targets,) squared deviations of the validation rows of standardised responses.
    """
    score = np.where(np.isnan(raw), IMPOSSIBLE, score)
    score[:, spread <= 1e-10 * n_samples] = np.nan
    return score


def fold_mean(curves: list[np.ndarray]) -> np.ndarray:
    """Return the mean over the folds in which a score is defined; NaN if there is none."""
    total, count = np.zeros_like(curves[0]), np.zeros_like(curves[0])
    for curve in curves:
        known = ~np.isnan(curve)
        total += np.where(known, curve, 0.0)
        count += known
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
