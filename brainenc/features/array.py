"""Features that were computed elsewhere: an array in a file, its rows met with the stimuli by ``stimulus_id``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainenc.core.types import DataError, StimulusSet, as_ids
from brainenc.features.rows import RowBatches, versions
from brainenc.features.weights import hash_file

HDF5 = (".h5", ".hdf5")
WHOLE = (".npz", ".safetensors")
SUFFIXES = (".npy", *WHOLE, *HDF5)


class ArrayExtractor:
    """Rows of a stored array (n_rows, *axes, n_channels); nothing is unpickled.

    HDF5 and ``.npy`` are read row by row as needed, the other two formats whole and once.

    Parameters
    ----------
    name : str
        The feature space as the study names it.
    path : str
        ``.npy``, ``.npz``, ``.h5``/``.hdf5`` or ``.safetensors``.
    key : str, optional
        The array inside ``.npz`` and ``.safetensors``, the dataset inside HDF5.
    ids_table : str, optional
        A TSV or CSV file whose column ``stimulus_id`` names the rows of the array, in order.
    ids_key : str, optional
        Instead, the array of strings inside the same ``.npz`` or HDF5 file that names the rows.
    """

    class_name = "array"

    def __init__(
        self,
        name: str,
        path: str,
        key: str | None = None,
        ids_table: str | None = None,
        ids_key: str | None = None,
    ) -> None:
        self.arguments = {k: v for k, v in locals().items() if k not in ("self", "name")}
        self.name, self.owner, self.path = name, f"feature space {name!r}", Path(path)
        self.key, self.ids_table, self.ids_key = key, ids_table, ids_key
        self._pieces: dict[str | None, np.ndarray] = {}
        self.suffix = self.path.suffix.lower()
        if self.suffix not in SUFFIXES:
            raise DataError(f"{self.owner}: {path!r} ends in {self.suffix!r}, wanted one of {', '.join(SUFFIXES)}.")
        for file in (path, ids_table):
            if file is not None and not Path(file).is_file():
                raise DataError(f"{self.owner}: the file {file!r} does not exist: correct its path.")
        if (key is None) != (self.suffix == ".npy"):
            cure = "drop 'key'" if key else "set 'key' to the name of the array inside"
            raise DataError(f"{self.owner}: key is {key!r} for a {self.suffix} file: {cure}.")
        if (ids_table is None) == (ids_key is None):
            raise DataError(
                f"{self.owner}: wanted exactly one of ids_table and ids_key, so that rows meet stimuli by id: set one."
            )
        if ids_key is not None and self.suffix not in (".npz", *HDF5):
            raise DataError(f"{self.owner}: a {self.suffix} file holds no strings for ids_key: use 'ids_table'.")

    def _whole(self, key: str | None) -> np.ndarray:
        """The array ``key`` of a format that is read in one piece, once."""
        from safetensors import safe_open

        if key not in self._pieces:
            if self.suffix == ".npz":
                with np.load(self.path, allow_pickle=False) as file:
                    self._pieces[key] = file[key]
            else:
                with safe_open(self.path, framework="numpy") as file:
                    self._pieces[key] = file.get_tensor(key)
        return self._pieces[key]

    @contextmanager
    def _open(self, key: str | None) -> Iterator[Any]:
        """The array ``key`` as something with shape, dtype and row indexing."""
        import h5py

        try:
            if self.suffix == ".npy":
                yield np.load(self.path, mmap_mode="r", allow_pickle=False)
            elif self.suffix in WHOLE:
                yield self._whole(key)
            else:
                with h5py.File(self.path, "r") as file:
                    yield file[key]
        except DataError:
            raise
        except Exception as error:  # each format raises its own kinds for damage and for a missing key
            raise DataError(
                f"{self.owner}: the array {key or ''!r} of {str(self.path)!r} cannot be read ({type(error).__name__}: "
                f"{error}): check the key, and that the file is whole and holds plain numbers (no pickled objects)."
            ) from error

    @cached_property
    def _row_of(self) -> dict[str, int]:
        if self.ids_table is not None:
            separator = "," if self.ids_table.lower().endswith(".csv") else "\t"
            table = pd.read_csv(self.ids_table, sep=separator, dtype=str, keep_default_na=False)
            if "stimulus_id" not in table.columns:
                raise DataError(
                    f"{self.owner}: {self.ids_table!r} has columns {list(table.columns)}, wanted 'stimulus_id': name "
                    "the column of ids so (TSV is split at tabs, CSV at commas)."
                )
            ids = table["stimulus_id"].tolist()
        else:
            with self._open(self.ids_key) as stored:
                ids = [v.decode() if isinstance(v, bytes) else v for v in np.asarray(stored).tolist()]
        ids = as_ids(ids, self.owner)
        row_of = {stimulus_id: row for row, stimulus_id in enumerate(ids)}
        if len(row_of) != len(ids):
            twice = pd.Index(ids)[pd.Index(ids).duplicated()][0]
            raise DataError(f"{self.owner}: stimulus_id {twice!r} names several rows, wanted one: keep one of them.")
        with self._open(self.key) as values:
            if len(values.shape) < 2 or values.shape[0] != len(ids):
                raise DataError(
                    f"{self.owner}: the array has shape {tuple(values.shape)} but {len(ids)} ids name its rows, wanted "
                    f"({len(ids)}, ..., n_channels): give one id per row."
                )
            if not (np.issubdtype(values.dtype, np.number) or values.dtype == bool) or values.dtype.kind == "c":
                raise DataError(f"{self.owner}: the array has dtype {values.dtype}, wanted real numbers: convert it.")
        return row_of

    def check(self, stimuli: StimulusSet) -> None:
        """Raise `DataError` unless the file is readable and has a row for every stimulus."""
        missing = [stimulus_id for stimulus_id in stimuli.ids if stimulus_id not in self._row_of]
        if missing:
            raise DataError(
                f"{self.owner}: {len(missing)} of {len(stimuli)} stimuli have no row in {str(self.path)!r} (first "
                f"{missing[0]!r}): add their features or leave the stimuli out."
            )

    def _compute(self, part: StimulusSet) -> np.ndarray:
        rows = np.array([self._row_of[stimulus_id] for stimulus_id in part.ids])
        order = np.argsort(rows)  # HDF5 wants increasing rows
        with self._open(self.key) as values:
            picked = np.asarray(values[rows[order]], dtype=np.float32)
        result = np.empty_like(picked)
        result[order] = picked
        return result

    def extract(self, stimuli: StimulusSet, batch_size: int = 64) -> RowBatches:
        """Iterate over (batch, *axes, n_channels) float32 in row order; ids are checked before the first batch."""
        self.check(stimuli)
        return RowBatches(self.name, stimuli, batch_size, self._compute)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row."""
        with self._open(self.key) as values:
            return tuple(values.shape[1:])

    @property
    def n_channels(self) -> int:
        """Length of the last axis."""
        return self.shape[-1]

    def row_shape(self, stimuli: StimulusSet) -> tuple[int, ...]:
        """Shape of one row."""
        return self.shape

    def fingerprint(self) -> dict[str, Any]:
        """What decides the numbers: arguments and checksums of the files."""
        files = [self.path] + ([Path(self.ids_table)] if self.ids_table else [])
        return {
            "class": self.class_name,
            "arguments": self.arguments,
            "files_sha256": {file.name: hash_file(file) for file in files},
            "versions": versions("brainenc", "numpy", "h5py", "safetensors"),
        }
