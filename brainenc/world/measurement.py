"""Measuring the planted cortex: repetitions, sessions, noise, drift, and faults, with a noise ceiling in closed form.

Signal-to-noise ratio per vertex: the median of its region times smooth variation between vertices and people,
``ncsnr_v = scale median(region) exp(.3 group_v) exp(.2 own_v)``, at most 1.2 scale. A trial at time t of session j that
shows picture i measures, with ``b^2 = ncsnr^2 / (1 + ncsnr^2)``::

    y_v = b_v s_vi + sqrt(1 - b_v^2) (sqrt(.5) e_smooth + sqrt(.5) e_white) + .25 (offset_vj + 2 t slope_vj)

so that signal and noise together have variance 1. The mean over n repetitions then has (Allen et al. 2022,
doi:10.1038/s41593-021-00962-x)::

    noise ceiling   NC(n) = ncsnr^2 / (ncsnr^2 + 1/n),    largest correlation sqrt(NC(n)),    largest r2 NC(n)
    two means       correlation sqrt(NC(n1) NC(n2))

The smooth noise has exactly unit variance. Medians are design values in the range of good 7-tesla data, nothing
measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from brainenc.core.types import DataError
from brainenc.world.cortex import Tuning
from brainenc.world.mesh import noise_operator, smooth_maps

NCSNR: Mapping[str, float] = {
    "V1": 0.65, "V2": 0.60, "V3": 0.55, "hV4": 0.50, "OFA": 0.45, "FFA-1": 0.50, "FFA-2": 0.45, "PPA": 0.50,
    "OPA": 0.50, "RSC": 0.40, "EBA": 0.55, "FBA": 0.45, "VWFA": 0.40, "LO": 0.50, "hMT+": 0.35, "FOOD": 0.40,
    "STSface": 0.25, "A1": 0.05, "IFG": 0.12, "STSlang": 0.12, "ATLlang": 0.08,
    "NOISE": 0.0, "ANTI": 0.45, "DRIFTONLY": 0.0, "": 0.08,
}  # fmt: skip
LARGEST = 1.2
DRIFT = 0.25  # sd of session offsets; slopes are twice as large per session
CONFOUND = 1.2  # slope of DRIFTONLY over a session
NOISE_STEPS, DRIFT_STEPS, RATIO_STEPS = 3, 10, 6  # smoothing of the noise, of drift maps and of ncsnr
_CHUNK = 256  # trials whose noise is drawn together


def noise_ceiling(ncsnr: np.ndarray, n_repetitions: float) -> np.ndarray:
    """NC(n) = ncsnr^2 / (ncsnr^2 + 1/n): what a perfect model explains of the variance of a mean over n repetitions."""
    square = np.square(ncsnr)
    return square / (square + 1 / n_repetitions)


def draw_ncsnr(
    tuning: Tuning, vertices: np.ndarray, group: np.random.Generator, own: np.random.Generator, scale: float = 1.0
) -> np.ndarray:
    """Signal-to-noise ratio per vertex, shape (t,); 0 where nothing can be seen. Generators as in `draw_tuning`."""
    variation = 0.3 * smooth_maps(group, 1, RATIO_STEPS) + 0.2 * smooth_maps(own, 1, RATIO_STEPS)
    median = np.array([NCSNR[name] for name in tuning.region])
    ratio = np.minimum(median * np.exp(variation[vertices, 0]), LARGEST) * scale
    return np.where(tuning.sighted, ratio, 0.0)


def check_truth(ncsnr: np.ndarray, S: np.ndarray) -> None:
    """Refuse a truth that claims signal where there is none.

    Raises
    ------
    DataError
        A vertex has ``ncsnr > 0`` but a constant signal (n, t), or the shapes differ.
    """
    if ncsnr.shape != S.shape[1:]:
        raise DataError(f"planted truth: ncsnr has shape {ncsnr.shape}, signal {S.shape}: give one ratio per column.")
    empty = np.flatnonzero((ncsnr > 0) & (S.std(axis=0) == 0))
    if len(empty):
        raise DataError(
            f"planted truth: column {empty[0]} claims ncsnr {ncsnr[empty[0]]:.2f} but its signal is constant "
            f"({len(empty)} such columns): set ncsnr to 0 where nothing is seen."
        )


def draw_design(
    n_images: int,
    n_repetitions: int,
    n_sessions: int,
    n_runs: int,
    rng: np.random.Generator,
    late: np.ndarray | None = None,
) -> pd.DataFrame:
    """Order of the trials: ``n_repetitions`` passes over all images in random order, cut into sessions and runs.

    Parameters
    ----------
    n_images, n_repetitions, n_sessions : int
    n_runs : int
        Per session; runs are numbered through all sessions.
    rng : Generator
    late : bool array, shape (n_images,), optional
        Images that become more frequent within a session, by ``P(late | t) = P(late) (1 + 2 t)``: with .3 late images
        that is .3 + .6 t. The drift confound. At most half of the images.

    Returns
    -------
    DataFrame
        One row per trial in order: ``image`` (row of the contents), ``session``, ``run``, ``repetition`` (from 0) and
        ``time`` (-.5 at the start of the session to .5 at its end).

    Raises
    ------
    DataError
        More than half of the images are late.
    """
    if late is not None and late.mean() > 0.5:
        raise DataError(f"draw_design: {late.mean():.0%} of the images are late, wanted at most half: choose fewer.")
    n_trials = n_images * n_repetitions
    image = np.concatenate([rng.permutation(n_images) for _ in range(n_repetitions)])
    repetition = np.repeat(np.arange(n_repetitions), n_images)
    progress = np.arange(n_trials) * n_sessions
    session, time = progress // n_trials, (progress % n_trials) / n_trials - 0.5
    if late is not None:
        order = _late_order(late[image], session, rng)
        image, repetition = image[order], repetition[order]
    run = session * n_runs + ((time + 0.5) * n_runs).astype(int)
    return pd.DataFrame({"image": image, "session": session, "run": run, "repetition": repetition, "time": time})


def _late_order(late: np.ndarray, session: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sort each session by times drawn from density 1 + slope t on (-.5, .5): slope 2 for late trials."""
    u = rng.random(len(late))
    share = np.array([late[session == s].mean() for s in session])
    slope = np.where(late, 2.0, -2 * share / np.maximum(1 - share, 1e-9))
    half = np.where(np.abs(slope) > 1e-9, slope, 1e-9) / 2
    time = (-1 + np.sqrt(np.maximum(1 - 4 * half * (0.5 - half / 4 - u), 0))) / (
        2 * half
    )  # inverse of its distribution
    return np.lexsort((time, session))


