"""Measurement: the closed forms of the noise ceiling, the estimators that must find it, and their broken twins."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from brainenc.core.types import DataError
from brainenc.world import measurement
from brainenc.world.cortex import Tuning
from brainenc.world.measurement import noise_ceiling
from brainenc.world.mesh import neighbour_mean

N_IMAGES, N_REPETITIONS, N_SESSIONS = 1000, 3, 6
VERTICES = np.arange(0, 20484, 51)  # far apart: independent targets


def correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    return (a * b).sum(axis=0) / np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))


def by_repetition(Y: np.ndarray, design: pd.DataFrame) -> np.ndarray:
    """Y as (n_repetitions, n_images, t)."""
    out = np.empty((design["repetition"].max() + 1, design["image"].max() + 1, Y.shape[1]), Y.dtype)
    out[design["repetition"], design["image"]] = Y
    return out


@pytest.fixture(scope="module")
def planted() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ncsnr (t,), signal (n, t) and drift-free measurements (3, n, t)."""
    rng = np.random.default_rng(0)
    ncsnr = np.linspace(0.1, 1.0, len(VERTICES))
    S = rng.standard_normal((N_IMAGES, len(VERTICES)))
    S = (S - S.mean(axis=0)) / S.std(axis=0)
    design = measurement.draw_design(N_IMAGES, N_REPETITIONS, N_SESSIONS, 4, rng)
    Y = measurement.measure(S, ncsnr, design, VERTICES, rng, drift=0.0)
    return ncsnr, S, by_repetition(Y, design)


def test_signal_and_noise_together_have_variance_one(planted) -> None:
    assert planted[2].var(axis=(0, 1)).mean() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_perfect_model_reaches_the_ceiling(planted, n: int) -> None:
    ncsnr, S, Y = planted
    r = correlation(S, Y[:n].mean(axis=0))
    expected = np.sqrt(noise_ceiling(ncsnr, n))
    assert np.polyfit(expected, r, 1)[0] == pytest.approx(1, abs=0.03)
    assert np.mean(r - expected) == pytest.approx(0, abs=0.006)
    wrong = np.sqrt(noise_ceiling(ncsnr, 1 if n > 1 else 3))  # the broken twin: repetitions not counted
    assert abs(np.mean(r - wrong)) > 0.05
    residual = Y[:n].mean(axis=0) - S * (ncsnr / np.sqrt(1 + ncsnr**2))
    r2 = 1 - residual.var(axis=0) / Y[:n].mean(axis=0).var(axis=0)
    assert np.mean(r2 - noise_ceiling(ncsnr, n)) == pytest.approx(0, abs=0.01)


def test_correlation_of_two_means_is_the_geometric_mean_of_their_ceilings(planted) -> None:
    ncsnr, _, Y = planted
    r = correlation(Y[:2].mean(axis=0), Y[2])
    expected = np.sqrt(noise_ceiling(ncsnr, 2) * noise_ceiling(ncsnr, 1))
    assert np.mean(r - expected) == pytest.approx(0, abs=0.006)
    assert abs(np.mean(r - np.sqrt(noise_ceiling(ncsnr, 3)))) > 0.1  # the broken twin


def test_sampling_error_of_a_correlation(planted) -> None:
    ncsnr, S, Y = planted
    rows = np.arange(200)
    expected = np.sqrt(noise_ceiling(ncsnr, 3))
    error = (correlation(S[rows], Y[:, rows].mean(axis=0)) - expected) / ((1 - expected**2) / np.sqrt(len(rows) - 1))
    assert error.std() == pytest.approx(1, abs=0.12)


