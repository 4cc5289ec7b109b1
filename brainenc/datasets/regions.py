"""Regions of interest: whatever the file, a dictionary from region name to a boolean mask (n_targets,).

===================  ====================================================================================
file                 meaning
===================  ====================================================================================
``.nii .nii.gz``     label volume on the responses' grid; names from a ``.tsv`` beside it (index, name)
``.label.gii`` pair  one label per vertex, names inside; ``{hemisphere}`` in the pattern stands for L and R
``.tsv .csv``        one row per target: column ``region`` (empty: none), or one 0/1 column per region
``.npz .h5``         ``labels`` (n_targets,): region names, or numbers with ``names`` (label k is names[k-1],
                     0 is none); or one boolean array per region
===================  ====================================================================================
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainenc.core.spaces import Space, VoxelSpace
from brainenc.core.types import DataError
from brainenc.datasets.images import check_grid, load_image
from brainenc.datasets.readers import HDF5_SUFFIXES, suffix_of, unreadable
from brainenc.datasets.tables import need_file, read_table


def load_regions(path: Path, space: Space, right: Path | None = None) -> dict[str, np.ndarray]:
    """Return region name -> boolean mask (n_targets,).

    Raises
    ------
    DataError
        Another grid, another number of targets, an unnamed label, or a region without a target in any case.
    """
    suffix = suffix_of(path)
    if suffix in (".nii", ".nii.gz"):
        regions = _from_volume(path, space)
    elif suffix == ".gii":
        regions = _from_gifti(path, right, space)
    elif suffix in (".tsv", ".csv"):
        regions = _from_table(path, space.n_targets)
    elif suffix in (*HDF5_SUFFIXES, ".npz"):
        regions = _from_arrays(path, space.n_targets)
    else:
        raise DataError(f"{path}: regions of format {suffix!r}, wanted .nii, .label.gii, .tsv, .csv, .npz or .h5.")
    if not any(mask.any() for mask in regions.values()):
        raise DataError(f"{path}: no region covers a single target, wanted at least one: check the labels.")
    return regions


def _split(labels: np.ndarray, names: dict[Any, str]) -> dict[str, np.ndarray]:
    """One mask per name; labels that share a name are joined."""
    masks: dict[str, np.ndarray] = {}
    for value, name in names.items():
        masks[name] = masks.get(name, False) | (labels == value)
    return masks


def _need_length(path: Path, length: int, n_targets: int) -> None:
    if length != n_targets:
        raise DataError(
            f"{path}: regions for {length} targets but the responses have {n_targets}: "
            "give one label per column of the responses, in their order."
        )


def _from_table(path: Path, n_targets: int) -> dict[str, np.ndarray]:
    table = read_table(path, (), "a table with one row per target")
    _need_length(path, len(table), n_targets)
    if "region" in table:
        return _split(table["region"].to_numpy(), {name: name for name in sorted(set(table["region"])) if name})
    columns = [name for name in table if set(table[name].unique()) <= {0, 1}]
    if not columns:
        raise DataError(f"{path}: no column 'region' and no column of 0 and 1, wanted either: add one.")
    return {str(name): table[name].to_numpy() == 1 for name in columns}


def _from_arrays(path: Path, n_targets: int) -> dict[str, np.ndarray]:
    need_file(path, "region labels")
    arrays = _read_arrays(path)
    if "labels" in arrays:
        labels = arrays["labels"]
        _need_length(path, labels.size, n_targets)
        if labels.dtype.kind in "OUS":
            labels = np.asarray([v.decode() if isinstance(v, bytes) else str(v) for v in labels.ravel()])
            return _split(labels, {name: name for name in sorted(set(labels)) if name})
        names = [n.decode() if isinstance(n, bytes) else str(n) for n in arrays.get("names", np.empty(0)).ravel()]
        _need_names(path, labels[labels > 0], dict(enumerate(names, 1)))
        return _split(labels.ravel(), dict(enumerate(names, 1)))
    masks = {name: array for name, array in arrays.items() if array.dtype == bool}
    if not masks:
        raise DataError(f"{path}: no array 'labels' and no boolean array (it has {', '.join(arrays)}): add one.")
    for array in masks.values():
        _need_length(path, array.size, n_targets)
    return {name: array.ravel() for name, array in masks.items()}


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        if suffix_of(path) == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        import h5py

        with h5py.File(path, "r") as file:
            return {name: item[()] for name, item in file.items() if isinstance(item, h5py.Dataset) and item.shape}
    except Exception as error:  # numpy, zip and HDF5 errors alike
        raise unreadable(path, error) from None


def _need_names(path: Path, used: np.ndarray, names: dict[int, str]) -> None:
    unnamed = sorted(set(np.unique(used).astype(int)) - set(names))
    if unnamed:
        raise DataError(f"{path}: label {unnamed[0]} has no name, wanted one for every label: add it to the names.")


def _from_volume(path: Path, space: Space) -> dict[str, np.ndarray]:
    if not isinstance(space, VoxelSpace):
        raise DataError(f"{path}: a label volume for a {space.kind} space, wanted labels per target: give a table.")
    image = load_image(path, "a label volume")
    check_grid(path, image.shape, image.affine, space, "of the responses")
    labels = np.asarray(image.dataobj)[space.mask]
    if not np.array_equal(labels, np.round(labels)):
        raise DataError(
            f"{path}: the labels are not whole numbers, wanted a label volume: resample by nearest neighbour."
        )
    tsv = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".tsv")
    table = read_table(tsv, ("index", "name"), f"the names of the labels in {path.name}")
    names = {int(index): name for index, name in zip(table["index"], table["name"], strict=True) if index != 0}
    _need_names(path, labels[labels != 0], names)
    return _split(labels, names)


def _from_gifti(path: Path, right: Path | None, space: Space) -> dict[str, np.ndarray]:
    if right is None:
        raise DataError(f"{path}: is one hemisphere, wanted a pair: put {{hemisphere}} in `regions`, for L and R.")
    sides: list[pd.Series] = []
    for file in (path, right):
        image = load_image(file, "a GIFTI label file")
        names = image.labeltable.get_labels_as_dict()
        sides.append(pd.Series(np.asarray(image.darrays[0].data)).map(names).fillna(""))
    labels = pd.concat(sides, ignore_index=True).to_numpy(dtype=object)
    if space.frame != (len(labels),):
        raise DataError(
            f"{path}: labels for {len(labels)} vertices but the responses live on {space.frame}: "
            "resample the labels to the mesh of the responses."
        )
    labels = labels[space.positions]
    return _split(labels, {name: name for name in sorted(set(labels)) if name and name not in ("???", "Unknown")})
