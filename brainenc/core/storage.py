"""The only place where bytes meet types: one HDF5 layout, TSV tables, safetensors models; atomic, with provenance.

Layout of every HDF5 file (attribute ``layout`` = ``brainenc-1``, ``kind`` = features | responses | maps | masks)::

    /values            features: (n_samples, *axes, n_channels); responses: (n_samples, n_targets)
    /stimulus_ids      (n_samples,) UTF-8
    /space/...         what each target is (responses, maps, masks); attribute ``kind``
    /samples/<column>  one value per row (responses)
    /maps/<name>       (n_targets,) with attributes ``quantity`` and ``unit`` (maps); boolean for masks
    attribute ``provenance``: JSON of step, parameters, input hashes, seed, versions, commit

Nothing is pickled and nothing half-written is left under a final name: bytes go to a temporary name in the same
folder, are flushed to disk, and are renamed.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from brainenc.core.spaces import Space, space_from_dict
from brainenc.core.types import DataError, Features, Responses, StimulusSet, TargetMap

LAYOUT = "brainenc-1"
_TEXT = h5py.string_dtype("utf-8")


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


def write_text(path: Path | str, text: str) -> None:
    """Write ``text`` atomically, UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, content: Any) -> None:
    """Write JSON atomically; NaN is written as null, keys keep their order."""
    write_text(path, json.dumps(plain(content), indent=2, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Read JSON; a missing or malformed file raises `DataError`."""
    try:
        return json.loads(_existing(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid JSON ({error}): restore the file or delete it and run again.") from error


def write_table(path: Path | str, table: pd.DataFrame, *, index: bool = True) -> None:
    """Write a tab-separated table atomically; missing values as ``n/a`` (BIDS)."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, sep="\t", index=index, na_rep="n/a", float_format="%.10g", lineterminator="\n")


def read_table(path: Path | str, *, text: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read a tab-separated table (``.csv``: comma); the columns ``text`` stay strings; errors name the file."""
    path = _existing(path)
    columns = {"stimulus_id": str, "text": str, "path": str, "split": str, **dict.fromkeys(text, str)}
    try:
        separator = "," if path.suffix == ".csv" else "\t"
        return pd.read_csv(path, sep=separator, dtype=columns, na_values=["n/a"], keep_default_na=False)
    except (ValueError, UnicodeDecodeError, pd.errors.ParserError) as error:
        reason = str(error).splitlines()[0]
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
    n_rows, at = len(stimulus_ids), 0
    with atomic_path(path) as temporary, _create(temporary, "features", provenance) as file:
        file.attrs["name"] = name
        file.create_dataset("stimulus_ids", data=np.asarray(stimulus_ids, object), dtype=_TEXT)

        def write(batch: np.ndarray) -> None:
            nonlocal at
            if at == 0:
                shape = (n_rows, *batch.shape[1:])
                rows = int(np.clip(2**20 // max(batch[:1].nbytes, 1), 1, n_rows))
                file.create_dataset("values", shape, batch.dtype, chunks=(rows, *batch.shape[1:]))
            bad = ~np.isfinite(batch).reshape(len(batch), -1).all(axis=1)
            if bad.any():
                stimulus = stimulus_ids[at + int(np.argmax(bad))]
                raise DataError(
                    f"Features {name!r}: stimulus {stimulus!r} gives NaN or infinity, wanted finite numbers: "
                    "check that stimulus, or extract in float32."
                )
            file["values"][at : at + len(batch)] = batch
            at += len(batch)

        yield write
        if at != n_rows:
            raise DataError(f"Features {name!r}: {at} rows were extracted for {n_rows} stimuli, wanted one each.")


def load_features(path: Path | str) -> Features:
    """Read features into memory."""
    with _open(path, "features") as file:
        return Features(file["values"][:], _texts(file["stimulus_ids"]), str(file.attrs["name"]))


def save_responses(path: Path | str, responses: Responses, provenance: Mapping[str, Any] | None = None) -> None:
    """Write responses, chunked so that a block of rows or of targets can be read alone."""
    n_samples, n_targets = responses.values.shape
    rows = min(n_samples, 256)
    chunks = (rows, min(n_targets, max(1, 2**18 // rows)))
    with atomic_path(path) as temporary, _create(temporary, "responses", provenance) as file:
        values = file.create_dataset("values", responses.values.shape, np.float32, chunks=chunks)
        for start in range(0, n_samples, rows):
            values[start : start + rows] = responses.values[start : start + rows]
        file.create_dataset("stimulus_ids", data=responses.stimulus_ids, dtype=_TEXT)
        file.attrs["units"] = responses.units
        if responses.tr is not None:
            file.attrs["tr"] = responses.tr
        if responses.samples is not None:
            _write_columns(file.create_group("samples"), responses.samples)
        _write_space(file, responses.space)


def load_responses(path: Path | str) -> Responses:
    """Read responses into memory."""
    with _open(path, "responses") as file:
        samples = _read_columns(file["samples"]) if "samples" in file else None
        tr = float(file.attrs["tr"]) if "tr" in file.attrs else None
        values, ids = file["values"][:], _texts(file["stimulus_ids"])
        return Responses(values, ids, _read_space(file), str(file.attrs["units"]), samples, tr)


def save_maps(path: Path | str, maps: Mapping[str, TargetMap], provenance: Mapping[str, Any] | None = None) -> None:
    """Write named maps of one space."""
    spaces = [target_map.space for target_map in maps.values()]
    if not spaces or any(space != spaces[0] for space in spaces):
        raise DataError(f"{path}: maps to save must be at least one and share one space, got {len(spaces)} maps.")
    with atomic_path(path) as temporary, _create(temporary, "maps", provenance) as file:
        group = file.create_group("maps")
        for name, target_map in maps.items():
            dataset = group.create_dataset(name, data=target_map.values)
            dataset.attrs["quantity"], dataset.attrs["unit"] = target_map.quantity, target_map.unit
        _write_space(file, spaces[0])


def load_maps(path: Path | str) -> dict[str, TargetMap]:
    """Read all maps of a file."""
    with _open(path, "maps") as file:
        space = _read_space(file)
        return {
            name: TargetMap(data[:], space, str(data.attrs["quantity"]), str(data.attrs["unit"]))
            for name, data in file["maps"].items()
        }


def save_masks(
    path: Path | str, masks: Mapping[str, np.ndarray], space: Space, provenance: Mapping[str, Any] | None = None
) -> None:
    """Write named boolean masks (n_targets,), such as regions, in the order given."""
    with atomic_path(path) as temporary, _create(temporary, "masks", provenance) as file:
        group = file.create_group("maps", track_order=True)
        for name, mask in masks.items():
            if mask.shape != (space.n_targets,) or mask.dtype != bool:
                raise DataError(
                    f"region {name!r}: mask is {mask.dtype} of shape {mask.shape}, wanted bool ({space.n_targets},)."
                )
            group.create_dataset(name.replace("/", "|"), data=mask)
        _write_space(file, space)


def load_masks(path: Path | str) -> dict[str, np.ndarray]:
    """Read named boolean masks (n_targets,), in the order they were saved."""
    with _open(path, "masks") as file:
        return {name.replace("|", "/"): data[:] for name, data in file["maps"].items()}


def save_arrays(path: Path | str, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays as safetensors (no code can hide in it), e.g. a fitted model's state or its predictions."""
    from safetensors.numpy import save_file

    with atomic_path(path) as temporary:
        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        save_file(contiguous, str(temporary), metadata=dict(metadata or {}))


def load_arrays(path: Path | str) -> dict[str, np.ndarray]:
    """Read a safetensors file; a truncated one raises `DataError`."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(str(_existing(path))))
    except SafetensorError as error:
        raise DataError(f"{path} is damaged ({error}): delete it and run the step again.") from error


def read_provenance(path: Path | str) -> dict[str, Any]:
    """Provenance record of an HDF5 file written here."""
    with _open(path, None) as file:
        return dict(json.loads(file.attrs["provenance"]))


# ------------------------------------------------------------------------------------------------------- inside


def _existing(path: Path | str) -> Path:
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist: check the path, or run the step that makes it.")
    return path


@contextmanager
def _create(path: Path, kind: str, provenance: Mapping[str, Any] | None) -> Iterator[h5py.File]:
    with h5py.File(path, "w", track_order=True) as file:
        file.attrs["layout"], file.attrs["kind"] = LAYOUT, kind
        file.attrs["provenance"] = json.dumps(plain(dict(provenance or {})))
        yield file


@contextmanager
def _open(path: Path | str, kind: str | None) -> Iterator[h5py.File]:
    path = _existing(path)
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
                f"{path} holds {found!r} in layout {file.attrs.get('layout')!r}, wanted {kind!r} in {LAYOUT!r}: "
                "pass a file written by brainenc for this purpose."
            )
        yield file


def _write_space(file: h5py.File, space: Space) -> None:
    group = file.create_group("space")
    group.attrs["kind"] = space.kind
    for name, value in space.to_dict().items():
        if isinstance(value, list):
            group.create_dataset(name, data=np.asarray(value, object), dtype=_TEXT)
        elif isinstance(value, np.ndarray):
            group.create_dataset(name, data=value, compression="gzip" if value.dtype == bool else None)
        else:
            group.attrs[name] = value


def _read_space(file: h5py.File) -> Space:
    group = file["space"]
    parts: dict[str, Any] = {name: value for name, value in group.attrs.items() if name != "kind"}
    for name, data in group.items():
        parts[name] = list(_texts(data)) if h5py.check_string_dtype(data.dtype) else data[:]
    return space_from_dict(str(group.attrs["kind"]), parts)


def _write_columns(group: h5py.Group, table: pd.DataFrame) -> None:
    group.attrs["columns"] = json.dumps([str(column) for column in table.columns])
    for column in table.columns:
        values = table[column].to_numpy()
        if values.dtype.kind in "biuf":
            group.create_dataset(str(column), data=values)
        else:
            texts = np.asarray(["n/a" if pd.isna(value) else str(value) for value in values], object)
            group.create_dataset(str(column), data=texts, dtype=_TEXT)


def _read_columns(group: h5py.Group) -> pd.DataFrame:
    columns = {}
    for name in json.loads(group.attrs["columns"]):
        data = group[name]
        columns[name] = _texts(data) if h5py.check_string_dtype(data.dtype) else data[:]
    return pd.DataFrame(columns)


def _texts(data: h5py.Dataset) -> np.ndarray:
    return np.asarray(data.asstr()[:], object)


def plain(content: Any) -> Any:
    """Content with numpy, paths and NaN replaced by what JSON knows."""
    if isinstance(content, Mapping):
        return {str(key): plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple, set)):
        return [plain(value) for value in content]
    if isinstance(content, np.ndarray):
        return plain(content.tolist())
    if isinstance(content, np.generic):
        return plain(content.item())
    if isinstance(content, float):
        return content if np.isfinite(content) else None
    if isinstance(content, Path):
        return str(content)
    return content
