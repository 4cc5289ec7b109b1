"""Maps of voxels: projected onto the cortex between white matter and pial surface, or shown as slices.

The projection samples the volume at points along each vertex's line from white to pial surface and averages
(`nilearn.surface.vol_to_surf`). Voxels that were not measured are left out, never counted as zero: with P the sampling,
v the values and m the mask, a vertex gets ``P(m v) / P(m)`` where P(m) is at least a quarter, NaN elsewhere.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from brainenc.core.spaces import VoxelSpace
from brainenc.core.types import DataError, TargetMap
from brainenc.surfaces.colour import ColourScale
from brainenc.surfaces.figure import INK, draw_bar, empty_figure, region_masks
from brainenc.surfaces.mesh import SurfaceMesh, load_mesh

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEAST_SHARE = 0.25  # of the sampled weight must be measured, or the vertex is NaN
_AXES = {"sagittal": 0, "coronal": 1, "axial": 2}


def project_to_surface(
    target_map: TargetMap, mesh: SurfaceMesh | str = "fsaverage5", interpolation: str = "linear"
) -> TargetMap:
    """Sample a map of voxels on the vertices of a mesh in the same millimetre space.

    Parameters
    ----------
    target_map : TargetMap in VoxelSpace
        Its affine must lead to the mesh's space: MNI for fsaverage5, the subject's anatomy for the subject's mesh.
    mesh : SurfaceMesh or name
        Needs the ``white`` and ``pial`` shapes.
    interpolation : {"linear", "nearest"}
        ``nearest`` for labels: the voxel at the middle of the cortical sheet, no averaging.

    Returns
    -------
    TargetMap in VertexSpace of all vertices; NaN where no voxel of the mask is met.

    Raises
    ------
    DataError
        Not a map of voxels, or no vertex meets the mask.
    """
    space = _voxels(target_map, "project_to_surface")
    mesh = load_mesh(mesh) if isinstance(mesh, str) else mesh
    if interpolation not in ("linear", "nearest"):
        raise DataError(
            f"project_to_surface: interpolation {interpolation!r} is unknown, wanted 'linear' or 'nearest'."
        )
    known = np.isfinite(target_map.values)
    measured = space.scatter(known.astype(np.float64), fill=0.0)
    total = space.scatter(np.where(known, target_map.values, 0).astype(np.float64), fill=0.0)
    share = _sample(measured, space.affine, mesh, interpolation)
    enough = share >= _LEAST_SHARE
    values = np.where(enough, _sample(total, space.affine, mesh, interpolation) / np.where(enough, share, 1), np.nan)
    values = values.astype(target_map.values.dtype)
    if not np.isfinite(values).any():
        raise DataError(
            f"project_to_surface: no vertex of mesh {mesh.name!r} lies in the mask of {target_map.quantity!r}, wanted "
            "a volume in the mesh's space: register it (to MNI for fsaverage5) or show it with paint_slices."
        )
    return TargetMap(values, mesh.space, target_map.quantity, target_map.unit)


def _sample(volume: np.ndarray, affine: np.ndarray, mesh: SurfaceMesh, interpolation: str) -> np.ndarray:
    """Mean of ``volume`` along each vertex's line from white to pial surface, 0 outside the volume; (n_vertices,)."""
    from nibabel import Nifti1Image
    from nilearn.surface import vol_to_surf

    padded = affine.copy()  # one empty voxel around, so that the border of the field of view fades like the mask's
    padded[:3, 3] -= affine[:3, :3].sum(1)
    image = Nifti1Image(np.pad(volume, 1), padded)
    linear = interpolation == "linear"
    sides = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)  # vertices outside the volume
        for side in (mesh.left, mesh.right):
            sides.append(
                vol_to_surf(
                    image,
                    surf_mesh=(side.shape("pial"), side.faces),
                    inner_mesh=(side.shape("white"), side.faces),
                    kind="auto" if linear else "depth",
                    depth=None if linear else [0.5],
                    interpolation="linear" if linear else "nearest_most_frequent",
                )
            )
    return np.nan_to_num(np.concatenate(sides), nan=0.0)


def paint_slices(
    target_map: TargetMap,
    axis: str = "axial",
    slices: Sequence[int] | None = None,
    background: np.ndarray | None = None,
    regions: Mapping[str, np.ndarray] | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: Any = None,
    symmetric: bool = False,
    title: str = "",
    n_columns: int = 6,
) -> Figure:
    """Show a map of voxels as a mosaic of slices, the left of the brain on the left of the picture.

    Parameters
    ----------
    target_map : TargetMap in VoxelSpace
    axis : {"axial", "coronal", "sagittal"}
    slices : indices along that axis of the volume turned to x right, y front, z up; optional
        By default up to 18 evenly spaced ones that hold targets.
    background : array, shape of the mask, optional
        An anatomy shown in grey; the mask itself otherwise.
    regions : mapping of name to bool array (n_targets,), optional
        Outlined, and named in a line under the title.

    Raises
    ------
    DataError
        Not a map of voxels, an unknown axis, a slice outside the volume, a background of another shape.
    """
    space = _voxels(target_map, "paint_slices")
    if axis not in _AXES:
        raise DataError(f"paint_slices: axis {axis!r} is unknown, wanted one of {list(_AXES)}.")
    if background is not None and background.shape != space.frame:
        raise DataError(
            f"paint_slices: the background has shape {background.shape}, wanted {space.frame}: resample it."
        )
    masks = region_masks(target_map, regions)
    turn, affine = _upright(space)
    values, mask = turn(space.scatter(target_map.values)), turn(space.mask)
    along = _AXES[axis]
    chosen = _choose(mask, along, slices)
    scale = ColourScale.of(target_map.values, vmin, vmax, cmap, symmetric)
    grey = _grey(turn(space.mask.astype(float) if background is None else np.asarray(background, float)))
    rgba = np.concatenate([np.repeat(grey[..., None], 3, -1), np.full((*grey.shape, 1), 255, np.uint8)], -1)
    painted = np.isfinite(values)
    rgba[painted, :3] = scale.colours(values[painted])
    outlines = [turn(part) for part in masks.values()]
    pieces = [
        (
            np.take(rgba, i, along).swapaxes(0, 1),
            [np.take(part, i, along).T for part in outlines],
            _millimetres(affine, along, i),
        )
        for i in chosen
    ]
    spacing = np.delete(np.linalg.norm(affine[:3, :3], axis=0), along)
    return _mosaic(pieces, spacing, "xyz"[along], list(masks), scale, target_map, title, n_columns)


