"""A flatmap is a look-up from pixels to vertices: built once per mesh and size, it paints any map in milliseconds.

Both sheets lie side by side, **left hemisphere on the left**, outer side towards the viewer, dorsal up, the occipital
poles towards the middle. A pixel belongs to the triangle that holds its centre; it shows the vertex of the largest
barycentric weight (``nearest``) or the weighted mean of the three (``linear``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from brainenc.core.types import DataError
from brainenc.surfaces.colour import ColourScale, ReliabilityScale, grey_underlay
from brainenc.surfaces.mesh import Hemisphere, SurfaceMesh, load_mesh
from brainenc.surfaces.raster import first_hit, rasterise

INTERPOLATIONS = ("nearest", "linear")


@dataclass(frozen=True, eq=False)
class FlatmapLookup:
    """Where each pixel of a flatmap picture lies on the mesh.

    Parameters
    ----------
    mesh : SurfaceMesh
    shape : (height, width) of the picture in pixels
    extent : (left, right, bottom, top)
        Edges of the picture in sheet units (mm).
    positions : array, shape (n_vertices, 2)
        Both sheets in sheet units, side by side; NaN for vertices that are not on the sheet.
    faces : int array, shape (n_faces, 3)
        Flat triangles of both hemispheres, vertices numbered [left | right].
    pixels : int array, shape (n_pixels,)
        Flat index of each pixel on cortex, ascending.
    corners : int array, shape (n_pixels, 3)
        Vertices of the triangle under each of those pixels.
    weights : float32 array, shape (n_pixels, 3)
        Their barycentric weights.
    nearest : int array, shape (n_pixels,)
        The corner of the largest weight.
    underlay : uint8 array, shape (n_pixels,)
        Curvature as grey: gyri light, sulci dark.
    """

    mesh: SurfaceMesh
    shape: tuple[int, int]
    extent: tuple[float, float, float, float]
    positions: np.ndarray
    faces: np.ndarray
    pixels: np.ndarray
    corners: np.ndarray
    weights: np.ndarray
    nearest: np.ndarray
    underlay: np.ndarray

    @cached_property
    def rim(self) -> np.ndarray:
        """Edges of only one flat triangle: the border of the sheets, sorted vertex pairs, shape (n_edges, 2)."""
        edges = np.sort(self.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), 1)
        code, count = np.unique(edges[:, 0] * self.mesh.n_vertices + edges[:, 1], return_counts=True)
        return np.stack(np.divmod(code[count == 1], self.mesh.n_vertices), 1)

    def sample(self, values: np.ndarray, interpolation: str = "nearest") -> np.ndarray:
        """Values of the pixels on cortex, shape (n_pixels,), from values of all vertices (n_vertices,).

        A pixel whose nearest vertex is NaN is NaN in both modes; ``linear`` never mixes NaN in.
        """
        self._check_values(values)
        if interpolation not in INTERPOLATIONS:
            raise DataError(
                f"flatmap: interpolation {interpolation!r} is unknown, wanted one of {list(INTERPOLATIONS)}."
            )
        nearest = values[self.nearest]
        if interpolation == "nearest":
            return nearest
        corner = values[self.corners]
        known = np.isfinite(corner)
        weights = np.where(known, self.weights, 0)
        total = weights.sum(1)
        mean = (weights * np.where(known, corner, 0)).sum(1) / np.where(total > 0, total, 1)
        return np.where(np.isfinite(nearest), mean, np.nan)

    def paint(
        self,
        values: np.ndarray,
        scale: ColourScale,
        reliability: np.ndarray | None = None,
        reliability_scale: ReliabilityScale | None = None,
        interpolation: str = "nearest",
        underlay: bool = True,
    ) -> np.ndarray:
        """Paint values of all vertices (n_vertices,) into an RGBA picture, uint8 (height, width, 4).

        NaN is transparent: the curvature shows through, or nothing where ``underlay`` is false. ``reliability``
        (n_vertices,) fades the colour towards the underlay through ``reliability_scale``.
        """
        value = self.sample(values, interpolation)
        colour = scale.colours(value)
        alpha = np.isfinite(value).astype(np.float32)
        if reliability is not None:
            fade = reliability_scale if reliability_scale is not None else ReliabilityScale.of(reliability)
            alpha *= fade.alpha(self.sample(reliability, interpolation))
        return self.compose(colour, alpha, underlay)

    def compose(self, colour: np.ndarray, alpha: np.ndarray, underlay: bool = True) -> np.ndarray:
        """Lay colours (n_pixels, 3) uint8 with opacity ``alpha`` (n_pixels,) over the curvature; RGBA picture."""
        rgba = np.empty((len(self.pixels), 4), np.uint8)
        if underlay:
            grey = self.underlay.astype(np.float32)[:, None]
            rgba[:, :3] = np.rint(grey + alpha[:, None] * (colour.astype(np.float32) - grey))
            rgba[:, 3] = 255
        else:
            rgba[:, :3] = colour
            rgba[:, 3] = np.rint(255 * alpha)
        return self.picture(rgba, fill=0)

    def picture(self, values: np.ndarray, fill: float) -> np.ndarray:
        """Put values of the pixels on cortex (n_pixels, ...) into a picture (height, width, ...)."""
        full = np.full((self.shape[0] * self.shape[1], *values.shape[1:]), fill, values.dtype)
        full[self.pixels] = values
        return full.reshape(*self.shape, *values.shape[1:])

    def _check_values(self, values: np.ndarray) -> None:
        if values.shape != (self.mesh.n_vertices,):
            raise DataError(
                f"flatmap: values have shape {values.shape}, wanted ({self.mesh.n_vertices},), one per vertex of mesh "
                f"{self.mesh.name!r}: scatter the map into its space first."
            )


def flatmap_lookup(mesh: SurfaceMesh | str = "fsaverage5", width: int = 1800) -> FlatmapLookup:
    """Build (once per mesh object and width, then remembered) the look-up of a picture ``width`` pixels wide.

    Raises
    ------
    DataError
        Unknown mesh name, a mesh without flat surfaces, or a width outside 64..20000.
    """
    if not 64 <= width <= 20000:
        raise DataError(f"flatmap: width is {width} pixels, wanted 64 to 20000.")
    return _build(load_mesh(mesh) if isinstance(mesh, str) else mesh, int(width))


@lru_cache(maxsize=4)
def _build(mesh: SurfaceMesh, width: int) -> FlatmapLookup:
    positions, faces = side_by_side(mesh)
    low, high = np.nanmin(positions, axis=0), np.nanmax(positions, axis=0)
    margin = 0.01 * (high[0] - low[0])
    low, high = low - margin, high + margin
    pitch = (high[0] - low[0]) / width
    height = int(np.ceil((high[1] - low[1]) / pitch))
    low[1] = high[1] - height * pitch
    dots = np.stack([(positions[:, 0] - low[0]) / pitch - 0.5, (high[1] - positions[:, 1]) / pitch - 0.5], axis=1)
    pixel, face, weights = rasterise(dots, faces, (height, width))
    first = first_hit(pixel, height * width)
    pixels, corners, weights = pixel[first], faces[face[first]], weights[first]
    nearest = np.take_along_axis(corners, weights.argmax(1)[:, None], 1)[:, 0]
    return FlatmapLookup(
        mesh=mesh,
        shape=(height, width),
        extent=(float(low[0]), float(high[0]), float(low[1]), float(high[1])),
        positions=positions,
        faces=faces,
        pixels=pixels,
        corners=corners,
        weights=weights,
        nearest=nearest,
        underlay=grey_underlay((weights * mesh.curvature[corners]).sum(1), mesh.curvature),
    )


def side_by_side(mesh: SurfaceMesh, gap: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
    """Lay both sheets out, left on the left, ``gap`` of the joint width between them.

    Returns
    -------
    positions : array, shape (n_vertices, 2)
        In sheet units, x = 0 in the middle of the gap; NaN off the sheet.
    faces : int array, shape (n_faces, 3)
        Flat triangles, vertices numbered [left | right].
    """
    left, right = _sheet(mesh.left, "left", mesh.name), _sheet(mesh.right, "right", mesh.name)
    half = 0.5 * gap * (np.ptp(left[mesh.left.on_flat, 0]) + np.ptp(right[mesh.right.on_flat, 0]))
    left[:, 0] -= np.nanmax(left[:, 0]) + half
    right[:, 0] -= np.nanmin(right[:, 0]) - half
    assert mesh.left.flat_faces is not None and mesh.right.flat_faces is not None
    faces = np.concatenate([mesh.left.flat_faces, mesh.right.flat_faces + mesh.left.n_vertices])
    return np.concatenate([left, right]), faces


def _sheet(hemisphere: Hemisphere, side: str, name: str) -> np.ndarray:
    if hemisphere.flat is None:
        raise DataError(
            f"flatmap: mesh {name!r} has no flat surface of the {side} hemisphere: give its 'flat' file to read_mesh, "
            "or use paint_inflated."
        )
    sheet = hemisphere.flat.astype(float).copy()
    sheet[~hemisphere.on_flat] = np.nan
    return sheet
