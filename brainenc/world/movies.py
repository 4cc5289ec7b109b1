"""Films of clips, and the BOLD series of a planted subject who sees them: every number of it known.

A film is a row of clips (`brainenc.world.clips`), each shown for a whole number of volumes, with blank screen between
them if so planned. Its columns ``x_j`` hold, per volume j, the size c_k of each of six categories (of the clip's first
frame, see `brainenc.world.cortex`) and the motion energy: the mean length of the optical flow over pixels and frames,
in image sides per second. The screen is constant within a volume as far as the columns say, so the response at the
start of volume k, in percent signal change, is exactly a sum over delays::

    s_k = sum_d w_d W x_{k-d},    w_d = H(d tr) - H((d-1) tr),    H(t) = (G_6(t) - G_16(t) / 6) / (1 - 1/6)

with G_a the distribution function of the gamma density of shape a and scale 1 s: the integral of SPM's canonical
double gamma, scaled to area 1 (Friston et al. 1998, doi:10.1006/nimg.1997.0306). What is measured is ``s`` plus noise
of variance ``noise_sd^2``: a share `DRIFT` of it in cosines slower than 100 s, the rest first-order autoregressive with
correlation `AR` from volume to volume. A perfect model of n averaged presentations therefore reaches the correlation
``sqrt(v / (v + noise_sd^2 / n))``, v the variance of s over the volumes scored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from brainenc.core.types import DataError
from brainenc.world.clips import ClipPlan, optical_flow, paint_clip, plan_clip
from brainenc.world.cortex import PLANTED_CATEGORIES, PREFERENCES, read_scene
from brainenc.world.measurement import NCSNR
from brainenc.world.scenes import paint_scene

N_SEEDS = 500_000  # clips have seeds below this; larger ones belong to tests and to training
COLUMNS = (*(f"size_{name}" for name in PLANTED_CATEGORIES), "motion")
MOTION_REGION = "hMT+"
REGIONS = (*PREFERENCES, "NOISE")
FRAMES = 12  # per volume, for the motion energy
FLOW_SIZE, PICTURE_SIZE = 32, 64  # pixels
KERNEL_SECONDS, TAIL_SECONDS = 32.0, 14.0
AR, DRIFT, CUT_OFF = 0.3, 0.2, 0.01  # correlation of neighbours, share of the noise variance, Hz
OWN, NOISE_SPREAD = 0.12, 0.2  # sd of a target's own preference; sd of the log of noise_sd and of ncsnr


@dataclass(frozen=True)
class Film:
    """What one run shows.

    Parameters
    ----------
    name : str
    seeds : tuple of int
        One per clip.
    onsets : tuple of int
        Volume with which each clip begins.
    clip_volumes, n_volumes : int
        Volumes of a clip, and of the run.
    tr : float
        Seconds per volume.
    """

    name: str
    seeds: tuple[int, ...]
    onsets: tuple[int, ...]
    clip_volumes: int
    n_volumes: int
    tr: float

    @property
    def clip(self) -> np.ndarray:
        """Which clip each volume shows, int (n_volumes,); -1 is blank screen."""
        shown = np.full(self.n_volumes, -1)
        for k, onset in enumerate(self.onsets):
            shown[onset : onset + self.clip_volumes] = k
        return shown

    def clip_plan(self, k: int) -> ClipPlan:
        """Clip k at `FRAMES` frames per volume, with one frame more, so that every frame of it has a flow."""
        fps = FRAMES / self.tr
        return plan_clip(self.seeds[k], (self.clip_volumes * FRAMES + 1) / fps, fps)

    def paint(self, k: int) -> np.ndarray:
        """The frame at the start of each volume of clip k, (clip_volumes, 64, 64, 3) uint8."""
        slow = replace(self.clip_plan(k), n_frames=self.clip_volumes, fps=1 / self.tr)
        return paint_clip(slow, PICTURE_SIZE)

    def columns(self) -> np.ndarray:
        """What each volume shows, float64 (n_volumes, 7) in the order of `COLUMNS`; 0 for blank screen."""
        values = np.zeros((self.n_volumes, len(COLUMNS)))
        for k, onset in enumerate(self.onsets):
            plan, rows = self.clip_plan(k), slice(onset, onset + self.clip_volumes)
            values[rows, :-1] = read_scene(paint_scene(plan.scene, 16))[0]
            speed = np.linalg.norm(optical_flow(plan, FLOW_SIZE), axis=-1).mean(axis=(1, 2)) * plan.fps / FLOW_SIZE
            values[rows, -1] = speed.reshape(self.clip_volumes, FRAMES).mean(axis=1)
        return values


def plan_films(
    names: list[str], n_clips: int, clip_volumes: int, tr: float, rest: int, rng: np.random.Generator
) -> list[Film]:
    """Choose the clips of some films; no clip comes twice.

    Parameters
    ----------
    names : list of str
        One film each.
    n_clips, clip_volumes : int
        Clips per film and volumes per clip.
    tr : float
        Seconds.
    rest : int
        Most volumes of blank screen after a clip: 1 to ``rest`` at random, and about 14 s after the last. 0 is a film
        without a break.
    rng : Generator

    Raises
    ------
    DataError
        More clips than there are seeds, or fewer than one of anything.
    """
    if min(n_clips, clip_volumes) < 1 or rest < 0 or not 0.1 <= tr <= 10:
        raise DataError(
            f"films: {n_clips} clips of {clip_volumes} volumes, rest {rest} and a TR of {tr:g} s came, wanted at least "
            "one clip and volume, rest from 0, and 0.1 to 10 s: correct them."
        )
    if len(names) * n_clips > N_SEEDS:
        raise DataError(f"films: {len(names) * n_clips} clips came, wanted at most {N_SEEDS}: ask for fewer.")
    seeds = rng.choice(N_SEEDS, (len(names), n_clips), replace=False)
    films = []
    for name, own in zip(names, seeds, strict=True):
        gaps = rng.integers(1, rest + 1, n_clips) if rest else np.zeros(n_clips, int)
        onsets = np.arange(n_clips) * clip_volumes + np.cumsum(gaps) - gaps
        n_volumes = int(onsets[-1]) + clip_volumes + (round(TAIL_SECONDS / tr) if rest else 0)
        films.append(Film(name, tuple(own.tolist()), tuple(onsets.tolist()), clip_volumes, n_volumes, tr))
    return films


def haemodynamic_weights(tr: float) -> np.ndarray:
    """w_d of the module's equation for delays 0, 1 ... up to 32 s, float64 (n_delays,); they sum to 1."""
    from scipy.special import gammainc

    time = np.arange(-1, round(KERNEL_SECONDS / tr) + 1) * tr
    area = (gammainc(6, np.maximum(time, 0)) - gammainc(16, np.maximum(time, 0)) / 6) / (1 - 1 / 6)
    return np.diff(area)


