"""The only place where bytes meet types: one HDF5 layout, TSV tables, safetensors models; atomic, with provenance.

Layout of every HDF5 file (its parts are in `layout`), with attributes ``layout`` = ``brainenc-1`` and ``kind`` =
features | responses | maps | masks::

    /values            features: (n_samples, *axes, n_channels); responses: (n_samples, n_targets) float32
    /stimulus_ids      (n_samples,) UTF-8
    /space/...         what each target is (responses, maps, masks); attribute ``kind``
    /samples/<column>  one value per row (responses)
    /maps/<name>       (n_targets,) with attributes ``quantity`` and ``unit`` (maps); boolean for masks;
                       ``/`` and ``%`` in names of maps, masks and columns are percent-encoded
    attribute ``provenance``: JSON of step, parameters, input hashes, seed, versions, commit

Nothing is pickled and nothing half-written is left under a final name: bytes go to a temporary name in the same
folder, are flushed to disk, and are renamed.
"""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from brainenc.core import layout
from brainenc.core.layout import atomic_path as atomic_path
from brainenc.core.provenance import plain as plain
from brainenc.core.spaces import Space
from brainenc.core.stored import Hdf5Matrix
from brainenc.core.tensors import arrays_writer as arrays_writer
from brainenc.core.tensors import load_arrays as load_arrays
from brainenc.core.tensors import open_arrays as open_arrays
from brainenc.core.tensors import save_arrays as save_arrays
from brainenc.core.types import DataError, Features, Responses, StimulusSet, TargetMap, as_ids, duplicates


