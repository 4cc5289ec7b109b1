"""Brain images as rows of targets: NIfTI with a mask, a GIFTI pair, CIFTI-2."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from brainenc.core.spaces import ParcelSpace, Space, VertexSpace, VoxelSpace
from brainenc.core.types import DataError
from brainenc.datasets.readers import CIFTI_SUFFIXES, Source, suffix_of, unreadable
from brainenc.datasets.tables import need_file

MESHES = {642: "fsaverage3", 2562: "fsaverage4", 10242: "fsaverage5", 40962: "fsaverage6", 163842: "fsaverage"}
MESHES |= {32492: "fsLR32k", 59292: "fsLR59k"}
_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6, "unknown": 1.0}


def load_image(path: Path, what: str) -> Any:
    """Open a NIfTI, GIFTI or CIFTI file with nibabel; `DataError` if it is missing, foreign or cut short."""
    import nibabel as nib

    need_file(path, what)
    try:
        image = nib.load(path, keep_file_open=True) if path.name.endswith((".nii", ".nii.gz")) else nib.load(path)
    except Exception as error:  # nibabel lets format, zlib and XML errors through
        raise unreadable(path, error) from None
    if isinstance(image, nib.Nifti1Image):
        _check_length(path, image)
    return image


def _check_length(path: Path, image: Any) -> None:
    """Refuse a NIfTI file shorter than its header says, by its size or gzip trailer, without reading it."""
    header = image.header
    wanted = int(header["vox_offset"]) + int(np.prod(image.shape)) * header.get_data_dtype().itemsize
    if path.suffix != ".gz":
        if path.stat().st_size < wanted:
            raise unreadable(path, EOFError(f"{path.stat().st_size} bytes, {wanted} in the header"))
        return
    with open(path, "rb") as file:
        file.seek(-4, 2)
        (length,) = struct.unpack("<I", file.read(4))
    if length == wanted % 2**32:
        return
    try:  # several gzip members, or cut short: only the last number tells
        np.asarray(image.dataobj[..., -1])
    except Exception as error:
        raise unreadable(path, error) from None


def repetition_time(image: Any) -> float | None:
    """Seconds between volumes as a 4-D NIfTI header gives them, or None where it says nothing useful."""
    unit = image.header.get_xyzt_units()[1]
    value = float(image.header.get_zooms()[3]) * _SECONDS.get(unit, 1.0)
    return None if value <= 0 or (unit == "unknown" and value == 1.0) else value


def load_mask(path: Path) -> VoxelSpace:
    """Return the voxels where a 3-D image is 1.

    Raises
    ------
    DataError
        Not 3-D, values other than 0 and 1, or no voxel.
    """
    image = load_image(path, "a brain mask")
    shape = image.shape[:3] if len(image.shape) == 4 and image.shape[3] == 1 else image.shape
    if len(shape) != 3:
        raise DataError(f"{path}: the mask has shape {image.shape}, wanted (x, y, z): give one volume of 0 and 1.")
    values = _read(path, image).reshape(shape)
    if not np.isin(values, (0, 1)).all():
        raise DataError(f"{path}: the mask holds values other than 0 and 1, wanted a mask: threshold it first.")
    if not values.any():
        raise DataError(f"{path}: the mask is 0 everywhere, wanted at least one voxel of 1: give another mask.")
    return VoxelSpace(values == 1, np.asarray(image.affine, float))


def check_grid(path: Path, shape: tuple[int, ...], affine: np.ndarray, space: VoxelSpace, mask_name: str) -> None:
    """Raise `DataError` unless a volume lies on the grid of the mask: same shape, affines within 0.001."""
    if tuple(shape) != space.mask.shape:
        raise DataError(
            f"{path}: volumes of shape {tuple(shape)} but the mask {mask_name} has {space.mask.shape}: "
            "resample the mask to the responses (nearest neighbour)."
        )
    if not np.allclose(affine, space.affine, atol=1e-3):
        worst = float(np.abs(affine - space.affine).max())
        raise DataError(
            f"{path}: its affine differs from that of the mask {mask_name} by up to {worst:.4g} mm, wanted the same "
            "grid: resample the mask to the responses."
        )


def open_nifti(path: Path, space: VoxelSpace, mask_name: str) -> Source:
    """Open a 4-D NIfTI: one row per volume, the voxels of ``space`` as targets."""
    image = load_image(path, "a 4-D NIfTI of responses")
    if len(image.shape) != 4:
        raise DataError(
            f"{path}: has shape {image.shape}, wanted (x, y, z, n_samples): join the volumes into one file."
        )
    check_real(path, image.get_data_dtype())
    check_grid(path, image.shape[:3], image.affine, space, mask_name)

    def rows(start: int, stop: int) -> np.ndarray:
        return _read(path, image, slice(start, stop))[space.mask].T

    return Source(path, image.shape[3], space, rows, lambda: rows(0, image.shape[3]))


def check_real(path: Path, dtype: np.dtype) -> None:
    """Raise `DataError` for complex, colour or other numbers that are not real."""
    if np.dtype(dtype).kind not in "fiu":
        raise DataError(f"{path}: the image is of type {dtype}, wanted real numbers: export magnitudes as float32.")


def _read(path: Path, image: Any, volumes: slice | None = None) -> np.ndarray:
    """The image, or some of its volumes, as float32."""
    try:
        data = image.dataobj if volumes is None else image.dataobj[..., volumes]
        return np.asarray(data, np.float32)
    except Exception as error:  # zlib, OSError and ValueError of a broken file
        raise unreadable(path, error) from None


def load_gifti_rows(path: Path, what: str = "a GIFTI file of responses") -> np.ndarray:
    """Return (n_arrays, n_vertices) float32: each data array of a GIFTI file is a row."""
    image = load_image(path, what)
    arrays = [np.asarray(array.data) for array in getattr(image, "darrays", [])]
    if len(arrays) == 1 and arrays[0].ndim == 2:
        arrays = list(arrays[0].T)
    if not arrays or any(a.ndim != 1 or len(a) != len(arrays[0]) for a in arrays):
        raise DataError(
            f"{path}: holds data arrays of shapes {[a.shape for a in arrays][:3]}, wanted one array (n_vertices,) "
            "per sample: export as .func.gii."
        )
    for array in arrays:
        check_real(path, array.dtype)
    return np.stack(arrays).astype(np.float32)


def open_gifti_pair(left: Path, right: Path, mesh: str | None) -> Source:
    """Open a left and a right GIFTI file: vertices [left | right] as targets."""
    both = [load_gifti_rows(path) for path in (left, right)]
    if len(both[0]) != len(both[1]):
        raise DataError(
            f"{right}: {len(both[1])} samples but {left.name} has {len(both[0])}, wanted the same: export both again."
        )
    space = whole_mesh(left, both[0].shape[1], both[1].shape[1], mesh)
    values = np.concatenate(both, axis=1)
    return Source(left, len(values), space, lambda start, stop: values[start:stop], lambda: values)


def whole_mesh(path: Path, n_left: int, n_right: int, mesh: str | None) -> VertexSpace:
    """All vertices of a pair of hemispheres; the mesh is named by its size unless the study names it."""
    expected = next((size for size, name in MESHES.items() if name == mesh), None)
    if expected is not None and (n_left, n_right) != (expected, expected):
        raise DataError(
            f"{path}: {n_left} + {n_right} vertices, wanted {expected} + {expected} of mesh {mesh!r}: "
            "correct `mesh` or resample the responses."
        )
    name = mesh or (MESHES.get(n_left) if n_left == n_right else None)
    if name is None:
        raise DataError(f"{path}: {n_left} + {n_right} vertices fit no known mesh: name it with `mesh`.")
    return VertexSpace(name, n_left, n_right, np.arange(n_left + n_right))


def open_cifti(path: Path, mesh: str | None) -> Source:
    """Open a CIFTI-2 dscalar, dtseries, pscalar or ptseries; of dense files the cortical vertices are the targets."""
    from nibabel.cifti2 import Cifti2Image, cifti2_axes

    image = load_image(path, "a CIFTI-2 file of responses")
    if not isinstance(image, Cifti2Image):
        raise DataError(f"{path}: is named like CIFTI-2 but is {type(image).__name__}: rename it to .nii.")
    rows_axis, columns_axis = (image.header.get_axis(i) for i in range(2))
    samples = (cifti2_axes.ScalarAxis, cifti2_axes.SeriesAxis)
    targets = (cifti2_axes.BrainModelAxis, cifti2_axes.ParcelsAxis)
    if not isinstance(rows_axis, samples) or not isinstance(columns_axis, targets):
        raise DataError(
            f"{path}: its axes are {type(rows_axis).__name__} x {type(columns_axis).__name__}, wanted maps or time "
            f"points x grayordinates or parcels: give a {', '.join(CIFTI_SUFFIXES)} file."
        )
    space, columns = _cifti_space(path, columns_axis, mesh)

    def rows(start: int, stop: int) -> np.ndarray:
        try:
            return np.asarray(image.dataobj[start:stop], np.float32)[:, columns]
        except Exception as error:
            raise unreadable(path, error) from None

    n_samples, tr = image.shape[0], None
    if isinstance(rows_axis, cifti2_axes.SeriesAxis) and rows_axis.unit == "SECOND":
        tr = float(rows_axis.step)
    return Source(path, n_samples, space, rows, lambda: rows(0, n_samples), tr, left_out=image.shape[1] - len(columns))


def _cifti_space(path: Path, axis: Any, mesh: str | None) -> tuple[Space, np.ndarray]:
    """The space and the file's columns that belong to it."""
    from nibabel.cifti2 import cifti2_axes

    if isinstance(axis, cifti2_axes.ParcelsAxis):
        return ParcelSpace(tuple(axis.name)), np.arange(len(axis))
    names = [f"CIFTI_STRUCTURE_CORTEX_{side}" for side in ("LEFT", "RIGHT")]
    lacking = [name for name in names if name not in axis.nvertices]
    if lacking:
        raise DataError(
            f"{path}: has no grayordinates of {lacking[0]}, wanted both hemispheres: export the whole brain."
        )
    n_left, n_right = (int(axis.nvertices[name]) for name in names)
    frame = whole_mesh(path, n_left, n_right, mesh)
    columns = [np.flatnonzero(axis.name == name) for name in names]
    vertices = np.concatenate([axis.vertex[columns[0]], axis.vertex[columns[1]] + n_left])
    return VertexSpace(frame.mesh, n_left, n_right, vertices), np.concatenate(columns)


def open_image(path: Path, mask: Path | None, mesh: str | None, right: Path | None = None) -> Source:
    """Open responses that are brain images; the suffix says which."""
    suffix = suffix_of(path)
    if suffix == ".gii":
        if right is None:
            raise DataError(
                f"{path}: is one hemisphere, wanted a pair: put {{hemisphere}} in `responses`, it stands for L and R."
            )
        return open_gifti_pair(path, right, mesh)
    if suffix in (".nii", ".nii.gz"):
        if mask is None:
            raise DataError(f"{path}: volumes need a mask that says which voxels are targets: set `mask`.")
        return open_nifti(path, load_mask(mask), str(mask))
    return open_cifti(path, mesh)
