"""Geometry of the planted cortex: distances, areas and smoothing on nilearn's fsaverage5.

Distances and areas are taken on the mid-surface ``m = (white + pial) / 2`` in MNI305 millimetres. The geodesic distance
is the shortest path over mesh edges and over the diagonals of pairs of neighbouring triangles, unfolded into a plane::

    d(p, q) = |p' - q'|   for triangles (a, b, p), (a, b, q), where the straight line crosses the shared edge ab

which takes away most of the bias of paths that follow edges only. Smoothing is the mean over a vertex and its
neighbours, applied n times. The cortex is what the flat patch covers: the medial wall and the cuts are left out.
The mesh is that of Fischl et al. 1999 (FreeSurfer's fsaverage), read from the files inside nilearn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from brainenc.core.spaces import VertexSpace
from brainenc.core.types import DataError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

HEMISPHERES = ("left", "right")
N_VERTICES = 10242  # per hemisphere of fsaverage5

# FreeSurfer's fixed affine from MNI305 (fsaverage) to MNI152, millimetres.
MNI305_TO_MNI152 = np.array(
    [
        [0.9975, -0.0073, 0.0176, -0.0429],
        [0.0146, 1.0009, -0.0024, 1.5496],
        [-0.0130, -0.0093, 0.9971, 1.1840],
        [0.0, 0.0, 0.0, 1.0],
    ]
)


@dataclass(frozen=True, eq=False)
class Hemisphere:
    """One hemisphere of fsaverage5.

    Parameters
    ----------
    faces : int array, shape (n_faces, 3)
    middle : float array, shape (n_vertices, 3)
        Mid-surface, MNI305 millimetres.
    sphere : float array, shape (n_vertices, 3)
        Unit vectors of the registration sphere.
    cortex : bool array, shape (n_vertices,)
        True on the flat patch.
    """

    faces: np.ndarray
    middle: np.ndarray
    sphere: np.ndarray
    cortex: np.ndarray

    @property
    def graph(self) -> csr_array:
        """Symmetric sparse distances (n_vertices, n_vertices) in mm along edges and unfolded diagonals."""
        return _graph(self)

    def distance(self, vertex: int, limit: float) -> np.ndarray:
        """Geodesic distance in mm from ``vertex`` to every vertex, shape (n_vertices,); infinite beyond ``limit``."""
        from scipy.sparse.csgraph import dijkstra

        return dijkstra(self.graph, indices=vertex, limit=limit)

    def nearest(self, mni152: np.ndarray) -> tuple[int, float]:
        """Cortical vertex nearest to an MNI152 position (3,), and its distance in mm."""
        gap = np.linalg.norm(self.middle - mni152_to_mni305(mni152), axis=1)
        vertex = int(np.where(self.cortex, gap, np.inf).argmin())
        return vertex, float(gap[vertex])


def mni152_to_mni305(position: np.ndarray) -> np.ndarray:
    """Convert a position (..., 3) in mm from MNI152 to MNI305, the space of fsaverage."""
    inverse = np.linalg.inv(MNI305_TO_MNI152)
    return np.asarray(position, float) @ inverse[:3, :3].T + inverse[:3, 3]


def fsaverage5_space(vertices: np.ndarray) -> VertexSpace:
    """The `VertexSpace` of ``vertices``, indices into [left | right] of fsaverage5."""
    return VertexSpace("fsaverage5", N_VERTICES, N_VERTICES, vertices)


@lru_cache(maxsize=1)
def load_fsaverage5() -> Mapping[str, Hemisphere]:
    """Both hemispheres by name, read-only arrays, read once per process.

    Raises
    ------
    DataError
        nilearn is not installed, or its files are not where they were.
    """
    found = find_spec("nilearn")  # only its files: importing it takes two seconds
    if found is None or not found.submodule_search_locations:
        raise DataError("fsaverage5: nilearn, which holds the mesh, is not installed: pip install nilearn.")
    folder = Path(found.submodule_search_locations[0]) / "datasets" / "data" / "fsaverage5"
    return {side: _load(folder, side) for side in HEMISPHERES}


def _load(folder: Path, side: str) -> Hemisphere:
    white, faces = _read(folder / f"white_{side}.gii.gz")
    pial, _ = _read(folder / f"pial_{side}.gii.gz")
    sphere, _ = _read(folder / f"sphere_{side}.gii.gz")
    _, flat_faces = _read(folder / f"flat_{side}.gii.gz")
    cortex = np.zeros(len(white), bool)
    cortex[np.unique(flat_faces)] = True
    sphere = sphere / np.linalg.norm(sphere, axis=1, keepdims=True)
    arrays = (faces, (white + pial) / 2, sphere, cortex)
    for array in arrays:
        array.setflags(write=False)
    return Hemisphere(*arrays)


def _read(file: Path) -> tuple[np.ndarray, np.ndarray]:
    import nibabel

    if not file.exists():
        raise DataError(f"fsaverage5: {file} is missing from nilearn: install nilearn 0.13 or later.")
    points, faces = (array.data for array in nibabel.load(file).darrays[:2])
    return points.astype(float), faces.astype(np.int64)


@lru_cache(maxsize=4)
def _graph(hemisphere: Hemisphere) -> csr_array:
    from scipy.sparse import coo_array

    points, faces = hemisphere.middle, hemisphere.faces
    n = len(points)
    edges, opposite = _edges(faces)
    pairs = np.flatnonzero((edges[1:] == edges[:-1]).all(axis=1))  # an inner edge occurs in two triangles
    p, q, across = _diagonals(points, edges[pairs], opposite[pairs], opposite[pairs + 1])
    unique = np.unique(edges, axis=0)
    along = np.linalg.norm(points[unique[:, 0]] - points[unique[:, 1]], axis=1)
    i, j = np.r_[unique[:, 0], p], np.r_[unique[:, 1], q]
    length = np.r_[along, across]
    return coo_array((np.r_[length, length], (np.r_[i, j], np.r_[j, i])), shape=(n, n)).tocsr()


def _edges(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges of all triangles, sorted so that the two copies of an edge are neighbours, and the vertex opposite each."""
    edges = np.sort(np.vstack([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    opposite = np.r_[faces[:, 2], faces[:, 0], faces[:, 1]]
    order = np.lexsort((edges[:, 1], edges[:, 0]))
    return edges[order], opposite[order]


def _diagonals(
    points: np.ndarray, edge: np.ndarray, p: np.ndarray, q: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lay triangles (a, b, p) and (a, b, q) into one plane; keep the pairs p, q that see each other through ab."""
    origin = points[edge[:, 0]]
    along = points[edge[:, 1]] - origin
    length = np.linalg.norm(along, axis=1)
    unit = along / length[:, None]

    def unfold(vertex: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        offset = points[vertex] - origin
        x = (offset * unit).sum(axis=1)
        return x, np.sqrt(np.maximum((offset**2).sum(axis=1) - x**2, 0))

    (px, py), (qx, qy) = unfold(p), unfold(q)
    crossing = px + (qx - px) * py / np.maximum(py + qy, 1e-9)
    seen = (crossing > 0) & (crossing < length)
    return p[seen], q[seen], np.hypot(px - qx, py + qy)[seen]


def vertex_area(hemisphere: Hemisphere) -> np.ndarray:
    """Area in mm2 that belongs to each vertex of the mid-surface, shape (n_vertices,): a third of its triangles."""
    corner = hemisphere.middle[hemisphere.faces]
    area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1) / 6
    return np.bincount(hemisphere.faces.ravel(), np.repeat(area, 3), len(hemisphere.middle))


@lru_cache(maxsize=1)
def neighbour_mean() -> csr_array:
    """Sparse operator (n, n) over [left | right]: the mean over a vertex and its neighbours; rows sum to 1."""
    from scipy.sparse import block_diag, coo_array, csr_array, diags_array, eye_array

    blocks = []
    for side in HEMISPHERES:
        faces = load_fsaverage5()[side].faces
        i = faces[:, [0, 1, 2, 1, 2, 0]].ravel()
        j = faces[:, [1, 2, 0, 0, 1, 2]].ravel()
        adjacency = coo_array((np.ones(len(i)), (i, j)), shape=(N_VERTICES, N_VERTICES)).tocsr()
        adjacency.data[:] = 1.0
        blocks.append(diags_array(1 / (adjacency.sum(axis=1) + 1)) @ (adjacency + eye_array(N_VERTICES)))
    return csr_array(block_diag(blocks))


def smooth_maps(rng: np.random.Generator, n_maps: int, n_steps: int) -> np.ndarray:
    """Random maps (2 * N_VERTICES, n_maps): white noise after ``n_steps`` of smoothing, unit sd over vertices."""
    maps = rng.standard_normal((2 * N_VERTICES, n_maps))
    for _ in range(n_steps):
        maps = neighbour_mean() @ maps
    return maps / maps.std(axis=0)


def noise_operator(vertices: np.ndarray, n_steps: int) -> tuple[csr_array, np.ndarray]:
    """Operator that turns white noise into smooth noise of exactly unit variance at ``vertices``.

    Row v of ``K`` is row v of ``neighbour_mean ** n_steps`` divided by its Euclidean norm, so that
    ``var((K w)_v) = sum_u K_vu^2 = 1`` for white ``w``.

    Returns
    -------
    K : sparse array, shape (n_targets, n_support)
    support : int array, shape (n_support,)
        Vertices whose white noise reaches ``vertices``; columns of ``K``.
    """
    from scipy.sparse import diags_array

    rows = neighbour_mean()[vertices]
    for _ in range(n_steps - 1):
        rows = rows @ neighbour_mean()
    norm = np.sqrt(rows.power(2).sum(axis=1))
    rows = (diags_array(1 / norm) @ rows).tocsr()
    support = np.unique(rows.indices)
    return rows[:, support], support
