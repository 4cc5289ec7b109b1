"""A map on the inflated cortex from four sides, drawn by a z-buffer: no display, no OpenGL.

Each view looks along one anatomical axis, orthographically. Every pixel takes the nearest triangle's value, shaded by
the cosine between surface and eye. The left hemisphere is the upper row, the right one the lower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from brainenc.core.types import DataError, TargetMap
from brainenc.surfaces.colour import ColourScale, grey_underlay
from brainenc.surfaces.figure import INK, draw_bar, empty_figure, region_masks
from brainenc.surfaces.mesh import Hemisphere, SurfaceMesh, load_mesh, vertex_normals
from brainenc.surfaces.raster import cross, nearest_hit, rasterise

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VIEWS = ("lateral", "medial", "ventral", "posterior")
_SUPERSAMPLE = 2


def view_axes(view: str, side: str) -> np.ndarray:
    """Rows: the anatomical direction (x right, y front, z up) of screen right, screen up, and towards the eye.

    Raises
    ------
    DataError
        For a view that is not one of `VIEWS`.
    """
    outward = -1.0 if side == "left" else 1.0
    axes = {
        "lateral": [[0, outward, 0], [0, 0, 1], [outward, 0, 0]],
        "medial": [[0, -outward, 0], [0, 0, 1], [-outward, 0, 0]],
        "ventral": [[-1, 0, 0], [0, 1, 0], [0, 0, -1]],
        "posterior": [[1, 0, 0], [0, 0, 1], [0, -1, 0]],
    }
    if view not in axes:
        raise DataError(f"inflated: the view {view!r} is unknown, wanted some of {list(VIEWS)}.")
    return np.array(axes[view], float)


def paint_inflated(
    target_map: TargetMap,
    mesh: SurfaceMesh | str = "fsaverage5",
    regions: Mapping[str, np.ndarray] | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: Any = None,
    symmetric: bool = False,
    title: str = "",
    views: Sequence[str] = VIEWS,
    shape: str = "inflated",
    size: int = 420,
) -> Figure:
    """Paint one number per vertex on the inflated (or any folded) shape.

    Parameters
    ----------
    target_map : TargetMap in VertexSpace
        NaN shows the curvature.
    mesh : SurfaceMesh or name
    regions : mapping of name to bool array, shape (n_targets,) or (n_vertices,), optional
        Outlined in black and white.
    vmin, vmax, cmap, symmetric
        See `ColourScale.of`.
    views : some of ``lateral``, ``medial``, ``ventral``, ``posterior``
    shape : {"inflated", "pial", "white", "sphere"}
    size : int
        Pixels of the longer side of one view.

    Raises
    ------
    DataError
        Map of another space or mesh, a mesh without that shape, an unknown view.
    """
    mesh = load_mesh(mesh) if isinstance(mesh, str) else mesh
    mesh.check(target_map.space, f"map {target_map.quantity!r}")
    masks = list(region_masks(target_map, regions).values())
    scale = ColourScale.of(target_map.values, vmin, vmax, cmap, symmetric)
    colour = vertex_colours(target_map.space.scatter(target_map.values), scale, mesh)
    n_left = mesh.left.n_vertices
    sides = {
        "left": (mesh.left, colour[:n_left], [mask[:n_left] for mask in masks]),
        "right": (mesh.right, colour[n_left:], [mask[n_left:] for mask in masks]),
    }
    pictures = [
        [render(hemisphere, paint, parts, view, side, shape, size) for view in views]
        for side, (hemisphere, paint, parts) in sides.items()
    ]
    return _grid(pictures, list(views), scale, target_map, title)


def vertex_colours(values: np.ndarray, scale: ColourScale, mesh: SurfaceMesh) -> np.ndarray:
    """Colours uint8 (n_vertices, 3): the scale's where finite, the curvature's grey elsewhere."""
    grey = grey_underlay(mesh.curvature, mesh.curvature)[:, None]
    return np.where(np.isfinite(values)[:, None], scale.colours(values), grey).astype(np.uint8)


def render(
    hemisphere: Hemisphere,
    colour: np.ndarray,
    masks: Sequence[np.ndarray],
    view: str,
    side: str,
    shape: str = "inflated",
    size: int = 420,
) -> np.ndarray:
    """Draw one hemisphere from one side; RGBA uint8 (height, width, 4), transparent off the cortex.

    ``colour`` (n_vertices, 3) uint8 per vertex; ``masks`` (n_vertices,) are outlined.
    """
    points = hemisphere.shape(shape) @ view_axes(view, side).T
    screen, (height, width) = _fit(points, size * _SUPERSAMPLE)
    faces = _towards_eye(points, hemisphere.faces)
    pixel, face, weights = rasterise(screen, faces, (height, width))
    corners = faces[face]
    depth = np.einsum("pk,pk->p", weights, points[:, 2].astype(np.float32)[corners])
    front = nearest_hit(pixel, depth, height * width)
    pixel, corners, weights = pixel[front], corners[front], weights[front]
    vertex = np.take_along_axis(corners, weights.argmax(1)[:, None], 1)[:, 0]
    normal = vertex_normals(points, hemisphere.faces)[:, 2].astype(np.float32)
    light = 0.45 + 0.55 * np.clip(np.einsum("pk,pk->p", weights, normal[corners]), 0, 1)
    rgb = np.zeros((height * width, 3), np.float32)
    rgb[pixel] = colour[vertex] * light[:, None]
    cover = np.zeros(height * width, np.float32)
    cover[pixel] = 1
    border = np.zeros((height, width), bool)
    for mask in masks:
        level = np.zeros(height * width, np.float32)
        level[pixel] = np.einsum("pk,pk->p", weights, mask.astype(np.float32)[corners])
        border |= _border((level > 0.5).reshape(height, width))
    if masks:
        _draw_border(rgb, border, cover > 0)
    return _shrink(rgb.reshape(height, width, 3), cover.reshape(height, width))


def _towards_eye(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Triangles whose outer side faces the eye: on a closed surface only these can be in front."""
    corner = points[faces][:, :, :2]
    return faces[cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]) > 0]


