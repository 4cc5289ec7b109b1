"""Safetensors files whose matrices need never be in memory: their header, and arrays filled or read block by block.

A file is ``[n: 8 bytes][header: n bytes of JSON][the arrays, one after the other]``; no code can hide in it
(https://huggingface.co/docs/safetensors). Arrays lie as ``safetensors`` itself would put them: wide types first, then
by name. So a file filled block by block has the same bytes as one that was saved whole.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from brainenc.core.layout import atomic_path, existing
from brainenc.core.stored import Matrix, StoredMatrix, column_blocks
from brainenc.core.types import DataError

Shapes = Mapping[str, tuple[tuple[int, ...], Any]]

# In the order of the file.
CODES = ("U64", "I64", "F64", "C64", "F32", "U32", "I32", "F16", "U16", "I16", "I8", "U8", "BOOL")
CODE_OF = {
    np.dtype(name): code
    for name, code in zip(
        ("u8", "i8", "f8", "c8", "f4", "u4", "i4", "f2", "u2", "i2", "i1", "u1", "?"), CODES, strict=True
    )
}


def save_arrays(path: Path | str, arrays: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays as safetensors, e.g. a fitted model's state; what is a matrix on disk is copied by block.

    ``metadata`` is kept as sorted JSON under the one key ``brainenc``: safetensors writes several keys in random order.
    """
    given = {name: array if isinstance(array, Matrix) else np.asarray(array) for name, array in arrays.items()}
    with arrays_writer(path, {name: (array.shape, array.dtype) for name, array in given.items()}, metadata) as places:
        for name, array in given.items():
            place = places[name]
            for columns in column_blocks(array.shape, array.dtype) if array.ndim == 2 else [Ellipsis]:
                at = columns if columns is Ellipsis else (slice(None), columns)
                place[at] = array[at]


@contextmanager
def arrays_writer(
    path: Path | str, shapes: Shapes, metadata: Mapping[str, str] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield a place for each array of a new safetensors file: ``places[name][:, a:b] = block`` or ``[...] = array``.

    Parameters
    ----------
    path : path
        Written as a whole or not at all.
    shapes : mapping of name -> (shape, dtype)
        Matrices are `StoredMatrix`, filled on disk; all others are arrays in memory, written at the end. Places come
        in this order, and what is never filled is 0.
    metadata : mapping of str, optional
        As `save_arrays`.

    Raises
    ------
    DataError
        If a dtype is no number.
    """
    types = {name: _number_type(path, name, dtype) for name, (_, dtype) in shapes.items()}
    names = sorted(shapes, key=lambda name: (CODES.index(CODE_OF[types[name]]), name))
    header: dict[str, Any] = {
        "__metadata__": {"brainenc": json.dumps(dict(metadata), sort_keys=True)} if metadata else {}
    }
    offsets, end = {}, 0
    for name in names:
        offsets[name], shape = end, [int(size) for size in shapes[name][0]]
        end += int(np.prod(shape, dtype=np.int64)) * types[name].itemsize
        header[name] = {"dtype": CODE_OF[types[name]], "shape": shape, "data_offsets": [offsets[name], end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with atomic_path(path) as temporary:
        with open(temporary, "wb") as stream:
            stream.write(struct.pack("<Q", len(text)) + text)
            stream.truncate(8 + len(text) + end)
        places: dict[str, Any] = {}
        for name in shapes:
            sizes, start = tuple(shapes[name][0]), 8 + len(text) + offsets[name]
            if len(sizes) == 2:
                places[name] = StoredMatrix.at(temporary, start, (sizes[0], sizes[1]), types[name], os.O_RDWR)
            else:
                places[name] = np.zeros(sizes, types[name])
        yield places
        with open(temporary, "r+b") as stream:
            for name, place in places.items():
                if isinstance(place, np.ndarray):
                    stream.seek(8 + len(text) + offsets[name])
                    stream.write(place.tobytes())


def load_arrays(path: Path | str) -> dict[str, np.ndarray]:
    """Read a safetensors file into memory; a truncated one raises `DataError`."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(str(existing(path))))
    except SafetensorError as error:
        raise _not_whole(path, error) from error


def open_arrays(path: Path | str) -> dict[str, Any]:
    """Open a safetensors file: floating matrices stay on disk as `StoredMatrix`, all other arrays are read.

    Raises
    ------
    DataError
        As `load_arrays`.
    """
    from safetensors import SafetensorError, safe_open

    arrays: dict[str, Any] = {}
    try:
        with safe_open(str(existing(path)), framework="np") as file:  # checks header and length
            with open(path, "rb") as stream:
                (n_bytes,) = struct.unpack("<Q", stream.read(8))
                header = json.loads(stream.read(n_bytes))
            for name in file.keys():  # noqa: SIM118 (not a mapping)
                facts = header[name]
                dtype = next((dtype for dtype, code in CODE_OF.items() if code == facts["dtype"]), None)
                if dtype is not None and dtype.kind == "f" and len(facts["shape"]) == 2:
                    start = 8 + n_bytes + facts["data_offsets"][0]
                    arrays[name] = StoredMatrix.at(path, start, tuple(facts["shape"]), dtype, os.O_RDONLY)
                else:
                    arrays[name] = file.get_tensor(name)
    except SafetensorError as error:
        raise _not_whole(path, error) from error
    return arrays


def _number_type(path: Path | str, name: str, dtype: Any) -> np.dtype[Any]:
    """Return the dtype in the byte order of the file, or refuse what is no number."""
    native: np.dtype[Any] = np.dtype(dtype)
    native = native.newbyteorder("<") if native.kind in "iufc" else native
    if native not in CODE_OF:
        raise DataError(f"{path}: array {name!r} is {np.dtype(dtype)}, wanted numbers: store text as JSON.")
    return native


def _not_whole(path: Path | str, error: Exception) -> DataError:
    return DataError(f"{path} is not a whole safetensors file ({error}): delete it and run its step again.")