def respond(drive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sum over delays of ``weights[d] drive[k - d]`` within one run: (n_volumes, t) -> (n_volumes, t)."""
    response = np.zeros_like(drive)
    for delay, weight in enumerate(weights[: len(drive)]):
        response[delay:] += weight * drive[: len(drive) - delay]
    return response


def draw_weights(region: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Weights W (7, t) of the columns, of arbitrary scale: a region's preference and a target's own.

    Motion targets answer to motion alone, the others not at all to motion, NOISE to nothing.
    """
    W = np.zeros((len(COLUMNS), len(region)))
    preferred = np.array([[PREFERENCES.get(name, {}).get(k, 0.0) for k in PLANTED_CATEGORIES] for name in region]).T
    W[:-1] = preferred + OWN * rng.standard_normal(preferred.shape)
    W[:, np.isin(region, (MOTION_REGION, "NOISE"))] = 0.0
    W[-1, region == MOTION_REGION] = 1.0
    return W


def draw_noise(region: np.ndarray, rng: np.random.Generator, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Ratio of signal to noise sd, and noise sd in percent signal change, per target (t,), by the medians of NCSNR."""
    spread = np.exp(NOISE_SPREAD * rng.standard_normal((2, len(region))))
    ratio = np.array([NCSNR[name] for name in region]) * spread[0] * scale
    return ratio, spread[1]


def scale_weights(W: np.ndarray, signal: np.ndarray, wanted_sd: np.ndarray) -> np.ndarray:
    """W (7, t) such that its ``signal`` (n, t) gets the sd ``wanted_sd`` (t,); 0 where nothing excites a target."""
    sd = signal.std(axis=0)
    return W * np.where(sd > 0, wanted_sd / np.where(sd > 0, sd, 1), 0)


def draw_run_noise(n_volumes: int, noise_sd: np.ndarray, tr: float, rng: np.random.Generator) -> np.ndarray:
    """Noise of one run, float64 (n_volumes, t): autoregressive, and drift where the run is long enough for any."""
    t = len(noise_sd)
    n_cosines = int(2 * n_volumes * tr * CUT_OFF)
    share = DRIFT if n_cosines else 0.0
    white = rng.standard_normal((n_volumes, t))
    white[1:] *= np.sqrt(1 - AR**2)
    for k in range(1, n_volumes):
        white[k] += AR * white[k - 1]
    angle = np.pi * (np.arange(n_volumes) + 0.5)[:, None] * np.arange(1, n_cosines + 1) / n_volumes
    drift = np.sqrt(2 / max(n_cosines, 1)) * np.cos(angle) @ rng.standard_normal((n_cosines, t))
    noise: np.ndarray = noise_sd * (np.sqrt(1 - share) * white + np.sqrt(share) * drift)
    return noise


def ceiling_correlation(signal: np.ndarray, noise_sd: np.ndarray, n_presentations: int = 1) -> np.ndarray:
    """Correlation of the signal (n, t) with the mean of n presentations, per target (t,), as the module's equation."""
    variance = signal.var(axis=0)
    best: np.ndarray = np.sqrt(variance / (variance + noise_sd**2 / n_presentations))
    return best


@dataclass(frozen=True, eq=False)
class MovieTruth:
    """What was planted in one subject: n distinct volumes, m clips, t targets in the order of the responses.

    Parameters
    ----------
    stimulus_ids : object array of str, shape (n,)
    signal : float32 array, shape (n, t)
        s of each volume, percent signal change.
    clip_ids : object array of str, shape (m,)
    amplitude : float array, shape (m, t)
        Planted beta of each clip: ``W x``, averaged over the clip's volumes, percent signal change.
    W : float array, shape (7, t)
        Percent signal change per unit of each of `COLUMNS`.
    kernel : float array, shape (n_delays,)
        w_d.
    noise_sd, ncsnr : float array, shape (t,)
        Noise sd in percent signal change; signal sd over all volumes by noise sd.
    region : object array of str, shape (t,)
    """

    stimulus_ids: np.ndarray
    signal: np.ndarray
    clip_ids: np.ndarray
    amplitude: np.ndarray
    W: np.ndarray
    kernel: np.ndarray
    noise_sd: np.ndarray
    ncsnr: np.ndarray
    region: np.ndarray
