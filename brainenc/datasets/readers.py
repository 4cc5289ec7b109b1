"""Responses files, one opener per format: shape and space from the header, numbers left on disk until asked for.

=====================================  ==========================================  =============
file                                   rows, columns                               space
=====================================  ==========================================  =============
``.h5 .hdf5`` ``.npy`` ``.npz``        a 2-D array (n_samples, n_targets)          as configured
``.nii .nii.gz``                       volumes, mask voxels in C order             voxel
``.func.gii`` pair, one a hemisphere   data arrays, vertices [left | right]        vertex
``.dscalar.nii .dtseries.nii``         maps or time points, cortical vertices      vertex
``.pscalar.nii .ptseries.nii``         maps or time points, parcels                parcel
=====================================  ==========================================  =============
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from brainenc.core.spaces import Space
from brainenc.core.types import DataError
from brainenc.datasets.tables import need_file

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf")
CIFTI_SUFFIXES = (".dscalar.nii", ".dtseries.nii", ".pscalar.nii", ".ptseries.nii")
SUFFIXES = (*HDF5_SUFFIXES, ".npy", ".npz", ".nii", ".nii.gz", ".gii")
_BLOCK_BYTES = 2**24
_CHECKED_BYTES = 2**26


@dataclass(frozen=True)
class Source:
    """One responses file whose header has been read.

    Parameters
    ----------
    path : Path
        For error messages; of a pair of files, the left one.
    n_samples : int
    space : Space
        What each column is.
    rows : callable
        ``rows(start, stop)`` reads (stop - start, n_targets) floats.
    whole : callable
        ``whole()`` gives all values, an array or an open h5py dataset.
    tr : float, optional
        Seconds between rows, where the file says so.
    left_out : int
        Columns of the file that the space does not hold (subcortical grayordinates).
    """

    path: Path
    n_samples: int
    space: Space
    rows: Callable[[int, int], np.ndarray]
    whole: Callable[[], Any]
    tr: float | None = None
    left_out: int = 0

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the rows in order, about 16 MiB at a time."""
        step = max(1, _BLOCK_BYTES // (4 * self.space.n_targets))
        for start in range(0, self.n_samples, step):
            yield self.rows(start, min(start + step, self.n_samples))


def check_values(source: Source) -> None:
    """Raise `DataError` for infinity, or where no number is finite.

    Reads 64 MiB, and further only while nothing finite has been seen; NaN is how a missing value is written.
    """
    n_bytes, seen = 0, False
    try:
        for block in source.blocks():
            if np.isinf(block).any():
                raise DataError(
                    f"{source.path}: the responses hold infinity, wanted finite numbers or NaN where nothing was "
                    "measured: write NaN there."
                )
            seen = seen or bool(np.isfinite(block).any())
            n_bytes += 4 * block.size
            if seen and n_bytes >= _CHECKED_BYTES:
                return
    except (OSError, EOFError) as error:
        raise unreadable(source.path, error) from None
    if not seen:
        raise DataError(f"{source.path}: every response is NaN, wanted numbers: export the responses again.")


def count_missing(source: Source) -> dict[str, int]:
    """Count what is NaN: rows with no number, targets with no number, targets with gaps outside the empty rows."""
    empty_rows, finite, n_kept = 0, np.zeros(source.space.n_targets, np.int64), 0
    for block in source.blocks():
        known = np.isfinite(block)
        full = known.any(axis=1)
        empty_rows += int((~full).sum())
        n_kept += int(full.sum())
        finite += known.sum(axis=0)
    return {
        "n_nan_samples": empty_rows,
        "n_nan_targets": int((finite == 0).sum()),
        "n_gap_targets": int(((finite > 0) & (finite < n_kept)).sum()),
    }


def unreadable(path: Path, error: BaseException) -> DataError:
    """The one sentence for a file that is cut short or of another kind."""
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return DataError(f"{path}: cannot be read ({reason}), it may be cut short or of another format: copy it again.")


def suffix_of(path: Path) -> str:
    """The suffix that decides the format, such as ``.nii.gz`` or ``.dscalar.nii``; lower case."""
    name = path.name.lower()
    known = sorted((*CIFTI_SUFFIXES, ".dconn.nii", ".dlabel.nii", ".plabel.nii", *SUFFIXES), key=len, reverse=True)
    return next((suffix for suffix in known if name.endswith(suffix)), path.suffix.lower())


def open_matrix(path: Path, key: str | None, space_of: Callable[[int], Space]) -> Source:
    """Open a 2-D array in HDF5 (stays on disk), ``.npy`` (memory-mapped) or ``.npz`` (read); never a pickle.

    Parameters
    ----------
    key : str, optional
        Array of the file, for HDF5 and ``.npz``; may be left out where there is only one.
    space_of : callable
        Gives the space of that many targets, or raises `DataError`.
    """
    need_file(path, "an array of responses (n_samples, n_targets)")
    suffix = suffix_of(path)
    if suffix in HDF5_SUFFIXES:
        values, where = _hdf5_dataset(path, key), f"{path}, key {key!r}" if key else str(path)
    else:
        values, where = load_arrays_safely(path, key), str(path)
    check_matrix(values, where)
    floating = np.issubdtype(values.dtype, np.floating)
    return Source(
        path,
        int(values.shape[0]),
        space_of(int(values.shape[1])),
        lambda start, stop: np.asarray(values[start:stop], values.dtype if floating else np.float32),
        lambda: values if floating else np.asarray(values[:], np.float32),
    )


def check_matrix(values: Any, where: str) -> None:
    """Raise `DataError` unless ``values`` is a non-empty 2-D array of real numbers."""
    if values.dtype.kind not in "fiu":
        raise DataError(
            f"{where}: the responses are of type {values.dtype}, wanted real numbers: convert them to float32."
        )
    if len(values.shape) != 2 or 0 in values.shape:
        raise DataError(
            f"{where}: the responses have shape {tuple(values.shape)}, wanted (n_samples, n_targets), neither 0: "
            "reshape them, samples first."
        )


def _hdf5_dataset(path: Path, key: str | None) -> Any:
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise unreadable(path, error) from None
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return file[_chosen_key(path, key, names)]


def _chosen_key(path: Path, key: str | None, names: list[str]) -> str:
    if key is None and "responses" in names:
        return "responses"
    if key is None and len(names) == 1:
        return names[0]
    if key is None or key.strip("/") not in names:
        said = "holds several arrays" if key is None else f"has no array {key!r}"
        raise DataError(f"{path}: {said} (it has {', '.join(names) or 'none'}): set `key` to the one with responses.")
    return key.strip("/")


def load_arrays_safely(path: Path, key: str | None) -> np.ndarray:
    """Return the array of a ``.npy`` (memory-mapped) or array ``key`` of a ``.npz``; pickled objects are refused."""
    try:
        if suffix_of(path) == ".npy":
            return np.lib.format.open_memmap(path, mode="r")
        with np.load(path, allow_pickle=False) as archive:
            return archive[_chosen_key(path, key, archive.files)]
    except DataError:
        raise
    except Exception as error:  # numpy raises ValueError, OSError, EOFError, zipfile and tokenizer errors alike
        if "bject" in str(error) and "rray" in str(error):
            raise DataError(
                f"{path}: holds pickled Python objects, which are never opened, wanted plain numbers: "
                "save it again with `array.astype('float32')`."
            ) from None
        raise unreadable(path, error) from None