def _fit(points: np.ndarray, size: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Screen positions (column, row) in a picture whose longer side has ``size`` pixels, and its (height, width)."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    pitch = (high - low).max() / (size - 4)
    width, height = (int(_SUPERSAMPLE * np.ceil(span / pitch / _SUPERSAMPLE + 2)) for span in high - low)
    return np.stack([(points[:, 0] - low[0]) / pitch + 2, (high[1] - points[:, 1]) / pitch + 2], 1), (height, width)


def _border(inside: np.ndarray) -> np.ndarray:
    """Pixels of a boolean picture (height, width) whose right or lower neighbour differs."""
    border = np.zeros_like(inside)
    border[:, :-1] |= inside[:, 1:] != inside[:, :-1]
    border[:-1] |= inside[1:] != inside[:-1]
    return border


def _draw_border(rgb: np.ndarray, border: np.ndarray, cortex: np.ndarray) -> None:
    """Paint a white line between two black ones along ``border``, on ``rgb`` (n_pixels, 3), in place."""
    from scipy.ndimage import binary_dilation

    for n_pixels, value in ((3, 0.0), (1, 255.0)):
        rgb[binary_dilation(border, iterations=n_pixels).ravel() & cortex] = value


def _shrink(rgb: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Average blocks of pixels: smooth edges. RGBA uint8."""
    step = _SUPERSAMPLE
    corners = [(i, j) for i in range(step) for j in range(step)]
    share = sum(cover[i::step, j::step] for i, j in corners)
    colour = sum(rgb[i::step, j::step] for i, j in corners) / np.maximum(share, 1)[..., None]
    alpha = 255 * share[..., None] / step**2
    return np.rint(np.concatenate([colour, alpha], 2)).clip(0, 255).astype(np.uint8)


def _grid(
    pictures: list[list[np.ndarray]], views: list[str], scale: ColourScale, target_map: TargetMap, title: str
) -> Figure:
    """Two rows of views at one common scale per column, the colour bar below."""
    columns = [max(row[k].shape[1] for row in pictures) for k in range(len(views))]
    rows = [max(picture.shape[0] for picture in row) for row in pictures]
    unit = 9.4 / sum(columns)  # inches per pixel
    head, strip, gap = (0.75 if title else 0.4), 0.85, 0.1
    height = head + sum(rows) * unit + gap + strip
    figure = empty_figure(10.0, height)
    if title:
        figure.text(0.5, 1 - 0.22 / height, title, ha="center", va="center", fontsize=13, color=INK)
    top = height - head
    for i, side in enumerate(("left", "right")):
        middle = top - 0.5 * rows[i] * unit
        figure.text(0.022, middle / height, side, rotation=90, ha="center", va="center", fontsize=11, color=INK)
        edge = 0.5
        for k, view in enumerate(views):
            picture, centre = pictures[i][k], edge + 0.5 * columns[k] * unit
            wide, tall = picture.shape[1] * unit, picture.shape[0] * unit
            box = ((centre - wide / 2) / 10, (middle - tall / 2) / height, wide / 10, tall / height)
            axes = figure.add_axes(box)
            axes.set_axis_off()
            axes.imshow(picture, interpolation="antialiased", aspect="auto")
            if i == 0:
                figure.text(centre / 10, (top + 0.12) / height, view, ha="center", va="bottom", fontsize=11, color=INK)
            edge += columns[k] * unit
        top -= rows[i] * unit + gap
    draw_bar(figure, scale, target_map)
    return figure
