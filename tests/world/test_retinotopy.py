"""The closed-form retinotopic map: its inverse, the half of the field each hemisphere sees, and mirror reversals."""

from __future__ import annotations

import numpy as np
import pytest

from brainenc.world.mesh import HEMISPHERES, load_fsaverage5
from brainenc.world.regions import EARLY, Parcellation, load_atlas, parcellate
from brainenc.world.retinotopy import Wedges, polar, project, retinotopic_map, visual_field


@pytest.fixture(scope="module")
def template() -> Parcellation:
    return parcellate()


@pytest.fixture(scope="module", params=HEMISPHERES)
def wedges(request) -> Wedges:
    return Wedges.from_card(load_atlas().early, request.param)


def on_sphere(wedges: Wedges, eccentricity: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """The forward map, written independently: from visual field to unit vectors of the sphere."""
    w = np.log(eccentricity * np.exp(1j * theta) + wedges.a)
    u, v = (w.real - np.log(wedges.a)) * wedges.ku, w.imag * wedges.q * wedges.ku
    u = u + wedges.shear * v
    cos, sin = np.cos(wedges.rho), np.sin(wedges.rho)
    xy = np.stack([u * cos - v * sin + wedges.fx, u * sin + v * cos + wedges.fy], axis=1)
    c = np.array(wedges.centre) / np.linalg.norm(wedges.centre)
    up = np.array([0, 0, 1]) - c[2] * c
    up /= np.linalg.norm(up)
    side = np.cross(up, c) * (1 if wedges.hemisphere == "left" else -1)
    radius = np.radians(np.linalg.norm(xy, axis=1, keepdims=True))
    direction = xy / np.linalg.norm(xy, axis=1, keepdims=True)
    return np.cos(radius) * c + np.sin(radius) * (direction[:, :1] * side + direction[:, 1:] * up)


def test_the_map_inverts_the_forward_equations(wedges: Wedges) -> None:
    rng = np.random.default_rng(0)
    eccentricity, theta = rng.uniform(0.3, 20, 500), rng.uniform(-2.2, 2.2, 500)
    points = on_sphere(wedges, eccentricity, theta)
    found_eccentricity, found_theta, valid = polar(wedges, points)
    assert valid.all()
    assert np.allclose(found_eccentricity, eccentricity, rtol=1e-6)
    assert np.allclose(found_theta, theta, atol=1e-6)


def test_projection_keeps_the_angle_from_its_centre(wedges: Wedges) -> None:
    sphere = load_fsaverage5()[wedges.hemisphere].sphere
    c = np.array(wedges.centre) / np.linalg.norm(wedges.centre)
    xy = project(sphere, c, wedges.hemisphere)
    assert np.allclose(np.hypot(*xy.T), np.degrees(np.arccos(np.clip(sphere @ c, -1, 1))), atol=1e-4)


def test_angle_is_continuous_over_borders_and_turns_back_there(wedges: Wedges) -> None:
    theta = np.linspace(-2.4, 2.4, 4001)
    area, angle, eccentricity = retinotopic_map(wedges, on_sphere(wedges, np.full(4001, 5.0), theta))
    assert np.allclose(eccentricity[np.isin(area, EARLY)], 5.0)
    early = np.isin(area, ("V1", "V2", "V3"))
    assert np.abs(np.diff(angle[early])).max() < 0.5
    assert angle[early].min() < 0.5 and angle[early].max() > 179.5
    slope = np.sign(np.gradient(angle, theta))
    for name, sign in {"V1": 1, "V2": -1, "V3": 1}.items():
        inner = np.flatnonzero(area == name)
        assert (np.sort(slope[inner])[20:-20] == sign).all(), name


def contralateral_share(x: np.ndarray, hemisphere: np.ndarray) -> float:
    return float(np.mean(np.where(hemisphere == "left", x > 0, x < 0)))


def test_each_hemisphere_sees_the_other_side(template: Parcellation) -> None:
    early = np.isin(template.region, EARLY)
    x, hemisphere = template.prf_x[early], template.hemisphere[early]
    assert contralateral_share(x, hemisphere) > 0.99
    swapped = np.where(hemisphere == "left", "right", "left")
    assert contralateral_share(x, swapped) < 0.01  # the broken twin: hemispheres exchanged


def test_upper_field_is_ventral(template: Parcellation) -> None:
    height = np.concatenate([load_fsaverage5()[side].middle[:, 2] for side in HEMISPHERES])
    for name in ("V1", "V2", "V3"):
        for side in HEMISPHERES:
            inside = (template.region == name) & (template.hemisphere == side)
            r = np.corrcoef(height[inside], np.sign(template.prf_y[inside]))[0, 1]
            assert r < (-0.4 if name == "V1" else -0.7), (name, side, r)  # a flipped y gives the other sign


def field_signs(template: Parcellation, name: str, side: str) -> np.ndarray:
    """+1 where going round a triangle on the cortex goes round its image in the field in the same sense, else -1."""
    chosen = template.hemisphere == side
    region, x, y = template.region[chosen], template.prf_x[chosen], template.prf_y[chosen]
    faces = load_fsaverage5()[side].faces
    faces = faces[(region[faces] == name).all(axis=1)]
    ax, ay = x[faces], y[faces]
    area = (ax[:, 1] - ax[:, 0]) * (ay[:, 2] - ay[:, 0]) - (ax[:, 2] - ax[:, 0]) * (ay[:, 1] - ay[:, 0])
    return np.sign(area)


@pytest.mark.parametrize("side", HEMISPHERES)
def test_neighbouring_areas_are_mirror_images(template: Parcellation, side: str) -> None:
    signs = {name: field_signs(template, name, side) for name in ("V1", "V2", "V3")}
    majority = {name: np.sign(values.mean()) for name, values in signs.items()}
    for name, values in signs.items():
        assert np.mean(values == majority[name]) > 0.85, (name, side)
    assert majority["V1"] == majority["V3"] == -majority["V2"]
    assert majority["V1"] == -1  # V1 is a mirror image of the field, seen from outside the brain, on both sides


def test_eccentricity_grows_towards_the_front(template: Parcellation) -> None:
    forward = np.concatenate([load_fsaverage5()[side].middle[:, 1] for side in HEMISPHERES])
    for side in HEMISPHERES:
        inside = (template.region == "V1") & (template.hemisphere == side)
        eccentricity = np.hypot(template.prf_x, template.prf_y)[inside]
        assert np.corrcoef(forward[inside], np.log(eccentricity + 0.1))[0, 1] > 0.85
        assert eccentricity.max() < load_atlas().early["eccentricity_limit"]


def test_receptive_fields_grow_with_eccentricity_and_area(template: Parcellation) -> None:
    eccentricity = np.hypot(template.prf_x, template.prf_y)
    at_five = {}
    for name, (start, slope) in load_atlas().early["sigma"].items():
        inside = template.region == name
        assert np.allclose(template.prf_sigma[inside], start + slope * eccentricity[inside])
        at_five[name] = start + 5 * slope
    assert list(at_five) == sorted(at_five, key=at_five.get)
    outside = ~np.isin(template.region, EARLY)
    assert np.isnan(template.prf_sigma[outside]).all() and np.isnan(template.prf_x[outside]).all()


def test_visual_field_of_known_angles() -> None:
    x, y = visual_field(
        np.array([0.0, 90.0, 180.0, 90.0]), np.full(4, 3.0), np.array(["left", "left", "left", "right"])
    )
    assert np.allclose(x, [0, 3, 0, -3]) and np.allclose(y, [3, 0, -3, 0])
