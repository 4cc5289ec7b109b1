"""Matrices that stay on disk: read, and where they may be, written, by blocks of columns.

A step sees 300,000 targets through one of these and holds a chunk of them at a time. Bytes travel by ``pread`` and
``pwrite``, never through a memory map, whose pages would count as memory of the process.

`StoredMatrix` is a matrix in a plain file or inside a safetensors file; `Hdf5Matrix` a data set of an HDF5 file;
`SelectedRows` some rows of either. All are read alike: ``m[:, a:b]``, ``m[rows, a:b]``, ``np.asarray(m)``.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from brainenc.core.types import DataError

ROWS = 1024
"""Rows of an HDF5 data set read at a time when only some of them are wanted."""

COLUMNS = 512
"""Columns of a row-major matrix below which reading a row is mostly asking for it."""

BLOCK_BYTES = 16 * 2**20
"""Bytes of a block that only passes through memory."""


class Matrix(ABC):
    """A matrix (n_rows, n_columns) read by blocks of columns; it is best read by multiples of its ``chunks``."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    chunks: tuple[int, int] | None = None
    ndim = 2

    @abstractmethod
    def read(self, rows: np.ndarray | None, columns: slice) -> np.ndarray:
        """Return the columns start:stop of the rows (int array, None for all) as a fresh C-ordered array."""

    def rows(self, index: Any) -> SelectedRows:
        """Return the rows ``index`` (int array, bool mask or slice) as a matrix of their own; nothing is read."""
        return SelectedRows(self, np.arange(len(self))[index])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, columns = self._parts(key)
        return self.read(rows, columns)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError(f"{self!r} is on disk, so an array of it is always a copy: leave copy=False out.")
        return np.asarray(self.read(None, slice(0, self.shape[1])), dtype=dtype)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape}, dtype={self.dtype})"

    def _parts(self, key: Any) -> tuple[np.ndarray | None, slice]:
        """Return what is asked for as rows (None for all of them) and a slice of columns from start to stop."""
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        if rows is Ellipsis:
            rows = slice(None)
        if not isinstance(columns, slice) or columns.step not in (None, 1) or np.ndim(rows) > 1 or _is_number(rows):
            raise DataError(
                f"{self!r} was asked for [{rows!r}, {columns!r}], wanted rows (slice, int array or mask) and a slice "
                "of neighbouring columns: read a block of columns and select in it."
            )
        start, stop, _ = columns.indices(self.shape[1])
        whole = isinstance(rows, slice) and rows.indices(self.shape[0]) == (0, self.shape[0], 1)
        return None if whole else np.arange(self.shape[0])[rows], slice(start, max(start, stop))


class SelectedRows(Matrix):
    """The rows ``index`` (int array, any order, repeats allowed) of another matrix."""

    def __init__(self, source: Matrix, index: np.ndarray) -> None:
        self._source, self._index = source, index
        self.shape, self.dtype, self.chunks = (len(index), source.shape[1]), source.dtype, source.chunks

    def read(self, rows: np.ndarray | None, columns: slice) -> np.ndarray:
        return self._source.read(self._index if rows is None else self._index[rows], columns)

    def rows(self, index: Any) -> SelectedRows:
        return SelectedRows(self._source, self._index[index])


class Hdf5Matrix(Matrix):
    """A two-dimensional data set of an open HDF5 file, which stays open as long as this matrix is there.

    Parameters
    ----------
    dataset : h5py.Dataset, shape (n_rows, n_columns)
    path : path
        Named in the error if a part of the file turns out to be damaged.
    """

    def __init__(self, dataset: h5py.Dataset, path: Path | str) -> None:
        self._dataset, self._path = dataset, path
        self.shape, self.dtype, self.chunks = tuple(dataset.shape), dataset.dtype, dataset.chunks

    def read(self, rows: np.ndarray | None, columns: slice) -> np.ndarray:
        try:
            return np.asarray(self._dataset[:, columns]) if rows is None else self._some(rows, columns)
        except (OSError, RuntimeError) as error:
            raise DataError(f"{self._path} is damaged ({error}): delete it and run its step again.") from error

    def _some(self, rows: np.ndarray, columns: slice) -> np.ndarray:
        """Read only the stretches of rows that hold a wanted one, each once."""
        block = np.empty((len(rows), columns.stop - columns.start), self.dtype)
        stored = self.chunks[0] if self.chunks else 1
        step = max(stored, ROWS - ROWS % stored)
        stretch = rows // step
        for number in np.unique(stretch):
            inside = np.flatnonzero(stretch == number)
            begin = number * step
            block[inside] = self._dataset[begin : begin + step, columns][rows[inside] - begin]
        return block


