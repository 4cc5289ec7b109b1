from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from brainenc.core.types import DataError
from brainenc.surfaces.colour import ColourScale, ReliabilityScale
from brainenc.surfaces.flatmap import FlatmapLookup, flatmap_lookup, side_by_side
from brainenc.surfaces.mesh import SurfaceMesh


def pixel_centres(lookup: FlatmapLookup) -> np.ndarray:
    left, right, bottom, top = lookup.extent
    height, width = lookup.shape
    x = left + (np.arange(width) + 0.5) * (right - left) / width
    y = top - (np.arange(height) + 0.5) * (top - bottom) / height
    return np.stack(np.meshgrid(x, y), 2).reshape(-1, 2)


def containing_triangle(point: np.ndarray, triangles: np.ndarray) -> list[int]:
    """Slow and obvious: every triangle whose three half planes hold the point."""
    found = []
    for k, (a, b, c) in enumerate(triangles):
        sides = [np.linalg.det(np.array([q - p, point - p])) for p, q in ((a, b), (b, c), (c, a))]
        if min(sides) > 1e-9:
            found.append(k)
    return found


def test_lookup_is_the_containing_triangle_and_its_heaviest_corner(toy):
    lookup = flatmap_lookup(toy, 90)
    centres, triangles = pixel_centres(lookup), lookup.positions[lookup.faces]
    painted = dict(zip(lookup.pixels.tolist(), range(len(lookup.pixels)), strict=True))
    for pixel in range(0, len(centres), 3):
        found = containing_triangle(centres[pixel], triangles)
        assert (pixel in painted) == bool(found)
        if found:
            k, corners = painted[pixel], lookup.faces[found[0]]
            assert sorted(lookup.corners[k]) == sorted(corners)
            weights = np.linalg.solve(np.vstack([triangles[found[0]].T, np.ones(3)]), [*centres[pixel], 1])
            assert lookup.nearest[k] == corners[np.argmax(weights)]
            np.testing.assert_allclose(
                lookup.weights[k] @ lookup.positions[lookup.corners[k]], centres[pixel], atol=1e-4
            )


def test_lookup_agrees_with_matplotlib_on_fsaverage5(fsaverage5):
    from matplotlib.tri import Triangulation

    lookup = flatmap_lookup(fsaverage5, 300)
    used = np.unique(lookup.faces)
    number = np.full(fsaverage5.n_vertices, -1)
    number[used] = np.arange(len(used))
    finder = Triangulation(*lookup.positions[used].T, number[lookup.faces]).get_trifinder()
    face = finder(*pixel_centres(lookup).T)
    assert np.array_equal(np.flatnonzero(face >= 0), lookup.pixels)
    same = (np.sort(lookup.faces[face[lookup.pixels]], 1) == np.sort(lookup.corners, 1)).all(1)
    assert same.mean() > 0.999  # a pixel centre on an edge may go either way


def one_hot_is_local(lookup: FlatmapLookup, vertex: int, picture: np.ndarray) -> bool:
    touched = lookup.faces[(lookup.faces == vertex).any(1)]
    allowed = {tuple(sorted(face)) for face in touched.tolist()}
    painted = np.flatnonzero(picture.reshape(-1, 4)[:, 3])
    place = np.searchsorted(lookup.pixels, painted)
    return len(painted) > 0 and all(tuple(sorted(lookup.corners[k].tolist())) in allowed for k in place)


@pytest.mark.parametrize("interpolation", ["nearest", "linear"])
def test_one_vertex_colours_only_its_own_triangles(fsaverage5, interpolation):
    lookup, scale = flatmap_lookup(fsaverage5, 600), ColourScale(0, 1)
    generator = np.random.default_rng(0)
    vertices = generator.choice(np.flatnonzero(fsaverage5.on_flat), 5)
    for vertex in vertices:
        values = np.full(fsaverage5.n_vertices, np.nan)
        values[vertex] = 1
        assert one_hot_is_local(
            lookup, vertex, lookup.paint(values, scale, interpolation=interpolation, underlay=False)
        )
        broken = replace(lookup, nearest=np.roll(lookup.nearest, 500))
        assert not one_hot_is_local(lookup, vertex, broken.paint(values, scale, underlay=False))


def left_is_left(mesh: SurfaceMesh, lookup: FlatmapLookup) -> bool:
    """Anatomy, not labels: what is drawn on the left half of the picture has negative x, and none of it is right."""
    x = np.concatenate([mesh.left.shapes["pial"], mesh.right.shapes["pial"]])[:, 0]
    picture = lookup.picture(x[lookup.nearest], fill=np.nan)
    middle = picture.shape[1] // 2
    return bool(np.nanmedian(picture[:, :middle]) < -10 and np.nanmedian(picture[:, middle:]) > 10)