def _voxels(target_map: TargetMap, what: str) -> VoxelSpace:
    if not isinstance(target_map.space, VoxelSpace):
        raise DataError(
            f"{what}: the map {target_map.quantity!r} is in {target_map.space.kind} space, wanted voxel space: "
            "paint vertices with paint_flatmap."
        )
    return target_map.space


def _upright(space: VoxelSpace) -> tuple[Any, np.ndarray]:
    """A function that turns a volume to x right, y front, z up by flips and swaps, and the turned affine."""
    from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

    orientation = io_orientation(space.affine)
    affine = space.affine @ inv_ornt_aff(orientation, space.frame)
    return (lambda volume: apply_orientation(volume, orientation)), affine


def _choose(mask: np.ndarray, along: int, slices: Sequence[int] | None) -> list[int]:
    if slices is None:
        full = np.flatnonzero(mask.any(tuple(k for k in range(3) if k != along)))
        return full[np.unique(np.linspace(0, len(full) - 1, min(18, len(full))).round().astype(int))].tolist()
    bad = [i for i in slices if not 0 <= i < mask.shape[along]]
    if bad or not len(slices):
        raise DataError(
            f"paint_slices: slices {list(slices)} do not fit, wanted at least one of 0 to {mask.shape[along] - 1}."
        )
    return [int(i) for i in slices]


def _millimetres(affine: np.ndarray, along: int, index: int) -> float:
    point = np.zeros(4)
    point[3], point[along] = 1, index
    return float((affine @ point)[along])


def _grey(volume: np.ndarray) -> np.ndarray:
    low, high = np.nanpercentile(volume, [1, 99])
    return np.rint(255 * (1 - 0.65 * np.clip((np.nan_to_num(volume) - low) / ((high - low) or 1), 0, 1))).astype(
        np.uint8
    )


def _mosaic(
    pieces: list,
    spacing: np.ndarray,
    letter: str,
    names: list[str],
    scale: ColourScale,
    target_map: TargetMap,
    title: str,
    n: int,
) -> Figure:
    n_columns = min(n, len(pieces))
    n_rows = -(-len(pieces) // n_columns)
    tall, wide = pieces[0][0].shape[0] * spacing[1], pieces[0][0].shape[1] * spacing[0]
    unit = min(9.6 / (n_columns * wide), 4.5 / tall)
    head, strip = (0.45 if title else 0.1) + (0.25 if names else 0), 0.95
    height = head + n_rows * (tall * unit + 0.25) + strip
    figure = empty_figure(10.0, height)
    if title:
        figure.text(0.5, 1 - 0.22 / height, title, ha="center", va="center", fontsize=13, color=INK)
    palette = ["#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#0072B2", "#F0E442", "#000000"]
    start = 5.0 - 0.5 * n_columns * wide * unit
    for k, (name, colour) in enumerate(zip(names, palette * len(names), strict=False)):
        x = 0.5 + (k - (len(names) - 1) / 2) * min(0.08, 0.95 / len(names))
        figure.text(x, 1 - (head - 0.12) / height, name, color=colour, ha="center", fontsize=10, fontweight="bold")
    for k, (picture, outlines, place) in enumerate(pieces):
        row, column = divmod(k, n_columns)
        bottom = height - head - (row + 1) * (tall * unit + 0.25) + 0.2
        box = ((start + column * wide * unit) / 10, bottom / height, wide * unit / 10, tall * unit / height)
        axes = figure.add_axes(box)
        axes.set_axis_off()
        axes.imshow(picture, origin="lower", interpolation="nearest", aspect="auto")
        for outline, colour in zip(outlines, palette * len(names), strict=False):
            if outline.any() and not outline.all():
                axes.contour(outline.astype(float), levels=[0.5], colors=[colour], linewidths=1.4)
        axes.text(
            0.5,
            -0.02,
            f"{letter} = {place:.0f} mm",
            transform=axes.transAxes,
            ha="center",
            va="top",
            fontsize=8,
            color=INK,
        )
        if letter != "x" and k == 0:
            for x, side in ((0.0, "L"), (1.0, "R")):
                axes.text(
                    x, -0.02, side, transform=axes.transAxes, ha="center", va="top", fontsize=9, fontweight="bold"
                )
    draw_bar(figure, scale, target_map)
    return figure
