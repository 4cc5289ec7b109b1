"""Bytes of surface files to arrays: GIFTI, FreeSurfer geometry, morphometry, patches; one error sentence each."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from brainenc.core.types import DataError


def is_gifti(path: str | Path) -> bool:
    """True for ``.gii`` and ``.gii.gz``."""
    return str(path).endswith((".gii", ".gii.gz"))


def existing(path: str | Path) -> Path:
    """``path`` as a Path; `DataError` when no such file is there."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: there is no such file: check the path.")
    return path


def read_gifti(path: str | Path) -> object:
    """Load a GIFTI image, gzipped or not."""
    import nibabel as nib

    try:
        return nib.load(existing(path))
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path}: not a readable GIFTI file ({type(error).__name__}: {error}).") from error


def read_geometry(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (n_vertices, 3) in mm and triangles (n_faces, 3) of a GIFTI or FreeSurfer surface file."""
    import nibabel as nib

    if is_gifti(path):
        image = read_gifti(path)
        points, faces = image.agg_data("pointset"), image.agg_data("triangle")  # type: ignore[attr-defined]
        if (
            not isinstance(points, np.ndarray)
            or not isinstance(faces, np.ndarray)
            or points.ndim != 2
            or faces.ndim != 2
        ):
            raise DataError(f"{path}: wanted one pointset and one triangle array: give a .surf.gii file.")
    else:
        try:
            points, faces = nib.freesurfer.read_geometry(str(existing(path)))
        except DataError:
            raise
        except Exception as error:
            raise DataError(f"{path}: not a FreeSurfer surface file ({type(error).__name__}: {error}).") from error
    return np.asarray(points, float), np.asarray(faces).astype(np.int64)


def read_patch(path: str | Path, n_vertices: int) -> np.ndarray:
    """Flat x, y (n_vertices, 2) of a FreeSurfer patch file, NaN off the patch.

    The file is big-endian: -1, a count, then one record (signed 1-based vertex, x, y, z) per vertex, the sign telling
    border from interior.
    """
    raw = existing(path).read_bytes()
    head = np.frombuffer(raw[:8], ">i4")
    if len(head) < 2 or head[0] != -1 or len(raw) < 8 + 16 * int(head[1]):
        raise DataError(f"{path}: not a FreeSurfer patch file: give the output of mris_flatten.")
    record = np.frombuffer(raw, np.dtype([("vertex", ">i4"), ("xyz", ">f4", 3)]), count=int(head[1]), offset=8)
    vertex = np.abs(record["vertex"]).astype(np.int64) - 1
    if len(vertex) == 0 or vertex.max() >= n_vertices:
        raise DataError(f"{path}: the patch does not fit {n_vertices} vertices: give the patch of the same mesh.")
    flat = np.full((n_vertices, 2), np.nan)
    flat[vertex] = record["xyz"][:, :2]
    return flat


def read_scalar(path: str | Path) -> np.ndarray:
    """One number per vertex, shape (n_vertices,), from GIFTI, MGH/MGZ, or a FreeSurfer morphometry file."""
    import nibabel as nib

    if is_gifti(path):
        data = np.asarray(read_gifti(path).agg_data())  # type: ignore[attr-defined]
    else:
        try:
            if str(path).endswith((".mgz", ".mgh")):
                data = np.squeeze(np.asarray(nib.load(existing(path)).dataobj))
            else:
                data = nib.freesurfer.read_morph_data(str(existing(path)))
        except DataError:
            raise
        except Exception as error:
            raise DataError(f"{path}: not a FreeSurfer vertex file ({type(error).__name__}: {error}).") from error
    if data.ndim != 1:
        raise DataError(f"{path}: holds an array of shape {data.shape}, wanted one number per vertex: split it first.")
    return data.astype(float) if data.dtype.kind == "f" else data.astype(np.int64)
