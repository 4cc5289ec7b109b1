"""Films and BOLD series: the equations hold against slow or independent versions of themselves."""

from __future__ import annotations

import numpy as np
import pytest
from nilearn.glm.first_level import make_first_level_design_matrix
from scipy.integrate import quad
from scipy.stats import gamma

from brainenc.core.types import DataError
from brainenc.world import movies
from brainenc.world.clips import optical_flow, paint_clip
from brainenc.world.cortex import PLANTED_CATEGORIES, PREFERENCES
from brainenc.world.movies import COLUMNS, haemodynamic_weights, plan_films, respond
from brainenc.world.scenes import paint_scene


def films(n: int = 3, n_clips: int = 6, clip_volumes: int = 2, tr: float = 2.0, rest: int = 0, seed: int = 0):
    names = [f"{k}" for k in range(n)]
    return plan_films(names, n_clips, clip_volumes, tr, rest, np.random.default_rng(seed))


# -------------------------------------------------------------------------------------------------- haemodynamics


@pytest.mark.parametrize("tr", [0.8, 1.5, 2.0])
def test_weights_are_integrals_of_the_double_gamma(tr: float) -> None:
    weights = haemodynamic_weights(tr)
    scale = 1 - 1 / 6
    for d, weight in enumerate(weights):
        area, _ = quad(lambda t: (gamma.pdf(t, 6) - gamma.pdf(t, 16) / 6) / scale, max(d - 1, 0) * tr, d * tr)
        assert weight == pytest.approx(area, abs=1e-7)
    assert weights[0] == 0 and weights.sum() == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize(("onset", "duration"), [(0, 1), (3, 2), (10, 5)])
def test_the_response_to_a_clip_is_the_regressor_of_nilearn(onset: int, duration: int) -> None:
    """Also of unit height, so a beta of percent signal change is the amplitude; nilearn's lags by a 50th of a TR."""
    import pandas as pd

    tr, n_volumes = 2.0, 40
    events = pd.DataFrame({"onset": [onset * tr], "duration": [duration * tr], "trial_type": ["clip"]})
    frames = np.arange(n_volumes) * tr
    regressor = make_first_level_design_matrix(frames, events, hrf_model="spm", drift_model=None)["clip"].to_numpy()
    drive = np.zeros((n_volumes, 1))
    drive[onset : onset + duration] = 1
    response = respond(drive, haemodynamic_weights(tr))[:, 0]
    np.testing.assert_allclose(response, regressor, atol=0.01)
    assert np.abs(np.roll(response, 1) - regressor).max() > 0.1  # one volume late is not


def test_a_response_is_the_plain_convolution_and_has_no_forerunner() -> None:
    rng = np.random.default_rng(0)
    drive, weights = rng.standard_normal((30, 3)), rng.standard_normal(9)
    expected = np.stack([np.convolve(column, weights)[:30] for column in drive.T], axis=1)
    np.testing.assert_allclose(respond(drive, weights), expected, atol=1e-12)
    later = drive.copy()
    later[20:] = 7
    np.testing.assert_array_equal(respond(later, weights)[:20], respond(drive, weights)[:20])
    short = respond(drive[:4], weights)  # a run shorter than the kernel
    np.testing.assert_array_equal(short, respond(drive, weights)[:4])


# ---------------------------------------------------------------------------------------------------------- films


