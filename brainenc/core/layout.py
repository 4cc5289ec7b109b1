"""The parts of the one HDF5 layout that `storage` writes: files, spaces, columns of a table, names; atomic writing."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import h5py
import numpy as np
import pandas as pd

from brainenc.core.provenance import plain
from brainenc.core.spaces import Space, space_from_dict
from brainenc.core.types import DataError, duplicates

LAYOUT = "brainenc-1"
TEXT = h5py.string_dtype("utf-8")


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success flush it to disk and rename it, on failure remove it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last, since writers such as nibabel and matplotlib choose the format by it.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".partial-", suffix="".join(path.suffixes[-2:]))
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def existing(path: Path | str) -> Path:
    """``path`` if it is a file, else `DataError`."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist: check the path, or run the step that makes it.")
    return path


@contextmanager
def create(path: Path, kind: str, provenance: Mapping[str, Any] | None) -> Iterator[h5py.File]:
    """Yield a new file with layout, kind and provenance; without time stamps, so that equal work gives equal bytes."""
    with h5py.File(path, "w", track_order=True) as file:
        file.attrs["layout"], file.attrs["kind"] = LAYOUT, kind
        file.attrs["provenance"] = json.dumps(plain(dict(provenance or {})))
        yield file


@contextmanager
def open_file(path: Path | str, kind: str | None) -> Iterator[h5py.File]:
    """Yield a file of this layout and ``kind`` (any if None); what cannot be read in it raises `DataError`."""
    path = existing(path)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(
            f"{path} is not a readable HDF5 file (damaged or cut short): delete it and run its step again."
        ) from error
    with file:
        found = file.attrs.get("kind")
        if file.attrs.get("layout") != LAYOUT or (kind is not None and found != kind):
            raise DataError(
                f"{path} holds {found!r} in layout {file.attrs.get('layout')!r}, wanted {kind or 'any kind'!r} in "
                f"{LAYOUT!r}: pass a file written by brainenc for this purpose."
            )
        try:
            yield file
        except (OSError, KeyError, RuntimeError) as error:
            reason = str(error).strip("\"'").rstrip(".")
            raise DataError(f"{path} is damaged ({reason}): delete it and run its step again.") from error


def encode(name: str) -> str:
    """Name of a map, mask or column as HDF5 can hold it: ``/``, ``%`` and names of dots are percent-encoded."""
    if not name or "\0" in name:
        raise DataError(f"name {name!r} cannot be stored, wanted at least one character and no NUL: rename it.")
    if not name.strip("."):
        return name.replace(".", "%2E")
    return name.replace("%", "%25").replace("/", "%2F")


def decode(name: str) -> str:
    """Undo `encode`."""
    return unquote(name)


def write_space(file: h5py.File, space: Space) -> None:
    """Write ``space`` as the group ``space``: arrays as data sets, single values as attributes."""
    group = file.create_group("space")
    group.attrs["kind"] = space.kind
    for name, value in space.to_dict().items():
        if isinstance(value, list):
            group.create_dataset(name, data=np.asarray(value, object), dtype=TEXT)
        elif isinstance(value, np.ndarray):
            group.create_dataset(name, data=value, compression="gzip" if value.dtype == bool else None)
        else:
            group.attrs[name] = value


def read_space(file: h5py.File) -> Space:
    """Read what `write_space` wrote."""
    group = file["space"]
    parts: dict[str, Any] = {name: value for name, value in group.attrs.items() if name != "kind"}
    for name, data in group.items():
        parts[name] = list(texts(data)) if h5py.check_string_dtype(data.dtype) else data[:]
    return space_from_dict(str(group.attrs["kind"]), parts)


def write_columns(group: h5py.Group, table: pd.DataFrame) -> None:
    """Write each column of ``table`` as a data set: numbers as they are, all else as text, missing text as ``n/a``."""
    names = [str(column) for column in table.columns]
    if duplicates(names):
        raise DataError(f"samples table: column {duplicates(names)[0]!r} occurs twice, wanted unique names: rename it.")
    group.attrs["columns"] = json.dumps(names)
    for name, (_, column) in zip(names, table.items(), strict=True):
        values = column.to_numpy()
        if values.dtype.kind in "biuf":
            group.create_dataset(encode(name), data=values)
        else:
            words = np.asarray(["n/a" if pd.isna(value) else str(value) for value in values], object)
            group.create_dataset(encode(name), data=words, dtype=TEXT)


def read_columns(group: h5py.Group, n_rows: int) -> pd.DataFrame:
    """Read what `write_columns` wrote, as a table of ``n_rows`` rows; ``n/a`` is missing again."""
    columns: dict[str, np.ndarray] = {}
    for name in json.loads(group.attrs["columns"]):
        data = group[encode(name)]
        if h5py.check_string_dtype(data.dtype):
            words = texts(data)
            words[words == "n/a"] = None
            columns[name] = words
        else:
            columns[name] = data[:]
    return pd.DataFrame(columns, index=pd.RangeIndex(n_rows))


def texts(data: h5py.Dataset) -> np.ndarray:
    """Texts of a data set as an array of str objects."""
    return np.asarray(data.asstr()[:], object)
