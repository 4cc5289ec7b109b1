"""Cortical meshes: two hemispheres, each with a folded, an inflated and a flat shape over the same vertices.

fsaverage5 comes from the files inside nilearn (inflation and flattening: Fischl, Sereno & Dale 1999,
doi:10.1006/nimg.1998.0396); any other mesh from the user's GIFTI or FreeSurfer files. Coordinates are millimetres, x to
the right, y forward, z up. On a flat sheet the outer side of the cortex faces the viewer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from brainenc.core.spaces import VertexSpace
from brainenc.core.types import DataError
from brainenc.surfaces.readers import read_geometry, read_patch, read_scalar

SHAPES = ("white", "pial", "inflated", "sphere")


@dataclass(frozen=True, eq=False)
class Hemisphere:
    """One hemisphere.

    Parameters
    ----------
    faces : int array, shape (n_faces, 3)
        Corners of each triangle of the closed surface, counter-clockwise seen from outside.
    flat : float array, shape (n_vertices, 2), optional
        Position on the flat sheet; only vertices in ``flat_faces`` mean anything.
    flat_faces : int array, shape (n_flat_faces, 3), optional
        Triangles of the flat sheet: cuts and the medial wall are missing.
    shapes : mapping of str to float array, shape (n_vertices, 3)
        Any of ``white``, ``pial``, ``inflated``, ``sphere``, in millimetres.
    curvature : float array, shape (n_vertices,)
        Mean curvature, positive in sulci and negative on gyri (FreeSurfer's sign).
    """

    faces: np.ndarray
    flat: np.ndarray | None
    flat_faces: np.ndarray | None
    shapes: Mapping[str, np.ndarray]
    curvature: np.ndarray

    def __post_init__(self) -> None:
        n = self.n_vertices
        for name, points in self.shapes.items():
            if points.shape != (n, 3):
                raise DataError(
                    f"Hemisphere: the {name} shape has {len(points)} vertices but the curvature has {n}: "
                    "give files of one and the same mesh."
                )
        if (self.flat is None) != (self.flat_faces is None):
            raise DataError("Hemisphere: flat positions and flat faces come together: give both or neither.")
        if self.flat is not None and self.flat.shape != (n, 2):
            raise DataError(
                f"Hemisphere: the flat sheet has shape {self.flat.shape}, wanted ({n}, 2): "
                "give the flat surface of the same mesh."
            )
        for name, faces in {"faces": self.faces, "flat_faces": self.flat_faces}.items():
            if faces is not None and (faces.ndim != 2 or faces.shape[1] != 3 or not len(faces) or faces.max() >= n):
                raise DataError(
                    f"Hemisphere: {name} of shape {faces.shape} do not fit {n} vertices, wanted triangles of "
                    "existing vertices: give files of one and the same mesh."
                )

    @property
    def n_vertices(self) -> int:
        return len(self.curvature)

    def shape(self, name: str) -> np.ndarray:
        """Coordinates (n_vertices, 3) of one folded shape; `DataError` if the mesh has none of that name."""
        if name not in self.shapes:
            raise DataError(
                f"mesh: there is no {name!r} shape (it has {sorted(self.shapes)}): give its file to read_mesh."
            )
        return self.shapes[name]

    @property
    def on_flat(self) -> np.ndarray:
        """True for vertices of the flat sheet, shape (n_vertices,); all false without a flat sheet."""
        mask = np.zeros(self.n_vertices, bool)
        if self.flat_faces is not None:
            mask[self.flat_faces.ravel()] = True
        return mask


@dataclass(frozen=True, eq=False)
class SurfaceMesh:
    """A pair of hemispheres; vertices are numbered [left | right] as in `VertexSpace`."""

    name: str
    left: Hemisphere
    right: Hemisphere

    @property
    def n_vertices(self) -> int:
        return self.left.n_vertices + self.right.n_vertices

    @property
    def space(self) -> VertexSpace:
        """The space of all vertices."""
        return VertexSpace(self.name, self.left.n_vertices, self.right.n_vertices, np.arange(self.n_vertices))

    @property
    def curvature(self) -> np.ndarray:
        """Both hemispheres, shape (n_vertices,)."""
        return np.concatenate([self.left.curvature, self.right.curvature])

    @property
    def on_flat(self) -> np.ndarray:
        """True for vertices drawn on the flatmap, shape (n_vertices,): everything but the medial wall and cuts."""
        return np.concatenate([self.left.on_flat, self.right.on_flat])

    def check(self, space: object, what: str) -> None:
        """Raise `DataError` unless ``space`` is a `VertexSpace` of this mesh."""
        if not isinstance(space, VertexSpace):
            kind = getattr(space, "kind", type(space).__name__)
            cure = (
                "call project_to_surface first" if kind == "voxel" else "only maps of vertices can be painted on a mesh"
            )
            raise DataError(f"{what}: the map is in {kind} space, wanted vertices of mesh {self.name!r}: {cure}.")
        mine = (self.name, self.left.n_vertices, self.right.n_vertices)
        theirs = (space.mesh, space.n_left, space.n_right)
        if mine != theirs:
            raise DataError(
                f"{what}: the map is on mesh {theirs[0]!r} ({theirs[1]} + {theirs[2]} vertices) but the surface is "
                f"{mine[0]!r} ({mine[1]} + {mine[2]}): give the mesh that the map was made on."
            )


def load_mesh(name: str) -> SurfaceMesh:
    """Load a mesh that ships with the installation: ``"fsaverage5"``.

    Raises
    ------
    DataError
        For any other name; the cure is `read_mesh` on the user's own files.
    """
    if name != "fsaverage5":
        raise DataError(
            f"mesh {name!r} does not ship with brainenc, wanted 'fsaverage5': read your own files with read_mesh."
        )
    return _fsaverage5()


@lru_cache(maxsize=1)
def _fsaverage5() -> SurfaceMesh:
    found = find_spec("nilearn")  # the files are wanted, not the two seconds of its import
    if found is None or not found.submodule_search_locations:
        raise DataError("mesh 'fsaverage5': nilearn, which holds its files, is not installed: pip install nilearn.")
    folder = Path(found.submodule_search_locations[0]) / "datasets" / "data" / "fsaverage5"
    prefix = {
        "flat": "flat",
        "white": "white",
        "pial": "pial",
        "inflated": "infl",
        "sphere": "sphere",
        "curvature": "curv",
    }
    files = {
        side: {shape: folder / f"{stem}_{side}.gii.gz" for shape, stem in prefix.items()} for side in ("left", "right")
    }
    return read_mesh("fsaverage5", files["left"], files["right"])


def read_mesh(name: str, left: Mapping[str, str | Path], right: Mapping[str, str | Path]) -> SurfaceMesh:
    """Read a mesh from files.

    Parameters
    ----------
    name : str
        What `VertexSpace.mesh` says for maps on this mesh.
    left, right : mapping of str to path
        Keys ``flat``, ``white``, ``pial``, ``inflated``, ``sphere`` (GIFTI or FreeSurfer geometry) and ``curvature``
        (GIFTI or FreeSurfer morphometry; computed from the middle of white and pial when it is not given). ``flat``
        may be a FreeSurfer patch, a file with ``patch`` in its name, which is turned upright. At least one folded
        shape is needed.

    Raises
    ------
    DataError
        Missing or unreadable file, unknown key, files of different meshes, hemispheres exchanged.
    """
    mesh = SurfaceMesh(name, _read_hemisphere(left, "left"), _read_hemisphere(right, "right"))
    _check_sides(mesh)
    return mesh


def _read_hemisphere(files: Mapping[str, str | Path], side: str) -> Hemisphere:
    unknown = set(files) - {*SHAPES, "flat", "curvature"}
    if unknown:
        raise DataError(
            f"read_mesh: {side} has the unknown key {min(unknown)!r}, wanted some of {[*SHAPES, 'flat', 'curvature']}."
        )
    folded = {shape: read_geometry(files[shape]) for shape in SHAPES if shape in files}
    if not folded:
        raise DataError(
            f"read_mesh: {side} has no folded surface, wanted at least one of {list(SHAPES)}: add its file."
        )
    faces = next(iter(folded.values()))[1]
    shapes = {shape: points for shape, (points, _) in folded.items()}
    anatomy = np.mean(
        [shapes[name] for name in ("white", "pial") if name in shapes] or [next(iter(shapes.values()))], 0
    )
    flat, flat_faces = _read_flat(files.get("flat"), faces, anatomy, side)
    curvature = read_scalar(files["curvature"]) if "curvature" in files else mean_curvature(anatomy, faces)
    return Hemisphere(faces, flat, flat_faces, shapes, curvature)


def _read_flat(
    file: str | Path | None, faces: np.ndarray, anatomy: np.ndarray, side: str
) -> tuple[np.ndarray | None, np.ndarray | None]:
    if file is None:
        return None, None
    if "patch" not in Path(file).name:
        points, flat_faces = read_geometry(file)
        return points[:, :2], flat_faces
    flat = read_patch(file, len(anatomy))
    kept = np.isfinite(flat).all(1)
    flat_faces = faces[kept[faces].all(1)]
    if not len(flat_faces):
        raise DataError(f"{file}: the patch shares no triangle with the {side} surface: give the patch of this mesh.")
    return upright(flat, flat_faces, anatomy, side), flat_faces


def upright(flat: np.ndarray, flat_faces: np.ndarray, anatomy: np.ndarray, side: str) -> np.ndarray:
    """Turn a flat sheet so that the outer side faces the viewer, dorsal is up and posterior towards the other sheet.

    The rotation (never a reflection of the cortex) maximises the agreement of sheet and anatomy: with the posterior
    direction towards the picture's middle and the dorsal one upwards. Returns (n_vertices, 2).
    """
    from brainenc.surfaces.raster import cross

    corner = flat[flat_faces]
    outside = np.sign(np.median(cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])))
    used = np.unique(flat_faces)
    sheet = flat * [outside, 1.0]
    sheet = sheet - sheet[used].mean(0)
    inward = -1.0 if side == "left" else 1.0
    wanted = (anatomy[used] - anatomy[used].mean(0))[:, 1:] * [inward, 1.0]
    product = sheet[used].T @ wanted
    angle = np.arctan2(product[0, 1] - product[1, 0], product[0, 0] + product[1, 1])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return sheet @ turn


def _check_sides(mesh: SurfaceMesh) -> None:
    """Left lies at smaller x than right in every anatomical shape (inflated surfaces may both be centred)."""
    for name in ("white", "pial"):
        if name in mesh.left.shapes and name in mesh.right.shapes:
            left, right = mesh.left.shapes[name][:, 0].mean(), mesh.right.shapes[name][:, 0].mean()
            if left > right:
                raise DataError(
                    f"mesh {mesh.name!r}: the left {name} surface lies at x = {left:.0f} mm, right of the right one "
                    f"({right:.0f} mm): exchange the left and right files."
                )


def mean_curvature(points: np.ndarray, faces: np.ndarray, smooth: float = 3.0) -> np.ndarray:
    """Mean curvature (1/mm, arbitrary scale) per vertex, positive in sulci, from the umbrella Laplacian.

    ``H = (mean of neighbours - vertex) . outward normal / mean squared edge length``, averaged over neighbours until
    the kernel is about ``smooth`` millimetres wide. Enough for a grey underlay; not a substitute for FreeSurfer's.
    """
    from scipy.sparse import coo_matrix, diags

    n = len(points)
    i = np.concatenate([faces[:, [0, 1, 2]].ravel(), faces[:, [1, 2, 0]].ravel()])
    j = np.concatenate([faces[:, [1, 2, 0]].ravel(), faces[:, [0, 1, 2]].ravel()])
    adjacency = coo_matrix((np.ones(len(i)), (i, j)), shape=(n, n)).tocsr()
    mean = diags(1 / np.maximum(np.asarray(adjacency.sum(1)).ravel(), 1)) @ adjacency
    edge = ((points[i] - points[j]) ** 2).sum(1)
    square = np.bincount(i, edge, n) / np.maximum(np.bincount(i, minlength=n), 1)
    curvature = ((mean @ points - points) * vertex_normals(points, faces)).sum(1) / np.maximum(square, 1e-9)
    for _ in range(int(np.clip(round(2 * smooth**2 / max(edge.mean(), 1e-9)), 1, 60))):
        curvature = 0.5 * curvature + 0.5 * (mean @ curvature)
    return curvature


def vertex_normals(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Outward unit normals, shape (n_vertices, 3): the area-weighted mean of the triangles around each vertex."""
    corner = points[faces].astype(float)
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    total = np.stack([np.bincount(faces.ravel(), np.repeat(normal[:, k], 3), len(points)) for k in range(3)], axis=1)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
