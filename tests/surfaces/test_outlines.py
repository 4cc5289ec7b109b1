from __future__ import annotations

import numpy as np
import pytest
from matplotlib.path import Path

from brainenc.surfaces.flatmap import flatmap_lookup
from brainenc.surfaces.outlines import anchor_names, outline_region, smooth_corners, spread_boxes


@pytest.fixture(scope="module")
def lookup(fsaverage5):
    return flatmap_lookup(fsaverage5, 600)


def disc(lookup, vertex, radius):
    distance = np.linalg.norm(lookup.positions - lookup.positions[vertex], axis=1)
    return np.nan_to_num(distance, nan=np.inf) < radius


def encloses(curves, lookup, mask):
    """Vertices inside the curves (even-odd) are the vertices of the mask, up to smoothing at the border."""
    inside = np.zeros(len(mask), int)
    on_sheet = np.isfinite(lookup.positions[:, 0])
    for curve in curves:
        inside[on_sheet] += Path(curve).contains_points(lookup.positions[on_sheet])
    return (inside[on_sheet] % 2 == mask[on_sheet]).mean() > 0.999


def test_the_outline_encloses_exactly_its_region(lookup, fsaverage5):
    for vertex in np.random.default_rng(0).choice(np.flatnonzero(fsaverage5.on_flat), 8):
        mask = disc(lookup, vertex, 20)  # near the rim too: there the outline follows the cut
        curves = outline_region(lookup, mask)
        assert all(np.array_equal(curve[0], curve[-1]) for curve in curves)
        assert encloses(curves, lookup, mask)
        assert not encloses([curve + 15 for curve in curves], lookup, mask)


def test_a_ring_has_two_curves_and_nothing_has_none(lookup, fsaverage5):
    vertex = int(np.nanargmin(np.linalg.norm(lookup.positions - [-150, 0], axis=1)))
    ring = disc(lookup, vertex, 30) & ~disc(lookup, vertex, 15)
    assert len(outline_region(lookup, ring)) == 2
    assert outline_region(lookup, np.zeros(fsaverage5.n_vertices, bool)) == []


def test_smoothing_keeps_ends_and_closure():
    zigzag = np.array([[0, 0], [1, 1], [2, 0], [3, 1.0]])
    smooth = smooth_corners(zigzag)
    assert np.array_equal(smooth[[0, -1]], zigzag[[0, -1]])
    closed = smooth_corners(np.array([[0, 0], [1, 0], [1, 1], [0, 0.0]]))
    assert np.array_equal(closed[0], closed[-1])


def test_names_stand_inside_their_region_on_both_sides(lookup, fsaverage5):
    left, right = (int(np.nanargmin(np.linalg.norm(lookup.positions - [x, 0], axis=1))) for x in (-150, 150))
    mask = disc(lookup, left, 20) | disc(lookup, right, 25)
    anchors = anchor_names(lookup, {"A": mask})
    assert [anchor.name for anchor in anchors] == ["A", "A"]
    for anchor, vertex in zip(anchors, (left, right), strict=True):
        assert np.hypot(*(lookup.positions[vertex] - [anchor.x, anchor.y])) < 8
    assert anchor_names(lookup, {"nowhere": np.zeros(fsaverage5.n_vertices, bool)}) == []


def overlaps(centres, sizes):
    offset = np.abs(centres[:, None] - centres[None]) - 0.5 * (sizes[:, None] + sizes[None])
    both = (offset < -0.01).all(2)
    np.fill_diagonal(both, False)
    return int(both.sum() // 2)


def test_spread_boxes_do_not_overlap_and_stay_inside():
    generator = np.random.default_rng(0)
    centres = generator.normal([300, 200], 25, (40, 2))
    sizes = np.stack([generator.uniform(20, 60, 40), np.full(40, 12.0)], 1)
    bounds = np.array([[0, 0], [900, 400.0]])
    placed = spread_boxes(centres, sizes, bounds)
    assert overlaps(centres, sizes) > 20 and overlaps(placed, sizes) == 0
    assert (placed - sizes / 2 >= bounds[0] - 1e-6).all() and (placed + sizes / 2 <= bounds[1] + 1e-6).all()


def test_boxes_apart_stay_where_they_are():
    centres = np.array([[50, 50], [150, 50], [250, 90.0]])
    sizes = np.full((3, 2), 20.0)
    np.testing.assert_allclose(spread_boxes(centres, sizes, np.array([[0, 0], [400, 400.0]])), centres, atol=0.1)
