"""Region outlines as vector curves on the flat sheet, and names that do not cover each other.

The outline is the 0.5 level of the piecewise linear mask (marching triangles): it crosses mesh edges at their middle,
and follows the rim of the sheet where a cut runs through the region. Two rounds of corner cutting (Chaikin 1974,
doi:10.1016/0146-664X(74)90028-8) take the zigzag of the mesh away. A name stands where its region is widest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from brainenc.surfaces.flatmap import FlatmapLookup

_STRIDE = 3  # names are placed on every third pixel
_SECOND_NAME = 0.002  # a further piece is named again when it takes this share of the picture


def outline_region(lookup: FlatmapLookup, mask: np.ndarray) -> list[np.ndarray]:
    """Closed curves (n_points, 2) in sheet units around the vertices where ``mask`` (n_vertices,) is true."""
    inside = mask[lookup.faces]
    mixed = lookup.faces[inside.any(1) & ~inside.all(1)]
    starts, stops = _crossings(mixed, mask[mixed])
    rim = lookup.rim
    both = rim[mask[rim].all(1)]
    one = rim[mask[rim].sum(1) == 1]
    kept = np.where(mask[one[:, 0]], one[:, 0], one[:, 1])
    starts = np.concatenate([starts, both[:, [0, 0]], np.stack([kept, kept], 1)])
    stops = np.concatenate([stops, both[:, [1, 1]], np.sort(one, 1)])
    return [smooth_corners(curve) for curve in _chain(starts, stops, lookup.positions)]


def _crossings(faces: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two crossed edges of each mixed triangle, each as a sorted pair of vertices, (n, 2) and (n, 2)."""
    odd = np.where(inside.sum(1) == 1, inside.argmax(1), (~inside).argmax(1))
    rows = np.arange(len(faces))
    apex, second, third = faces[rows, odd], faces[rows, (odd + 1) % 3], faces[rows, (odd + 2) % 3]
    return np.sort(np.stack([apex, second], 1), 1), np.sort(np.stack([apex, third], 1), 1)


def _chain(starts: np.ndarray, stops: np.ndarray, positions: np.ndarray) -> list[np.ndarray]:
    """Join segments whose ends are named by vertex pairs; the pair (v, v) is the vertex itself."""
    names, index = np.unique(np.concatenate([starts, stops]), axis=0, return_inverse=True)
    index = index.reshape(2, -1).T
    neighbours: dict[int, list[int]] = {}
    for a, b in index.tolist():
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    points = 0.5 * (positions[names[:, 0]] + positions[names[:, 1]])
    curves = []
    for first in sorted(neighbours, key=lambda node: len(neighbours[node]) != 1):
        while neighbours[first]:
            path = [first]
            while neighbours[path[-1]]:
                following = neighbours[path[-1]].pop()
                neighbours[following].remove(path[-1])
                path.append(following)
                if following == first:
                    break
            curves.append(points[path])
    return curves


def smooth_corners(curve: np.ndarray, rounds: int = 2) -> np.ndarray:
    """Cut the corners of a polyline (n_points, 2); closed curves stay closed, open ones keep their ends."""
    closed = len(curve) > 2 and np.array_equal(curve[0], curve[-1])
    for _ in range(rounds):
        near, far = 0.75 * curve[:-1] + 0.25 * curve[1:], 0.25 * curve[:-1] + 0.75 * curve[1:]
        cut = np.stack([near, far], 1).reshape(-1, 2)
        curve = np.concatenate([cut, cut[:1]]) if closed else np.concatenate([curve[:1], cut, curve[-1:]])
    return curve


@dataclass(frozen=True)
class Anchor:
    """A name and the place in sheet units where its region is widest."""

    name: str
    x: float
    y: float


def anchor_names(lookup: FlatmapLookup, regions: dict[str, np.ndarray]) -> list[Anchor]:
    """One anchor per region and hemisphere, and one more for every further piece at least half as large and not tiny.

    ``regions`` are masks over all vertices, shape (n_vertices,). A region off the sheet gets none.
    """
    grid = lookup.picture(lookup.nearest, fill=-1)[::_STRIDE, ::_STRIDE]
    anchors = []
    for name, mask in regions.items():
        for low, high in ((0, lookup.mesh.left.n_vertices), (lookup.mesh.left.n_vertices, lookup.mesh.n_vertices)):
            side = np.zeros(lookup.mesh.n_vertices + 1, bool)  # the last entry answers for pixels off cortex (-1)
            side[low:high] = mask[low:high]
            anchors += [Anchor(name, *_sheet_point(lookup, *place)) for place in _widest(side[grid])]
    return anchors


def _widest(picture: np.ndarray) -> list[tuple[int, int]]:
    """Row and column of the pixel farthest from the edge of each large piece of a boolean picture."""
    from scipy import ndimage

    if not picture.any():
        return []
    (rows, columns) = (np.flatnonzero(picture.any(axis)) for axis in (1, 0))
    crop = np.pad(picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 1)
    pieces, _ = ndimage.label(crop, np.ones((3, 3)))
    size = np.bincount(pieces.ravel())
    size[0] = 0
    named = (size >= max(0.5 * size.max(), _SECOND_NAME * picture.size)) | (np.arange(len(size)) == size.argmax())
    depth = ndimage.distance_transform_edt(crop)
    places = []
    for piece in np.flatnonzero(named):
        row, column = np.unravel_index(np.argmax(np.where(pieces == piece, depth, -1)), crop.shape)
        places.append((int(row) - 1 + int(rows[0]), int(column) - 1 + int(columns[0])))
    return places


def _sheet_point(lookup: FlatmapLookup, row: int, column: int) -> tuple[float, float]:
    left, right, _, top = lookup.extent
    pitch = (right - left) / lookup.shape[1]
    return left + (column * _STRIDE + 0.5) * pitch, top - (row * _STRIDE + 0.5) * pitch


def spread_boxes(centres: np.ndarray, sizes: np.ndarray, bounds: np.ndarray, n_rounds: int = 1000) -> np.ndarray:
    """Push overlapping boxes apart, as little as needed, inside ``bounds``.

    Parameters
    ----------
    centres, sizes : array, shape (n_boxes, 2)
        Where each box would like to stand, and its width and height.
    bounds : array, shape (2, 2)
        Lower left and upper right corner of the frame.

    Returns
    -------
    array, shape (n_boxes, 2)
        New centres. Overlaps are left only where the frame is too full.
    """
    where = centres + 1e-3 * sizes * np.stack([np.cos(np.arange(len(sizes))), np.sin(np.arange(len(sizes)))], 1)
    for start in range(0, n_rounds, 20):
        reach = 0.5 * (sizes[:, None] + sizes[None])
        near = (np.abs(where[:, None] - where[None]) < 2 * reach).all(2)
        one, other = np.nonzero(np.triu(near, 1))
        for _ in range(start, min(start + 20, n_rounds)):
            push = _push(where[one] - where[other], reach[one, other])
            if not push.any():
                break
            np.add.at(where, one, push)
            np.add.at(where, other, -push)
            where = np.clip(where, bounds[0] + sizes / 2, bounds[1] - sizes / 2)
    return where


def _push(offset: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """How far the first box of each pair must move (and the second the other way), along the shorter way out."""
    depth = reach - np.abs(offset)
    touching = (depth > 0).all(1)
    vertical = depth[:, 1] < depth[:, 0]
    axis = np.stack([~vertical, vertical], 1) & touching[:, None]
    return np.where(axis, np.where(offset < 0, -1.0, 1.0) * (0.3 * depth + 0.02 * reach), 0.0)
