"""Recovery checks of subjects planted on a network: nothing is asked that another network cannot promise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from brainenc.world import cortex, recovery
from brainenc.world.measurement import noise_ceiling
from brainenc.world.truth import PlantedTruth

N, T = 200, 20  # pictures; targets of each region
REGIONS = ("V1", "FFA-1", "PPA", "ANTI", "NOISE", "DRIFTONLY")
DESIGN = recovery.Design(N, 3)


@pytest.fixture
def truth() -> PlantedTruth:
    region = np.repeat(np.array(REGIONS, object), T)
    nothing = np.full(len(region), np.nan)
    return PlantedTruth(
        stimulus_ids=np.array([f"s{row}" for row in range(N)], object),
        signal=np.random.default_rng(0).standard_normal((N, len(region))).astype(np.float32),
        ncsnr=np.where(np.isin(region, recovery.NULL), 0.0, 0.5),
        region=region,
        preferred=np.array([cortex.preferred_category(name) for name in region], object),
        prf_x=nothing,
        prf_y=nothing,
        prf_sigma=nothing,
        M=np.zeros((len(region), 6)),
        U=np.zeros((len(region), 16)),
        dead=np.zeros(len(region), bool),
        missing=np.zeros(len(region), bool),
        lost=np.zeros(0, int),
        network="another",
    )


def failed(checks) -> set[str]:
    return {check.where for check in checks if not check.passed}


def share(truth: PlantedTruth, **shares: float) -> np.ndarray:
    """Correlations at shares of the ceiling, by region; .98 where none is given, 0 without signal."""
    wanted = np.array([shares.get(name.replace("-", ""), 0.98) for name in truth.region])
    return wanted * np.sqrt(noise_ceiling(truth.ncsnr, 3))


def test_high_areas_may_fall_short_but_nothing_may_pass_the_ceiling(truth) -> None:
    far = share(truth, FFA1=0.3, PPA=0.5)
    assert failed(recovery.score_checks(truth, far, DESIGN)) == set()
    assert failed(recovery.score_checks(replace(truth, network=""), far, DESIGN)) == {"FFA-1", "PPA"}
    assert failed(recovery.score_checks(truth, share(truth, V1=0.5), DESIGN)) == {"V1"}, "energy is energy"
    assert failed(recovery.score_checks(truth, share(truth, PPA=1.3), DESIGN)) == {"PPA"}, "a leak"


def test_shares_and_power_are_not_asked_for(truth) -> None:
    nothing = np.zeros(len(truth.region))
    assert not list(recovery.partition_checks(truth, nothing, nothing, nothing, DESIGN))
    assert list(recovery.partition_checks(replace(truth, network=""), nothing, nothing, nothing, DESIGN))
    q = np.where(np.isin(truth.region, recovery.NULL), 0.9, 0.01)
    assert failed(recovery.significance_checks(truth, q, 0.05, DESIGN)) == set()
    families = {check.check for check in recovery.significance_checks(truth, q, 0.05, DESIGN)}
    assert not any("power" in name for name in families) and len(families) == 2
    assert failed(recovery.significance_checks(truth, np.zeros_like(q), 0.05, DESIGN)), "false discoveries are"


def test_what_faces_suppress_keeps_its_sign(truth) -> None:
    rng = np.random.default_rng(1)
    sizes = {name: rng.random(N) for name in cortex.PLANTED_CATEGORIES}
    weakly = rng.standard_normal((N, len(truth.region))) - 6 * (truth.region == "ANTI") * sizes["face"][:, None] / 5
    weakly[:, truth.region == "FFA-1"] += sizes["face"][:, None] * 9
    weakly[:, truth.region == "PPA"] += sizes["place"][:, None] * 9
    noisy = weakly + 2 * rng.standard_normal((N, 1)) * (truth.region == "ANTI")
    assert failed(recovery.preference_checks(truth, noisy, sizes)) == set()
    assert failed(recovery.preference_checks(replace(truth, network=""), noisy, sizes)) == {"ANTI"}
    assert failed(recovery.preference_checks(truth, -noisy, sizes)) == {"FFA-1", "PPA", "ANTI"}


def test_what_a_region_follows_is_read_from_its_signal() -> None:
    rng = np.random.default_rng(2)
    sizes = rng.random((N, 6))
    region = np.repeat(np.array(["FFA-1", "PPA", "V1", "ANTI"], object), 5)
    S = rng.standard_normal((N, 20))
    S[:, :5] += 4 * sizes[:, [2]]  # a network that takes faces for places
    S[:, 5:10] += 4 * sizes[:, [2]]
    assert cortex.followed_categories(S, sizes, region) == {"FFA-1": "place", "PPA": "place"}