def measure(
    S: np.ndarray,
    ncsnr: np.ndarray,
    design: pd.DataFrame,
    vertices: np.ndarray,
    rng: np.random.Generator,
    drift: float = DRIFT,
    drifting: np.ndarray | None = None,
) -> np.ndarray:
    """Simulate trials.

    Parameters
    ----------
    S : float array, shape (n_images, t)
        Noiseless signal, variance 1 or 0.
    ncsnr : float array, shape (t,)
    design : DataFrame
        From `draw_design`.
    vertices : int array, shape (t,)
        Where the columns lie on [left | right]: noise and drift are smooth over cortex.
    rng : Generator
    drift : float
        Sd of the session offsets.
    drifting : bool array, shape (t,), optional
        Vertices that carry ``1.2 time`` on top: drift without signal.

    Returns
    -------
    float32 array, shape (n_trials, t)

    Raises
    ------
    DataError
        ncsnr > 0 where the signal is constant.
    """
    check_truth(ncsnr, S)
    gain = (ncsnr / np.sqrt(1 + ncsnr**2)).astype(np.float32)
    spread = (np.sqrt(0.5) / np.sqrt(1 + ncsnr**2)).astype(np.float32)
    n_sessions = int(design["session"].max()) + 1
    maps = smooth_maps(rng, 2 * n_sessions, DRIFT_STEPS)[vertices].T.astype(np.float32) * np.float32(drift)
    K, support = noise_operator(vertices, NOISE_STEPS)
    K = K.astype(np.float32)
    image, session = design["image"].to_numpy(), design["session"].to_numpy()
    time = design["time"].to_numpy(np.float32)[:, None]
    Y = np.empty((len(design), len(vertices)), np.float32)
    for start in range(0, len(design), _CHUNK):
        rows = slice(start, min(start + _CHUNK, len(design)))
        noise = (K @ rng.standard_normal((len(support), rows.stop - start), dtype=np.float32)).T
        noise = noise + rng.standard_normal(noise.shape, dtype=np.float32)
        wander = maps[session[rows]] + 2 * time[rows] * maps[n_sessions + session[rows]]
        Y[rows] = gain * S[image[rows]] + spread * noise + wander
    if drifting is not None:
        Y[:, drifting] += np.float32(CONFOUND) * time
    return Y


@dataclass(frozen=True, eq=False)
class Faults:
    """What happens to real data: ``dead`` columns are constant 0, ``missing`` ones NaN, ``lost`` trials all NaN."""

    dead: np.ndarray
    missing: np.ndarray
    lost: np.ndarray

    def applied(self, Y: np.ndarray) -> np.ndarray:
        """A copy of Y (n_trials, t) with the faults."""
        Y = Y.copy()
        Y[:, self.dead] = 0.0
        Y[:, self.missing] = np.nan
        Y[self.lost] = np.nan
        return Y


def draw_faults(n_trials: int, n_targets: int, rng: np.random.Generator, share: float = 0.01) -> Faults:
    """Draw ``share`` dead and as many missing columns, at least one of each, and one lost trial."""
    count = max(1, round(share * n_targets))
    chosen = rng.permutation(n_targets)[: 2 * count]
    return Faults(np.sort(chosen[:count]), np.sort(chosen[count:]), rng.integers(n_trials, size=1))