def test_the_left_hemisphere_is_on_the_left(fsaverage5):
    lookup = flatmap_lookup(fsaverage5, 300)
    assert left_is_left(fsaverage5, lookup)
    n = fsaverage5.left.n_vertices
    swapped = replace(lookup, nearest=(lookup.nearest + n) % (2 * n))
    assert not left_is_left(fsaverage5, swapped)
    values = np.full(fsaverage5.n_vertices, np.nan)
    values[:n] = 1.0
    columns = np.flatnonzero(lookup.paint(values, ColourScale(0, 2), underlay=False)[..., 3].any(0))
    assert columns.max() < lookup.shape[1] / 2


def test_up_is_dorsal_in_the_picture(fsaverage5):
    lookup = flatmap_lookup(fsaverage5, 300)
    z = np.concatenate([fsaverage5.left.shapes["pial"], fsaverage5.right.shapes["pial"]])[:, 2]
    picture = lookup.picture(z[lookup.nearest], fill=np.nan)
    half = picture.shape[0] // 2
    assert np.nanmean(picture[:half]) > np.nanmean(picture[half:]) + 20


def test_sheets_do_not_overlap_and_stray_vertices_do_not_count(toy):
    positions, faces = side_by_side(toy)
    n = toy.left.n_vertices
    assert np.nanmax(positions[:n, 0]) < 0 < np.nanmin(positions[n:, 0])
    assert np.isnan(positions[n - 1]).all() and np.isfinite(positions[faces]).all()


def test_nan_is_transparent_in_both_modes_and_never_mixed(toy):
    lookup = flatmap_lookup(toy, 90)
    values = np.random.default_rng(0).uniform(1, 2, toy.n_vertices)
    values[::4] = np.nan
    nearest, linear = lookup.sample(values), lookup.sample(values, "linear")
    assert np.array_equal(np.isnan(nearest), np.isnan(linear)) and np.isnan(nearest).any()
    assert np.nanmin(linear) >= 1 and np.nanmax(linear) <= 2
    rgba = lookup.paint(values, ColourScale(1, 2), underlay=False)
    assert np.array_equal(lookup.picture(np.isnan(nearest), fill=True), rgba[..., 3] == 0)


def test_linear_interpolation_reproduces_a_plane(toy):
    lookup = flatmap_lookup(toy, 90)
    plane = np.nan_to_num(2 * lookup.positions[:, 0] - lookup.positions[:, 1] + 3)
    centres = pixel_centres(lookup)[lookup.pixels]
    np.testing.assert_allclose(lookup.sample(plane, "linear"), 2 * centres[:, 0] - centres[:, 1] + 3, atol=1e-4)


def test_reliability_fades_to_the_underlay(toy):
    lookup = flatmap_lookup(toy, 90)
    values, scale = np.ones(toy.n_vertices), ColourScale(0, 1)
    under = lookup.paint(values * np.nan, scale)
    full = lookup.paint(values, scale)
    fade = ReliabilityScale(0.0, 1.0)
    np.testing.assert_array_equal(lookup.paint(values, scale, values * 0, fade), under)
    np.testing.assert_array_equal(lookup.paint(values, scale, values * np.nan, fade), under)
    np.testing.assert_array_equal(lookup.paint(values, scale, values, fade), full)
    half = lookup.paint(values, scale, values / 2, fade).astype(float)
    np.testing.assert_allclose(half, (under.astype(float) + full) / 2, atol=1)


def test_underlay_is_light_on_gyri(fsaverage5):
    lookup = flatmap_lookup(fsaverage5, 300)
    curvature = fsaverage5.curvature[lookup.nearest]
    assert lookup.underlay[curvature < -0.1].mean() > lookup.underlay[curvature > 0.1].mean() + 40


def test_painting_is_quick_after_the_lookup(fsaverage5):
    lookup = flatmap_lookup(fsaverage5, 1800)
    assert flatmap_lookup(fsaverage5, 1800) is lookup
    start = time.perf_counter()
    lookup.paint(np.arange(fsaverage5.n_vertices, dtype=float), ColourScale(0, 2e4))
    assert time.perf_counter() - start < 1.0


def test_errors_are_one_sentence(toy):
    lookup = flatmap_lookup(toy, 90)
    with pytest.raises(DataError, match="one per vertex"):
        lookup.sample(np.zeros(5))
    with pytest.raises(DataError, match="interpolation 'cubic'"):
        lookup.sample(np.zeros(toy.n_vertices), "cubic")
    with pytest.raises(DataError, match="width is 3"):
        flatmap_lookup(toy, 3)
    bare = SurfaceMesh("bare", replace(toy.left, flat=None, flat_faces=None), toy.right)
    with pytest.raises(DataError, match="no flat surface of the left"):
        flatmap_lookup(bare, 90)
