"""The noiseless planted cortex: each equation of the model, checked on contents made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from brainenc.world import cortex
from brainenc.world.cortex import PLANTED_CATEGORIES, PREFERENCES, Contents, Tuning
from brainenc.world.regions import EARLY, parcellate
from brainenc.world.scenes import Scene, Thing, render_scene


def random_contents(n: int = 300, seed: int = 0) -> Contents:
    rng = np.random.default_rng(seed)
    sizes = np.where(rng.random((n, 6)) < 0.3, rng.uniform(0.7, 1.4, (n, 6)), 0.0)
    positions = np.where(sizes[:, :, None] > 0, rng.uniform(-0.7, 0.7, (n, 6, 2)), np.nan)
    energy = rng.gamma(2.0, size=(n, 8, 16, 16)).astype(np.float32)
    return Contents(sizes, positions, cortex.draw_attributes(sizes, rng), energy)


@pytest.fixture(scope="module")
def contents() -> Contents:
    return random_contents()


@pytest.fixture(scope="module")
def tuning() -> Tuning:
    template = parcellate()
    vertices = np.flatnonzero(template.region != "")
    return cortex.draw_tuning(template, vertices, np.random.default_rng(0), np.random.default_rng(1))


@pytest.fixture(scope="module")
def S(contents: Contents, tuning: Tuning) -> np.ndarray:
    return cortex.signal(contents, tuning)


def test_signals_have_mean_zero_and_variance_one_or_are_nothing(S: np.ndarray, tuning: Tuning) -> None:
    sd = S.std(axis=0)
    assert np.abs(S.mean(axis=0)).max() < 1e-5
    assert np.allclose(sd[tuning.sighted], 1, atol=1e-4)
    assert (sd[~tuning.sighted] == 0).all()
    blind = np.mean(~tuning.sighted[tuning.region == "V1"])
    assert 0.2 < blind < 0.7  # V1 reaches to 25 degrees, the picture to 4.2


def test_receptive_fields_are_where_they_say() -> None:
    x, y = np.array([-2.0, 1.5, 0.0]), np.array([1.0, -2.5, 0.5])
    g = cortex.receptive_fields(x, y, np.full(3, 0.5), 32, 32)
    axis = ((np.arange(32) + 0.5) / 16 - 1) * cortex.FIELD
    assert np.allclose(g.sum(axis=(1, 2)), 1, atol=1e-5)
    assert np.allclose((g.sum(axis=1) * axis).sum(axis=1), x, atol=0.02)
    assert np.allclose((g.sum(axis=2) * -axis).sum(axis=1), y, atol=0.02)  # row 0 is the upper edge


def test_an_early_vertex_sees_what_lies_in_its_field_and_not_its_mirror_image(tuning: Tuning) -> None:
    early = np.flatnonzero(tuning.early & tuning.sighted)
    rng = np.random.default_rng(2)
    energy = rng.gamma(2.0, size=(400, 8, 32, 32)).astype(np.float32)
    contents = replace(random_contents(400), energy=energy)
    S = cortex.signal(contents, tuning)[:, early]

    def agreement(flip_y: float) -> float:
        g = cortex.receptive_fields(tuning.prf_x[early], flip_y * tuning.prf_y[early], tuning.prf_sigma[early], 32, 32)
        seen = np.einsum("nfyx,vyx,vf->nv", energy, g, tuning.omega[early], optimize=True)
        return float(np.mean((cortex.standardise(seen) * S).mean(axis=0)))

    assert agreement(1.0) > 0.95
    assert agreement(-1.0) < 0.4  # the broken twin: y flipped


def test_visible_mass_is_the_share_of_the_gaussian_on_the_picture() -> None:
    assert cortex.field_mass(np.array(0.0), np.array(0.1)) == pytest.approx(1)
    assert cortex.field_mass(np.array(cortex.FIELD), np.array(0.1)) == pytest.approx(0.5)
    assert cortex.field_mass(np.array(20.0), np.array(0.5)) == pytest.approx(0)


def test_each_region_prefers_exactly_what_was_planted(tuning: Tuning) -> None:
    for name, weights in PREFERENCES.items():
        planted = [weights.get(category, 0.0) for category in PLANTED_CATEGORIES]
        inside = tuning.region == name
        assert np.allclose(tuning.M[inside].mean(axis=0), planted, atol=1e-9)
        assert 0.02 < tuning.M[inside].std(axis=0).mean() < 0.25  # and vertices differ
    assert not tuning.M[~np.isin(tuning.region, list(PREFERENCES))].any()
    assert cortex.preferred_category("EBA") == "body"
    assert cortex.preferred_category("ANTI") == cortex.preferred_category("V1") == cortex.preferred_category("") == ""


def test_category_signal_follows_the_equation(S: np.ndarray, contents: Contents, tuning: Tuning) -> None:
    """The slow and obvious way, one picture, category and vertex after the other."""
    for v in np.flatnonzero(np.isin(tuning.region, ["FFA-1", "LO", "ANTI"]))[::37]:
        towards = 1 if tuning.hemisphere[v] == "left" else -1
        drive = np.zeros(len(contents.sizes))
        for i in range(len(drive)):
            for k in range(6):
                if contents.sizes[i, k] > 0:
                    h = 1 + 0.12 * towards * contents.positions[i, k, 0]
                    drive[i] += tuning.M[v, k] * np.log2(1 + contents.sizes[i, k]) * h
        z = [(a - a.mean()) / a.std() for a in (
            drive, contents.attributes @ tuning.U[v], np.sqrt(contents.energy.mean(axis=(1, 2, 3)))
        )]  # fmt: skip
        expected = np.sqrt(1 - 0.28**2 - 0.15**2) * z[0] + 0.28 * z[1] + 0.15 * z[2]
        assert np.allclose(S[:, v], (expected - expected.mean()) / expected.std(), atol=1e-3)


def test_high_areas_hardly_care_where_a_thing_stands_and_slightly_prefer_the_other_side(tuning: Tuning) -> None:
    base = random_contents(400, seed=5)
    side = np.where(np.arange(400) % 2, 0.6, -0.6)
    positions = np.full((400, 6, 2), np.nan)
    sizes = np.zeros((400, 6))
    sizes[:200, 0], positions[:, 0, 0], positions[:, 0, 1] = 1.0, side, 0.0
    positions[200:] = np.nan
    S = cortex.signal(replace(base, sizes=sizes, positions=positions), tuning)
    for name, sign in (("left", 1), ("right", -1)):
        v = (tuning.region == "FFA-1") & (tuning.hemisphere == name)
        right, left = S[:200][side[:200] > 0][:, v].mean(), S[:200][side[:200] < 0][:, v].mean()
        absent = S[200:][:, v].mean()
        assert 0 < sign * (right - left) < 0.35 * (max(right, left) - absent)


def test_language_areas_read_attributes_alone(S: np.ndarray, contents: Contents, tuning: Tuning) -> None:
    language = np.isin(tuning.region, ["IFG", "STSlang", "ATLlang", "A1"])
    expected = cortex.standardise(contents.attributes @ tuning.U[language].T)
    assert np.allclose(S[:, language], expected, atol=1e-4)


def test_people_share_three_quarters_of_the_variance_of_their_semantic_weights() -> None:
    template, vertices = parcellate(), np.arange(0, 20484, 7)
    first, second = (
        cortex.draw_tuning(template, vertices, np.random.default_rng(0), np.random.default_rng(own)) for own in (1, 2)
    )
    assert np.corrcoef(first.U.ravel(), second.U.ravel())[0, 1] == pytest.approx(0.75, abs=0.04)
    assert np.array_equal(first.omega, second.omega)
    assert np.allclose(first.omega.sum(axis=1), 1)


def test_attributes_follow_the_public_loadings() -> None:
    contents = random_contents(4000)
    design = np.minimum(contents.sizes, 1)
    G = np.linalg.lstsq(design, contents.attributes, rcond=None)[0] / 0.7
    assert np.abs(G - cortex.category_loadings()).max() < 0.2
    assert np.array_equal(cortex.category_loadings(), cortex.category_loadings())


def test_reading_a_scene() -> None:
    things = (
        Thing("place", "a beach", (0.0, 0.0, 1.0, 1.0), {}),
        Thing("tool", "a small hammer", (0.0, 0.0, 0.1, 0.1), {}),
        Thing("vehicle", "a car", (0.5, 0.75, 1.0, 1.0), {}),
        Thing("face", "a face", (0.25, 0.0, 0.5, 0.25), {}),
    )
    sizes, positions = cortex.read_scene(Scene(np.zeros((16, 16, 3), np.uint8), ("", "", ""), things, "beach"))
    assert sizes == pytest.approx([0.25 / 0.3125, 0, 1, 0, 0, 1.5])  # the larger object counts, at most 1.5
    assert positions[5] == pytest.approx([0.5, -0.75])  # low in the picture is negative y
    assert positions[0] == pytest.approx([-0.25, 0.75])
    assert np.isnan(positions[[1, 3, 4]]).all()


def test_real_scenes_show_exactly_what_is_asked() -> None:
    for seed, names in enumerate((["face"], ["place", "word", "tool"], ["food", "vehicle", "body"])):
        sizes, positions = cortex.read_scene(render_scene(seed, categories=names))
        wanted = {"object" if name in ("tool", "vehicle") else name for name in names}
        assert {c for c, s in zip(PLANTED_CATEGORIES, sizes, strict=True) if s > 0} == wanted
        assert (np.abs(positions[sizes > 0]) <= 1).all()


def test_contents_join_and_take() -> None:
    contents = random_contents(10)
    joined = cortex.join([contents.take(np.arange(4)), contents.take(np.arange(4, 10))])
    assert np.array_equal(joined.attributes, contents.attributes)
    assert np.array_equal(joined.energy, contents.energy)


def test_every_early_area_has_sighted_vertices(tuning: Tuning) -> None:
    for name in EARLY:
        assert np.count_nonzero(tuning.sighted & (tuning.region == name)) > 30