class _Descriptor:
    """An open file, closed when the last matrix that uses it is gone."""

    def __init__(self, number: int) -> None:
        self.number = number
        weakref.finalize(self, os.close, number)


class StoredMatrix(Matrix):
    """A matrix in row-major order at some place of a file; what is written is in the file at once.

    Make one with `scratch`, `brainenc.core.storage.arrays_writer` or `brainenc.core.storage.open_arrays`.

    Parameters
    ----------
    file : descriptor of the open file
    offset : bytes before the first number
    shape, dtype : of the matrix
    """

    def __init__(self, file: _Descriptor, offset: int, shape: tuple[int, int], dtype: Any) -> None:
        self._file, self._offset = file, offset
        self.shape, self.dtype = (int(shape[0]), int(shape[1])), np.dtype(dtype)
        self.chunks = (1, max(1, min(COLUMNS, self.shape[1])))

    @classmethod
    def at(cls, path: Path | str, offset: int, shape: tuple[int, int], dtype: Any, flags: int) -> StoredMatrix:
        """Return the matrix at ``offset`` of the file ``path``, opened with the ``flags`` of `os.open`."""
        return cls(_Descriptor(os.open(path, flags)), offset, shape, dtype)

    def read(self, rows: np.ndarray | None, columns: slice) -> np.ndarray:
        rows = np.arange(self.shape[0]) if rows is None else rows
        block = np.empty((len(rows), columns.stop - columns.start), self.dtype)
        for place, piece in self._pieces(rows, columns, block):
            _read_into(self._file.number, place, piece)
        return block

    def __setitem__(self, key: Any, values: Any) -> None:
        """Write a block: ``m[:, a:b] = block`` or ``m[rows, a:b] = block``; a single number fills it."""
        rows, columns = self._parts(key)
        rows = np.arange(self.shape[0]) if rows is None else rows
        shape = (len(rows), columns.stop - columns.start)
        block = np.ascontiguousarray(np.broadcast_to(np.asarray(values, self.dtype), shape))
        for place, piece in self._pieces(rows, columns, block):
            _write_from(self._file.number, place, piece)

    def _pieces(self, rows: np.ndarray, columns: slice, block: np.ndarray) -> Iterator[tuple[int, memoryview]]:
        """Yield places in the file and what of the block is one piece there: rows, whole columns many at a time."""
        if not block.size:
            return
        width = block.shape[1] * self.dtype.itemsize
        places = self._offset + (rows * self.shape[1] + columns.start) * self.dtype.itemsize
        borders = np.arange(1, len(rows))
        if block.shape[1] == self.shape[1]:
            borders = borders[np.diff(rows) != 1]
        edges, flat = [0, *borders.tolist(), len(rows)], block.reshape(-1).view(np.uint8).data
        for begin, end, place in zip(edges[:-1], edges[1:], places[edges[:-1]].tolist(), strict=True):
            yield place, flat[begin * width : end * width]


def scratch(beside: Path | str, shape: tuple[int, int], dtype: Any = np.float32) -> StoredMatrix:
    """Return a matrix of zeros in a nameless file in the folder of ``beside``; it is gone when the matrix is."""
    folder = Path(beside).parent
    folder.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(dir=folder, prefix=".partial-")
    os.unlink(name)
    os.ftruncate(number, int(shape[0]) * int(shape[1]) * np.dtype(dtype).itemsize)
    return StoredMatrix(_Descriptor(number), 0, shape, dtype)


def column_blocks(shape: tuple[int, ...], dtype: Any = np.float32, n_bytes: int = BLOCK_BYTES) -> Iterator[slice]:
    """Yield slices of neighbouring columns that cover a matrix (n_rows, n_columns), each of about ``n_bytes``."""
    width = max(1, n_bytes // max(1, shape[0] * np.dtype(dtype).itemsize))
    for start in range(0, shape[1], width):
        yield slice(start, min(start + width, shape[1]))


def _is_number(rows: Any) -> bool:
    return not isinstance(rows, slice) and np.ndim(rows) == 0


def _read_into(number: int, place: int, rest: memoryview) -> None:
    while len(rest):
        n_bytes = os.preadv(number, [rest], place)
        if n_bytes == 0:
            raise DataError(
                f"a stored matrix ends {len(rest)} bytes too early: delete its file and run its step again."
            )
        rest, place = rest[n_bytes:], place + n_bytes


def _write_from(number: int, place: int, rest: memoryview) -> None:
    while len(rest):
        n_bytes = os.pwrite(number, rest, place)
        rest, place = rest[n_bytes:], place + n_bytes