def estimated_variances(Y: np.ndarray, ddof: int = 1, share: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    noise = Y.var(axis=0, ddof=ddof).mean(axis=0)
    return noise, Y.mean(axis=0).var(axis=0, ddof=1) - noise * (1 / len(Y) if share is None else share)


def test_unbiased_variances_recover_what_was_planted_and_biased_ones_do_not(planted) -> None:
    ncsnr, _, Y = planted
    strong = ncsnr > 0.3

    def ratio(**fault) -> float:
        noise, signal = estimated_variances(Y, **fault)
        return float(np.median(np.sqrt(np.maximum(signal, 0) / noise)[strong] / ncsnr[strong]))

    assert ratio() == pytest.approx(1, abs=0.03)
    assert ratio(ddof=0) > 1.15  # the broken twins: the biased variance, and noise not taken out of the mean
    assert ratio(share=0.0) > 1.15
    noise, signal = estimated_variances(Y)
    assert np.mean(noise - 1 / (1 + ncsnr**2)) == pytest.approx(0, abs=0.01)
    assert np.corrcoef(np.sqrt(np.maximum(signal, 0) / noise), ncsnr)[0, 1] > 0.95


def test_pure_noise_has_no_signal_variance_unless_it_is_clipped() -> None:
    rng = np.random.default_rng(1)
    design = measurement.draw_design(400, 3, 6, 2, rng)
    Y = measurement.measure(np.zeros((400, len(VERTICES))), np.zeros(len(VERTICES)), design, VERTICES, rng, drift=0.0)
    _, signal = estimated_variances(by_repetition(Y, design))
    assert abs(signal.mean()) < 0.005
    assert np.maximum(signal, 0).mean() > 0.005  # the broken twin


def test_noise_is_smooth_over_cortex() -> None:
    rng = np.random.default_rng(2)
    vertices = np.arange(10242)
    design = measurement.draw_design(120, 1, 1, 1, rng)
    Y = measurement.measure(np.zeros((120, 10242)), np.zeros(10242), design, vertices, rng, drift=0.0)
    neighbours = neighbour_mean()[:10242, :10242].tocoo()
    i, j = neighbours.coords
    chosen = np.flatnonzero(i < j)[::20]
    z = (Y - Y.mean(axis=0)) / Y.std(axis=0)
    near = np.mean((z[:, i[chosen]] * z[:, j[chosen]]).mean(axis=0))
    far = np.mean((z[:, rng.permutation(10242)] * z[:, rng.permutation(10242)]).mean(axis=0))
    assert 0.35 < near < 0.5  # half of the variance is smooth
    assert abs(far) < 0.02


def test_a_ratio_above_zero_without_signal_is_refused() -> None:
    S = np.random.default_rng(0).standard_normal((20, 3))
    S[:, 1] = 0.0
    measurement.check_truth(np.array([0.5, 0.0, 0.5]), S)
    with pytest.raises(DataError, match="column 1 claims ncsnr 0.50 but its signal is constant"):
        measurement.check_truth(np.array([0.5, 0.5, 0.5]), S)
    with pytest.raises(DataError, match="one ratio per column"):
        measurement.check_truth(np.ones(2), S)
    design = measurement.draw_design(20, 1, 1, 1, np.random.default_rng(0))
    with pytest.raises(DataError, match="set ncsnr to 0"):
        measurement.measure(S, np.full(3, 0.5), design, np.arange(3), np.random.default_rng(0))


def test_every_picture_is_shown_once_per_repetition() -> None:
    design = measurement.draw_design(101, 3, 6, 4, np.random.default_rng(0))
    assert (design.groupby(["image", "repetition"]).size() == 1).all() and len(design) == 303
    per_session = design.groupby("session").size()
    assert len(per_session) == 6 and per_session.max() - per_session.min() <= 1
    assert (design.groupby("run")["session"].nunique() == 1).all() and design["run"].nunique() == 24
    assert design["time"].between(-0.5, 0.5).all()
    assert (design.groupby("session")["time"].diff().dropna() > 0).all()
    assert design["session"].is_monotonic_increasing and design["run"].is_monotonic_increasing


def test_the_drift_confound_makes_late_pictures_late() -> None:
    late = np.arange(4000) < 1200

    def slope(argument: np.ndarray | None) -> np.ndarray:
        design = measurement.draw_design(4000, 3, 6, 4, np.random.default_rng(3), argument)
        return np.polyfit(design["time"], late[design["image"]], 1)

    assert slope(late) == pytest.approx([0.6, 0.3], abs=0.05)
    assert slope(None) == pytest.approx([0.0, 0.3], abs=0.05)  # without it, time says nothing
    with pytest.raises(DataError, match="at most half"):
        measurement.draw_design(10, 1, 1, 1, np.random.default_rng(0), np.ones(10, bool))


def test_drift_is_what_was_planted() -> None:
    rng = np.random.default_rng(4)
    design = measurement.draw_design(1000, 3, 6, 4, rng)
    drifting = np.arange(len(VERTICES)) < 50
    nothing = np.zeros(len(VERTICES))
    Y = measurement.measure(np.zeros((1000, len(VERTICES))), nothing, design, VERTICES, rng, drifting=drifting)
    slope = np.polyfit(design["time"], Y, 1)[0]
    assert slope[drifting].mean() == pytest.approx(1.2, abs=0.1)
    assert slope[~drifting].mean() == pytest.approx(0, abs=0.1)
    offsets = np.stack([Y[design["session"] == s].mean(axis=0) for s in range(6)])
    assert offsets.std(axis=0, ddof=1).mean() == pytest.approx(0.25, abs=0.06)


def test_ratios_have_the_medians_of_their_regions_and_are_zero_where_nothing_is_seen() -> None:
    n = 20484
    names = np.array(["PPA", "NOISE", "", "V1"], object)[np.arange(n) % 4]
    x = np.where(names == "V1", np.where(np.arange(n) % 8 == 3, 0.0, 20.0), np.nan)
    sigma = np.where(names == "V1", 0.5, np.nan)
    empty = np.zeros((n, 0))
    tuning = Tuning(names, np.full(n, "left"), x, 0 * x, sigma, empty, empty, empty)
    ratio = measurement.draw_ncsnr(tuning, np.arange(n), np.random.default_rng(0), np.random.default_rng(1))
    assert np.median(ratio[names == "PPA"]) == pytest.approx(0.5, rel=0.05)
    assert np.median(ratio[names == ""]) == pytest.approx(0.08, rel=0.05)
    assert (ratio[names == "NOISE"] == 0).all()
    assert (ratio[(names == "V1") & (x == 20)] == 0).all() and (ratio[(names == "V1") & (x == 0)] > 0).all()
    assert ratio.max() <= measurement.LARGEST
    half = measurement.draw_ncsnr(tuning, np.arange(n), np.random.default_rng(0), np.random.default_rng(1), 0.5)
    assert np.allclose(half, ratio / 2)


def test_faults_leave_their_input_alone() -> None:
    Y = np.ones((30, 200), np.float32)
    faults = measurement.draw_faults(30, 200, np.random.default_rng(0))
    faulty = faults.applied(Y)
    assert (Y == 1).all()
    assert len(faults.dead) == len(faults.missing) == 2 and not set(faults.dead) & set(faults.missing)
    kept = np.setdiff1d(np.arange(30), faults.lost)
    assert (faulty[kept][:, faults.dead] == 0).all()
    assert np.isnan(faulty[:, faults.missing]).all() and np.isnan(faulty[faults.lost]).all()
