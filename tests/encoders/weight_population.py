"""A population of targets whose law is known, so that the best possible in-context prediction can be computed.

Stimuli: six contents, each shown or not, and sixteen channels that partly follow them; embeddings of unit norm. A
target prefers one of six contents (15 % are turned around at half strength, so that the mean of the population is no
good guess), plus deviations of its own. So weights are a mixture of twelve Gaussians with equal covariance, and given
context pairs the posterior mean is a formula: no estimator that knows the context alone predicts better on average.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

N_CONTENTS, N_CHANNELS = 6, 22
PREFERENCES = np.array(
    [
        [1.0, 0.35, 0, 0, 0, 0],
        [0.3, 1.0, 0, 0, 0, 0],
        [0, 0, 1.0, 0, 0, 0.15],
        [0, 0, 0, 1.0, 0, 0.15],
        [0, 0, 0, 0, 1.0, 0.2],
        [0.4, 0.4, 0, 0.2, 0.4, 1.0],
    ]
)
SHOWN = np.array([0.28, 0.28, 0.30, 0.22, 0.22, 0.35])
MIXING = 0.7 * np.random.default_rng(77).standard_normal((N_CONTENTS, N_CHANNELS - N_CONTENTS))
OWN_SD = np.r_[np.full(N_CONTENTS, 0.12), np.full(N_CHANNELS - N_CONTENTS, 0.112)]
TURNED, TURNED_BY = 0.15, -0.5
NCSNR, N_REPETITIONS = 0.55, 3
SIGNAL_SD = NCSNR / np.sqrt(1 + NCSNR**2)
NOISE_SD = np.sqrt((1 - SIGNAL_SD**2) / N_REPETITIONS)
CEILING = NCSNR / np.sqrt(NCSNR**2 + 1 / N_REPETITIONS)


def _raw(n_stimuli, rng):
    shown = rng.random((n_stimuli, N_CONTENTS)) < SHOWN
    sizes = np.where(shown, np.log1p(rng.uniform(0.3, 1.5, shown.shape)), 0.0)
    channels = np.minimum(shown, 1) @ MIXING + rng.standard_normal((n_stimuli, N_CHANNELS - N_CONTENTS))
    return np.concatenate([sizes, channels], axis=1)


_SAMPLE = _raw(4000, np.random.default_rng(0))
_MEAN, _SD = _SAMPLE.mean(axis=0), _SAMPLE.std(axis=0)


def embeddings(n_stimuli, seed):
    """(n_stimuli, 22) of unit norm."""
    Z = (_raw(n_stimuli, np.random.default_rng(seed)) - _MEAN) / _SD
    return (Z / np.linalg.norm(Z, axis=1, keepdims=True)).astype(np.float32)


_X = embeddings(4000, 1).astype(np.float64)
_CENTRE, _COVARIANCE = _X.mean(axis=0), np.cov(_X.T)


@dataclass(frozen=True)
class Kinds:
    """The mixture: probabilities (12,), means (12, 22) and covariances (12, 22, 22) of the slopes."""

    chances: np.ndarray
    means: np.ndarray
    covariances: np.ndarray


def _kinds():
    means, scales = [], []
    for turn in (1.0, TURNED_BY):
        for preference in PREFERENCES:
            mean = np.r_[turn * preference, np.zeros(N_CHANNELS - N_CONTENTS)]
            # Scaled by kind, not by target, so that each kind stays Gaussian: signal variance is right on average.
            variance = mean @ _COVARIANCE @ mean + OWN_SD**2 @ np.diag(_COVARIANCE)
            scales.append(SIGNAL_SD / np.sqrt(variance))
            means.append(mean)
    chances = np.repeat([(1 - TURNED) / 6, TURNED / 6], 6)
    scales = np.array(scales)
    covariances = scales[:, None, None] ** 2 * np.diag(OWN_SD**2)
    return Kinds(chances, scales[:, None] * np.array(means), covariances)


KINDS = _kinds()


def draw_weights(n_targets, generator):
    """(n_targets, 23) torch weights, intercept last (responses have mean 0 over the stimuli)."""
    chances = torch.tensor(KINDS.chances)
    kind = torch.multinomial(chances, n_targets, replacement=True, generator=generator).numpy()
    own = torch.randn(n_targets, N_CHANNELS, generator=generator).numpy()
    slopes = KINDS.means[kind] + own * np.sqrt(KINDS.covariances[kind].diagonal(axis1=1, axis2=2))
    return torch.from_numpy(np.c_[slopes, -slopes @ _CENTRE].astype(np.float32))


def respond_noisily(X, weights, seed):
    """(n_stimuli, n_targets) responses, mean of `N_REPETITIONS` presentations."""
    weights = np.asarray(weights)
    noise = NOISE_SD * np.random.default_rng(seed).standard_normal((len(X), len(weights)))
    return (X @ weights[:, :-1].T + weights[:, -1] + noise).astype(np.float32)


def posterior_mean(X, Y):
    """The best slopes and intercepts given context X (n, 22), Y (n, n_targets): (22, n_targets), (n_targets,)."""
    X = X.astype(np.float64) - _CENTRE
    logs, slopes = [], []
    for chance, mean, covariance in zip(KINDS.chances, KINDS.means, KINDS.covariances, strict=True):
        spread = X @ covariance @ X.T + NOISE_SD**2 * np.eye(len(X))
        residual = Y - (X @ mean)[:, None]
        solved = np.linalg.solve(spread, residual)
        slopes.append(mean[:, None] + covariance @ X.T @ solved)
        logs.append(np.log(chance) - 0.5 * np.linalg.slogdet(spread)[1] - 0.5 * (residual * solved).sum(axis=0))
    logs = np.array(logs)
    shares = np.exp(logs - logs.max(axis=0))
    shares /= shares.sum(axis=0)
    slopes = np.einsum("kt,kft->ft", shares, np.array(slopes))
    return slopes, -_CENTRE @ slopes
