"""A user's atlas files to regions: ``name -> bool mask (n_targets,)`` over a VertexSpace or VoxelSpace.

Read here: FreeSurfer ``.annot``, ``.label``, ``.mgz``/``.mgh``; GIFTI labels and scalars; NIfTI label volumes (NSD's
among them); neuropythy's atlases. Pycortex overlays are read by `brainenc.surfaces.pycortex`. No atlas of others ships
with the project: ``atlases/<name>/card.yaml`` says where to get it, on which terms, and how it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from brainenc.core.share import find_shared
from brainenc.core.spaces import Space, VertexSpace, VoxelSpace
from brainenc.core.types import DataError
from brainenc.surfaces.readers import existing, is_gifti, read_gifti, read_scalar

CARD_KEYS = ("name", "title", "what", "obtain", "terms", "read", "citation")
NOTHING = ("unknown", "???", "medial_wall", "medialwall", "medial wall", "corpuscallosum", "background")
_ICOSAHEDRAL = (642, 2562, 10242, 40962, 163842)  # fsaverage3 to fsaverage: each holds the coarser ones' vertices first
_NEUROPYTHY = {"wang15": "wang15_mplbl.v1_0", "benson14": "benson14_varea.v4_0", "glasser16": "glasser16_atlas.v1_0"}


def read_card(name: str) -> dict[str, Any]:
    """What atlas ``name`` is, where the user gets it, its terms, how it is read, and how it is cited.

    Raises
    ------
    DataError
        No such atlas, or a card that lacks a key.
    """
    import yaml

    folder = find_shared("atlases")
    path = folder / name / "card.yaml"
    if not path.is_file():
        known = sorted(file.parent.name for file in folder.glob("*/card.yaml"))
        raise DataError(f"atlas {name!r} is unknown, wanted one of {known}: or read its files with read_regions.")
    card = yaml.safe_load(path.read_text(encoding="utf-8"))
    missing = [key for key in CARD_KEYS if not isinstance(card, dict) or key not in card]
    if missing:
        raise DataError(f"{path}: the key {missing[0]!r} is missing, wanted {list(CARD_KEYS)}: complete the card.")
    return card


def read_regions(
    space: Space, files: str | Path | Mapping[str, str | Path], labels: str | Path | Mapping[int, str] | None = None
) -> dict[str, np.ndarray]:
    """Read regions from files, by their suffix.

    Parameters
    ----------
    space : VertexSpace or VoxelSpace
        Over which the masks are wanted.
    files : path, or mapping with ``left`` and/or ``right``
        For vertices one file per hemisphere: ``.annot``, ``.label`` (one region, named after the file), ``.mgz``,
        ``.mgh``, ``.gii``. Files of fsaverage also serve fsaverage3 to fsaverage6, whose vertices come first in it.
        For voxels one NIfTI label volume on the same grid.
    labels : path or mapping of int to str, optional
        Names of the numbers: a table ``index<TAB>name`` with that header, or FreeSurfer's colour table
        ``index name ...`` (NSD's ``.ctab``). Without it the file's own table is used, else the numbers themselves;
        0 is no region.

    Returns
    -------
    dict of str to bool array, shape (n_targets,)
        A name that occurs in both hemispheres is one region. Regions without a target are left out.

    Raises
    ------
    DataError
        Wrong number of vertices or another grid, a number without a name, an unknown kind of file.
    """
    names = read_label_table(labels) if isinstance(labels, str | Path) else labels
    if isinstance(space, VoxelSpace):
        if isinstance(files, Mapping):
            raise DataError(
                "read_regions: got one file per hemisphere for a voxel space, wanted one NIfTI label volume."
            )
        return _masks([_read_volume(space, files, names)], space)
    if not isinstance(space, VertexSpace):
        raise DataError(f"read_regions: {space.kind} space has no atlas files, wanted vertices or voxels.")
    if not isinstance(files, Mapping) or not files or set(files) - {"left", "right"}:
        raise DataError(
            "read_regions: wanted a mapping with the files 'left' and 'right' for vertices: name each side."
        )
    sides = {"left": (0, space.n_left), "right": (space.n_left, space.n_right)}
    parts = []
    for side, file in files.items():
        start, n_vertices = sides[side]
        parts.append([(name, start + members) for name, members in _read_side(file, n_vertices, names)])
    return _masks(parts, space)


def _masks(parts: list[list[tuple[str, np.ndarray]]], space: Space) -> dict[str, np.ndarray]:
    """Flat frame indices per name, of several files, to masks over the targets."""
    frames: dict[str, np.ndarray] = {}
    for name, members in (region for part in parts for region in part):
        frames.setdefault(name, np.zeros(int(np.prod(space.frame)), bool))[members] = True
    masks = {name: frame[space.positions] for name, frame in frames.items() if name.lower() not in NOTHING}
    return {name: mask for name, mask in masks.items() if mask.any()}


def _read_side(file: str | Path, n_vertices: int, names: Mapping[int, str] | None) -> list[tuple[str, np.ndarray]]:
    """Region names and their vertices of one hemisphere."""
    import nibabel as nib

    path = existing(file)
    if path.suffix == ".label":
        members = np.asarray(nib.freesurfer.read_label(str(path)))
        if len(members) and members.max() >= n_vertices:
            raise DataError(
                f"{path}: names vertex {members.max()} but the hemisphere has {n_vertices}: use a label of this mesh."
            )
        return [(path.stem.removeprefix("lh.").removeprefix("rh."), members)]
    if path.suffix == ".annot":
        try:
            values, _, own = nib.freesurfer.read_annot(str(path))
        except Exception as error:
            raise DataError(f"{path}: not a FreeSurfer annotation ({type(error).__name__}: {error}).") from error
        table = {index: name.decode("utf-8", "replace") for index, name in enumerate(own)}
        table[-1] = "unknown"
    elif is_gifti(path):
        values = read_scalar(path)
        own = read_gifti(path).labeltable.get_labels_as_dict()  # type: ignore[attr-defined]
        table = dict(own) or None
    elif path.suffix in (".mgz", ".mgh"):
        values, table = read_scalar(path), None
    else:
        raise DataError(
            f"{path}: cannot read {path.suffix or 'a file without suffix'}, wanted .annot, .label, .mgz or .gii."
        )
    values = _fit(values, n_vertices, path)
    return _split(values, names if names is not None else table, path)


def _fit(values: np.ndarray, n_vertices: int, path: Path) -> np.ndarray:
    if len(values) == n_vertices:
        return values
    if len(values) in _ICOSAHEDRAL and n_vertices in _ICOSAHEDRAL and len(values) > n_vertices:
        return values[:n_vertices]
    raise DataError(
        f"{path}: holds {len(values)} vertices but the hemisphere has {n_vertices}: give the atlas of this mesh."
    )


def _split(values: np.ndarray, names: Mapping[int, str] | None, path: Path) -> list[tuple[str, np.ndarray]]:
    """Cut an array of region numbers (any shape) into names and flat indices; 0 without a name is no region."""
    flat = np.asarray(values).reshape(-1)
    numbers = np.unique(flat[np.isfinite(flat)])
    if (numbers != np.round(numbers)).any():
        odd = numbers[numbers != np.round(numbers)][0]
        raise DataError(f"{path}: holds {odd:g}, wanted whole region numbers: this is a map of values, not an atlas.")
    regions = []
    for number in numbers.astype(int).tolist():
        if names is None:
            name = str(number)
        elif number in names:
            name = names[number]
        elif number <= 0:
            continue
        else:
            raise DataError(f"{path}: region number {number} has no name in the label table: add it there.")
        if number > 0 or names is not None:
            regions.append((name, np.flatnonzero(flat == number)))
    return regions


def _read_volume(space: VoxelSpace, file: str | Path, names: Mapping[int, str] | None) -> list[tuple[str, np.ndarray]]:
    import nibabel as nib

    path = existing(file)
    try:
        image = nib.load(path)
        data = np.asarray(image.dataobj)  # type: ignore[attr-defined]
    except Exception as error:
        raise DataError(f"{path}: not a readable label volume ({type(error).__name__}: {error}).") from error
    data = data[..., 0] if data.ndim == 4 and data.shape[-1] == 1 else data
    if data.shape != space.frame or not np.allclose(image.affine, space.affine, atol=1e-3):  # type: ignore[attr-defined]
        raise DataError(
            f"{path}: the volume has shape {data.shape} and its own affine, wanted the grid of the responses "
            f"{space.frame}: resample it with nearest-neighbour interpolation."
        )
    return _split(data, names, path)


def read_label_table(path: str | Path) -> dict[int, str]:
    """Names of region numbers from ``index<TAB>name`` with a header, or FreeSurfer's ``index name r g b a`` lines.

    Raises
    ------
    DataError
        A line that is neither, naming the line.
    """
    table: dict[int, str] = {}
    header: list[str] | None = None
    for number, line in enumerate(existing(path).read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        cells = line.split("\t") if "\t" in line else line.split()
        if header is None and "index" in cells and "name" in cells:
            header = cells
            continue
        columns = (header.index("index"), header.index("name")) if header else (0, 1)
        try:
            table[int(cells[columns[0]])] = cells[columns[1]].strip()
        except (ValueError, IndexError) as error:
            raise DataError(f"{path}: line {number} is {line.strip()!r}, wanted a whole number and a name.") from error
    return table


def read_neuropythy(name: str, space: VertexSpace, folder: str | Path | None = None) -> dict[str, np.ndarray]:
    """Read ``wang15``, ``benson14`` or ``glasser16`` from the user's copy of neuropythy, for fsaverage meshes.

    Parameters
    ----------
    folder : path, optional
        Where ``lh.<atlas>.mgz`` and ``rh.<atlas>.mgz`` are; by default inside the installed neuropythy package, which
        is found but never imported.

    Raises
    ------
    DataError
        Unknown atlas, a mesh that is no fsaverage, neuropythy not installed.
    """
    if name not in _NEUROPYTHY:
        raise DataError(f"neuropythy atlas {name!r} is unknown, wanted one of {sorted(_NEUROPYTHY)}.")
    if not space.mesh.startswith("fsaverage"):
        raise DataError(
            f"atlas {name!r}: the map is on mesh {space.mesh!r}, wanted an fsaverage mesh: project it there."
        )
    if folder is None:
        found = find_spec("neuropythy")
        if found is None or not found.submodule_search_locations:
            raise DataError(
                f"atlas {name!r}: neuropythy, which holds it, is not installed: pip install neuropythy (AGPL-3), "
                "or pass the folder of its .mgz files."
            )
        folder = Path(found.submodule_search_locations[0]) / "lib" / "data" / "fsaverage" / "surf"
    files = {side: Path(folder) / f"{half}.{_NEUROPYTHY[name]}.mgz" for side, half in (("left", "lh"), ("right", "rh"))}
    return read_regions(space, files, dict(enumerate(read_card(name)["labels"], start=1)))
