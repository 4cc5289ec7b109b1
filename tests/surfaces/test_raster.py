from __future__ import annotations

import numpy as np
from matplotlib.tri import Triangulation

from brainenc.surfaces.raster import first_hit, nearest_hit, rasterise


def inside_by_hand(points, faces, shape):
    """Slow and obvious: solve the barycentric equations of every pixel in every triangle."""
    hits = set()
    for row in range(shape[0]):
        for column in range(shape[1]):
            for k, (a, b, c) in enumerate(points[faces]):
                solved = np.linalg.solve(np.array([[*a, 1], [*b, 1], [*c, 1]]).T, [column, row, 1])
                if (solved > 1e-7).all():
                    hits.add((row * shape[1] + column, k))
    return hits


def random_mesh(seed, n=12, size=20.0):
    generator = np.random.default_rng(seed)
    points = generator.uniform(-3, size, (n, 2))
    return points, Triangulation(*points.T).triangles


def test_hits_are_the_pixels_inside_each_triangle():
    points, faces = random_mesh(0)
    pixel, face, weights = rasterise(points, faces, (15, 18))
    assert set(zip(pixel.tolist(), face.tolist(), strict=True)) == inside_by_hand(points, faces, (15, 18))
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    assert weights.min() > -1e-6


def test_weights_rebuild_the_pixel_and_orientation_does_not_matter():
    points, faces = random_mesh(1)
    for turned in (faces, faces[:, ::-1]):
        pixel, face, weights = rasterise(points, turned, (15, 18))
        rebuilt = np.einsum("pk,pkd->pd", weights, points[turned[face]])
        np.testing.assert_allclose(rebuilt, np.stack([pixel % 18, pixel // 18], 1), atol=1e-4)


def test_every_pixel_of_a_covered_picture_is_hit_once():
    points = np.array([[-1, -1], [30, -1], [30, 30], [-1, 30], [7.3, 9.1]])
    faces = np.array([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]])
    pixel, _, _ = rasterise(points, faces, (20, 22))
    assert np.array_equal(np.sort(pixel[first_hit(pixel, 440)]), np.arange(440))


def test_blocks_do_not_change_the_answer(monkeypatch):
    points, faces = random_mesh(2)
    whole = rasterise(points, faces, (15, 18))
    monkeypatch.setattr("brainenc.surfaces.raster._BLOCK", 10)
    for a, b in zip(whole, rasterise(points, faces, (15, 18)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_degenerate_and_outside_triangles_hit_nothing():
    points = np.array([[0, 0], [5, 5], [10, 10], [100, 100], [110, 100], [100, 110]], float)
    pixel, _, _ = rasterise(points, np.array([[0, 1, 2], [3, 4, 5]]), (12, 12))
    assert len(pixel) == 0


def test_the_lowest_triangle_and_the_nearest_depth_win():
    pixel = np.array([4, 2, 4, 2, 7])
    assert first_hit(pixel, 9).tolist() == [1, 0, 4]
    assert nearest_hit(pixel, np.array([0.0, 5.0, 1.0, 2.0, 0.0]), 9).tolist() == [1, 2, 4]