def test_films_share_no_clip_and_keep_to_the_seeds_of_users() -> None:
    planned = films(4, 30)
    seeds = [seed for film in planned for seed in film.seeds]
    assert len(set(seeds)) == len(seeds) == 120 and min(seeds) >= 0 and max(seeds) < 500_000
    assert all(film.n_volumes == 60 and (film.clip == np.arange(60) // 2).all() for film in planned)
    assert films(4, 30) == planned and films(4, 30, seed=1) != planned


def test_rest_comes_after_every_clip_and_shows_nothing() -> None:
    for film in films(rest=3, n_clips=8):
        clip = film.clip
        gaps = np.diff(film.onsets) - film.clip_volumes
        assert set(gaps) <= {1, 2, 3} and len(set(gaps)) > 1
        assert (clip[-7:] == -1).all() and (np.bincount(clip + 1)[1:] == 2).all()
    columns = film.columns()
    assert not columns[clip == -1].any() and columns[clip >= 0].any(axis=1).all()


def test_columns_say_what_the_clips_show() -> None:
    film = films(1, 12)[0]
    columns = film.columns()
    speeds = []
    for k, onset in enumerate(film.onsets):
        plan, rows = film.clip_plan(k), slice(onset, onset + 2)
        things = paint_scene(plan.scene, 64).things
        shown = {"object" if thing.category in ("tool", "vehicle") else thing.category for thing in things}
        for row in columns[rows]:
            assert {name for name, size in zip(PLANTED_CATEGORIES, row, strict=False) if size > 0} == shown
        flow = optical_flow(plan, 64)
        length = np.sqrt(flow[..., 0] ** 2 + flow[..., 1] ** 2).mean(axis=(1, 2)) / 64 * plan.fps
        speeds += [length[: movies.FRAMES].mean(), length[movies.FRAMES :].mean()]
        np.testing.assert_array_equal(film.paint(k), paint_clip(plan, 64)[[0, movies.FRAMES]])
    np.testing.assert_allclose(columns[:, -1], speeds, rtol=0.2, atol=1e-3)  # 64 instead of 32 pixels
    assert np.corrcoef(columns[:, -1], speeds)[0, 1] > 0.995 and np.std(speeds) > 0.01
    # Twice as many volumes of half the length show the same at the same time.
    slow = [c.columns() for c in (film, movies.Film("x", film.seeds, tuple(2 * o for o in film.onsets), 4, 48, 1.0))]
    np.testing.assert_array_equal(slow[1][::2, :-1], slow[0][:, :-1])
    np.testing.assert_allclose(slow[1][:, -1].reshape(-1, 2).mean(axis=1), slow[0][:, -1], rtol=0.05, atol=1e-3)


@pytest.mark.parametrize(
    "wrong", [{"n_clips": 0}, {"clip_volumes": 0}, {"rest": -1}, {"tr": 0.0}, {"n": 1, "n_clips": 500_001}]
)
def test_impossible_films_are_refused(wrong: dict) -> None:
    with pytest.raises(DataError, match="wanted at"):
        films(**wrong)


# ------------------------------------------------------------------------------------------------ weights and noise


def test_motion_moves_its_region_alone_and_nothing_moves_noise() -> None:
    region = np.repeat(np.array(movies.REGIONS, object), 10)
    W = movies.draw_weights(region, np.random.default_rng(0))
    motion, noise = region == "hMT+", region == "NOISE"
    assert W.shape == (len(COLUMNS), len(region)) and not W[:, noise].any()
    assert (W[-1] != 0).tolist() == motion.tolist() and not W[:-1, motion].any()
    for name in set(movies.REGIONS) - {"hMT+", "NOISE"}:
        mean = W[:-1, region == name].mean(axis=1)
        strongest = max(PREFERENCES[name], key=lambda c: abs(PREFERENCES[name][c]))
        assert PLANTED_CATEGORIES[np.abs(mean).argmax()] == strongest
    ratio, noise_sd = movies.draw_noise(region, np.random.default_rng(1), 2.0)
    assert not ratio[noise].any() and (ratio[~noise] > 0).all() and (noise_sd > 0).all()
    drive = np.random.default_rng(2).standard_normal((50, len(COLUMNS)))
    scaled = movies.scale_weights(W, drive @ W, ratio * noise_sd)
    np.testing.assert_allclose((drive @ scaled).std(axis=0), ratio * noise_sd, atol=1e-12)


def test_noise_has_the_planted_variance_memory_and_drift() -> None:
    """4000 targets of 200 volumes: the standard errors of all three numbers are below .002."""
    n_volumes, tr = 200, 2.0
    noise_sd = np.linspace(0.5, 2, 4000)
    noise = movies.draw_run_noise(n_volumes, noise_sd, tr, np.random.default_rng(0)) / noise_sd
    assert (noise**2).mean() == pytest.approx(1, abs=0.01)
    drift = make_first_level_design_matrix(np.arange(n_volumes) * tr, drift_model="cosine", high_pass=movies.CUT_OFF)
    Q = np.linalg.qr(drift.to_numpy())[0]
    clean = noise - Q @ (Q.T @ noise)
    # What cosines leave over: the autoregressive part outside their span.
    lag = movies.AR ** np.abs(np.subtract.outer(np.arange(n_volumes), np.arange(n_volumes)))
    residual = np.eye(n_volumes) - Q @ Q.T
    expected = (1 - movies.DRIFT) * residual @ lag @ residual
    assert (clean**2).mean() == pytest.approx(np.trace(expected) / n_volumes, abs=0.01)
    neighbours = np.trace(expected, offset=1) / (n_volumes - 1)
    assert (clean[1:] * clean[:-1]).mean() == pytest.approx(neighbours, abs=0.01)
    short = movies.draw_run_noise(10, noise_sd, tr, np.random.default_rng(1)) / noise_sd  # too short for a drift
    assert (short**2).mean() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("n", [1, 4])
def test_the_ceiling_is_what_the_truth_itself_reaches(n: int) -> None:
    rng, noise_sd = np.random.default_rng(3), np.full(600, 1.3)
    signal = respond(rng.random((150, 600)), haemodynamic_weights(2.0)) * 4
    mean = sum(movies.draw_run_noise(150, noise_sd, 2.0, rng) for _ in range(n)) / n + signal
    z = [(x - x.mean(axis=0)) / x.std(axis=0) for x in (mean, signal)]
    reached, ceiling = (z[0] * z[1]).mean(axis=0), movies.ceiling_correlation(signal, noise_sd, n)
    assert reached.mean() == pytest.approx(ceiling.mean(), abs=0.015)
    assert movies.ceiling_correlation(signal[:, :1], np.zeros(1)) == pytest.approx(1)
    twice = movies.ceiling_correlation(signal, noise_sd, 2 * n)
    assert abs(reached.mean() - twice.mean()) > 0.04  # counting presentations wrongly is seen