def write_text(path: Path | str, text: str) -> None:
    """Write ``text`` atomically, UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path | str, content: Any) -> None:
    """Write JSON atomically; NaN is written as null, keys keep their order."""
    write_text(path, json.dumps(plain(content), indent=2, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Read JSON; a missing or malformed file raises `DataError`."""
    try:
        return json.loads(layout.existing(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid JSON ({error}): restore the file or delete it and run again.") from error


def write_table(path: Path | str, table: pd.DataFrame, *, index: bool = True) -> None:
    """Write a tab-separated table atomically; missing values as ``n/a`` (BIDS)."""
    to_text = partial(table.to_csv, sep="\t", index=index, na_rep="n/a", float_format="%.10g", lineterminator="\n")
    content = to_text()
    if "\r" in content:  # a carriage return ends a line for readers unless it is quoted, which pandas leaves out
        content = to_text(quoting=csv.QUOTE_NONNUMERIC)
    write_text(path, content)


def read_table(path: Path | str, *, text: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read a tab-separated table (``.csv``: comma); errors name the file.

    The columns ``text`` stay strings, and so does every column with a zero-padded number such as ``"001"``.
    """
    path = layout.existing(path)
    columns = {"stimulus_id": str, "text": str, "path": str, "split": str, **dict.fromkeys(text, str)}
    try:
        read = partial(
            pd.read_csv,
            path,
            sep="," if path.suffix == ".csv" else "\t",
            na_values=["n/a"],
            keep_default_na=False,
            index_col=False,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header would lose data
            raw = read(dtype=str)
        padded = [name for name in raw.columns if raw[name].str.fullmatch(r"[+-]?0\d+").any()]
        return read(dtype={**columns, **dict.fromkeys(padded, str)})
    except (ValueError, pd.errors.ParserError, pd.errors.ParserWarning) as error:
        reason = str(error).splitlines()[0].rpartition("error: ")[2].partition(". ")[0]
        raise DataError(f"{path} cannot be read as a table ({reason}): save it as tab-separated UTF-8.") from error


# -------------------------------------------------------------------------------------------- typed HDF5 and TSV


def save_stimuli(path: Path | str, stimuli: StimulusSet) -> None:
    """Write the stimulus table as TSV."""
    write_table(path, stimuli.table)


def load_stimuli(path: Path | str) -> StimulusSet:
    """Read a stimulus table; relative ``path`` entries are resolved against the table's folder."""
    table = read_table(path)
    if "stimulus_id" not in table.columns:
        raise DataError(f"{path} has columns {list(table.columns)}, wanted a column 'stimulus_id': add it.")
    table = table.set_index("stimulus_id")
    if "path" in table.columns:
        folder = Path(path).parent
        table["path"] = [str(folder / p) if isinstance(p, str) and p else p for p in table["path"]]
    return StimulusSet(table)


def save_features(path: Path | str, features: Features, provenance: Mapping[str, Any] | None = None) -> None:
    """Write features that are in memory; see `features_writer` to stream them."""
    with features_writer(path, features.stimulus_ids, features.name, provenance) as write:
        write(np.asarray(features.values))


@contextmanager
def features_writer(
    path: Path | str, stimulus_ids: np.ndarray, name: str, provenance: Mapping[str, Any] | None = None
) -> Iterator[Any]:
    """Yield ``write(batch)``, which appends rows (batch, *axes, n_channels); all rows must come before the end."""
    owner, at = f"Features {name!r}", 0
    ids = as_ids(stimulus_ids, owner)
    n_rows = len(ids)
    if n_rows == 0 or duplicates(ids):
        came = f"stimulus_id {duplicates(ids)[0]!r} several times" if n_rows else "no stimulus"
        raise DataError(f"{owner}: got {came}, wanted every stimulus once: extract from a StimulusSet.")
    with atomic_path(path) as temporary, layout.create(temporary, "features", provenance) as file:
        file.attrs["name"] = name
        file.create_dataset("stimulus_ids", data=ids, dtype=layout.TEXT)

        def write(batch: np.ndarray) -> None:
            nonlocal at
            if "values" not in file:
                rows = int(np.clip(2**20 // max(batch[:1].nbytes, 1), 1, n_rows))
                _check_batch(batch, batch, owner)
                file.create_dataset("values", (n_rows, *batch.shape[1:]), batch.dtype, chunks=(rows, *batch.shape[1:]))
            _check_batch(batch, file["values"], owner)
            bad = ~np.isfinite(batch).all(axis=tuple(range(1, batch.ndim)))
            if at + len(batch) > n_rows:
                raise DataError(f"{owner}: row {at + len(batch)} was extracted for {n_rows} stimuli, wanted one each.")
            if bad.any():
                raise DataError(
                    f"{owner}: stimulus {ids[at + int(np.argmax(bad))]!r} gives NaN or infinity, wanted finite "
                    "numbers: check that stimulus, or extract in float32."
                )
            file["values"][at : at + len(batch)] = batch
            at += len(batch)

        yield write
        if at != n_rows:
            raise DataError(f"{owner}: {at} rows were extracted for {n_rows} stimuli, wanted one each.")


def _check_batch(batch: np.ndarray, first: Any, owner: str) -> None:
    """Refuse a batch that is not floating, or unlike ``first`` in its trailing axes or type (h5py would broadcast)."""
    fits = batch.shape[1:] == first.shape[1:] and batch.dtype == first.dtype
    if not fits or batch.ndim < 2 or 0 in batch.shape[1:] or not np.issubdtype(batch.dtype, np.floating):
        raise DataError(
            f"{owner}: a batch is {batch.dtype} of shape {batch.shape}, wanted floating (n, *axes, n_channels) like "
            f"the first one ({first.dtype}, {first.shape}): make all batches alike."
        )


def load_features(path: Path | str) -> Features:
    """Read features into memory."""
    with layout.open_file(path, "features") as file:
        return Features(file["values"][:], layout.texts(file["stimulus_ids"]), str(file.attrs["name"]))


def features_name(path: Path | str) -> str:
    """The feature space that a file holds, as the study names it; its values are not read."""
    with layout.open_file(path, "features") as file:
        return str(file.attrs["name"])


def save_responses(path: Path | str, responses: Responses, provenance: Mapping[str, Any] | None = None) -> None:
    """Write responses; values that are on disk pass through memory block by block."""
    n_samples, n_targets = responses.values.shape
    with responses_writer(path, responses, provenance) as values:
        rows, columns = values.chunks
        columns *= max(1, 2**20 // (rows * columns))
        for start in range(0, n_samples, rows):
            for first in range(0, n_targets, columns):
                at = slice(start, start + rows), slice(first, first + columns)
                values[at] = responses.values[at]


@contextmanager
def responses_writer(
    path: Path | str, like: Responses, provenance: Mapping[str, Any] | None = None
) -> Iterator[h5py.Dataset]:
    """Yield the values (n_samples, n_targets) float32 of new responses, to be filled block by block.

    They lie in chunks, so that a block of rows or of targets can be read alone. All else is that of ``like``.
    """
    n_samples, n_targets = like.values.shape
    rows = min(n_samples, 256)
    chunks = (rows, min(n_targets, max(1, 2**18 // rows)))
    with atomic_path(path) as temporary, layout.create(temporary, "responses", provenance) as file:
        yield file.create_dataset("values", like.values.shape, np.float32, chunks=chunks)
        file.create_dataset("stimulus_ids", data=like.stimulus_ids, dtype=layout.TEXT)
        file.attrs["units"] = like.units
        if like.tr is not None:
            file.attrs["tr"] = like.tr
        if like.samples is not None:
            layout.write_columns(file.create_group("samples"), like.samples)
        layout.write_space(file, like.space)


def load_responses(path: Path | str) -> Responses:
    """Read responses into memory."""
    opened = open_responses(path)
    return replace(opened, values=np.asarray(opened.values))


def open_responses(path: Path | str) -> Responses:
    """Read all of responses but their values, which stay on disk as an `Hdf5Matrix`."""
    with layout.open_file(path, "responses") as file:
        samples = layout.read_columns(file["samples"], len(file["values"])) if "samples" in file else None
        tr = float(file.attrs["tr"]) if "tr" in file.attrs else None
        values = Hdf5Matrix(h5py.File(path, "r")["values"], path)
        ids = layout.texts(file["stimulus_ids"])
        return Responses(values, ids, layout.read_space(file), str(file.attrs["units"]), samples, tr)


def load_sample_table(path: Path | str) -> tuple[np.ndarray, pd.DataFrame | None]:
    """Stimulus ids and samples table of responses, without their values."""
    with layout.open_file(path, "responses") as file:
        samples = layout.read_columns(file["samples"], len(file["values"])) if "samples" in file else None
        return layout.texts(file["stimulus_ids"]), samples


def save_maps(path: Path | str, maps: Mapping[str, TargetMap], provenance: Mapping[str, Any] | None = None) -> None:
    """Write named maps of one space."""
    spaces = [target_map.space for target_map in maps.values()]
    if not spaces or any(space != spaces[0] for space in spaces):
        raise DataError(
            f"{path}: got {len(spaces)} maps to save, wanted at least one, all of one space: save each space apart."
        )
    with atomic_path(path) as temporary, layout.create(temporary, "maps", provenance) as file:
        group = file.create_group("maps", track_order=True)
        for name, target_map in maps.items():
            dataset = group.create_dataset(layout.encode(name), data=target_map.values)
            dataset.attrs["quantity"], dataset.attrs["unit"] = target_map.quantity, target_map.unit
        layout.write_space(file, spaces[0])


def load_maps(path: Path | str) -> dict[str, TargetMap]:
    """Read all maps of a file, in the order they were saved."""
    with layout.open_file(path, "maps") as file:
        space = layout.read_space(file)
        return {
            layout.decode(name): TargetMap(data[:], space, str(data.attrs["quantity"]), str(data.attrs["unit"]))
            for name, data in file["maps"].items()
        }


def save_masks(
    path: Path | str, masks: Mapping[str, np.ndarray], space: Space, provenance: Mapping[str, Any] | None = None
) -> None:
    """Write named boolean masks (n_targets,), such as regions, in the order given."""
    with atomic_path(path) as temporary, layout.create(temporary, "masks", provenance) as file:
        group = file.create_group("maps", track_order=True)
        for name, mask in masks.items():
            if mask.shape != (space.n_targets,) or mask.dtype != bool:
                raise DataError(
                    f"region {name!r}: mask is {mask.dtype} of shape {mask.shape}, wanted bool ({space.n_targets},)."
                )
            group.create_dataset(layout.encode(name), data=mask)
        layout.write_space(file, space)


def load_masks(path: Path | str) -> dict[str, np.ndarray]:
    """Read named boolean masks (n_targets,), in the order they were saved."""
    with layout.open_file(path, "masks") as file:
        return {layout.decode(name): data[:] for name, data in file["maps"].items()}


def read_provenance(path: Path | str) -> dict[str, Any]:
    """Provenance record of an HDF5 file written here."""
    with layout.open_file(path, None) as file:
        return dict(json.loads(file.attrs["provenance"]))
