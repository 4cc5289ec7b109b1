"""Triangles to pixels: every pixel centre inside a triangle gets that triangle and its barycentric weights.

The barycentric weights of a point p in a triangle (a, b, c) are ``w_a = cross(b - p, c - p) / cross(b - a, c - a)`` and
its cyclic mates; p lies inside when none is negative. All candidate pixels of all triangles' bounding boxes are tested
at once, in blocks of bounded memory. Reference: J. Pineda (1988), doi:10.1145/54852.378457.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_BLOCK = 4_000_000  # candidate pixels tested at once: about 300 MB at the peak
_INSIDE = -1e-9  # a pixel centre on an edge belongs to both triangles


def rasterise(points: np.ndarray, faces: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """Return every (pixel, triangle) pair whose pixel centre lies inside the triangle.

    Parameters
    ----------
    points : array, shape (n_vertices, 2)
        Column and row in pixels; pixel (row, column) has its centre at (column, row).
    faces : int array, shape (n_faces, 3)
    shape : (height, width)

    Returns
    -------
    pixel : int array, shape (n_hits,)
        Flat index into ``shape`` (C order).
    face : int array, shape (n_hits,), ascending
    weights : float32 array, shape (n_hits, 3)
        Barycentric weights of the triangle's corners; each row sums to 1.
    """
    corners = points[faces].astype(float)
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    low = np.maximum(np.ceil(np.minimum(np.minimum(a, b), c) - 1e-9).astype(np.int64), 0)
    high = np.floor(np.maximum(np.maximum(a, b), c) + 1e-9).astype(np.int64)
    high = np.minimum(high, np.array(shape[::-1]) - 1)
    size = np.maximum(high - low + 1, 0)
    size[np.abs(cross(b - a, c - a)) < 1e-12] = 0
    hits = [_hits(corners, low, size, chunk, shape[1]) for chunk in _blocks(size[:, 0] * size[:, 1])]
    pixel, face, weights = (np.concatenate(parts) for parts in zip(*hits, strict=True))
    return pixel, face, weights


def _blocks(n_candidates: np.ndarray) -> Iterator[np.ndarray]:
    """Consecutive triangles, together at most about ``_BLOCK`` candidate pixels."""
    block = np.cumsum(n_candidates) // _BLOCK
    for start, stop in zip(*_runs(block), strict=True):
        yield np.arange(start, stop)


def _runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    edges = np.flatnonzero(np.diff(values)) + 1
    return np.concatenate([[0], edges]), np.concatenate([edges, [len(values)]])


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross product of plane vectors (..., 2): positive when ``b`` lies counter-clockwise of ``a``."""
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _hits(corners: np.ndarray, low: np.ndarray, size: np.ndarray, chunk: np.ndarray, width: int) -> tuple:
    chunk = chunk[(size[chunk] > 0).all(1)]
    count = size[chunk, 0] * size[chunk, 1]
    face = np.repeat(chunk, count)
    step = np.arange(len(face)) - np.repeat(np.cumsum(count) - count, count)
    down, along = np.divmod(step, np.repeat(size[chunk, 0], count))
    a = corners[chunk, 0]
    to_b, to_c, origin = corners[chunk, 1] - a, corners[chunk, 2] - a, low[chunk] - a
    area = cross(to_b, to_c)
    # Both weights are affine in the pixel: w = w(lower left pixel) + along * dw/dx + down * dw/dy.
    second = [cross(origin, to_c) / area, to_c[:, 1] / area, -to_c[:, 0] / area]
    third = [cross(to_b, origin) / area, -to_b[:, 1] / area, to_b[:, 0] / area]
    w_b, w_c = (
        (at + along * dx + down * dy) for at, dx, dy in ([np.repeat(x, count) for x in w] for w in (second, third))
    )
    w_a = 1 - w_b - w_c
    inside = np.flatnonzero((w_a >= _INSIDE) & (w_b >= _INSIDE) & (w_c >= _INSIDE))
    face, down, along = face[inside], down[inside], along[inside]
    pixel = (low[face, 1] + down) * width + low[face, 0] + along
    return pixel, face, np.stack([w[inside] for w in (w_a, w_b, w_c)], axis=1).astype(np.float32)


def first_hit(pixel: np.ndarray, n_pixels: int) -> np.ndarray:
    """Index of the first hit of each pixel that has one (the lowest triangle wins), ascending by pixel."""
    first = np.full(n_pixels, -1, np.int64)
    first[pixel[::-1]] = np.arange(len(pixel))[::-1]
    return first[first >= 0]


def nearest_hit(pixel: np.ndarray, depth: np.ndarray, n_pixels: int) -> np.ndarray:
    """Index of the hit with the largest ``depth`` (nearest to the eye) of each pixel that has one: a z-buffer."""
    top = np.full(n_pixels, -np.inf, depth.dtype)
    np.maximum.at(top, pixel, depth)
    front = np.flatnonzero(depth == top[pixel])
    return front[first_hit(pixel[front], n_pixels)]
